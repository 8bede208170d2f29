//! What upstream's admission fills in when a pod is made: how important it is, and how long it stays on a node that is lost.

use serde_json::{Value, json};

use crate::objects;
use crate::parameters::ListOptions;
use crate::status::Status;
use crate::verbs::{Call, list};

/// Seconds that a pod stays on a node that is lost, unless it says otherwise.
const TOLERATION_SECONDS: i64 = 300;

/// The classes that every cluster has, whether anybody made them or not.
const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// What a PriorityClass gives a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    /// Empty when the pod has none.
    name: String,
    value: i64,
    preemption: String,
}

impl Class {
    fn new(name: &str, value: i64) -> Self {
        Self {
            name: name.to_owned(),
            value,
            preemption: "PreemptLowerPriority".to_owned(),
        }
    }

    fn of_object(object: &Value) -> Self {
        let mut class = Self::new(
            objects::name(object),
            object["value"].as_i64().unwrap_or_default(),
        );
        if let Some(policy) = object["preemptionPolicy"].as_str() {
            class.preemption = policy.to_owned();
        }
        class
    }
}

/// Lets a pod stay for a while on a node that is not ready or cannot be reached.
pub(super) fn tolerate_lost_nodes(spec: &mut Value) {
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates = |one: &Value| {
            let text = |field: &str| one[field].as_str().unwrap_or_default();
            ["", key].contains(&text("key")) && ["", "NoExecute"].contains(&text("effect"))
        };
        if !tolerations.iter().any(tolerates) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    spec["tolerations"] = tolerations.into();
}

/// Gives a pod the priority of its class.
///
/// # Errors
/// 403 for a class that is not there, or a priority that is not the class's.
pub(super) async fn give_priority(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let forbidden = |why: String| Status::forbidden(&call.group_resource(), objects::name(pod), &why);
    let wanted = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let class = match wanted {
        "" => default_class(call).await?,
        name => class(call, name)
            .await?
            .ok_or_else(|| forbidden(format!("no PriorityClass with name {name} was found")))?,
    };
    let Class {
        name,
        value,
        preemption,
    } = class;
    if let Some(said) = pod["spec"]["priority"].as_i64().filter(|said| *said != value) {
        return Err(forbidden(format!(
            "the integer value of priority ({said}) must not be provided in pod spec; priority admission controller computed {value} \
             from the given PriorityClass name"
        )));
    }
    if let Some(said) = pod["spec"]["preemptionPolicy"]
        .as_str()
        .filter(|said| *said != preemption)
    {
        return Err(forbidden(format!(
            "the string value of PreemptionPolicy ({said}) must not be provided in pod spec; priority admission controller computed \
             {preemption} from the given PriorityClass name"
        )));
    }
    let spec = &mut pod["spec"];
    if !name.is_empty() {
        spec["priorityClassName"] = name.into();
    }
    spec["priority"] = value.into();
    spec["preemptionPolicy"] = preemption.into();
    Ok(())
}

fn classes(call: &Call) -> Option<Call> {
    let resource = call
        .server
        .kinds()
        .find("scheduling.k8s.io", "v1", "priorityclasses")?;
    Some(Call::internal(&call.server, resource, ""))
}

async fn class(call: &Call, name: &str) -> Result<Option<Class>, Status> {
    let system = SYSTEM_CLASSES.iter().find(|(own, _)| *own == name);
    let known = system.map(|(name, value)| Class::new(name, *value));
    let Some(classes) = classes(call) else {
        return Ok(known);
    };
    match classes.read(name).await {
        Ok((object, _)) => Ok(Some(Class::of_object(&object))),
        Err(status) if status.reason == "NotFound" => Ok(known),
        Err(status) => Err(status),
    }
}

/// The class of pods that name none: of several defaults, upstream takes the lowest.
async fn default_class(call: &Call) -> Result<Class, Status> {
    let none = Class::new("", 0);
    let Some(classes) = classes(call) else {
        return Ok(none);
    };
    let listed = list::list(&classes, &ListOptions::default(), None).await?;
    let defaults = listed.items.iter().filter(|class| class["globalDefault"] == true);
    Ok(defaults
        .map(Class::of_object)
        .min_by_key(|class| class.value)
        .unwrap_or(none))
}
