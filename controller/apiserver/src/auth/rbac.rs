//! Role-based access: what Roles, ClusterRoles and their bindings allow.
//!
//! | file | is |
//! | --- | --- |
//! | `rule`, `policy` | what the stored objects say, ready to be asked: pure |
//! | `grant` | nobody grants what they do not have, unless they may `escalate` or `bind` |
//! | `defaults` | the roles that every server has |
//! | `follow` | keeps the policy up to date, and roles that gather others |
//!
//! Requests are answered from memory. A binding counts as soon as its event has been seen, which is a moment after it was written.

mod defaults;
mod follow;
mod grant;
pub mod policy;
pub mod rule;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

pub(crate) use self::defaults::make as make_defaults;
pub(crate) use self::follow::run;
pub(crate) use self::grant::check;
use self::policy::Policy;
use self::rule::Rule;
use super::{Authorizer, Decision, RequestAttributes, UserInfo};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The authorizer. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Rbac {
    policy: Arc<ArcSwap<Policy>>,
}

impl Rbac {
    /// The policy as it is now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Replaces the policy.
    pub fn set(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &RequestAttributes) -> Decision {
        let policy = self.policy.load();
        let mut rules = policy.rules_of(&attributes.user, &attributes.namespace);
        if rules.any(|rule| rule.allows(attributes)) {
            Decision::Allow
        } else {
            Decision::NoOpinion
        }
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> Option<Vec<Rule>> {
        Some(self.policy.load().rules_of(user, namespace).cloned().collect())
    }
}
