//! What an agent may touch: what concerns its node. Its identity is a client certificate, `CN=edgeloom:node:NAME`,
//! `O=edgeloom:nodes`.
//!
//! | kind | an agent may |
//! | --- | --- |
//! | Stage, RouteTable | read those of its node; write their status |
//! | EdgeNode | create and read its own; write its status |
//! | EdgeLink | read all (they hold no secret, and no selector finds the two ends of a link); write its own report in the status of those that end at its node |
//! | Model | read all: URIs and sizes of the weights |
//! | Lease | hold its own in `edgeloom-system` |
//! | Event | create; repeat its own |
//! | CertificateSigningRequest | create, to renew its certificate; read one by its name |
//!
//! Everything else is refused, Secrets above all: API keys reach an agent as keyed hashes in its RouteTable. Lists and
//! watches must select the node by field, since a collection is not filtered object by object.

use apiserver::{
    auth::{Authorizer, Decision, RequestAttributes, UserInfo},
    signing,
};
use async_trait::async_trait;
use manager::SYSTEM_NAMESPACE;
use serde_json::Value;

/// The group of all agents.
pub const GROUP: &str = "edgeloom:nodes";

/// What an agent's name begins with.
pub(crate) const PREFIX: &str = "edgeloom:node:";

/// The field by which Stages and RouteTables belong to a node.
const NODE_FIELD: &str = "spec.nodeName";

/// The name under which the agent of `node` is known.
#[must_use]
pub fn user_of(node: &str) -> String {
    format!("{PREFIX}{node}")
}

/// The rule. It has no opinion on callers that are no agents.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeAuthorizer;

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, attributes: &RequestAttributes) -> Decision {
        match node_of(&attributes.user) {
            Some(node) => may_ask(node, attributes),
            None => Decision::NoOpinion,
        }
    }

    async fn admit(
        &self,
        attributes: &RequestAttributes,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Decision {
        match node_of(&attributes.user) {
            Some(node) => may_touch(node, attributes, new, old),
            None => Decision::NoOpinion,
        }
    }
}

/// The node whose agent this is. Both name and group must say so.
fn node_of(user: &UserInfo) -> Option<&str> {
    let node = user.name.strip_prefix(PREFIX)?;
    (user.is_in(GROUP) && !node.is_empty()).then_some(node)
}

/// Whether such a request may be made at all.
fn may_ask(node: &str, asked: &RequestAttributes) -> Decision {
    let verb = asked.verb.as_str();
    let reads = matches!(verb, "get" | "list" | "watch");
    let writes_status = asked.subresource == "status" && matches!(verb, "get" | "update" | "patch");
    let itself = asked.subresource.is_empty();
    match (asked.group.as_str(), asked.resource.as_str()) {
        (crds::GROUP, "stages") if writes_status || itself && verb == "get" => Decision::Allow,
        (crds::GROUP, "stages") if itself && reads => by_selection(asked, &[(NODE_FIELD, node)]),
        (crds::GROUP, "routetables") if writes_status || itself && verb == "get" => named(asked, node),
        (crds::GROUP, "routetables") if itself && reads => {
            by_selection(asked, &[(NODE_FIELD, node), ("metadata.name", node)])
        }
        // What is created is looked at in `may_touch`: its name stands in the body.
        (crds::GROUP, "edgenodes") if itself && verb == "create" => Decision::Allow,
        (crds::GROUP, "edgenodes") if writes_status || itself && verb == "get" => named(asked, node),
        (crds::GROUP, "edgenodes") if itself && reads => by_selection(asked, &[("metadata.name", node)]),
        (crds::GROUP, "edgelinks") if writes_status || itself && reads => Decision::Allow,
        (crds::GROUP, "models") if itself && reads => Decision::Allow,
        ("coordination.k8s.io", "leases") if asked.namespace == SYSTEM_NAMESPACE && itself => match verb {
            "create" => Decision::Allow,
            "get" | "update" | "patch" => named(asked, node),
            _ => refused(format!(
                "an agent may hold its own Lease only, {SYSTEM_NAMESPACE}/{node}"
            )),
        },
        (signing::GROUP, "certificatesigningrequests") if itself && matches!(verb, "create" | "get") => {
            Decision::Allow
        }
        ("" | "events.k8s.io", "events") if itself && matches!(verb, "create" | "update" | "patch") => {
            Decision::Allow
        }
        _ => refused(format!(
            "the agent of {node} may touch only what concerns its node"
        )),
    }
}

/// Whether the request may touch this object.
fn may_touch(node: &str, asked: &RequestAttributes, new: Option<&Value>, old: Option<&Value>) -> Decision {
    let text = |object: Option<&Value>, pointer: &str| {
        object
            .and_then(|object| object.pointer(pointer))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let own = |is_own: bool, what: &str| {
        if is_own {
            Decision::Allow
        } else {
            refused(format!("this {what} does not belong to node {node}"))
        }
    };
    let is_node = |value: Option<String>| value.as_deref() == Some(node);
    match (asked.group.as_str(), asked.resource.as_str()) {
        (crds::GROUP, "stages") => own(is_node(text(old.or(new), "/spec/nodeName")), "Stage"),
        (crds::GROUP, "routetables") => own(is_node(text(old.or(new), "/spec/nodeName")), "RouteTable"),
        (crds::GROUP, "edgenodes") => own(is_node(text(old.or(new), "/metadata/name")), "EdgeNode"),
        (crds::GROUP, "edgelinks") => match (new, old) {
            (Some(new), Some(old)) => may_report(node, new, old),
            _ => Decision::Allow,
        },
        ("coordination.k8s.io", "leases") => own(is_node(text(old.or(new), "/metadata/name")), "Lease"),
        ("" | "events.k8s.io", "events") => {
            let reporter =
                |object| text(object, "/reportingInstance").or_else(|| text(object, "/source/host"));
            own(is_node(reporter(old.or(new))), "Event")
        }
        _ => Decision::Allow,
    }
}

/// A link's end may change its own report, and nothing else of the status.
fn may_report(node: &str, new: &Value, old: &Value) -> Decision {
    let ends = [&old["spec"]["from"], &old["spec"]["to"]];
    if !ends.contains(&&Value::from(node)) {
        return refused(format!("this EdgeLink does not end at node {node}"));
    }
    if without_report(new, node) == without_report(old, node) {
        Decision::Allow
    } else {
        refused(format!(
            "an agent may change status.reports[{node}] of an EdgeLink only"
        ))
    }
}

/// The status without a source's report. A status or a map that is empty without it was made for it.
fn without_report(link: &Value, source: &str) -> Value {
    let mut status = link["status"].as_object().cloned().unwrap_or_default();
    if let Some(reports) = status.get_mut("reports").and_then(Value::as_object_mut) {
        reports.remove(source);
        if reports.is_empty() {
            status.remove("reports");
        }
    }
    Value::Object(status)
}

fn named(asked: &RequestAttributes, node: &str) -> Decision {
    if asked.name == node {
        Decision::Allow
    } else {
        refused(format!(
            "the agent of {node} may touch {} {node} only",
            asked.full_resource()
        ))
    }
}

fn by_selection(asked: &RequestAttributes, selections: &[(&str, &str)]) -> Decision {
    if selections
        .iter()
        .any(|(field, value)| asked.selects(field, value))
    {
        return Decision::Allow;
    }
    let wanted: Vec<_> = selections
        .iter()
        .map(|(field, value)| format!("fieldSelector={field}={value}"))
        .collect();
    refused(format!(
        "an agent must select its own {}: {}",
        asked.resource,
        wanted.join(" or ")
    ))
}

fn refused(reason: String) -> Decision {
    Decision::Deny(reason)
}

#[cfg(test)]
mod tests;
