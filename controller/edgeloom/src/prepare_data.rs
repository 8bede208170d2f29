//! `edgeloom prepare-data`: gives an agent's folder to the agent's user. In a pod, the kubelet makes a node's folder for
//! root, and an agent is not root; this runs before it, as root, and does nothing else.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// `edgeloom prepare-data`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The agent's folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The user, and group, to whom it shall belong.
    #[arg(long, value_name = "UID")]
    owner: u32,
}

/// Changes the owner of what belongs to somebody else.
///
/// # Errors
///
/// When the folder is not there, or the system refuses.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    give(&arguments.data, arguments.owner).with_context(|| {
        format!(
            "failed to give {} to user {}",
            arguments.data.display(),
            arguments.owner
        )
    })
}

/// The folder itself comes last: when it has its owner, so has everything in it, and later starts look no further.
fn give(folder: &Path, owner: u32) -> io::Result<()> {
    if belongs(folder, owner)? {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), owner)?;
        } else if !belongs(&entry.path(), owner)? {
            lchown(entry.path(), Some(owner), Some(owner))?;
        }
    }
    lchown(folder, Some(owner), Some(owner))
}

/// Links are looked at themselves, so that nothing outside the folder is touched.
fn belongs(path: &Path, owner: u32) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.uid(), metadata.gid()) == (owner, owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(path: &Path) -> (u32, u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    }

    #[test]
    fn what_is_in_the_folder_is_given_with_it_and_nothing_outside() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models/weights.gguf");
        let link = folder.path().join("models/link");
        fs::create_dir(folder.path().join("models")).unwrap();
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        let before = owner_of(outside.path());
        let given = give(folder.path(), 65532);
        if before.0 == 0 {
            given.unwrap();
            for path in [folder.path(), &file, &link] {
                assert_eq!(owner_of(path), (65532, 65532), "{}", path.display());
            }
            // A folder that belongs to its user is not looked through again.
            lchown(&file, Some(1), Some(1)).unwrap();
            give(folder.path(), 65532).unwrap();
            assert_eq!(owner_of(&file), (1, 1));
        } else {
            assert_eq!(given.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert_eq!(owner_of(outside.path()), before);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = give(&folder.path().join("missing"), 65532);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
