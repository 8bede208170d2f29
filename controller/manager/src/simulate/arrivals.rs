//! Who asks what, when.

use crds::llm_service::TokenQuantile;
use kube::ResourceExt as _;
use solver::{
    data,
    random::Random,
    serving::Air,
    simulate::{self, Length},
    units::{BytesPerSecond, Nanos},
};

use super::{
    Error, Scenario, Time,
    fleet::Fleet,
    nanoseconds,
    scenario::{self, Arrivals, Range, Trace},
    ways::{node_of, users_of},
};
use crate::{lengths::of_rank, world::ServiceName};

/// A request that somebody will send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) at: Time,
    /// Position among the world's services.
    pub(super) service: usize,
    pub(super) from: From,
    pub(super) prompt: u32,
    pub(super) output: u32,
    pub(super) air: Air,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A user, wherever it is then.
    User(usize),
    /// Somebody at a node.
    Node(usize),
}

/// Every request, in no order.
pub(super) fn arrivals(scenario: &Scenario, fleet: &Fleet) -> Result<Vec<Planned>, Error> {
    let mut planned = vec![];
    for (index, entry) in scenario.spec.arrivals.iter().enumerate() {
        let field = format!("spec.arrivals[{index}]");
        let mut random = Random::seeded(scenario.spec.seed.wrapping_mul(7_919).wrapping_add(index as u64));
        planned.extend(requests_of(scenario, fleet, entry, &field, &mut random)?);
    }
    Ok(planned)
}

fn requests_of(
    scenario: &Scenario,
    fleet: &Fleet,
    entry: &Arrivals,
    field: &str,
    random: &mut Random,
) -> Result<Vec<Planned>, Error> {
    let service = service_of(fleet, &entry.service, &format!("{field}.service"))?;
    let sources = sources(fleet, service, entry, field)?;
    let total: u64 = sources.iter().map(|(_, weight)| weight).sum();
    let workload = &fleet.world.services[service].spec.workload;
    let typical = |tokens: i32| u32::try_from(tokens).unwrap_or(1);
    let air = entry.air.as_ref().map_or_else(Air::default, air_of);
    let until = entry.until_seconds.unwrap_or(scenario.spec.duration_seconds);
    let until = until.min(scenario.spec.duration_seconds);
    let mut planned = vec![];
    for (time, length) in times(scenario, entry, field, until, random)? {
        // Only where lengths differ, so that other scenarios draw what they always drew.
        let mut spread = |quantiles: &[TokenQuantile]| {
            let differs = !quantiles.is_empty() && length.is_none();
            differs
                .then(|| of_rank(quantiles, random.bits() % 1_000_001))
                .flatten()
        };
        let (prompt, output) = (
            spread(&workload.prompt_token_quantiles),
            spread(&workload.output_token_quantiles),
        );
        let known = length.unwrap_or(Length {
            prompt: prompt.unwrap_or(typical(workload.prompt_tokens)),
            output: output.unwrap_or(typical(workload.output_tokens)),
        });
        let (prompt, output) = (
            draw(entry.prompt_tokens, random),
            draw(entry.output_tokens, random),
        );
        planned.push(Planned {
            at: nanoseconds(time),
            service,
            from: source(&sources, random.bits() % total),
            prompt: prompt.unwrap_or(known.prompt),
            output: output.unwrap_or(known.output),
            air,
        });
    }
    Ok(planned)
}

/// Seconds of each request, with its length where the times come with one.
fn times(
    scenario: &Scenario,
    entry: &Arrivals,
    field: &str,
    until: f64,
    random: &mut Random,
) -> Result<Vec<(f64, Option<Length>)>, Error> {
    let from = entry.from_seconds;
    let lasts = (until - from).max(0.0);
    if let Some(poisson) = entry.poisson {
        let lengths = [Length { prompt: 1, output: 1 }];
        let requests = simulate::poisson(&lengths, poisson.requests_per_second, lasts, random.bits());
        return Ok(requests
            .iter()
            .map(|request| (from + request.arrival, None))
            .collect());
    }
    if let Some(trace) = &entry.trace {
        let recorded = recorded(scenario, trace, &format!("{field}.trace.data"))?;
        let requests = simulate::replay(&recorded, trace.requests_per_second, lasts, random.bits());
        let timed = |request: &simulate::Request| (from + request.arrival, Some(request.length));
        return Ok(requests.iter().map(timed).collect());
    }
    let given = entry.at_seconds.iter().flatten();
    Ok(given
        .filter(|time| (from..until).contains(*time))
        .map(|time| (*time, None))
        .collect())
}

fn recorded(scenario: &Scenario, trace: &Trace, field: &str) -> Result<Vec<simulate::Request>, Error> {
    let found = match trace.data.as_str() {
        "azure-conversation" => Ok(data::azure_conversation()),
        "mooncake" => Ok(data::mooncake()),
        file => {
            let path = scenario.folder.join(file);
            let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
                field: format!("{field}: neither azure-conversation nor mooncake, so a file"),
                path: path.display().to_string(),
                source,
            })?;
            data::requests(file, &text)
        }
    };
    found.map_err(|error| Error::field(field, error.to_string()))
}

fn draw(range: Option<Range>, random: &mut Random) -> Option<u32> {
    match range? {
        Range::Fixed(tokens) => Some(tokens),
        Range::Between([from, to]) => {
            let offset = random.below((to - from) as usize + 1);
            Some(from + u32::try_from(offset).unwrap_or(0))
        }
    }
}

fn air_of(air: &scenario::Air) -> Air {
    let rate = |quantity: &Option<crds::Quantity>| {
        let bits = u64::try_from(quantity.as_ref()?.value()).unwrap_or(0);
        Some(BytesPerSecond(bits / 8))
    };
    Air {
        latency: Nanos::from_micros(air.latency_microseconds),
        up: rate(&air.up_bits_per_second),
        down: rate(&air.down_bits_per_second),
    }
}

fn service_of(fleet: &Fleet, name: &str, field: &str) -> Result<usize, Error> {
    let full = if name.contains('/') {
        name.to_owned()
    } else {
        format!("default/{name}")
    };
    let mut services = fleet.world.services.iter();
    let found = services.position(|service| ServiceName::of(service).to_string() == full);
    found.ok_or_else(|| {
        let names: Vec<_> = fleet
            .world
            .services
            .iter()
            .map(|service| ServiceName::of(service).to_string())
            .collect();
        Error::field(
            field,
            format!("there is no LLMService {name:?}; there are {}", names.join(", ")),
        )
    })
}

/// Who may send, with weights.
fn sources(fleet: &Fleet, service: usize, entry: &Arrivals, field: &str) -> Result<Vec<(From, u64)>, Error> {
    let world = &fleet.world;
    let wanted = &world.services[service];
    let (name, namespace) = (wanted.name_any(), wanted.namespace());
    let demand = |user: &usize| {
        let user = &world.users[*user];
        let mut demands = user.spec.demands.iter();
        let demand = demands.find(|demand| demand.service == name && user.namespace() == namespace)?;
        Some(u64::try_from(demand.requests_per_hour.max(1)).unwrap_or(1))
    };
    let weighed = |user: usize| Some((From::User(user), demand(&user)?));
    if entry.users.is_empty() {
        let users: Vec<_> = (0..world.users.len()).filter_map(weighed).collect();
        if !users.is_empty() {
            return Ok(users);
        }
        let nodes = &wanted.spec.ingress_nodes;
        if nodes.is_empty() {
            let problem = format!(
                "no EdgeUser has a demand for {name}, and its spec.ingressNodes is empty: nobody knows where requests enter"
            );
            return Err(Error::field(field, problem));
        }
        let nodes = nodes.iter().map(|node| {
            let field = format!("LLMService {name}: spec.ingressNodes");
            Ok((From::Node(node_of(fleet, node, &field)?), 1))
        });
        return nodes.collect();
    }
    let users = users_of(fleet, &entry.users, &format!("{field}.users"))?;
    let weighed = users.into_iter().map(|user| {
        weighed(user).ok_or_else(|| {
            let user = world.users[user].name_any();
            Error::field(
                format!("{field}.users"),
                format!("EdgeUser {user} has no demand for {name}"),
            )
        })
    });
    weighed.collect()
}

fn source(sources: &[(From, u64)], mut at: u64) -> From {
    for (from, weight) in sources {
        match at.checked_sub(*weight) {
            Some(rest) => at = rest,
            None => return *from,
        }
    }
    sources.last().map_or(From::Node(0), |(from, _)| *from)
}
