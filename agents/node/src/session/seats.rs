//! A stage in memory, and the sessions that sit on it. A session takes a seat for as long as it lives: a slot of the
//! worker's cache, counted against the quota of its hop. Dropping the seat gives the slot back through the scheduler.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crds::{StageSpec, route_table::Hop};
use engine::{Epoch, Loaded, StageId, Text};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use transport::{Code, Refusal};

use crate::{agent::Core, routes::hop_key};

/// Names one hop of this node: pipeline, revision, ordinal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HopKey {
    pub(crate) pipeline: String,
    pub(crate) revision: u64,
    pub(crate) ordinal: u32,
}

/// A stage that the worker holds.
#[derive(Debug)]
pub(crate) struct LoadedStage {
    pub(crate) id: StageId,
    pub(crate) spec: StageSpec,
    pub(crate) loaded: Loaded,
    /// The vocabulary, where the stage is a head.
    pub(crate) text: Option<Arc<Text>>,
    pub(crate) seats: Seats,
}

impl LoadedStage {
    /// Most rows of a batch.
    pub(crate) fn batch_rows(&self) -> u32 {
        self.spec.batch_rows.max(1).unsigned_abs()
    }

    /// Positions that one session may hold.
    pub(crate) fn context_tokens(&self) -> u32 {
        self.spec.context_tokens.unsigned_abs()
    }

    /// Numbers in a row of hidden state.
    pub(crate) fn width(&self) -> usize {
        self.loaded.embedding_length as usize
    }

    /// Bytes of a row as the engine has it.
    pub(crate) fn row_bytes(&self) -> usize {
        self.width() * size_of::<f32>()
    }

    /// The layers, for people.
    pub(crate) fn layers(&self) -> String {
        format!("layers {}..{}", self.spec.first_layer, self.spec.end_layer)
    }
}

/// The slots of a stage.
#[derive(Debug)]
pub(crate) struct Seats {
    state: Mutex<State>,
    vacated: Notify,
    releases: mpsc::UnboundedSender<Release>,
}

#[derive(Debug, Default)]
struct State {
    free: BTreeSet<u32>,
    taken: BTreeMap<u32, (HopKey, CancellationToken)>,
    closed: bool,
}

/// A slot that a session has left and that still holds its cells. Their number is bounded by the slots.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) stage: Arc<LoadedStage>,
    pub(crate) epoch: Epoch,
    pub(crate) slot: u32,
}

/// A session's place on a stage.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) stage: Arc<LoadedStage>,
    pub(crate) slot: u32,
    /// The worker's life in which the session began.
    pub(crate) epoch: Epoch,
    /// Fires when the hop is withdrawn while the session is open.
    pub(crate) withdrawn: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let release = Release {
            stage: Arc::clone(&self.stage),
            epoch: self.epoch,
            slot: self.slot,
        };
        // The scheduler is gone only when the agent is.
        let _agent_stopped = self.stage.seats.releases.send(release);
    }
}

impl Seats {
    /// `slots` empty seats. Slots that are left go to `releases`.
    pub(crate) fn new(slots: u32, releases: mpsc::UnboundedSender<Release>) -> Self {
        Self {
            state: Mutex::new(State {
                free: (0..slots).collect(),
                ..State::default()
            }),
            vacated: Notify::new(),
            releases,
        }
    }

    /// A seat on a hop that takes new sessions, which is looked at again once the seat is taken: a hop that has reported
    /// itself as drained stays so.
    ///
    /// # Errors
    ///
    /// [`Code::Busy`] when none was free `within` the time, and what [`Routes::admitting_hop`] says.
    ///
    /// [`Routes::admitting_hop`]: crate::routes::Routes::admitting_hop
    pub(crate) async fn admit(
        core: &Core,
        stage: &Arc<LoadedStage>,
        hop: &Hop,
        epoch: Epoch,
        within: Duration,
    ) -> Result<Seat, Refusal> {
        let key = hop_key(hop);
        let quota = usize::try_from(hop.sessions).unwrap_or(0);
        let seat = Self::take(stage, &key, quota, epoch, within).await;
        let seat = seat.ok_or_else(|| {
            let what = format!(
                "all {quota} sessions of pipeline {} on node `{}` are taken",
                hop.pipeline, core.node
            );
            Refusal::new(Code::Busy, what)
        })?;
        let routes = core.routes.load();
        routes.admitting_hop(&key.pipeline, key.revision, key.ordinal)?;
        Ok(seat)
    }

    /// Takes the lowest free slot, since slots in use should be dense; waits at most `within` for one, as slots are
    /// emptied a moment after their sessions have ended. `quota` bounds the seats of the hop.
    async fn take(
        stage: &Arc<LoadedStage>,
        hop: &HopKey,
        quota: usize,
        epoch: Epoch,
        within: Duration,
    ) -> Option<Seat> {
        let seats = &stage.seats;
        let wait = async {
            loop {
                let vacated = seats.vacated.notified();
                if let Some((slot, withdrawn)) = seats.try_take(hop, quota) {
                    return Seat {
                        stage: Arc::clone(stage),
                        slot,
                        epoch,
                        withdrawn,
                    };
                }
                vacated.await;
            }
        };
        timeout(within, wait).await.ok()
    }

    fn try_take(&self, hop: &HopKey, quota: usize) -> Option<(u32, CancellationToken)> {
        let mut state = self.lock();
        if state.closed || state.of_hop(hop) >= quota {
            return None;
        }
        let slot = state.free.pop_first()?;
        let withdrawn = CancellationToken::new();
        state.taken.insert(slot, (hop.clone(), withdrawn.clone()));
        Some((slot, withdrawn))
    }

    /// The slot is empty again.
    pub(crate) fn vacate(&self, slot: u32) {
        let mut state = self.lock();
        state.taken.remove(&slot);
        state.free.insert(slot);
        drop(state);
        self.vacated.notify_waiters();
    }

    /// Sessions that sit here.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken.len()
    }

    /// Sessions of one hop that sit here.
    pub(crate) fn taken_by(&self, hop: &HopKey) -> usize {
        self.lock().of_hop(hop)
    }

    /// Ends the sessions whose hop is not among those that `stays` says.
    pub(crate) fn withdraw(&self, stays: impl Fn(&HopKey) -> bool) {
        for (hop, withdrawn) in self.lock().taken.values() {
            if !stays(hop) {
                withdrawn.cancel();
            }
        }
    }

    /// Lets nobody sit down any more, if nobody sits here; says whether that is so.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut state = self.lock();
        state.closed = state.closed || state.taken.is_empty();
        state.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of_hop(&self, hop: &HopKey) -> usize {
        self.taken
            .values()
            .filter(|(taken_by, _)| taken_by == hop)
            .count()
    }
}
