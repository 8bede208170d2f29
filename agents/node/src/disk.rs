//! Keeps weights on this node's disk within `spec.limits.storage`: before more are written, files go that nobody wants, those
//! that are oldest first. What lies where a `file://` names it is not the agent's and does not count; nor does what timing a
//! model takes for a moment.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crds::StageSpec;

use crate::execute::fetch::file_name;

/// Fetched files, below the agent's folder.
pub(crate) const MODELS: &str = "models";
/// Files of stages that are parts of a model, below the agent's folder.
pub(crate) const STAGE_FILES: &str = "stage-files";

/// The disk for weights.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Bytes that files may take; none for as many as there are.
    bound: Option<u64>,
    /// What is being written and was let in.
    admitted: u64,
}

/// What stays whatever comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Digests as names of files.
    models: BTreeSet<String>,
    /// The same with a range of layers.
    parts: BTreeSet<(String, i32, i32)>,
}

/// There is no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.limits.storage is {bound} bytes: weights that are in use take {held}, and {more} more are needed; \
     raise it, or place less here"
)]
pub(crate) struct Full {
    bound: u64,
    held: u64,
    more: u64,
}

/// Room that was given; it is free again when this is dropped, and what was written counts by itself.
#[derive(Debug)]
pub(crate) struct Room<'d> {
    disk: &'d Disk,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut books = self.disk.lock();
        books.admitted = books.admitted.saturating_sub(self.bytes);
    }
}

impl Wanted {
    /// What these stages are loaded from.
    pub(crate) fn of<'s>(stages: impl Iterator<Item = &'s StageSpec>) -> Self {
        let mut wanted = Self::default();
        for stage in stages {
            let digest = file_name(&stage.model.digest);
            wanted.models.insert(digest.clone());
            wanted.parts.insert((digest, stage.first_layer, stage.end_layer));
        }
        wanted
    }

    /// Whether a file below the folder of fetched ones, or of stage files, is one of them.
    fn has(&self, path: &Path, is_part: bool) -> bool {
        let name = |path: Option<&std::ffi::OsStr>| path.and_then(|name| name.to_str()).map(str::to_owned);
        let stem = name(path.file_stem()).unwrap_or_default();
        if !is_part {
            return self.models.contains(&stem);
        }
        let digest = name(path.parent().and_then(Path::file_name)).unwrap_or_default();
        let digest = file_name(&digest);
        let is_it = |(model, first, end): &(String, i32, i32)| {
            *model == digest && stem.starts_with(&format!("layers-{first:03}-{end:03}"))
        };
        self.parts.iter().any(is_it)
    }
}

/// A file that counts.
struct Held {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
    is_part: bool,
}

impl Disk {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            books: Mutex::default(),
        }
    }

    /// Bounds what files may take, in bytes; a negative bound is zero.
    pub(crate) fn bound_by(&self, bytes: Option<i64>) {
        self.lock().bound = bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0));
    }

    /// Makes room for so many bytes. `forget` hears of each file before it goes.
    pub(crate) fn make_room(
        &self,
        wanted: &Wanted,
        bytes: u64,
        forget: &dyn Fn(&Path),
    ) -> Result<Room<'_>, Full> {
        let mut books = self.lock();
        if let Some(bound) = books.bound {
            let mut held = self.held();
            held.sort_by_key(|file| (!file.is_part, file.modified, file.path.clone()));
            let mut taken = held.iter().map(|file| file.bytes).sum::<u64>() + books.admitted;
            for file in held {
                if taken.saturating_add(bytes) <= bound {
                    break;
                }
                if wanted.has(&file.path, file.is_part) {
                    continue;
                }
                forget(&file.path);
                match fs::remove_file(&file.path) {
                    Ok(()) => {
                        tracing::info!(path = %file.path.display(), bytes = file.bytes, "weights make room for others");
                        taken -= file.bytes;
                    }
                    Err(error) => tracing::warn!(path = %file.path.display(), %error, "weights stay on disk"),
                }
            }
            if taken.saturating_add(bytes) > bound {
                return Err(Full {
                    bound,
                    held: taken,
                    more: bytes,
                });
            }
        }
        books.admitted += bytes;
        Ok(Room { disk: self, bytes })
    }

    /// Everything that counts.
    fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        collect(&self.folder.join(MODELS), false, &mut held);
        collect(&self.folder.join(STAGE_FILES), true, &mut held);
        held
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files below a folder, those of its folders too. What cannot be read is not counted: it is about to go, or was never there.
fn collect(folder: &Path, is_part: bool, held: &mut Vec<Held>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %folder.display(), %error, "a folder of weights cannot be read");
            }
            return;
        }
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            collect(&entry.path(), is_part, held);
        } else if metadata.len() > 0 {
            held.push(Held {
                path: entry.path(),
                bytes: metadata.len(),
                modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                is_part,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use super::*;

    /// A folder with a file of so many bytes at each path, each a minute younger than the one before.
    fn folder(files: &[(&str, usize)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (age, (path, bytes)) in files.iter().enumerate() {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![7; *bytes]).unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * age as u64);
            fs::File::open(&path).unwrap().set_modified(written).unwrap();
        }
        folder
    }

    fn stage(digest: &str, first_layer: i32, end_layer: i32) -> StageSpec {
        StageSpec {
            node_name: "n".to_owned(),
            device: "cpu".to_owned(),
            model: crds::placement::ChosenModel {
                digest: digest.to_owned(),
                layers: 30,
                ..Default::default()
            },
            first_layer,
            end_layer,
            context_tokens: 64,
            sessions: 1,
            batch_rows: 8,
            memory: crds::placement::StageMemory::default(),
        }
    }

    const FILES: [(&str, usize); 4] = [
        ("models/header-old.gguf", 100),
        ("models/header-new.gguf", 100),
        ("stage-files/stages-v1/header-old/layers-000-012.gguf", 40),
        ("stage-files/stages-v1/header-new/layers-012-030-last.gguf", 60),
    ];

    #[test]
    fn files_that_nobody_wants_go_the_oldest_first_and_parts_before_models() {
        let folder = folder(&FILES);
        let disk = Disk::new(folder.path().to_owned());
        let gone = RefCell::new(vec![]);
        let forget = |path: &Path| {
            let name = path.strip_prefix(folder.path()).unwrap();
            gone.borrow_mut().push(name.to_str().unwrap().to_owned());
        };
        let stages = [stage("header:new", 12, 30)];
        let wanted = Wanted::of(stages.iter());
        drop(disk.make_room(&wanted, 1_000, &forget).unwrap());
        assert_eq!(*gone.borrow(), [""; 0], "without a bound everything stays");

        disk.bound_by(Some(320));
        drop(disk.make_room(&wanted, 20, &forget).unwrap());
        assert_eq!(*gone.borrow(), [""; 0]);
        drop(disk.make_room(&wanted, 60, &forget).unwrap());
        assert_eq!(*gone.borrow(), [FILES[2].0]);
        drop(disk.make_room(&wanted, 61, &forget).unwrap());
        assert_eq!(*gone.borrow(), [FILES[2].0, FILES[0].0]);
        let full = disk.make_room(&wanted, 161, &forget).unwrap_err();
        assert_eq!(
            full,
            Full {
                bound: 320,
                held: 160,
                more: 161
            }
        );
        assert!(folder.path().join(FILES[1].0).exists() && folder.path().join(FILES[3].0).exists());
        assert!(!folder.path().join(FILES[0].0).exists());
    }

    #[test]
    fn what_is_being_written_counts_before_it_is_there() {
        let folder = folder(&FILES[..1]);
        let disk = Disk::new(folder.path().to_owned());
        disk.bound_by(Some(300));
        let stages = [stage("header:old", 0, 30)];
        let wanted = Wanted::of(stages.iter());
        let first = disk.make_room(&wanted, 150, &|_| ()).unwrap();
        disk.make_room(&wanted, 60, &|_| ()).unwrap_err();
        drop(first);
        disk.make_room(&wanted, 60, &|_| ()).unwrap();
        disk.bound_by(Some(-5));
        disk.make_room(&wanted, 1, &|_| ()).unwrap_err();
    }
}
