//! Who gets through to the routers, on clusters whose network enforces policies.

use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    release::{NAME, NAMESPACE},
    weights,
};

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_the_policy_does_not_name_are_kept_out() {
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    assert!(gets_through(&cluster, "open").await, "{}", cluster.story());

    let nobody = json!({"podSelector": {"matchLabels": {"app": "nobody"}}});
    cluster.install(&json!({"networkPolicy": {"routerFrom": [nobody]}}));
    let enforced = !gets_through(&cluster, "closed").await;
    if enforced {
        // Agents reach one another all the same.
        cluster.wait_for_service().await;
    } else {
        eprintln!(
            "skipped on this cluster, whose network enforces no policies: clients that are not named are kept out"
        );
    }
    cluster.install(&json!({}));
    if enforced {
        assert!(gets_through(&cluster, "reopened").await, "{}", cluster.story());
    }
}

/// Whether a pod of another namespace reaches a router within half a minute.
async fn gets_through(cluster: &Cluster, name: &str) -> bool {
    let service = format!("{NAME}-router");
    let service = cluster.get(&["service", &service, "--namespace", NAMESPACE]);
    let service = service.expect("the chart has a Service");
    let address = service["spec"]["clusterIP"].as_str().expect("it has an address");
    let name = format!("client-{name}");
    let of_client = ["pod", &name, "--namespace", weights::NAMESPACE];
    let remove = ["delete", "--ignore-not-found", "--grace-period=1"];
    cluster.kubectl(&[&remove[..], &of_client].concat());
    cluster.apply(&client(&name, &cluster.image, &format!("http://{address}:8080")).to_string());
    let ended = || {
        let pod = cluster.get(&of_client)?;
        match pod["status"]["phase"].as_str()? {
            "Succeeded" => Some(true),
            "Failed" => Some(false),
            _ => None,
        }
    };
    let reached = cluster.until("the end of a client", ended).await;
    cluster.kubectl(&[&remove[..], &of_client].concat());
    reached
}

/// Asks a router for its services, under the restricted pod security standard.
fn client(name: &str, image: &str, url: &str) -> Value {
    let container = json!({
        "name": "client",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["models", format!("--url={url}"), "--reachable", "--wait=30"],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": weights::NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    })
}
