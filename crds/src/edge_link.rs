//! `EdgeLink`: what carries bytes from one node to another.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// A link between two nodes, with the nominal figures that hold until somebody measures.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "EdgeLink",
    status = "EdgeLinkStatus",
    derive = "PartialEq",
    shortname = "el",
    category = "edgeloom",
    doc = "A link between two nodes: nominal rate and latency, and what each end measured.",
    printcolumn(name = "From", type_ = "string", json_path = ".spec.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.to"),
    printcolumn(name = "Medium", type_ = "string", json_path = ".spec.medium"),
    printcolumn(name = "Rate", type_ = "string", json_path = ".spec.rateBitsPerSecond"),
    printcolumn(
        name = "Latency-us",
        type_ = "integer",
        json_path = ".spec.latencyMicroseconds"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != self.to").message("a link joins two different nodes: from and to are equal"))]
pub struct EdgeLinkSpec {
    /// An EdgeNode.
    #[schemars(length(min = 1, max = 253))]
    pub from: String,
    /// Another EdgeNode. The link carries bytes both ways.
    #[schemars(length(min = 1, max = 253))]
    pub to: String,
    /// What it is made of.
    #[serde(default)]
    pub medium: Medium,
    /// Nominal rate from `from` to `to`, such as `20M` or `1G`.
    pub rate_bits_per_second: Quantity,
    /// Nominal rate from `to` to `from`; the same when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_rate_bits_per_second: Option<Quantity>,
    /// Nominal delay in one direction.
    #[serde(default)]
    #[schemars(range(min = 0, max = 60_000_000))]
    pub latency_microseconds: i32,
    /// Variation of the delay.
    #[serde(default)]
    #[schemars(range(min = 0, max = 60_000_000))]
    pub jitter_microseconds: i32,
    /// Packets lost per million.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub loss_parts_per_million: i32,
    /// The cell or segment whose capacity it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub segment: Option<String>,
    /// What a metered link costs, in thousandths of a currency unit for each gigabyte.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub cost_milli_per_gigabyte: i32,
}

/// What a link is made of.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Medium {
    #[default]
    /// Copper or fibre.
    Wired,
    /// IEEE 802.11.
    Wifi,
    /// 4G, 5G and later.
    Cellular,
}

/// Whether it carries anything, by the controller, and what each end measured.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeLinkStatus {
    /// The generation that the conditions are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: both ends are there, and something passes between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Reports by source: each end measures the direction away from it. A map, since a merge patch of one
    /// source must not replace the other's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub reports: BTreeMap<String, LinkReport>,
}

/// Figures of one direction, from its source to the other end.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LinkReport {
    /// The rate that nine tenths of the observations reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bits_per_second_p10: Option<i64>,
    /// The median rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bits_per_second_p50: Option<i64>,
    /// How the rate came about.
    #[serde(default)]
    pub rate_provenance: RateProvenance,
    /// Round trip to the other end and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_microseconds: Option<i64>,
    /// Packets lost per million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_parts_per_million: Option<i64>,
    /// Signal to noise, in tenths of a decibel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_decibels_tenths: Option<i32>,
    /// When it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}

/// What a rate is worth.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum RateProvenance {
    /// Traffic filled the link.
    Measured,
    /// The sender had nothing more to send: the link carries at least this much.
    LowerBound,
    /// A paced probe.
    Probed,
    /// What the spec says.
    #[default]
    Declared,
}
