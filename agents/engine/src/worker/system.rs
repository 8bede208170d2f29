//! Three facts about processes that the system is asked for.

#![allow(unsafe_code)]

use std::{fs, time::Duration};

/// Processor time that this process has used, all threads.
pub(crate) fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer leads to a timespec of ours; the clock exists on every Unix that we build for.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the clock of the own process can be read");
    let positive = "processor time is not negative";
    Duration::new(
        u64::try_from(time.tv_sec).expect(positive),
        u32::try_from(time.tv_nsec).expect(positive),
    )
}

/// Ends this process at once, whatever its other threads are doing. Destructors of llama.cpp must not run beside them.
pub(super) fn exit_at_once(status: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Resident bytes of a process: its own memory, mapped files and shared memory. `None` when it is gone.
pub(super) fn resident_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kibibytes| kibibytes * 1024)
}
