//! A server in memory that serves `widgets.edge.test`, with namespaces `default` and `other`.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::UserInfo;
use apiserver::kinds::{
    Form, Origin, Resource, STORED_VERBS, ScalePaths, SelectableField, Storage, Subresources,
};
use apiserver::store::{Memory, Store};
use apiserver::{ApiServer, Options};
use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Deadline for what should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A resource of group `edge.test` without a schema; it has status and scale.
pub(crate) fn widgets() -> Resource {
    Resource {
        group: "edge.test".into(),
        version: "v1".into(),
        kind: "Widget".into(),
        list_kind: "WidgetList".into(),
        plural: "widgets".into(),
        singular: "widget".into(),
        short_names: vec!["wd".into()],
        categories: Vec::new(),
        namespaced: true,
        verbs: STORED_VERBS,
        subresources: Subresources {
            status: true,
            scale: Some(ScalePaths {
                spec_replicas: ".spec.replicas".into(),
                status_replicas: ".status.replicas".into(),
                label_selector: None,
            }),
            others: Vec::new(),
        },
        selectable_fields: vec![SelectableField::at("spec.node")],
        columns: Vec::new(),
        schema: None,
        strategic: false,
        unconditional_update: false,
        served: true,
        storage: Storage {
            group: "edge.test".into(),
            version: "v1".into(),
            plural: "widgets".into(),
            form: Form::SameShape,
        },
        deprecation_warning: None,
        origin: Origin::Definition("widgets.edge.test".into()),
    }
}

/// A server with clients.
pub(crate) struct Harness {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
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
        let server = ApiServer::new(store, Options::default());
        server
            .kinds()
            .serve_definition("widgets.edge.test", vec![widgets()]);
        let client = Client::new(server.in_process_router(UserInfo::loopback()), "default");
        let harness = Self { server, client };
        if harness.server.kinds().find("", "v1", "namespaces").is_some() {
            for name in ["default", "other"] {
                harness
                    .send("POST", "/api/v1/namespaces", &json!({"metadata": {"name": name}}))
                    .await;
            }
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
            .method(method.parse::<Method>().expect("a method"))
            .uri(path)
            .header("content-type", media_type)
            .body(Body::from(body))
            .expect("a request");
        let response = self
            .server
            .in_process_router(UserInfo::loopback())
            .oneshot(request)
            .await
            .expect("routers do not fail");
        let code = response.status().as_u16();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .filter_map(|one| one.to_str().ok())
            .map(str::to_owned)
            .collect();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Answer { code, body, warnings }
    }

    /// Makes a widget in `default`.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Value {
        let body =
            json!({"apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec});
        let answer = self.send("POST", WIDGETS, &body).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        answer.body
    }
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

/// A widget as kube has it.
pub(crate) fn widget(name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, &resource()).data(json!({"spec": spec}))
}
