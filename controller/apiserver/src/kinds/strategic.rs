//! How lists of built-in kinds are merged by a strategic merge patch: the data; the algorithm is not here.

use serde_json::Value;

use super::Resource;

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListStrategy {
    /// Items are objects, told apart by this field.
    MergeByKey(&'static str),
    /// Items are scalars; new ones are added.
    MergeScalars,
    /// The list is replaced as a whole.
    Replace,
}

/// (group, kind, path, strategy); an empty kind means every kind.
const STRATEGIES: [(&str, &str, &str, ListStrategy); 9] = [
    (
        "",
        "",
        "metadata.ownerReferences",
        ListStrategy::MergeByKey("uid"),
    ),
    ("", "", "metadata.finalizers", ListStrategy::MergeScalars),
    (
        "",
        "Namespace",
        "status.conditions",
        ListStrategy::MergeByKey("type"),
    ),
    ("", "ServiceAccount", "secrets", ListStrategy::MergeByKey("name")),
    ("", "Node", "spec.podCIDRs", ListStrategy::MergeScalars),
    ("", "Node", "status.conditions", ListStrategy::MergeByKey("type")),
    ("", "Node", "status.addresses", ListStrategy::MergeByKey("type")),
    ("", "Service", "spec.ports", ListStrategy::MergeByKey("port")),
    (
        "",
        "Service",
        "status.conditions",
        ListStrategy::MergeByKey("type"),
    ),
];

/// (component, field, strategy): the same, as OpenAPI documents say it, so that kubectl makes patches that merge.
const PUBLISHED: [(&str, &str, ListStrategy); 8] = [
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "ownerReferences",
        ListStrategy::MergeByKey("uid"),
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "finalizers",
        ListStrategy::MergeScalars,
    ),
    (
        "io.k8s.api.core.v1.NamespaceStatus",
        "conditions",
        ListStrategy::MergeByKey("type"),
    ),
    (
        "io.k8s.api.core.v1.ServiceAccount",
        "secrets",
        ListStrategy::MergeByKey("name"),
    ),
    (
        "io.k8s.api.core.v1.NodeStatus",
        "conditions",
        ListStrategy::MergeByKey("type"),
    ),
    (
        "io.k8s.api.core.v1.NodeStatus",
        "addresses",
        ListStrategy::MergeByKey("type"),
    ),
    (
        "io.k8s.api.core.v1.ServiceSpec",
        "ports",
        ListStrategy::MergeByKey("port"),
    ),
    (
        "io.k8s.api.core.v1.ServiceStatus",
        "conditions",
        ListStrategy::MergeByKey("type"),
    ),
];

/// Writes the strategies of a component's lists into its schema.
pub(super) fn publish(component: &str, schema: &mut Value) {
    for (_, field, strategy) in PUBLISHED.iter().filter(|(name, ..)| *name == component) {
        let Some(property) = schema.pointer_mut(&format!("/properties/{field}")) else {
            continue;
        };
        match strategy {
            ListStrategy::MergeByKey(key) => {
                property["x-kubernetes-patch-merge-key"] = Value::from(*key);
                property["x-kubernetes-patch-strategy"] = Value::from("merge");
            }
            ListStrategy::MergeScalars => property["x-kubernetes-patch-strategy"] = Value::from("merge"),
            ListStrategy::Replace => {}
        }
    }
}

impl Resource {
    /// How a strategic merge patch merges the list at `path`, such as `metadata.ownerReferences`.
    pub fn list_strategy(&self, path: &str) -> ListStrategy {
        let found = STRATEGIES.iter().find(|(group, kind, at, _)| {
            *at == path && (kind.is_empty() || (*kind == self.kind && *group == self.group))
        });
        found.map_or(ListStrategy::Replace, |(.., strategy)| *strategy)
    }
}
