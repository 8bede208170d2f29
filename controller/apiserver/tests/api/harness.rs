//! A server in memory that serves `widgets.edge.test`, with namespaces `default` and `other`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::auth::UserInfo;
use apiserver::store::{Memory, Store};
use apiserver::{ApiServer, Options, controllers};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

/// Deadline for what should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The definition of widgets: they take anything, and have status, scale and a selectable field.
fn definition() -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut spec = anything.clone();
    spec["properties"] = json!({"node": {"type": "string"}, "replicas": {"type": "integer"}});
    let mut status = anything;
    status["properties"] = json!({"replicas": {"type": "integer"}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.edge.test"},
        "spec": {
            "group": "edge.test",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "selectableFields": [{"jsonPath": ".spec.node"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    })
}

/// A server with clients.
pub(crate) struct Harness {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
    /// Stops the controllers when the test ends.
    _stop: DropGuard,
}

/// An answer to a plain request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Harness {
    /// A server over a new store in memory.
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(Memory::new())).await
    }

    /// A server over this store.
    pub(crate) async fn over(store: Arc<dyn Store>) -> Self {
        Self::with(store, Options::default()).await
    }

    /// A server that is told this at its start.
    pub(crate) async fn with(store: Arc<dyn Store>, options: Options) -> Self {
        let server = ApiServer::new(store, options);
        let stop = CancellationToken::new();
        let controllers = controllers::start(&server, stop.child_token())
            .await
            .expect("controllers start");
        tokio::spawn(controllers);
        let client = Client::new(server.in_process_router(UserInfo::loopback()), "default");
        let harness = Self {
            server,
            client,
            _stop: stop.drop_guard(),
        };
        harness
            .send(
                "POST",
                "/api/v1/namespaces",
                &json!({"metadata": {"name": "other"}}),
            )
            .await;
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let defined = harness.send("POST", definitions, &definition()).await;
        assert!([201, 409].contains(&defined.code), "{}", defined.body);
        let deadline = Instant::now() + SOON;
        let one = format!("{definitions}/widgets.edge.test");
        let condition = json!({"type": "Established", "status": "True"});
        while !has_condition(&harness.send("GET", &one, &json!(null)).await.body, &condition) {
            assert!(Instant::now() < deadline, "widgets are not served");
            tokio::task::yield_now().await;
        }
        harness
    }

    /// Widgets in a namespace.
    pub(crate) fn widgets(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource())
    }

    /// Sends a JSON body; `null` sends none.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send_as("application/json", method, path, body).await
    }

    /// Sends a body of this media type.
    pub(crate) async fn send_as(&self, media_type: &str, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send_text(media_type, method, path, body).await
    }

    /// Sends a text of this media type.
    pub(crate) async fn send_text(&self, media_type: &str, method: &str, path: &str, body: String) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type);
        self.answer(request.body(Body::from(body)).expect("a request"))
            .await
    }

    /// Reads with this `Accept` header.
    pub(crate) async fn get_accepting(&self, path: &str, accept: &str) -> Answer {
        self.answer(
            Request::get(path)
                .header("accept", accept)
                .body(Body::empty())
                .expect("a request"),
        )
        .await
    }

    /// Sends a JSON body with this `Accept` header.
    pub(crate) async fn post_accepting(&self, path: &str, body: &Value, accept: &str) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(Body::from(body.to_string()));
        self.answer(request.expect("a request")).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let router = self.server.in_process_router(UserInfo::loopback());
        let response = router.oneshot(request).await.expect("routers do not fail");
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings
            .filter_map(|one| one.to_str().ok())
            .map(str::to_owned)
            .collect();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Answer { code, body, warnings }
    }

    /// Makes a widget in `default`.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Value {
        let body = widget_body(json!({"metadata": {"name": name}, "spec": spec}));
        let answer = self.send("POST", WIDGETS, &body).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        answer.body
    }
}

fn has_condition(object: &Value, condition: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| ["type", "status"].iter().all(|key| one[*key] == condition[*key]))
    })
}

/// The collection of widgets in `default`.
pub(crate) const WIDGETS: &str = "/apis/edge.test/v1/namespaces/default/widgets";

/// What kube needs to know of widgets.
pub(crate) fn resource() -> ApiResource {
    ApiResource {
        group: "edge.test".into(),
        version: "v1".into(),
        api_version: "edge.test/v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
    }
}

/// A body of a widget: its type, and these fields.
pub(crate) fn widget_body(fields: Value) -> Value {
    let mut body = json!({"apiVersion": "edge.test/v1", "kind": "Widget"});
    let own = body.as_object_mut().expect("an object");
    own.extend(fields.as_object().expect("fields").clone());
    body
}

/// A widget as kube has it.
pub(crate) fn widget(name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, &resource()).data(json!({"spec": spec}))
}
