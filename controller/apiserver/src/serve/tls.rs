//! The TLS side of the listener: the certificate that goes with the name that a client asks for, HTTP/2 before HTTP/1.1, and client
//! certificates of our own authority only. A client without a certificate is let in, to show a token; one with a foreign or expired
//! certificate is not.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use crate::auth::{authority::Credential, certificates};

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key is not PEM.
    #[error("cannot read a certificate or key: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The authority cannot be trusted.
    #[error("cannot verify clients: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The certificate and key do not go together.
    #[error("cannot use the server's certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The configuration for a server that shows `own`, or one of `others` to clients that ask by a name of it, and trusts clients of
/// `authority_pem`.
pub(super) fn config(
    own: &Credential,
    others: &[Credential],
    authority_pem: &str,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let others = others.iter().map(|other| {
        let facts = certificates::read_pem(&other.certificate_pem);
        let names = facts.map(|facts| facts.names).unwrap_or_default();
        Ok((names, certified(other, &provider)?))
    });
    let by_name = ByName {
        own: certified(own, &provider)?,
        others: others.collect::<Result<_, Error>>()?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certified(credential: &Credential, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let chain =
        CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes())?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

/// Chooses the certificate by the name that the client asks for.
#[derive(Debug)]
struct ByName {
    own: Arc<CertifiedKey>,
    others: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let other = asked.and_then(|asked| {
            let fits = |(names, _): &&(Vec<String>, _)| names.iter().any(|name| covers(name, &asked));
            self.others.iter().find(fits)
        });
        Some(other.map_or(&self.own, |(_, key)| key).clone())
    }
}

/// Whether a certificate's name is this one, or stands for all of its domain: `*.example.com`.
fn covers(name: &str, asked: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let domain = name.strip_prefix("*.");
    name == asked
        || domain.is_some_and(|domain| asked.split_once('.').is_some_and(|(_, rest)| rest == domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers("Edge.example", "edge.example"));
        assert!(covers("*.edge.example", "a.edge.example"));
        assert!(!covers("*.edge.example", "edge.example"));
        assert!(!covers("*.edge.example", "a.b.edge.example"));
    }
}
