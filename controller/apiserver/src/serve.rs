//! A server that others can reach: TLS, identities, a data directory, a kubeconfig, and an end that loses nothing.
//!
//! [`start`] does, in this order: take the data directory, open the store, open the authority, bind, write the kubeconfig,
//! serve. What a program needs afterwards is in [`Running`].
//!
//! | in the data directory | is |
//! | --- | --- |
//! | `lock` | held while a server runs |
//! | `objects.redb` | the store, unless it is elsewhere ([`Storage`]) |
//! | `pki/` | the authority, the certificates it keeps, the key that signs tokens; all of mode 0600 |

mod certificate;
mod config;
mod limits;
mod listener;
mod lock;
mod shared_pki;
mod stopping;
mod tls;

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    ApiServer, Options,
    audit::{self, Audit},
    auth::{
        Gate, MASTERS, UserInfo,
        authority::{self, Authority, Credential},
        bootstrap::BootstrapTokens,
        kubeconfig,
        tokens::{self, Tokens},
    },
    controllers,
    signing::signer,
    store,
};
pub use certificate::CertificateFiles;
use certificate::{Certificates, Sources};
pub use config::{ServeConfig, Storage};
pub use limits::Limits;
use lock::{Lock, Refused};
use stopping::Stopping;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process serves this data directory. Stop it, or choose another directory.
    #[error("{path} is in use by another server{holder}; stop it, or choose another data directory")]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Its process, as far as it is known.
        holder: String,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}")]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Store(#[from] store::Error),
    /// The authority or the key of tokens cannot be shared with other servers.
    #[error(transparent)]
    SharedPki(#[from] shared_pki::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate authority does not work.
    #[error("certificate authority: {0}")]
    Authority(#[from] authority::Error),
    /// Tokens cannot be signed.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    /// A file of a certificate cannot be read.
    #[error("cannot read the certificate or key {path}: {source}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The audit log cannot be written.
    #[error("cannot write the audit log {path}: {source}")]
    Audit {
        /// Its file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The server's certificate cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] tls::Error),
    /// The kubeconfig cannot be written.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kubeconfig::Error),
    /// A namespace or another object that every server has cannot be made.
    #[error("cannot make what every server has: {0}")]
    Bootstrap(crate::Status),
}

/// A server that runs. Dropping it does not stop the server; cancelling the token that [`start`] was given does.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// `https://host:port`, as clients on this machine reach it.
    pub url: String,
    /// The administrator's kubeconfig, if one was asked for.
    pub kubeconfig: Option<PathBuf>,
    server: ApiServer,
    authority: Arc<Authority>,
    tokens: Arc<Tokens>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Running")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The server itself.
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// A router for this process, in which every request is the administrator's: `kube::Client::new(router, "default")`.
    pub fn admin_router(&self) -> Router {
        self.router_for(UserInfo::authenticated("edgeloom:admin", [MASTERS]))
    }

    /// A router for this process, in which every request is `user`'s.
    pub fn router_for(&self, user: UserInfo) -> Router {
        Gate::new(self.tokens.clone(), self.server.authorizer().clone())
            .for_user(user)
            .guard(self.server.router())
    }

    /// The authority's certificate, PEM: what clients trust.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// A certificate with which a client is `user` in `group`.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn issue_client(
        &self,
        user: &str,
        group: &str,
        lifetime: Duration,
    ) -> Result<Credential, authority::Error> {
        self.authority
            .issue_client(user, group, lifetime, Timestamp::now())
    }

    /// A bearer token with which a client is `user`.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn issue_token(&self, user: &UserInfo, lifetime: Duration) -> Result<String, tokens::Error> {
        self.tokens.issue(user, &[], lifetime, Timestamp::now())
    }

    /// Writes a kubeconfig (mode 0600) with which a client is `user` in `group`: what an agent is started with.
    ///
    /// # Errors
    /// When a name is not valid in a certificate, or the file cannot be written.
    pub fn write_kubeconfig(
        &self,
        path: &Path,
        user: &str,
        group: &str,
        lifetime: Duration,
    ) -> Result<(), Error> {
        let credential = self.issue_client(user, group, lifetime)?;
        Ok(kubeconfig::write(
            path,
            &kubeconfig::text(&self.url, self.authority_pem(), &credential),
        )?)
    }

    /// Waits until the server has stopped, for whatever reason.
    pub async fn stopped(&mut self) {
        // A panic of the task has been reported by then; the server is stopped either way.
        let _ = (&mut self.task).await;
    }

    /// Stops the server and waits until it has: watches end, requests in flight are answered. The store closes when the last
    /// router of this process is gone, too.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.stopped().await;
    }
}

/// Starts a server, which runs until `stop` is cancelled. It answers requests when this returns.
///
/// # Errors
/// See [`Error`]; nothing runs then.
pub async fn start(config: ServeConfig, stop: CancellationToken) -> Result<Running, Error> {
    let ServeConfig {
        listen,
        data_dir,
        storage,
        kubeconfig,
        names,
        certificates,
        authorizers,
        admin_token,
        limits,
        request_timeout,
        shutdown_delay,
        audit,
    } = config;
    let now = Timestamp::now();

    let lock = take_directory(&data_dir)?;
    let store = storage.location(&data_dir).open().await?;
    let pki = data_dir.join("pki");
    if matches!(storage, Storage::Etcd(_)) {
        shared_pki::adopt(store.as_ref(), &pki, now).await?;
    }
    let authority = Arc::new(Authority::open(&pki, now)?);
    let mut tokens = Tokens::open(&pki.join("tokens.key"))?;
    if let Some(token) = admin_token {
        tokens.accept(&token, UserInfo::authenticated("edgeloom:admin", [MASTERS]));
    }
    let tokens = Arc::new(tokens);

    let listen_error = |source| Error::Listen {
        address: listen,
        source,
    };
    let listener = TcpListener::bind(listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let url = format!("https://{}", reachable(address));
    let sources = Sources {
        authority: authority.clone(),
        names: all_names(address, names),
        files: certificates,
        kubeconfig: kubeconfig.clone().map(|path| (path, url.clone())),
    };
    let certificates = Certificates::open(sources, now)?;

    let options = Options {
        authorizers,
        request_timeout,
        root_certificate: Some(authority.certificate_pem().to_owned()),
        ..Options::default()
    };
    let server = ApiServer::new(store, options);
    let audit = audit.map(|config| open_audit(config, &server)).transpose()?;
    let (audit, audit_thread) = audit.unzip();

    // Last of what can fail: from here on something runs.
    let stop = stop.child_token();
    let controllers_stop = CancellationToken::new();
    let controllers = controllers::start(&server, controllers_stop.clone())
        .await
        .map_err(Error::Bootstrap)?;
    let signer = sign_requests(&server, authority.clone(), controllers_stop.clone());
    let gate = Gate::new(tokens.clone(), server.authorizer().clone())
        .with_bootstrap_tokens(BootstrapTokens::of(&server));
    let limited = limits::limited(
        gate.guard(server.router()),
        limits,
        server.metrics().dropped_requests(),
    );
    let stopping = Stopping {
        server: server.clone(),
        delay: shutdown_delay,
        audit_thread,
        controllers: Box::pin(async {
            tokio::join!(controllers, signer);
        }),
        controllers_stop,
        lock,
    };
    let task = tokio::spawn(stopping.serve_until(
        stop.clone(),
        listener,
        certificates,
        audit::audited(limited, audit),
    ));
    Ok(Running {
        address,
        url,
        kubeconfig,
        server,
        authority,
        tokens,
        stop,
        task,
    })
}

/// Signs approved requests until `stop`.
fn sign_requests(
    server: &ApiServer,
    authority: Arc<Authority>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let run = move |server: ApiServer| {
        let authority = authority.clone();
        async move { signer::run(&server, &authority).await }
    };
    let task = tokio::spawn(controllers::until(stop, "signer", server.clone(), run));
    // A panic of the task has been reported by then.
    async { drop(task.await) }
}

fn open_audit(
    config: audit::Config,
    server: &ApiServer,
) -> Result<(Audit, std::thread::JoinHandle<()>), Error> {
    let path = config.path.clone();
    Audit::open(config, server.metrics().audited()).map_err(|source| Error::Audit { path, source })
}

fn take_directory(path: &Path) -> Result<Lock, Error> {
    let directory_error = |source| Error::Directory {
        path: path.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(directory_error)?;
    // It may have been there before, and be open to others.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(directory_error)?;
    Lock::take(path).map_err(|refused| match refused {
        Refused::Io(source) => directory_error(source),
        Refused::Held(process) => {
            let holder = if process.is_empty() {
                String::new()
            } else {
                format!(" (process {process})")
            };
            Error::InUse {
                path: path.to_owned(),
                holder,
            }
        }
    })
}

/// The names that the server's certificate is for.
fn all_names(address: SocketAddr, extra: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
    ]
    .map(str::to_owned)
    .to_vec();
    let listening = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
    for name in extra.into_iter().chain(listening) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The address at which a client on this machine reaches a server that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_at_home() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reached("[::]:1"), "[::1]:1");
        assert_eq!(reached("192.0.2.7:1"), "192.0.2.7:1");
    }
}
