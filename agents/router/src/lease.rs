//! A request's place among the concurrent ones, and the right to have a backend work for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::OwnedSemaphorePermit, task::AbortHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// Cancels the generation and frees the place when it is dropped, or at the deadline.
///
/// The deadline needs a task of its own: a client that stops reading stops the body from being polled, and nothing
/// else would notice that its time is up.
pub(crate) struct Lease {
    cancellation: CancellationToken,
    place: Place,
    watchdog: AbortHandle,
}

type Place = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Lease {
    pub(crate) fn new(permit: OwnedSemaphorePermit, deadline: Instant) -> Self {
        let cancellation = CancellationToken::new();
        let place = Arc::new(Mutex::new(Some(permit)));
        let watchdog = tokio::spawn({
            let (cancellation, place) = (cancellation.clone(), Arc::clone(&place));
            async move {
                tokio::time::sleep_until(deadline).await;
                cancellation.cancel();
                vacate(&place);
            }
        });
        Self {
            cancellation,
            place,
            watchdog: watchdog.abort_handle(),
        }
    }

    /// The token that the backend is given.
    pub(crate) fn cancellation(&self) -> CancellationToken {
        self.cancellation.clone()
    }

    /// Tells the backend that its work is not wanted any more. The place stays taken until the answer is written.
    pub(crate) fn cancel(&self) {
        self.cancellation.cancel();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.watchdog.abort();
        self.cancellation.cancel();
        vacate(&self.place);
    }
}

fn vacate(place: &Place) {
    // Nothing can panic while it holds this lock, and a permit is whole in any case.
    place.lock().unwrap_or_else(PoisonError::into_inner).take();
}
