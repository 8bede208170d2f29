//! Kinds that charts create and clients like to see: stored as they come, with the columns of Kubernetes; nothing here runs them.

use super::super::{ExtraSubresource, Resource, ScalePaths};
use super::{Builder, resource};
use crate::table::{builtin, networking, policies, storage, workloads as columns};

/// Workloads, policies, networking, access rules and admission.
pub(super) fn resources() -> Vec<Resource> {
    let mut all = workloads();
    all.extend(of_networks());
    all.extend(access());
    all.extend(admission());
    all
}

fn pod() -> Resource {
    let mut pod = resource("", "v1", "Pod", "pods")
        .short(&["po"])
        .categories(&["all"])
        .with_status()
        .selectable(&[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ])
        .columns(columns::pod())
        .build();
    pod.subresources.others.push(ExtraSubresource {
        name: "ephemeralcontainers",
        group: "",
        version: "v1",
        kind: "Pod",
        verbs: &["get", "patch", "update"],
    });
    pod
}

fn workloads() -> Vec<Resource> {
    let apps = |kind, plural| {
        resource("apps", "v1", kind, plural)
            .categories(&["all"])
            .with_status()
    };
    let batch = |kind, plural| {
        resource("batch", "v1", kind, plural)
            .categories(&["all"])
            .with_status()
    };
    vec![
        pod(),
        resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
            .short(&["pvc"])
            .with_status()
            .columns(storage::persistent_volume_claim())
            .build(),
        apps("DaemonSet", "daemonsets")
            .short(&["ds"])
            .columns(columns::daemon_set())
            .build(),
        apps("Deployment", "deployments")
            .short(&["deploy"])
            .scaled()
            .columns(columns::deployment())
            .build(),
        apps("ReplicaSet", "replicasets")
            .short(&["rs"])
            .scaled()
            .columns(columns::replica_set())
            .build(),
        apps("StatefulSet", "statefulsets")
            .short(&["sts"])
            .scaled()
            .columns(columns::stateful_set())
            .build(),
        batch("CronJob", "cronjobs")
            .short(&["cj"])
            .columns(columns::cron_job())
            .build(),
        batch("Job", "jobs").columns(columns::job()).build(),
        resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
            .short(&["pdb"])
            .with_status()
            .columns(columns::pod_disruption_budget())
            .build(),
        resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses")
            .short(&["pc"])
            .cluster_scoped()
            .columns(policies::priority_class())
            .build(),
    ]
}

fn of_networks() -> Vec<Resource> {
    vec![
        resource("networking.k8s.io", "v1", "Ingress", "ingresses")
            .short(&["ing"])
            .with_status()
            .columns(networking::ingress())
            .build(),
        resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
            .short(&["netpol"])
            .columns(networking::network_policy())
            .build(),
    ]
}

fn access() -> Vec<Resource> {
    let rbac = |kind, plural| resource("rbac.authorization.k8s.io", "v1", kind, plural);
    vec![
        rbac("ClusterRole", "clusterroles")
            .cluster_scoped()
            .columns(builtin::created_at())
            .build(),
        rbac("ClusterRoleBinding", "clusterrolebindings")
            .cluster_scoped()
            .columns(policies::role_binding())
            .build(),
        rbac("Role", "roles").columns(builtin::created_at()).build(),
        rbac("RoleBinding", "rolebindings")
            .columns(policies::role_binding())
            .build(),
    ]
}

fn admission() -> Vec<Resource> {
    let of_group = |kind, plural| {
        resource("admissionregistration.k8s.io", "v1", kind, plural)
            .categories(&["api-extensions"])
            .cluster_scoped()
    };
    vec![
        of_group("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
            .columns(policies::webhooks())
            .build(),
        of_group(
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        )
        .columns(policies::webhooks())
        .build(),
        of_group("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .with_status()
            .columns(policies::validating_admission_policy())
            .build(),
        of_group(
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
        )
        .columns(policies::validating_admission_policy_binding())
        .build(),
    ]
}

impl Builder {
    /// With `/scale` over `spec.replicas`, as workloads have it.
    fn scaled(mut self) -> Self {
        self.0.subresources.scale = Some(ScalePaths {
            spec_replicas: ".spec.replicas".to_owned(),
            status_replicas: ".status.replicas".to_owned(),
            label_selector: Some(".spec.selector".to_owned()),
        });
        self
    }
}
