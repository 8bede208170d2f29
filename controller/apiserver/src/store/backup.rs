//! A store's whole content at one revision, and the file that it travels in: lines of JSON, first a heading, then one entry each, at
//! last a checksum of all that went before. History is not part of it.

use std::io::{self, BufRead};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{Entry, Range, Result, Revision, Store};

/// What the heading calls the file.
const KIND: &str = "EdgeloomStoreBackup";
/// Version of the lines. Another version is refused, not guessed at.
const FORMAT: u32 = 1;

/// A store's whole content at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The revision at which it was read.
    pub revision: Revision,
    /// All entries, in the order of their keys.
    pub entries: Vec<Entry>,
}

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the backup: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the backup {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It ends early.
    #[error("the backup ends before its checksum: it is not whole")]
    Truncated,
    /// It is not what was written.
    #[error("the backup's checksum is wrong: it was changed after it was taken")]
    Checksum,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    kind: String,
    format: u32,
    revision: Revision,
    entries: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    revision: Revision,
    /// Base64.
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    sha256: String,
}

impl Backup {
    /// Reads everything, at one revision, while others write.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(store: &dyn Store) -> Result<Self> {
        let page = store.list("/", Range::default()).await?;
        Ok(Self {
            revision: page.revision,
            entries: page.entries,
        })
    }

    /// The file, in pieces of one line.
    pub fn lines(self) -> impl Iterator<Item = Bytes> + Send {
        let heading = Heading {
            kind: KIND.to_owned(),
            format: FORMAT,
            revision: self.revision,
            entries: self.entries.len(),
        };
        let entries = self.entries.into_iter().map(|entry| {
            line(&Line {
                value: STANDARD.encode(&entry.value),
                key: entry.key.as_ref().to_owned(),
                revision: entry.revision,
            })
        });
        let mut checksum = Some(Context::new(&SHA256));
        let mut content = std::iter::once(line(&heading)).chain(entries);
        std::iter::from_fn(move || match content.next() {
            Some(bytes) => {
                checksum.as_mut()?.update(&bytes);
                Some(bytes)
            }
            None => {
                let sha256 = hex(checksum.take()?);
                Some(line(&Ending { sha256 }))
            }
        })
    }

    /// Reads a file, and checks that it is whole.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(input: impl BufRead) -> Result<Self, ReadError> {
        let mut checksum = Context::new(&SHA256);
        let mut lines = input.split(b'\n').enumerate();
        let mut next = || -> Result<_, ReadError> {
            let (index, bytes) = lines.next().ok_or(ReadError::Truncated)?;
            Ok((index + 1, bytes?))
        };
        let (number, first) = next()?;
        let heading: Heading = parse(number, &first)?;
        if heading.kind != KIND || heading.format != FORMAT {
            let what = format!(
                "says {} of format {}; this program reads {KIND} of format {FORMAT}",
                heading.kind, heading.format
            );
            return Err(ReadError::Line { line: number, what });
        }
        update(&mut checksum, &first);
        let mut entries = Vec::new();
        for _ in 0..heading.entries {
            let (number, bytes) = next()?;
            update(&mut checksum, &bytes);
            let Line { key, revision, value } = parse(number, &bytes)?;
            let value = STANDARD.decode(value).map_err(|error| ReadError::Line {
                line: number,
                what: format!("has a value that is not base64: {error}"),
            })?;
            entries.push(Entry {
                key: key.into(),
                value: value.into(),
                revision,
            });
        }
        let (number, last) = next()?;
        let ending: Ending = parse(number, &last)?;
        if ending.sha256 != hex(checksum) {
            return Err(ReadError::Checksum);
        }
        Ok(Self {
            revision: heading.revision,
            entries,
        })
    }
}

fn line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).expect("texts and numbers serialize");
    bytes.push(b'\n');
    bytes.into()
}

fn parse<T: for<'a> Deserialize<'a>>(line: usize, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // A cut line is the usual reason.
        if error.is_eof() {
            return ReadError::Truncated;
        }
        ReadError::Line {
            line,
            what: format!("is not what belongs there: {error}"),
        }
    })
}

fn update(checksum: &mut Context, line: &[u8]) {
    checksum.update(line);
    checksum.update(b"\n");
}

fn hex(checksum: Context) -> String {
    checksum
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let entry = |key: &str, value: &'static [u8], revision| Entry {
            key: key.into(),
            value: Bytes::from_static(value),
            revision,
        };
        Backup {
            revision: 9,
            entries: vec![entry("/a", b"{\"x\":\"\n\"}", 3), entry("/b", &[0, 255], 7)],
        }
    }

    fn file() -> Vec<u8> {
        backup().lines().flatten().collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(Backup::read(file().as_slice()).unwrap(), backup());
    }

    #[test]
    fn a_file_that_is_not_whole_or_was_changed_is_refused() {
        let whole = file();
        for end in 0..whole.len() - 1 {
            let read = Backup::read(&whole[..end]);
            assert!(matches!(read, Err(ReadError::Truncated)), "{end}: {read:?}");
        }
        let text = String::from_utf8(whole).unwrap();
        let changed = text.replace("\"/a\"", "\"/c\"");
        assert!(matches!(
            Backup::read(changed.as_bytes()),
            Err(ReadError::Checksum)
        ));
        let other = text.replace("\"format\":1", "\"format\":2");
        let refused = Backup::read(other.as_bytes()).unwrap_err().to_string();
        assert!(
            refused.contains("says EdgeloomStoreBackup of format 2"),
            "{refused}"
        );
        let refused = Backup::read(&b"hello\n"[..]).unwrap_err().to_string();
        assert!(
            refused.starts_with("line 1 of the backup is not what belongs there"),
            "{refused}"
        );
    }
}
