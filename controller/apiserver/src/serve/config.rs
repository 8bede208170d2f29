//! What a server is told at its start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Limits, certificate::CertificateFiles};
use crate::{
    audit,
    auth::Authorizer,
    server::REQUEST_TIMEOUT,
    store::{Location, etcd},
};

/// What a server is told at its start.
pub struct ServeConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where everything is kept; made if it is not there.
    pub data_dir: PathBuf,
    /// Where objects are kept (certificates are kept in the data directory in any case).
    pub storage: Storage,
    /// Where the administrator's kubeconfig is written, if anywhere.
    pub kubeconfig: Option<PathBuf>,
    /// Hostnames and addresses under which clients reach the server, besides the local ones and the one it listens on.
    pub names: Vec<String>,
    /// Certificates that are shown to clients that ask by one of their names; all others see the authority's.
    pub certificates: Vec<CertificateFiles>,
    /// Asked in this order about callers that are not masters.
    pub authorizers: Vec<Arc<dyn Authorizer>>,
    /// A bearer token of the administrator, if there should be one.
    pub admin_token: Option<String>,
    /// How many requests are worked on at once.
    pub limits: Limits,
    /// Longest time that a request other than a watch may take.
    pub request_timeout: Duration,
    /// How long the server goes on as before once it is to stop, while `/readyz` fails already: time for load balancers to notice.
    pub shutdown_delay: Duration,
    /// The audit log, if one is kept.
    pub audit: Option<audit::Config>,
}

impl ServeConfig {
    /// A durable server over `data_dir` that takes a free port of this machine and writes no kubeconfig.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: data_dir.into(),
            storage: Storage::DataDirectory,
            kubeconfig: None,
            names: Vec::new(),
            certificates: Vec::new(),
            authorizers: Vec::new(),
            admin_token: None,
            limits: Limits::default(),
            request_timeout: REQUEST_TIMEOUT,
            shutdown_delay: Duration::ZERO,
            audit: None,
        }
    }
}

/// Where a server keeps its objects.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In a file of the data directory.
    DataDirectory,
    /// In this process only.
    Memory,
    /// In etcd, which other servers may share: they share the authority and the key of tokens through it, too.
    Etcd(etcd::Config),
}

impl Storage {
    /// The location, for a server with this data directory.
    pub fn location(&self, data_dir: &Path) -> Location {
        match self {
            Self::DataDirectory => Location::in_directory(data_dir),
            Self::Memory => Location::Memory,
            Self::Etcd(config) => Location::Etcd(config.clone()),
        }
    }
}
