//! What was measured, as a table for people and as lines of JSON.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use crate::connection::Target;

/// Figures in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, f64, Unit)>);

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    PerSecond,
    Milliseconds,
    Mebibytes,
}

impl Figures {
    pub(crate) fn rate(&mut self, what: &str, per_second: f64) {
        self.0.push((what.to_owned(), per_second, Unit::PerSecond));
    }

    pub(crate) fn milliseconds(&mut self, what: &str, time: Duration) {
        self.0
            .push((what.to_owned(), time.as_secs_f64() * 1e3, Unit::Milliseconds));
    }

    /// The resident memory of the server's processes, if they are known.
    pub(crate) fn memory(&mut self, what: &str, target: &Target) -> Result<()> {
        let mut kibibytes = 0;
        for process in &target.processes {
            let status = fs::read_to_string(format!("/proc/{process}/status"))
                .with_context(|| format!("process {process} of {} is gone", target.name))?;
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = resident.and_then(|text| text.split_whitespace().next());
            kibibytes += number
                .and_then(|text| text.parse::<u32>().ok())
                .context("no VmRSS")?;
        }
        if kibibytes > 0 {
            self.0
                .push((what.to_owned(), f64::from(kibibytes) / 1024.0, Unit::Mebibytes));
        }
        Ok(())
    }
}

/// Prints one column for each server, and what the others are of the first; keeps the same in `target/bench/apiserver.jsonl`.
pub(crate) fn print(all: &[(&str, Figures)]) -> Result<()> {
    let mut text = format!("{:<34}", "");
    for (name, _) in all {
        text += &format!("{name:>20}");
    }
    for (name, _) in all.iter().skip(1) {
        text += &format!("{:>20}", format!("{name} : {}", all[0].0));
    }
    text += "\n";
    let maps: Vec<BTreeMap<&str, f64>> = all
        .iter()
        .map(|(_, figures)| {
            figures
                .0
                .iter()
                .map(|(what, value, _)| (what.as_str(), *value))
                .collect()
        })
        .collect();
    for (what, _, unit) in &all[0].1.0 {
        let unit_text = match unit {
            Unit::PerSecond => "",
            Unit::Milliseconds => " ms",
            Unit::Mebibytes => " MiB",
        };
        text += &format!("{what:<34}");
        let places = usize::from(*unit == Unit::Milliseconds) * 2;
        for map in &maps {
            let cell = map
                .get(what.as_str())
                .map_or("–".to_owned(), |value| format!("{value:.places$}{unit_text}"));
            text += &format!("{cell:>20}");
        }
        for map in maps.iter().skip(1) {
            let ratio = map.get(what.as_str()).zip(maps[0].get(what.as_str()));
            let cell = ratio.map_or("–".to_owned(), |(own, first)| format!("{:.2}", own / first));
            text += &format!("{cell:>20}");
        }
        text += "\n";
    }
    println!("{text}");
    let lines: String = all
        .iter()
        .flat_map(|(name, figures)| figures.0.iter().map(move |figure| (name, figure)))
        .map(|(name, (what, value, _))| {
            format!("{}\n", json!({"server": name, "figure": what, "value": value}))
        })
        .collect();
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(
            || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
            Into::into,
        )
        .join("bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("apiserver.jsonl"), lines)?;
    Ok(())
}
