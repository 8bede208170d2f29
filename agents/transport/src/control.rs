//! The control stream of a connection: a hello from each end, then pings, whose answers also tell the
//! sender how fast its frames arrive.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::SendStream;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;

use crate::{figures::RateFigures, meter::Meter, wire};

/// What each end says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Name and version of the program, for the log.
    pub(crate) software: String,
    /// Which start of the agent this is.
    pub(crate) incarnation: String,
}

impl Hello {
    pub(crate) fn ours(incarnation: &str) -> Self {
        Self {
            software: concat!("edgeloom ", env!("CARGO_PKG_VERSION")).to_owned(),
            incarnation: incarnation.to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Message {
    Ping {
        number: u64,
    },
    Pong {
        number: u64,
        arriving: Option<RateFigures>,
    },
}

/// Longer than any message, with room for fields to come.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Goes before all frames: a ping should wait for the link, not for our own queue.
const PRIORITY: i32 = 10;

/// Pings every `interval` and answers pings, until the stream breaks.
pub(crate) async fn run(
    (mut send, mut reader): (SendStream, wire::Reader),
    meter: Arc<Meter>,
    interval: Duration,
    within: Duration,
) -> Result<(), wire::Error> {
    // Only a closed stream has no priority, and the first write reports that.
    let _closed = send.set_priority(PRIORITY);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut number, mut asked) = (0, None);
    loop {
        tokio::select! {
            // One ping at a time: a link slower than the interval is not burdened further.
            _ = ticks.tick(), if asked.is_none() => {
                number += 1;
                asked = Some(Instant::now());
                wire::write(&mut send, &Message::Ping { number }, within).await?;
            }
            message = reader.next(MAX_MESSAGE_BYTES) => match message? {
                Some(Message::Ping { number }) => {
                    let arriving = meter.inbound();
                    wire::write(&mut send, &Message::Pong { number, arriving }, within).await?;
                }
                Some(Message::Pong { number: answered, arriving }) => {
                    meter.told(arriving);
                    if let Some(asked) = asked.take_if(|_| answered == number) {
                        meter.ping_answered(asked.elapsed());
                    }
                }
                None => return Err(wire::Error::Truncated),
            },
        }
    }
}
