//! The authority and the key of tokens of servers that share a store: each must accept what another has signed. The first server puts
//! its own into the store, the others take them from there.

use std::{fs, io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    auth::{
        authority::{self, Authority},
        private_file,
        tokens::{self, Tokens},
    },
    store::{self, Store, Write},
};

/// Where they lie in the store, apart from all objects.
const KEY: &str = "/pki/shared";
/// The files of the folder that are shared. The last is missing when a crash cut the writing of them.
const FILES: [&str; 3] = ["ca.key", "tokens.key", "ca.crt"];

/// Why they cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("cannot share the authority: {0}")]
    Store(#[from] store::Error),
    /// What lies in the store is something else.
    #[error("cannot share the authority: {KEY} in the store is unreadable: {0}")]
    Unreadable(String),
    /// The data directory has an authority of its own.
    #[error(
        "{folder} holds another authority than the servers that share this store; use an empty data directory"
    )]
    Another {
        /// The folder of certificates.
        folder: String,
    },
    /// A file cannot be read or written.
    #[error("cannot share the authority: {file}: {source}")]
    File {
        /// Which file.
        file: String,
        /// What the file system said.
        source: io::Error,
    },
    /// An authority cannot be made.
    #[error("certificate authority: {0}")]
    Authority(#[from] authority::Error),
    /// A key cannot be made.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
}

/// The shared files, in the order of [`FILES`]; base64.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shared {
    files: Vec<String>,
}

/// Makes the folder hold what all servers of this store share.
pub(super) async fn adopt(store: &dyn Store, folder: &Path, now: Timestamp) -> Result<(), Error> {
    loop {
        if let Some(entry) = store.get(KEY).await? {
            let shared: Shared =
                serde_json::from_slice(&entry.value).map_err(|error| Error::Unreadable(error.to_string()))?;
            return take(folder, &shared);
        }
        // Nobody has shared anything yet: this server's own are made if need be, and offered.
        Authority::open(folder, now)?;
        Tokens::open(&folder.join("tokens.key"))?;
        let own =
            read(folder)?.ok_or_else(|| Error::Unreadable("it was just made, and is gone".to_owned()))?;
        let write = Write::Create {
            key: KEY.into(),
            value: serde_json::to_vec(&own)
                .map_err(|error| Error::Unreadable(error.to_string()))?
                .into(),
        };
        match store.commit(write).await {
            Ok(_) => return Ok(()),
            // Another server was first.
            Err(store::Error::Precondition { .. }) => forget(folder)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes the shared files, unless they are there already. Files of another authority are not overwritten.
fn take(folder: &Path, shared: &Shared) -> Result<(), Error> {
    match read(folder)? {
        Some(own) if own == *shared => return Ok(()),
        Some(_) => {
            return Err(Error::Another {
                folder: folder.display().to_string(),
            });
        }
        None => {}
    }
    fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
    if shared.files.len() != FILES.len() {
        return Err(Error::Unreadable(format!("it has {} files", shared.files.len())));
    }
    for (name, text) in FILES.iter().zip(&shared.files) {
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| Error::Unreadable(error.to_string()))?;
        let path = folder.join(name);
        private_file::write(&path, &bytes).map_err(|source| file_error(&path, source))?;
    }
    Ok(())
}

/// The folder's own files; `None` unless all are there.
fn read(folder: &Path) -> Result<Option<Shared>, Error> {
    let mut files = Vec::new();
    for name in FILES {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => files.push(STANDARD.encode(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file_error(&path, source)),
        }
    }
    Ok(Some(Shared { files }))
}

/// Removes files that were made a moment ago and that nobody has seen.
fn forget(folder: &Path) -> Result<(), Error> {
    for name in FILES {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|source| file_error(&path, source))?;
    }
    Ok(())
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        file: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[tokio::test]
    async fn servers_of_one_store_have_one_authority_and_one_key() {
        let store = Memory::new();
        let now = Timestamp::now();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            adopt(&store, folder.path(), now).await.unwrap();
            adopt(&store, folder.path(), now).await.unwrap();
        }
        assert_eq!(read(folders[0].path()).unwrap(), read(folders[1].path()).unwrap());

        let foreign = tempfile::tempdir().unwrap();
        adopt(&Memory::new(), foreign.path(), now).await.unwrap();
        let refused = adopt(&store, foreign.path(), now).await.unwrap_err();
        assert!(matches!(refused, Error::Another { .. }), "{refused}");
    }
}
