//! What the control plane last said, on disk: an agent that starts while the control plane is away serves it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::desired::Desired;

/// Its name in the agent's folder.
const FILE: &str = "desired.json";

/// Why the file was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The system refused.
    #[error("{path}")]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no desired state. It is safe to remove it: the control plane says it again.
    #[error("{path} holds no desired state")]
    Unreadable {
        /// The file concerned.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// Reads what was kept; nothing when there is nothing.
pub(crate) fn read(folder: &Path) -> Result<Option<Desired>, Error> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Unreadable { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// Keeps it, whole or not at all. The file holds keyed hashes of API keys, so only its owner may read it.
pub(crate) fn write(folder: &Path, desired: &Desired) -> Result<(), Error> {
    let bytes = serde_json::to_vec(desired).expect("the keys of our maps are strings");
    replace(&folder.join(FILE), &bytes)
}

/// Writes a file under a temporary name and renames it, so that a crash leaves the old or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let draft = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            io::Write::write_all(&mut file, bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}
