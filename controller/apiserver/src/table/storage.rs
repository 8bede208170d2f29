//! The columns of volumes and classes of storage, after those that Kubernetes prints.

use serde_json::{Value, json};

use super::builtin::age;
use super::cells::{boolean, count, integer, is_terminating, items, joined, text, text_or, truth};
use super::column::Column;

/// `RWO,ROX`
fn access_modes(object: &Value, pointer: &str) -> Value {
    let modes = items(object, pointer).filter_map(Value::as_str);
    let short = modes.map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    joined(short, "")
}

fn phase(object: &Value) -> Value {
    if is_terminating(object) {
        return "Terminating".into();
    }
    text(object, "/status/phase", "")
}

/// VOLUMEMODE, in wide output
fn volume_mode() -> Column {
    Column::computed(
        "VolumeMode",
        "Whether it is a file system or a device.",
        |one, _| text_or(one, "/spec/volumeMode", "<unset>"),
    )
    .wide()
}

/// VOLUMEATTRIBUTESCLASS
fn attributes_class() -> Column {
    Column::computed("VolumeAttributesClass", "Class of its attributes.", |one, _| {
        text_or(one, "/spec/volumeAttributesClassName", "<unset>")
    })
}

/// NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE VOLUMEMODE
pub fn persistent_volume() -> Vec<Column> {
    vec![
        Column::computed("Capacity", "Its size.", |one, _| {
            text(one, "/spec/capacity/storage", "")
        }),
        Column::computed("Access Modes", "How it may be mounted.", |one, _| {
            access_modes(one, "/spec/accessModes")
        }),
        Column::computed(
            "Reclaim Policy",
            "What becomes of it when it is released.",
            |one, _| text(one, "/spec/persistentVolumeReclaimPolicy", ""),
        ),
        Column::computed("Status", "The phase of the volume.", |one, _| phase(one)),
        Column::computed("Claim", "Whose it is.", |one, _| {
            let claim = &one["spec"]["claimRef"];
            match (claim["namespace"].as_str(), claim["name"].as_str()) {
                (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
                _ => "".into(),
            }
        }),
        Column::computed("StorageClass", "Its class of storage.", |one, _| {
            text(one, "/spec/storageClassName", "")
        }),
        attributes_class(),
        Column::computed("Reason", "Why it is so.", |one, _| {
            text(one, "/status/reason", "")
        }),
        age(),
        volume_mode(),
    ]
}

/// NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE VOLUMEMODE
pub fn persistent_volume_claim() -> Vec<Column> {
    vec![
        Column::computed("Status", "The phase of the claim.", |one, _| phase(one)),
        Column::computed("Volume", "The volume that it is bound to.", |one, _| {
            text(one, "/spec/volumeName", "")
        }),
        Column::computed("Capacity", "Size of that volume.", |one, _| {
            text(one, "/status/capacity/storage", "")
        }),
        Column::computed("Access Modes", "How it may be mounted.", |one, _| {
            access_modes(one, "/status/accessModes")
        }),
        Column::computed(
            "StorageClass",
            "Class of storage that it asks for.",
            |claim, _| text(claim, "/spec/storageClassName", ""),
        ),
        attributes_class(),
        age(),
        volume_mode(),
    ]
}

/// NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE
pub fn storage_class() -> Vec<Column> {
    vec![
        Column::computed("Provisioner", "Who makes its volumes.", |one, _| {
            text(one, "/provisioner", "")
        }),
        Column::computed("ReclaimPolicy", "What becomes of volumes.", |one, _| {
            text(one, "/reclaimPolicy", "Delete")
        }),
        Column::computed("VolumeBindingMode", "When volumes are bound.", |one, _| {
            text(one, "/volumeBindingMode", "Immediate")
        }),
        Column::computed("AllowVolumeExpansion", "Whether volumes may grow.", |one, _| {
            truth(one, "/allowVolumeExpansion", false)
        }),
        age(),
    ]
}

/// NAME ATTACHER PV NODE ATTACHED AGE
pub fn volume_attachment() -> Vec<Column> {
    vec![
        Column {
            format: "name".to_owned(),
            ..Column::computed("Attacher", "Who attaches it.", |one, _| {
                text(one, "/spec/attacher", "")
            })
        },
        Column::computed("PV", "The volume.", |one, _| {
            text(one, "/spec/source/persistentVolumeName", "")
        }),
        Column::computed("Node", "The node.", |one, _| text(one, "/spec/nodeName", "")),
        boolean("Attached", "Whether it is attached.", |one, _| {
            truth(one, "/status/attached", false)
        }),
        age(),
    ]
}

/// NAME DRIVERS AGE
pub fn csi_node() -> Vec<Column> {
    let drivers = |one: &Value, _| json!(count(&one["spec"]["drivers"]));
    vec![integer("Drivers", "How many drivers it has.", drivers), age()]
}

/// NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE
pub fn csi_driver() -> Vec<Column> {
    vec![
        boolean(
            "AttachRequired",
            "Whether volumes have to be attached.",
            |one, _| truth(one, "/spec/attachRequired", true),
        ),
        boolean("PodInfoOnMount", "Whether it is told of the pod.", |one, _| {
            truth(one, "/spec/podInfoOnMount", false)
        }),
        boolean("StorageCapacity", "Whether it tells its capacity.", |one, _| {
            truth(one, "/spec/storageCapacity", false)
        }),
        Column::computed(
            "TokenRequests",
            "Audiences of the tokens that it gets.",
            |one, _| {
                joined(
                    items(one, "/spec/tokenRequests").filter_map(|request| request["audience"].as_str()),
                    "<unset>",
                )
            },
        ),
        boolean("RequiresRepublish", "Whether it is called again.", |one, _| {
            truth(one, "/spec/requiresRepublish", false)
        }),
        Column::computed("Modes", "Lifecycles of its volumes.", |one, _| {
            joined(
                items(one, "/spec/volumeLifecycleModes").filter_map(Value::as_str),
                "<none>",
            )
        }),
        age(),
    ]
}
