//! Calls to an etcd cluster: several members, of which one that answers is kept to.
//!
//! A read is asked again of the next member when one fails. A write is asked again only when it surely was not sent: otherwise it may
//! have been done, and doing it again would answer wrongly.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, Request, Streaming};
use tonic_prost::ProstCodec;

use super::messages::{
    CompactionRequest, CompactionResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};
use super::{Config, Error, Result, Tls, medium};

/// A member that takes longer has failed. etcd's own limit for a proposal is 5 s plus two elections.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A silent member is pinged this often, and given up when it does not answer: a watch would hang on it for ever.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the largest answer: a page of a hundred of the largest objects, and some room.
const MOST_ANSWER_BYTES: usize = 256 << 20;

/// A cluster.
#[derive(Debug)]
pub(super) struct Client {
    members: Vec<(String, Channel)>,
    /// Index of the member that is asked first.
    preferred: AtomicUsize,
}

impl Client {
    /// Prepares connections; they are made when they are needed.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let tls = config.tls.as_ref().map(tls_config);
        let members = config.endpoints.iter().map(|address| {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let unusable = |error: tonic::transport::Error| {
                medium("use an etcd endpoint", format!("{address}: {error:?}"))
            };
            let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
                .map_err(unusable)?
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true);
            if let Some(tls) = &tls {
                endpoint = endpoint.tls_config(tls.clone()).map_err(unusable)?;
            }
            Ok((address.clone(), endpoint.connect_lazy()))
        });
        Ok(Self {
            members: members.collect::<Result<_>>()?,
            preferred: AtomicUsize::new(0),
        })
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        self.call("/etcdserverpb.KV/Range", "read from etcd", &request, true)
            .await
    }

    pub(super) async fn txn(&self, request: &TxnRequest) -> Result<TxnResponse> {
        self.call("/etcdserverpb.KV/Txn", "write to etcd", request, false)
            .await
    }

    /// Compacting twice is compacting once, so it is repeated like a read.
    pub(super) async fn compact(&self, revision: i64) -> Result<CompactionResponse> {
        let request = CompactionRequest { revision };
        self.call("/etcdserverpb.KV/Compact", "compact etcd", &request, true)
            .await
    }

    /// Follows from `start_revision` on, at a member that has a leader; ends when it loses it.
    pub(super) async fn watch(&self, create: WatchCreateRequest) -> Result<Streaming<WatchResponse>> {
        let request = WatchRequest { create: Some(create) };
        let index = self.preferred.load(Ordering::Relaxed);
        let open = async {
            let mut grpc = grpc(self.members[index].1.clone()).await?;
            // The request stream stays open: etcd ends the watch with it.
            let mut request = Request::new(stream::once(async { request }).chain(stream::pending()));
            request
                .metadata_mut()
                .insert("hasleader", MetadataValue::from_static("true"));
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(request, path, ProstCodec::default()).await
        };
        let opened = timeout(CALL_TIMEOUT, open).await;
        match opened.unwrap_or_else(|_| Err(too_slow())) {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => {
                self.prefer_another(index);
                Err(self.failure("watch etcd", index, &status))
            }
        }
    }

    /// Turns away from the member that is asked first.
    pub(super) fn prefer_next(&self) {
        self.prefer_another(self.preferred.load(Ordering::Relaxed));
    }

    fn prefer_another(&self, failed: usize) {
        let next = (failed + 1) % self.members.len();
        // Whoever lost the race has already turned away.
        let _ = self
            .preferred
            .compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn call<Q, A>(
        &self,
        path: &'static str,
        step: &'static str,
        request: &Q,
        repeatable: bool,
    ) -> Result<A>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut tried = 0;
        loop {
            let index = self.preferred.load(Ordering::Relaxed);
            let once = async {
                let mut grpc = grpc(self.members[index].1.clone()).await?;
                let path = PathAndQuery::from_static(path);
                grpc.unary(Request::new(request.clone()), path, ProstCodec::default())
                    .await
            };
            let status = match timeout(CALL_TIMEOUT, once).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => too_slow(),
            };
            tried += 1;
            let of_member = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
            if of_member {
                self.prefer_another(index);
            }
            let not_sent = was_not_sent(&status);
            if of_member && (repeatable || not_sent) && tried < self.members.len() {
                continue;
            }
            if !repeatable && !not_sent && is_uncertain(status.code()) {
                return Err(Error::Uncertain {
                    cause: status.message().into(),
                });
            }
            return Err(self.failure(step, index, &status));
        }
    }

    fn failure(&self, step: &'static str, index: usize, status: &tonic::Status) -> Error {
        let mut cause = format!("{}: {}", self.members[index].0, status.message());
        let mut source = status.source();
        while let Some(error) = source {
            cause = format!("{cause}: {error}");
            source = error.source();
        }
        medium(step, cause)
    }
}

async fn grpc(channel: Channel) -> Result<Grpc<Channel>, tonic::Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MOST_ANSWER_BYTES);
    match grpc.ready().await {
        Ok(()) => Ok(grpc),
        Err(error) => Err(tonic::Status::from_error(Box::new(error))),
    }
}

fn too_slow() -> tonic::Status {
    tonic::Status::deadline_exceeded(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))
}

/// Whether no connection was made, so that nobody can have seen the request.
fn was_not_sent(status: &tonic::Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether a write that ended so may have been done all the same.
fn is_uncertain(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled | Code::Internal
    )
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authority_pem));
    match &tls.client {
        Some(client) => config.identity(Identity::from_pem(&client.certificate_pem, &client.key_pem)),
        None => config,
    }
}
