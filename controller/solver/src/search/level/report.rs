//! The outcome of each service of a level: its pipeline with figures and reasons, or why it has none.

use super::{Assignment, Level, Turn};
use crate::check::Occupancy;
use crate::search::budget::Meter;
use crate::search::choose::cost_of;
use crate::search::infeasible::infeasible;
use crate::search::instance::NEVER;
use crate::search::report;
use crate::search::residual::Residual;
use crate::search::survey::{Finds, Survey};
use crate::solution::{Decision, GivesWay, Outcome, PipelineShape};
use crate::units::{Nanos, ServiceOrd};

/// Steps for modes that are only told, for each service.
const TOLD_STEPS: u64 = 20_000_000;

/// Outcomes in the making.
struct Report<'a, 'p> {
    level: &'a Level<'p>,
    /// The best choice, what runs not looked at.
    best: &'a Assignment,
    residual: Residual,
    occupancy: Occupancy,
    outcomes: Vec<(ServiceOrd, Outcome)>,
}

/// What is known about a service's turn.
struct Look<'t> {
    finds: &'t Finds,
    steps: u64,
}

impl Level<'_> {
    /// Outcomes of a choice, and what it leaves.
    pub(super) fn report(
        &self,
        best: &Assignment,
        chosen: &Assignment,
        turns: Vec<Turn>,
        meter: &mut Meter<'_>,
    ) -> (Vec<(ServiceOrd, Outcome)>, Residual, Occupancy) {
        let mut report = Report {
            level: self,
            best,
            residual: self.residual.clone(),
            occupancy: self.occupancy.clone(),
            outcomes: Vec::new(),
        };
        // As long as everybody has what the first sequence gave, its finds are those of the same question.
        let mut as_in_turn = true;
        let mut late = Vec::new();
        for (position, turn) in turns.iter().enumerate() {
            match &chosen[position] {
                Some(shape) if as_in_turn => report.place(position, shape, &turn.look(), meter),
                Some(shape) => {
                    let (finds, steps) = report.search(position, turns.len() - position, meter);
                    report.place(position, shape, &Look { finds: &finds, steps }, meter);
                }
                None if as_in_turn && turn.shape.is_none() => report.refuse(position, &turn.look(), meter),
                None => late.push(position),
            }
            as_in_turn &= chosen[position] == turn.shape;
        }
        // Those that give way to others see what everybody leaves.
        for position in late {
            let (finds, steps) = report.search(position, 1, meter);
            let look = Look { finds: &finds, steps };
            match finds.legal().first() {
                Some(fits) => report.place(position, &fits.shape, &look, meter),
                None => report.refuse(position, &look, meter),
            }
        }
        (report.outcomes, report.residual, report.occupancy)
    }
}

impl Turn {
    fn look(&self) -> Look<'_> {
        Look {
            finds: &self.finds,
            steps: self.steps,
        }
    }
}

impl Report<'_, '_> {
    fn survey<'s>(&'s self, position: usize) -> Survey<'s> {
        self.level.survey(position, &self.residual)
    }

    fn search(&self, position: usize, left: usize, meter: &mut Meter<'_>) -> (Finds, u64) {
        let part = meter.part(1, 2 * left as u64);
        self.survey(position).search_within(part, meter)
    }

    fn place(&mut self, position: usize, shape: &PipelineShape, look: &Look<'_>, meter: &mut Meter<'_>) {
        let survey = self.survey(position);
        let decision = self.decision(&survey, position, shape);
        let mut telling = meter.at_most(TOLD_STEPS);
        let told = survey.search_told(&mut telling);
        meter.absorb(&telling);
        let mut placed = report::placed(&survey, look.finds, &told, shape, (decision, look.steps))
            .expect("a pipeline that was chosen has a cost");
        let cheapest = look.finds.legal().first().copied();
        let is_best = self.best[position].as_ref() == Some(shape);
        placed.gives_way = cheapest
            .filter(|cheapest| is_best && cheapest.value < placed.cost.total().0)
            .map(|cheapest| GivesWay {
                shape: cheapest.shape.clone(),
                cost: Nanos(cheapest.value),
            });
        let service = self.level.services[position];
        self.residual
            .take(self.level.problem, self.level.service(position), &placed);
        self.occupancy.admit(service, shape.clone());
        self.outcomes.push((service, Outcome::Placed(Box::new(placed))));
    }

    fn decision(&self, survey: &Survey<'_>, position: usize, shape: &PipelineShape) -> Decision {
        let Some(previous) = &self.level.service(position).previous else {
            return Decision::New;
        };
        let running = cost_of(survey, previous).unwrap_or(u64::MAX);
        if previous == shape {
            let other = self.best[position].as_ref().filter(|best| *best != shape);
            let better = other.and_then(|best| Some((best.clone(), cost_of(survey, best)?)));
            let passed_over = better
                .filter(|(_, cost)| *cost < running)
                .map(|(shape, cost)| (shape, Nanos(cost)));
            return Decision::Kept { passed_over };
        }
        match self.level.illegality(position, previous, &self.occupancy) {
            Some(why) => Decision::Replaced { why },
            None => Decision::Moved {
                previous_cost: Nanos(running),
            },
        }
    }

    fn refuse(&mut self, position: usize, look: &Look<'_>, meter: &mut Meter<'_>) {
        let survey = self.survey(position);
        let remedying = meter.part(1, 1);
        let proven = look.finds.lower_bound >= NEVER;
        let report = infeasible(&survey, self.level.links, proven, remedying, look.steps);
        meter.spend(report.steps - look.steps);
        let service = self.level.services[position];
        self.outcomes
            .push((service, Outcome::Infeasible(Box::new(report))));
    }
}
