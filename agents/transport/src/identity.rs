//! Who an agent is: a key pair that it makes itself, kept in a folder, and the public half that the
//! control plane hands to its peers. Nothing here vouches for anybody: there is no authority and no name
//! in the certificate that means anything; a peer is its key.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The file that holds the private key (PKCS #8, PEM) in the agent's folder.
const KEY_FILE: &str = "agent.key";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or the key file cannot be read or written.
    #[error("key file {path}")]
    File {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file holds something else than an Ed25519 key. Remove it to get a new identity.
    #[error("key file {path} does not hold an Ed25519 key in PKCS #8 PEM form")]
    NotAKey {
        /// The file concerned.
        path: PathBuf,
        /// What the parser said.
        source: rcgen::Error,
    },
    /// No key pair or certificate could be made.
    #[error("making a key pair and its certificate")]
    Make(#[source] rcgen::Error),
    /// A public key that is not base64 of an X.509 SubjectPublicKeyInfo.
    #[error("public key `{0}` is not the base64 of an X.509 SubjectPublicKeyInfo")]
    NotAPublicKey(String),
}

/// The public half of an agent's key: its X.509 SubjectPublicKeyInfo in DER, written as base64 (60
/// characters for Ed25519).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// A DER sequence is at least this long and starts with this tag; more is checked by the handshake.
    const SEQUENCE_TAG: u8 = 0x30;
    const MAX_BYTES: usize = 1024;

    /// The key inside a certificate, or `None` if that is not an X.509 v3 certificate.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate).ok()?;
        Some(Self(parsed.subject_public_key_info().to_vec()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match STANDARD.decode(text) {
            Ok(der) if der.first() == Some(&Self::SEQUENCE_TAG) && der.len() <= Self::MAX_BYTES => {
                Ok(Self(der))
            }
            _ => Err(Error::NotAPublicKey(text.to_owned())),
        }
    }
}

/// An agent's key pair and the self-signed certificate that carries its public half through TLS.
pub struct Identity {
    key_pair: rcgen::KeyPair,
    certificate: CertificateDer<'static>,
    public_key: PublicKey,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({})", self.public_key)
    }
}

impl Identity {
    /// The identity kept in `folder`, which is made, with a new key, if there is none yet. The folder gets
    /// mode 0700 when it is made here, and the key file 0600.
    pub fn load_or_make(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(KEY_FILE);
        match fs::read_to_string(&path) {
            Ok(pem) => Self::from_pem(&pem, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key_pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(Error::Make)?;
                keep(folder, &path, &key_pair.serialize_pem()).map_err(|source| Error::File {
                    path: path.clone(),
                    source,
                })?;
                Self::from_key_pair(key_pair)
            }
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// An identity that is kept nowhere, for a process that needs none after its end.
    pub fn ephemeral() -> Result<Self, Error> {
        Self::from_key_pair(rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(Error::Make)?)
    }

    /// The public half, to be published in the node's status.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn from_pem(pem: &str, path: &Path) -> Result<Self, Error> {
        let key_pair =
            rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_ED25519).map_err(|source| {
                Error::NotAKey {
                    path: path.to_owned(),
                    source,
                }
            })?;
        Self::from_key_pair(key_pair)
    }

    fn from_key_pair(key_pair: rcgen::KeyPair) -> Result<Self, Error> {
        // The name is never looked at. The validity is rcgen's default (1975 to 4096): the peer table, not
        // the calendar, says how long a key is good, and devices at the edge often boot with a wrong clock.
        let parameters =
            rcgen::CertificateParams::new(vec!["edgeloom.invalid".to_owned()]).map_err(Error::Make)?;
        let certificate = parameters
            .self_signed(&key_pair)
            .map_err(Error::Make)?
            .der()
            .clone();
        let public_key = PublicKey::of_certificate(&certificate)
            .ok_or(Error::Make(rcgen::Error::CouldNotParseCertificate))?;
        Ok(Self {
            key_pair,
            certificate,
            public_key,
        })
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_pair.serialize_der()).into()
    }

    /// A key for a purpose of our own, derived from the private key (HMAC-SHA-256 over the purpose): the
    /// same after a restart, and unknown to everybody else.
    pub(crate) fn derived_key(&self, purpose: &str) -> ring::hmac::Key {
        let root = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.key_pair.serialized_der());
        ring::hmac::Key::new(
            ring::hmac::HMAC_SHA256,
            ring::hmac::sign(&root, purpose.as_bytes()).as_ref(),
        )
    }
}

/// Writes the key under a temporary name first, so that a crash never leaves half a key behind.
fn keep(folder: &Path, path: &Path, pem: &str) -> io::Result<()> {
    if !folder.exists() {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let draft = path.with_extension(format!("new.{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_survives_a_restart_and_its_key_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("agent");
        let first = Identity::load_or_make(&home).unwrap();
        let second = Identity::load_or_make(&home).unwrap();
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(
            first.derived_key("x").algorithm(),
            second.derived_key("x").algorithm()
        );
        let mode = fs::metadata(home.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_public_key_is_printed_and_read_back() {
        let key = Identity::ephemeral().unwrap().public_key().clone();
        assert_eq!(key.to_string().len(), 60);
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    }

    #[test]
    fn two_identities_differ() {
        assert_ne!(
            Identity::ephemeral().unwrap().public_key(),
            Identity::ephemeral().unwrap().public_key()
        );
    }

    #[test]
    fn what_is_not_a_key_is_refused_with_its_text() {
        let error = "not base64!".parse::<PublicKey>().unwrap_err();
        assert!(error.to_string().contains("not base64!"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), "nonsense").unwrap();
        let error = Identity::load_or_make(folder.path()).unwrap_err();
        assert!(error.to_string().contains("Ed25519"), "{error}");
    }
}
