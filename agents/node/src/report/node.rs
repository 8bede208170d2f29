//! The EdgeNode: agent, devices, battery, weights on disk, peers that were lost. Its conditions are shared with the
//! controller, which writes `Reachable`; so a write of theirs names the version that it was read from.

use std::{collections::BTreeMap, time::SystemTime};

use crds::{
    ConditionType, EdgeNode, EdgeNodeStatus,
    condition::{Reason, set},
    edge_node::{Device, LostPeer},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{Api, ResourceExt};
use transport::PeerState;

use super::{Reporter, overtaken};

/// The longest message of a condition, in characters.
const MESSAGE_MAX: usize = 2_000;

impl Reporter {
    pub(super) async fn report_node(&mut self, now: Timestamp) -> kube::Result<()> {
        let long_silence_or_news = self.facts.machine.look();
        let Some(node) = self.seen.lock().node.clone() else {
            return Ok(());
        };
        let held = node.status.clone().unwrap_or_default();
        let mut status = self.node_status(&node, &held, now);
        // The time alone is no news, except after the longest silence.
        if status == held && !long_silence_or_news {
            return Ok(());
        }
        status.observed_time = Some(Time(now));
        let api: Api<EdgeNode> = Api::all(self.client.clone());
        let version = node.resource_version();
        let name = node.name_any();
        match self.write(&api, &name, &held, &status, version.as_deref()).await {
            Ok(Some(written)) => {
                self.seen.lock().node = Some(written);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) if overtaken(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What of `spec.limits` is not kept, and why.
    fn beyond_limits(&self) -> Option<String> {
        if let Some((_, why)) = &self.facts.limits.borrow().refused {
            return Some(format!("{why}; the limits before stay in force"));
        }
        let limit = u64::try_from(self.facts.benchmarks.device().memory_bytes).ok()?;
        let held = self.core.worker.held_memory().ok()?.reserved_bytes;
        (held > limit).then(|| {
            format!("stages hold {held} bytes of {limit} until they are placed elsewhere; none is loaded meanwhile")
        })
    }

    /// Whether all models that could be timed were; nothing before the first.
    fn timing(&self) -> Option<(bool, Reason, String)> {
        let benchmarks = &self.facts.benchmarks;
        match benchmarks.failure() {
            Some(why) => {
                let shown = why.chars().take(MESSAGE_MAX).collect();
                Some((false, Reason::BenchmarkFailed, shown))
            }
            None if benchmarks.report().is_empty() => None,
            None => Some((true, Reason::AsDesired, String::new())),
        }
    }

    fn node_status(&self, node: &EdgeNode, held: &EdgeNodeStatus, now: Timestamp) -> EdgeNodeStatus {
        let mut conditions = held.conditions.clone();
        let (ready, reason, message) = match self.core.worker.epoch() {
            Ok(_) => (true, Reason::AsDesired, self.beyond_limits().unwrap_or_default()),
            Err(error) => (false, Reason::WorkerRestarting, error.to_string()),
        };
        let generation = node.metadata.generation;
        set(
            &mut conditions,
            ConditionType::Ready,
            Some(ready),
            reason,
            message,
            generation,
            now,
        );
        match self.timing() {
            Some((timed, reason, message)) => set(
                &mut conditions,
                ConditionType::Benchmarked,
                Some(timed),
                reason,
                message,
                generation,
                now,
            ),
            None => {
                conditions.retain(|condition| condition.type_ != ConditionType::Benchmarked.as_str());
            }
        }
        EdgeNodeStatus {
            observed_generation: generation,
            conditions,
            agent: Some(self.facts.info.clone()),
            devices: self.devices(),
            battery: self.facts.machine.battery(),
            temperature_millicelsius: self.facts.machine.temperature_millicelsius(),
            models: self.core.files.held(),
            lost_peers: lost_peers(&self.core.endpoint.peer_states().borrow()),
            corrections: held.corrections.clone(),
            observed_time: held.observed_time.clone(),
        }
    }
}

impl Reporter {
    /// The processor, then GPUs.
    fn devices(&self) -> Vec<Device> {
        let processor = Device {
            benchmarks: self.facts.benchmarks.report(),
            ..self.facts.benchmarks.device()
        };
        std::iter::once(processor)
            .chain(self.facts.machine.gpus())
            .collect()
    }
}

/// Peers whose connection died and has not come back.
fn lost_peers(states: &BTreeMap<String, PeerState>) -> Vec<LostPeer> {
    let lost = |(node, state): (&String, &PeerState)| match state {
        PeerState::Lost {
            since, incarnation, ..
        } => Some(LostPeer {
            node: node.clone(),
            incarnation: Some(incarnation.clone()),
            since: Time(whole_seconds(*since)),
        }),
        PeerState::Waiting { .. } | PeerState::Connected { .. } => None,
    };
    states.iter().filter_map(lost).collect()
}

fn whole_seconds(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or_default()
}
