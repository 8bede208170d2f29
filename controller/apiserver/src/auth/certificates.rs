//! What a client certificate says about its holder: the common name is the user, the organizations are the groups.
//!
//! Does not judge trust: the TLS handshake has already verified the chain, the dates and the purpose.

use jiff::Timestamp;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, pem::parse_x509_pem};

use super::UserInfo;

/// The parts of a certificate that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The first common name.
    pub common_name: String,
    /// All organizations, in their order.
    pub organizations: Vec<String>,
    /// Hostnames and addresses that it is valid for.
    pub names: Vec<String>,
    /// The beginning of its validity.
    pub not_before: Timestamp,
    /// The end of its validity.
    pub not_after: Timestamp,
}

/// The user that a verified client certificate (DER) stands for; `None` when it names nobody.
pub fn user(der: &[u8]) -> Option<UserInfo> {
    let facts = facts(&x509_parser::parse_x509_certificate(der).ok()?.1)?;
    (!facts.common_name.is_empty()).then(|| UserInfo::authenticated(facts.common_name, facts.organizations))
}

/// Reads a certificate; `None` when it is none.
pub fn read_pem(pem: &str) -> Option<Facts> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    facts(&pem.parse_x509().ok()?)
}

/// Whether the first certificate carries a valid signature of the second. Both PEM.
pub fn is_signed_by(pem: &str, authority_pem: &str) -> bool {
    let parsed = |pem: &str| parse_x509_pem(pem.as_bytes()).ok().map(|(_, pem)| pem);
    let Some((certificate, authority)) = parsed(pem).zip(parsed(authority_pem)) else {
        return false;
    };
    let (Ok(certificate), Ok(authority)) = (certificate.parse_x509(), authority.parse_x509()) else {
        return false;
    };
    certificate.verify_signature(Some(authority.public_key())).is_ok()
}

fn facts(certificate: &X509Certificate<'_>) -> Option<Facts> {
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let subject = certificate.subject();
    let alternatives = certificate.subject_alternative_name().ok()?;
    let names = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(name)
        .collect();
    Some(Facts {
        common_name: subject.iter_common_name().find_map(text).unwrap_or_default(),
        organizations: subject.iter_organization().filter_map(text).collect(),
        names,
        not_before: Timestamp::from_second(certificate.validity().not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*octets).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_names_nobody() {
        assert_eq!(user(b"not a certificate"), None);
        assert_eq!(
            read_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            None
        );
    }
}
