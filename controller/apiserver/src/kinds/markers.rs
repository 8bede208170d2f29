//! What Kubernetes' types say about their lists and maps and `k8s-openapi` leaves out: what tells items apart, what is replaced as a
//! whole, and how a strategic merge patch merges. The data; the algorithms are in `managed` and `patch/strategic`.
//!
//! A list without a marker is replaced as a whole, a map without one is merged.

use serde_json::{Value, json};

use super::Resource;
use crate::schema::{ListMerge, Schema};

/// What a type says about a field, or about itself.
#[derive(Debug, Clone, Copy)]
enum Marker {
    /// A list whose items are told apart by these fields; strategic merge patches tell them apart by the first alone.
    Keyed(&'static [&'static str]),
    /// The same, but replaced as a whole by strategic merge patches.
    KeyedForApply(&'static [&'static str]),
    /// The same for strategic merge patches; otherwise replaced as a whole.
    KeyedForPatch(&'static str),
    /// A list of scalars, each at most once, which strategic merge patches add to.
    Added,
    /// A list of scalars, each at most once.
    Set,
    /// An object or map that is replaced as a whole.
    Whole,
}

use Marker::{Added, Keyed, KeyedForApply, KeyedForPatch, Set, Whole};

/// Markers by type and field; an empty field means the type itself wherever it is used.
const MARKERS: &[(&str, &str, Marker)] = &[
    ("admissionregistration.v1.MatchResources", "", Whole),
    (
        "admissionregistration.v1.MutatingWebhook",
        "matchConditions",
        Keyed(&["name"]),
    ),
    (
        "admissionregistration.v1.MutatingWebhookConfiguration",
        "webhooks",
        Keyed(&["name"]),
    ),
    ("admissionregistration.v1.NamedRuleWithOperations", "", Whole),
    ("admissionregistration.v1.ParamKind", "", Whole),
    ("admissionregistration.v1.ParamRef", "", Whole),
    (
        "admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec",
        "validationActions",
        Set,
    ),
    (
        "admissionregistration.v1.ValidatingAdmissionPolicySpec",
        "matchConditions",
        Keyed(&["name"]),
    ),
    (
        "admissionregistration.v1.ValidatingAdmissionPolicySpec",
        "variables",
        Keyed(&["name"]),
    ),
    (
        "admissionregistration.v1.ValidatingAdmissionPolicyStatus",
        "conditions",
        KeyedForApply(&["type"]),
    ),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "matchConditions",
        Keyed(&["name"]),
    ),
    (
        "admissionregistration.v1.ValidatingWebhookConfiguration",
        "webhooks",
        Keyed(&["name"]),
    ),
    ("admissionregistration.v1.Variable", "", Whole),
    ("apps.v1.DaemonSetStatus", "conditions", Keyed(&["type"])),
    ("apps.v1.DeploymentStatus", "conditions", Keyed(&["type"])),
    ("apps.v1.ReplicaSetStatus", "conditions", Keyed(&["type"])),
    ("apps.v1.StatefulSetStatus", "conditions", Keyed(&["type"])),
    ("batch.v1.JobStatus", "conditions", KeyedForPatch("type")),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values", Set),
    ("batch.v1.UncountedTerminatedPods", "failed", Set),
    ("batch.v1.UncountedTerminatedPods", "succeeded", Set),
    ("core.v1.ConfigMapKeySelector", "", Whole),
    ("core.v1.Container", "env", Keyed(&["name"])),
    (
        "core.v1.Container",
        "ports",
        Keyed(&["containerPort", "protocol"]),
    ),
    ("core.v1.Container", "volumeDevices", Keyed(&["devicePath"])),
    ("core.v1.Container", "volumeMounts", Keyed(&["mountPath"])),
    ("core.v1.ContainerStatus", "volumeMounts", Keyed(&["mountPath"])),
    ("core.v1.EphemeralContainer", "env", Keyed(&["name"])),
    (
        "core.v1.EphemeralContainer",
        "ports",
        Keyed(&["containerPort", "protocol"]),
    ),
    (
        "core.v1.EphemeralContainer",
        "volumeDevices",
        Keyed(&["devicePath"]),
    ),
    (
        "core.v1.EphemeralContainer",
        "volumeMounts",
        Keyed(&["mountPath"]),
    ),
    ("core.v1.LocalObjectReference", "", Whole),
    ("core.v1.NamespaceStatus", "conditions", Keyed(&["type"])),
    ("core.v1.NodeSelector", "", Whole),
    ("core.v1.NodeSelectorTerm", "", Whole),
    ("core.v1.NodeSpec", "podCIDRs", Added),
    ("core.v1.NodeStatus", "addresses", Keyed(&["type"])),
    ("core.v1.NodeStatus", "conditions", Keyed(&["type"])),
    ("core.v1.ObjectFieldSelector", "", Whole),
    ("core.v1.ObjectReference", "", Whole),
    (
        "core.v1.PersistentVolumeClaimStatus",
        "conditions",
        Keyed(&["type"]),
    ),
    ("core.v1.PodSpec", "containers", Keyed(&["name"])),
    ("core.v1.PodSpec", "ephemeralContainers", Keyed(&["name"])),
    ("core.v1.PodSpec", "hostAliases", Keyed(&["ip"])),
    ("core.v1.PodSpec", "imagePullSecrets", Keyed(&["name"])),
    ("core.v1.PodSpec", "initContainers", Keyed(&["name"])),
    ("core.v1.PodSpec", "nodeSelector", Whole),
    ("core.v1.PodSpec", "resourceClaims", Keyed(&["name"])),
    ("core.v1.PodSpec", "schedulingGates", Keyed(&["name"])),
    (
        "core.v1.PodSpec",
        "topologySpreadConstraints",
        Keyed(&["topologyKey", "whenUnsatisfiable"]),
    ),
    ("core.v1.PodSpec", "volumes", Keyed(&["name"])),
    ("core.v1.PodStatus", "conditions", Keyed(&["type"])),
    ("core.v1.PodStatus", "hostIPs", KeyedForPatch("ip")),
    ("core.v1.PodStatus", "podIPs", Keyed(&["ip"])),
    ("core.v1.PodStatus", "resourceClaimStatuses", Keyed(&["name"])),
    ("core.v1.ResourceFieldSelector", "", Whole),
    ("core.v1.ResourceRequirements", "claims", KeyedForApply(&["name"])),
    ("core.v1.SecretKeySelector", "", Whole),
    ("core.v1.ServiceAccount", "secrets", Keyed(&["name"])),
    ("core.v1.ServiceSpec", "ports", Keyed(&["port", "protocol"])),
    ("core.v1.ServiceSpec", "selector", Whole),
    ("core.v1.ServiceStatus", "conditions", Keyed(&["type"])),
    ("core.v1.TypedLocalObjectReference", "", Whole),
    ("networking.v1.ServiceBackendPort", "", Whole),
    (
        "policy.v1.PodDisruptionBudgetStatus",
        "conditions",
        Keyed(&["type"]),
    ),
    ("rbac.v1.RoleRef", "", Whole),
    ("rbac.v1.Subject", "", Whole),
    (
        "apiextensions.v1.CustomResourceDefinitionStatus",
        "conditions",
        KeyedForApply(&["type"]),
    ),
    (
        "apiextensions.v1.JSONSchemaProps",
        "x-kubernetes-validations",
        Keyed(&["rule"]),
    ),
    ("meta.v1.LabelSelector", "", Whole),
    ("meta.v1.ObjectMeta", "finalizers", Added),
    ("meta.v1.ObjectMeta", "ownerReferences", Keyed(&["uid"])),
    ("meta.v1.OwnerReference", "", Whole),
];

/// Defaults, as JSON: of fields that tell items of a list apart, and of the counts that `/scale` shows.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("apps.v1.DeploymentSpec", "replicas", "1"),
    ("apps.v1.ReplicaSetSpec", "replicas", "1"),
    ("apps.v1.StatefulSetSpec", "replicas", "1"),
    ("core.v1.ContainerPort", "protocol", r#""TCP""#),
    ("core.v1.ServicePort", "protocol", r#""TCP""#),
];

/// Writes the markers of a component into its schema.
pub(super) fn publish(component: &str, schema: &mut Value) {
    let of_component = |(name, ..): &&(&str, &str, Marker)| is(component, name);
    for (_, field, marker) in MARKERS.iter().filter(of_component) {
        let place = if field.is_empty() {
            Some(&mut *schema)
        } else {
            schema.pointer_mut(&format!("/properties/{field}"))
        };
        if let Some(place) = place {
            mark(place, *marker);
        }
    }
    for (_, field, default) in DEFAULTS.iter().filter(|(name, ..)| is(component, name)) {
        if let Some(place) = schema.pointer_mut(&format!("/properties/{field}")) {
            place["default"] = serde_json::from_str(default).unwrap_or_default();
        }
    }
}

/// Whether a component such as `io.k8s.api.core.v1.PodSpec` is the type `core.v1.PodSpec`.
fn is(component: &str, name: &str) -> bool {
    component
        .strip_suffix(name)
        .is_some_and(|prefix| prefix.ends_with('.'))
}

fn mark(place: &mut Value, marker: Marker) {
    let keyed = |place: &mut Value, keys: &[&str]| {
        place["x-kubernetes-list-type"] = "map".into();
        place["x-kubernetes-list-map-keys"] = json!(keys);
    };
    let patched_by = |place: &mut Value, key: &str| {
        place["x-kubernetes-patch-merge-key"] = key.into();
        place["x-kubernetes-patch-strategy"] = "merge".into();
    };
    match marker {
        Keyed(keys) => {
            keyed(place, keys);
            patched_by(place, keys[0]);
        }
        KeyedForApply(keys) => keyed(place, keys),
        KeyedForPatch(key) => patched_by(place, key),
        Added => {
            place["x-kubernetes-list-type"] = "set".into();
            place["x-kubernetes-patch-strategy"] = "merge".into();
        }
        Set => place["x-kubernetes-list-type"] = "set".into(),
        Whole => place["x-kubernetes-map-type"] = "atomic".into(),
    }
}

impl Resource {
    /// How a strategic merge patch merges the list at `path`, such as `spec.template.spec.containers.ports`: the fields on the way,
    /// without the places in lists.
    pub fn list_merge(&self, path: &[String]) -> &ListMerge {
        let mut place = self.schema.as_deref();
        for field in path {
            let object = place.map(|schema| schema.items.as_deref().unwrap_or(schema));
            place = object.and_then(|schema: &Schema| schema.child(field));
        }
        place.map_or(&ListMerge::Replace, |schema| &schema.list_merge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::builtin::types::components;

    #[test]
    fn every_marker_is_about_a_field_that_is_there() {
        for (name, field, _) in MARKERS {
            let (_, component) = components()
                .iter()
                .find(|(component, _)| is(component, name))
                .unwrap_or_else(|| panic!("{name} is not served"));
            assert!(
                field.is_empty() || component["properties"].get(field).is_some(),
                "{name} has no {field}"
            );
        }
    }

    #[test]
    fn lists_deep_in_a_kind_merge_as_its_types_say() {
        let resources = crate::kinds::builtin::resources();
        let of = |kind: &str, path: &str| {
            let resource = resources
                .iter()
                .find(|one| one.kind == kind)
                .expect("it is served");
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            resource.list_merge(&path).clone()
        };
        assert_eq!(
            of("ConfigMap", "metadata.ownerReferences"),
            ListMerge::ByKey("uid".into())
        );
        assert_eq!(of("ConfigMap", "metadata.finalizers"), ListMerge::Scalars);
        assert_eq!(
            of("Deployment", "spec.template.spec.containers.ports"),
            ListMerge::ByKey("containerPort".into())
        );
        assert_eq!(
            of("Deployment", "spec.template.spec.tolerations"),
            ListMerge::Replace
        );
        assert_eq!(of("Service", "spec.ports"), ListMerge::ByKey("port".into()));
    }
}
