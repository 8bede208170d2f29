//! Keeps the policy in memory what the stored roles and bindings say, and the rules of roles that gather others.

use std::sync::Arc;

use serde_json::Value;

use super::GROUP;
use super::policy::{Policy, rules};
use super::rule::Rule;
use crate::ApiServer;
use crate::kinds::Resource;
use crate::objects;
use crate::parameters::WriteOptions;
use crate::selector::LabelSelector;
use crate::status::Status;
use crate::storage;
use crate::store::{self, Range};
use crate::verbs::Call;
use crate::verbs::update::{Change, Method, Part, change_object};

/// Where all roles and bindings are kept.
fn prefix() -> String {
    format!("/registry/{GROUP}/")
}

/// Reads the policy, then follows its changes; is to be called again when it ends.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    loop {
        let revision = load(server).await?;
        let mut watch = server
            .store()
            .watch(&prefix(), revision)
            .await
            .map_err(storage::refusal)?;
        match watch.next().await {
            Ok(_) | Err(store::Error::Compacted { .. }) => {}
            Err(error) => return Err(storage::refusal(error)),
        }
    }
}

/// Reads the policy once; says at which revision.
///
/// # Errors
/// When the store fails.
pub(crate) async fn load(server: &ApiServer) -> Result<u64, Status> {
    let mut revision = u64::MAX;
    let mut read = Vec::new();
    for plural in ["roles", "clusterroles", "rolebindings", "clusterrolebindings"] {
        let resource = find(server, plural)?;
        let page = server
            .store()
            .list(&storage::prefix(&resource, ""), Range::default())
            .await
            .map_err(storage::refusal)?;
        let objects = page.entries.iter().map(|entry| storage::decode(&resource, entry));
        read.push(objects.collect::<Result<Vec<Value>, Status>>()?);
        revision = revision.min(page.revision);
    }
    let (roles, bindings) = read.split_at(2);
    server
        .rbac()
        .set(Policy::of(roles.iter().flatten(), bindings.iter().flatten()));
    gather(server, &roles[1]).await;
    Ok(revision)
}

fn find(server: &ApiServer, plural: &str) -> Result<Arc<Resource>, Status> {
    let found = server.kinds().find(GROUP, "v1", plural);
    found.ok_or_else(|| Status::internal(format!("this server does not serve {plural}")))
}

/// Writes into each ClusterRole that gathers others what those allow. What fails is done with the next change.
async fn gather(server: &ApiServer, roles: &[Value]) {
    for role in roles {
        let Some(wanted) = gathered(role, roles) else {
            continue;
        };
        if wanted == rules(role) {
            continue;
        }
        let Ok(resource) = find(server, "clusterroles") else {
            continue;
        };
        let call = Call::internal(server, resource, "");
        let change = Change {
            part: Part::Main,
            options: WriteOptions::default(),
            method: Method::Patch(None),
        };
        let name = objects::name(role);
        let written = change_object(&call, name, change, |old| {
            let mut new = old.clone();
            new["rules"] = serde_json::to_value(&wanted).map_err(Status::internal)?;
            Ok(new)
        });
        if let Err(error) = written.await {
            tracing::warn!(role = name, %error, "its rules could not be gathered");
        }
    }
}

/// The rules of the roles that a role gathers by labels, each once; `None` when it gathers none.
fn gathered(role: &Value, roles: &[Value]) -> Option<Vec<Rule>> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let selectors: Vec<LabelSelector> = selectors.iter().filter_map(LabelSelector::of_object).collect();
    let mut gathered = Vec::new();
    let own = objects::name(role);
    let mut others: Vec<&Value> = roles.iter().filter(|other| objects::name(other) != own).collect();
    others.sort_by_key(|other| objects::name(other));
    for selector in &selectors {
        for other in others.iter().filter(|other| selector.matches(other)) {
            for rule in rules(other) {
                if !gathered.contains(&rule) {
                    gathered.push(rule);
                }
            }
        }
    }
    Some(gathered)
}
