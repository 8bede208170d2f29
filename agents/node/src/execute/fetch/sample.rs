//! A model's file with holes: of a file on a web server only what timing reads is fetched, some layers and the head.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use engine::{benchmark::places, gguf::Gguf};

use super::{
    Error, Source, check_header,
    download::{ask, http, store},
    file_error,
};

/// What is fetched first: most headers are shorter.
const HEADER_BYTES_FIRST: u64 = 8 << 20;
/// No model's header is longer.
const HEADER_BYTES_MAX: u64 = 256 << 20;

/// What is at `path` now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    /// The file, whole to whoever times it, with holes elsewhere. So many bytes came over the network.
    Sample(u64),
    /// Nothing: the server gives no ranges of the file, or most of the file would be needed. So many bytes came meanwhile.
    FetchWhole(u64),
}

/// Fetches what of the weights is timed to `path`, from nothing. What a sample holds of layers cannot be verified, so nothing
/// but timing may use it.
pub(crate) fn sample(source: &Source, url: &str, path: &Path) -> Result<Sampled, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| file_error(folder, error))?;
    }
    let file = File::create(path).map_err(|error| file_error(path, error))?;
    let mut sample = Sample {
        url,
        path,
        file,
        fetched: 0,
    };
    let sampled = sample.fetch(source);
    if !matches!(sampled, Ok(Sampled::Sample(_))) {
        // A half sample is of no use, and no error of removing it is worth more than the one at hand.
        let _ = fs::remove_file(path);
    }
    sampled
}

/// A sample that comes into being.
struct Sample<'s> {
    url: &'s str,
    path: &'s Path,
    file: File,
    fetched: u64,
}

impl Sample<'_> {
    fn fetch(&mut self, source: &Source) -> Result<Sampled, Error> {
        let Some(total) = self.begin()? else {
            return Ok(Sampled::FetchWhole(0));
        };
        let model = self.header(total)?;
        check_header(source, self.path)?;
        let header = self.fetched;
        let places = places(&model).map_err(|source| self.header_error(source))?;
        let wanted: u64 = places.iter().map(|place| place.end - place.start).sum();
        if wanted > total / 2 {
            return Ok(Sampled::FetchWhole(self.fetched));
        }
        for place in places {
            let missing = place.start.max(header)..place.end;
            if !missing.is_empty() {
                self.range(missing)?;
            }
        }
        Ok(Sampled::Sample(self.fetched))
    }

    /// Fetches the beginning. The length of the whole file; `None` when the server gives no ranges.
    fn begin(&mut self) -> Result<Option<u64>, Error> {
        let response = ask(self.url, Some(format!("bytes=0-{}", HEADER_BYTES_FIRST - 1)))?;
        match response.status().as_u16() {
            206 => {}
            200 => return Ok(None),
            status => return Err(http(self.url, ureq::Error::StatusCode(status))),
        }
        let range = response.headers().get("content-range");
        let total = range.and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
        let Some(total) = total else { return Ok(None) };
        self.fetched = store(self.url, response, &mut self.file, self.path, |_| {})?;
        self.file
            .set_len(total)
            .map_err(|error| file_error(self.path, error))?;
        Ok(Some(total))
    }

    /// Fetches on until the header is here.
    fn header(&mut self, total: u64) -> Result<Gguf, Error> {
        loop {
            // Behind what was fetched there are zeros, and a header that reaches into them is not all here.
            match Gguf::read(self.path) {
                Ok(model) if model.header_bytes <= self.fetched => return Ok(model),
                Err(error) if self.fetched >= total.min(HEADER_BYTES_MAX) => {
                    return Err(self.header_error(error));
                }
                _ => self.range(self.fetched..(self.fetched * 2).min(total))?,
            }
        }
    }

    /// Fetches bytes to their place.
    fn range(&mut self, range: Range<u64>) -> Result<(), Error> {
        let response = ask(self.url, Some(format!("bytes={}-{}", range.start, range.end - 1)))?;
        let status = response.status().as_u16();
        if status != 206 {
            return Err(http(self.url, ureq::Error::StatusCode(status)));
        }
        let at_place = |error: io::Error| file_error(self.path, error);
        self.file.seek(SeekFrom::Start(range.start)).map_err(at_place)?;
        let got = store(self.url, response, &mut self.file, self.path, |_| {})?;
        self.fetched += got;
        if got == range.end - range.start {
            return Ok(());
        }
        Err(Error::Short {
            url: self.url.to_owned(),
            got,
            expected: range.end - range.start,
        })
    }

    fn header_error(&self, source: engine::Error) -> Error {
        Error::Header {
            path: self.path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        path::PathBuf,
        sync::Arc,
    };

    use super::*;

    fn model_path() -> PathBuf {
        let cache = env::var_os("EDGELOOM_CACHE")
            .map_or_else(|| env::home_dir().unwrap().join(".cache/edgeloom"), PathBuf::from);
        cache.join("SmolLM2-135M-Instruct.Q4_1.gguf")
    }

    /// A server of one file, which gives ranges of it or does not.
    fn serve(content: Arc<Vec<u8>>, gives_ranges: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/model.gguf", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut range = None;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_ascii_lowercase();
                    if let Some((from, to)) = line
                        .strip_prefix("range: bytes=")
                        .and_then(|range| range.split_once('-'))
                    {
                        let to: usize = to.parse().unwrap();
                        range = Some((from.parse::<usize>().unwrap(), (to + 1).min(content.len())));
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let head = match range.filter(|_| gives_ranges) {
                    Some((from, end)) => format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                        end - 1,
                        content.len(),
                        end - from
                    ),
                    None => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()),
                };
                let (from, end) = range.filter(|_| gives_ranges).unwrap_or((0, content.len()));
                // A client that has seen enough goes away in the middle.
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&content[from..end]);
            }
        });
        url
    }

    fn source(uri: &str) -> Source {
        Source {
            digest: "sha256:1".to_owned(),
            uri: uri.to_owned(),
            sha256: Some("1".to_owned()),
        }
    }

    #[test]
    fn only_what_is_timed_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/sample.gguf");
        let content = Arc::new(fs::read(model_path()).unwrap());
        let url = serve(Arc::clone(&content), true);
        let Sampled::Sample(bytes) = sample(&source(&url), &url, &path).unwrap() else {
            panic!("the model is large enough for a sample");
        };
        assert!(
            bytes < content.len() as u64 * 6 / 10,
            "{bytes} bytes are no sample"
        );
        let sampled = fs::read(&path).unwrap();
        assert_eq!(sampled.len(), content.len());
        let model = Gguf::read(&model_path()).unwrap();
        for place in std::iter::once(0..model.header_bytes).chain(places(&model).unwrap()) {
            let place = place.start as usize..place.end as usize;
            assert!(sampled[place.clone()] == content[place.clone()], "{place:?}");
        }
    }

    #[test]
    fn a_server_without_ranges_leads_to_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.gguf");
        let url = serve(Arc::new(b"not even a model".to_vec()), false);
        assert_eq!(
            sample(&source(&url), &url, &path).unwrap(),
            Sampled::FetchWhole(0)
        );
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_model_or_another_model_is_an_error_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.gguf");
        let url = serve(Arc::new(b"not a model".to_vec()), true);
        let error = sample(&source(&url), &url, &path).unwrap_err();
        assert!(matches!(error, Error::Header { .. }), "{error}");
        let url = serve(Arc::new(fs::read(model_path()).unwrap()), true);
        let another = Source {
            digest: format!("header:{}", "0".repeat(32)),
            ..source(&url)
        };
        let error = sample(&another, &url, &path).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        assert!(!path.exists());
    }
}
