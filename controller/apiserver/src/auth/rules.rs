//! The chain of authorizers: masters may do everything, every known caller may read what the API is made of, then the
//! injected authorizers are asked in their order, and what nobody allowed is refused.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::rbac::rule::Rule;
use super::{AUTHENTICATED, Authorizer, Decision, MASTERS, RequestAttributes, UNAUTHENTICATED, UserInfo};

/// Paths that anybody may read, without an identity.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];
/// Paths that every known caller may read: clients need them before they can ask for anything.
const DISCOVERY: &[&str] = &["/api", "/apis", "/openapi"];
/// The reviews that every known caller may make about itself, as (group, resource).
const SELF_REVIEWS: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// The chain, itself an [`Authorizer`].
#[derive(Clone, Default)]
pub struct Chain {
    injected: Vec<Arc<dyn Authorizer>>,
}

impl Chain {
    /// A chain that asks `injected` in this order.
    pub fn new(injected: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { injected }
    }
}

#[async_trait]
impl Authorizer for Chain {
    async fn authorize(&self, attributes: &RequestAttributes) -> Decision {
        if attributes.user.is_in(MASTERS) || is_open(attributes) {
            return Decision::Allow;
        }
        // Nobody can be let in without an identity by mistake of an injected authorizer. A review may ask about a user without groups.
        if attributes.user.is_in(UNAUTHENTICATED) {
            return Decision::Deny(String::new());
        }
        for authorizer in &self.injected {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion => {}
                decided => return decided,
            }
        }
        Decision::Deny(String::new())
    }

    async fn admit(
        &self,
        attributes: &RequestAttributes,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow;
        }
        for authorizer in &self.injected {
            if let Decision::Deny(reason) = authorizer.admit(attributes, new, old).await {
                return Decision::Deny(reason);
            }
        }
        Decision::Allow
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> Option<Vec<Rule>> {
        let each = self.injected.iter().map(|one| one.rules(user, namespace));
        each.collect::<Option<Vec<_>>>().map(|rules| rules.concat())
    }
}

fn is_open(attributes: &RequestAttributes) -> bool {
    let known = attributes.user.is_in(AUTHENTICATED);
    if attributes.resource_request {
        let asked = (attributes.group.as_str(), attributes.resource.as_str());
        return known && attributes.verb == "create" && SELF_REVIEWS.contains(&asked);
    }
    let below = |roots: &[&str]| {
        roots.iter().any(|root| {
            attributes
                .path
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let reads = matches!(attributes.verb.as_str(), "get" | "head");
    reads && (below(PUBLIC) || known && below(DISCOVERY))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    struct OnlyOwnNode;

    #[async_trait]
    impl Authorizer for OnlyOwnNode {
        async fn authorize(&self, attributes: &RequestAttributes) -> Decision {
            match attributes.user.name.strip_prefix("agent:") {
                Some(node) if attributes.selects("spec.nodeName", node) => Decision::Allow,
                Some(_) => Decision::Deny("an agent lists with fieldSelector=spec.nodeName".to_owned()),
                None => Decision::NoOpinion,
            }
        }
    }

    async fn decide(user: UserInfo, method: Method, url: &str) -> Decision {
        let (path, query) = url
            .split_once('?')
            .map_or((url, None), |(path, query)| (path, Some(query)));
        let attributes = RequestAttributes::read(user, &method, path, query);
        Chain::new(vec![Arc::new(OnlyOwnNode)])
            .authorize(&attributes)
            .await
    }

    fn agent() -> UserInfo {
        UserInfo::authenticated("agent:n1", ["agents"])
    }

    #[tokio::test]
    async fn masters_do_everything_and_strangers_only_learn_that_the_server_lives() {
        let path = "/api/v1/namespaces/default";
        assert_eq!(
            decide(UserInfo::loopback(), Method::DELETE, path).await,
            Decision::Allow
        );
        for public in ["/healthz", "/readyz/ping", "/version"] {
            assert_eq!(
                decide(UserInfo::anonymous(), Method::GET, public).await,
                Decision::Allow,
                "{public}"
            );
        }
        for refused in ["/api", "/versionx", "/metrics", path] {
            let decision = decide(UserInfo::anonymous(), Method::GET, refused).await;
            assert_eq!(decision, Decision::Deny(String::new()), "{refused}");
        }
        assert!(matches!(
            decide(UserInfo::anonymous(), Method::POST, "/version").await,
            Decision::Deny(_)
        ));
    }

    #[tokio::test]
    async fn every_known_caller_reads_discovery() {
        for path in [
            "/api",
            "/apis/edge.test/v1",
            "/openapi/v3/apis/edge.test/v1?hash=1",
        ] {
            assert_eq!(
                decide(agent(), Method::GET, path).await,
                Decision::Allow,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_user_without_groups_may_be_asked_about() {
        let user = UserInfo {
            name: "agent:n1".to_owned(),
            ..UserInfo::default()
        };
        let own = "/apis/x.y/v1/stages?fieldSelector=spec.nodeName%3Dn1";
        assert_eq!(decide(user, Method::GET, own).await, Decision::Allow);
    }

    #[tokio::test]
    async fn a_narrow_callers_list_must_select_its_own() {
        let list = "/apis/x.y/v1/stages";
        let own = format!("{list}?fieldSelector=spec.nodeName%3Dn1");
        let other = format!("{list}?watch=1&fieldSelector=spec.nodeName%3Dn2");
        assert_eq!(decide(agent(), Method::GET, &own).await, Decision::Allow);
        assert!(
            matches!(decide(agent(), Method::GET, &other).await, Decision::Deny(reason) if !reason.is_empty())
        );
        assert!(matches!(
            decide(agent(), Method::GET, list).await,
            Decision::Deny(_)
        ));
    }
}
