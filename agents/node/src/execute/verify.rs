//! Whether a file is the one that was meant, by its SHA-256. A file that was read once and has not changed since is
//! not read again: large weights take minutes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use ring::digest::{Context, SHA256};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Whether the file at `path` has this SHA-256 (lowercase hex); the digest that it has otherwise.
pub(super) fn verify(path: &Path, sha256: &str, data_dir: &Path) -> io::Result<Result<(), String>> {
    let marker = marker(path, sha256, data_dir)?;
    if marker.exists() {
        return Ok(Ok(()));
    }
    let found = sha256_of(path)?;
    if found != sha256 {
        return Ok(Err(found));
    }
    if let Some(folder) = marker.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(marker, path.display().to_string())?;
    Ok(Ok(()))
}

/// A file whose being there says that `path`, as it is now, was verified.
fn marker(path: &Path, sha256: &str, data_dir: &Path) -> io::Result<PathBuf> {
    let metadata = fs::metadata(path)?;
    let modified = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let name = format!("{} {} {modified} {sha256}", path.display(), metadata.len());
    Ok(data_dir
        .join("verified")
        .join(crds::api_key::content_hash(name.as_bytes())))
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match io::Read::read(&mut file, &mut chunk)? {
            0 => break,
            bytes => context.update(&chunk[..bytes]),
        }
    }
    let digest = context.finish();
    Ok(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
