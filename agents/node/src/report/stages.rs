//! How each Stage stands.

use crds::{Stage, StageStatus};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::{Reporter, overtaken};
use crate::{agent::Core, stages::status_of};

/// Progress of a fetch is told in steps of a fiftieth of a gigabyte, not at each packet.
const FETCH_STEP_BYTES: i64 = 20_000_000;

impl Reporter {
    pub(super) async fn report_stages(&self, now: Timestamp) -> kube::Result<()> {
        let api: Api<Stage> = Api::all(self.client.clone());
        let stages: Vec<Stage> = self.seen.lock().stages.values().cloned().collect();
        for stage in stages {
            let name = stage.name_any();
            let held = stage.status.clone().unwrap_or_default();
            let Some(status) = status(&self.core, &stage, &held, now) else {
                continue;
            };
            match self.write(&api, &name, &held, &status, None).await {
                Ok(Some(written)) => {
                    self.seen
                        .lock()
                        .stages
                        .entry(name)
                        .and_modify(|seen| *seen = written);
                }
                Ok(None) => {}
                Err(error) if overtaken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is to be said of a stage; nothing before the agent has looked at it.
fn status(core: &Core, stage: &Stage, held: &StageStatus, now: Timestamp) -> Option<StageStatus> {
    let name = stage.name_any();
    let digest = &stage.spec.model.digest;
    let mut standing = core.stages.standing(&name)?;
    if let Some(message) = core.files.failure(digest)
        && standing.phase == crds::stage::StagePhase::Pending
    {
        standing.reason = crds::condition::Reason::FetchFailed;
        standing.message = message;
    }
    let fetched_bytes = core
        .files
        .fetched_bytes(digest)
        .map(|bytes| bytes / FETCH_STEP_BYTES * FETCH_STEP_BYTES);
    let epoch = core.worker.epoch().ok().map(|epoch| format!("{:016x}", epoch.0));
    let worker = (epoch, core.worker.held_memory().ok());
    let generation = stage.metadata.generation.unwrap_or(0);
    Some(status_of(standing, held, generation, worker, fetched_bytes, now))
}
