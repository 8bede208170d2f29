//! Brings weights to this node's disk: a `file://` is used where it lies, `http(s)://` and `hf://` are fetched into the
//! agent's folder, resumed where a fetch broke off, and verified. Blocking; it runs beside the agent's own tasks.

mod download;
mod sample;

use std::{
    env, fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::AtomicI64,
};

use crds::{
    location::{self, HUB_VARIABLE, Location},
    model::{header_digest, is_header_digest},
};

use self::download::download;
pub(crate) use self::sample::{Sampled, sample};
use super::verify::verify;
use crate::disk::{Full, MODELS};

/// Which weights, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// What identifies them.
    pub(crate) digest: String,
    /// Where they are.
    pub(crate) uri: String,
    /// The SHA-256 of the file, lowercase hex.
    pub(crate) sha256: Option<String>,
}

/// Weights on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// What of it came over the network just now.
    pub(crate) fetched_bytes: u64,
}

/// Why weights are not on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not a URI that this agent can follow.
    #[error(transparent)]
    Uri(#[from] location::Error),
    /// The file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room on the disk. What was fetched so far stays, and is resumed.
    #[error(
        "the disk is full: {path} holds {fetched} of {total} bytes; free some room, the rest is then fetched"
    )]
    DiskFull {
        /// The file that is being fetched.
        path: PathBuf,
        /// What of it is there.
        fetched: u64,
        /// Its size, 0 if the server does not say.
        total: u64,
    },
    /// No room below the node's bound.
    #[error(transparent)]
    Bound(#[from] Full),
    /// The server cannot be asked, or answers with an error.
    #[error("{url}")]
    Http {
        /// What was asked for.
        url: String,
        /// What the client said; boxed, since it is large.
        source: Box<ureq::Error>,
    },
    /// The server ended the body early.
    #[error("{url} ended after {got} of {expected} bytes")]
    Short {
        /// What was asked for.
        url: String,
        /// Bytes that arrived.
        got: u64,
        /// Bytes that were announced.
        expected: u64,
    },
    /// Its header cannot be read.
    #[error("{path}")]
    Header {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        source: engine::Error,
    },
    /// Another file than the one that was meant.
    #[error("{path} has {found}, the Model says {expected}")]
    Digest {
        /// The file, which was removed if it had been fetched.
        path: PathBuf,
        /// What it has, a SHA-256 or a digest of its header and size.
        found: String,
        /// What was asked for.
        expected: String,
    },
}

/// Brings the weights to disk, or finds them there. `progress` counts bytes that are there; `make_room` is asked before more are
/// written.
pub(crate) fn fetch<Room>(
    source: &Source,
    data_dir: &Path,
    progress: &AtomicI64,
    make_room: &dyn Fn(u64) -> Result<Room, Full>,
) -> Result<Fetched, Error> {
    let url = match location_of(source)? {
        Location::File(path) => return in_place(source, &path, data_dir),
        Location::Web(url) => url,
    };
    let folder = data_dir.join(MODELS);
    fs::create_dir_all(&folder).map_err(|error| file_error(&folder, error))?;
    let path = folder.join(format!("{}.gguf", file_name(&source.digest)));
    if path.exists() {
        return in_place(source, &path, data_dir);
    }
    let part = path.with_extension("part");
    let fetched_bytes = download(&url, &part, progress, make_room)?;
    if let Err(error) = check(source, &part, data_dir) {
        if let Error::Digest { .. } | Error::Header { .. } = &error {
            // Resuming it would never make it right.
            fs::remove_file(&part).map_err(|error| file_error(&part, error))?;
        }
        return Err(error);
    }
    fs::rename(&part, &path).map_err(|error| file_error(&path, error))?;
    let bytes = length_of(&path)?;
    Ok(Fetched {
        path,
        bytes,
        fetched_bytes,
    })
}

/// Where the weights are, for this agent.
pub(crate) fn location_of(source: &Source) -> Result<Location, Error> {
    Ok(Location::of(&source.uri, env::var(HUB_VARIABLE).ok().as_deref())?)
}

/// Where the weights are or would be on this disk, if they can be had without the network.
pub(crate) fn local_path(source: &Source, data_dir: &Path) -> Option<PathBuf> {
    let path = match Location::of(&source.uri, None) {
        Ok(Location::File(path)) => path,
        _ => data_dir
            .join(MODELS)
            .join(format!("{}.gguf", file_name(&source.digest))),
    };
    path.exists().then_some(path)
}

fn in_place(source: &Source, path: &Path, data_dir: &Path) -> Result<Fetched, Error> {
    let bytes = length_of(path)?;
    check(source, path, data_dir)?;
    Ok(Fetched {
        path: path.to_owned(),
        bytes,
        fetched_bytes: 0,
    })
}

/// Whether the file is the one that was meant: by its SHA-256 where somebody has said it, otherwise by header and size,
/// which the controller has read.
fn check(source: &Source, path: &Path, data_dir: &Path) -> Result<(), Error> {
    let Some(expected) = &source.sha256 else {
        return check_header(source, path);
    };
    match verify(path, expected, data_dir).map_err(|error| file_error(path, error))? {
        Ok(()) => Ok(()),
        Err(found) => Err(Error::Digest {
            path: path.to_owned(),
            found: format!("sha256:{found}"),
            expected: format!("sha256:{expected}"),
        }),
    }
}

/// Whether header and size are those that were meant, where the digest is of these.
fn check_header(source: &Source, path: &Path) -> Result<(), Error> {
    if !is_header_digest(&source.digest) {
        return Ok(());
    }
    let found = header_digest_of(path)?;
    if found == source.digest {
        return Ok(());
    }
    Err(Error::Digest {
        path: path.to_owned(),
        found,
        expected: source.digest.clone(),
    })
}

fn header_digest_of(path: &Path) -> Result<String, Error> {
    let read = engine::gguf::Gguf::read(path).map_err(|source| Error::Header {
        path: path.to_owned(),
        source,
    })?;
    let mut header = vec![];
    fs::File::open(path)
        .and_then(|file| file.take(read.header_bytes).read_to_end(&mut header))
        .map_err(|error| file_error(path, error))?;
    Ok(header_digest(&header, read.file_bytes))
}

/// A digest as a file's name.
pub(crate) fn file_name(digest: &str) -> String {
    digest
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .collect()
}

fn length_of(path: &Path) -> Result<u64, Error> {
    fs::metadata(path)
        .map(|metadata| metadata.len())
        .map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::atomic::Ordering,
    };

    use super::*;

    /// A server that has one file, knows ranges, and breaks its first answer off after `first_bytes`.
    fn serve(content: &'static [u8], first_bytes: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/model.gguf", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (answer, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut range = 0;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_ascii_lowercase();
                    if let Some(from) = line.strip_prefix("range: bytes=") {
                        range = from.trim_end_matches('-').parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let rest = &content[range..];
                let status = if range == 0 {
                    "200 OK"
                } else {
                    "206 Partial Content"
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", rest.len());
                let sent = if answer == 0 { &rest[..first_bytes] } else { rest };
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(sent).unwrap();
            }
        });
        url
    }

    /// As much as is asked for.
    fn any(_: u64) -> Result<(), Full> {
        Ok(())
    }

    const CONTENT: &[u8] = b"weights that are fetched in two parts";

    fn source(uri: String, sha256: &str) -> Source {
        Source {
            digest: "sha256:1".to_owned(),
            uri,
            sha256: Some(sha256.to_owned()),
        }
    }

    #[test]
    fn a_fetch_that_broke_off_is_resumed_verified_and_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let progress = AtomicI64::new(0);
        let sha256: String = ring::digest::digest(&ring::digest::SHA256, CONTENT)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let source = source(serve(CONTENT, 10), &sha256);
        assert!(local_path(&source, folder.path()).is_none());
        fetch(&source, folder.path(), &progress, &any).unwrap_err();
        let fetched = fetch(&source, folder.path(), &progress, &any).unwrap();
        assert_eq!(fetched.fetched_bytes, CONTENT.len() as u64 - 10);
        assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
        assert_eq!(progress.load(Ordering::Relaxed), CONTENT.len() as i64);
        let again = fetch(&source, folder.path(), &progress, &any).unwrap();
        assert_eq!((again.fetched_bytes, again.path), (0, fetched.path));
    }

    #[test]
    fn nothing_is_written_where_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = crate::disk::Disk::new(folder.path().to_owned());
        disk.bound_by(Some(CONTENT.len() as i64 - 1));
        let wanted = crate::disk::Wanted::default();
        let make_room = |bytes| disk.make_room(&wanted, bytes, &|_| ());
        let source = source(serve(CONTENT, CONTENT.len()), &"0".repeat(64));
        let error = fetch(&source, folder.path(), &AtomicI64::new(0), &make_room).unwrap_err();
        assert!(matches!(error, Error::Bound(_)), "{error}");
        assert_eq!(fs::read_dir(folder.path().join(MODELS)).unwrap().count(), 0);
    }

    #[test]
    fn another_file_than_the_one_that_was_meant_is_refused_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let source = source(serve(CONTENT, CONTENT.len()), &"0".repeat(64));
        let error = fetch(&source, folder.path(), &AtomicI64::new(0), &any).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        let kept = fs::read_dir(folder.path().join("models")).unwrap().count();
        assert_eq!(kept, 0);
    }

    /// A GGUF file with one entry, one tensor of 64 bytes, and the length of its header.
    fn gguf(name: &str) -> (Vec<u8>, usize) {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
        bytes.extend([1_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat());
        bytes.extend([text("general.name"), 8_u32.to_le_bytes().to_vec(), text(name)].concat());
        bytes.extend(
            [
                text("blk.0.x"),
                1_u32.to_le_bytes().to_vec(),
                16_u64.to_le_bytes().to_vec(),
            ]
            .concat(),
        );
        bytes.extend([&0_u32.to_le_bytes()[..], &0_u64.to_le_bytes()].concat());
        let header_bytes = bytes.len();
        bytes.resize(header_bytes.next_multiple_of(32) + 64, 7);
        (bytes, header_bytes)
    }

    #[test]
    fn without_a_sha256_the_header_and_the_size_say_which_file_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let uri = format!("file://{}", path.display());
        let (meant, header_bytes) = gguf("meant");
        let hashed = [&meant[..header_bytes], &(meant.len() as u64).to_le_bytes()].concat();
        let hash: String = ring::digest::digest(&ring::digest::SHA256, &hashed).as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let source = Source {
            digest: format!("header:{hash}"),
            uri,
            sha256: None,
        };
        let fetch_of = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            fetch(&source, folder.path(), &AtomicI64::new(0), &any)
        };
        assert_eq!(fetch_of(&meant).unwrap().bytes, meant.len() as u64);
        let another = fetch_of(&gguf("other").0).unwrap_err();
        assert!(matches!(another, Error::Digest { .. }), "{another}");
        let longer = fetch_of(&[&meant[..], &[0]].concat()).unwrap_err();
        assert!(matches!(longer, Error::Digest { .. }), "{longer}");
        let cut = fetch_of(&meant[..meant.len() - 1]).unwrap_err();
        assert!(matches!(cut, Error::Header { .. }), "{cut}");
    }

    #[test]
    fn a_digest_makes_a_safe_file_name() {
        assert_eq!(file_name("sha256:ab/../c"), "sha256-ab----c");
    }
}
