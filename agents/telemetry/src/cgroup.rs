//! The real limits of a pod or container: what its control group allows, version 1 or 2. A process may sit
//! several groups deep, and each level may have a limit: the least counts. Reads files below a root that is
//! an argument; sets no limit.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the control groups of a process allow and have used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The least memory limit on the way up; `None` for no limit.
    pub memory: Option<MemoryLimit>,
    /// Cores, from the quota of processor time; `None` for no limit.
    pub cores: Option<f64>,
}

/// A group's memory limit and how much of it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes allowed.
    pub limit_bytes: u64,
    /// Bytes in use that could not be dropped: file pages that are not active are not counted.
    pub used_bytes: u64,
}

impl MemoryLimit {
    /// Bytes that are left.
    pub fn available_bytes(self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// Version 1 writes "no limit" as the largest multiple of a page; nothing real is as large as this.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// The limits of this process.
pub fn of_this_process() -> Limits {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limits(&groups, Path::new("/sys/fs/cgroup"))
}

/// The limits of a process whose `/proc/…/cgroup` says `groups`, with the hierarchies mounted at `root`.
/// What cannot be read limits nothing.
pub fn limits(groups: &str, root: &Path) -> Limits {
    let mut limits = Limits::default();
    for line in groups.lines() {
        // hierarchy number : controllers : path
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            for group in upwards(root, path) {
                limits.tighten_memory(memory_v2(&group));
                limits.tighten_cores(cores_v2(&group));
            }
            continue;
        }
        for controller in controllers.split(',') {
            // Mounted under the controllers' names, together or by a link.
            let mount = [root.join(controllers), root.join(controller)]
                .into_iter()
                .find(|mount| mount.is_dir());
            let Some(mount) = mount else { continue };
            for group in upwards(&mount, path) {
                match controller {
                    "memory" => limits.tighten_memory(memory_v1(&group)),
                    "cpu" => limits.tighten_cores(cores_v1(&group)),
                    _ => {}
                }
            }
        }
    }
    limits
}

impl Limits {
    fn tighten_memory(&mut self, found: Option<MemoryLimit>) {
        let Some(found) = found.filter(|found| found.limit_bytes < NO_LIMIT_BYTES) else {
            return;
        };
        if self
            .memory
            .is_none_or(|known| found.available_bytes() < known.available_bytes())
        {
            self.memory = Some(found);
        }
    }

    fn tighten_cores(&mut self, found: Option<f64>) {
        let Some(found) = found.filter(|cores| *cores > 0.0) else {
            return;
        };
        self.cores = Some(self.cores.map_or(found, |known| known.min(found)));
    }
}

/// The group's folder and those above it. In a container the path may be the host's, of which only the
/// root is mounted: what does not exist is skipped.
fn upwards(mount: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let is_inside = relative
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let deepest = if is_inside {
        mount.join(relative)
    } else {
        mount.to_owned()
    };
    let depth = if is_inside {
        relative.components().count()
    } else {
        0
    };
    deepest
        .ancestors()
        .take(depth + 1)
        .map(Path::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// One line `name value` of a `memory.stat` file.
fn stat(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn memory_v2(group: &Path) -> Option<MemoryLimit> {
    // "max" is no number, and no limit.
    let limit_bytes = number(&group.join("memory.max"))?;
    let used = number(&group.join("memory.current"))?;
    let idle = stat(&group.join("memory.stat"), "inactive_file").unwrap_or(0);
    Some(MemoryLimit {
        limit_bytes,
        used_bytes: used.saturating_sub(idle),
    })
}

fn memory_v1(group: &Path) -> Option<MemoryLimit> {
    let own_bytes = number(&group.join("memory.limit_in_bytes"))?;
    // A container does not see the groups above its own; the kernel tells the least of their limits here.
    let above_bytes = stat(&group.join("memory.stat"), "hierarchical_memory_limit");
    let limit_bytes = above_bytes.map_or(own_bytes, |above| above.min(own_bytes));
    let used = number(&group.join("memory.usage_in_bytes"))?;
    let idle = stat(&group.join("memory.stat"), "total_inactive_file").unwrap_or(0);
    Some(MemoryLimit {
        limit_bytes,
        used_bytes: used.saturating_sub(idle),
    })
}

fn cores_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn cores_v1(group: &Path) -> Option<f64> {
    // −1 is no limit, and no u64.
    let quota = number(&group.join("cpu.cfs_quota_us"))?;
    let period = number(&group.join("cpu.cfs_period_us"))?;
    Some(quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn version_2_limits_are_read_and_the_tightest_level_counts() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("pod/memory.max", "1000000\n"),
                ("pod/memory.current", "600000\n"),
                ("pod/memory.stat", "anon 100\ninactive_file 200000\n"),
                ("pod/cpu.max", "150000 100000\n"),
                ("pod/box/memory.max", "max\n"),
                ("pod/box/memory.current", "500000\n"),
                ("pod/box/cpu.max", "max 100000\n"),
            ],
        );
        let limits = limits("0::/pod/box\n", root.path());
        let memory = limits.memory.unwrap();
        assert_eq!(
            (memory.limit_bytes, memory.used_bytes, memory.available_bytes()),
            (1_000_000, 400_000, 600_000)
        );
        assert_eq!(limits.cores, Some(1.5));
    }

    #[test]
    fn version_1_limits_are_read_and_its_largest_number_is_no_limit() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "5\n"),
                ("memory/pod/memory.limit_in_bytes", "4096\n"),
                ("memory/pod/memory.usage_in_bytes", "1096\n"),
                (
                    "memory/pod/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 96\n",
                ),
                ("cpu,cpuacct/pod/cpu.cfs_quota_us", "50000\n"),
                ("cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let limits = limits(
            "5:memory:/pod\n4:cpu,cpuacct:/pod\n1:name=systemd:/pod\n",
            root.path(),
        );
        assert_eq!(
            limits.memory,
            Some(MemoryLimit {
                limit_bytes: 4096,
                used_bytes: 1000
            })
        );
        assert_eq!(limits.cores, Some(0.5));
    }

    #[test]
    fn a_container_that_sees_only_its_own_root_finds_its_limit_there() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("memory.max", "7000"), ("memory.current", "1000")]);
        assert_eq!(
            limits("0::/\n", root.path()).memory.unwrap().available_bytes(),
            6000
        );
        assert_eq!(
            limits("0::/../../elsewhere\n", root.path())
                .memory
                .unwrap()
                .available_bytes(),
            6000
        );
        assert_eq!(
            limits("0::/on/the/host\n", root.path())
                .memory
                .unwrap()
                .available_bytes(),
            6000
        );
    }

    #[test]
    fn version_1_tells_a_container_the_limit_of_its_pod() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "1000\n"),
                (
                    "memory/memory.stat",
                    "cache 5\nhierarchical_memory_limit 8192\ntotal_inactive_file 0\n",
                ),
                ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
                ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let groups = "9:memory:/kubepods/pod1/box\n3:cpu,cpuacct:/kubepods/pod1/box\n0::/system.slice\n";
        let limits = limits(groups, root.path());
        assert_eq!(
            limits.memory,
            Some(MemoryLimit {
                limit_bytes: 8192,
                used_bytes: 1000
            })
        );
        assert_eq!(limits.cores, None);
    }

    #[test]
    fn nothing_to_read_is_no_limit() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(limits("", root.path()), Limits::default());
        assert_eq!(limits("0::/gone\nnonsense\n", root.path()), Limits::default());
    }
}
