//! Bearer tokens: static ones that the program was given, and signed ones (JWT, ES256) that this server issues.
//!
//! Signed tokens are not stored anywhere: they end by themselves, or all at once when the key file is deleted. Tokens are
//! never logged.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};

use super::{UserInfo, private_file};

/// Who issued the signed tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// A token longer than this is refused unread.
const LONGEST_TOKEN_BYTES: usize = 16 << 10;

/// Why tokens cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file could not be read or written.
    #[error("cannot keep the key that signs tokens: {0}")]
    File(#[from] io::Error),
    /// The key file holds something else; deleting it ends all tokens and makes a new key.
    #[error("the key that signs tokens is not a usable ECDSA P-256 key")]
    Key,
}

/// Issues and verifies tokens.
pub struct Tokens {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// By SHA-256 of the token, so that comparing takes the same time whatever the token.
    fixed: BTreeMap<Vec<u8>, UserInfo>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("fixed", &self.fixed.len())
            .finish_non_exhaustive()
    }
}

/// What a signed token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: Vec<String>,
    sub: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    groups: Vec<String>,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Tokens {
    /// Opens the signing key kept at `path` (PKCS #8 in base64), or makes one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let pkcs8 = match fs::read_to_string(path) {
            Ok(text) => URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| Error::Key)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = new_key()?;
                private_file::write(path, URL_SAFE_NO_PAD.encode(&made).as_bytes())?;
                made
            }
            Err(error) => return Err(error.into()),
        };
        Self::from_key(&pkcs8)
    }

    /// A signing key that is kept nowhere.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn ephemeral() -> Result<Self, Error> {
        Self::from_key(&new_key()?)
    }

    fn from_key(pkcs8: &[u8]) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|_| Error::Key)?;
        Ok(Self {
            key,
            random,
            fixed: BTreeMap::new(),
        })
    }

    /// Lets whoever holds `token` be `user`, as long as this process lives.
    pub fn accept(&mut self, token: &str, user: UserInfo) {
        self.fixed.insert(sha256(token), user);
    }

    /// A token with which its holder is `user` for `lifetime` from now on, before the given audiences (the server's
    /// own when there are none).
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn issue(
        &self,
        user: &UserInfo,
        audiences: &[String],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, Error> {
        let issued = now.as_second();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: if audiences.is_empty() {
                vec![ISSUER.to_owned()]
            } else {
                audiences.to_vec()
            },
            sub: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            iat: issued,
            nbf: issued,
            exp: issued.saturating_add_unsigned(lifetime.as_secs()),
        };
        let body = serde_json::to_vec(&claims).expect("claims are plain strings and numbers");
        let signed = format!("{}.{}", encoded_header(), URL_SAFE_NO_PAD.encode(body));
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| Error::Key)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Who holds this token; `None` when it is unknown, forged, meant for others or over.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<UserInfo> {
        let own = [ISSUER.to_owned()];
        self.verify_for(token, &own, now).map(|(user, _)| user)
    }

    /// Who holds this token, and for which of the audiences it is meant; `None` when for none of them, too.
    pub fn verify_for(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Option<(UserInfo, Vec<String>)> {
        if token.is_empty() || token.len() > LONGEST_TOKEN_BYTES {
            return None;
        }
        if let Some(user) = self.fixed.get(&sha256(token)) {
            return Some((user.clone(), audiences.to_vec()));
        }
        let (signed, signature) = token.rsplit_once('.')?;
        // The header is compared, not interpreted: a token cannot choose how it is verified.
        let body = signed.strip_prefix(&encoded_header())?.strip_prefix('.')?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        let now = now.as_second();
        let meant: Vec<String> = audiences
            .iter()
            .filter(|audience| claims.aud.contains(*audience))
            .cloned()
            .collect();
        let is_good = claims.iss == ISSUER && !meant.is_empty() && claims.nbf <= now && now < claims.exp;
        is_good.then(|| {
            let user = UserInfo {
                uid: claims.uid,
                ..UserInfo::authenticated(claims.sub, claims.groups)
            };
            (user, meant)
        })
    }
}

fn new_key() -> Result<Vec<u8>, Error> {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    made.map(|document| document.as_ref().to_vec())
        .map_err(|_| Error::Key)
}

fn encoded_header() -> String {
    URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"JWT"}"#)
}

fn sha256(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes())
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> Timestamp {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    fn user() -> UserInfo {
        UserInfo {
            uid: "7".to_owned(),
            ..UserInfo::authenticated("system:serviceaccount:a:b", ["system:serviceaccounts"])
        }
    }

    #[test]
    fn a_token_is_its_user_until_it_ends_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.key");
        let token = Tokens::open(&path)
            .unwrap()
            .issue(&user(), &[], HOUR, now())
            .unwrap();
        let again = Tokens::open(&path).unwrap();
        assert_eq!(again.verify(&token, now()), Some(user()));
        assert_eq!(again.verify(&token, now() + HOUR), None);
    }

    #[test]
    fn forged_foreign_and_misdirected_tokens_are_nobodys() {
        let tokens = Tokens::ephemeral().unwrap();
        let token = tokens.issue(&user(), &[], HOUR, now()).unwrap();
        let foreign = Tokens::ephemeral()
            .unwrap()
            .issue(&user(), &[], HOUR, now())
            .unwrap();
        let elsewhere = tokens.issue(&user(), &["vault".to_owned()], HOUR, now()).unwrap();
        let body =
            URL_SAFE_NO_PAD.encode(r#"{"iss":"x","aud":[],"sub":"root","iat":0,"nbf":0,"exp":9999999999}"#);
        let (_, signature) = token.rsplit_once('.').unwrap();
        let altered = format!("{}.{body}.{signature}", encoded_header());
        let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        for bad in [
            &foreign,
            &elsewhere,
            &altered,
            &unsigned,
            "",
            "a.b.c",
            &"x".repeat(100_000),
        ] {
            assert_eq!(tokens.verify(bad, now()), None, "{bad}");
        }
    }

    #[test]
    fn a_static_token_is_whom_it_was_given_to() {
        let mut tokens = Tokens::ephemeral().unwrap();
        tokens.accept("secret", UserInfo::loopback());
        assert_eq!(tokens.verify("secret", now()), Some(UserInfo::loopback()));
        assert_eq!(tokens.verify("secret2", now()), None);
    }
}
