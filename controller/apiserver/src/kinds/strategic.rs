//! How lists of built-in kinds are merged by a strategic merge patch: the data; the algorithm is not here.

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

impl Resource {
    /// How a strategic merge patch merges the list at `path`, such as `metadata.ownerReferences`.
    pub fn list_strategy(&self, path: &str) -> ListStrategy {
        let found = STRATEGIES.iter().find(|(group, kind, at, _)| {
            *at == path && (kind.is_empty() || (*kind == self.kind && *group == self.group))
        });
        found.map_or(ListStrategy::Replace, |(.., strategy)| *strategy)
    }
}
