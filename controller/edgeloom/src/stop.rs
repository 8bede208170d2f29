//! When a program ends: at SIGINT or SIGTERM, and, if somebody supervises it, when its lifeline breaks.
//!
//! The lifeline is the standard input that `edgeloom up` gives its children. The supervisor closes it to end a child
//! cleanly, and the system closes it when the supervisor dies in whatever way: no child outlives it. (Linux's parent
//! death signal would be no substitute: it follows the thread that started the child, and exists nowhere else.)

use std::{io::Read as _, process, thread, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Time between a broken lifeline and the end of a program that does not end by itself.
const GRACE: Duration = Duration::from_secs(30);

/// A token that is cancelled when the program is to end. Must be called inside a runtime.
///
/// # Errors
///
/// When the system refuses a signal handler.
pub(crate) fn token(lifeline: bool) -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let by_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        info!("asked to stop");
        by_signal.cancel();
    });
    if lifeline {
        let by_lifeline = stop.clone();
        thread::spawn(move || {
            wait_for_the_end_of_standard_input();
            info!("the supervisor asks to stop, or is gone");
            by_lifeline.cancel();
            thread::sleep(GRACE);
            error!("did not stop in time; ends at once");
            process::exit(1);
        });
    }
    Ok(stop)
}

fn wait_for_the_end_of_standard_input() {
    let mut ignored = [0_u8; 64];
    let mut input = std::io::stdin().lock();
    while matches!(input.read(&mut ignored), Ok(1..)) {}
}
