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
}
