//! TLS 1.3 both ways with pinned keys: a certificate is only the envelope of a key, and a key is good if it
//! stands in the table of peers. Names, authorities and dates are not looked at.
//!
//! Sessions are never resumed: a resumed handshake shows no certificate, so a peer that was taken from the
//! table could come back.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring::default_provider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::{
    PROTOCOL,
    identity::{Identity, PublicKey},
    peers::SharedTable,
};

/// Which keys are good.
#[derive(Clone, Debug)]
enum Pin {
    /// Any that stands in the table now: for those who dial us.
    Table(SharedTable),
    /// This one: for whom we dial.
    Key(PublicKey),
}

#[derive(Debug)]
struct PinnedKeys {
    pin: Pin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedKeys {
    fn new(pin: Pin, provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self {
            pin,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let key = PublicKey::of_certificate(certificate).ok_or(CertificateError::BadEncoding)?;
        let good = match &self.pin {
            Pin::Table(table) => table.look(|table| table.node_of(&key).is_some()),
            Pin::Key(expected) => key == *expected,
        };
        if good {
            return Ok(());
        }
        // Whoever dialled, or was dialled, is told; both say it in their own words.
        tracing::debug!(%key, "another key than the ones that are good");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn refuse_tls12<T>() -> Result<T, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PinnedKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// For those who dial us: any key of the table.
pub(crate) fn server_config(
    identity: &Identity,
    table: SharedTable,
) -> Result<quinn::crypto::rustls::QuicServerConfig, Error> {
    let provider = Arc::new(default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(PinnedKeys::new(Pin::Table(table), &provider))
        .with_single_cert(vec![identity.certificate()], identity.private_key())?;
    config.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    quinn::crypto::rustls::QuicServerConfig::try_from(config)
        .map_err(|error| Error::General(error.to_string()))
}

/// For dialling the peer that has this key.
pub(crate) fn client_config(
    identity: &Identity,
    expected: PublicKey,
) -> Result<quinn::crypto::rustls::QuicClientConfig, Error> {
    let provider = Arc::new(default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(PinnedKeys::new(Pin::Key(expected), &provider))
        .with_client_auth_cert(vec![identity.certificate()], identity.private_key())?;
    config.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    quinn::crypto::rustls::QuicClientConfig::try_from(config)
        .map_err(|error| Error::General(error.to_string()))
}

/// The key that the other end of a connection proved to have.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let certificates = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    PublicKey::of_certificate(certificates.first()?)
}
