//! Bytes of a model's file from its beginning, wherever it lies.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use crds::location::{self, HUB_VARIABLE, Location};

/// The longest wait for a server.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The address is of a kind that this version does not read.
    #[error(transparent)]
    Unsupported(#[from] location::Error),
    /// Reading failed.
    #[error("{uri}: {message}")]
    Read {
        /// The address.
        uri: String,
        /// What failed.
        message: String,
    },
}

/// An open file.
pub struct Source {
    reader: Box<dyn Read + Send>,
    size: u64,
    uri: String,
}

impl Source {
    /// Opens the file behind `uri`.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be read, or the address is of an unknown kind.
    pub fn open(uri: &str) -> Result<Self, Error> {
        match Location::of(uri, env::var(HUB_VARIABLE).ok().as_deref())? {
            Location::File(path) => Self::open_file(uri, &path),
            Location::Web(url) => Self::open_url(uri, &url),
        }
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the next `count` bytes, or as many as there are.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub fn read_more(&mut self, into: &mut Vec<u8>, count: usize) -> Result<(), Error> {
        let mut part = (&mut self.reader).take(count as u64);
        part.read_to_end(into).map(drop).map_err(|error| Error::Read {
            uri: self.uri.clone(),
            message: error.to_string(),
        })
    }

    fn open_file(uri: &str, path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound(uri.to_owned()),
            _ => Error::Read {
                uri: uri.to_owned(),
                message: error.to_string(),
            },
        };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok(Self {
            reader: Box::new(file),
            size,
            uri: uri.to_owned(),
        })
    }

    fn open_url(uri: &str, url: &str) -> Result<Self, Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT))
            .build()
            .into();
        let response = agent.get(url).call().map_err(|error| match error {
            ureq::Error::StatusCode(404) => Error::NotFound(uri.to_owned()),
            other => Error::Read {
                uri: uri.to_owned(),
                message: other.to_string(),
            },
        })?;
        let length = response
            .headers()
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(size) = length else {
            return Err(Error::Read {
                uri: uri.to_owned(),
                message: "the server names no Content-Length".to_owned(),
            });
        };
        Ok(Self {
            reader: Box::new(response.into_body().into_reader()),
            size,
            uri: uri.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Source::open("file:///nowhere/model.gguf")
            .err()
            .expect("an error");
        assert_eq!(error.to_string(), "file:///nowhere/model.gguf does not exist");
    }

    #[test]
    fn an_address_of_another_kind_is_refused_with_what_would_do() {
        let error = Source::open("oci://registry/model").err().expect("an error");
        assert!(error.to_string().contains("use https://"), "{error}");
    }
}
