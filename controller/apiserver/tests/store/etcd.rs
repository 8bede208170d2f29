//! A real etcd of one member, from the system's packages, with a data directory of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use apiserver::store::{
    Etcd,
    etcd::{Config, Tls},
    memory::Retention,
};

/// Deadline for what should come soon, however busy the machine.
const SOON: Duration = Duration::from_secs(60);

/// An etcd that runs; it is killed when this is dropped.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    secured: Option<Secured>,
    child: Option<Child>,
    prefixes: AtomicUsize,
}

/// Files that etcd's `--cert-file` and its siblings name.
pub(crate) struct Secured {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Server {
    /// Starts one without TLS.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one that asks for client certificates of its authority, if `secured`.
    pub(crate) fn start_with(secured: Option<Secured>) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            client_port: free_port(),
            peer_port: free_port(),
            secured,
            child: None,
            prefixes: AtomicUsize::new(0),
        };
        server.run();
        server
    }

    /// Runs it over its data directory, again after [`Server::kill`].
    pub(crate) fn run(&mut self) {
        let scheme = if self.secured.is_some() { "https" } else { "http" };
        let (client, peer) = (
            format!("{scheme}://127.0.0.1:{}", self.client_port),
            format!("http://127.0.0.1:{}", self.peer_port),
        );
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(files) = &self.secured {
            let option = |command: &mut Command, name: &str, file: &Path| {
                command.arg(name).arg(file);
            };
            option(&mut command, "--cert-file", &files.certificate);
            option(&mut command, "--key-file", &files.key);
            option(&mut command, "--trusted-ca-file", &files.authority);
            command.arg("--client-cert-auth");
        }
        let child = command
            .spawn()
            .expect("etcd starts; tests/programs/system-packages.sh installs it");
        self.child = Some(child);
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("SIGKILL is sent");
            child.wait().expect("it ends");
        }
    }

    /// Its address, `host:port`.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// A place in it that nobody has used.
    pub(crate) fn fresh(&self, tls: Option<Tls>) -> Config {
        let number = self.prefixes.fetch_add(1, Ordering::Relaxed);
        config(&self.endpoint(), &format!("/test{number}"), tls)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The usual history at this place.
pub(crate) fn config(endpoint: &str, prefix: &str, tls: Option<Tls>) -> Config {
    Config {
        endpoints: vec![endpoint.to_owned()],
        prefix: prefix.to_owned(),
        tls,
        retention: Retention::default(),
    }
}

/// Opens a store, as soon as etcd answers.
pub(crate) async fn open(config: &Config) -> Etcd {
    let opened = async {
        loop {
            match Etcd::open(config).await {
                Ok(store) => return store,
                Err(error) => eprintln!("not yet: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, opened)
        .await
        .expect("etcd answers soon")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
