//! Pipelines with a small model beside them, by best-first branch and bound over what the small model is and does.
//!
//! A combination is a large variant, a small one, its node and, for speculation, how many tokens it drafts (a scan of 1 to
//! [`DRAFT_TOKENS_MAX`]). Given that, the large model's pipeline is a question of the plain kind: chains and single stages with
//! times of `γ + 1` rows, or requests that come from the small model's node; so what answers those exactly answers this one.
//! A combination's bound is the small model's own part and the relaxed bound of any pipeline that verifies such rounds; the
//! first whose bound is no better than the best answer ends the search.
//!
//! Not searched where regions join nodes.

use super::budget::Meter;
use super::exact::Priced;
use super::instance::{Form, Instance, NEVER};
use super::relax::Completion;
use super::survey::Survey;
use crate::cost::{CostModel, First, MemoryModel, escalated, first_answer};
use crate::problem::{Candidate, DRAFT_TOKENS_MAX, Draft, Mode, Service};
use crate::search::residual::Residual;
use crate::solution::{Assistant, NoAssistant, PipelineShape, Role};
use crate::units::{Bytes, LayerRange, ModelOrd, Nanos, NodeOrd, VariantOrd};

/// Modes of the large model's own pipeline.
const PRINCIPAL: [Mode; 4] = [Mode::OnDevice, Mode::OnServer, Mode::Split, Mode::MultiHop];

/// Steps for one combination, beside its search.
const COMBINATION_STEPS: u64 = 256;

/// The best pipelines that are kept, for the runner-up.
const KEPT: usize = 4;

/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    /// The cheapest first.
    pub(super) found: Vec<Priced>,
    /// No legal pipeline of the mode costs less.
    pub(super) lower_bound: u64,
}

/// A large variant (by position) and a small one.
#[derive(Clone, Copy, Debug)]
struct Pair {
    large: usize,
    small: Candidate,
    /// How it drafts; none in a cascade.
    draft: Option<Draft>,
}

/// A node that holds a small model beside what is there.
#[derive(Clone, Copy, Debug)]
struct Seat {
    node: NodeOrd,
    layers: LayerRange,
    need: Bytes,
}

struct Combination {
    bound: u64,
    pair: Pair,
    seat: Seat,
    role: Role,
    /// In a cascade.
    first: Option<First>,
}

impl Combination {
    fn assistant(&self) -> Assistant {
        Assistant {
            candidate: self.pair.small,
            node: self.seat.node,
            role: self.role,
        }
    }
}

impl Survey<'_> {
    /// Modes with an assistant that the service allows.
    pub(super) fn assisted_modes(&self) -> impl Iterator<Item = Mode> {
        let modes = [Mode::Speculative, Mode::Cascade].into_iter();
        modes.filter(|mode| self.service.modes.contains(mode))
    }

    /// Why a mode has no small model here; none when it has.
    pub(super) fn no_assistant(&self, mode: Mode) -> Option<NoAssistant> {
        let pairs = match self.pairs(mode) {
            Ok(pairs) => pairs,
            Err(why) => return Some(why),
        };
        let mut nearest: Option<(Bytes, NodeOrd)> = None;
        for small in distinct(&pairs) {
            for (missing, seat) in self.seats(small) {
                if missing == Bytes::ZERO {
                    return None;
                }
                let lacks = (missing, seat.node);
                nearest = Some(nearest.map_or(lacks, |best| best.min(lacks)));
            }
        }
        Some(NoAssistant::NoNode {
            nearest: nearest.map(|(missing, node)| (node, missing)),
        })
    }

    /// The best pipelines of a mode with an assistant. With `any`, the first that is met is enough.
    pub(super) fn search_assisted(&self, mode: Mode, any: bool, meter: &mut Meter<'_>) -> Found {
        let mut outcome = Found {
            found: Vec::new(),
            lower_bound: NEVER,
        };
        if self.no_assistant(mode).is_some() {
            return outcome;
        }
        if !self.problem.regions.is_empty() {
            outcome.lower_bound = 0;
            return outcome;
        }
        let Some(mut combinations) = self.combinations(mode, meter) else {
            outcome.lower_bound = 0;
            return outcome;
        };
        combinations.sort_by_key(|combination| (combination.bound, combination.assistant()));
        for combination in &combinations {
            let best = outcome.found.first().map_or(NEVER, |best| best.value);
            if combination.bound >= best || (any && best < NEVER) {
                break;
            }
            if !meter.spend(COMBINATION_STEPS) {
                outcome.lower_bound = outcome.lower_bound.min(combination.bound);
                break;
            }
            let mut part = meter.part(1, 8);
            let (found, lower_bound) = self.answer(combination, &mut part);
            meter.absorb(&part);
            outcome.lower_bound = outcome.lower_bound.min(lower_bound.max(combination.bound));
            outcome.found.extend(found);
            outcome
                .found
                .sort_by(|one, other| (one.value, &one.shape).cmp(&(other.value, &other.shape)));
            outcome.found.truncate(KEPT);
        }
        let best = outcome.found.first().map_or(NEVER, |best| best.value);
        outcome.lower_bound = outcome.lower_bound.min(best);
        outcome
    }

    /// Large and small models that go together.
    fn pairs(&self, mode: Mode) -> Result<Vec<Pair>, NoAssistant> {
        match mode {
            Mode::Speculative => self.drafting_pairs(),
            _ => self.cascading_pairs(),
        }
    }

    fn drafting_pairs(&self) -> Result<Vec<Pair>, NoAssistant> {
        let (mut pairs, mut why) = (Vec::new(), NoAssistant::NoDraftModel);
        for (large, candidate) in self.candidates.iter().enumerate() {
            let model = self.problem.variant(*candidate).0;
            let Some(draft) = model.draft else { continue };
            let small = &self.problem.models[draft.model.index()];
            if small.vocabulary != model.vocabulary {
                why = NoAssistant::VocabulariesDiffer {
                    draft: small.vocabulary,
                    target: model.vocabulary,
                };
            } else if small.context_max < self.service.context_tokens {
                why = NoAssistant::NotGoodEnough;
            } else {
                pairs.extend((0..small.variants.len()).map(|variant| Pair {
                    large,
                    small: candidate_of(draft.model, variant),
                    draft: Some(draft),
                }));
            }
        }
        if pairs.is_empty() { Err(why) } else { Ok(pairs) }
    }

    /// A model that the service names later may answer before one that it names earlier, which is the better one.
    fn cascading_pairs(&self) -> Result<Vec<Pair>, NoAssistant> {
        let pairs: Vec<Pair> = (0..self.candidates.len())
            .flat_map(|large| (large + 1..self.candidates.len()).map(move |small| (large, small)))
            .map(|(large, small)| (large, self.candidates[small]))
            .filter(|(large, small)| self.candidates[*large].model != small.model)
            .map(|(large, small)| Pair {
                large,
                small,
                draft: None,
            })
            .collect();
        if !pairs.is_empty() {
            return Ok(pairs);
        }
        let mut models = self.service.candidates.iter().map(|candidate| candidate.model);
        let first = models.next();
        Err(if models.any(|model| Some(model) != first) {
            NoAssistant::NotGoodEnough
        } else {
            NoAssistant::NoSecondModel
        })
    }

    /// Nodes that could hold a small model, and what each lacks.
    fn seats(&self, small: Candidate) -> Vec<(Bytes, Seat)> {
        let (model, variant) = self.problem.variant(small);
        let memory = MemoryModel::new(self.service, model, variant);
        let layers = LayerRange::new(0, variant.num_layers());
        let cost = CostModel::new(
            self.problem,
            self.links,
            self.service,
            small,
            &self.residual.load_milli,
        );
        let nodes = (0..self.problem.nodes.len()).map(NodeOrd::from_index);
        let may = |node: &NodeOrd| {
            let presence = &self.residual.presence;
            let stores = presence.stores(self.problem, self.service, *node, small, &[layers]);
            self.unusable(*node).is_none() && self.trusts(*node) && cost.knows_speed_of(*node) && stores
        };
        let seat = |node: NodeOrd| {
            let sharing = self.residual.sharing(node, small, layers);
            let need = memory
                .stage(&self.problem.nodes[node.index()], layers, sharing)
                .total();
            let missing = need.saturating_sub(self.residual.free_for(self.service, node, None));
            let seat = Seat { node, layers, need };
            (missing, seat)
        };
        nodes.filter(may).map(seat).collect()
    }

    fn fitting(&self, small: Candidate) -> impl Iterator<Item = Seat> {
        let seats = self.seats(small).into_iter();
        seats
            .filter(|(missing, _)| *missing == Bytes::ZERO)
            .map(|(_, seat)| seat)
    }

    /// Everything that could be tried, with bounds; none when the budget ends first.
    fn combinations(&self, mode: Mode, meter: &mut Meter<'_>) -> Option<Vec<Combination>> {
        let pairs = self.pairs(mode).ok()?;
        let mut combinations = Vec::new();
        for pair in pairs {
            match pair.draft {
                Some(draft) => self.speculating(pair, draft, &mut combinations, meter)?,
                None => self.cascading(pair, &mut combinations, meter)?,
            }
        }
        Some(combinations)
    }

    fn speculating(
        &self,
        pair: Pair,
        draft: Draft,
        combinations: &mut Vec<Combination>,
        meter: &mut Meter<'_>,
    ) -> Option<()> {
        let asked = principal(self.service);
        let unled = Service {
            ingress: Vec::new(),
            ..asked.clone()
        };
        let seats: Vec<Seat> = self.fitting(pair.small).collect();
        let loads = &self.residual.load_milli;
        let drafter = CostModel::new(self.problem, self.links, &asked, pair.small, loads);
        for tokens in 1..=DRAFT_TOKENS_MAX {
            let role = Role::Drafts { tokens };
            let bound = self.bound(
                &unled,
                pair.large,
                self.verifying(&unled, pair, tokens, draft),
                meter,
            )?;
            let verifier = self.verifying(&asked, pair, tokens, draft);
            for &seat in &seats {
                if !meter.spend(COMBINATION_STEPS) {
                    return None;
                }
                let mut combination = Combination {
                    bound,
                    pair,
                    seat,
                    role,
                    first: None,
                };
                let Some(own) = verifier.lead_cost(&drafter, combination.assistant()) else {
                    continue;
                };
                combination.bound = bound.saturating_add(own).min(NEVER);
                combinations.push(combination);
            }
        }
        Some(())
    }

    fn verifying<'s>(&'s self, service: &'s Service, pair: Pair, tokens: u32, draft: Draft) -> CostModel<'s> {
        let loads = &self.residual.load_milli;
        let candidate = self.candidates[pair.large];
        CostModel::verifying(
            self.problem,
            self.links,
            service,
            candidate,
            loads,
            (tokens, draft),
        )
    }

    fn cascading(
        &self,
        pair: Pair,
        combinations: &mut Vec<Combination>,
        meter: &mut Meter<'_>,
    ) -> Option<()> {
        let unled = Service {
            ingress: Vec::new(),
            slo_ttft: None,
            slo_tpot: None,
            quality_value: Nanos::ZERO,
            ..principal(self.service)
        };
        let loads = &self.residual.load_milli;
        let candidate = self.candidates[pair.large];
        let model = CostModel::new(self.problem, self.links, &unled, candidate, loads);
        let large = self.bound(&unled, pair.large, model, meter)?;
        for seat in self.fitting(pair.small) {
            let mut combination = Combination {
                bound: 0,
                pair,
                seat,
                role: Role::AnswersFirst,
                first: None,
            };
            let assistant = combination.assistant();
            let Some(first) = first_answer(self.problem, self.links, self.service, assistant, loads) else {
                continue;
            };
            combination.bound = self.cascaded(&first, pair.large, large).min(NEVER);
            combination.first = Some(first);
            combinations.push(combination);
        }
        Some(())
    }

    /// What a cascade costs in which the large model's part costs so much.
    fn cascaded(&self, first: &First, large: usize, cost: u64) -> u64 {
        let share = u128::from(cost) * u128::from(self.service.escalated_percent) / 100;
        let quality = self.costs[large].quality_cost().0;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        first.cost().saturating_add(quality).saturating_add(share)
    }

    /// What no pipeline of a large variant costs less than, with these times.
    fn bound(
        &self,
        service: &Service,
        large: usize,
        model: CostModel<'_>,
        meter: &mut Meter<'_>,
    ) -> Option<u64> {
        let survey = self.of_one(service, self.residual, self.candidates[large], model);
        let whole = survey.whole_that_fit().into_iter().map(|priced| priced.value);
        let mut bound = whole.min().unwrap_or(NEVER);
        if survey.stage_count().is_some() && survey.has_splittable() {
            let instance: Instance<'_> = survey.instance(0, Form::Chain);
            let completion = Completion::new(&instance, None, meter)?;
            let heads = (0..instance.num_nodes()).map(|head| completion.bound(&instance, head));
            bound = bound.min(heads.min().unwrap_or(NEVER));
        }
        Some(bound)
    }

    /// The best pipelines of a combination, and what none costs less than.
    fn answer(&self, combination: &Combination, meter: &mut Meter<'_>) -> (Vec<Priced>, u64) {
        let Combination { pair, seat, .. } = *combination;
        let mut residual: Residual = self.residual.clone();
        residual.take_stage(seat.node, pair.small, seat.layers, seat.need);
        residual
            .presence
            .store(self.problem, seat.node, pair.small, seat.layers);
        let candidate = self.candidates[pair.large];
        let assistant = combination.assistant();
        let asked = match &combination.first {
            None => principal(self.service),
            Some(first) => escalated(&principal(self.service), first, seat.node),
        };
        let model = match (pair.draft, combination.role) {
            (Some(draft), Role::Drafts { tokens }) => {
                self.verifying(&asked, pair, tokens, draft).led_by(assistant)
            }
            _ => Some(CostModel::new(
                self.problem,
                self.links,
                &asked,
                candidate,
                &self.residual.load_milli,
            )),
        };
        let Some(model) = model else {
            return (Vec::new(), NEVER);
        };
        let survey = self.of_one(&asked, &residual, candidate, model);
        let finds = survey.search(meter);
        let found = finds.legal().into_iter().take(KEPT).filter_map(|priced| {
            let shape = PipelineShape {
                assistant: Some(assistant),
                ..priced.shape.clone()
            };
            let value = self.costs[pair.large].evaluate(&shape)?.cost.total().0;
            Some(Priced { value, shape })
        });
        let lower_bound = match &combination.first {
            _ if finds.lower_bound >= NEVER => NEVER,
            None => finds.lower_bound,
            Some(first) => self.cascaded(first, pair.large, finds.lower_bound),
        };
        (found.collect(), lower_bound)
    }
}

/// The service as one that asks for the large model's pipeline only.
fn principal(service: &Service) -> Service {
    Service {
        modes: PRINCIPAL.to_vec(),
        told_modes: Vec::new(),
        ..service.clone()
    }
}

fn candidate_of(model: ModelOrd, variant: usize) -> Candidate {
    Candidate {
        model,
        variant: VariantOrd::from_index(variant),
    }
}

fn distinct(pairs: &[Pair]) -> impl Iterator<Item = Candidate> {
    let mut smalls: Vec<Candidate> = pairs.iter().map(|pair| pair.small).collect();
    smalls.sort_unstable();
    smalls.dedup();
    smalls.into_iter()
}
