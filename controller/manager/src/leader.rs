//! Which of several controllers reconciles: the one that holds a Lease. The rules are client-go's.
//!
//! ```text
//! stand by ──takes the Lease──▶ lead ──cannot renew it in time, or somebody else holds it──▶ stand by
//!                                 └──told to stop──▶ release it: the next one leads at once
//! ```
//!
//! No clock is compared with another machine's: a Lease has expired when this process has seen it stand still for its
//! duration. The holder gives up after [`Timing::renew_deadline`], which is less than the duration, so that it has
//! stopped before anybody else begins.
//!
//! What fences a holder that stood still meanwhile: it asks [`Leadership::holds`] before each write, by its own clock
//! and without a request. The one request that may be under way carries the version of what it changes, or the UID of
//! what it deletes, and is refused if somebody wrote since. A Placement that it creates takes no requests until a
//! RouteTable names it; the new holder drains it.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use prometheus::{IntGauge, Registry};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::lease::{Judgement, Seen, held_by, holder_of, no_lease, released, transitions_of};
use crate::{identity, pulse::Pulse};

mod lease;

/// The Lease that controllers share.
pub const LEASE: &str = "edgeloom-controller";

/// A release that takes longer is left to the Lease's expiry.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Who has not renewed for so long leads no more, in whole seconds.
    pub duration: Duration,
    /// Who could not renew for so long stops by itself; less than `duration` by more than a write takes.
    pub renew_deadline: Duration,
    /// Time between two renewals; who stands by looks twice as often.
    pub retry: Duration,
}

impl Timing {
    /// What one request may take: a slow one leaves time for another.
    fn request(self) -> Duration {
        self.renew_deadline / 2
    }
}

impl Default for Timing {
    /// A little less than those of Kubernetes' own controllers (15, 10 and 2 s): who stands by sees that the Lease stood still up to
    /// a look and its jitter late, and is to lead within 20 s on a machine that is busy too.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(12),
            renew_deadline: Duration::from_secs(8),
            retry: Duration::from_secs(2),
        }
    }
}

/// Until when this process may write. Clones are the same leadership.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Nothing for a controller that is alone.
    until: Option<Arc<Mutex<Instant>>>,
}

impl Leadership {
    /// That of a controller that has no rival.
    #[must_use]
    pub fn undisputed() -> Self {
        Self { until: None }
    }

    /// Whether nobody else can lead yet, by this machine's clock alone.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.until
            .as_ref()
            .is_none_or(|until| Instant::now() < *until.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn term(until: Instant) -> Self {
        Self {
            until: Some(Arc::new(Mutex::new(until))),
        }
    }

    fn set(&self, until: Instant) {
        if let Some(held) = &self.until {
            *held.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }
}

/// A controller that wants to lead.
#[derive(Clone)]
pub struct Candidate {
    client: Client,
    namespace: String,
    api: Api<Lease>,
    identity: String,
    timing: Timing,
    leads: IntGauge,
    pulse: Pulse,
}

impl Candidate {
    /// A candidate for the Lease [`LEASE`] of `namespace`. No other process may have the same `identity`.
    ///
    /// # Errors
    ///
    /// When the metric is registered already.
    pub fn new(
        client: &Client,
        namespace: &str,
        identity: impl Into<String>,
        timing: Timing,
        registry: &Registry,
        pulse: Pulse,
    ) -> prometheus::Result<Self> {
        let leads = IntGauge::new(
            "edgeloom_controller_leader",
            "1 while this controller leads and reconciles, 0 while it stands by.",
        )?;
        registry.register(Box::new(leads.clone()))?;
        Ok(Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            api: Api::namespaced(client.clone(), namespace),
            identity: identity.into(),
            timing,
            leads,
            pulse,
        })
    }

    /// Stands by until the Lease is had, and does `work` as long as it is; again and again, until `stop` fires or the
    /// work ends by itself. The work is dropped, wherever it is, when leadership is lost or `stop` fires.
    ///
    /// # Errors
    ///
    /// The work's.
    pub async fn run<Work, Error>(
        &self,
        stop: &CancellationToken,
        mut work: impl FnMut(Leadership) -> Work,
    ) -> Result<(), Error>
    where
        Work: Future<Output = Result<(), Error>>,
    {
        loop {
            let Some(term) = stop.run_until_cancelled(self.stand_by()).await else {
                return Ok(());
            };
            self.leads.set(1);
            info!(
                identity = self.identity,
                transitions = transitions_of(&term.lease),
                "leads"
            );
            let leadership = Leadership::term(term.since + self.timing.renew_deadline);
            let lease = Arc::new(Mutex::new(term.lease));
            // A task of its own, so that long work between two awaits of ours does not keep it from renewing.
            let renewing = self
                .clone()
                .renew_until_lost(Arc::clone(&lease), leadership.clone(), term.since);
            let renewing = tokio::spawn(renewing);
            let renewing = tokio_util::task::AbortOnDropHandle::new(renewing);
            let ended = tokio::select! {
                biased;
                _ = renewing => None,
                () = stop.cancelled() => Some(Ok(())),
                ended = work(leadership) => Some(ended),
            };
            self.leads.set(0);
            let Some(ended) = ended else {
                warn!(identity = self.identity, "leads no more; stands by");
                continue;
            };
            let held = lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.release(held).await;
            return ended;
        }
    }

    /// Looks at the Lease until it can be had, and takes it.
    async fn stand_by(&self) -> Term {
        let mut seen = Seen::default();
        loop {
            self.pulse.beat();
            let since = Instant::now();
            let looked = self.answered(self.api.get_opt(LEASE)).await;
            let mut wait = jittered(self.timing.retry / 2);
            match looked {
                Ok(lease) => match seen.judge(&self.identity, lease.as_ref(), Instant::now()) {
                    Judgement::Free => match self.write(lease).await {
                        Ok(lease) => return Term { lease, since },
                        Err(kube::Error::Api(status))
                            if status.is_conflict() || status.is_already_exists() =>
                        {
                            debug!("somebody else was faster");
                        }
                        Err(kube::Error::Api(status)) if status.is_not_found() => {
                            let made = identity::make_namespace(&self.client, &self.namespace);
                            if let Err(error) = self.answered(made).await {
                                seen.tell_once(&error.to_string());
                            }
                        }
                        Err(error) => seen.tell_once(&error.to_string()),
                    },
                    Judgement::Held { holder, expires } => {
                        let left = expires.saturating_duration_since(Instant::now());
                        wait = wait.min(left + jittered(self.timing.retry) / 10);
                        if seen.is_new_holder(&holder) {
                            info!(holder, "stands by");
                        }
                    }
                },
                Err(error) => seen.tell_once(&error.to_string()),
            }
            sleep(wait).await;
        }
    }

    /// Renews until it was not possible for the deadline, or the Lease is somebody else's.
    async fn renew_until_lost(self, lease: Arc<Mutex<Lease>>, leadership: Leadership, taken: Instant) {
        let mut deadline = taken + self.timing.renew_deadline;
        let mut next = taken + self.timing.retry;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(deadline) => return,
                () = sleep_until(next) => {}
            }
            let since = Instant::now();
            next = since + self.timing.retry;
            let held = lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let renewed = tokio::select! {
                biased;
                () = sleep_until(deadline) => return,
                renewed = self.renew(held) => renewed,
            };
            match renewed {
                Renewal::Done(renewed) => {
                    *lease.lock().unwrap_or_else(PoisonError::into_inner) = *renewed;
                    deadline = since + self.timing.renew_deadline;
                    leadership.set(deadline);
                }
                Renewal::Lost => {
                    leadership.set(since);
                    return;
                }
                Renewal::Failed => debug!("the Lease was not renewed"),
            }
        }
    }

    async fn renew(&self, held: Lease) -> Renewal {
        if let Ok(renewed) = self.write(Some(held)).await {
            return Renewal::Done(Box::new(renewed));
        }
        // A version that is out of date is no loss by itself: somebody may have put a label on it.
        match self.held_still().await {
            Ok(Some(lease)) => match self.write(Some(lease)).await {
                Ok(renewed) => Renewal::Done(Box::new(renewed)),
                Err(_) => Renewal::Failed,
            },
            Ok(None) => Renewal::Lost,
            Err(_) => Renewal::Failed,
        }
    }

    /// The Lease as it stands, if it is this candidate's.
    async fn held_still(&self) -> kube::Result<Option<Lease>> {
        let lease = self.answered(self.api.get_opt(LEASE)).await?;
        Ok(lease.filter(|lease| holder_of(lease) == Some(self.identity.as_str())))
    }

    /// Writes this candidate into the Lease as it was read.
    async fn write(&self, read: Option<Lease>) -> kube::Result<Lease> {
        let is_new = read.is_none();
        let lease = held_by(
            read.unwrap_or_else(no_lease),
            &self.identity,
            self.timing,
            Timestamp::now(),
        );
        let parameters = PostParams::default();
        if is_new {
            self.answered(self.api.create(&parameters, &lease)).await
        } else {
            self.answered(self.api.replace(LEASE, &parameters, &lease)).await
        }
    }

    async fn answered<T>(&self, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        timeout(self.timing.request(), request)
            .await
            .map_err(|_| kube::Error::Service("no answer in time".into()))?
    }

    async fn release(&self, held: Lease) {
        let give_up = async |lease| {
            let released = released(lease, Timestamp::now());
            self.api
                .replace(LEASE, &PostParams::default(), &released)
                .await
                .map(drop)
        };
        let release = async {
            match give_up(held).await {
                // A renewal was under way.
                Err(kube::Error::Api(status)) if status.is_conflict() => match self.held_still().await? {
                    Some(lease) => give_up(lease).await,
                    None => Ok(()),
                },
                released => released,
            }
        };
        match timeout(RELEASE_WITHIN, release).await {
            Ok(Ok(())) => info!(identity = self.identity, "leads no more; the Lease is released"),
            Ok(Err(error)) => info!(%error, "the Lease is left to expire"),
            Err(_) => info!("the Lease is left to expire"),
        }
    }
}

struct Term {
    lease: Lease,
    /// Before the request that took it was sent.
    since: Instant,
}

enum Renewal {
    Done(Box<Lease>),
    Failed,
    Lost,
}

/// Candidates that began together do not ask together: a fifth more at most.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 + 0.2 * rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leadership_ends_by_the_clock_without_being_told() {
        let hour = Duration::from_secs(3600);
        let leadership = Leadership::term(Instant::now() + hour);
        assert!(leadership.holds());
        leadership.clone().set(Instant::now());
        assert!(!leadership.holds());
        assert!(Leadership::undisputed().holds());
    }
}
