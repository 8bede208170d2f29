//! Kinds that charts create and clients like to see: stored as they come, with the columns of Kubernetes; nothing here runs them.

use super::super::{Resource, ScalePaths};
use super::{Builder, resource};
use crate::table::workloads as columns;

/// Workloads, policies, networking, access rules and admission.
pub(super) fn resources() -> Vec<Resource> {
    let mut all = workloads();
    all.extend(networking());
    all.extend(access());
    all.extend(admission());
    all
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
        resource("", "v1", "Pod", "pods")
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
            .build(),
        resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
            .short(&["pvc"])
            .with_status()
            .columns(columns::persistent_volume_claim())
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
            .columns(columns::priority_class())
            .build(),
    ]
}

fn networking() -> Vec<Resource> {
    vec![
        resource("networking.k8s.io", "v1", "Ingress", "ingresses")
            .short(&["ing"])
            .with_status()
            .columns(columns::ingress())
            .build(),
        resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
            .short(&["netpol"])
            .columns(columns::network_policy())
            .build(),
    ]
}

fn access() -> Vec<Resource> {
    let rbac = |kind, plural| resource("rbac.authorization.k8s.io", "v1", kind, plural);
    vec![
        rbac("ClusterRole", "clusterroles")
            .cluster_scoped()
            .columns(columns::role())
            .build(),
        rbac("ClusterRoleBinding", "clusterrolebindings")
            .cluster_scoped()
            .columns(columns::role_binding())
            .build(),
        rbac("Role", "roles").columns(columns::role()).build(),
        rbac("RoleBinding", "rolebindings")
            .columns(columns::role_binding())
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
            .columns(columns::webhooks())
            .build(),
        of_group(
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        )
        .columns(columns::webhooks())
        .build(),
        of_group("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .with_status()
            .columns(columns::validating_admission_policy())
            .build(),
        of_group(
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
        )
        .columns(columns::validating_admission_policy_binding())
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
