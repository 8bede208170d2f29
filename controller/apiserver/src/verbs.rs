//! What can be done to the objects of a resource, whatever the resource.
//!
//! Each verb is a function from a [`Call`] and its options to an object or a refusal; [`crate::routes`] turns requests into calls, and
//! controllers inside the server make calls of their own ([`Call::internal`]).

pub mod apply;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod metadata;
pub mod patch;
pub mod scale;
pub mod update;
pub mod watch;

use std::sync::Arc;

use serde_json::Value;

use self::patch::Patch;
use self::update::Method;
use crate::ApiServer;
use crate::admission;
use crate::auth::{Caller, Chain, RequestAttributes, UserInfo, rbac};
use crate::kinds::{Rejection, Resource};
use crate::negotiation::Decoded;
use crate::parameters::WriteOptions;
use crate::signing;
use crate::status::{Cause, GroupKind, GroupResource, Status};
use crate::storage;
use crate::store::Entry;

/// The manager of what the server itself writes, as upstream names it.
const OWN_MANAGER: &str = "kube-apiserver";

/// Who does something to which resource, and where.
#[derive(Clone)]
pub struct Call {
    /// The server.
    pub server: ApiServer,
    /// Who asks; also says whether they may touch an object.
    pub caller: Caller,
    /// The resource.
    pub resource: Arc<Resource>,
    /// The namespace; empty for cluster-scoped resources, and for all namespaces.
    pub namespace: String,
    /// Under which name the caller manages the fields that they write.
    pub manager: String,
}

/// An object after a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The object as it is now, or would be in a dry run.
    pub object: Value,
    /// What the client should be told.
    pub warnings: Vec<String>,
    /// Whether the object is new.
    pub created: bool,
}

impl Call {
    /// A call of the server itself, which may do everything.
    pub fn internal(server: &ApiServer, resource: Arc<Resource>, namespace: &str) -> Self {
        let attributes = RequestAttributes {
            user: UserInfo::loopback(),
            ..RequestAttributes::default()
        };
        let caller = Caller::new(attributes, Arc::new(Chain::default()));
        Self {
            server: server.clone(),
            caller,
            resource,
            namespace: namespace.to_owned(),
            manager: OWN_MANAGER.to_owned(),
        }
    }

    /// The resource's group and plural, for messages.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource {
            group: self.resource.group.clone(),
            resource: self.resource.plural.clone(),
        }
    }

    /// The resource's group and kind, for messages.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind {
            group: self.resource.group.clone(),
            kind: self.resource.kind.clone(),
        }
    }

    /// Where upstream keeps an object, for messages.
    fn registry_path(&self, name: &str) -> String {
        let group = if self.resource.is_custom() {
            self.resource.group.as_str()
        } else {
            ""
        };
        let parts = [group, &self.resource.plural, &self.namespace, name];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/")
    }

    /// The store's key of an object.
    pub fn key(&self, name: &str) -> Arc<str> {
        storage::key(&self.resource, &self.namespace, name)
    }

    /// An object with its entry.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn read(&self, name: &str) -> Result<(Value, Entry), Status> {
        let entry = self
            .server
            .store()
            .get(&self.key(name))
            .await
            .map_err(storage::refusal)?;
        let entry = entry.ok_or_else(|| Status::not_found(&self.group_resource(), name))?;
        Ok((storage::decode(&self.resource, &entry)?, entry))
    }

    /// Asks whether the object may be written: those who know the caller, for what it would grant, and the policies. Gives back
    /// warnings.
    ///
    /// # Errors
    /// 403 with the reason; what a policy says.
    async fn admit(&self, new: &Value, old: Option<&Value>, dry_run: bool) -> Result<Vec<String>, Status> {
        self.caller.admit(Some(new), old).await?;
        rbac::check(self, new, old).await?;
        signing::check(self, new, old).await?;
        admission::check(self, Some(new), old, dry_run).await
    }

    /// The refusal of an object that its kind does not admit.
    fn rejected(&self, rejection: Rejection, name: &str, method: Method<'_>, old: &Value) -> Status {
        let of_patch = |patch: Option<&Patch>, why: &str| {
            let quoted = patch.map_or_else(String::new, |patch| patch.quoted(&self.resource, old));
            let cause = Cause::invalid("patch", Value::from(quoted), why);
            Status::invalid(&GroupKind::default(), "", vec![cause])
        };
        match (rejection, method) {
            (Rejection::Invalid(causes), _) => Status::invalid(&self.group_kind(), name, causes),
            (Rejection::Undecodable(why), Method::Put | Method::Apply) => Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}",
                kind = self.resource.kind,
                version = self.resource.version,
            )),
            (Rejection::Undecodable(why), Method::Patch(patch)) => of_patch(patch, &why),
            (Rejection::UnknownFields(fields), Method::Put | Method::Apply) => {
                Status::bad_request(self.resource.strict_decoding_message(&fields))
            }
            (Rejection::UnknownFields(fields), Method::Patch(patch)) => {
                of_patch(patch, &format!("strict decoding error: {}", fields.join(", ")))
            }
        }
    }

    /// What becomes of doubled fields in a body: a refusal if they are forbidden, else warnings.
    fn judge_duplicates(&self, body: &Decoded, options: &WriteOptions) -> Result<Vec<String>, Status> {
        use crate::kinds::FieldValidation::{Ignore, Strict, Warn};
        match options.field_validation {
            Strict if !body.duplicates.is_empty() => {
                let problems = self.resource.strict_problems(&body.value, &body.duplicates);
                Err(Status::bad_request(
                    self.resource.strict_decoding_message(&problems),
                ))
            }
            Warn => Ok(body.duplicates.clone()),
            Strict | Ignore => Ok(Vec::new()),
        }
    }
}
