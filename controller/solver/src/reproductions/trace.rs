//! Requests of Azure's conversations, built in. Origin and licence: `data/README.md`.

use super::helix::{Error, files};
use crate::simulate::{Length, Request};

const CONVERSATION: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/data/azure/conversation.csv"
));

/// Every fourth request of an hour, with its time.
///
/// # Panics
/// Never: a test reads the built-in file.
#[must_use]
pub fn conversation() -> Vec<Request> {
    parse("conversation.csv", CONVERSATION).expect("the built-in trace is whole, which a test shows")
}

/// Reads a trace: a header, then lines of milliseconds that do not fall, prompt tokens and output tokens above 0.
///
/// # Errors
/// Names the line that is wrong.
pub fn parse(place: &str, text: &str) -> Result<Vec<Request>, Error> {
    let mut requests: Vec<Request> = Vec::new();
    for (at, fields) in files::lines(place, text, 3)?.into_iter().skip(1) {
        let arrival = files::number(&at, fields[0])? / 1_000.0;
        let tokens = |text| {
            let tokens = files::whole(&at, text)?;
            let found = u32::try_from(tokens).ok().filter(|tokens| *tokens > 0);
            found.ok_or_else(|| Error::new(at.clone(), format!("{tokens} tokens are not between 1 and 2^32")))
        };
        let length = Length {
            prompt: tokens(fields[1])?,
            output: tokens(fields[2])?,
        };
        if requests.last().is_some_and(|last| arrival < last.arrival) {
            return Err(Error::new(at, "is earlier than the line before"));
        }
        requests.push(Request { arrival, length });
    }
    if requests.is_empty() {
        Err(Error::new(place, "has no line after its header"))
    } else {
        Ok(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_trace_has_the_means_of_the_whole() {
        let trace = conversation();
        let mean = |of: fn(&Request) -> u32| {
            trace.iter().map(|request| f64::from(of(request))).sum::<f64>() / trace.len() as f64
        };
        // Of all requests of these lengths: 763.1 and 232.4.
        assert!((mean(|request| request.length.prompt) - 763.1).abs() < 15.0);
        assert!((mean(|request| request.length.output) - 232.4).abs() < 5.0);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (lines, expected) in [
            ("", "no line"),
            ("5,1,0\n", "0 tokens"),
            ("5,1,1\n4,1,1\n", "line 3: is earlier"),
        ] {
            let error = parse("t.csv", &format!("milliseconds,prompt,output\n{lines}"))
                .expect_err(lines)
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
