//! A client of a router that times what it streams: a plain socket, so that nothing of a client library is in the figures.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The longest time that a request may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a client sees of a request.
pub struct Seen {
    /// From the request to the first text, in milliseconds.
    pub first_ms: f64,
    /// Between two tokens, in milliseconds; 0 for a single one.
    pub each_ms: f64,
}

/// Sends the service `assistant` a prompt of so many tokens, asks for an answer of so many, and reads the stream.
///
/// # Errors
///
/// What the router says, or that it streamed another number of tokens.
pub fn ask(router: &str, prompt_tokens: u32, answer_tokens: u32) -> Result<Seen> {
    let prompt = " the".repeat(prompt_tokens as usize);
    let body = json!({
        "model": "assistant", "prompt": prompt, "max_tokens": answer_tokens, "temperature": 0,
        "stream": true, "stream_options": { "include_usage": true },
    })
    .to_string();
    let began = Instant::now();
    let stream = request(
        router,
        &format!(
            "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        ),
        &body,
    )?;
    let (mut texts, mut usage, mut other) = (vec![], (None, None), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let Some(event) = line.strip_prefix("data: ").filter(|event| *event != "[DONE]") else {
            other.push_str(&line);
            continue;
        };
        let event: Value = serde_json::from_str(event).with_context(|| format!("no JSON: {event}"))?;
        if event["choices"][0]["text"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
        {
            texts.push(began.elapsed());
        }
        if event["usage"].is_object() {
            let tokens = |of: &str| event["usage"][of].as_u64();
            usage = (tokens("prompt_tokens"), tokens("completion_tokens"));
        }
    }
    let (Some(first), Some(last)) = (texts.first(), texts.last()) else {
        bail!("no text was streamed: {other}");
    };
    if usage != (Some(prompt_tokens.into()), Some(answer_tokens.into())) {
        bail!("the prompt and the answer have {usage:?} tokens");
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok(Seen {
        first_ms: milliseconds(*first),
        each_ms: milliseconds(*last - *first) / f64::from(answer_tokens.max(2) - 1),
    })
}

/// The sum of a metric's series over what a router exports; `name` is the whole name, without labels.
///
/// # Errors
///
/// When the router does not answer.
pub fn metric(router: &str, name: &str) -> Result<f64> {
    let mut text = String::new();
    request(router, "GET /metrics HTTP/1.1", "")?.read_to_string(&mut text)?;
    let of_name = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values = of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

fn request(router: &str, head: &str, body: &str) -> Result<TcpStream> {
    let address = router.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).with_context(|| format!("no router at {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n{body}").as_bytes())?;
    Ok(stream)
}

/// The middle one of some values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
