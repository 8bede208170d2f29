//! Bounds from the relaxed problem, in which a node may be used again and again.
//!
//! The plain dynamic program over (layer boundary, node) forgets who was used before, so it overbooks memory; as a bound
//! it is valid. Cost, TTFT, TPOT and bottleneck are bounded each by itself.

use super::budget::Meter;
use super::instance::{Element, Form, Instance, NEVER};

/// Least sums that complete a pipeline from a state, for every state.
#[derive(Debug)]
pub(super) struct Completion {
    num_nodes: usize,
    cost: Table,
    /// Only where prompts have several chunks, which wait for the bottleneck.
    busy: Option<Table>,
    /// Only where the service has promises; otherwise nobody asks.
    ttft: Option<Table>,
    tpot: Option<Table>,
}

/// One criterion: `entered[l, i]` before a stage on `i` that starts at `l`, `ended[l, j]` after one on `j` that ended at `l`.
#[derive(Debug)]
struct Table {
    entered: Vec<u64>,
    ended: Vec<u64>,
}

impl Completion {
    /// Bounds for pipelines of this head, or of any; `None` when the budget ends.
    pub(super) fn new(instance: &Instance<'_>, head: Option<usize>, meter: &mut Meter<'_>) -> Option<Self> {
        let way_back = ways_back(instance, head);
        let sum = |one: u64, other: u64| (one + other).min(NEVER);
        let mut table =
            |select: fn(&Element) -> u64| Table::new(instance, head, &way_back, select, sum, meter);
        let cost = table(|element| element.cost)?;
        let promised = instance.objective.has_promise();
        let ttft = if promised {
            Some(table(|element| element.ttft)?)
        } else {
            None
        };
        let tpot = if promised {
            Some(table(|element| element.tpot)?)
        } else {
            None
        };
        let busy = if instance.objective.has_bottleneck() {
            Some(Table::new(
                instance,
                head,
                &way_back,
                |element| element.busy,
                u64::max,
                meter,
            )?)
        } else {
            None
        };
        Some(Self {
            num_nodes: instance.num_nodes(),
            cost,
            busy,
            ttft,
            tpot,
        })
    }

    /// Least sums after entering `node` at `layer` (cost at least `NEVER` if there is no completion).
    pub(super) fn entered(&self, layer: u32, node: usize) -> Element {
        let at = layer as usize * self.num_nodes + node;
        let of = |table: &Option<Table>| table.as_ref().map_or(0, |table| table.entered[at]);
        Element {
            cost: self.cost.entered[at],
            ttft: of(&self.ttft),
            tpot: of(&self.tpot),
            busy: of(&self.busy),
        }
    }

    /// Least sums after a stage on `node` ended at `layer`.
    pub(super) fn ended(&self, layer: u32, node: usize) -> Element {
        let at = layer as usize * self.num_nodes + node;
        let of = |table: &Option<Table>| table.as_ref().map_or(0, |table| table.ended[at]);
        Element {
            cost: self.cost.ended[at],
            ttft: of(&self.ttft),
            tpot: of(&self.tpot),
            busy: of(&self.busy),
        }
    }

    /// A bound for all pipelines with this head.
    pub(super) fn bound(&self, instance: &Instance<'_>, head: usize) -> u64 {
        match instance.heads[head] {
            Some(ingress) => instance.objective.value(&ingress.then(self.entered(0, head))),
            None => NEVER,
        }
    }
}

impl Table {
    fn new(
        instance: &Instance<'_>,
        head: Option<usize>,
        way_back: &[Option<Element>],
        select: fn(&Element) -> u64,
        fold: impl Fn(u64, u64) -> u64,
        meter: &mut Meter<'_>,
    ) -> Option<Self> {
        let (num_nodes, num_layers) = (instance.num_nodes(), instance.num_layers);
        let size = (num_layers as usize + 1) * num_nodes;
        let mut table = Self {
            entered: vec![NEVER; size],
            ended: vec![NEVER; size],
        };
        // A U-shaped pipeline has a stage between its ends: what follows a first stage is not its last.
        let mut opened = vec![NEVER; if instance.form == Form::UShape { size } else { 0 }];
        // One criterion's column of the arcs lies together: this is the loop that takes the time.
        let arcs: Vec<(u32, u64)> = (0..num_nodes)
            .flat_map(|node| instance.arcs_from(node))
            .map(|arc| (arc.to, select(&arc.element)))
            .collect();
        for layer in (0..=num_layers).rev() {
            if !meter.spend((instance.num_arcs() + num_nodes) as u64) {
                return None;
            }
            let row = layer as usize * num_nodes;
            let (entered, ended) = (&mut table.entered, &mut table.ended);
            for node in 0..num_nodes {
                // A node that is the head holds the first stage and no other.
                if layer == num_layers || head.is_some_and(|head| (head == node) != (layer == 0)) {
                    continue;
                }
                let after = if layer == 0 && !opened.is_empty() {
                    &opened
                } else {
                    &*ended
                };
                let stages = instance.ends(node, layer).map(|end| {
                    let stage = instance.stage(node, layer, end);
                    fold(select(&stage), after[end as usize * num_nodes + node])
                });
                entered[row + node] = least(stages);
            }
            let tails: Vec<Option<u64>> = (0..if opened.is_empty() { 0 } else { num_nodes })
                .map(|node| {
                    let returns = instance.heads[node].is_some() && head.is_none_or(|head| head == node);
                    let tail = instance.least_tail(node, layer).filter(|_| returns);
                    tail.map(|tail| select(&tail))
                })
                .collect();
            for node in 0..num_nodes {
                ended[row + node] = if layer == num_layers {
                    way_back[node].map_or(NEVER, |element| select(&element))
                } else {
                    let leaving = &arcs[instance.first_arc(node)..instance.first_arc(node + 1)];
                    let onward = leaving
                        .iter()
                        .map(|&(to, adds)| fold(adds, entered[row + to as usize]));
                    least(onward)
                };
                if tails.is_empty() {
                    continue;
                }
                opened[row + node] = ended[row + node];
                let leaving = &arcs[instance.first_arc(node)..instance.first_arc(node + 1)];
                let home = leaving
                    .iter()
                    .filter_map(|&(to, adds)| Some(fold(adds, tails[to as usize]?)));
                ended[row + node] = ended[row + node].min(least(home));
            }
        }
        Some(table)
    }
}

fn least(values: impl Iterator<Item = u64>) -> u64 {
    values.min().unwrap_or(NEVER).min(NEVER)
}

/// The way back from each node to the head, or the least of each sum over all possible heads.
fn ways_back(instance: &Instance<'_>, head: Option<usize>) -> Vec<Option<Element>> {
    let mut ways = vec![None; instance.num_nodes()];
    if instance.form == Form::UShape {
        return ways;
    }
    for (last, way) in ways.iter_mut().enumerate() {
        match head {
            Some(head) => *way = instance.way_back(last, head).filter(|_| last != head),
            // A token's way is shorter than that of hidden states, so arcs say only who can be reached.
            None => {
                let mut before = None;
                for arc in instance.arcs_from(last) {
                    let head = arc.to as usize;
                    if before == Some(head) || instance.heads[head].is_none() {
                        continue;
                    }
                    before = Some(head);
                    let Some(element) = instance.way_back(last, head) else {
                        continue;
                    };
                    *way = Some(way.map_or(element, |best: Element| Element {
                        cost: best.cost.min(element.cost),
                        ttft: best.ttft.min(element.ttft),
                        tpot: best.tpot.min(element.tpot),
                        busy: 0,
                    }));
                }
            }
        }
    }
    ways
}

/// Nodes through which a pipeline could still cost less than `limit`, ascending: no other can be in a better one.
pub(super) fn survivors(
    instance: &Instance<'_>,
    completion: &Completion,
    limit: u64,
    meter: &mut Meter<'_>,
) -> Option<Vec<usize>> {
    let (num_nodes, num_layers) = (instance.num_nodes(), instance.num_layers);
    let size = (num_layers as usize + 1) * num_nodes;
    let (mut entered, mut ended) = (vec![NEVER; size], vec![NEVER; size]);
    let mut survives = vec![false; num_nodes];
    for layer in 0..num_layers {
        if !meter.spend((instance.num_arcs() + num_nodes) as u64) {
            return None;
        }
        let row = layer as usize * num_nodes;
        for node in 0..num_nodes {
            let so_far = ended[row + node];
            let promising = |so_far: u64, rest: Element| {
                so_far < NEVER
                    && rest.cost < NEVER
                    && instance.objective.value(&Element {
                        cost: so_far + rest.cost,
                        ..rest
                    }) < limit
            };
            if layer == 0 {
                entered[node] = instance.heads[node].map_or(NEVER, |ingress| ingress.cost);
            } else if promising(so_far, completion.ended(layer, node)) {
                survives[node] = true;
                for arc in instance.arcs_from(node) {
                    let at = row + arc.to as usize;
                    entered[at] = entered[at].min(so_far + arc.element.cost);
                }
            }
        }
        for node in 0..num_nodes {
            let so_far = entered[row + node];
            if so_far >= NEVER {
                continue;
            }
            let rest = completion.entered(layer, node);
            if instance.objective.value(&Element {
                cost: (so_far + rest.cost).min(NEVER),
                ..rest
            }) >= limit
            {
                continue;
            }
            survives[node] = true;
            for end in instance.ends(node, layer) {
                let at = end as usize * num_nodes + node;
                ended[at] = ended[at].min(so_far + instance.stage(node, layer, end).cost);
            }
        }
    }
    Some((0..num_nodes).filter(|&node| survives[node]).collect())
}
