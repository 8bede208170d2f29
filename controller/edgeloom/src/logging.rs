//! Logs: events to standard error, as text or JSON, filtered by `RUST_LOG`.

use std::io;

use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// The value of `--log-format` that means this.
    pub(crate) fn as_argument(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Sends events to standard error from now on. `default_filter` holds where `RUST_LOG` is not set.
pub(crate) fn begin(format: Format, default_filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        Format::Text => lines.with_ansi(false).init(),
        Format::Json => lines.json().init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = told(panic.payload());
        tracing::error!(place, message, "a thread has panicked");
    }));
}

/// What is told of a panic: a message of the source code, and none that was put together from values, since those may be
/// parts of a prompt.
fn told(payload: &dyn std::any::Any) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(its message holds values, and is not told)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_tells_what_the_source_says_and_no_values() {
        let payload_of = |panics: fn(&str)| std::panic::catch_unwind(|| panics("a é prompt")).unwrap_err();
        let plain = payload_of(|_| panic!("the queue is closed"));
        assert_eq!(told(&*plain), "the queue is closed");
        let quoting = payload_of(|prompt| assert!(prompt[..3].is_empty()));
        assert!(!told(&*quoting).contains("prompt"));
    }
}
