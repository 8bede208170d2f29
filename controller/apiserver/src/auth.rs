//! Who asks, and whether they may.
//!
//! A request passes three questions, in this order:
//!
//! | question | answered by | refusal |
//! | --- | --- | --- |
//! | who is it? | [`gate`]: client certificate ([`certificates`]) or bearer token ([`tokens`]) | 401 Unauthorized |
//! | may they do such a thing at all? | [`Authorizer::authorize`], before a body is read | 403 Forbidden |
//! | may they do it to *this* object? | [`Authorizer::admit`], called by the verbs | 403 Forbidden |
//!
//! This module knows no kind: a rule such as "an agent touches only what concerns its node" is an [`Authorizer`]
//! that the program injects (see [`rules`] for the chain it is put into). A collection cannot be filtered object by
//! object without leaking through watches, so a narrow caller's list, watch or deletecollection must carry a field
//! selector ([`RequestAttributes::selects`]) and is refused without it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http::Extensions;
use serde_json::Value;

use self::rbac::rule::Rule;
use crate::status::Status;

pub mod attributes;
pub mod authority;
pub mod bootstrap;
pub mod certificates;
pub mod gate;
pub mod kubeconfig;
pub(crate) mod private_file;
pub mod rbac;
pub mod refusal;
pub mod reviews;
pub mod rules;
pub mod tokens;

pub use attributes::RequestAttributes;
pub use gate::{Gate, Peer};
pub use refusal::refusal;
pub use rules::Chain;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of every caller whose identity was proven.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of callers without an identity.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who a request comes from, as proven by a certificate or token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name that rules and managed fields refer to, such as `system:admin`.
    pub name: String,
    /// Distinguishes two users of the same name over time; empty when nothing does.
    pub uid: String,
    /// Groups, each at most once.
    pub groups: Vec<String>,
    /// Anything else that the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user whose identity was proven: `groups` plus [`AUTHENTICATED`].
    pub fn authenticated(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut user = Self {
            name: name.into(),
            ..Self::default()
        };
        for group in groups
            .into_iter()
            .map(Into::into)
            .chain([AUTHENTICATED.to_owned()])
        {
            if !user.groups.contains(&group) {
                user.groups.push(group);
            }
        }
        user
    }

    /// The server itself, and programs that embed it: may do everything.
    pub fn loopback() -> Self {
        Self::authenticated("system:apiserver", [MASTERS])
    }

    /// A caller without an identity.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// What an authorizer says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; nobody else is asked.
    Allow,
    /// No, for this reason (may be empty); nobody else is asked.
    Deny(String),
    /// Not mine to say; the next one in the chain is asked.
    NoOpinion,
}

/// Decides what callers may do. Called for every request: answers come from memory, never from the network.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Whether such a request may be made at all; the body has not been read.
    async fn authorize(&self, attributes: &RequestAttributes) -> Decision;

    /// Whether the request may touch this object. Called once `authorize` allowed the request:
    ///
    /// | verb | `new` | `old` | when |
    /// | --- | --- | --- | --- |
    /// | get | none | what would be returned | before it is returned |
    /// | create | what would be stored | none | before it is stored |
    /// | update, patch | what would be stored | what is stored | before it is stored |
    /// | delete, deletecollection | none | what is stored | for each object |
    ///
    /// Only [`Decision::Deny`] refuses: an authorizer that has no opinion on objects needs not write this.
    async fn admit(
        &self,
        _attributes: &RequestAttributes,
        _new: Option<&Value>,
        _old: Option<&Value>,
    ) -> Decision {
        Decision::Allow
    }

    /// The rules that hold for a user in a namespace; `None` for those who decide without rules.
    fn rules(&self, _user: &UserInfo, _namespace: &str) -> Option<Vec<Rule>> {
        None
    }
}

/// Who makes a request and what it asks: in the extensions of every request that passed the [`gate`].
#[derive(Clone)]
pub struct Caller {
    /// The request, as authorizers see it.
    pub attributes: Arc<RequestAttributes>,
    authorizer: Arc<dyn Authorizer>,
    tokens: Option<Arc<tokens::Tokens>>,
}

impl Caller {
    /// A caller whose objects are judged by `authorizer`.
    pub fn new(attributes: RequestAttributes, authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            attributes: Arc::new(attributes),
            authorizer,
            tokens: None,
        }
    }

    /// The same caller, at a server that issues and verifies tokens.
    pub fn with_tokens(self, tokens: Arc<tokens::Tokens>) -> Self {
        Self {
            tokens: Some(tokens),
            ..self
        }
    }

    /// The caller of the request with these extensions.
    ///
    /// # Errors
    /// 401 when the request did not come through the gate: a router that was not guarded answers nobody.
    pub fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get::<Self>().ok_or_else(Status::unauthorized)
    }

    /// The user.
    pub fn user(&self) -> &UserInfo {
        &self.attributes.user
    }

    /// Issues and verifies tokens, if the server does.
    pub fn tokens(&self) -> Option<&tokens::Tokens> {
        self.tokens.as_deref()
    }

    /// What the server's authorizers say about some other request.
    pub async fn decide(&self, attributes: &RequestAttributes) -> Decision {
        self.authorizer.authorize(attributes).await
    }

    /// The rules that hold for the caller in a namespace, as far as they can be listed; `None` when some cannot.
    pub fn rules(&self, namespace: &str) -> Option<Vec<Rule>> {
        self.authorizer.rules(self.user(), namespace)
    }

    /// Asks whether this object may be touched; see [`Authorizer::admit`] for what to pass.
    ///
    /// # Errors
    /// 403 with the authorizer's reason.
    pub async fn admit(&self, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        match self.authorizer.admit(&self.attributes, new, old).await {
            Decision::Allow | Decision::NoOpinion => Ok(()),
            Decision::Deny(reason) => Err(refusal(&self.attributes, &reason)),
        }
    }
}
