//! Sessions on pipelines with a small model beside them.
//!
//! The small model's node leads: requests come there, are admitted there, and answers go out from there. Where it drafts, both
//! models read the prompt at once, and the answer begins when both have; then rounds of drafting, verifying and the verdict.
//! Where it answers first, its answer is held back to its end; then it goes out at once, or the request goes on to the
//! pipeline.

use super::PipelineId;
use super::device::{Job, Step};
use super::engine::{Event, Open, Serving};
use super::session::Session;
use crate::cost::{REQUEST_BYTES, REQUEST_BYTES_PER_TOKEN, TOKEN_BYTES, draft_bytes, verdict_bytes};
use crate::problem::{Candidate, Problem};
use crate::random::Random;
use crate::solution::{Assistant, Role};
use crate::units::{Bytes, LayerRange, NodeOrd};

/// How far a session is with the small model.
#[derive(Clone, Debug)]
pub(super) struct Assisted {
    /// Whether the small model has read the prompt.
    has_read: bool,
    /// Whether the large model's first token is there.
    has_first: bool,
    /// Tokens of the round, or of the small model's own answer.
    drafted: u32,
    /// Whether the large model answers a cascade's request.
    escalated: bool,
    random: Random,
}

impl Default for Assisted {
    fn default() -> Self {
        Self {
            has_read: false,
            has_first: false,
            drafted: 0,
            escalated: false,
            random: Random::seeded(0),
        }
    }
}

impl Open {
    /// Tokens of a round, where they are drafted.
    pub(super) fn drafts(&self) -> Option<u32> {
        match self.pipeline.shape.assistant?.role {
            Role::Drafts { tokens } => Some(tokens),
            Role::AnswersFirst => None,
        }
    }

    /// The node that requests come to.
    pub(super) fn leader(&self) -> NodeOrd {
        let shape = &self.pipeline.shape;
        shape
            .assistant
            .map_or(shape.stages[0].node, |assistant| assistant.node)
    }

    /// The node that has a session's answer first.
    pub(super) fn teller(&self, session: &Session) -> NodeOrd {
        if session.assisted.escalated {
            self.pipeline.shape.stages[0].node
        } else {
            self.leader()
        }
    }

    /// Whether a stage is the small model: the one behind the last.
    pub(super) fn is_assistant(&self, stage: usize) -> bool {
        stage == self.pipeline.shape.stages.len()
    }

    /// The node of a stage.
    pub(super) fn node(&self, stage: usize) -> NodeOrd {
        let stages = &self.pipeline.shape.stages;
        stages
            .get(stage)
            .map_or_else(|| self.leader(), |stage| stage.node)
    }

    /// Which layers of which model a stage has, and where.
    pub(super) fn place(&self, problem: &Problem, stage: usize) -> (NodeOrd, Candidate, LayerRange) {
        let shape = &self.pipeline.shape;
        match (shape.stages.get(stage), shape.assistant) {
            (None, Some(Assistant { candidate, node, .. })) => {
                let layers = problem.variant(candidate).1.num_layers();
                (node, candidate, LayerRange::new(0, layers))
            }
            _ => {
                let stage = shape.stages[stage];
                (stage.node, shape.candidate, stage.layers)
            }
        }
    }

    /// Rows of a session in a batch of tokens.
    pub(super) fn rows_of(&self, job: &Job) -> u32 {
        match self.drafts() {
            Some(tokens) if !self.is_assistant(job.stage) => tokens + 1,
            _ => 1,
        }
    }

    /// Whether a prompt's end gives no token, since it was only read to draft after it.
    pub(super) fn only_reads(&self, job: &Job) -> bool {
        self.is_assistant(job.stage) && self.drafts().is_some()
    }
}

impl Serving {
    /// A session begins; `job` is the beginning of its prompt at the pipeline.
    pub(super) fn begin_assisted(&mut self, job: Job, assistant: Assistant) {
        let stages = &self.pipelines[job.pipeline.0].pipeline.shape.stages;
        let (head, small) = (stages[0].node, stages.len());
        let seed = self.seed.rotate_left(32) ^ job.session as u64;
        self.sessions[job.session].assisted.random = Random::seeded(seed);
        self.reach(Job { stage: small, ..job });
        if let Role::Drafts { .. } = assistant.role {
            let prompt = draft_bytes(self.sessions[job.session].request.prompt);
            self.send((job.session, (assistant.node, head)), prompt, Event::Reach(job));
        }
    }

    /// Rows leave the small model.
    pub(super) fn assistant_goes_on(&mut self, job: Job) {
        let session = &mut self.sessions[job.session];
        if let Step::Chunk(ordinal) = job.step
            && !session.chunk(ordinal).1
        {
            let step = Step::Chunk(ordinal + 1);
            return self.reach(Job { step, ..job });
        }
        match (self.pipelines[job.pipeline.0].drafts(), job.step) {
            (Some(_), Step::Chunk(_)) => {
                session.assisted.has_read = true;
                self.answer_begins(job.session, job.pipeline);
            }
            (Some(tokens), Step::Token(_)) => self.has_drafted(job, tokens),
            (None, _) => self.has_answered_more(job),
        }
    }

    fn has_drafted(&mut self, job: Job, tokens: u32) {
        let assisted = &mut self.sessions[job.session].assisted;
        assisted.drafted += 1;
        if assisted.drafted < tokens {
            return self.reach(job);
        }
        let open = &self.pipelines[job.pipeline.0];
        let way = (open.leader(), open.node(0));
        let verify = Event::Reach(Job { stage: 0, ..job });
        self.send((job.session, way), draft_bytes(tokens), verify);
    }

    /// The head tells the drafting node what the large model chose.
    pub(super) fn tell_drafter(&mut self, session: usize, pipeline: PipelineId) {
        let open = &self.pipelines[pipeline.0];
        let way = (open.node(0), open.leader());
        let bytes = if self.sessions[session].assisted.has_first {
            verdict_bytes()
        } else {
            Bytes(TOKEN_BYTES)
        };
        self.send((session, way), bytes, Event::Verdict(session));
    }

    /// The drafting node hears it.
    pub(super) fn verdict(&mut self, session: usize) {
        let Some(pipeline) = self.sessions[session].pipeline else {
            return;
        };
        let assisted = &mut self.sessions[session].assisted;
        if !assisted.has_first {
            assisted.has_first = true;
            return self.answer_begins(session, pipeline);
        }
        let accepted = self.draw_accepted(session, pipeline);
        let known = &self.sessions[session];
        let tokens = (accepted + 1).min(known.answer - known.generated);
        if let Some(generated) = self.show(session, pipeline, tokens) {
            self.draft(session, pipeline, generated);
        }
    }

    /// Once both models have read the prompt.
    fn answer_begins(&mut self, session: usize, pipeline: PipelineId) {
        let assisted = &self.sessions[session].assisted;
        if assisted.has_read
            && assisted.has_first
            && let Some(generated) = self.show(session, pipeline, 1)
        {
            self.draft(session, pipeline, generated);
        }
    }

    fn draft(&mut self, session: usize, pipeline: PipelineId, generated: u32) {
        self.sessions[session].assisted.drafted = 0;
        self.reach(Job {
            session,
            pipeline,
            stage: self.pipelines[pipeline.0].pipeline.shape.stages.len(),
            step: Step::Token(generated),
        });
    }

    /// How many drafted tokens are accepted: the first that is not ends the round.
    fn draw_accepted(&mut self, session: usize, pipeline: PipelineId) -> u32 {
        let open = &self.pipelines[pipeline.0];
        let model = self.problem.variant(open.pipeline.shape.candidate).0;
        let percent = model.draft.map_or(0, |draft| draft.acceptance_percent);
        let tokens = open.drafts().unwrap_or(0);
        let random = &mut self.sessions[session].assisted.random;
        let accepts = (0..tokens).take_while(|_| random.unit() * 100.0 < f64::from(percent));
        u32::try_from(accepts.count()).unwrap_or(tokens)
    }

    /// The small model of a cascade has a token more.
    fn has_answered_more(&mut self, job: Job) {
        let session = &mut self.sessions[job.session];
        session.assisted.drafted += 1;
        if session.assisted.drafted < session.answer {
            let step = Step::Token(session.assisted.drafted);
            return self.reach(Job { step, ..job });
        }
        let open = &self.pipelines[job.pipeline.0];
        let percent = f64::from(open.pipeline.escalated_percent);
        if session.assisted.random.unit() * 100.0 >= percent {
            let all = session.answer;
            self.show(job.session, job.pipeline, all);
            return;
        }
        session.assisted.escalated = true;
        let prompt = u64::from(session.request.prompt);
        let text = Bytes(REQUEST_BYTES_PER_TOKEN * prompt + REQUEST_BYTES);
        let way = (open.leader(), open.node(0));
        let go_on = Job {
            stage: 0,
            step: Step::Chunk(0),
            ..job
        };
        self.send((job.session, way), text, Event::Reach(go_on));
    }
}
