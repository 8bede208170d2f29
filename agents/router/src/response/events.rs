//! An answer as server-sent events: chunks, then `[DONE]`; or an error event, and nothing after it.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream::unfold};

use super::Answer;
use crate::{
    generation::{Generation, Output},
    refusal::Refusal,
};

/// A comment, which clients skip.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

struct Writer {
    answer: Answer,
    /// Gone before its last event is sent: whoever has read `[DONE]` may count on its place.
    generation: Option<Generation>,
    keep_alive_interval: Duration,
    opened: bool,
}

/// The events of this generation; `first` is what it already gave out.
pub(crate) fn stream(
    answer: Answer,
    generation: Generation,
    first: Option<Output>,
    keep_alive_interval: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let writer = Writer {
        answer,
        generation: Some(generation),
        keep_alive_interval,
        opened: false,
    };
    unfold((writer, first), |(mut writer, first)| async move {
        let bytes = writer.next(first).await?;
        Some((Ok(bytes), (writer, None)))
    })
}

impl Writer {
    async fn next(&mut self, first: Option<Output>) -> Option<Bytes> {
        let mut output = first.map(Ok);
        loop {
            let generation = self.generation.as_mut()?;
            let next = match output.take() {
                Some(output) => output,
                None => match tokio::time::timeout(self.keep_alive_interval, generation.next()).await {
                    Ok(next) => next?,
                    Err(_elapsed) => return Some(Bytes::from_static(KEEP_ALIVE)),
                },
            };
            if matches!(next, Ok(Output::Finished(..)) | Err(_)) {
                self.generation = None;
            }
            match next {
                Ok(Output::Started) => {}
                Ok(output) => return Some(self.write(output)),
                Err(refusal) => return Some(error_event(&refusal)),
            }
        }
    }

    fn write(&mut self, output: Output) -> Bytes {
        let mut text = Vec::new();
        if !self.opened {
            self.opened = true;
            text.extend(self.answer.opening_chunk().map(event).unwrap_or_default());
        }
        match output {
            Output::Started => {}
            Output::Text(piece) => text.extend(event(self.answer.text_chunk(&piece))),
            Output::Finished(reason, usage) => {
                text.extend(event(self.answer.finish_chunk(reason)));
                text.extend(self.answer.usage_chunk(usage).map(event).unwrap_or_default());
                text.extend(event(b"[DONE]".to_vec()));
            }
        }
        Bytes::from(text)
    }
}

fn error_event(refusal: &Refusal) -> Bytes {
    Bytes::from(event(refusal.to_json()))
}

/// JSON text holds no line feed, so it is one line of data.
fn event(data: Vec<u8>) -> Vec<u8> {
    [b"data: ", data.as_slice(), b"\n\n"].concat()
}
