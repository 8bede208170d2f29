//! The Lease as its candidates read and write it. Pure: the time is an argument.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{LEASE, Timing};

/// What a candidate remembers of the Lease, by its own clock.
#[derive(Debug, Default)]
pub(super) struct Seen {
    spec: Option<LeaseSpec>,
    at: Option<Instant>,
    holder: Option<String>,
    told: bool,
}

#[derive(Debug, PartialEq)]
pub(super) enum Judgement {
    /// It may be taken.
    Free,
    /// It may not, until it has stood still for so long.
    Held { holder: String, expires: Instant },
}

impl Seen {
    pub(super) fn judge(&mut self, identity: &str, lease: Option<&Lease>, now: Instant) -> Judgement {
        let spec = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let seen = match self.at {
            Some(at) if self.spec.as_ref() == Some(&spec) => at,
            _ => now,
        };
        self.at = Some(seen);
        let seconds = spec.lease_duration_seconds.unwrap_or(0).max(0).unsigned_abs();
        let expires = seen + Duration::from_secs(seconds.into());
        let holder = spec.holder_identity.clone().unwrap_or_default();
        self.spec = Some(spec);
        if holder.is_empty() || holder == identity || now >= expires {
            Judgement::Free
        } else {
            Judgement::Held { holder, expires }
        }
    }

    /// Once at warning; it may take long.
    pub(super) fn tell_once(&mut self, why: &str) {
        if std::mem::replace(&mut self.told, true) {
            debug!(lease = LEASE, why, "the Lease cannot be read or written");
        } else {
            warn!(
                lease = LEASE,
                why, "the Lease cannot be read or written; tried again"
            );
        }
    }

    pub(super) fn is_new_holder(&mut self, holder: &str) -> bool {
        let is_new = self.holder.as_deref() != Some(holder);
        self.holder = Some(holder.to_owned());
        is_new
    }
}

pub(super) fn no_lease() -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(LEASE.to_owned());
    lease
}

pub(super) fn holder_of(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

pub(super) fn transitions_of(lease: &Lease) -> i32 {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_transitions)
        .unwrap_or(0)
}

/// The Lease as its holder writes it. A new holder counts as a transition, the first one does not.
pub(super) fn held_by(mut lease: Lease, identity: &str, timing: Timing, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(identity) {
        let had_holder = spec.holder_identity.is_some();
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + i32::from(had_holder));
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = i32::try_from(timing.duration.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The Lease with no holder, for whoever looks next.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(now));
    lease
}

#[cfg(test)]
mod tests;
