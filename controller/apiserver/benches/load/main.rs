//! The same load on any number of API servers, one after the other, and a table that sets them beside one another.
//!
//! `cargo bench -p apiserver --bench load -- NAME=KUBECONFIG[,PID…] …`; the first server is the yardstick of the ratios. Process ids are
//! those whose memory counts (kube-apiserver and its etcd, for instance). `make bench-apiserver` starts servers and calls this.
//!
//! The client writes and reads bytes on connections of its own, HTTP/1.1 over TLS, and parses nothing: on a small machine, what it
//! costs is taken from the server.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod connection;
mod figures;
mod phases;

use std::time::Duration;

use anyhow::{Context, Result};
use connection::Target;
use figures::Figures;

/// Objects of which the memory is told.
const OBJECTS: [usize; 2] = [10_000, 100_000];
/// Watches of the fan-out.
const WATCHERS: [usize; 3] = [1, 100, 1_000];
/// Set to another number of objects at which to stop, for a shorter run.
const MOST_OBJECTS: &str = "BENCH_OBJECTS_MAX";

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if named.is_empty() {
        // `make bench` runs the benchmarks of all rooms, and has no servers.
        println!(
            "load on API servers: run `make bench-apiserver`, or name servers: -- NAME=KUBECONFIG[,PID…] …"
        );
        return Ok(());
    }
    // Fails only if somebody installed one before, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let most: usize = match std::env::var(MOST_OBJECTS) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{MOST_OBJECTS} is no number"))?,
        Err(_) => OBJECTS[1],
    };
    let targets: Vec<Target> = named
        .iter()
        .map(|text| Target::parse(text))
        .collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = Vec::new();
    for target in &targets {
        eprintln!("measuring {}", target.name);
        let figures = runtime.block_on(measure(target, most));
        all.push((
            target.name.as_str(),
            figures.with_context(|| target.name.clone())?,
        ));
    }
    figures::print(&all)
}

async fn measure(target: &Target, most: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    figures.memory("memory at rest", target)?;
    phases::prepare(target).await?;
    figures.rate(
        "creates/s, 1 client",
        phases::creates(target, "one", 1, 400).await?,
    );
    figures.rate(
        "creates/s, 32 clients",
        phases::creates(target, "many", 32, 4_000).await?,
    );
    figures.rate(
        "status patches/s, 32 clients",
        phases::patches(target, "many", 32, 4_000).await?,
    );
    figures.rate(
        "applies/s, 32 clients",
        phases::applies(target, "many", 32, 2_000).await?,
    );
    figures.rate(
        "gets/s, 32 clients",
        phases::gets(target, "many", 32, 8_000).await?,
    );
    figures.rate("objects listed/s, pages of 500", phases::lists(target, 4).await?);
    for watchers in WATCHERS {
        let spread = phases::fan_out(target, watchers, 50).await?;
        figures.milliseconds(&format!("event to {watchers} watches, p50"), spread.median);
        figures.milliseconds(&format!("event to {watchers} watches, p99"), spread.high);
    }
    let mut there = phases::count(target).await?;
    for objects in OBJECTS.into_iter().filter(|objects| *objects <= most) {
        if objects > there {
            phases::creates(target, &format!("fill{objects}"), 32, objects - there).await?;
            there = objects;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        figures.memory(&format!("memory with {objects} objects"), target)?;
    }
    Ok(figures)
}
