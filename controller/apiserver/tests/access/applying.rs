//! Server-side apply, diff and scale with the real kubectl.

use serde_json::{Value, json};

use crate::{kubectl::define, program::Kubectl, served::Served};

fn deployment(replicas: Option<u32>, image: &str) -> String {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        deployment["spec"]["replicas"] = replicas.into();
    }
    deployment.to_string()
}

/// (manager, operation, subresource) of each entry.
fn managers(object: &Value) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| {
            (
                text(&entry["manager"]),
                text(&entry["operation"]),
                text(&entry["subresource"]),
            )
        })
        .collect()
}

fn entry(manager: &str, operation: &str, subresource: &str) -> (String, String, String) {
    (manager.to_owned(), operation.to_owned(), subresource.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_applies_owns_and_conflicts_are_told_and_forced() {
    let served = Served::new().await;
    let kubectl = Kubectl::new(served.kubeconfig());
    let apply = "apply --server-side -f -";
    let config = deployment(Some(2), "nginx:1");
    assert_eq!(
        kubectl.ok_with(apply, &config).await,
        "deployment.apps/web serverside-applied\n"
    );
    let first = kubectl.json("get deploy web --show-managed-fields").await;
    kubectl.ok_with(apply, &config).await;
    let again = kubectl.json("get deploy web --show-managed-fields").await;
    assert_eq!(again, first, "what changes nothing is not written");

    kubectl.ok("scale deploy/web --replicas=5").await;
    let refused = kubectl.fails(apply, &config).await;
    assert!(
        refused.contains("Apply failed with 1 conflict: conflict with \"kubectl")
            && refused.contains("with subresource \"scale\" using apps/v1: .spec.replicas"),
        "{refused}"
    );
    assert_eq!(kubectl.json("get deploy web").await["spec"]["replicas"], 5);
    kubectl
        .ok_with("apply --server-side --force-conflicts -f -", &config)
        .await;
    let forced = kubectl.json("get deploy web --show-managed-fields").await;
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(managers(&forced), [entry("kubectl", "Apply", "")]);

    kubectl
        .ok_with("apply --server-side --field-manager=other -f -", &config)
        .await;
    kubectl.ok_with(apply, &deployment(None, "nginx:1")).await;
    let shared = kubectl.json("get deploy web --show-managed-fields").await;
    assert_eq!(shared["spec"]["replicas"], 2, "the other still owns it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn diff_shows_what_an_apply_would_change_and_changes_nothing() {
    let served = Served::new().await;
    let kubectl = Kubectl::new(served.kubeconfig());
    kubectl
        .ok_with("apply --server-side -f -", &deployment(Some(1), "nginx:1"))
        .await;
    let before = kubectl.json("get deploy web").await;
    for diff in ["diff -f -", "diff --server-side -f -"] {
        let said = kubectl.call(diff, &deployment(Some(1), "nginx:2")).await;
        assert!(!said.ok, "{diff} finds a difference");
        let changed: Vec<&str> = said
            .out
            .lines()
            .filter(|line| {
                line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---")
            })
            .map(|line| line[1..].trim_start_matches([' ', '-']))
            .filter(|line| !line.starts_with("generation:"))
            .collect();
        assert_eq!(
            changed,
            ["image: nginx:1", "image: nginx:2"],
            "{diff}: {}{}",
            said.out,
            said.err
        );
    }
    let none = kubectl
        .call("diff --server-side -f -", &deployment(Some(1), "nginx:1"))
        .await;
    assert!(none.ok, "{}{}", none.out, none.err);
    assert_eq!(kubectl.json("get deploy web").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_goes_from_client_side_to_server_side_apply_without_a_conflict() {
    let served = Served::new().await;
    let kubectl = Kubectl::new(served.kubeconfig());
    kubectl
        .ok_with("apply -f -", &deployment(Some(2), "nginx:1"))
        .await;
    kubectl
        .ok_with("apply --server-side -f -", &deployment(Some(3), "nginx:2"))
        .await;
    let object = kubectl.json("get deploy web --show-managed-fields").await;
    assert_eq!(
        (
            &object["spec"]["replicas"],
            &object["spec"]["template"]["spec"]["containers"][0]["image"]
        ),
        (&json!(3), &json!("nginx:2"))
    );
    assert!(
        managers(&object).contains(&entry("kubectl", "Apply", "")),
        "{object:#}"
    );
    // And back: the annotation has followed.
    kubectl.ok_with("apply -f -", &deployment(None, "nginx:2")).await;
    let object = kubectl.json("get deploy web").await;
    assert_eq!(
        object["spec"]["replicas"], 1,
        "what is no longer applied takes its default"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_applied_by_their_schema() {
    let served = Served::new().await;
    let kubectl = Kubectl::new(served.kubeconfig());
    define(&kubectl).await;
    let widget = |spec: Value| {
        json!({"apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
            .to_string()
    };
    let apply = "apply --server-side -f -";
    kubectl.ok_with(apply, &widget(json!({"color": "red"}))).await;
    let strange = kubectl
        .fails(apply, &widget(json!({"color": "red", "qq": 1})))
        .await;
    assert!(
        strange.contains(".spec.qq: field not declared in schema"),
        "{strange}"
    );
    let other = "apply --server-side --field-manager=other -f -";
    let conflict = kubectl.fails(other, &widget(json!({"color": "blue"}))).await;
    assert!(
        conflict.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .spec.color"),
        "{conflict}"
    );
}
