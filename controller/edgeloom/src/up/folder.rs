//! The data folder of `edgeloom up`:
//!
//! | in it | is |
//! | --- | --- |
//! | `up.lock` | held while it runs |
//! | `up.json` | who runs where, for programs (see [`super::board`]) |
//! | `kubeconfig` | the administrator's |
//! | `logs/NAME.log` | what each process says |
//! | `control-plane/` | the API server's store and keys |
//! | `agents/NAME/` | each agent's kubeconfig, keys, weights and last orders |

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The folder, held against a second `edgeloom up`.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, and holds it.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or another `edgeloom up` holds it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot use the data folder {}", path.display());
        fs::create_dir_all(path.join("logs")).with_context(failed)?;
        let root = fs::canonicalize(path).with_context(failed)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(root.join("up.lock"))
            .with_context(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => anyhow::bail!(
                "another `edgeloom up` uses {}; stop it, or choose another folder with --data",
                root.display()
            ),
            Err(fs::TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        for part in [root.join("control-plane"), root.join("agents")] {
            fs::create_dir_all(part).with_context(failed)?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Who runs where.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("up.json")
    }

    /// What Prometheus scrapes.
    pub(crate) fn targets(&self) -> PathBuf {
        self.root.join("targets.json")
    }

    /// The administrator's kubeconfig, unless another place was asked for.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The log of a process.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The control plane's own folder.
    pub(crate) fn control_plane(&self) -> PathBuf {
        self.root.join("control-plane")
    }

    /// Where the control plane says that it answers.
    pub(crate) fn announcement(&self) -> PathBuf {
        self.root.join("control-plane.json")
    }

    /// An agent's own folder.
    pub(crate) fn agent(&self, node: &str) -> PathBuf {
        self.root.join("agents").join(node)
    }

    /// An agent's kubeconfig.
    pub(crate) fn agent_kubeconfig(&self, node: &str) -> PathBuf {
        self.agent(node).join("kubeconfig")
    }

    /// What agents hold while they measure, so that they do it one at a time.
    pub(crate) fn benchmark_lock(&self) -> PathBuf {
        self.root.join("benchmark.lock")
    }
}

/// The last lines of a log, or why there are none.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    /// More than ten long lines; logs may be large.
    const BYTES: u64 = 16 * 1024;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let all: Vec<_> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let held = Folder::take(&path).unwrap();
        let refused = Folder::take(&path).unwrap_err().to_string();
        assert!(
            refused.contains("another `edgeloom up`") && refused.contains("--data"),
            "{refused}"
        );
        drop(held);
        Folder::take(&path).unwrap();
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 2), "two\nthree");
        assert_eq!(tail(&log, 9), "one\ntwo\nthree");
        assert!(tail(&folder.path().join("none"), 2).starts_with('('));
    }
}
