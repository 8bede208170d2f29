//! The file of the audit log: one event a line, a new file when one is full, and only so many old ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use bytes::Bytes;
use jiff::Timestamp;
use prometheus::IntCounterVec;
use tokio::sync::mpsc;

/// Events that wait for the file; more make their requests wait, which is the back-pressure.
const WAITING_EVENTS: usize = 1024;

/// Where the log is, and how large it may grow.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) backups_max: usize,
}

/// A log that is being written, by a thread of its own.
#[derive(Debug, Clone)]
pub(super) struct Log {
    events: mpsc::Sender<Bytes>,
    counted: IntCounterVec,
}

impl Log {
    /// Opens the file; the thread ends when the last clone is gone and everything is written.
    pub(super) fn open(place: Place, counted: IntCounterVec) -> io::Result<(Self, JoinHandle<()>)> {
        let mut writer = Writer::open(place)?;
        let (events, mut waiting) = mpsc::channel::<Bytes>(WAITING_EVENTS);
        let outcomes = counted.clone();
        let thread = std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || {
                while let Some(event) = waiting.blocking_recv() {
                    // What waits goes out together.
                    let more = std::iter::from_fn(|| waiting.try_recv().ok());
                    let batch: Vec<Bytes> = std::iter::once(event).chain(more).collect();
                    let written = batch
                        .iter()
                        .try_for_each(|event| writer.write(event))
                        .and_then(|()| writer.file.flush());
                    let outcome = match written {
                        Ok(()) => "written",
                        Err(error) => {
                            tracing::error!(%error, events = batch.len(), "the audit log loses events");
                            "lost"
                        }
                    };
                    outcomes.with_label_values(&[outcome]).inc_by(batch.len() as u64);
                }
            })?;
        Ok((Self { events, counted }, thread))
    }

    /// Writes an event, as soon as there is room for it.
    pub(super) async fn write(&self, event: Bytes) {
        if self.events.send(event).await.is_err() {
            self.lost();
        }
    }

    /// Writes an event if there is room for it: for those who cannot wait.
    pub(super) fn write_now(&self, event: Bytes) {
        if self.events.try_send(event).is_err() {
            self.lost();
        }
    }

    fn lost(&self) {
        self.counted.with_label_values(&["lost"]).inc();
    }
}

struct Writer {
    place: Place,
    file: BufWriter<File>,
    bytes: u64,
}

impl Writer {
    fn open(place: Place) -> io::Result<Self> {
        let file = open(&place.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            place,
            file: BufWriter::new(file),
            bytes,
        })
    }

    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        let length = event.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.place.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(event)?;
        self.bytes += length;
        Ok(())
    }

    /// Puts the full file aside under the time, and forgets the oldest of those.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let path = &self.place.path;
        let time = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.6f").to_string();
        fs::rename(path, backup_path(path, &time))?;
        let mut backups = backups(path)?;
        backups.sort();
        let too_many = backups.len().saturating_sub(self.place.backups_max);
        for old in &backups[..too_many] {
            fs::remove_file(old)?;
        }
        self.file = BufWriter::new(open(path)?);
        self.bytes = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Stem and extension, the latter with its dot.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}"));
    (
        text(path.file_stem()).unwrap_or_default(),
        extension.unwrap_or_default(),
    )
}

fn backup_path(path: &Path, time: &str) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{time}{extension}"))
}

/// The files that were put aside.
fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (stem, extension) = parts(path);
    let prefix = format!("{stem}-");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let time = name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(&extension));
        if time.is_some_and(|time| time.len() > 19 && time.as_bytes()[10] == b'T') {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(folder.path().join("audit-notes.log"), "of somebody else").unwrap();
        let mut writer = Writer::open(Place {
            path: path.clone(),
            bytes_max: 100,
            backups_max: 2,
        })
        .unwrap();
        for number in 0..50 {
            writer
                .write(format!("event number {number:02}\n").as_bytes())
                .unwrap();
        }
        writer.file.flush().unwrap();
        let mut kept = backups(&path).unwrap();
        kept.sort();
        kept.push(path);
        let text: String = kept
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        let expected: String = (36..50)
            .map(|number| format!("event number {number:02}\n"))
            .collect();
        assert_eq!(
            (kept.len(), text),
            (3, expected),
            "six events in a file, the newest fourteen"
        );
        assert!(folder.path().join("audit-notes.log").exists());
    }
}
