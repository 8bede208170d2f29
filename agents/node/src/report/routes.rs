//! How the RouteTable stands: each hop's phase, and what the heads here observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crds::{
    ConditionType, RouteTable, RouteTableStatus,
    condition::{Reason, set},
    route_table::{Hop, HopPhase, HopStatus},
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};
use transport::{PeerState, Refusal};

use super::{Reporter, overtaken};
use crate::{
    agent::Core,
    routes::{Routes, hop_key},
};

/// Observed figures change with every request; they are told no more often than this.
const OBSERVED_EVERY: Duration = Duration::from_secs(5);

impl Reporter {
    pub(super) async fn report_routes(&mut self, now: Timestamp) -> kube::Result<()> {
        let Some(table) = self.seen.lock().routes.clone() else {
            return Ok(());
        };
        let held = table.status.clone().unwrap_or_default();
        let mut status = status(&self.core, &held, now);
        let too_early = self.observed_at.is_some_and(|at| at.elapsed() < OBSERVED_EVERY);
        if too_early && same_but_for_observed(&held, &status) {
            return Ok(());
        }
        if too_early {
            status.observed = held.observed.clone();
        }
        let api: Api<RouteTable> = Api::all(self.client.clone());
        match self.write(&api, &table.name_any(), &held, &status, None).await {
            Ok(Some(written)) => {
                if !too_early {
                    self.observed_at = Some(Instant::now());
                }
                self.seen.lock().routes = Some(written);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) if overtaken(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn same_but_for_observed(held: &RouteTableStatus, status: &RouteTableStatus) -> bool {
    let without = |status: &RouteTableStatus| RouteTableStatus {
        observed: vec![],
        ..status.clone()
    };
    without(held) == without(status)
}

fn status(core: &Core, held: &RouteTableStatus, now: Timestamp) -> RouteTableStatus {
    let routes = core.routes.load();
    let hops = hops(core);
    let waiting = hops.iter().find(|hop| hop.phase == HopPhase::Waiting);
    let mut conditions = held.conditions.clone();
    let generation = routes.table.as_ref().map(|(generation, _)| *generation);
    let (reason, message) = match waiting {
        Some(hop) => (
            Reason::Loading,
            format!(
                "{}: {}",
                hop.pipeline,
                hop.message.as_deref().unwrap_or("waiting")
            ),
        ),
        None => (Reason::AsDesired, String::new()),
    };
    set(
        &mut conditions,
        ConditionType::Ready,
        Some(waiting.is_none()),
        reason,
        message,
        generation,
        now,
    );
    RouteTableStatus {
        observed_generation: generation,
        conditions,
        hops,
        observed: observed(core, &routes),
    }
}

/// What was observed of services that still have a rule here or a head.
fn observed(core: &Core, routes: &Routes) -> Vec<crds::route_table::ObservedService> {
    let services: BTreeSet<_> = routes.ingress().iter().map(|rule| &rule.service).collect();
    let headed = |service: &str| {
        let of_service = |hop: &Hop| {
            hop.pipeline
                .rsplit_once('/')
                .is_some_and(|(name, _)| name == service)
        };
        routes.hops().iter().any(of_service)
    };
    let mut observed = core.observed.report();
    observed.retain(|figures| services.contains(&figures.service) || headed(&figures.service));
    observed
}

/// How each hop stands.
pub(crate) fn hops(core: &Core) -> Vec<HopStatus> {
    let states = core.endpoint.peer_states().borrow().clone();
    let routes = core.routes.load();
    let status = |hop| hop_status(core, hop, routes.trusted(hop), &states);
    routes.hops().iter().map(status).collect()
}

fn hop_status(
    core: &Core,
    hop: &Hop,
    trusted: Result<(), Refusal>,
    peers: &BTreeMap<String, PeerState>,
) -> HopStatus {
    let stage = core.stages.ready(&hop.stage);
    let key = hop_key(hop);
    let sessions = stage.as_ref().map_or(0, |stage| stage.seats.taken_by(&key));
    let (phase, message) = if hop.admits {
        match trusted
            .map_err(|refusal| refusal.message)
            .and_then(|()| {
                let ready = stage.map(drop);
                ready.map_err(|reason| format!("stage {}: {reason}", hop.stage))
            })
            .and_then(|()| core.worker.epoch().map(drop).map_err(|error| error.to_string()))
            .and_then(|()| neighbours(core, hop, peers))
        {
            Ok(()) => (HopPhase::Ready, None),
            Err(message) => (HopPhase::Waiting, Some(cut(message))),
        }
    } else if sessions > 0 {
        (HopPhase::Draining, None)
    } else {
        (HopPhase::Drained, None)
    };
    HopStatus {
        pipeline: hop.pipeline.clone(),
        revision: hop.revision,
        ordinal: hop.ordinal,
        phase,
        draining_sessions: (phase == HopPhase::Draining).then(|| i32::try_from(sessions).unwrap_or(i32::MAX)),
        message,
    }
}

/// Whether all nodes that this hop speaks with are connected.
fn neighbours(core: &Core, hop: &Hop, peers: &BTreeMap<String, PeerState>) -> Result<(), String> {
    let head = hop.next.is_none().then_some(&hop.head);
    let mut neighbours = [hop.previous.as_ref(), hop.next.as_ref(), head]
        .into_iter()
        .flatten();
    let lost =
        neighbours.find(|node| **node != core.node && !peers.get(*node).is_some_and(PeerState::is_connected));
    match lost.map(|node| (node, peers.get(node))) {
        None => Ok(()),
        Some((node, None)) => Err(format!("node `{node}` is no peer of this node")),
        Some((node, Some(PeerState::Lost { reason, .. }))) => {
            Err(format!("node `{node}` was lost: {reason}"))
        }
        Some((node, Some(_))) => Err(format!("node `{node}` is not connected yet")),
    }
}

/// As long as the schema allows.
fn cut(mut message: String) -> String {
    let end = (0..=message.len().min(1024))
        .rev()
        .find(|end| message.is_char_boundary(*end))
        .unwrap_or(0);
    message.truncate(end);
    message
}
