//! Bytes from a web server to a file.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use ureq::http::Response;

use super::{Error, file_error};
use crate::disk::Full;

/// Bytes that are read and written at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a server may take to accept a connection, and to begin its answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long a whole body may take: 100 GB at 10 Mbit/s.
const BODY_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Appends to `part` what is missing, if there is room for it; returns the bytes that came.
pub(super) fn download<Room>(
    url: &str,
    part: &Path,
    progress: &AtomicI64,
    make_room: &dyn Fn(u64) -> Result<Room, Full>,
) -> Result<u64, Error> {
    let there = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let response = ask(url, (there > 0).then(|| format!("bytes={there}-")))?;
    let status = response.status().as_u16();
    // 416 to a range that begins at the end: all of it is there already.
    if status == 416 && there > 0 {
        return Ok(0);
    }
    let resumed = match status {
        200 => false,
        206 => true,
        _ => return Err(http(url, ureq::Error::StatusCode(status))),
    };
    let begun = if resumed { there } else { 0 };
    // What is there already and written over makes its own room; of a server that does not say how much comes, none is made.
    let over = if resumed { 0 } else { there };
    let comes = announced(&response).unwrap_or(0).saturating_sub(over);
    let _room = make_room(comes)?;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .map_err(|error| file_error(part, error))?;
    let got = store(url, response, &mut file, part, |got| {
        progress.store(i64::try_from(begun + got).unwrap_or(i64::MAX), Ordering::Relaxed);
    });
    let got = got.map_err(|error| match error {
        Error::DiskFull { path, fetched, total } => Error::DiskFull {
            path,
            fetched: begun + fetched,
            total: if total == 0 { 0 } else { begun + total },
        },
        other => other,
    })?;
    file.sync_all().map_err(|error| file_error(part, error))?;
    Ok(got)
}

/// Asks for a file, or a range of its bytes. Statuses are the caller's to judge.
pub(super) fn ask(url: &str, range: Option<String>) -> Result<Response<ureq::Body>, Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_WITHIN))
        .timeout_recv_response(Some(CONNECT_WITHIN))
        .timeout_recv_body(Some(BODY_WITHIN))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if let Some(range) = range {
        request = request.header("Range", range);
    }
    request.call().map_err(|error| http(url, error))
}

/// Writes a response's body at the file's place; returns its bytes. `progress` is told of those that are written.
pub(super) fn store(
    url: &str,
    response: Response<ureq::Body>,
    file: &mut fs::File,
    path: &Path,
    progress: impl Fn(u64),
) -> Result<u64, Error> {
    let announced = announced(&response);
    let mut body = response.into_body().into_reader();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut got = 0;
    loop {
        progress(got);
        let bytes = body
            .read(&mut chunk)
            .map_err(|error| http(url, ureq::Error::Io(error)))?;
        if bytes == 0 {
            break;
        }
        file.write_all(&chunk[..bytes])
            .map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull {
                    path: path.to_owned(),
                    fetched: got,
                    total: announced.unwrap_or(0),
                },
                _ => file_error(path, error),
            })?;
        got += bytes as u64;
    }
    match announced {
        Some(expected) if expected != got => Err(Error::Short {
            url: url.to_owned(),
            got,
            expected,
        }),
        _ => Ok(got),
    }
}

/// Bytes that a body has, as its server says.
fn announced(response: &Response<ureq::Body>) -> Option<u64> {
    let length = response.headers().get("content-length")?;
    length.to_str().ok()?.parse().ok()
}

pub(super) fn http(url: &str, source: ureq::Error) -> Error {
    Error::Http {
        url: url.to_owned(),
        source: Box::new(source),
    }
}
