//! `edgeloom bench`: the solver's reproductions, on what is built in or on a user's own files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use solver::{
    region::Cluster,
    reproductions::{
        self, Row, Run,
        helix::{self, ModelFiles},
    },
};

use crate::output;

/// `edgeloom bench`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    of: Of,
}

#[derive(clap::Subcommand, Debug)]
enum Of {
    /// Solves published and stated instances, or a cluster of your own, and prints each figure with its bound and gap.
    Solver(Solver),
}

/// `edgeloom bench solver`
#[derive(clap::Args, Debug)]
struct Solver {
    /// Of what is built in, only those whose name contains each of these words.
    #[arg(value_name = "WORD", conflicts_with = "cluster")]
    words: Vec<String>,
    /// A cluster of your own, as Helix writes it: INI with [ComputeNode-N] and [Link-A-B].
    #[arg(long, value_name = "FILE", requires = "layer_times", requires = "model")]
    cluster: Option<PathBuf>,
    /// The folder of measured times: TYPE/prompt_bs2time.csv, TYPE/decode_bs2time.csv and, for types that are not built in,
    /// TYPE/limits.csv; or the folder above it, with one folder for each model.
    #[arg(long, value_name = "DIR", requires = "cluster")]
    layer_times: Option<PathBuf>,
    /// The model: llama-30b or llama-70b.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    model: Option<String>,
    /// Per cent of the usual search: less is faster and finds less.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    work: u64,
    /// `table` is for people, `json` is one line of JSON for each row.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Columns.
    #[default]
    Table,
    /// JSON lines.
    Json,
}

/// Runs and prints.
///
/// # Errors
///
/// When a file cannot be read or means nothing, or no reproduction has the words.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Of::Solver(arguments) = &arguments.of;
    let begin = Instant::now();
    let clock = || begin.elapsed().as_secs_f64();
    let run = Run {
        clock: &clock,
        peak_memory: &peak_memory,
        work_percent: arguments.work,
    };
    let own = match (&arguments.cluster, &arguments.layer_times, &arguments.model) {
        (Some(cluster), Some(times), Some(model)) => Some((cluster, times, model.as_str())),
        _ => None,
    };
    anyhow::ensure!(
        own.is_some() || reproductions::matching(&arguments.words).next().is_some(),
        "nothing that is built in is named {:?}; without words, all of it runs",
        arguments.words.join(" ")
    );
    if let Some((file, folder, model)) = own {
        let (name, cluster) = cluster_of(file, folder, model)?;
        print_header(arguments.output)?;
        for row in reproductions::cluster_rows(&run, &name, &cluster) {
            print(arguments.output, &row)?;
        }
        return Ok(());
    }
    print_header(arguments.output)?;
    for reproduction in reproductions::matching(&arguments.words) {
        forget_peak_memory();
        for row in (reproduction.run)(&run) {
            print(arguments.output, &row)?;
        }
    }
    Ok(())
}

/// A user's own cluster, and what its rows are called.
fn cluster_of(file: &Path, folder: &Path, model: &str) -> anyhow::Result<(String, Cluster)> {
    let model = helix::model(model)?;
    let name = file.display().to_string();
    let parsed = helix::cluster::parse(&name, &read(file)?)?;
    let inner = folder.join(model.folder);
    let folder = if inner.is_dir() { &inner } else { folder };
    let cluster = helix::assemble(&parsed, model, &model_files(folder)?)
        .with_context(|| format!("the times in {} cannot be used", folder.display()))?;
    let stem = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
    Ok((format!("{stem} {}", model.name), cluster))
}

/// The CSV files of a folder and of the folders in it.
fn model_files(folder: &Path) -> anyhow::Result<ModelFiles> {
    let mut texts = BTreeMap::new();
    for (name, path) in entries(folder)? {
        if path.is_dir() {
            let folder = name.to_lowercase();
            for (name, path) in entries(&path)? {
                add(&mut texts, format!("{folder}/{name}"), &path)?;
            }
        } else {
            add(&mut texts, name, &path)?;
        }
    }
    Ok(ModelFiles(texts))
}

fn entries(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let listed = fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.with_context(|| format!("{} cannot be listed", folder.display()))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(entries)
}

fn add(texts: &mut BTreeMap<String, String>, name: String, path: &Path) -> anyhow::Result<()> {
    if path.extension().is_some_and(|extension| extension == "csv") {
        texts.insert(name, read(path)?);
    }
    Ok(())
}

/// Tables and clusters are some kilobytes; whatever is larger is another file.
const FILE_BYTES_MAX: u64 = 64 << 20;

fn read(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("{} cannot be read", path.display());
    let bytes = fs::metadata(path).with_context(unreadable)?.len();
    anyhow::ensure!(
        bytes <= FILE_BYTES_MAX,
        "{} has {bytes} bytes, more than {FILE_BYTES_MAX}: it is no cluster and no table of times",
        path.display()
    );
    fs::read_to_string(path).with_context(unreadable)
}

fn print_header(form: Output) -> anyhow::Result<()> {
    if form == Output::Table {
        output::print(&format!("{}\n", reproductions::header()))?;
    }
    Ok(())
}

fn print(form: Output, row: &Row) -> anyhow::Result<()> {
    let line = match form {
        Output::Table => reproductions::line(row),
        Output::Json => serde_json::to_string(row)?,
    };
    output::print(&format!("{line}\n"))?;
    Ok(())
}

/// Begins the measurement of peak memory anew (proc(5), `clear_refs`). Where that is not allowed, peaks only grow.
fn forget_peak_memory() {
    let _not_allowed = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that was resident, in bytes; Linux only.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = kilobytes.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "[NodeNames]\ntotal_compute_nodes=1\n[ComputeNode-0]\ntype=H9\n[Link-source-0]\nbandwidth=1 * gbps\n\
        latency=0\n[Link-0-sink]\nbandwidth=1 * gbps\nlatency=0\n";

    fn rows(cluster: &str, files: &[(&str, &str)], model: &str) -> anyhow::Result<Vec<Row>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("own.ini");
        fs::write(&file, cluster)?;
        let times = folder.path().join("times");
        fs::create_dir_all(times.join("H9"))?;
        for (name, text) in files {
            fs::write(times.join(name), text)?;
        }
        let run = Run {
            clock: &|| 0.0,
            peak_memory: &|| None,
            work_percent: 1,
        };
        let (name, cluster) = cluster_of(&file, &times, model)?;
        Ok(reproductions::cluster_rows(&run, &name, &cluster).collect())
    }

    #[test]
    fn a_cluster_of_ones_own_is_solved() {
        let blocks: String = (1..=80).map(|layers| format!("{layers},1000,1,100\n")).collect();
        let files = [
            ("H9/prompt_bs2time.csv", "0,0\n250,2\n"),
            ("H9/decode_bs2time.csv", "0,0\n2,1\n"),
            (
                "H9/limits.csv",
                &format!("layers,kv_blocks,prompts_max,sequences_max\n{blocks}"),
            ),
        ];
        let rows = rows(CLUSTER, &files, "llama-70b").expect("good files");
        assert!(rows[0].name.starts_with("own llama-70b"), "{}", rows[0].name);
        assert!(rows[0].ours > 0.0);
        assert!(
            rows[0].gap.is_some_and(|gap| gap < 1e-6),
            "one node holds all layers: {rows:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_files_is_told() {
        let told = |cluster, files: &[(&str, &str)], model| {
            let error = rows(cluster, files, model).expect_err("bad files");
            crds::with_causes(error.as_ref())
        };
        assert!(told(CLUSTER, &[], "gpt-9").contains("one of llama-30b, llama-70b"));
        assert!(told("[NodeNames]\n", &[], "llama-70b").contains("total_compute_nodes=… is missing"));
        assert!(told(CLUSTER, &[], "llama-70b").contains("h9/prompt_bs2time.csv: is missing"));
        let bad = [("H9/prompt_bs2time.csv", "250,x\n")];
        assert!(told(CLUSTER, &bad, "llama-70b").contains("h9/prompt_bs2time.csv, line 1: \"x\""));
    }
}
