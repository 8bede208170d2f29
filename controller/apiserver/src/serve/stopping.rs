//! The end of a server, in the order in which nothing is lost: readiness fails, load balancers get time to notice, watches end, no
//! connection is accepted any more, requests in flight are answered, the audit log is written out, controllers end, and the directory is
//! let go.

use std::{pin::Pin, thread, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{certificate::Certificates, listener, lock::Lock};
use crate::ApiServer;

/// Time that requests in flight get when the server stops.
const DRAIN: Duration = Duration::from_secs(10);
/// Time that the audit log gets to be written out.
const AUDIT_DEADLINE: Duration = Duration::from_secs(10);

/// What ends with a server.
pub(super) struct Stopping {
    pub(super) server: ApiServer,
    /// Time between the failure of readiness and the end of the listener.
    pub(super) delay: Duration,
    pub(super) audit_thread: Option<thread::JoinHandle<()>>,
    /// Ends when the controllers have.
    pub(super) controllers: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(super) controllers_stop: CancellationToken,
    pub(super) lock: Lock,
}

impl Stopping {
    /// Serves `router` until `stop`, and then ends everything.
    pub(super) async fn serve_until(
        self,
        stop: CancellationToken,
        listener: TcpListener,
        certificates: Certificates,
        router: Router,
    ) {
        let tls = certificates.tls();
        let closing = CancellationToken::new();
        let keeping = tokio::spawn(certificates.keep(closing.clone()));
        let announcing = async {
            stop.cancelled().await;
            self.server.announce_shutdown();
            tokio::time::sleep(self.delay).await;
            self.server.shut_down();
            closing.cancel();
        };
        tokio::join!(
            announcing,
            listener::serve(listener, tls, router, closing.clone(), DRAIN)
        );
        if let Some(thread) = self.audit_thread {
            let joined = tokio::task::spawn_blocking(|| thread.join());
            if timeout(AUDIT_DEADLINE, joined).await.is_err() {
                tracing::error!("the audit log could not be written out in time");
            }
        }
        self.controllers_stop.cancel();
        self.controllers.await;
        // A panic of the task has been reported by then.
        let _ = keeping.await;
        // Last of all: the next server finds a store that nobody writes to.
        drop(self.server);
        drop(self.lock);
    }
}
