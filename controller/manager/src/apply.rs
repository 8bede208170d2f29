//! Brings the API server to what a plan says: Placements first, then what follows from them, then what goes.
//!
//! Applied by difference: what stands already is not written. Updates carry the resourceVersion that they were computed
//! from, deletes a UID, so a stale plan changes nothing and is made again. Nothing is written by a process that may not
//! lead any more.

use std::{collections::BTreeMap, fmt::Debug, future::Future, sync::Arc, time::Duration};

use crds::{LLMService, LLMServiceStatus, Placement, RouteTable, SERVICE_LABEL, Stage};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::info;

use crate::{
    leader::Leadership,
    plan::{Plan, PlannedPlacement, Proposed},
    status,
    world::{Now, ServiceName, World},
};

/// How long one write may take; the next round goes on from what was written.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Objects that were created, updated or deleted.
    pub objects: usize,
    /// Statuses that were written.
    pub statuses: usize,
}

/// A plan that stands in the API server. Only this file can make one.
#[derive(Clone, Copy, Debug)]
pub struct Applied(());

/// Why a plan could not be applied. A conflict is no fault: the next plan is made of what stands then.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {kind} {name}")]
pub struct Error {
    verb: &'static str,
    kind: String,
    name: String,
    source: Box<kube::Error>,
}

impl Error {
    /// Whether somebody else wrote first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status)
            if status.is_conflict() || status.is_already_exists() || status.is_not_found())
    }
}

/// Applies a plan, and writes what is said of each service.
///
/// # Errors
///
/// When the API server refuses a write; what was written before stands, and the next plan goes on from there.
pub async fn apply(
    client: &Client,
    leadership: &Leadership,
    world: &World,
    plan: Plan<Proposed>,
    services: &BTreeMap<ServiceName, LLMServiceStatus>,
    now: Now,
) -> Result<(Plan<Applied>, Written), Error> {
    let mut writer = Writer {
        client,
        leadership,
        written: Written::default(),
    };
    // The Placement is the commit record: what follows from it is only written once it stands.
    for placement in &plan.placements {
        writer.placement(world, &plan, placement, now).await?;
    }
    for (name, spec) in &plan.stages {
        if world.stage(name).is_none() {
            let stage = Stage::new(name, spec.clone());
            writer.create(&Api::all(client.clone()), &stage).await?;
        }
    }
    for (name, spec) in &plan.route_tables {
        match world.route_table(name) {
            None => {
                let table = RouteTable::new(name, spec.clone());
                writer.create(&Api::all(client.clone()), &table).await?;
            }
            Some(table) if table.spec != *spec => {
                let mut table = RouteTable::clone(table);
                table.spec = spec.clone();
                writer.replace(&Api::all(client.clone()), &table).await?;
            }
            Some(_) => {}
        }
    }
    // Hops left the RouteTables above before their stages go.
    for stage in world
        .stages
        .iter()
        .filter(|stage| !plan.stages.contains_key(&stage.name_any()))
    {
        writer.delete(&Api::all(client.clone()), &**stage).await?;
    }
    for table in world
        .route_tables
        .iter()
        .filter(|table| world.node(&table.name_any()).is_none())
    {
        writer.delete(&Api::all(client.clone()), &**table).await?;
    }
    for placement in &plan.finished {
        let namespace = placement.namespace().unwrap_or_default();
        writer
            .delete(&Api::namespaced(client.clone(), &namespace), &**placement)
            .await?;
    }
    writer.service_statuses(world, services).await?;
    writer.statuses(world, &plan, now).await?;
    let written = writer.written;
    Ok((plan.into_state(), written))
}

/// Deletes an agent's pod, and no other pod of the same name.
///
/// # Errors
///
/// When the API server refuses.
pub async fn delete_pod(
    client: &Client,
    leadership: &Leadership,
    namespace: &str,
    name: &str,
    uid: String,
) -> Result<(), Error> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.uid = Some(uid);
    let mut writer = Writer {
        client,
        leadership,
        written: Written::default(),
    };
    writer
        .delete(&Api::namespaced(client.clone(), namespace), &pod)
        .await
}

struct Writer<'a> {
    client: &'a Client,
    leadership: &'a Leadership,
    written: Written,
}

impl Writer<'_> {
    async fn placement(
        &mut self,
        world: &World,
        plan: &Plan<Proposed>,
        planned: &PlannedPlacement,
        now: Now,
    ) -> Result<(), Error> {
        let api: Api<Placement> = Api::namespaced(self.client.clone(), &planned.service.namespace);
        let version = match &planned.existing {
            Some(existing) => existing.resource_version(),
            None => self
                .create(&api, &new_placement(world, planned))
                .await?
                .resource_version(),
        };
        let wanted = status::of_placement(plan, planned, now);
        let known = planned
            .existing
            .as_ref()
            .and_then(|existing| existing.status.clone());
        if known.as_ref() != Some(&wanted) {
            // The phase is the decision's: a leader of yesterday must not take it back.
            let mut patch = replacing(known.as_ref(), &wanted);
            patch["metadata"] = json!({ "resourceVersion": version });
            self.status(&api, &planned.name, &patch).await?;
        }
        Ok(())
    }

    async fn service_statuses(
        &mut self,
        world: &World,
        statuses: &BTreeMap<ServiceName, LLMServiceStatus>,
    ) -> Result<(), Error> {
        for service in &world.services {
            let known = service.status.as_ref();
            let Some(wanted) = statuses
                .get(&ServiceName::of(service))
                .filter(|wanted| known != Some(wanted))
            else {
                continue;
            };
            let api: Api<LLMService> = Api::namespaced(self.client.clone(), &namespace_of(&**service));
            self.status(&api, &service.name_any(), &replacing(known, wanted))
                .await?;
        }
        Ok(())
    }

    async fn statuses(&mut self, world: &World, plan: &Plan<Proposed>, now: Now) -> Result<(), Error> {
        for user in &world.users {
            let wanted = status::of_user(world, plan, user, now);
            if user.status.as_ref() != Some(&wanted) {
                let api: Api<crds::EdgeUser> = Api::namespaced(self.client.clone(), &namespace_of(&**user));
                self.status(&api, &user.name_any(), &replacing(user.status.as_ref(), &wanted))
                    .await?;
            }
        }
        for (link, conditions) in world.links.iter().zip(status::of_links(world, now)) {
            let known = link.status.as_ref().map(|status| status.conditions.as_slice());
            if known != Some(conditions.as_slice()) {
                let api: Api<crds::EdgeLink> = Api::all(self.client.clone());
                // What the ends report is theirs.
                let patch = json!({ "status": {
                    "conditions": conditions,
                    "observedGeneration": link.metadata.generation,
                } });
                self.status(&api, &link.name_any(), &patch).await?;
            }
        }
        // A node whose agent is updated is told last, so that nobody ever sees two of them.
        let is_withheld = |node: &&Arc<crds::EdgeNode>| world.withheld.contains_key(&node.name_any());
        let (withheld, others): (Vec<_>, Vec<_>) = world.nodes.iter().partition(is_withheld);
        for node in others.into_iter().chain(withheld) {
            let wanted = status::of_node(world, plan, node, now);
            let known = node.status.as_ref().map(|status| status.conditions.as_slice());
            let learnt = plan.corrections.get(&node.name_any());
            if known != Some(wanted.as_slice()) || learnt.is_some() {
                // The agent writes conditions of its own in the same list: the version keeps its write from being lost.
                let mut patch = json!({
                    "metadata": { "resourceVersion": node.resource_version() },
                    "status": { "conditions": wanted },
                });
                if let Some(learnt) = learnt {
                    patch["status"]["corrections"] = json!(learnt);
                }
                let api: Api<crds::EdgeNode> = Api::all(self.client.clone());
                self.status(&api, &node.name_any(), &patch).await?;
            }
        }
        Ok(())
    }

    async fn create<K>(&mut self, api: &Api<K>, object: &K) -> Result<K, Error>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        self.note("create", object);
        let created = self.sent(api.create(&PostParams::default(), object)).await;
        created.map_err(|source| error("create", object, source))
    }

    async fn replace<K>(&mut self, api: &Api<K>, object: &K) -> Result<(), Error>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        self.note("update", object);
        let replaced = self
            .sent(api.replace(&object.name_any(), &PostParams::default(), object))
            .await;
        replaced
            .map(drop)
            .map_err(|source| error("update", object, source))
    }

    async fn delete<K>(&mut self, api: &Api<K>, object: &K) -> Result<(), Error>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        self.note("delete", object);
        let preconditions = Preconditions {
            uid: object.uid(),
            resource_version: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self.sent(api.delete(&object.name_any(), &parameters)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(error("delete", object, source)),
        }
    }

    async fn status<K>(&mut self, api: &Api<K>, name: &str, patch: &serde_json::Value) -> Result<(), Error>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        self.written.statuses += 1;
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self.sent(api.patch_status(name, &parameters, &patch)).await;
        patched.map(drop).map_err(|source| Error {
            verb: "write the status of",
            kind: K::kind(&K::DynamicType::default()).into_owned(),
            name: name.to_owned(),
            source: Box::new(source),
        })
    }

    /// Sends a write, if this process may write, and waits for its answer.
    async fn sent<T>(&self, write: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        if !self.leadership.holds() {
            return Err(kube::Error::Service("this controller leads no more".into()));
        }
        tokio::time::timeout(WRITE_WITHIN, write)
            .await
            .map_err(|_| kube::Error::Service("no answer in time".into()))?
    }

    fn note<K>(&mut self, verb: &str, object: &K)
    where
        K: Resource,
        K::DynamicType: Default,
    {
        self.written.objects += 1;
        info!(verb, kind = %K::kind(&K::DynamicType::default()), name = object.name_any(), "applying the plan");
    }
}

fn error<K>(verb: &'static str, object: &K, source: kube::Error) -> Error
where
    K: Resource,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    Error {
        verb,
        kind,
        name: object.name_any(),
        source: Box::new(source),
    }
}

/// A merge patch that puts `wanted` in the place of `known`: what only `known` has is removed.
fn replacing<Status: Serialize>(known: Option<&Status>, wanted: &Status) -> serde_json::Value {
    let mut status = serde_json::to_value(wanted).expect("a status is plain data");
    let known = serde_json::to_value(known).expect("a status is plain data");
    if let (Some(status), Some(known)) = (status.as_object_mut(), known.as_object()) {
        for field in known.keys() {
            status.entry(field).or_insert(serde_json::Value::Null);
        }
    }
    json!({ "status": status })
}

fn new_placement(world: &World, planned: &PlannedPlacement) -> Placement {
    let mut placement = Placement::new(&planned.name, planned.spec.clone());
    placement.metadata.namespace = Some(planned.service.namespace.clone());
    placement.metadata.labels = Some(BTreeMap::from([(
        SERVICE_LABEL.to_owned(),
        planned.service.name.clone(),
    )]));
    let owner = world
        .services
        .iter()
        .find(|service| ServiceName::of(service) == planned.service);
    placement.metadata.owner_references =
        owner
            .and_then(|service| service.controller_owner_ref(&()))
            .map(|mut owner| {
                // Deleting the service must not wait for its placements: they drain first.
                owner.block_owner_deletion = Some(false);
                vec![owner]
            });
    placement
}

fn namespace_of<K: Resource>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}
