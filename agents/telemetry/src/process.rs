//! Memory and processor time of processes, from `/proc`. Where there is no `/proc`, nothing is known.

use std::{fs, path::Path, time::Duration};

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Bytes resident, shared pages counted in full.
    pub resident_bytes: u64,
    /// Bytes resident, each shared page divided by the number of processes that share it: what several agents
    /// that map the same model file may be added up by.
    pub proportional_bytes: u64,
}

impl std::ops::Add for ProcessMemory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes + other.resident_bytes,
            proportional_bytes: self.proportional_bytes + other.proportional_bytes,
        }
    }
}

/// `/proc/…/stat` counts in these on all architectures that Linux still supports (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// What a process holds now; `None` if it is gone or not ours to look at. The kernel walks the page table for
/// this: a millisecond or so per GiB.
pub fn memory_of(pid: u32) -> Option<ProcessMemory> {
    parse_rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// Processor time of a process and of its children that have ended, user and system; `None` if it is gone.
pub fn processor_time_of(pid: u32) -> Option<Duration> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// How many processors this process may run on, by its affinity; `None` where the system does not tell.
pub fn allowed_processors() -> Option<usize> {
    parse_allowed(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Counts a list such as `0-2,5`.
fn parse_allowed(status: &str) -> Option<usize> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    };
    list.trim().split(',').map(count).sum()
}

/// A process and all its descendants that live now.
pub fn family_of(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut visited = 0;
    while let Some(parent) = family.get(visited).copied() {
        family.extend(children_of(parent).into_iter().filter(|child| *child != pid));
        visited += 1;
    }
    family
}

/// What a family holds together.
pub fn memory_of_family(pid: u32) -> Option<ProcessMemory> {
    family_of(pid)
        .into_iter()
        .filter_map(memory_of)
        .reduce(std::ops::Add::add)
}

/// Processor time of a family together, that of members who have ended included once their parents have
/// taken note.
pub fn processor_time_of_family(pid: u32) -> Option<Duration> {
    family_of(pid)
        .into_iter()
        .filter_map(processor_time_of)
        .reduce(std::ops::Add::add)
}

fn children_of(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")) else {
        return vec![];
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn parse_rollup(text: &str) -> Option<ProcessMemory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kibibytes| kibibytes * 1024)
    };
    Some(ProcessMemory {
        resident_bytes: bytes("Rss:")?,
        proportional_bytes: bytes("Pss:")?,
    })
}

/// Fields 14 to 17: user and system time, own and of children waited for. The name before them stands in
/// parentheses and may contain anything.
fn parse_stat(text: &str) -> Option<Duration> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_by_affinity() {
        let status = |list: &str| format!("Name:\tx\nCpus_allowed_list:\t{list}\nMems_allowed_list:\t0\n");
        assert_eq!(parse_allowed(&status("0-2,5")), Some(4));
        assert_eq!(parse_allowed(&status("7")), Some(1));
        assert_eq!(parse_allowed(&status("3-1")), None);
        assert_eq!(parse_allowed("Name:\tx\n"), None);
        assert!(allowed_processors() >= Some(1));
    }

    #[test]
    fn a_rollup_is_read() {
        let text =
            "5581-7ffd ---p 0 00:00 0 [rollup]\nRss:    1600 kB\nPss:     229 kB\nPss_Dirty:  112 kB\n";
        let expected = ProcessMemory {
            resident_bytes: 1600 * 1024,
            proportional_bytes: 229 * 1024,
        };
        assert_eq!(parse_rollup(text), Some(expected));
        assert_eq!(parse_rollup("nothing"), None);
    }

    #[test]
    fn processor_time_is_read_whatever_the_program_is_called() {
        let text = "42 (a ) b (c) S 1 42 42 0 -1 4194560 10 20 0 0 150 50 7 3 20 0 1 0 100 1000 200";
        assert_eq!(parse_stat(text), Some(Duration::from_millis(2100)));
        assert_eq!(parse_stat("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_and_a_child_are_one_family() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family_of(std::process::id());
        let (own, together) = (
            memory_of(std::process::id()),
            memory_of_family(std::process::id()),
        );
        let time = processor_time_of_family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&std::process::id()) && family.contains(&child.id()));
        assert!(
            own.unwrap().proportional_bytes > 0
                && together.unwrap().resident_bytes > own.unwrap().resident_bytes / 2
        );
        assert!(time.is_some());
    }

    #[test]
    fn a_process_that_is_gone_is_unknown() {
        assert_eq!((memory_of(u32::MAX), processor_time_of(u32::MAX)), (None, None));
    }
}
