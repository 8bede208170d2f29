//! Holds the agent to `spec.limits` of its EdgeNode when they change while it runs: the worker and its share, the memory
//! that stages may take, what telemetry and EdgeNode status call the device. Stages that no longer fit stay until the
//! control plane, which reads the status, has placed them elsewhere.

use crds::{EdgeNodeSpec, edge_node::NodeLimits};
use telemetry::{Profile, Reading};
use tokio::sync::watch;

use crate::{agent::Agent, benchmark::Benchmarks, report, watch::Seen};

/// What the agent goes by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InForce {
    /// The limits.
    pub(crate) limits: NodeLimits,
    /// Limits that were declared since and cannot be kept, and why.
    pub(crate) refused: Option<(NodeLimits, String)>,
}

/// Puts limits in force.
pub(crate) struct Keeper {
    pub(crate) agent: Agent,
    pub(crate) seen: Seen,
    /// Whether this machine only plays the node.
    pub(crate) emulated: bool,
    /// What telemetry is told.
    pub(crate) profile: watch::Sender<Profile>,
    /// What telemetry reads.
    pub(crate) readings: watch::Receiver<Reading>,
    /// Where the device is described.
    pub(crate) benchmarks: Benchmarks,
    /// Told whoever runs by them or reports them.
    pub(crate) in_force: watch::Sender<InForce>,
    /// Told when something may be reported.
    pub(crate) news: watch::Sender<()>,
}

impl Keeper {
    /// Looks whenever an object was seen or the machine was read, for ever.
    pub(crate) async fn run(mut self) {
        let mut heard = self.news.subscribe();
        loop {
            tokio::select! {
                // This task holds a sender itself.
                _ = heard.changed() => {}
                Ok(()) = self.readings.changed() => {}
            }
            let spec = self.seen.lock().node.as_ref().map(|node| node.spec.clone());
            if let Some(spec) = spec {
                self.keep(&spec).await;
            }
            self.describe();
        }
    }

    /// Puts the limits of `spec` in force unless they are, or cannot be.
    async fn keep(&self, spec: &EdgeNodeSpec) {
        let InForce { limits, refused } = self.in_force.borrow().clone();
        let is_refused = refused.is_some_and(|(refused, _)| refused == spec.limits);
        if limits == spec.limits || is_refused {
            return;
        }
        let (memory, cores) = (
            report::engine_limit(&spec.limits, &telemetry::cgroup::of_this_process(), self.emulated),
            report::core_limit(&spec.limits),
        );
        let next = match self.agent.core().worker.set_limits(memory, cores).await {
            Ok(()) => {
                tracing::info!(memory_bytes = memory, cores, "other limits are in force");
                self.agent.set_storage(report::storage_limit(&spec.limits));
                self.profile.send_replace(report::profile(spec, self.emulated));
                InForce {
                    limits: spec.limits.clone(),
                    refused: None,
                }
            }
            Err(error) => {
                let why = match error {
                    // The share is all that can be wrong with them.
                    engine::Error::Invalid { value, expected, .. } => {
                        format!("spec.limits.cores is {value}; {expected}")
                    }
                    other => format!("spec.limits: {other}"),
                };
                tracing::warn!(why, "the limits cannot be kept; those before stay in force");
                InForce {
                    limits,
                    refused: Some((spec.limits.clone(), why)),
                }
            }
        };
        self.in_force.send_replace(next);
        self.news.send_replace(());
    }

    /// Describes the device as it was read last.
    fn describe(&mut self) {
        let known = self.benchmarks.device();
        let overhead = u64::try_from(known.overhead_bytes).unwrap_or(0);
        let device = report::device(&self.readings.borrow_and_update(), overhead);
        if device == known {
            return;
        }
        let for_stages = device.memory_bytes - device.overhead_bytes;
        self.benchmarks.describe(device);
        self.agent.set_memory(for_stages);
        self.news.send_replace(());
    }
}
