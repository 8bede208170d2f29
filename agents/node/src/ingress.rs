//! The router's backend: services, keys and targets as the RouteTable names them. A request whose head is another node
//! is passed on to it; this node then sees text, and holds no cells.

mod reroute;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use crds::{
    api_key::keyed_hash,
    llm_service::{Access, ServiceLevel},
    route_table::{IngressRule, IngressTarget},
};
use futures::stream;
use router::{
    AllowedServices, AuthError, Backend, Caller, EventStream, Objective, Readiness, Reason, ServiceInfo,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use transport::SessionId;

use self::reroute::Rerouting;
use crate::{
    agent::Core,
    routes::Routes,
    session::{self, head::Order, wire::Limits},
};

/// The pseudonym of whoever needs no key.
const ANONYMOUS: &str = "anonymous";

/// See [`Backend`].
#[derive(Clone, Debug)]
pub(crate) struct Ingress {
    core: Arc<Core>,
}

impl Ingress {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[async_trait]
impl Backend for Ingress {
    fn services(&self) -> Vec<ServiceInfo> {
        let routes = self.core.routes.load();
        let info = |rule: &IngressRule| ServiceInfo {
            name: rule.served_name.clone(),
            created: routes.created,
            owned_by: namespace_of(&rule.service).to_owned(),
            context_tokens: u32::try_from(rule.context_tokens).ok(),
            label: rule.service.clone(),
            objective: objective(&rule.slo),
        };
        routes.ingress().iter().map(info).collect()
    }

    fn authenticate(&self, presented_key: Option<&str>) -> Result<Caller, AuthError> {
        let routes = self.core.routes.load();
        let Some(spec) = routes.spec() else {
            return Err(AuthError::NotReady {
                reason: "this node has no RouteTable yet".to_owned(),
            });
        };
        let hash = presented_key.map(|key| keyed_hash(&spec.key_salt, key));
        caller(&spec.ingress, &spec.keys, hash.as_deref())
    }

    async fn generate(&self, request: router::Request) -> Result<EventStream, router::Error> {
        let request = Rerouting::begin(self.clone(), request).await?;
        Ok(Box::pin(request.answers()))
    }

    fn ready(&self) -> Readiness {
        if self.core.routes.load().spec().is_some() {
            return Readiness::Ready;
        }
        Readiness::NotReady(vec![Reason {
            name: "NoRouteTable".to_owned(),
            message: "The control plane has not sent this node its RouteTable yet.".to_owned(),
        }])
    }
}

impl Ingress {
    /// Sends a request where the table says.
    async fn send(&self, routes: &Routes, request: &router::Request) -> Result<EventStream, router::Error> {
        let (order, head) = order(routes, request)?;
        if head == self.core.node {
            let answers = session::drive(&self.core, order, request.cancellation.clone()).await;
            return Ok(Box::pin(ReceiverStream::new(answers)));
        }
        let request_id = request.request_id.clone();
        let channel = session::pass_on(&self.core, &head, &order, request_id).await?;
        let relay = Relay {
            channel,
            head,
            deadline: order.deadline,
            cancellation: request.cancellation.clone(),
        };
        Ok(Box::pin(stream::unfold(Some(relay), Relay::next)))
    }
}

/// Where a request goes, and with which limits.
fn order(routes: &Routes, request: &router::Request) -> Result<(Order, String), router::Error> {
    let mut rules = routes.ingress().iter();
    let rule = rules
        .find(|rule| rule.served_name == request.service)
        .ok_or_else(|| router::Error::UnknownService {
            service: request.service.clone(),
        })?;
    let target = pick(&rule.targets, rand::random()).ok_or_else(|| router::Error::Unavailable {
        reason: rule
            .unavailable
            .clone()
            .unwrap_or_else(|| "no pipeline serves it now".to_owned()),
    })?;
    let order = Order {
        session: SessionId::random(),
        traceparent: request.traceparent.clone(),
        service: rule.service.clone(),
        pipeline: target.pipeline.clone(),
        revision: target.revision.unsigned_abs(),
        prompt: request.prompt.clone(),
        sampling: request.sampling,
        max_tokens: request.max_tokens,
        limits: Limits {
            context_tokens: rule.context_tokens.unsigned_abs(),
            output_tokens_max: rule.output_tokens_max.unsigned_abs(),
        },
        deadline: request.deadline,
    };
    tracing::debug!(
        request_id = request.request_id,
        session = %order.session,
        pipeline = order.pipeline,
        head = target.head,
        "session begins"
    );
    Ok((order, target.head.clone()))
}

/// A session that another node heads. Dropping it cancels the session there.
struct Relay {
    channel: transport::Channel,
    head: String,
    deadline: Instant,
    cancellation: CancellationToken,
}

impl Relay {
    async fn next(relay: Option<Self>) -> Option<(session::wire::Answer, Option<Self>)> {
        let mut relay = relay?;
        let answer = tokio::select! {
            biased;
            () = relay.cancellation.cancelled() => return None,
            answer = session::next_answer(&mut relay.channel, &relay.head, relay.deadline) => answer,
        };
        let goes_on = matches!(
            answer,
            Ok(router::Event::Started { .. } | router::Event::Text { .. })
        );
        Some((answer, goes_on.then_some(relay)))
    }
}

fn objective(slo: &ServiceLevel) -> Objective {
    let milliseconds = |limit: Option<i32>| Some(Duration::from_millis(u64::from(limit?.unsigned_abs())));
    Objective {
        time_to_first_token: milliseconds(slo.time_to_first_token_milliseconds),
        time_per_output_token: milliseconds(slo.time_per_output_token_milliseconds),
    }
}

/// Who presents a key with this keyed hash, and what they may use.
///
/// Services that anyone may use are open to all. A key that nobody has is refused as soon as there is a service that
/// needs one, since the caller meant to be somebody; where no service needs a key, any key will do.
fn caller(
    rules: &[IngressRule],
    keys: &[crds::route_table::ApiKey],
    hash: Option<&str>,
) -> Result<Caller, AuthError> {
    let served = |wanted: &dyn Fn(&IngressRule) -> bool| -> BTreeSet<String> {
        let wanted = rules.iter().filter(|rule| wanted(rule));
        wanted.map(|rule| rule.served_name.clone()).collect()
    };
    let open = served(&|rule| rule.access == Access::Anonymous);
    let all_open = open.len() == rules.len();
    let Some(hash) = hash else {
        if open.is_empty() {
            return Err(AuthError::MissingKey);
        }
        return Ok(Caller {
            user: ANONYMOUS.to_owned(),
            services: AllowedServices::Only(open),
        });
    };
    // The hashes are of keys with much randomness, so nothing is learnt from how long a comparison takes.
    match keys.iter().find(|key| key.hash == hash) {
        Some(key) => Ok(Caller {
            user: key.user.clone(),
            services: AllowedServices::Only(served(&|rule| {
                rule.access == Access::Anonymous || key.services.contains(&rule.service)
            })),
        }),
        None if all_open && !open.is_empty() => Ok(Caller {
            user: ANONYMOUS.to_owned(),
            services: AllowedServices::Only(open),
        }),
        None => Err(AuthError::UnknownKey),
    }
}

/// A target by its weight; `random` is uniform.
fn pick(targets: &[IngressTarget], random: u32) -> Option<&IngressTarget> {
    let weight = |target: &IngressTarget| u64::from(target.weight.max(0).unsigned_abs());
    let total: u64 = targets.iter().map(weight).sum();
    if total == 0 {
        return targets.first();
    }
    let mut point = (u64::from(random) * total) >> 32;
    targets.iter().find(|target| {
        let within = point < weight(target);
        point = point.saturating_sub(weight(target));
        within
    })
}

fn namespace_of(service: &str) -> &str {
    service
        .split_once('/')
        .map_or(service, |(namespace, _)| namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, access: Access) -> IngressRule {
        IngressRule {
            service: format!("default/{name}"),
            served_name: name.to_owned(),
            access,
            ..IngressRule::default()
        }
    }

    fn key(hash: &str, services: &[&str]) -> crds::route_table::ApiKey {
        crds::route_table::ApiKey {
            hash: hash.to_owned(),
            user: format!("user-{hash}"),
            services: services.iter().map(|service| (*service).to_owned()).collect(),
        }
    }

    fn allowed(caller: Result<Caller, AuthError>, service: &str) -> bool {
        caller.unwrap().services.contains(service)
    }

    #[test]
    fn a_key_opens_the_services_of_its_user_and_those_that_are_open_to_all() {
        let rules = [
            rule("open", Access::Anonymous),
            rule("mine", Access::ApiKey),
            rule("theirs", Access::ApiKey),
        ];
        let keys = [key("h", &["default/mine"])];
        for (service, expected) in [("open", true), ("mine", true), ("theirs", false)] {
            assert_eq!(allowed(caller(&rules, &keys, Some("h")), service), expected);
        }
        assert!(allowed(caller(&rules, &keys, None), "open"));
        assert!(!allowed(caller(&rules, &keys, None), "mine"));
        assert_eq!(caller(&rules, &keys, Some("other")), Err(AuthError::UnknownKey));
    }

    #[test]
    fn without_an_open_service_a_key_is_needed_and_without_a_keyed_one_any_will_do() {
        let keyed = [rule("mine", Access::ApiKey)];
        assert_eq!(caller(&keyed, &[], None), Err(AuthError::MissingKey));
        assert_eq!(caller(&[], &[], Some("x")), Err(AuthError::UnknownKey));
        let open = [rule("open", Access::Anonymous)];
        assert!(allowed(caller(&open, &[], Some("whatever")), "open"));
    }

    #[test]
    fn targets_are_picked_in_proportion_to_their_weights() {
        let target = |pipeline: &str, weight| IngressTarget {
            pipeline: pipeline.to_owned(),
            weight,
            ..IngressTarget::default()
        };
        let targets = [target("a", 1), target("none", 0), target("b", 3)];
        let picked = |random| pick(&targets, random).unwrap().pipeline.as_str();
        assert_eq!(
            [
                picked(0),
                picked(u32::MAX / 4 - 1),
                picked(u32::MAX / 4 + 1),
                picked(u32::MAX)
            ],
            ["a", "a", "b", "b"]
        );
        assert!(pick(&[], 5).is_none());
        assert_eq!(pick(&[target("only", 0)], 5).unwrap().pipeline, "only");
    }
}
