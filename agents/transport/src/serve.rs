//! One connection from its hello to its end: takes in the streams that the peer opens, keeps pings and
//! probes going, and tells when it is over.

use std::{sync::Arc, time::Duration};

use quinn::{Connection, RecvStream, SendStream};

use crate::{
    Accepted, Channel, Code, Refusal, close, control,
    endpoint::Shared,
    meter::Meter,
    opening::Preamble,
    probe,
    wire::{self, Reader},
};

/// How long a refusal may take to be written; if there is no room for it, the stream is reset instead.
const REFUSAL_WITHIN: Duration = Duration::from_millis(100);

pub(crate) async fn serve(
    shared: Arc<Shared>,
    node: String,
    connection: Connection,
    control_streams: (SendStream, Reader),
    meter: Arc<Meter>,
) {
    let limits = &shared.limits;
    tokio::select! {
        _ = connection.closed() => {}
        () = take_in_streams(&shared, &node, &connection, &meter) => {}
        broken = control::run(control_streams, meter.clone(), limits.ping_interval, limits.handshake_timeout) => {
            if let Err(error) = broken && connection.close_reason().is_none() {
                tracing::warn!(%node, %error, "control stream broke, closing the connection");
                connection.close(close::CONFUSED, b"");
            }
        }
        () = probe::keep_probing(&connection, &meter, shared.probing.as_ref(), limits) => {}
        () = shared.stop.cancelled() => connection.close(close::SHUTDOWN, b""),
    }
    let reason = close::reason(&connection.closed().await);
    shared.registry.lost(&node, &connection, reason);
}

/// Until the connection ends. The number of tasks is bounded by the streams that QUIC lets a peer open.
async fn take_in_streams(shared: &Arc<Shared>, node: &str, connection: &Connection, meter: &Arc<Meter>) {
    while let Ok(streams) = connection.accept_bi().await {
        let (shared, node) = (shared.clone(), node.to_owned());
        let (connection, meter) = (connection.clone(), meter.clone());
        tokio::spawn(async move { take_in(&shared, node, connection, meter, streams).await });
    }
}

async fn take_in(
    shared: &Shared,
    node: String,
    connection: Connection,
    meter: Arc<Meter>,
    (send, receive): (SendStream, RecvStream),
) {
    let limits = &shared.limits;
    let mut reader = Reader::new(receive);
    let preamble = reader
        .expect(limits.max_opening_bytes, limits.handshake_timeout)
        .await;
    let Reader {
        stream: receive,
        buffer,
    } = reader;
    let channel = Channel::new((send, receive), buffer, connection, meter, limits.max_frame_bytes);
    match preamble {
        Ok(Preamble::Session(opening)) => {
            let accepted = Accepted {
                node,
                opening,
                channel,
            };
            if let Err(full) = shared.accepted.try_send(accepted) {
                let Accepted { node, channel, .. } = full.into_inner();
                tracing::warn!(%node, "session refused: too many wait to be accepted");
                refuse(channel, Code::Busy, "too many sessions wait to be accepted").await;
            }
        }
        Ok(Preamble::Probe) => probe::answer(channel).await,
        Ok(Preamble::Control(_)) => refuse(channel, Code::Malformed, "a second control stream").await,
        Err(wire::Error::TooLarge { got, limit }) => {
            refuse(
                channel,
                Code::TooLarge,
                &format!("opening of {got} bytes, at most {limit} are accepted"),
            )
            .await;
        }
        Err(error) => {
            tracing::debug!(%node, %error, "stream without an opening");
            refuse(channel, Code::Malformed, "the opening is not understood").await;
        }
    }
}

async fn refuse(channel: Channel, code: Code, message: &str) {
    if let Err(error) = channel.refuse(Refusal::new(code, message), REFUSAL_WITHIN).await {
        tracing::debug!(%error, "refusal not sent, stream reset");
    }
}
