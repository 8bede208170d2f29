//! The kinds that every server serves: the upstream "generic control plane" without its policies.
//!
//! Their schemas are those of Kubernetes' own types (`builtin/types`); the few rules that those cannot say are in
//! `builtin/rules`. Adding a plainly stored kind is one entry in `builtin/plain` and one in `types`.

mod access;
mod defaults;
mod machinery;
mod plain;
pub mod rules;
pub mod types;
mod workloads;

use std::sync::{Arc, LazyLock};

use super::{
    ExtraSubresource, Form, Origin, REVIEW_VERBS, Resource, STORED_VERBS, SelectableField, Storage,
    Subresources, api_version,
};
use crate::table::{builtin as columns, networking};

/// Verbs of namespaces, which are not deleted in bulk.
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// All built-in resources.
pub fn resources() -> Vec<Resource> {
    static ALL: LazyLock<Vec<Resource>> =
        LazyLock::new(|| [stored(), plain::resources(), machinery::resources(), reviews()].concat());
    ALL.clone()
}

fn stored() -> Vec<Resource> {
    vec![
        namespace(),
        resource("", "v1", "ConfigMap", "configmaps")
            .short(&["cm"])
            .columns(columns::config_map())
            .build(),
        resource("", "v1", "Secret", "secrets")
            .selectable(&["type"])
            .columns(columns::secret())
            .build(),
        service_account(),
        core_event(),
        resource("", "v1", "Node", "nodes")
            .short(&["no"])
            .cluster_scoped()
            .with_status()
            .selectable_or(&["spec.unschedulable"], "false")
            .columns(columns::node())
            .build(),
        resource("", "v1", "Service", "services")
            .short(&["svc"])
            .categories(&["all"])
            .with_status()
            .selectable(&["spec.clusterIP", "spec.type"])
            .columns(networking::service())
            .build(),
        events_group_event(),
        lease(),
        resource(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
        .short(&["crd", "crds"])
        .categories(&["api-extensions"])
        .cluster_scoped()
        .with_status()
        .conditional_update()
        .columns(columns::created_at())
        .build(),
    ]
}

/// Questions that are answered and not kept.
fn reviews() -> Vec<Resource> {
    const REVIEWS: [(&str, &str, bool); 6] = [
        ("authentication.k8s.io", "SelfSubjectReview", false),
        ("authentication.k8s.io", "TokenReview", false),
        ("authorization.k8s.io", "LocalSubjectAccessReview", true),
        ("authorization.k8s.io", "SelfSubjectAccessReview", false),
        ("authorization.k8s.io", "SelfSubjectRulesReview", false),
        ("authorization.k8s.io", "SubjectAccessReview", false),
    ];
    let review = |(group, kind, namespaced): (&str, &str, bool)| {
        let mut review = resource(group, "v1", kind, &format!("{}s", kind.to_lowercase())).build();
        review.namespaced = namespaced;
        review.verbs = REVIEW_VERBS;
        review
    };
    REVIEWS.map(review).into()
}

fn namespace() -> Resource {
    let mut namespace = resource("", "v1", "Namespace", "namespaces")
        .short(&["ns"])
        .cluster_scoped()
        .with_status()
        .selectable(&["status.phase"])
        .columns(columns::namespace())
        .build();
    namespace.verbs = NAMESPACE_VERBS;
    namespace.subresources.others.push(ExtraSubresource {
        name: "finalize",
        group: "",
        version: "v1",
        kind: "Namespace",
        verbs: &["update"],
    });
    namespace
}

fn service_account() -> Resource {
    let mut account = resource("", "v1", "ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .columns(columns::service_account())
        .build();
    account.subresources.others.push(ExtraSubresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: &["create"],
    });
    account
}

fn core_event() -> Resource {
    let mut event = resource("", "v1", "Event", "events")
        .short(&["ev"])
        .selectable(&[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ])
        .columns(columns::core_event())
        .build();
    let source = vec!["source".to_owned(), "component".to_owned()];
    event.selectable_fields.push(SelectableField {
        label: "source".to_owned(),
        path: source,
        or_field: "reportingComponent",
        absent: "",
    });
    event.create_on_update = true;
    event
}

fn events_group_event() -> Resource {
    let mut event = resource("events.k8s.io", "v1", "Event", "events")
        .short(&["ev"])
        .selectable(&[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ])
        .columns(columns::events_group_event())
        .build();
    event.storage = Storage {
        group: String::new(),
        version: "v1".to_owned(),
        plural: "events".to_owned(),
        form: Form::EventsGroup,
    };
    event.create_on_update = true;
    event
}

fn lease() -> Resource {
    let mut lease = resource("coordination.k8s.io", "v1", "Lease", "leases")
        .conditional_update()
        .columns(columns::lease())
        .build();
    lease.create_on_update = true;
    lease
}

/// The parts of a built-in resource that are not the same for nearly all of them.
struct Builder(Resource);

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> Builder {
    Builder(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        verbs: STORED_VERBS,
        subresources: Subresources::default(),
        selectable_fields: Vec::new(),
        columns: Vec::new(),
        schema: types::schema_of(&api_version(group, version), kind).map(Arc::new),
        published: None,
        strategic: true,
        unconditional_update: true,
        create_on_update: false,
        served: true,
        storage: Storage {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            form: Form::SameShape,
        },
        deprecation_warning: None,
        without_effect: None,
        origin: Origin::BuiltIn,
    })
}

impl Builder {
    fn short(mut self, names: &[&str]) -> Self {
        self.0.short_names = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    fn categories(mut self, names: &[&str]) -> Self {
        self.0.categories = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    fn cluster_scoped(mut self) -> Self {
        self.0.namespaced = false;
        self
    }

    fn with_status(mut self) -> Self {
        self.0.subresources.status = true;
        self
    }

    fn conditional_update(mut self) -> Self {
        self.0.unconditional_update = false;
        self
    }

    fn selectable(self, paths: &[&str]) -> Self {
        self.selectable_or(paths, "")
    }

    fn selectable_or(mut self, paths: &[&str], absent: &'static str) -> Self {
        let fields = paths.iter().map(|path| SelectableField {
            absent,
            ..SelectableField::at(path)
        });
        self.0.selectable_fields.extend(fields);
        self
    }

    fn columns(mut self, columns: Vec<crate::table::Column>) -> Self {
        self.0.columns = columns;
        self
    }

    fn build(self) -> Resource {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_built_in_kind_has_a_schema_with_metadata() {
        for resource in super::resources() {
            let schema = resource
                .schema
                .as_ref()
                .unwrap_or_else(|| panic!("{} has no schema", resource.kind));
            assert!(
                schema.properties.contains_key("metadata"),
                "{} has no metadata",
                resource.kind
            );
        }
    }
}
