//! `edgeloom apiserver backup`, `restore` and `migrate`: a store's whole content, out of a server that runs or a place that rests, and
//! into another place.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use apiserver::store::{Location, Range, backup::Backup};
use futures::AsyncBufReadExt as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::place;
use crate::{connect, output};

/// Writes everything that an API server holds to a file, while it runs
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BackupArguments {
    /// The file that is written (mode 0600: it holds Secrets)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Reads this place instead of asking a server: a data directory that no server uses, or etcd://HOST:PORT[,HOST:PORT…]
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["kubeconfig", "context"])]
    from: Option<String>,
    #[command(flatten)]
    connect: connect::Arguments,
    #[command(flatten)]
    etcd: place::Etcd,
}

/// Puts a backup in the place of everything that a data directory or an etcd holds
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where it is put: a data directory that no server uses, or etcd://HOST:PORT[,HOST:PORT…]
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Overwrites what is there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    etcd: place::Etcd,
}

/// Copies everything from one place to another. Stop the servers of both first
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MigrateArguments {
    /// What is copied: a data directory, or etcd://HOST:PORT[,HOST:PORT…]
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where it is put: a data directory, or etcd://HOST:PORT[,HOST:PORT…]
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Overwrites what is there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    etcd: place::Etcd,
}

/// # Errors
/// When the server or the place does not give its content, or the file cannot be written.
pub(crate) async fn back_up(arguments: BackupArguments) -> anyhow::Result<()> {
    let BackupArguments {
        output,
        from,
        connect,
        etcd,
    } = arguments;
    // Whole or not at all: a file of this name is a backup.
    let beside = output.with_extension("partial");
    let failed = || format!("cannot write {}", beside.display());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .with_context(failed)?;
    let mut file = BufWriter::new(file);
    match from {
        Some(place) => {
            for line in read(&place, &etcd).await?.lines() {
                file.write_all(&line).with_context(failed)?;
            }
        }
        None => download(&connect, &mut file).await?,
    }
    file.flush().with_context(failed)?;
    file.get_ref().sync_all().with_context(failed)?;
    let backup = read_file(&beside)?;
    fs::rename(&beside, &output).with_context(|| format!("cannot write {}", output.display()))?;
    tell(&format!(
        "{} entries at revision {} are in {}\n",
        backup.entries.len(),
        backup.revision,
        output.display()
    ))
}

/// # Errors
/// When the backup is not whole, or the place is not empty or cannot be written.
pub(crate) async fn restore(arguments: RestoreArguments) -> anyhow::Result<()> {
    let backup = read_file(&arguments.input)?;
    put(&backup, &arguments.to, &arguments.etcd, arguments.replace).await
}

/// # Errors
/// When a place cannot be read, or the other is not empty or cannot be written.
pub(crate) async fn migrate(arguments: MigrateArguments) -> anyhow::Result<()> {
    ensure!(
        arguments.from != arguments.to,
        "--from and --to are the same place"
    );
    let backup = read(&arguments.from, &arguments.etcd).await?;
    put(&backup, &arguments.to, &arguments.etcd, arguments.replace).await
}

async fn read(place: &str, etcd: &place::Etcd) -> anyhow::Result<Backup> {
    let location = etcd.location(place)?;
    if let Location::File(path) = &location {
        ensure!(
            path.exists(),
            "{place} holds no objects: there is no {}",
            path.display()
        );
    }
    let failed = || format!("cannot read {place} (a data directory must not be in use by a server)");
    let store = location.open().await.with_context(failed)?;
    Backup::take(store.as_ref()).await.with_context(failed)
}

async fn put(backup: &Backup, place: &str, etcd: &place::Etcd, replace: bool) -> anyhow::Result<()> {
    let location = etcd.location(place)?;
    if let Location::File(path) = &location {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let failed = || format!("cannot write {place} (a data directory must not be in use by a server)");
    if !replace {
        let store = location.open().await.with_context(failed)?;
        let first = Range {
            limit: Some(1),
            ..Range::default()
        };
        let found = store.list("/", first).await.with_context(failed)?;
        ensure!(
            found.entries.is_empty(),
            "{place} is not empty; --replace puts the backup in the place of what is there"
        );
    }
    let progress = bar(backup.entries.len(), "written");
    let outcome = location
        .restore(backup, |done| progress.set_position(done as u64))
        .await;
    progress.finish_and_clear();
    let revision = outcome.with_context(failed)?;
    tell(&format!(
        "{} entries are in {place}, at revision {revision}\n",
        backup.entries.len()
    ))
}

/// Asks a running server.
async fn download(connect: &connect::Arguments, file: &mut impl std::io::Write) -> anyhow::Result<()> {
    let client = connect.client().await?;
    let request = http::Request::get("/backup").body(Vec::new())?;
    let answer = client
        .request_stream(request)
        .await
        .context("the API server gives no backup")?;
    let mut answer = std::pin::pin!(answer);
    let progress = ProgressBar::new_spinner().with_message("entries read");
    let mut line = Vec::new();
    while answer
        .read_until(b'\n', &mut line)
        .await
        .context("the API server broke off its backup")?
        > 0
    {
        file.write_all(&line).context("cannot write the backup")?;
        line.clear();
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

fn read_file(path: &Path) -> anyhow::Result<Backup> {
    let failed = || format!("{} cannot be used", path.display());
    let file = File::open(path).with_context(failed)?;
    Backup::read(BufReader::new(file)).with_context(failed)
}

fn bar(length: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("the template is constant");
    ProgressBar::new(length as u64)
        .with_style(style)
        .with_message(what)
}

fn tell(text: &str) -> anyhow::Result<()> {
    output::print(text).context("cannot print")
}
