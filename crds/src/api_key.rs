//! API keys as keyed hashes: what an agent is told lets it recognise a key, never learn one.

use ring::hmac;

/// The keyed hash of an API key: HMAC-SHA-256 under `salt`, as lowercase hex (64 characters).
///
/// The salt is random for each control plane and travels in RouteTables, so equal keys of two control planes
/// have different hashes.
#[must_use]
pub fn keyed_hash(salt: &str, key: &str) -> String {
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes()),
        key.as_bytes(),
    );
    hex(tag.as_ref())
}

/// The first 32 hexadecimal characters of the SHA-256 of `content`: what content-named objects are named by.
#[must_use]
pub fn content_hash(content: &[u8]) -> String {
    hex(&ring::digest::digest(&ring::digest::SHA256, content).as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_hmac_sha256_as_rfc_4231_has_it() {
        // RFC 4231, test case 2.
        assert_eq!(
            keyed_hash("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
