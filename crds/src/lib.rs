//! The vocabulary of Edgeloom: one file per kind of the group `edgeloom.dev`, with the conditions, reasons
//! and quantities that the kinds share.
//!
//! ```text
//! Model ◀── LLMService ◀── EdgeUser            written by users
//!               │ owns
//!           Placement ──▶ Stage ◀── RouteTable   written by the controller
//!                           │           │
//!                           └▶ EdgeNode ◀┘ ◀── EdgeLink
//! ```
//!
//! The types here are what travels: plain data with a schema. Deciding anything from them is the work of
//! `manager` and `solver`, doing anything with them that of `node`. Nothing here does I/O.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema copies each struct into a function to derive its schema"
)]

pub mod affinity;
pub mod api_key;
pub mod causes;
pub mod condition;
pub mod edge_link;
pub mod edge_node;
pub mod edge_user;
pub mod llm_service;
pub mod location;
pub mod manifest;
pub mod mode;
pub mod model;
pub mod placement;
pub mod quantity;
pub mod route_table;
pub mod stage;

pub use causes::with_causes;
pub use condition::ConditionType;
pub use edge_link::{EdgeLink, EdgeLinkSpec, EdgeLinkStatus, LinkReport};
pub use edge_node::{EdgeNode, EdgeNodeSpec, EdgeNodeStatus};
pub use edge_user::{EdgeUser, EdgeUserSpec, EdgeUserStatus};
pub use llm_service::{LLMService, LLMServiceSpec, LLMServiceStatus};
pub use mode::{ActivationPrecision, InferenceMode};
pub use model::{Model, ModelSpec, ModelStatus};
pub use placement::{Placement, PlacementSpec, PlacementStatus};
pub use quantity::Quantity;
pub use route_table::{RouteTable, RouteTableSpec, RouteTableStatus};
pub use stage::{Stage, StageSpec, StageStatus};

use condition::Reason;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;
use serde_json::json;

/// The API group of every kind.
pub const GROUP: &str = "edgeloom.dev";

/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// The label that names the LLMService an object was derived from.
pub const SERVICE_LABEL: &str = "edgeloom.dev/service";

/// Every CustomResourceDefinition of Edgeloom, in the order in which `kubectl get edgeloom` is pleasant to read.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        not_ready_yet(Model::crd()),
        not_ready_yet(LLMService::crd()),
        not_ready_yet(EdgeUser::crd()),
        EdgeNode::crd(),
        EdgeLink::crd(),
        Placement::crd(),
        Stage::crd(),
        RouteTable::crd(),
    ]
}

/// The kind with a status by default that says that nobody has looked at the object yet. To kstatus, an object without any
/// condition is as it should be, so `helm install --wait` would not wait for a new one.
fn not_ready_yet(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let waiting = json!({ "conditions": [{
        "type": ConditionType::Ready.as_str(),
        "status": "Unknown",
        "reason": Reason::NotObservedYet.as_str(),
        "message": "the controller has not looked at it yet",
        "lastTransitionTime": manifest::EPOCH,
    }] });
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(waiting.clone()));
        }
    }
    definition
}
