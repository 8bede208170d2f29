//! What could be stored on each node: whole replicas of every service that fit there, and the weights that they share.

use std::collections::BTreeMap;

use super::figures::{Supplies, figures, whole};
use super::index::{Item, Shelf, load_price};
use super::problem::JointProblem;
use crate::caching::pack::{Group, as_f64};
use crate::cost::MemoryModel;
use crate::links::LinkIndex;
use crate::problem::{Candidate, Problem, Service};
use crate::search::residual::Residual;
use crate::search::survey::Survey;
use crate::units::LayerRange;

/// Every variant that a service names, and its position.
pub(super) fn candidates(fleet: &Problem) -> BTreeMap<Candidate, u32> {
    let named = fleet
        .services
        .iter()
        .flat_map(|service| service.candidates.iter().copied());
    let mut positions: BTreeMap<Candidate, u32> = named.map(|candidate| (candidate, 0)).collect();
    for (position, value) in (0..).zip(positions.values_mut()) {
        *value = position;
    }
    positions
}

pub(super) fn chunk_bytes(fleet: &Problem, candidates: &BTreeMap<Candidate, u32>) -> Vec<u64> {
    let bytes = |candidate: &Candidate| {
        let (model, variant) = fleet.variant(*candidate);
        let any = fleet
            .services
            .iter()
            .find(|service| service.candidates.contains(candidate));
        let (service, node) = (any?, fleet.nodes.first()?);
        let layers = LayerRange::new(0, variant.num_layers());
        let stage = MemoryModel::new(service, model, variant).stage(node, layers, Default::default());
        Some((stage.weights + stage.embedding + stage.head).0)
    };
    candidates
        .keys()
        .map(|candidate| bytes(candidate).unwrap_or(0))
        .collect()
}

/// Replicas of a service on one node each, that fit there alone and keep the promises to those who are near.
pub(super) fn whole_items(
    problem: &JointProblem,
    links: &LinkIndex,
    supplies: &Supplies,
    ordinal: u32,
    service: &Service,
) -> Vec<(usize, Item)> {
    let asked = Service {
        ingress: Vec::new(),
        ..service.clone()
    };
    let residual = Residual::new(&problem.fleet);
    let survey = Survey::new(&problem.fleet, links, &asked, &residual);
    let mut items = Vec::new();
    for (index, &candidate) in survey.candidates.iter().enumerate() {
        let (model, variant) = problem.fleet.variant(candidate);
        let memory = MemoryModel::new(&asked, model, variant);
        for &node in &survey.usable {
            if !survey.may_answer_alone(node) {
                continue;
            }
            let shape = whole(candidate, variant.num_layers(), node);
            let Some(figures) = figures(problem, &asked, &survey.costs[index], &memory, &shape) else {
                continue;
            };
            let part = figures.parts[0];
            if part.weights + part.own <= supplies.room[node.index()] {
                let item = Item {
                    service: ordinal,
                    shape,
                    figures,
                    pairs: Vec::new(),
                };
                items.push((node.index(), item));
            }
        }
    }
    items
}

pub(super) fn shelf(problem: &JointProblem, node: usize, start: usize, items: &[(u32, Item)]) -> Shelf {
    let mut shelf = Shelf {
        start,
        end: start + items.len(),
        ..Shelf::default()
    };
    for (position, (family, item)) in (0..).zip(items) {
        let part = item.figures.parts[0];
        shelf.bytes.push(as_f64(part.own));
        match shelf.groups.last_mut() {
            Some(group) if group.family == *family => group.end = position + 1,
            _ => {
                shelf.groups.push(Group {
                    family: *family,
                    start: position,
                    end: position + 1,
                });
                let price = load_price(problem, node, item.shape.candidate, part.layers, part.weights);
                if price > 0 {
                    shelf.load.push((*family, price));
                }
            }
        }
    }
    shelf
}
