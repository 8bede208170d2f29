//! What only the system can say about a process, or do to it.

#![allow(unsafe_code)]

use std::{fs, time::Duration};

/// Processor time that this process has used, all threads.
pub(super) fn processor_time() -> Duration {
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

/// Makes the allocator give every large buffer back to the system when it is freed. Otherwise glibc keeps ever larger ones
/// for itself, and what the process holds depends on the history of its batches; no memory model could foresee that.
pub(super) fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator; called before other threads allocate.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
    }
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
