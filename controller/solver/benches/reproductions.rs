//! Runs the reproductions and prints one table: `cargo bench -p solver --bench reproductions [-- WORD…]` runs those whose
//! name contains every word. Writes the rows as JSON lines to `bench/solver.jsonl` in Cargo's target folder.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, prints and writes its figures"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use solver::reproductions::{Run, header, line, matching};

fn main() -> std::io::Result<()> {
    // Cargo passes --bench, and test runners pass options of their own.
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let begin = Instant::now();
    let clock = || begin.elapsed().as_secs_f64();
    let run = Run {
        clock: &clock,
        peak_memory: &peak_memory,
        work_percent: 100,
    };
    let mut lines = String::new();
    println!("{}", header());
    for reproduction in matching(&filter) {
        forget_peak_memory();
        for row in (reproduction.run)(&run) {
            println!("{}", line(&row));
            let json = serde_json::to_string(&row).map_err(std::io::Error::other)?;
            writeln!(lines, "{json}").map_err(std::io::Error::other)?;
        }
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap_or(Path::new("target"));
    let file = target.join("bench/solver.jsonl");
    fs::create_dir_all(target.join("bench"))?;
    fs::write(&file, lines)?;
    println!("{:.0} s in all; rows are in {}", clock(), file.display());
    Ok(())
}

/// The most memory that was resident since it was last forgotten, in bytes; Linux only.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = kilobytes.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Begins the measurement of peak memory anew (proc(5), `clear_refs`). Where that is not allowed, peaks only grow.
fn forget_peak_memory() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}
