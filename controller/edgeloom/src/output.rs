//! What goes to standard output: the answer that was asked for. Everything else is a log and goes to standard error.

use std::io::{self, ErrorKind, Write as _};

/// Writes `text`. A reader that has gone away (`edgeloom … | head`) has had enough, which is no error.
///
/// # Errors
///
/// When standard output cannot be written for another reason.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
