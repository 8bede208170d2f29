//! What upstream's admission fills in when an object is made: how pods reach the API server, and who asks for a certificate.

use std::time::Duration;

use serde_json::{Value, json};

use super::pods;
use crate::objects;
use crate::status::Status;
use crate::verbs::{Call, metadata};

/// Where a container finds its token: clients look there.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Lifetime of a pod's token: upstream's hour, and 7 seconds by which such tokens are told from others.
const TOKEN_SECONDS: u64 = 3607;
/// Rights of the files, as upstream: `0644`.
const FILE_MODE: u32 = 0o644;
/// Tries to find the account of a namespace that has just been made, and the pause between them: five seconds together, upstream
/// one.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Fills in a new object.
///
/// # Errors
/// 403 when a pod names a ServiceAccount or a PriorityClass that is not there.
pub(crate) async fn fill(call: &Call, object: &mut Value) -> Result<(), Status> {
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "pods") => {
            if object["spec"].is_object() {
                pods::give_priority(call, object).await?;
                pods::tolerate_lost_nodes(&mut object["spec"]);
            }
            give_account(call, object).await
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            name_requester(call, object);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Says who asks for a certificate: nobody may say that themselves.
fn name_requester(call: &Call, object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let user = call.caller.user();
    for field in ["username", "uid", "groups", "extra"] {
        spec.shift_remove(field);
    }
    spec.insert("username".into(), user.name.clone().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), json!(user.groups));
    }
}

/// Gives a pod its ServiceAccount, and mounts the account's token unless the pod or the account do not want that.
async fn give_account(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let is_mirror = objects::metadata(pod)
        .get("annotations")
        .is_some_and(|all| all.get("kubernetes.io/config.mirror").is_some());
    let Some(spec) = pod.get_mut("spec").filter(|_| !is_mirror) else {
        return Ok(());
    };
    if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        spec["serviceAccountName"] = match spec["serviceAccount"].as_str() {
            Some(name) if !name.is_empty() => name.into(),
            _ => "default".into(),
        };
    }
    let name = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
    spec["serviceAccount"] = name.clone().into();
    let account = account(call, &name, objects::name(pod)).await?;
    let spec = &mut pod["spec"];
    if spec["imagePullSecrets"].is_null() && account["imagePullSecrets"].is_array() {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let wanted = spec["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool());
    if wanted.unwrap_or(true) {
        mount_token(spec);
    }
    Ok(())
}

async fn account(call: &Call, name: &str, pod: &str) -> Result<Value, Status> {
    let Some(accounts) = call.server.kinds().find("", "v1", "serviceaccounts") else {
        return Ok(Value::Null);
    };
    let call_accounts = Call {
        resource: accounts,
        ..call.clone()
    };
    let tries = if name == "default" { TRIES } else { 1 };
    for _ in 1..tries {
        match call_accounts.read(name).await {
            Err(status) if status.reason == "NotFound" => tokio::time::sleep(PAUSE).await,
            found => return found.map(|(account, _)| account),
        }
    }
    match call_accounts.read(name).await {
        Err(status) if status.reason == "NotFound" => {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                call.namespace
            );
            Err(Status::forbidden(&call.group_resource(), pod, &why))
        }
        found => found.map(|(account, _)| account),
    }
}

/// Adds a volume with a token, and mounts it in every container that has nothing at its place.
fn mount_token(spec: &mut Value) {
    let volume = metadata::generated_name("kube-api-access-", &mut rand::rng());
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let Some(fields) = container.as_object_mut() else {
                continue;
            };
            let mounts = fields.entry("volumeMounts").or_insert(Value::Null);
            let there = mounts.as_array().into_iter().flatten();
            if there.clone().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            let mut all: Vec<Value> = there.cloned().collect();
            all.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
            *mounts = all.into();
            mounted = true;
        }
    }
    if !mounted {
        return;
    }
    let source = json!({
        "defaultMode": FILE_MODE,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{
                "path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ],
    });
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    volumes.push(json!({"name": volume, "projected": source}));
    spec["volumes"] = volumes.into();
}
