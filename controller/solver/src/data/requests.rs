//! Recorded requests: our own form, and the forms in which Azure and Mooncake publish theirs.

use serde::Deserialize;

use super::Error;
use crate::reproductions::trace;
use crate::simulate::{Length, Request};

/// How Azure's traces begin.
const AZURE: &str = "TIMESTAMP,";

/// Reads requests, whose times do not fall: CSV of milliseconds, prompt tokens and output tokens with a header; a trace of
/// Azure's LLM inference (CSV of `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`); or one of Mooncake (JSON lines with
/// `timestamp`, `input_length` and `output_length`; its hashes of prefixes are not used). Times begin with the first request.
///
/// # Errors
/// Names the line that is wrong.
pub fn requests(name: &str, text: &str) -> Result<Vec<Request>, Error> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        timed(name, text, 0, mooncake)
    } else if text.starts_with(AZURE) {
        timed(name, text, 1, azure)
    } else {
        trace::parse(name, text).map_err(|error| Error(error.to_string()))
    }
}

/// Nanoseconds since some moment.
type Moment = i128;

/// Reads a line: when the request came, and the tokens of its prompt and of its answer.
type Read = fn(&str) -> Result<(Moment, [u64; 2]), String>;

fn timed(name: &str, text: &str, header_lines: usize, read: Read) -> Result<Vec<Request>, Error> {
    let mut requests: Vec<Request> = Vec::new();
    let mut span: Option<(Moment, Moment)> = None;
    let lines = text.lines().enumerate().skip(header_lines);
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: String| Error(format!("{name}, line {}: {problem}", number + 1));
        let (moment, [prompt, output]) = read(line).map_err(wrong)?;
        let (first, last) = span.unwrap_or((moment, moment));
        if moment < last {
            return Err(wrong("is earlier than the line before".to_owned()));
        }
        span = Some((first, moment));
        let tokens = |count: u64| {
            let found = u32::try_from(count).ok().filter(|count| *count > 0);
            found.ok_or_else(|| wrong(format!("{count} tokens are not between 1 and 2^32")))
        };
        requests.push(Request {
            arrival: seconds(moment - first),
            length: Length {
                prompt: tokens(prompt)?,
                output: tokens(output)?,
            },
        });
    }
    if requests.is_empty() {
        return Err(Error(format!("{name} has no request")));
    }
    Ok(requests)
}

#[allow(clippy::cast_precision_loss, reason = "seconds of a recording")]
fn seconds(moment: Moment) -> f64 {
    moment as f64 / 1e9
}

/// A line of Mooncake's; times are in milliseconds.
#[derive(Deserialize)]
struct Mooncake {
    timestamp: u64,
    input_length: u64,
    output_length: u64,
}

fn mooncake(line: &str) -> Result<(Moment, [u64; 2]), String> {
    let Mooncake {
        timestamp,
        input_length,
        output_length,
    } = serde_json::from_str(line).map_err(|error| error.to_string())?;
    Ok((i128::from(timestamp) * 1_000_000, [input_length, output_length]))
}

fn azure(line: &str) -> Result<(Moment, [u64; 2]), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [time, prompt, output] = fields[..] else {
        return Err("a line has a time, context tokens and generated tokens".to_owned());
    };
    let moment = moment_of(time)
        .ok_or_else(|| format!("{time:?} is not a time such as 2023-11-16 18:15:46.6805900"))?;
    let whole = |text: &str| {
        text.parse()
            .map_err(|_| format!("{text:?} is not a number of tokens"))
    };
    Ok((moment, [whole(prompt)?, whole(output)?]))
}

/// Of `YYYY-MM-DD hh:mm:ss.f`, in UTC.
fn moment_of(text: &str) -> Option<Moment> {
    let text = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"))
        .unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T'])?;
    let whole = |text: &str| text.parse::<u32>().ok().map(i128::from);
    let mut date = date.split('-').map(whole);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.split(':').map(whole);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let is_fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !in_range || !is_fraction {
        return None;
    }
    let nanoseconds: i128 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000_000_000 + nanoseconds)
}

/// Days since 1 March of the year 0 in the Gregorian calendar: months are counted from March, so that leap days come last.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(f64, u32, u32)> {
        let requests = requests("trace", text).unwrap();
        let told = requests
            .iter()
            .map(|request| (request.arrival, request.length.prompt, request.length.output));
        told.collect()
    }

    #[test]
    fn traces_are_read_as_they_are_published() {
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n\
            2023-11-16 18:15:50.9951690,396,109\r\n2023-11-17 00:00:00.0000000,12,1\r\n";
        let expected = [(0.0, 374, 44), (4.314_579, 396, 109), (20_653.319_41, 12, 1)];
        assert_eq!(read(azure), expected);
        let later = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-28 23:59:59+00:00,1,1\n2024-03-01 00:00:00.5+00:00,2,2\n";
        assert_eq!(read(later), [(0.0, 1, 1), (86_401.5, 2, 2)]);
        let mooncake = "{\"timestamp\": 3000, \"input_length\": 6755, \"output_length\": 500, \"hash_ids\": [0, 1]}\n\
            {\"timestamp\": 3040, \"input_length\": 7, \"output_length\": 3, \"hash_ids\": []}\n";
        assert_eq!(read(mooncake), [(0.0, 6_755, 500), (0.04, 7, 3)]);
        assert_eq!(
            read("ms,prompt,output\n0,3,4\n250,5,6\n"),
            [(0.0, 3, 4), (0.25, 5, 6)]
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n";
        for (text, expected) in [
            (
                format!("{azure}yesterday,1,1"),
                "line 3: \"yesterday\" is not a time",
            ),
            (format!("{azure}2023-13-16 18:15:46,1,1"), "is not a time"),
            (format!("{azure}2023-11-16 18:15:45,1,1"), "line 3: is earlier"),
            (format!("{azure}2023-11-16 18:15:47,0,1"), "line 3: 0 tokens"),
            (
                format!("{azure}2023-11-16 18:15:47,-1,1"),
                "\"-1\" is not a number of tokens",
            ),
            (format!("{azure}2023-11-16 18:15:47,1"), "line 3: a line has"),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned(),
                "no request",
            ),
            (
                "{\"timestamp\": 1}\n".to_owned(),
                "line 1: missing field `input_length`",
            ),
            ("{\"timestamp\": -1}\n".to_owned(), "line 1: invalid value"),
            ("ms,prompt,output\n1,2\n".to_owned(), "trace"),
        ] {
            let error = requests("trace", &text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{expected} in {error}");
        }
    }
}
