//! Kinds of a cluster's own machinery that clients like to see: stored as they come, and nothing here acts on them.

use super::super::{ExtraSubresource, Form, Resource, ScalePaths};
use super::{Builder, resource};
use crate::table::{Column, builtin, column::Source, networking, policies, storage, workloads as columns};

/// Certificates, volumes, workloads of old, networking, scaling, flow control, quotas, and aggregated servers.
pub(super) fn resources() -> Vec<Resource> {
    let mut all = certificates();
    all.extend(volumes());
    all.extend(workloads());
    all.extend(of_networks());
    all.extend(flow_control());
    all.extend(quotas());
    all.extend(aggregation());
    all
}

fn certificates() -> Vec<Resource> {
    let group = "certificates.k8s.io";
    let mut request = resource(
        group,
        "v1",
        "CertificateSigningRequest",
        "certificatesigningrequests",
    )
    .short(&["csr"])
    .cluster_scoped()
    .with_status()
    .selectable(&["spec.signerName"])
    .columns(builtin::certificate_request())
    .build();
    request.subresources.others.push(ExtraSubresource {
        name: "approval",
        group,
        version: "v1",
        kind: "CertificateSigningRequest",
        verbs: &["get", "patch", "update"],
    });
    vec![
        request,
        resource(group, "v1", "ClusterTrustBundle", "clustertrustbundles")
            .cluster_scoped()
            .selectable(&["spec.signerName"])
            .columns(shown(&[("SignerName", ".spec.signerName")]))
            .build(),
        resource(group, "v1", "PodCertificateRequest", "podcertificaterequests")
            .with_status()
            .selectable(&["spec.signerName", "spec.podName", "spec.nodeName"])
            .columns(shown(&[
                ("PodName", ".spec.podName"),
                ("SignerName", ".spec.signerName"),
            ]))
            .build(),
    ]
}

fn volumes() -> Vec<Resource> {
    let of_storage = |kind, plural| resource("storage.k8s.io", "v1", kind, plural).cluster_scoped();
    vec![
        resource("", "v1", "PersistentVolume", "persistentvolumes")
            .short(&["pv"])
            .cluster_scoped()
            .with_status()
            .columns(storage::persistent_volume())
            .build(),
        of_storage("CSIDriver", "csidrivers")
            .columns(storage::csi_driver())
            .build(),
        of_storage("CSINode", "csinodes")
            .columns(storage::csi_node())
            .build(),
        of_storage("VolumeAttachment", "volumeattachments")
            .with_status()
            .columns(storage::volume_attachment())
            .build(),
        of_storage("StorageClass", "storageclasses")
            .short(&["sc"])
            .columns(storage::storage_class())
            .build(),
    ]
}

fn workloads() -> Vec<Resource> {
    let mut controller = resource("", "v1", "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .categories(&["all"])
        .with_status()
        .columns(columns::replication_controller())
        .build();
    controller.subresources.scale = Some(ScalePaths {
        spec_replicas: ".spec.replicas".to_owned(),
        status_replicas: ".status.replicas".to_owned(),
        label_selector: Some(".spec.selector".to_owned()),
    });
    vec![
        controller,
        resource("", "v1", "PodTemplate", "podtemplates")
            .columns(columns::pod_template())
            .build(),
        resource("apps", "v1", "ControllerRevision", "controllerrevisions")
            .columns(columns::controller_revision())
            .build(),
        autoscaler("v2"),
        autoscaler_v1(),
        resource("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
            .cluster_scoped()
            .columns(shown(&[("Handler", ".handler")]))
            .build(),
    ]
}

fn autoscaler(version: &str) -> Resource {
    let (kind, plural) = ("HorizontalPodAutoscaler", "horizontalpodautoscalers");
    resource("autoscaling", version, kind, plural)
        .short(&["hpa"])
        .categories(&["all"])
        .with_status()
        .columns(policies::autoscaler())
        .build()
}

/// The same objects as those of v2.
fn autoscaler_v1() -> Resource {
    let mut autoscaler = autoscaler("v1");
    autoscaler.storage.version = "v2".to_owned();
    autoscaler.storage.form = Form::AutoscalerV1;
    autoscaler
}

fn of_networks() -> Vec<Resource> {
    vec![
        resource("", "v1", "Endpoints", "endpoints")
            .short(&["ep"])
            .columns(networking::endpoints())
            .build(),
        resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
            .columns(networking::endpoint_slice())
            .build(),
        resource("networking.k8s.io", "v1", "IngressClass", "ingressclasses")
            .cluster_scoped()
            .columns(networking::ingress_class())
            .build(),
    ]
}

fn flow_control() -> Vec<Resource> {
    let group = "flowcontrol.apiserver.k8s.io";
    let why = "this server limits requests by its own rules: the object is stored, and has no effect";
    vec![
        resource(group, "v1", "FlowSchema", "flowschemas")
            .cluster_scoped()
            .with_status()
            .columns(policies::flow_schema())
            .without_effect(why)
            .build(),
        resource(
            group,
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
        )
        .cluster_scoped()
        .with_status()
        .columns(policies::priority_level())
        .without_effect(why)
        .build(),
    ]
}

fn quotas() -> Vec<Resource> {
    vec![
        resource("", "v1", "ResourceQuota", "resourcequotas")
            .short(&["quota"])
            .with_status()
            .columns(policies::resource_quota())
            .without_effect("this server counts no resources: the quota is stored, and limits nothing")
            .build(),
        resource("", "v1", "LimitRange", "limitranges")
            .short(&["limits"])
            .columns(builtin::created_at())
            .without_effect(
                "this server fills in and refuses no limits: the object is stored, and has no effect",
            )
            .build(),
    ]
}

fn aggregation() -> Vec<Resource> {
    vec![
        resource("apiregistration.k8s.io", "v1", "APIService", "apiservices")
            .categories(&["api-extensions"])
            .cluster_scoped()
            .with_status()
            .columns(shown(&[("Service", ".spec.service.name")]))
            .build(),
        resource(
            "storagemigration.k8s.io",
            "v1",
            "StorageVersionMigration",
            "storageversionmigrations",
        )
        .cluster_scoped()
        .with_status()
        .without_effect(
            "objects are converted when they are read here: the migration is stored, and nothing carries it out",
        )
        .build(),
    ]
}

/// Columns of what stands at these paths, then AGE.
fn shown(columns: &[(&str, &str)]) -> Vec<Column> {
    let column = |(name, path): &(&str, &str)| Column {
        name: (*name).to_owned(),
        value_type: "string".to_owned(),
        format: String::new(),
        description: format!("What stands at {path}."),
        priority: 0,
        source: Source::path(path),
    };
    let mut all: Vec<Column> = columns.iter().map(column).collect();
    all.push(builtin::age());
    all
}

impl Builder {
    /// Stored, with none of the effects that it has elsewhere: who writes it is told.
    fn without_effect(mut self, why: &'static str) -> Self {
        self.0.without_effect = Some(why);
        self
    }
}
