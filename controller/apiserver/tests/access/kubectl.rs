//! What people do with the real kubectl, on a server that knows no kind of theirs.

use serde_json::json;

use crate::{program::Kubectl, served::Served};

/// A CustomResourceDefinition of `widgets.edge.test`.
pub(crate) const DEFINITION: &str = include_str!("widgets.yaml");

/// The manifest of a widget.
pub(crate) fn widget(name: &str, color: &str) -> String {
    json!({ "apiVersion": "edge.test/v1", "kind": "Widget", "metadata": { "name": name }, "spec": { "color": color } })
        .to_string()
}

/// A server that serves widgets, and kubectl as its administrator.
async fn with_widgets() -> (Served, Kubectl) {
    let served = Served::new().await;
    let kubectl = Kubectl::new(served.kubeconfig());
    define(&kubectl).await;
    (served, kubectl)
}

/// Applies the definition and waits until it serves.
pub(crate) async fn define(kubectl: &Kubectl) {
    assert!(
        kubectl
            .ok_with("apply -f -", DEFINITION)
            .await
            .contains("created")
    );
    kubectl
        .ok("wait --for=condition=Established crd/widgets.edge.test --timeout=60s")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_is_created_then_unchanged_then_configured() {
    let (_served, kubectl) = with_widgets().await;
    assert!(
        kubectl
            .ok_with("apply -f -", DEFINITION)
            .await
            .contains("unchanged")
    );
    assert_eq!(
        kubectl.ok_with("apply -f -", &widget("a", "red")).await,
        "widget.edge.test/a created\n"
    );
    let first = kubectl.json("get widget a").await;
    assert_eq!(
        kubectl.ok_with("apply -f -", &widget("a", "red")).await,
        "widget.edge.test/a unchanged\n"
    );
    let again = kubectl.json("get widget a").await;
    assert_eq!(
        again["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert_eq!(
        kubectl.ok_with("apply -f -", &widget("a", "blue")).await,
        "widget.edge.test/a configured\n"
    );
    let changed = kubectl.json("get widget a").await;
    assert_eq!(
        (&changed["spec"], &changed["metadata"]["generation"]),
        (&json!({ "color": "blue", "replicas": 1 }), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_shown_in_tables_and_in_full() {
    let (_served, kubectl) = with_widgets().await;
    assert!(
        kubectl
            .call("get widgets", "")
            .await
            .err
            .contains("No resources found in default namespace.")
    );
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    let table = kubectl.ok("get wd").await;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "COLOR", "REPLICAS", "AGE"]);
    assert_eq!(lines[1][..3], ["a", "red", "1"]);
    let wide = kubectl.ok("get wd -o wide").await;
    assert!(wide.lines().next().unwrap().contains("NOTE"), "{wide}");
    assert!(kubectl.ok("get edge").await.contains("red"));
    assert!(kubectl.ok("get wd -A").await.starts_with("NAMESPACE"));
    let yaml = kubectl.ok("get wd a -o yaml").await;
    assert!(
        yaml.contains("color: red") && yaml.contains("kind: Widget"),
        "{yaml}"
    );
    assert_eq!(kubectl.ok("get wd -o name").await, "widget.edge.test/a\n");
    assert_eq!(
        kubectl.ok("get wd -o 'jsonpath={.items[*].spec.color}'").await,
        "red"
    );
    let one = kubectl.ok("get wd --field-selector spec.color=red -o name").await;
    assert_eq!(one, "widget.edge.test/a\n");
    assert_eq!(
        kubectl
            .ok("get wd --field-selector spec.color=blue -o name")
            .await,
        ""
    );
    assert!(kubectl.ok("get crd").await.contains("widgets.edge.test"));
    assert!(kubectl.ok("get ns").await.contains("kube-system"));
    assert!(
        kubectl
            .fails("get wd nothing", "")
            .await
            .contains(r#"widgets.edge.test "nothing" not found"#)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_come_in_chunks() {
    let (_served, kubectl) = with_widgets().await;
    let many: Vec<String> = (0..7).map(|ord| widget(&format!("w{ord}"), "red")).collect();
    kubectl.ok_with("create -f -", &many.join("\n")).await;
    assert_eq!(
        kubectl.ok("get wd --chunk-size=3 -o name").await.lines().count(),
        7
    );
    assert_eq!(
        kubectl
            .ok("get wd --chunk-size=3 --no-headers")
            .await
            .lines()
            .count(),
        7
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_shows_changes_as_they_come() {
    let (_served, kubectl) = with_widgets().await;
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    let mut watch = kubectl.begin("get wd -w");
    watch.line_with("red").await;
    kubectl.ok_with("apply -f -", &widget("a", "green")).await;
    watch.line_with("green").await;
    let mut one = kubectl.begin("get wd a -w -o name");
    one.line_with("widget.edge.test/a").await;
    kubectl.ok_with("apply -f -", &widget("b", "blue")).await;
    watch.line_with("blue").await;
    let mut events = kubectl.begin("get wd -w --output-watch-events");
    events.line_with("blue").await;
    kubectl.ok("delete wd b").await;
    events.line_with("DELETED").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_described_with_its_events() {
    let (_served, kubectl) = with_widgets().await;
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    let widget = kubectl.json("get wd a").await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a.1", "namespace": "default" },
        "involvedObject": {
            "apiVersion": "edge.test/v1", "kind": "Widget", "name": "a", "namespace": "default",
            "uid": widget["metadata"]["uid"],
        },
        "type": "Normal", "reason": "Painted", "message": "it is red now", "count": 1,
        "firstTimestamp": widget["metadata"]["creationTimestamp"], "lastTimestamp": widget["metadata"]["creationTimestamp"],
        "source": { "component": "painter" },
    });
    kubectl.ok_with("create -f -", &event.to_string()).await;
    let described = kubectl.ok("describe wd a").await;
    assert!(
        described.contains("Color:     red") && described.contains("it is red now"),
        "{described}"
    );
    assert!(kubectl.ok("get events").await.contains("Painted"));
    assert!(
        kubectl
            .ok("events --for widget.v1.edge.test/a")
            .await
            .contains("it is red now")
    );
    assert!(kubectl.ok("describe ns default").await.contains("Active"));
    assert!(
        kubectl
            .ok("describe crd widgets.edge.test")
            .await
            .contains("Established")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_the_new_group_has_the_fields_of_the_old() {
    let (_served, kubectl) = with_widgets().await;
    let event = |name: &str, seconds: u32| {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": name, "namespace": "default" },
            "regarding": { "kind": "Widget", "name": "a", "namespace": "default" },
            "type": "Normal", "reason": "Painted", "action": "Paint", "note": name,
            "reportingController": "painter", "reportingInstance": "painter-1",
            "eventTime": format!("2026-11-23T00:00:{seconds:02}.000000Z"),
        })
    };
    kubectl
        .ok_with("create -f -", &event("later", 2).to_string())
        .await;
    kubectl
        .ok_with("create -f -", &event("sooner", 1).to_string())
        .await;
    let sorted = kubectl.ok("get events --sort-by=.eventTime").await;
    assert!(sorted.find("sooner") < sorted.find("later"), "{sorted}");
    let shown = kubectl.json("get event later").await;
    assert_eq!((&shown["source"], &shown["count"]), (&json!({}), &json!(null)));
    let fields = shown.as_object().unwrap();
    assert!(
        fields.contains_key("firstTimestamp") && !fields.contains_key("count"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_are_explained_and_listed() {
    let (_served, kubectl) = with_widgets().await;
    let explained = kubectl.ok("explain widget").await;
    assert!(
        explained.contains("A widget is something to test with."),
        "{explained}"
    );
    assert!(
        kubectl
            .ok("explain wd.spec.color")
            .await
            .contains("What it looks like.")
    );
    assert!(kubectl.ok("explain wd --recursive").await.contains("replicas"));
    assert!(
        kubectl
            .ok("explain configmap.data")
            .await
            .contains("map[string]string")
    );
    let resources = kubectl.ok("api-resources").await;
    for name in ["widgets", "configmaps", "customresourcedefinitions", "leases"] {
        assert!(resources.contains(name), "{name} in {resources}");
    }
    assert!(kubectl.ok("api-versions").await.contains("edge.test/v1"));
    assert!(kubectl.ok("version").await.contains("Server Version: v1.37"));
    assert!(
        kubectl
            .ok("cluster-info")
            .await
            .contains("Kubernetes control plane")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_patched_labelled_annotated_scaled_and_replaced() {
    let (_served, kubectl) = with_widgets().await;
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    kubectl
        .ok(r#"patch wd a --type=merge -p '{"spec":{"note":"hello"}}'"#)
        .await;
    kubectl
        .ok(r#"patch wd a --type=json -p '[{"op":"replace","path":"/spec/color","value":"green"}]'"#)
        .await;
    let refused = kubectl
        .fails(r#"patch wd a -p '{"spec":{"note":"strategic"}}'"#, "")
        .await;
    assert!(
        refused.contains("unknown format") || refused.contains("UnsupportedMediaType"),
        "{refused}"
    );
    kubectl.ok("label wd a shape=round").await;
    kubectl.ok("annotate wd a said=so").await;
    kubectl.ok("scale wd a --replicas=3").await;
    kubectl
        .ok(r#"patch wd a --subresource=status --type=merge -p '{"status":{"phase":"Fine"}}'"#)
        .await;
    let widget = kubectl
        .json("get wd -l shape=round --field-selector metadata.name=a")
        .await["items"][0]
        .take();
    assert_eq!(
        widget["spec"],
        json!({ "color": "green", "replicas": 3, "note": "hello" })
    );
    assert_eq!(widget["status"]["phase"], "Fine");
    assert_eq!(widget["metadata"]["annotations"]["said"], "so");
    kubectl
        .ok("wait wd/a '--for=jsonpath={.status.phase}=Fine' --timeout=60s")
        .await;
    let mut replaced = widget.clone();
    replaced["spec"]["note"] = "replaced".into();
    kubectl.ok_with("replace -f -", &replaced.to_string()).await;
    let stale = kubectl.fails("replace -f -", &widget.to_string()).await;
    assert!(stale.contains("the object has been modified"), "{stale}");
    kubectl.ok("label wd a shape-").await;
    assert!(
        kubectl.json("get wd a").await["metadata"]["labels"]
            .get("shape")
            .is_none()
    );
}

/// kubectl asks for the whole document in protobuf when that of the group and version does not have the kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_is_misspelt_is_no_kind() {
    let (_served, kubectl) = with_widgets().await;
    let misspelt =
        json!({"apiVersion": "apps/v1", "kind": "Deploymnt", "metadata": {"name": "a"}, "spec": {}});
    let said = kubectl.fails("apply -f -", &misspelt.to_string()).await;
    assert!(
        said.contains(r#"no matches for kind "Deploymnt" in version "apps/v1""#),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_objects_are_refused_with_the_field_and_what_would_be_right() {
    let (_served, kubectl) = with_widgets().await;
    let said = kubectl.fails("apply -f -", &widget("a", "yellow")).await;
    assert!(
        said.contains("spec.color: Unsupported value") && said.contains(r#""red""#),
        "{said}"
    );
    let black = json!({
        "apiVersion": "edge.test/v1", "kind": "Widget", "metadata": { "name": "a" },
        "spec": { "color": "black", "replicas": 2 },
    });
    assert!(
        kubectl
            .fails("apply -f -", &black.to_string())
            .await
            .contains("there is only one black widget")
    );
    let unknown = widget("a", "red").replace("\"spec\"", "\"spek\"");
    assert!(
        kubectl
            .fails("apply -f -", &unknown)
            .await
            .contains(r#"unknown field "spek""#)
    );
    assert!(
        kubectl
            .fails("apply -f - --validate=false", &unknown)
            .await
            .contains("spec: Required value")
    );
    assert!(
        kubectl
            .fails("get gadgets", "")
            .await
            .contains("doesn't have a resource type")
    );
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    assert!(
        kubectl
            .fails("create -f -", &widget("a", "red"))
            .await
            .contains("already exists")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_and_a_diff_change_nothing() {
    let (_served, kubectl) = with_widgets().await;
    assert!(
        kubectl
            .ok_with("apply --dry-run=server -f -", &widget("a", "red"))
            .await
            .contains("(server dry run)")
    );
    assert!(kubectl.fails("get wd a", "").await.contains("not found"));
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    let diff = kubectl.call("diff -f -", &widget("a", "blue")).await;
    assert!(
        !diff.ok && diff.out.contains("-  color: red") && diff.out.contains("+  color: blue"),
        "{diff:?}"
    );
    assert!(kubectl.call("diff -f -", &widget("a", "red")).await.ok);
    assert_eq!(kubectl.json("get wd a").await["spec"]["color"], "red");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_deleted_one_by_one_and_all_at_once() {
    let (_served, kubectl) = with_widgets().await;
    for name in ["a", "b", "c"] {
        kubectl.ok_with("apply -f -", &widget(name, "red")).await;
    }
    assert!(kubectl.ok("delete wd a").await.contains("deleted"));
    assert!(kubectl.ok("delete wd --all").await.contains(r#""c" deleted"#));
    assert_eq!(kubectl.ok("get wd -o name").await, "");
    assert!(kubectl.fails("delete wd a", "").await.contains("not found"));
    kubectl.ok("delete wd a --ignore-not-found").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_definition_takes_its_objects_along() {
    let (_served, kubectl) = with_widgets().await;
    kubectl.ok_with("apply -f -", &widget("a", "red")).await;
    kubectl.ok("delete crd widgets.edge.test").await;
    assert!(
        kubectl
            .fails("get widgets.edge.test", "")
            .await
            .contains("doesn't have a resource type")
    );
    define(&kubectl).await;
    assert_eq!(
        kubectl.ok("get wd -o name").await,
        "",
        "the new definition does not find the old objects"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn built_in_kinds_are_made_by_their_own_commands() {
    let served = Served::new().await;
    let kubectl = Kubectl::new(served.kubeconfig());
    kubectl.ok("create namespace space").await;
    kubectl
        .ok("create configmap settings --from-literal=colour=red -n space")
        .await;
    kubectl
        .ok("create secret generic keys --from-literal=token=hush -n space")
        .await;
    kubectl.ok("create serviceaccount robot -n space").await;
    assert_eq!(
        kubectl.json("get configmap settings -n space").await["data"],
        json!({ "colour": "red" })
    );
    let secret = kubectl.json("get secret keys -n space").await;
    assert_eq!(
        (&secret["data"], &secret["type"]),
        (&json!({ "token": "aHVzaA==" }), &json!("Opaque"))
    );
    assert!(kubectl.ok("get sa -n space").await.contains("robot"));
    kubectl
        .ok(r#"patch configmap settings -n space -p '{"data":{"shape":"round"}}'"#)
        .await;
    let settings = kubectl.json("get configmap settings -n space").await;
    assert_eq!(settings["data"], json!({ "colour": "red", "shape": "round" }));
    kubectl.ok("delete namespace space").await;
    assert!(kubectl.fails("get ns space", "").await.contains("not found"));
    assert!(
        kubectl
            .fails("delete ns default", "")
            .await
            .contains("may not be deleted")
    );
}
