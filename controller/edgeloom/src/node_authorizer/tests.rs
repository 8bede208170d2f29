//! Two agents ask a whole server, in this process, for what is theirs and what is not.

use std::sync::Arc;

use apiserver::{ApiServer, Options, auth::UserInfo, controllers, store::Memory};
use crds::{EdgeLink, EdgeNode, Model, RouteTable, Stage, manifest};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace, Secret},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;

/// A server with stages, tables, nodes and links of `a`, `b` and `c`, and its callers.
struct Cluster {
    admin: Client,
    a: Client,
    b: Client,
    _running: DropGuard,
}

fn object<K: DeserializeOwned>(yaml: &str) -> K {
    manifest::parse(manifest::read(yaml).unwrap().remove(0)).unwrap()
}

async fn cluster() -> Cluster {
    let options = Options {
        authorizers: vec![Arc::new(NodeAuthorizer)],
        ..Options::default()
    };
    let server = ApiServer::new(Arc::new(Memory::default()), options);
    let stop = CancellationToken::new();
    let controllers = controllers::start(&server, stop.child_token()).await;
    tokio::spawn(controllers.unwrap());
    let client = |user| Client::new(server.in_process_router(user), "default");
    let agent = |node: &str| client(UserInfo::authenticated(user_of(node), [GROUP]));
    let cluster = Cluster {
        admin: client(UserInfo::loopback()),
        a: agent("a"),
        b: agent("b"),
        _running: stop.drop_guard(),
    };
    crate::definitions::install(&cluster.admin).await.unwrap();
    fill(&cluster.admin).await;
    cluster
}

async fn fill(admin: &Client) {
    let post = PostParams::default();
    let namespace = object::<Namespace>(&format!("{{metadata: {{name: {SYSTEM_NAMESPACE}}}}}"));
    Api::all(admin.clone()).create(&post, &namespace).await.unwrap();
    for node in ["a", "b", "c"] {
        let stage = object::<Stage>(&format!(
            "{{apiVersion: edgeloom.dev/v1alpha1, kind: Stage, metadata: {{name: stage-{node}}}, spec: {{nodeName: {node}, \
             device: cpu, model: {{name: m, variant: v, digest: d, uri: 'file:///m', layers: 4, quantisation: Q4_1}}, \
             firstLayer: 0, endLayer: 2, contextTokens: 64, sessions: 1, batchRows: 16, memory: {{weightsBytes: 1, \
             keyValueBytes: 1, computeBytes: 1, totalBytes: 3}}}}}}"
        ));
        Api::all(admin.clone()).create(&post, &stage).await.unwrap();
        let table = RouteTable::new(
            node,
            crds::RouteTableSpec {
                node_name: node.to_owned(),
                incarnation: "i".to_owned(),
                ..Default::default()
            },
        );
        Api::all(admin.clone()).create(&post, &table).await.unwrap();
    }
    Api::all(admin.clone())
        .create(&post, &EdgeNode::new("b", Default::default()))
        .await
        .unwrap();
    for (from, to) in [("a", "b"), ("b", "c")] {
        let link = object::<EdgeLink>(&format!(
            "{{apiVersion: edgeloom.dev/v1alpha1, kind: EdgeLink, metadata: {{name: {from}-{to}}}, spec: {{from: {from}, \
             to: {to}, rateBitsPerSecond: 20M}}}}"
        ));
        Api::all(admin.clone()).create(&post, &link).await.unwrap();
    }
    let secret = object::<Secret>("{metadata: {name: key}, stringData: {apiKey: hunter2}}");
    Api::namespaced(admin.clone(), "default")
        .create(&post, &secret)
        .await
        .unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> String {
    match answer {
        Err(kube::Error::Api(status)) if status.is_forbidden() => status.message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn status_of<T: serde::Serialize>(status: T) -> Patch<serde_json::Value> {
    Patch::Merge(json!({ "status": status }))
}

const PATCH: fn() -> PatchParams = PatchParams::default;

fn selecting(field: &str) -> ListParams {
    ListParams::default().fields(field)
}

#[tokio::test]
async fn an_agent_reads_the_stages_and_the_route_table_of_its_node_only() {
    let cluster = cluster().await;
    let stages: Api<Stage> = Api::all(cluster.a.clone());
    let own = stages.list(&selecting("spec.nodeName=a")).await.unwrap();
    assert_eq!(
        own.items.iter().map(|stage| stage.name_any()).collect::<Vec<_>>(),
        ["stage-a"]
    );
    stages.get("stage-a").await.unwrap();
    stages
        .watch(&WatchParams::default().fields("spec.nodeName=a"), "0")
        .await
        .map(drop)
        .unwrap();

    assert!(refused(stages.list(&ListParams::default()).await).contains("fieldSelector=spec.nodeName=a"));
    refused(stages.list(&selecting("spec.nodeName=b")).await);
    refused(stages.watch(&WatchParams::default(), "0").await.map(drop));
    refused(stages.get("stage-b").await);

    let tables: Api<RouteTable> = Api::all(cluster.a.clone());
    tables.get("a").await.unwrap();
    tables.list(&selecting("spec.nodeName=a")).await.unwrap();
    tables.list(&selecting("metadata.name=a")).await.unwrap();
    refused(tables.get("b").await);
    refused(tables.list(&ListParams::default()).await);
}

#[tokio::test]
async fn an_agent_writes_the_status_of_what_is_its_own_and_no_spec() {
    let cluster = cluster().await;
    let stages: Api<Stage> = Api::all(cluster.a.clone());
    let loading = || status_of(json!({ "phase": "Loading" }));
    stages
        .patch_status("stage-a", &PATCH(), &loading())
        .await
        .unwrap();
    refused(stages.patch_status("stage-b", &PATCH(), &loading()).await);
    refused(
        stages
            .patch(
                "stage-a",
                &PATCH(),
                &Patch::Merge(json!({ "metadata": { "labels": { "x": "y" } } })),
            )
            .await,
    );
    refused(stages.delete("stage-a", &DeleteParams::default()).await);

    let tables: Api<RouteTable> = Api::all(cluster.b.clone());
    let seen = || status_of(json!({ "observedGeneration": 1 }));
    tables.patch_status("b", &PATCH(), &seen()).await.unwrap();
    refused(tables.patch_status("a", &PATCH(), &seen()).await);
}

#[tokio::test]
async fn an_agent_makes_its_own_edge_node_and_sees_no_other() {
    let cluster = cluster().await;
    let nodes: Api<EdgeNode> = Api::all(cluster.a.clone());
    let post = PostParams::default();
    refused(nodes.create(&post, &EdgeNode::new("c", Default::default())).await);
    nodes
        .create(&post, &EdgeNode::new("a", Default::default()))
        .await
        .unwrap();
    nodes.list(&selecting("metadata.name=a")).await.unwrap();
    nodes
        .patch_status(
            "a",
            &PATCH(),
            &status_of(json!({ "temperatureMillicelsius": 40_000 })),
        )
        .await
        .unwrap();
    refused(
        nodes
            .patch_status("b", &PATCH(), &status_of(json!({ "temperatureMillicelsius": 0 })))
            .await,
    );
    refused(nodes.get("b").await);
    refused(nodes.list(&ListParams::default()).await);
    let looser = json!({ "spec": { "limits": { "cores": "64" } } });
    refused(nodes.patch("a", &PATCH(), &Patch::Merge(looser)).await);
}

#[tokio::test]
async fn each_end_of_a_link_writes_its_own_report_only() {
    let cluster = cluster().await;
    let report =
        |source: &str| status_of(json!({ "reports": { source: { "roundTripMicroseconds": 10_000 } } }));
    let of_a: Api<EdgeLink> = Api::all(cluster.a.clone());
    let of_b: Api<EdgeLink> = Api::all(cluster.b.clone());
    assert_eq!(of_a.list(&ListParams::default()).await.unwrap().items.len(), 2);
    of_a.patch_status("a-b", &PATCH(), &report("a")).await.unwrap();
    of_b.patch_status("a-b", &PATCH(), &report("b")).await.unwrap();
    of_a.patch_status("a-b", &PATCH(), &report("a")).await.unwrap();
    let forged = status_of(json!({ "reports": { "b": { "roundTripMicroseconds": 1 } } }));
    assert!(refused(of_a.patch_status("a-b", &PATCH(), &forged).await).contains("status.reports[a]"));
    refused(
        of_a.patch_status("a-b", &PATCH(), &status_of(json!({ "reports": { "b": null } })))
            .await,
    );
    assert!(
        refused(of_a.patch_status("b-c", &PATCH(), &report("a")).await).contains("does not end at node a")
    );
    refused(
        of_a.patch(
            "a-b",
            &PATCH(),
            &Patch::Merge(json!({ "spec": { "rateBitsPerSecond": "1G" } })),
        )
        .await,
    );
}

#[tokio::test]
async fn an_agent_holds_its_own_lease_and_no_other() {
    let cluster = cluster().await;
    let leases: Api<Lease> = Api::namespaced(cluster.a.clone(), SYSTEM_NAMESPACE);
    let post = PostParams::default();
    let lease = |name: &str| {
        object::<Lease>(&format!(
            "{{metadata: {{name: {name}}}, spec: {{holderIdentity: x}}}}"
        ))
    };
    leases.create(&post, &lease("a")).await.unwrap();
    refused(leases.create(&post, &lease("b")).await);
    let renewed = Patch::Merge(json!({ "spec": { "holderIdentity": "y" } }));
    leases.patch("a", &PATCH(), &renewed).await.unwrap();
    refused(leases.patch("b", &PATCH(), &renewed).await);
    refused(leases.list(&ListParams::default()).await);
    refused(
        Api::<Lease>::namespaced(cluster.a.clone(), "default")
            .create(&post, &lease("a"))
            .await,
    );
}

#[tokio::test]
async fn an_agent_tells_events_in_its_own_name() {
    let cluster = cluster().await;
    let events: Api<Event> = Api::namespaced(cluster.a.clone(), "default");
    let event = |name: &str, node: &str| {
        object::<Event>(&format!(
            "{{metadata: {{name: {name}}}, involvedObject: {{kind: EdgeNode, name: a, namespace: default}}, reason: Told, \
             type: Normal, reportingComponent: edgeloom-agent, reportingInstance: {node}, action: Tell, \
             eventTime: '2026-11-23T00:00:00.000000Z'}}"
        ))
    };
    let post = PostParams::default();
    events.create(&post, &event("one", "a")).await.unwrap();
    refused(events.create(&post, &event("two", "b")).await);
    refused(events.list(&ListParams::default()).await);
}

#[tokio::test]
async fn an_agent_reads_models_and_never_a_secret() {
    let cluster = cluster().await;
    Api::<Model>::all(cluster.a.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.a.clone(), "default");
    refused(secrets.get("key").await);
    refused(secrets.list(&ListParams::default()).await);
    refused(
        Api::<ConfigMap>::namespaced(cluster.a.clone(), "default")
            .list(&ListParams::default())
            .await,
    );
    refused(
        Api::<Namespace>::all(cluster.a.clone())
            .list(&ListParams::default())
            .await,
    );
    refused(
        Api::<crds::LLMService>::all(cluster.a.clone())
            .list(&ListParams::default())
            .await,
    );
}

#[tokio::test]
async fn a_name_without_the_group_and_a_group_without_the_name_are_no_agent() {
    let asks = |user| async {
        let url = "/apis/edgeloom.dev/v1alpha1/models";
        NodeAuthorizer
            .authorize(&RequestAttributes::read(user, &http::Method::GET, url, None))
            .await
    };
    assert_eq!(
        asks(UserInfo::authenticated(user_of("a"), [GROUP])).await,
        Decision::Allow
    );
    assert_eq!(
        asks(UserInfo::authenticated(user_of("a"), ["others"])).await,
        Decision::NoOpinion
    );
    assert_eq!(
        asks(UserInfo::authenticated("alice", [GROUP])).await,
        Decision::NoOpinion
    );
    assert_eq!(
        asks(UserInfo::authenticated(user_of(""), [GROUP])).await,
        Decision::NoOpinion
    );
}
