//! A certificate authority of the server's own: made at the first start, kept in the data directory, and the only one
//! that client certificates are trusted from. ECDSA P-256, X.509 version 3.
//!
//! Does not revoke: what is handed out to others should be short-lived, or the authority is deleted and made anew.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{certificates, private_file};
use crate::signing;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The authority outlives what it signs by far: renewing it means new credentials for every agent.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3650);
/// Lifetime of what the server keeps for itself and renews at its start.
const KEPT_LIFETIME: Duration = DAY.saturating_mul(398);
/// A kept certificate is renewed at a start when less than this is left of it.
const RENEW_BEFORE: Duration = DAY.saturating_mul(60);
/// Certificates are valid from a little before now, for machines whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Why the authority cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A file holds something else than it should; deleting the `pki` folder makes a new authority.
    #[error("{path} holds no usable certificate or key")]
    Unreadable {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate could not be made, for instance because a name is not valid in one.
    #[error("cannot make the certificate of {subject:?}: {source}")]
    Issue {
        /// Common name of the certificate.
        subject: String,
        /// What is wrong with it.
        source: rcgen::Error,
    },
}

/// A certificate and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key (PKCS #8). A secret.
    pub key_pem: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// The authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    folder: PathBuf,
}

impl Authority {
    /// Opens the authority kept in `folder` (`ca.crt`, `ca.key`), or makes one. `now` bounds what is made.
    ///
    /// # Errors
    /// When files cannot be read or written, or hold something else.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
        let kept = match read_credential(folder, "ca")? {
            Some(credential) => credential,
            None => {
                let made = make_authority(now)?;
                write_credential(folder, "ca", &made)?;
                made
            }
        };
        let unreadable = || Error::Unreadable {
            path: folder.join("ca.crt"),
        };
        let key = KeyPair::from_pem(&kept.key_pem).map_err(|_| Error::Unreadable {
            path: folder.join("ca.key"),
        })?;
        let issuer = Issuer::from_ca_cert_pem(&kept.certificate_pem, key).map_err(|_| unreadable())?;
        let facts = certificates::read_pem(&kept.certificate_pem).ok_or_else(unreadable)?;
        if facts.not_after < now + RENEW_BEFORE {
            tracing::warn!(not_after = %facts.not_after, "the certificate authority is near its end; delete the pki \
                 folder and hand out new credentials");
        }
        Ok(Self {
            issuer,
            certificate_pem: kept.certificate_pem,
            folder: folder.to_owned(),
        })
    }

    /// The authority's own certificate, PEM: what clients trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate with which a client is `common_name` in the group `organization`, from now on for `lifetime`.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn issue_client(
        &self,
        common_name: &str,
        organization: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Credential, Error> {
        let mut params = params(common_name, lifetime, now);
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, common_name)
    }

    /// The certificate, PEM, that a request asks for: for a client of its name and group, from now on for `lifetime`.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub(crate) fn sign_client(
        &self,
        request: &signing::Request,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, Error> {
        let name = &request.common_name;
        // What else the request says does not count.
        let mut params = params(name, lifetime, now);
        if !request.organization.is_empty() {
            let group = request.organization.as_str();
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&request.parsed.public_key, &self.issuer);
        let issue = |source| Error::Issue {
            subject: name.clone(),
            source,
        };
        Ok(signed.map_err(issue)?.pem())
    }

    /// The certificate with which the server is known under `names` (hostnames and addresses). It is kept, and made
    /// anew when a name is missing or its end is near.
    ///
    /// # Errors
    /// When files cannot be read or written, or a name is not valid.
    pub fn server_credential(&self, names: &[String], now: Timestamp) -> Result<Credential, Error> {
        let covers = |facts: &certificates::Facts| names.iter().all(|name| facts.names.contains(name));
        self.kept("server", now, covers, || {
            let mut params = params("edgeloom-apiserver", KEPT_LIFETIME, now);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            for name in names {
                params.subject_alt_names.push(subject_alternative(name)?);
            }
            self.sign(params, "edgeloom-apiserver")
        })
    }

    /// The certificate of the administrator, in the group [`super::MASTERS`]. It is kept, and made anew when its end
    /// is near.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn admin_credential(&self, now: Timestamp) -> Result<Credential, Error> {
        self.kept(
            "admin",
            now,
            |_| true,
            || self.issue_client("edgeloom:admin", super::MASTERS, KEPT_LIFETIME, now),
        )
    }

    fn kept(
        &self,
        name: &str,
        now: Timestamp,
        suits: impl Fn(&certificates::Facts) -> bool,
        make: impl FnOnce() -> Result<Credential, Error>,
    ) -> Result<Credential, Error> {
        if let Some(kept) = read_credential(&self.folder, name)?
            && let Some(facts) = certificates::read_pem(&kept.certificate_pem)
            && facts.not_after > now + RENEW_BEFORE
            && suits(&facts)
            && certificates::is_signed_by(&kept.certificate_pem, &self.certificate_pem)
        {
            return Ok(kept);
        }
        let made = make()?;
        write_credential(&self.folder, name, &made)?;
        Ok(made)
    }

    fn sign(&self, params: CertificateParams, subject: &str) -> Result<Credential, Error> {
        let issue = |source| Error::Issue {
            subject: subject.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(issue)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Credential {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn make_authority(now: Timestamp) -> Result<Credential, Error> {
    // The name is unique, so that a client that holds an older authority of the same name is not led astray.
    let name = format!("edgeloom-ca-{}", now.as_second());
    let issue = |source| Error::Issue {
        subject: name.clone(),
        source,
    };
    let mut params = params(&name, AUTHORITY_LIFETIME, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate().map_err(issue)?;
    let certificate = params.self_signed(&key).map_err(issue)?;
    Ok(Credential {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

fn params(common_name: &str, lifetime: Duration, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let since_epoch = Duration::from_secs(now.as_second().max(0).unsigned_abs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since_epoch + lifetime;
    params
}

fn subject_alternative(name: &str) -> Result<rcgen::SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(rcgen::SanType::IpAddress(address));
    }
    let name: rcgen::string::Ia5String = name.try_into().map_err(|source| Error::Issue {
        subject: name.to_owned(),
        source,
    })?;
    Ok(rcgen::SanType::DnsName(name))
}

fn read_credential(folder: &Path, name: &str) -> Result<Option<Credential>, Error> {
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path, source }),
    };
    let certificate = read(folder.join(format!("{name}.crt")))?;
    let key = read(folder.join(format!("{name}.key")))?;
    Ok(certificate.zip(key).map(|(certificate_pem, key_pem)| Credential {
        certificate_pem,
        key_pem,
    }))
}

/// The key goes first: a crash between the two leaves a key without a certificate, which counts as nothing.
fn write_credential(folder: &Path, name: &str, credential: &Credential) -> Result<(), Error> {
    let certificate = folder.join(format!("{name}.crt"));
    // An older certificate must not be paired with the new key.
    match fs::remove_file(&certificate) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(&certificate, error)),
        _ => {}
    }
    for (path, text) in [
        (folder.join(format!("{name}.key")), &credential.key_pem),
        (certificate, &credential.certificate_pem),
    ] {
        private_file::write(&path, text.as_bytes()).map_err(|source| file_error(&path, source))?;
    }
    Ok(())
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn now() -> Timestamp {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_authority_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path(), now()).unwrap();
        let again = Authority::open(folder.path(), now()).unwrap();
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        let client = again.issue_client("agent:n1", "agents", DAY, now()).unwrap();
        assert!(certificates::is_signed_by(
            &client.certificate_pem,
            first.certificate_pem()
        ));
        let facts = certificates::read_pem(&client.certificate_pem).unwrap();
        assert_eq!(
            (facts.common_name.as_str(), facts.organizations.as_slice()),
            ("agent:n1", &names(&["agents"])[..])
        );
        assert_eq!(facts.not_after, now() + DAY);
    }

    #[test]
    fn the_servers_certificate_is_kept_until_a_name_is_missing_or_its_end_is_near() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), now()).unwrap();
        let two = names(&["localhost", "127.0.0.1", "::1"]);
        let first = authority.server_credential(&two, now()).unwrap();
        assert_eq!(authority.server_credential(&two, now() + DAY).unwrap(), first);
        let wider = names(&["localhost", "127.0.0.1", "::1", "edge.example"]);
        let second = authority.server_credential(&wider, now()).unwrap();
        assert_ne!(second, first);
        assert_eq!(
            authority.server_credential(&two, now()).unwrap(),
            second,
            "a wider certificate serves too"
        );
        assert_ne!(
            authority.server_credential(&two, now() + DAY * 350).unwrap(),
            second
        );
    }

    #[test]
    fn a_new_authority_does_not_keep_what_the_old_one_signed() {
        let folder = tempfile::tempdir().unwrap();
        let admin = Authority::open(folder.path(), now())
            .unwrap()
            .admin_credential(now())
            .unwrap();
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        let anew = Authority::open(folder.path(), now() + DAY).unwrap();
        assert_ne!(anew.admin_credential(now()).unwrap(), admin);
    }
}
