//! Columns of several stages: pipelines of other services whose weights can be shared (`trial`), pipelines that are put together
//! quickly (`assembly`), and in small fleets those of the exact search for one pipeline, with the dual's prices on what each
//! node has.

use super::assembly::{assemble, likely, stages_max};
use super::dual::Dual;
use super::figures::figures;
use super::floor::{Floor, NodePrices};
use super::improve::{Improver, serve};
use super::index::{Index, cost_model};
use super::state::State;
use super::trial::{Tried, copies};
use crate::caching::pack::as_f64;
use crate::cost::MemoryModel;
use crate::problem::{ExcludedNode, Exclusion, Ingress, Mode, Service};
use crate::search::Meter;
use crate::search::residual::Residual;
use crate::search::survey::Survey;
use crate::solution::PipelineShape;
use crate::units::{Bytes, Nanos, NodeOrd};

/// Replicas that are looked for at most, for each service and round.
const REPLICAS_MAX: usize = 16;

/// Steps for one search: enough for a good pipeline, which is all that is asked of it here.
const SEARCH_STEPS: u64 = 4_000_000;

/// Places where requests enter for which a replica is looked for.
const INGRESSES_MAX: usize = 2;

/// Pipelines of one search that are tried.
const TRIED_MAX: usize = 6;

/// Nodes up to which the exact search for one pipeline is worth its time; others are assembled.
const SEARCHED_MAX: usize = 128;

/// Steps for a replica that is tried.
const TRY_STEPS: u64 = 4_000;

/// What waits is looked at if it is worth more than such a part of all that is asked.
const WORTH_PART: i128 = 5_000;

/// So many nodes are few, and so is a tenth of all.
const FEW: usize = 16;

/// Services that split replicas are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that few nodes answer alone.
    Large,
    All,
}

/// Looks for split replicas of services with requests that nobody answers, those first that ask most; adds what makes the
/// plan worth more.
pub(super) fn add_splits(
    index: &mut Index,
    state: &mut State,
    dual: &Dual,
    which: Which,
    improver: &mut Improver,
    meter: &mut Meter<'_>,
) {
    let mut num_whole = vec![0; index.problem.fleet.services.len()];
    let whole = index.items.iter().filter(|item| item.figures.parts.len() == 1);
    for item in whole.filter(|item| !item.pairs.is_empty()) {
        num_whole[item.service as usize] += 1;
    }
    let few = FEW.max(index.shelves.len() / 10);
    let least = index.problem.demanded() / WORTH_PART;
    let mut waiting: Vec<(i128, usize)> = Vec::new();
    for (position, floor) in dual.floors().iter().enumerate() {
        if which == Which::Large && num_whole[floor.service as usize] > few {
            continue;
        }
        let worth = waiting_worth(index, state, floor);
        if worth > least {
            waiting.push((-worth, position));
        }
    }
    waiting.sort_unstable();
    for (_, position) in waiting {
        for _ in 0..REPLICAS_MAX {
            if !meter.spend(0) || !add_split(index, state, dual, position, improver, meter) {
                break;
            }
        }
    }
}

fn waiting_worth(index: &Index, state: &State, floor: &Floor) -> i128 {
    let classes = floor.classes().iter();
    classes
        .map(|(class, _)| {
            i128::from(state.unserved[*class as usize]) * i128::from(index.class(*class).value.0)
        })
        .sum()
}

/// Adds the replica that gains most; `false` where none is worth it.
fn add_split(
    index: &mut Index,
    state: &mut State,
    dual: &Dual,
    position: usize,
    improver: &mut Improver,
    meter: &mut Meter<'_>,
) -> bool {
    let floor = &dual.floors()[position];
    state.grow(index);
    let mut tried = Tried::default();
    let mut offer = |index: &mut Index, state: &mut State, shapes: Vec<PipelineShape>, tried: &mut Tried| {
        for shape in shapes {
            if let Some(item) = known_or_new(index, state, floor.service, &shape) {
                tried.add(index, state, improver, item);
            }
        }
    };
    let copied = copies(index, state, floor);
    offer(index, state, copied, &mut tried);
    for in_time in [true, false] {
        let is_enough = if in_time {
            tried.is_full
        } else {
            tried.best.is_some()
        };
        if is_enough {
            break;
        }
        let rooms = rooms(index, state, floor, in_time);
        let mut shapes = assemble(index, floor, node_prices(dual), &rooms);
        if rooms.len() <= SEARCHED_MAX {
            for ingress in waiting_at(index, state, floor) {
                let mut searching = meter.at_most(SEARCH_STEPS);
                shapes.extend(propose(
                    index,
                    state,
                    dual,
                    floor,
                    &rooms,
                    ingress,
                    &mut searching,
                ));
                meter.absorb(&searching);
            }
        }
        offer(index, state, shapes, &mut tried);
    }
    meter.spend(TRY_STEPS * (tried.num + 1));
    let Some((_, item)) = tried.best else { return false };
    state.place(index, item);
    improver.fill(index, state, &[item]);
    true
}

/// Where requests of a service enter that nobody answers, those first that are worth most.
fn waiting_at(index: &Index, state: &State, floor: &Floor) -> Vec<NodeOrd> {
    let mut waiting: Vec<(i128, NodeOrd)> = Vec::new();
    for &(class, _) in floor.classes() {
        let asked = index.class(class);
        let worth = i128::from(state.unserved[class as usize]) * i128::from(asked.value.0);
        match waiting.iter_mut().find(|(_, ingress)| *ingress == asked.ingress) {
            Some(known) => known.0 -= worth,
            None => waiting.push((-worth, asked.ingress)),
        }
    }
    waiting.retain(|(worth, _)| *worth < 0);
    waiting.sort_unstable();
    waiting
        .into_iter()
        .take(INGRESSES_MAX)
        .map(|(_, ingress)| ingress)
        .collect()
}

/// The item of a shape.
fn known_or_new(index: &mut Index, state: &mut State, service: u32, shape: &PipelineShape) -> Option<u32> {
    state.grow(index);
    let is_it = |ordinal: &u32| {
        let item = &index.items[*ordinal as usize];
        item.service == service && item.shape == *shape
    };
    let known = index.splits().find(is_it);
    if known.is_some() {
        return known;
    }
    let asked = Service {
        ingress: Vec::new(),
        ..index.service(service).clone()
    };
    let (model, variant) = index.problem.fleet.variant(shape.candidate);
    let memory = MemoryModel::new(&asked, model, variant);
    let cost = cost_model(&index.problem.fleet, &index.links, &asked, shape.candidate);
    let figures = figures(&index.problem, &asked, &cost, &memory, shape)?;
    let ordinal = index.add_split(service, shape.clone(), figures)?;
    state.grow(index);
    Some(ordinal)
}

/// Pipelines of several stages that fit beside the plan, the cheapest at the dual's prices first.
fn propose(
    index: &Index,
    state: &State,
    dual: &Dual,
    floor: &Floor,
    rooms: &[u64],
    ingress: NodeOrd,
    meter: &mut Meter<'_>,
) -> Vec<PipelineShape> {
    let fleet = &index.problem.fleet;
    let asked = index.service(floor.service);
    let mut service = Service {
        candidates: vec![floor.candidate],
        ingress: vec![Ingress {
            node: ingress,
            weight: 1,
        }],
        previous: None,
        kept: Vec::new(),
        ..asked.clone()
    };
    service
        .modes
        .retain(|mode| matches!(mode, Mode::Split | Mode::MultiHop));
    let prices = node_prices(dual);
    let mut near = vec![false; rooms.len()];
    for one in likely(floor, prices, rooms, stages_max(asked)) {
        near[one.node as usize] = true;
    }
    for (node, _) in near.iter().enumerate().filter(|(_, near)| !**near) {
        service.excluded.push(ExcludedNode {
            node: NodeOrd::from_index(node),
            why: Exclusion::NotSelected,
        });
    }
    let residual = residual(index, state, rooms);
    let mut survey = Survey::new(fleet, &index.links, &service, &residual);
    let charges = floor.charges(prices, fleet.nodes.len());
    survey
        .costs
        .iter_mut()
        .for_each(|cost| cost.charge(charges.clone()));
    let finds = survey.search(meter);
    let mut found = finds.split;
    found.sort_by(|one, other| one.value.cmp(&other.value).then(one.shape.cmp(&other.shape)));
    found.dedup_by(|one, other| one.shape == other.shape);
    found
        .into_iter()
        .map(|priced| priced.shape)
        .take(TRIED_MAX)
        .collect()
}

fn node_prices(dual: &Dual) -> NodePrices<'_> {
    NodePrices {
        busy: &dual.best.busy,
        memory: &dual.densities,
    }
}

/// Room for a new replica of a service on each node: none beside another replica of it, and perhaps no more than the layers that
/// the node still has time for at a fair rate.
fn rooms(index: &Index, state: &State, floor: &Floor, in_time: bool) -> Vec<u64> {
    let mut rooms: Vec<u64> = state.nodes.iter().map(|there| there.room).collect();
    for (node, there) in state.nodes.iter().enumerate() {
        let mut items = there.items.iter();
        if items.any(|item| index.items[*item as usize].service == floor.service) {
            rooms[node] = 0;
        }
    }
    if !in_time {
        return rooms;
    }
    let waiting = floor.classes().iter();
    let waiting: u64 = waiting.map(|(class, _)| state.unserved[*class as usize]).sum();
    let rate = floor.fair_rate(waiting);
    for (node, bytes) in floor.bytes_in_time(rate, |node| state.time_left(node)) {
        rooms[node] = rooms[node].min(bytes);
    }
    rooms
}

/// What the plan leaves, in so much room on each node.
fn residual(index: &Index, state: &State, rooms: &[u64]) -> Residual {
    let free = rooms.iter().zip(&index.problem.fleet.nodes).map(|(room, node)| {
        let margin = u128::from(*room) * u128::from(node.engine.margin_milli) / 1_000;
        Bytes(room + u64::try_from(margin).unwrap_or(0))
    });
    let mut held = std::collections::BTreeSet::new();
    for (node, there) in state.nodes.iter().enumerate() {
        for (candidate, layers) in there.held() {
            held.insert((NodeOrd::from_index(node), candidate, layers));
        }
    }
    Residual::of(free.collect(), held)
}

/// Tries to answer everybody who waits by what is there.
pub(super) fn serve_all(index: &Index, state: &mut State) {
    for class in 0..index.problem.classes.len() {
        serve(index, state, crate::caching::library::as_u32(class));
    }
}

impl Floor {
    /// What a request is charged on each node: for each layer, and once.
    pub(super) fn charges(&self, prices: NodePrices<'_>, nodes: usize) -> Vec<(Nanos, Nanos)> {
        let mut charges = vec![(Nanos::ZERO, Nanos::ZERO); nodes];
        for (node, layer, fixed) in self.prices(prices) {
            charges[node as usize] = (whole_nanos(layer), whole_nanos(fixed));
        }
        charges
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a guide, not a proof"
)]
fn whole_nanos(nanos: f64) -> Nanos {
    Nanos(nanos.clamp(0.0, as_f64(1 << 50)) as u64)
}
