//! Bootstrap tokens: what a machine shows that has no credential yet, to ask for one. They are Secrets of type
//! `bootstrap.kubernetes.io/token` in `kube-system`, as upstream and kubeadm have them; whoever deletes one ends it.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::UserInfo;
use crate::{ApiServer, objects, storage};

/// The group of all who show a bootstrap token.
pub const GROUP: &str = "system:bootstrappers";
/// Where bootstrap tokens are.
pub const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";

/// The bootstrap tokens of a server.
#[derive(Clone)]
pub struct BootstrapTokens {
    server: ApiServer,
}

impl BootstrapTokens {
    /// Those that are stored in `server`.
    pub fn of(server: &ApiServer) -> Self {
        Self {
            server: server.clone(),
        }
    }

    /// The user that the token stands for; `None` when it is no bootstrap token, or none that is good now.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Option<UserInfo> {
        let (id, secret) = parts(token)?;
        let secrets = self.server.kinds().find("", "v1", "secrets")?;
        let key = storage::key(&secrets, NAMESPACE, &format!("bootstrap-token-{id}"));
        let entry = match self.server.store().get(&key).await {
            Ok(entry) => entry?,
            Err(error) => {
                tracing::warn!(%error, "cannot look a bootstrap token up");
                return None;
            }
        };
        let kept = storage::decode(&secrets, &entry).ok()?;
        user(&kept, id, secret, now)
    }
}

/// Identifier and secret, `[a-z0-9]{6}.[a-z0-9]{16}`.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

fn field(kept: &Value, name: &str) -> Option<String> {
    let bytes = STANDARD.decode(kept["data"][name].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Whether a Secret is a bootstrap token whose end has come. One that cannot be read never was good.
pub(crate) fn is_over(kept: &Value, now: Timestamp) -> bool {
    let end = field(kept, "expiration");
    kept["type"] == TYPE && end.is_some_and(|text| !text.parse::<Timestamp>().is_ok_and(|end| now < end))
}

/// The user of a stored token, if it is this one and good for authentication now.
fn user(kept: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    let field = |name: &str| field(kept, name);
    // Digests, so that comparing takes the same time whatever the secret.
    let same = digest(&SHA256, field("token-secret")?.as_bytes()).as_ref()
        == digest(&SHA256, secret.as_bytes()).as_ref();
    let good = kept["type"] == TYPE
        && !is_over(kept, now)
        && !objects::is_terminating(kept)
        && field("token-id")? == id
        && field("usage-bootstrap-authentication").as_deref() == Some("true");
    if !same || !good {
        return None;
    }
    let extra = field("auth-extra-groups").unwrap_or_default();
    let extra: Vec<&str> = extra.split(',').filter(|group| !group.is_empty()).collect();
    // A group of another kind would be a way to more than joining.
    let bootstrappers = extra.iter().all(|group| {
        let rest = group.strip_prefix("system:bootstrappers:");
        rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with([':', '-']) && rest.len() <= 256)
    });
    bootstrappers
        .then(|| UserInfo::authenticated(format!("{USER_PREFIX}{id}"), [GROUP].into_iter().chain(extra)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(changes: &[(&str, &str)]) -> Value {
        let mut fields = vec![
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-11-24T00:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:edge"),
        ];
        fields.extend(changes);
        let data: serde_json::Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), STANDARD.encode(value).into()))
            .collect();
        json!({"type": TYPE, "metadata": {"name": "bootstrap-token-abcdef"}, "data": data})
    }

    fn shown(kept: &Value, token: &str) -> Option<UserInfo> {
        let (id, secret) = parts(token)?;
        user(kept, id, secret, "2026-11-23T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_good_token_makes_a_bootstrapper() {
        let user = shown(&kept(&[]), "abcdef.0123456789abcdef").unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(
            user.groups,
            [GROUP, "system:bootstrappers:edge", "system:authenticated"]
        );
    }

    #[test]
    fn nothing_else_does() {
        let right = "abcdef.0123456789abcdef";
        for token in [
            "abcdef.0123456789abcdee",
            "abcdef",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123",
            "../..x.0123456789abcdef",
        ] {
            assert_eq!(shown(&kept(&[]), token), None, "{token}");
        }
        for change in [
            ("expiration", "2026-11-22T00:00:00Z"),
            ("expiration", "soon"),
            ("usage-bootstrap-authentication", "false"),
            ("token-id", "fedcba"),
            ("auth-extra-groups", "system:masters"),
        ] {
            assert_eq!(shown(&kept(&[change]), right), None, "{change:?}");
        }
        let mut other = kept(&[]);
        other["type"] = "Opaque".into();
        assert_eq!(shown(&other, right), None);
    }
}
