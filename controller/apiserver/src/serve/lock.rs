//! One server at a time on a data directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The directory, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why the directory is not ours.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another process holds it; its id, as far as it said so.
    Held(String),
    /// The file system refused.
    Io(io::Error),
}

impl Lock {
    /// Takes the directory.
    pub(super) fn take(directory: &Path) -> Result<Self, Refused> {
        let path = directory.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(Refused::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Naming the holder is a courtesy; without it the refusal stands all the same.
                let _ = file.read_to_string(&mut holder);
                return Err(Refused::Held(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
        }
        let tell = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        tell(&mut file).map_err(Refused::Io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_who_holds_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let Err(Refused::Held(holder)) = Lock::take(folder.path()) else {
            panic!("taken twice")
        };
        assert_eq!(holder, std::process::id().to_string());
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }
}
