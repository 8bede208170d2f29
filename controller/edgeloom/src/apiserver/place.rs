//! Where an API server's objects are, as a person says it: a data directory, or `etcd://HOST:PORT[,HOST:PORT…]`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use apiserver::store::{
    Location,
    etcd::{ClientCertificate, Config, Tls},
    memory::Retention,
};

const SCHEME: &str = "etcd://";

/// How etcd is reached; of no meaning to other places.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(crate) struct Etcd {
    /// What stands before every key in etcd
    #[arg(long = "etcd-prefix", value_name = "PREFIX", default_value = "/edgeloom")]
    prefix: String,
    /// The authority of etcd's certificates (PEM); without it connections are not secured
    #[arg(long = "etcd-cafile", value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The certificate that is shown to etcd (PEM)
    #[arg(long = "etcd-certfile", value_name = "FILE", requires_all = ["authority", "key"])]
    certificate: Option<PathBuf>,
    /// The key of --etcd-certfile (PEM)
    #[arg(long = "etcd-keyfile", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl Etcd {
    /// What `etcd://…` means; `None` for anything else.
    ///
    /// # Errors
    /// When it names no member, or a file cannot be read.
    pub(crate) fn config(&self, place: &str) -> anyhow::Result<Option<Config>> {
        let Some(members) = place.strip_prefix(SCHEME) else {
            return Ok(None);
        };
        let endpoints: Vec<String> = members
            .trim_end_matches('/')
            .split(',')
            .map(str::to_owned)
            .collect();
        for endpoint in &endpoints {
            let port = endpoint.rsplit_once(':').and_then(|(host, port)| {
                let known = !host.is_empty() && !host.contains('/');
                known.then(|| port.parse::<u16>().ok()).flatten()
            });
            ensure!(
                port.is_some(),
                "{place}: {endpoint:?} is no HOST:PORT; etcd is named as {SCHEME}HOST:PORT[,HOST:PORT…]"
            );
        }
        ensure!(
            self.prefix.starts_with('/') && self.prefix.len() > 1,
            "--etcd-prefix {:?} must begin with a slash, such as /edgeloom",
            self.prefix
        );
        Ok(Some(Config {
            endpoints,
            prefix: self.prefix.clone(),
            tls: self.tls()?,
            retention: Retention::default(),
        }))
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let Some(authority) = &self.authority else {
            return Ok(None);
        };
        let client = match self.certificate.as_deref().zip(self.key.as_deref()) {
            Some((certificate, key)) => Some(ClientCertificate {
                certificate_pem: read(certificate)?,
                key_pem: read(key)?,
            }),
            None => None,
        };
        Ok(Some(Tls {
            authority_pem: read(authority)?,
            client,
        }))
    }

    /// The place that is meant, which a command reads or writes while no server does.
    ///
    /// # Errors
    /// When it is no place.
    pub(crate) fn location(&self, place: &str) -> anyhow::Result<Location> {
        if let Some(config) = self.config(place)? {
            return Ok(Location::Etcd(config));
        }
        if place.contains("://") {
            bail!("{place}: a place is a data directory, or {SCHEME}HOST:PORT[,HOST:PORT…]");
        }
        Ok(Location::in_directory(Path::new(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_an_etcd() {
        let etcd = Etcd {
            prefix: "/edgeloom".to_owned(),
            ..Etcd::default()
        };
        let config = etcd.config("etcd://a:2379,b:2380").unwrap().unwrap();
        assert_eq!(config.endpoints, ["a:2379", "b:2380"]);
        assert!(
            matches!(etcd.location("data").unwrap(), Location::File(path) if path == Path::new("data/objects.redb"))
        );
        for wrong in [
            "etcd://",
            "etcd://a",
            "etcd://a:2379,",
            "etcd://a:port",
            "etcd://http://a:1",
            "http://a:1",
        ] {
            let refused = etcd.location(wrong).unwrap_err().to_string();
            assert!(refused.contains("HOST:PORT"), "{wrong}: {refused}");
        }
    }
}
