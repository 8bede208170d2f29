//! What a server does by itself, once it runs: serve what definitions declare, collect garbage, fill and empty namespaces, forget
//! old Events, know what roles and policies say, and make what every server has.
//!
//! Each is a loop over the store's history; none holds state that a restart would lose.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{ApiServer, Status, admission, auth::rbac, definitions, expiry, garbage, namespace};

/// Pause before a loop begins anew after a failure of the store.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Makes the namespaces that every server has, and starts the loops, which run until `stop`. The future ends when they have.
///
/// # Errors
/// When a namespace cannot be made.
pub async fn start(
    server: &ApiServer,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, Status> {
    definitions::load(server).await?;
    namespace::make_initial(server).await?;
    namespace::content::make_initial(server).await?;
    rbac::make_defaults(server).await?;
    admission::load(server).await?;
    let loops = [
        tokio::spawn(until(
            stop.clone(),
            "definitions",
            server.clone(),
            |server| async move { definitions::run(&server).await },
        )),
        tokio::spawn(until(
            stop.clone(),
            "garbage",
            server.clone(),
            |server| async move { garbage::run(&server).await },
        )),
        tokio::spawn(until(
            stop.clone(),
            "namespaces",
            server.clone(),
            |server| async move { namespace::run(&server).await },
        )),
        tokio::spawn(until(
            stop.clone(),
            "content",
            server.clone(),
            |server| async move { namespace::content::run(&server).await },
        )),
        tokio::spawn(until(
            stop.clone(),
            "access",
            server.clone(),
            |server| async move { rbac::run(&server).await },
        )),
        tokio::spawn(until(
            stop.clone(),
            "admission",
            server.clone(),
            |server| async move { admission::run(&server).await },
        )),
        tokio::spawn(until(stop, "expiry", server.clone(), |server| async move {
            expiry::run(&server).await
        })),
    ];
    Ok(async move {
        for one in loops {
            // A panic has been reported by its task; the others still have to end.
            let _ = one.await;
        }
    })
}

/// Runs a loop until `stop`, and again when it fails.
pub(crate) async fn until<F>(
    stop: CancellationToken,
    name: &'static str,
    server: ApiServer,
    run: impl Fn(ApiServer) -> F + Send,
) where
    F: Future<Output = Result<(), Status>> + Send,
{
    let forever = async {
        loop {
            if let Err(error) = run(server.clone()).await {
                tracing::warn!(controller = name, %error, "begins anew after a failure");
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    };
    tokio::select! { () = forever => {} () = stop.cancelled() => {} }
}
