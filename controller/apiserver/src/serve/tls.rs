//! The TLS side of the listener: our certificate, HTTP/2 before HTTP/1.1, and client certificates of our own authority
//! only. A client without a certificate is let in, to show a token; one with a foreign or expired certificate is not.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::auth::authority::Credential;

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

/// The configuration for a server that shows `credential` and trusts clients of `authority_pem`.
pub(super) fn config(credential: &Credential, authority_pem: &str) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let chain =
        CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
