//! Where the lines of a watch go: a short queue before the connection. A client that takes nothing for a while is given up, so that
//! what waits for it does not pile up.

use std::time::Duration;

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// Lines that wait for the connection. With the largest objects that is 24 MiB for a stalled watch, usually a few KiB.
const QUEUE: usize = 16;
/// A connection that takes no line for so long is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The connection is gone, or takes nothing any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disconnected;

/// The way to the connection.
pub(super) struct Outlet {
    lines: mpsc::Sender<Bytes>,
    patience: Duration,
    /// Counts what is sent.
    sent: IntCounter,
}

impl Outlet {
    /// A way, and what comes out of it; `patience` is how long a line may wait for room.
    pub(super) fn new(patience: Duration, sent: IntCounter) -> (Self, ReceiverStream<Bytes>) {
        let (lines, stream) = mpsc::channel(QUEUE);
        let outlet = Self {
            lines,
            patience,
            sent,
        };
        (outlet, ReceiverStream::new(stream))
    }

    /// Ends when nobody listens any more.
    pub(super) async fn closed(&self) {
        self.lines.closed().await;
    }

    /// Sends a line, as soon as there is room for it.
    ///
    /// # Errors
    /// When nobody listens, or nothing was taken in time.
    pub(super) async fn send(&self, line: Bytes) -> Result<(), Disconnected> {
        self.sent.inc();
        // Nearly always there is room, and no timer is needed.
        match self.lines.try_send(line) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Disconnected),
            Err(TrySendError::Full(line)) => match timeout(self.patience, self.lines.send(line)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Disconnected),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let counter = IntCounter::new("sent", "Lines.").unwrap();
        let (outlet, stream) = Outlet::new(Duration::from_millis(10), counter);
        for _ in 0..QUEUE {
            assert_eq!(outlet.send(Bytes::from_static(b"line\n")).await, Ok(()));
        }
        assert_eq!(
            outlet.send(Bytes::from_static(b"line\n")).await,
            Err(Disconnected)
        );
        drop(stream);
        assert_eq!(
            outlet.send(Bytes::from_static(b"line\n")).await,
            Err(Disconnected)
        );
    }
}
