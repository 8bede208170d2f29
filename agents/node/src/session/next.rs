//! The way to the next stage, as both the head and a middle stage have it: rows forth, one welcome back, and refusals
//! at any time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use transport::{Code, Encoding, Endpoint, Kind, Opening, Receiver, Refusal, Sender, encoding};

use super::{
    failure,
    wire::{self, Address, Purpose, Terms, Welcome},
};

/// A peer that is known to be connected takes a round trip at most; this is for one that just comes back.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// How long the reason of a broken stream may take behind the break itself.
const REASON_WITHIN: Duration = Duration::from_secs(1);

/// A session's channel to the next stage. Dropping it cancels the session there.
#[derive(Debug)]
pub(crate) struct Next {
    node: String,
    address: Address,
    encoding: Encoding,
    width: usize,
    sender: Sender,
    worker_epoch: Arc<AtomicU64>,
    broken: watch::Receiver<Option<Refusal>>,
    reader: AbortOnDropHandle<()>,
    deadline: Instant,
}

/// How the rows are to be sent, and to whom.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    pub(crate) node: &'a str,
    pub(crate) pipeline: &'a str,
    pub(crate) revision: u64,
    pub(crate) session: transport::SessionId,
    pub(crate) encoding: Encoding,
    /// Numbers in a row.
    pub(crate) width: usize,
    pub(crate) deadline: Instant,
}

impl Next {
    /// Opens the channel; waits for no answer.
    pub(crate) async fn open(endpoint: &Endpoint, wiring: Wiring<'_>, terms: Terms) -> Result<Self, Refusal> {
        let opening = Opening {
            pipeline: wiring.pipeline.to_owned(),
            revision: wiring.revision,
            worker_epoch: 0,
            session: wiring.session,
            body: wire::to_bytes(&Purpose::Rows(terms)),
        };
        let address = Address::of(&opening);
        let channel = endpoint
            .open(wiring.node, opening, OPEN_WITHIN)
            .await
            .map_err(|error| failure::of_opening(&error))?;
        let (sender, receiver) = channel.split();
        let worker_epoch = Arc::new(AtomicU64::new(0));
        let (break_it, broken) = watch::channel(None);
        let reader = tokio::spawn({
            let (node, worker_epoch) = (wiring.node.to_owned(), Arc::clone(&worker_epoch));
            let deadline = wiring.deadline;
            async move {
                let refusal = listen(receiver, &node, &worker_epoch, deadline).await;
                break_it.send_replace(Some(refusal));
            }
        });
        Ok(Self {
            node: wiring.node.to_owned(),
            address,
            encoding: wiring.encoding,
            width: wiring.width,
            sender,
            worker_epoch,
            broken,
            reader: AbortOnDropHandle::new(reader),
            deadline: wiring.deadline,
        })
    }

    /// Sends rows as the engine made them (little-endian f32).
    pub(crate) async fn send(&mut self, kind: Kind, position: u32, hidden: Bytes) -> Result<(), Refusal> {
        let payload = squeeze(self.encoding, hidden, self.width)?;
        let epoch = self.worker_epoch.load(Ordering::Relaxed);
        let frame = self.address.rows(kind, self.encoding, position, epoch, payload);
        match self.sender.send(frame, left(self.deadline)).await {
            Ok(()) => Ok(()),
            // The peer has stopped reading: its own last word says why.
            Err(error) => Err(self.reason(failure::of_channel(error, &self.node)).await),
        }
    }

    /// Why the pipeline is broken, as the next stage says within a moment; `otherwise` if it says nothing.
    pub(crate) async fn reason(&self, otherwise: Refusal) -> Refusal {
        timeout(REASON_WITHIN, self.broken()).await.unwrap_or(otherwise)
    }

    /// Completes when the next stage refuses or is lost.
    pub(crate) fn broken(&self) -> impl Future<Output = Refusal> + Send + 'static + use<> {
        let mut broken = self.broken.clone();
        async move {
            let lost = || Refusal::new(Code::Internal, "the way to the next stage is closed");
            match broken.wait_for(Option::is_some).await {
                Ok(refusal) => refusal.clone().unwrap_or_else(lost),
                Err(_) => lost(),
            }
        }
    }

    /// Ends the session as it should be ended: nothing follows.
    pub(crate) fn finish(self) {
        let Self { sender, reader, .. } = self;
        if let Err(error) = sender.finish() {
            tracing::debug!(%error, "the next stage had stopped reading before the end");
        }
        // It goes on until the peer has closed its half.
        drop(reader.detach());
    }
}

/// Hears the welcome and then whatever ends the session.
async fn listen(mut receiver: Receiver, node: &str, epoch: &AtomicU64, deadline: Instant) -> Refusal {
    loop {
        match receiver.receive(left(deadline)).await {
            Ok(Some(frame)) if frame.header.kind == Kind::Control => {
                match wire::from_bytes::<Welcome>(&frame.payload, "welcome") {
                    Ok(welcome) => epoch.store(welcome.worker_epoch, Ordering::Relaxed),
                    Err(refusal) => return refusal,
                }
            }
            Ok(Some(frame)) => {
                let what = format!("node `{node}` sent {:?} backwards", frame.header.kind);
                return Refusal::new(Code::Malformed, what);
            }
            Ok(None) => return Refusal::new(Code::Cancelled, format!("node `{node}` ended the session")),
            Err(error) => return failure::of_channel(error, node),
        }
    }
}

/// Time until `deadline`.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Rows as they travel. f32 goes as it is, without a copy.
pub(crate) fn squeeze(encoding: Encoding, hidden: Bytes, width: usize) -> Result<Bytes, Refusal> {
    if encoding == Encoding::F32 {
        return Ok(hidden);
    }
    let values: Vec<f32> = hidden
        .as_chunks()
        .0
        .iter()
        .map(|four| f32::from_le_bytes(*four))
        .collect();
    encoding::encode(encoding, &values, width)
        .map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

/// Rows as the engine wants them, and how many they are.
pub(crate) fn stretch(encoding: Encoding, payload: Bytes, width: usize) -> Result<(Bytes, u32), Refusal> {
    let malformed = |error: encoding::Error| Refusal::new(Code::Malformed, error.to_string());
    let rows = encoding::rows_in(encoding, payload.len(), width).map_err(malformed)?;
    let rows_u32 = u32::try_from(rows).map_err(|_| Refusal::new(Code::TooLarge, format!("{rows} rows")))?;
    if encoding == Encoding::F32 {
        return Ok((payload, rows_u32));
    }
    let mut values = Vec::new();
    encoding::decode(encoding, &payload, width, &mut values).map_err(malformed)?;
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    Ok((bytes.into(), rows_u32))
}

/// Transport's name for the kinds' precision.
pub(crate) fn encoding_of(precision: crds::ActivationPrecision) -> Encoding {
    match precision {
        crds::ActivationPrecision::F32 => Encoding::F32,
        crds::ActivationPrecision::F16 => Encoding::F16,
        crds::ActivationPrecision::Int8Outliers => Encoding::Int8Outliers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(values: &[f32]) -> Bytes {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>()
            .into()
    }

    #[test]
    fn rows_come_back_from_each_encoding_with_their_number() {
        let rows = hidden(&[0.5; 24]);
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Int8Outliers] {
            let sent = squeeze(encoding, rows.clone(), 12).unwrap();
            assert_eq!(stretch(encoding, sent, 12), Ok((rows.clone(), 2)));
        }
    }

    #[test]
    fn a_payload_that_is_no_rows_is_malformed() {
        let refusal = stretch(Encoding::F32, Bytes::from_static(&[1, 2, 3]), 4).unwrap_err();
        assert_eq!(refusal.code, Code::Malformed);
        let refusal = stretch(Encoding::Opaque, Bytes::from_static(&[1, 2, 3]), 4).unwrap_err();
        assert_eq!(refusal.code, Code::Malformed);
    }
}
