//! An agent's certificate is renewed while the agent runs: when a third of its time is left, the agent asks for the next one with the one
//! that it has, and goes on with that. Nothing is started anew; a connection that is open stays until it ends by itself.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{connect, join};

/// The longest pause between two looks at the certificate: clocks are set, and files are put back.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// The pause after the first failure; it doubles with each one that follows.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest pause after a failure: of the third of a year that is left, nothing.
const RETRY_MAX: Duration = Duration::from_secs(900);

/// When a certificate begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Validity {
    /// When the next one is asked for: a third of the time before the end.
    fn due(self) -> Timestamp {
        let seconds = self.until.as_second().saturating_sub(self.from.as_second());
        let early = Duration::from_secs(seconds.max(0).unsigned_abs() / 3);
        self.until.checked_sub(early).unwrap_or(self.from)
    }
}

/// An agent's certificate, kept good.
pub(crate) struct Renewal {
    node: String,
    kubeconfig: PathBuf,
    /// With it the agent joins anew when its own certificate has ended.
    bootstrap: PathBuf,
    client: watch::Sender<Client>,
    metrics: Metrics,
}

struct Metrics {
    expiration: IntGauge,
    failures: IntCounter,
}

impl Renewal {
    /// The agent of `node` has this kubeconfig of its own, and got it with `bootstrap`. Gives back a client, too, which goes by whatever
    /// certificate is the newest.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used, or the registry has such metrics already.
    pub(crate) async fn begin(
        node: &str,
        kubeconfig: &Path,
        bootstrap: &Path,
        registry: &Registry,
    ) -> anyhow::Result<(Self, Client)> {
        let (sender, receiver) = watch::channel(connect::client_of(kubeconfig, None).await?);
        let renewal = Self {
            node: node.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            bootstrap: bootstrap.to_owned(),
            client: sender,
            metrics: Metrics::register(registry)?,
        };
        Ok((renewal, following(receiver)))
    }

    /// Renews for ever.
    pub(crate) async fn keep(self) {
        let mut failures = 0;
        loop {
            let pause = match self.validity() {
                Some(validity) if validity.due() <= Timestamp::now() => match self.renew(validity).await {
                    Ok(()) => {
                        failures = 0;
                        info!(node = self.node, "the agent's certificate is renewed");
                        LOOK_EVERY.min(self.validity().map_or(LOOK_EVERY, time_to_due))
                    }
                    Err(error) => {
                        self.failed(validity, &error);
                        failures += 1;
                        retry_after(failures)
                    }
                },
                Some(validity) => time_to_due(validity),
                // Somebody has taken the file away: what is in memory goes on.
                None => LOOK_EVERY,
            };
            // Agents that started together do not ask together. Never at once: a certificate may be due as soon as it is made.
            let share = rand::random_range(0.75..1.0);
            tokio::time::sleep(pause.mul_f64(share).max(RETRY_FIRST / 2)).await;
        }
    }

    /// The validity of the certificate that is kept.
    fn validity(&self) -> Option<Validity> {
        let validity = join::validity(&self.kubeconfig)?;
        self.metrics.expiration.set(validity.until.as_second());
        Some(validity)
    }

    async fn renew(&self, validity: Validity) -> anyhow::Result<()> {
        let has_ended = validity.until <= Timestamp::now();
        let with = if has_ended {
            &self.bootstrap
        } else {
            &self.kubeconfig
        };
        join::renew(&self.node, with, &self.kubeconfig).await?;
        let client = connect::client_of(&self.kubeconfig, None).await;
        self.client
            .send_replace(client.context("the renewed kubeconfig cannot be used")?);
        Ok(())
    }

    fn failed(&self, validity: Validity, error: &anyhow::Error) {
        self.metrics.failures.inc();
        let error = crds::with_causes(error.as_ref());
        let (node, ends) = (&self.node, validity.until);
        warn!(node, %ends, error, "the agent's certificate cannot be renewed yet");
    }
}

impl Metrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let expiration = IntGauge::new(
            "edgeloom_certificate_expiration_timestamp_seconds",
            "When the certificate ends by which the API server knows the agent.",
        )?;
        let failures = IntCounter::new(
            "edgeloom_certificate_renewal_failures_total",
            "Attempts to renew the agent's certificate that failed.",
        )?;
        registry.register(Box::new(expiration.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { expiration, failures })
    }
}

/// The time until the certificate is due, at most [`LOOK_EVERY`].
fn time_to_due(validity: Validity) -> Duration {
    let left = validity.due().duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().min(LOOK_EVERY)
}

/// The pause after so many failures, one after the other.
fn retry_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    RETRY_FIRST.saturating_mul(doubled).min(RETRY_MAX)
}

/// A client that sends each request through whichever client is the newest.
fn following(newest: watch::Receiver<Client>) -> Client {
    let namespace = newest.borrow().default_namespace().to_owned();
    let service = tower::service_fn(move |request| {
        let client = newest.borrow().clone();
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, client::Body};

    use super::*;

    /// A server that knows one ConfigMap, of this name whatever is asked.
    fn server(name: &'static str) -> Client {
        let answer = move |_: Request<Body>| async move {
            let map =
                serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            Ok::<_, Infallible>(Response::new(Body::from(map.to_string().into_bytes())))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn a_client_goes_by_the_newest_certificate() {
        let (sender, receiver) = watch::channel(server("old"));
        let maps: Api<ConfigMap> = Api::default_namespaced(following(receiver));
        let name = async || maps.get("any").await.unwrap().metadata.name;
        assert_eq!(name().await.as_deref(), Some("old"));
        sender.send_replace(server("new"));
        assert_eq!(name().await.as_deref(), Some("new"));
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let validity = Validity {
            from: at(1000),
            until: at(1900),
        };
        assert_eq!(validity.due(), at(1600));
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let pauses = [1, 2, 3, 10, 1000].map(|failures| retry_after(failures).as_secs());
        assert_eq!(pauses, [2, 4, 8, 900, 900]);
    }
}
