//! What a PKCS #10 request asks for. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::CertificateSigningRequestParams;
use x509_parser::{certification_request::X509CertificationRequest, pem::Pem, prelude::FromDer};

/// Upstream's text.
const WRONG_BLOCK: &str = "PEM block type must be CERTIFICATE REQUEST";

/// A request whose signature is right: whoever asks has the key.
pub struct Request {
    /// The name of the client that asks for a certificate.
    pub common_name: String,
    /// Its group; empty when none is asked for.
    pub organization: String,
    /// Whether it asks for hostnames or addresses, which clients have none of.
    pub asks_for_names: bool,
    pub(crate) parsed: CertificateSigningRequestParams,
}

impl Request {
    /// Reads `spec.request`: PEM in base64.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_base64(text: &str) -> Result<Self, String> {
        Self::read(&decode(text)?)
    }

    /// Reads a request, PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(pem: &str) -> Result<Self, String> {
        let block = block(pem)?;
        let parsed = CertificateSigningRequestParams::from_pem(pem).map_err(|error| error.to_string())?;
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        let subject = &request.certification_request_info.subject;
        let texts = |attributes: Vec<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            let texts = attributes.into_iter().map(|one| one.as_str().map(str::to_owned));
            texts
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())
        };
        let mut names = texts(subject.iter_common_name().collect())?;
        let mut organizations = texts(subject.iter_organization().collect())?;
        if names.len() > 1 || organizations.len() > 1 {
            return Err("it may name one common name and one organization at most".to_owned());
        }
        Ok(Self {
            common_name: names.pop().unwrap_or_default(),
            organization: organizations.pop().unwrap_or_default(),
            asks_for_names: !parsed.params.subject_alt_names.is_empty(),
            parsed,
        })
    }
}

/// The PEM text of `spec.request`, which has to hold a request.
pub(super) fn decode(text: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(text).map_err(|_| "it is not base64".to_owned())?;
    let pem = String::from_utf8(bytes).map_err(|_| WRONG_BLOCK.to_owned())?;
    let block = block(&pem)?;
    X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    Ok(pem)
}

fn block(pem: &str) -> Result<Pem, String> {
    match x509_parser::pem::parse_x509_pem(pem.as_bytes()) {
        Ok((_, block)) if block.label == "CERTIFICATE REQUEST" => Ok(block),
        _ => Err(WRONG_BLOCK.to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    pub(in crate::signing) fn pem(name: &str, group: Option<&str>) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_says_who_wants_to_be_known() {
        let request = Request::read(&pem("edge", Some("nodes"))).unwrap();
        assert_eq!(
            (request.common_name.as_str(), request.organization.as_str()),
            ("edge", "nodes")
        );
        assert!(!request.asks_for_names);
        assert_eq!(Request::read(&pem("edge", None)).unwrap().organization, "");
    }

    #[test]
    fn a_request_that_was_changed_is_refused() {
        let text = pem("edge", Some("nodes"));
        let (_, block) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
        let place = block
            .contents
            .windows(4)
            .position(|bytes| bytes == b"edge")
            .unwrap();
        let mut contents = block.contents.clone();
        contents[place] = b'E';
        let body = STANDARD.encode(contents);
        let changed =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        assert!(Request::read(&changed).is_err());
        assert!(Request::read("hello").is_err());
    }
}
