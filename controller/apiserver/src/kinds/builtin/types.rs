//! Schemas of the built-in kinds, from Kubernetes' own types in `k8s-openapi`: for validation here, and as they stand for
//! the OpenAPI documents.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::kinds::markers;
use crate::schema::{Additional, Schema, ValueType, metadata};

/// Where components of an OpenAPI document refer to one another.
pub const REFERENCE_PREFIX: &str = "#/components/schemas/";

/// The component of every object's `metadata`.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The component of every list's `metadata`.
pub const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Components whose type says `object` where any JSON value is meant.
const ANY_JSON: [&str; 4] = [
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

/// The components of all built-in kinds, and their names by (apiVersion, kind).
struct Types {
    components: BTreeMap<String, Value>,
    names: BTreeMap<(&'static str, &'static str), String>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    use k8s_openapi::api::{
        admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
        coordination, core, discovery, events, flowcontrol, networking, node, policy, rbac, scheduling,
        storage, storagemigration,
    };
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
    use k8s_openapi::apimachinery::pkg::apis::meta;
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;

    let mut generator = SchemaGenerator::new(SchemaSettings::openapi3());
    let mut names = BTreeMap::new();
    macro_rules! served {
        ($($type:ty),* $(,)?) => {$(
            generator.subschema_for::<$type>();
            let key = (
                <$type as k8s_openapi::Resource>::API_VERSION,
                <$type as k8s_openapi::Resource>::KIND,
            );
            names.insert(key, <$type as k8s_openapi::schemars::JsonSchema>::schema_name().into_owned());
        )*};
    }
    served!(
        core::v1::Namespace,
        core::v1::ConfigMap,
        core::v1::Secret,
        core::v1::ServiceAccount,
        core::v1::Event,
        core::v1::Node,
        core::v1::Service,
        core::v1::Pod,
        core::v1::PersistentVolumeClaim,
        apps::v1::DaemonSet,
        apps::v1::Deployment,
        apps::v1::ReplicaSet,
        apps::v1::StatefulSet,
        batch::v1::CronJob,
        batch::v1::Job,
        policy::v1::PodDisruptionBudget,
        networking::v1::Ingress,
        networking::v1::NetworkPolicy,
        rbac::v1::ClusterRole,
        rbac::v1::ClusterRoleBinding,
        rbac::v1::Role,
        rbac::v1::RoleBinding,
        scheduling::v1::PriorityClass,
        admissionregistration::v1::MutatingWebhookConfiguration,
        admissionregistration::v1::ValidatingAdmissionPolicy,
        admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        admissionregistration::v1::ValidatingWebhookConfiguration,
        events::v1::Event,
        coordination::v1::Lease,
        apiextensions::v1::CustomResourceDefinition,
        authentication::v1::TokenRequest,
        authentication::v1::TokenReview,
        authentication::v1::SelfSubjectReview,
        authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview,
        authorization::v1::SubjectAccessReview,
        authorization::v1::LocalSubjectAccessReview,
        autoscaling::v1::Scale,
        autoscaling::v1::HorizontalPodAutoscaler,
        autoscaling::v2::HorizontalPodAutoscaler,
        certificates::v1::CertificateSigningRequest,
        certificates::v1::ClusterTrustBundle,
        certificates::v1::PodCertificateRequest,
        core::v1::Endpoints,
        core::v1::LimitRange,
        core::v1::ResourceQuota,
        core::v1::PersistentVolume,
        core::v1::PodTemplate,
        core::v1::ReplicationController,
        apps::v1::ControllerRevision,
        discovery::v1::EndpointSlice,
        flowcontrol::v1::FlowSchema,
        flowcontrol::v1::PriorityLevelConfiguration,
        networking::v1::IngressClass,
        node::v1::RuntimeClass,
        storage::v1::CSIDriver,
        storage::v1::CSINode,
        storage::v1::StorageClass,
        storage::v1::VolumeAttachment,
        storagemigration::v1::StorageVersionMigration,
        apiregistration::v1::APIService,
    );
    generator.subschema_for::<meta::v1::ObjectMeta>();
    generator.subschema_for::<meta::v1::ListMeta>();
    generator.subschema_for::<meta::v1::Status>();
    generator.subschema_for::<meta::v1::DeleteOptions>();
    let mut components: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
    for (name, component) in &mut components {
        tidy(name, component);
        markers::publish(name, component);
    }
    for ((api_version, kind), name) in &names {
        if let Some(component) = components.get_mut(name) {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            component["x-kubernetes-group-version-kind"] =
                json!([{"group": group, "kind": kind, "version": version}]);
        }
    }
    Types { components, names }
});

/// All components that built-in kinds need, by name, as an OpenAPI v3 document has them.
pub fn components() -> &'static BTreeMap<String, Value> {
    &TYPES.components
}

/// The component's name for a built-in kind.
pub fn component_name(api_version: &str, kind: &str) -> Option<&'static str> {
    TYPES
        .names
        .iter()
        .find(|(key, _)| **key == (api_version, kind))
        .map(|(_, name)| name.as_str())
}

/// The schema of a built-in kind for pruning and validation. "Required" is said by `rules` where it matters: types that are decoded into
/// structs have every field.
pub fn schema_of(api_version: &str, kind: &str) -> Option<Schema> {
    let of_component = SCHEMAS.get(component_name(api_version, kind)?)?;
    let mut schema = Schema::clone(of_component);
    schema
        .properties
        .insert("metadata".to_owned(), SCHEMAS.get(OBJECT_META)?.clone());
    Some(schema)
}

/// The schemas of all components; those that a component refers to are shared.
static SCHEMAS: LazyLock<BTreeMap<String, Arc<Schema>>> = LazyLock::new(|| {
    let mut done = BTreeMap::from([(OBJECT_META.to_owned(), Arc::new(metadata::object_meta().clone()))]);
    for name in components().keys() {
        parse_component(name, &mut Vec::new(), &mut done);
    }
    done
});

/// Parses a component and all that it refers to. One that contains itself is cut there: below that, anything is kept.
fn parse_component(
    name: &str,
    above: &mut Vec<String>,
    done: &mut BTreeMap<String, Arc<Schema>>,
) -> Arc<Schema> {
    let anything = || {
        Arc::new(Schema {
            preserve_unknown_fields: true,
            null_is_absent: true,
            ..Schema::default()
        })
    };
    if let Some(parsed) = done.get(name) {
        return parsed.clone();
    }
    let Some(component) = components().get(name) else {
        return anything();
    };
    if ANY_JSON.contains(&name) || above.iter().any(|one| one == name) {
        return anything();
    }
    above.push(name.to_owned());
    let mut referred_to = Vec::new();
    for_each_reference(component, &mut referred_to);
    for other in referred_to {
        // What leads back to here is parsed again for each way around: nothing is kept of it.
        if !above.contains(&other) {
            parse_component(&other, above, done);
        }
    }
    let resolve = |node: &Value| {
        let other = referred(node.as_object()?)?;
        Some(done.get(&other).cloned().unwrap_or_else(anything))
    };
    let mut schema = Schema::parse_built_in(component, &resolve);
    above.pop();
    let is_free_form = schema.value_type == Some(ValueType::Object)
        && schema.properties.is_empty()
        && matches!(schema.additional, Additional::None);
    schema.preserve_unknown_fields |= is_free_form;
    schema.go_type = Some(go_type(name));
    let schema = Arc::new(schema);
    done.insert(name.to_owned(), schema.clone());
    schema
}

/// What Go calls a component: its package and name, such as `v1.PodSpec`.
fn go_type(component: &str) -> Arc<str> {
    let start = component
        .rmatch_indices('.')
        .nth(1)
        .map_or(0, |(place, _)| place + 1);
    component[start..].into()
}

fn for_each_reference(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => match referred(fields) {
            Some(name) => found.push(name),
            None => fields.values().for_each(|field| for_each_reference(field, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| for_each_reference(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Kubernetes publishes `JSON` without a type, and `metadata` is never required of a client.
fn tidy(name: &str, component: &mut Value) {
    let Value::Object(fields) = component else { return };
    if ANY_JSON.contains(&name) {
        fields.retain(|key, _| key == "description");
    }
    if let Some(Value::Array(required)) = fields.get_mut("required") {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            fields.shift_remove("required");
        }
    }
}

/// The component that a node refers to: `{"$ref": …}` or `{"allOf": [{"$ref": …}], "description": …}`.
fn referred(fields: &Map<String, Value>) -> Option<String> {
    let direct = |fields: &Map<String, Value>| {
        fields
            .get("$ref")?
            .as_str()?
            .strip_prefix(REFERENCE_PREFIX)
            .map(str::to_owned)
    };
    direct(fields).or_else(|| match fields.get("allOf")?.as_array()?.as_slice() {
        [Value::Object(only)] => direct(only),
        _ => None,
    })
}
