//! Probes: on a link over which nothing large was sent for a while, one frame without meaning, which the
//! other end times as it times any large frame. Paced by QUIC, behind all other frames, and within a budget
//! of bytes.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use quinn::Connection;

use crate::{
    Channel, Encoding, Frame, Header, Kind, Limits, PipelineId, Probing, SessionId, channel,
    frame::HEADER_BYTES,
    meter::{LARGE_BYTES, Meter},
    opening::Preamble,
    wire,
};

/// A probe that takes longer is given up: 64 KiB in this time are 17 kbit/s.
const PROBE_WITHIN: Duration = Duration::from_secs(30);

/// What the budget is counted over.
const HOUR: Duration = Duration::from_secs(3600);

/// The bytes of the probes of the last hour.
#[derive(Debug)]
struct Budget {
    bytes_per_hour: usize,
    spent: VecDeque<(Instant, usize)>,
}

impl Budget {
    fn new(bytes_per_hour: usize) -> Self {
        Self {
            bytes_per_hour,
            spent: VecDeque::new(),
        }
    }

    /// Whether `bytes` may be sent now; if so, they count.
    fn spend(&mut self, bytes: usize, now: Instant) -> bool {
        while self
            .spent
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) >= HOUR)
        {
            self.spent.pop_front();
        }
        let affordable =
            self.spent.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes <= self.bytes_per_hour;
        if affordable {
            self.spent.push_back((now, bytes));
        }
        affordable
    }
}

/// Probes an idle link for as long as it is polled.
pub(crate) async fn keep_probing(
    connection: &Connection,
    meter: &Arc<Meter>,
    probing: Option<&Probing>,
    limits: &Limits,
) {
    let Some(probing) = probing else {
        return std::future::pending().await;
    };
    let mut budget = Budget::new(probing.bytes_per_hour);
    loop {
        if meter.nothing_large_sent_within(probing.interval)
            && budget.spend(probing.bytes_per_probe + HEADER_BYTES, Instant::now())
            && let Err(error) = probe(connection, meter, probing, limits).await
        {
            tracing::debug!(%error, "probe failed");
        }
        tokio::time::sleep(probing.interval).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no stream for a probe")]
    Open(#[from] quinn::ConnectionError),
    #[error("probe not announced")]
    Announce(#[from] wire::Error),
    #[error("probe not delivered")]
    Deliver(#[from] channel::Error),
    #[error("no stream for a probe within {PROBE_WITHIN:?}")]
    Deadline(#[from] tokio::time::error::Elapsed),
}

async fn probe(
    connection: &Connection,
    meter: &Arc<Meter>,
    probing: &Probing,
    limits: &Limits,
) -> Result<(), Error> {
    let mut streams = tokio::time::timeout(PROBE_WITHIN, connection.open_bi()).await??;
    wire::write(&mut streams.0, &Preamble::Probe, PROBE_WITHIN).await?;
    let channel = Channel::new(
        streams,
        BytesMut::new(),
        connection.clone(),
        meter.clone(),
        limits.max_frame_bytes,
    );
    let (mut sender, mut receiver) = channel.split();
    let header = Header {
        session: SessionId(0),
        pipeline: PipelineId(0),
        revision: 0,
        worker_epoch: 0,
        position: 0,
        budget: None,
        kind: Kind::Probe,
        encoding: Encoding::Opaque,
    };
    // QUIC encrypts it: nothing on the way can compress zeros.
    let payload = Bytes::from(vec![0; probing.bytes_per_probe.max(LARGE_BYTES)]);
    sender.send(Frame { header, payload }, PROBE_WITHIN).await?;
    sender.finish()?;
    receiver.receive(PROBE_WITHIN).await?;
    Ok(())
}

/// Receives a probe; receiving it is timing it.
pub(crate) async fn answer(channel: Channel) {
    let (sender, mut receiver) = channel.split();
    let outcome = receiver.receive(PROBE_WITHIN).await;
    if outcome.is_ok_and(|frame| frame.is_some_and(|frame| frame.header.kind == Kind::Probe)) {
        // The dialler has heard all it needs if this does not arrive.
        let _gone = sender.finish();
    }
}
