//! Waiting for conditions, with a deadline that only a hang can reach.

use std::{future::Future, time::Duration};

/// Longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks until `look` finds something.
///
/// # Panics
///
/// When it has found nothing within [`DEADLINE`]; `what` says what was waited for.
pub async fn until<Found, Look>(what: &str, mut look: impl FnMut() -> Look) -> Found
where
    Look: Future<Output = Option<Found>>,
{
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("{what} did not come about within {} s", DEADLINE.as_secs()))
}
