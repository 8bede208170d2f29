//! Refuses problems that mean nothing: ordinals out of range, tables out of order, zeros where a divisor is needed.
//! Whether a meaningful problem has an answer is the search's business.

use std::collections::BTreeSet;
use std::fmt;

use super::{Mode, Problem, Segment, Service, SpeedPoint};
use crate::units::{NodeOrd, ServiceOrd};

/// A problem that means nothing. Not retryable: whoever made the problem made a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProblem {
    /// The field, as a path from the problem.
    pub field: String,
    /// What would be right.
    pub expected: &'static str,
}

impl fmt::Display for InvalidProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "problem field {} is invalid: expected {}",
            self.field, self.expected
        )
    }
}

impl std::error::Error for InvalidProblem {}

/// An error unless a condition holds; names the field and what would be right.
pub(crate) fn require(
    holds: bool,
    field: impl FnOnce() -> String,
    expected: &'static str,
) -> Result<(), InvalidProblem> {
    if holds {
        Ok(())
    } else {
        Err(InvalidProblem {
            field: field(),
            expected,
        })
    }
}

impl Problem {
    /// Checks that the problem means something.
    ///
    /// # Errors
    /// Names the first field that is wrong and what would be right.
    pub fn validate(&self) -> Result<(), InvalidProblem> {
        self.validate_nodes()?;
        self.validate_links()?;
        self.validate_regions()?;
        self.validate_models()?;
        for (index, service) in self.services.iter().enumerate() {
            self.validate_service(index, service)?;
        }
        Ok(())
    }

    /// Refuses services that allow more than chains, for searches that do not look at the rest.
    pub(crate) fn with_chains_only(&self, service: ServiceOrd) -> Result<(), InvalidProblem> {
        let modes = &self.services[service.index()].modes;
        let path = || format!("services[{}].modes", service.index());
        require(
            !modes.contains(&Mode::UShaped),
            path,
            "modes without UShaped, which this search does not look at",
        )?;
        require(
            !modes.iter().any(|mode| mode.has_assistant()),
            path,
            "modes without Speculative and Cascade, which this search does not look at",
        )
    }

    /// Refuses services that keep apart and nodes whose disk has a bound, for searches that do not look at these.
    pub(crate) fn without_company(&self, service: ServiceOrd) -> Result<(), InvalidProblem> {
        require(
            self.services[service.index()].shuns.is_empty(),
            || format!("services[{}].shuns", service.index()),
            "nothing, since this search does not look at it",
        )?;
        let bounded = self.nodes.iter().position(|node| node.storage.is_some());
        require(
            bounded.is_none(),
            || format!("nodes[{}].storage", bounded.unwrap_or_default()),
            "no bound, since this search does not look at it",
        )
    }

    fn holds_node(&self, node: NodeOrd) -> bool {
        node.index() < self.nodes.len()
    }

    fn validate_nodes(&self) -> Result<(), InvalidProblem> {
        for (index, node) in self.nodes.iter().enumerate() {
            let multiple = node.engine.kv_cell_multiple;
            require(
                multiple > 0,
                || format!("nodes[{index}].engine.kv_cell_multiple"),
                "at least 1",
            )?;
            if let Some(declared) = node.declared {
                let positive = declared.flops_per_second > 0 && declared.memory_rate.0 > 0;
                require(
                    positive,
                    || format!("nodes[{index}].declared"),
                    "rates above zero",
                )?;
            }
            for (at, table) in node.speeds.iter().enumerate() {
                let path = || format!("nodes[{index}].speeds[{at}]");
                require(
                    !table.layer.is_empty(),
                    path,
                    "at least one measured point of a layer",
                )?;
                require(
                    [&table.layer, &table.head, &table.prompt_end, &table.history]
                        .into_iter()
                        .all(|points| ascending(points)),
                    path,
                    "rows above zero, strictly ascending",
                )?;
                let first = node.speeds[..at].iter().all(|other| other.kernel != table.kernel);
                require(first, path, "one table for each kernel")?;
            }
            for (at, correction) in node.corrections.iter().enumerate() {
                let path = || format!("nodes[{index}].corrections[{at}]");
                require(
                    correction.prompt_milli > 0 && correction.token_milli > 0,
                    path,
                    "factors above zero",
                )?;
                let mut before = node.corrections[..at].iter();
                let first = before.all(|other| other.kernel != correction.kernel);
                require(first, path, "one correction for each kernel")?;
            }
        }
        Ok(())
    }

    fn validate_links(&self) -> Result<(), InvalidProblem> {
        let mut pairs: Vec<_> = self.links.iter().map(|link| (link.from, link.to)).collect();
        for (index, link) in self.links.iter().enumerate() {
            let path = || format!("links[{index}]");
            require(
                self.holds_node(link.from) && self.holds_node(link.to),
                path,
                "nodes that exist",
            )?;
            require(link.from != link.to, path, "two different nodes")?;
            require(
                link.rate.0 > 0,
                path,
                "a rate above zero (leave out links that carry nothing)",
            )?;
        }
        pairs.sort_unstable();
        let repeated = pairs.windows(2).find(|pair| pair[0] == pair[1]);
        let path = || {
            format!(
                "links from {:?} to {:?}",
                repeated.map(|p| p[0].0),
                repeated.map(|p| p[0].1)
            )
        };
        require(repeated.is_none(), path, "at most one link for each pair")
    }

    fn validate_regions(&self) -> Result<(), InvalidProblem> {
        let access = &self.regions.access;
        let carries = |segment: &Segment| segment.rate.0 > 0;
        let mut attached = vec![false; self.nodes.len()];
        for (index, entry) in access.iter().enumerate() {
            let path = || format!("regions.access[{index}]");
            require(self.holds_node(entry.node), path, "a node that exists")?;
            require(!attached[entry.node.index()], path, "at most one for each node")?;
            attached[entry.node.index()] = true;
            require(
                entry.region.index() < access.len(),
                path,
                "a region below the number of access links",
            )?;
            require(
                carries(&entry.up) && carries(&entry.down),
                path,
                "rates above zero",
            )?;
        }
        let mut pairs = BTreeSet::new();
        for (index, entry) in self.regions.backbone.iter().enumerate() {
            let path = || format!("regions.backbone[{index}]");
            let known = entry.from.index() < access.len() && entry.to.index() < access.len();
            require(known, path, "regions below the number of access links")?;
            require(carries(&entry.segment), path, "a rate above zero")?;
            require(
                pairs.insert((entry.from, entry.to)),
                path,
                "at most one for each pair",
            )?;
        }
        for (index, entry) in access.iter().enumerate() {
            require(
                pairs.contains(&(entry.region, entry.region)),
                || format!("regions.access[{index}].region"),
                "a region with a backbone to itself",
            )?;
        }
        Ok(())
    }

    fn validate_models(&self) -> Result<(), InvalidProblem> {
        for (index, model) in self.models.iter().enumerate() {
            let path = || format!("models[{index}]");
            require(!model.variants.is_empty(), path, "at least one variant")?;
            let num_layers = model.variants[0].layer_bytes.len();
            let equal = model
                .variants
                .iter()
                .all(|variant| variant.layer_bytes.len() == num_layers);
            require(equal, path, "equally many layers in all variants")?;
            require((1..=4_096).contains(&num_layers), path, "1 to 4096 layers")?;
            let mut files = model.variants.iter().flat_map(|variant| &variant.files);
            let known = files.all(|file| file.index() < self.files.len());
            require(
                known,
                || format!("models[{index}].variants.files"),
                "files that exist",
            )?;
            if let Some(draft) = model.draft {
                let other = draft.model.index() < self.models.len() && draft.model.index() != index;
                let path = || format!("models[{index}].draft");
                require(other, path, "another model that exists")?;
                let percent = (1..=100).contains(&draft.acceptance_percent);
                require(percent, path, "an acceptance of 1 to 100 percent")?;
            }
        }
        Ok(())
    }

    fn validate_service(&self, index: usize, service: &Service) -> Result<(), InvalidProblem> {
        let path = |field: &str| format!("services[{index}].{field}");
        let known = service.candidates.iter().all(|candidate| {
            let model = self.models.get(candidate.model.index());
            model.is_some_and(|model| candidate.variant.index() < model.variants.len())
        });
        require(known, || path("candidates"), "models and variants that exist")?;
        for (field, value) in [
            ("context_tokens", service.context_tokens),
            ("concurrency", service.concurrency),
            ("prompt_tokens", service.prompt_tokens),
            ("output_tokens", service.output_tokens),
            ("chunk_rows", service.chunk_rows),
            ("stages_max", service.stages_max.unwrap_or(1)),
        ] {
            require(value > 0, || path(field), "at least 1")?;
        }
        require(
            !service.activations.is_empty(),
            || path("activations"),
            "at least one precision",
        )?;
        require(
            (1..=100).contains(&service.slo_percentile),
            || path("slo_percentile"),
            "1 to 100",
        )?;
        require(
            service.escalated_percent <= 100,
            || path("escalated_percent"),
            "0 to 100",
        )?;
        let assisted = service.told_modes.iter().all(|mode| mode.has_assistant());
        require(assisted, || path("told_modes"), "Speculative and Cascade only")?;
        let twice = service.told_modes.iter().any(|mode| service.modes.contains(mode));
        require(!twice, || path("told_modes"), "modes that are not allowed too")?;
        require(
            service.switching_margin_milli < 1_000,
            || path("switching_margin_milli"),
            "less than 1000",
        )?;
        let entering = service
            .ingress
            .iter()
            .all(|entry| self.holds_node(entry.node) && entry.weight > 0);
        require(
            entering,
            || path("ingress"),
            "nodes that exist, weights above zero",
        )?;
        let avoided = service
            .aversions
            .iter()
            .all(|avoided| self.holds_node(avoided.node));
        require(avoided, || path("aversions"), "nodes that exist")?;
        let excluded = service
            .excluded
            .iter()
            .all(|excluded| self.holds_node(excluded.node));
        require(excluded, || path("excluded"), "nodes that exist")
    }
}

fn ascending(points: &[SpeedPoint]) -> bool {
    points.first().is_none_or(|point| point.rows > 0)
        && points.windows(2).all(|pair| pair[0].rows < pair[1].rows)
}
