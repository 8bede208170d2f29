//! The certificates that the server shows, and the administrator's kubeconfig: looked at again and again while the server runs, so that
//! none is shown after its end. Handshakes from then on see the new one; connections that are open go on.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::{Error, tls};
use crate::auth::{
    authority::{Authority, Credential},
    kubeconfig,
};

/// Pause between two looks. It costs reading a few small files.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// A certificate (with the chain below its authority) and its key, both PEM, which somebody else makes and renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl CertificateFiles {
    fn read(&self) -> Result<Credential, Error> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path).map_err(|source: io::Error| Error::Certificate {
                path: path.clone(),
                source,
            })
        };
        Ok(Credential {
            certificate_pem: read(&self.certificate)?,
            key_pem: read(&self.key)?,
        })
    }
}

/// What the certificates are made from.
pub(super) struct Sources {
    pub(super) authority: Arc<Authority>,
    /// The names that the authority's certificate is for.
    pub(super) names: Vec<String>,
    pub(super) files: Vec<CertificateFiles>,
    /// Where the administrator's kubeconfig is, and the server's URL in it.
    pub(super) kubeconfig: Option<(PathBuf, String)>,
}

/// What is shown now.
#[derive(PartialEq)]
struct Shown {
    own: Credential,
    others: Vec<Credential>,
    admin: Option<Credential>,
}

impl Sources {
    fn read(&self, now: Timestamp) -> Result<Shown, Error> {
        let admin = match &self.kubeconfig {
            Some(_) => Some(self.authority.admin_credential(now)?),
            None => None,
        };
        Ok(Shown {
            own: self.authority.server_credential(&self.names, now)?,
            others: self
                .files
                .iter()
                .map(CertificateFiles::read)
                .collect::<Result<_, _>>()?,
            admin,
        })
    }

    fn write_kubeconfig(&self, admin: Option<&Credential>) -> Result<(), Error> {
        if let Some(((path, url), admin)) = self.kubeconfig.as_ref().zip(admin) {
            kubeconfig::write(
                path,
                &kubeconfig::text(url, self.authority.certificate_pem(), admin),
            )?;
        }
        Ok(())
    }
}

/// The certificates of a server that runs.
pub(super) struct Certificates {
    sources: Sources,
    shown: Shown,
    tls: Arc<ArcSwap<ServerConfig>>,
}

impl Certificates {
    /// Reads or makes what is shown, and writes the kubeconfig.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub(super) fn open(sources: Sources, now: Timestamp) -> Result<Self, Error> {
        let shown = sources.read(now)?;
        let config = tls::config(&shown.own, &shown.others, sources.authority.certificate_pem())?;
        sources.write_kubeconfig(shown.admin.as_ref())?;
        Ok(Self {
            tls: Arc::new(ArcSwap::from_pointee(config)),
            sources,
            shown,
        })
    }

    /// The configuration for handshakes, whatever it is at the time.
    pub(super) fn tls(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.tls.clone()
    }

    /// Shows what there is now. On an error all stays as it was: half of a renewal is renewed at the next look.
    fn renew(&mut self, now: Timestamp) -> Result<(), Error> {
        let new = self.sources.read(now)?;
        if new == self.shown {
            return Ok(());
        }
        let config = tls::config(&new.own, &new.others, self.sources.authority.certificate_pem())?;
        if new.admin != self.shown.admin {
            self.sources.write_kubeconfig(new.admin.as_ref())?;
        }
        self.tls.store(Arc::new(config));
        self.shown = new;
        tracing::info!("the server shows renewed certificates");
        Ok(())
    }

    /// Renews until `stop`.
    pub(super) async fn keep(mut self, stop: CancellationToken) {
        let mut failed = false;
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_PAUSE))
            .await
            .is_some()
        {
            let renewed = self.renew(Timestamp::now());
            // Told once, not at each look.
            if let (Err(error), false) = (&renewed, failed) {
                tracing::warn!(%error, "certificates cannot be renewed; those of before are shown");
            }
            failed = renewed.is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn write(files: &CertificateFiles, credential: &Credential) {
        fs::write(&files.certificate, &credential.certificate_pem).unwrap();
        fs::write(&files.key, &credential.key_pem).unwrap();
    }

    #[test]
    fn what_is_renewed_is_shown_and_half_of_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let open = |name: &str| Authority::open(&folder.path().join(name), now).unwrap();
        let (authority, other) = (Arc::new(open("own")), open("other"));
        let files = CertificateFiles {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        let names = vec!["edge.example".to_owned()];
        write(&files, &other.server_credential(&names, now).unwrap());
        let kubeconfig = folder.path().join("kubeconfig");
        let sources = Sources {
            authority,
            names: vec!["localhost".to_owned()],
            files: vec![files.clone()],
            kubeconfig: Some((kubeconfig.clone(), "https://localhost:1".to_owned())),
        };
        let mut certificates = Certificates::open(sources, now).unwrap();
        let tls = certificates.tls();
        let first = tls.load_full();
        certificates.renew(now + DAY).unwrap();
        assert!(Arc::ptr_eq(&first, &tls.load()), "nothing is renewed");

        let wider = vec!["edge.example".to_owned(), "more.example".to_owned()];
        let renewed = other.server_credential(&wider, now).unwrap();
        fs::write(&files.certificate, &renewed.certificate_pem).unwrap();
        certificates.renew(now + DAY).unwrap_err();
        assert!(Arc::ptr_eq(&first, &tls.load()), "the key of before does not fit");
        write(&files, &renewed);
        certificates.renew(now + DAY).unwrap();
        let second = tls.load_full();
        assert!(!Arc::ptr_eq(&first, &second));

        let text = fs::read_to_string(&kubeconfig).unwrap();
        certificates.renew(now + DAY * 350).unwrap();
        assert!(
            !Arc::ptr_eq(&second, &tls.load()),
            "the authority's own certificate was near its end"
        );
        assert_ne!(
            fs::read_to_string(&kubeconfig).unwrap(),
            text,
            "so was the administrator's"
        );
    }
}
