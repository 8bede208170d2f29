//! The event loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::books::{Batched, Books, Record};
use super::device::{Device, Job, Running, Step};
use super::network::Network;
use super::session::{Failure, Session, State};
use super::{Pipeline, PipelineId, Request, Time};
use crate::cost::{
    Batch, EVENT_BYTES, FRAME_BYTES, REQUEST_BYTES, REQUEST_BYTES_PER_TOKEN, TOKEN_BYTES, batch_time,
    draft_bytes, transfer,
};
use crate::problem::Problem;
use crate::units::{Bytes, Nanos, NodeOrd};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A request comes to the node where it enters.
    Enter(usize),
    /// A request comes to its head.
    AtHead(usize),
    /// A request without a seat goes away.
    GiveUp(usize),
    /// Rows come to a stage.
    Reach(Job),
    /// A node looks for work.
    Look(usize),
    /// A node ends the batch of that number.
    End(usize, u64),
    /// A token comes to the head.
    Token(usize),
    /// What the head says of drafted tokens comes to the node that drafted them.
    Verdict(usize),
}

/// An opened pipeline.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) pipeline: Pipeline,
    admits: bool,
    taken: u32,
    waiting: VecDeque<usize>,
    cells: u64,
}

/// Requests, pipelines, nodes and links at one moment.
#[derive(Debug)]
pub struct Serving {
    pub(super) problem: Problem,
    pub(super) network: Network,
    alive: Vec<bool>,
    devices: Vec<Device>,
    pub(super) pipelines: Vec<Open>,
    /// By service: the pipeline that takes requests.
    routes: Vec<Option<PipelineId>>,
    pub(super) sessions: Vec<Session>,
    agenda: BinaryHeap<Reverse<(Time, u64, Event)>>,
    created: u64,
    batches: u64,
    pub(super) now: Time,
    patience: Nanos,
    pub(super) books: Books,
    pub(super) seed: u64,
}

impl Serving {
    /// Nobody is served yet. Requests wait `patience` for a seat. With `log`, every batch is written down.
    ///
    /// `problem` says how fast nodes and links are; it must be [valid](Problem::validate), as must those that follow.
    #[must_use]
    pub fn new(problem: Problem, services: usize, patience: Nanos, log: bool) -> Self {
        let nodes = problem.nodes.len();
        Self {
            network: Network::new(&problem),
            alive: vec![true; nodes],
            devices: vec![Device::default(); nodes],
            pipelines: Vec::new(),
            routes: vec![None; services],
            sessions: Vec::new(),
            agenda: BinaryHeap::new(),
            created: 0,
            batches: 0,
            now: 0,
            patience,
            books: Books::new(nodes, services, log),
            seed: 1,
            problem,
        }
    }

    /// What is drawn by lot, drafted tokens that are accepted and requests that go on in a cascade, is drawn from this seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// What was written down so far.
    #[must_use]
    pub fn books(&self) -> Books {
        Books {
            message_bytes: self.network.bytes,
            ..self.books.clone()
        }
    }

    /// Every request so far, in the order of their arrival.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.sessions.iter().map(Record::of)
    }

    /// Nanoseconds that a node has computed, with what it computes now as far as that has come.
    #[must_use]
    pub fn busy(&self, node: NodeOrd) -> Time {
        let running = self.devices[node.index()].running.as_ref();
        let ended: Time = self.books.busy[node.index()].iter().sum();
        ended + running.map_or(0, |running| self.now - running.began)
    }

    /// Nodes and links are as in `problem` from now on: the same nodes and models as before. What was sent arrives.
    pub fn change(&mut self, problem: Problem) {
        self.network.change(&problem);
        self.problem = problem;
    }

    /// A pipeline is in memory.
    pub fn open(&mut self, pipeline: Pipeline) -> PipelineId {
        self.pipelines.push(Open {
            pipeline,
            admits: true,
            taken: 0,
            waiting: VecDeque::new(),
            cells: 0,
        });
        PipelineId(self.pipelines.len() - 1)
    }

    /// Requests of a service take this pipeline from now on; with none, they fail.
    pub fn route(&mut self, service: usize, pipeline: Option<PipelineId>) {
        self.routes[service] = pipeline;
    }

    /// Whether a request of a service would find a pipeline that takes requests now.
    #[must_use]
    pub fn serves(&self, service: usize) -> bool {
        self.routes[service].is_some_and(|pipeline| self.pipelines[pipeline.0].admits)
    }

    /// The pipeline takes no more requests; those that have a seat go on, those that wait for one fail.
    pub fn drain(&mut self, pipeline: PipelineId) {
        let open = &mut self.pipelines[pipeline.0];
        open.admits = false;
        for session in std::mem::take(&mut open.waiting) {
            self.fail(session, Failure::Unavailable);
        }
    }

    /// Sessions on a pipeline.
    #[must_use]
    pub fn sessions_on(&self, pipeline: PipelineId) -> u32 {
        self.pipelines[pipeline.0].taken
    }

    /// A node dies with everything that it holds, or comes back empty.
    pub fn set_alive(&mut self, node: NodeOrd, alive: bool) {
        let was_alive = std::mem::replace(&mut self.alive[node.index()], alive);
        if alive || !was_alive {
            return;
        }
        if let Some(running) = self.devices[node.index()].clear() {
            self.write_down(node.index(), &running);
        }
        let uses = |open: &Open| open.pipeline.shape.uses(node);
        let dead: Vec<bool> = self.pipelines.iter().map(uses).collect();
        for open in self.pipelines.iter_mut().zip(&dead).filter(|(_, dead)| **dead) {
            open.0.admits = false;
        }
        for session in 0..self.sessions.len() {
            let is_on = |pipeline: PipelineId| dead[pipeline.0];
            let entered_here = self.sessions[session].request.ingress == Some(node);
            if entered_here || self.sessions[session].pipeline.is_some_and(is_on) {
                self.fail(session, Failure::NodeLost);
            }
        }
    }

    /// A user sends a request now.
    pub fn arrive(&mut self, request: Request) {
        let session = self.sessions.len();
        self.sessions.push(Session::new(request, self.now));
        let text = Bytes(REQUEST_BYTES_PER_TOKEN * u64::from(request.prompt) + REQUEST_BYTES);
        let sending = request.air.up.map_or(Nanos::ZERO, |rate| transfer(text, rate));
        self.at(
            self.now + (request.air.latency + sending).0,
            Event::Enter(session),
        );
    }

    /// Lets time pass, up to and without `until`.
    pub fn advance(&mut self, until: Time) {
        while let Some(Reverse((time, ..))) = self.agenda.peek() {
            if *time >= until {
                break;
            }
            let Some(Reverse((time, _, event))) = self.agenda.pop() else {
                break;
            };
            self.now = time;
            self.books.events += 1;
            self.happens(event);
        }
        self.now = self.now.max(until);
    }

    fn at(&mut self, time: Time, event: Event) {
        self.created += 1;
        self.agenda.push(Reverse((time, self.created, event)));
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::End(node, number) => self.end(node, number),
            Event::Look(node) => {
                self.devices[node].looks_at.take_if(|time| *time <= self.now);
                self.compute(node);
            }
            Event::Enter(session)
            | Event::AtHead(session)
            | Event::GiveUp(session)
            | Event::Token(session)
            | Event::Verdict(session)
                if self.sessions[session].is_over() => {}
            Event::Reach(job) if self.sessions[job.session].is_over() => {}
            Event::Enter(session) => self.enter(session),
            Event::AtHead(session) => self.at_head(session),
            Event::GiveUp(session) => {
                if self.sessions[session].state == State::Waiting {
                    self.fail(session, Failure::Busy);
                }
            }
            Event::Reach(job) => self.reach(job),
            Event::Token(session) => self.token(session),
            Event::Verdict(session) => self.verdict(session),
        }
    }

    /// The ingress hands the request to the head of the pipeline that serves.
    fn enter(&mut self, session: usize) {
        let request = self.sessions[session].request;
        let Some(ingress) = request.ingress.filter(|node| self.alive[node.index()]) else {
            return self.fail(session, Failure::NodeLost);
        };
        let Some(pipeline) = self.routes[request.service] else {
            return self.fail(session, Failure::Unavailable);
        };
        self.sessions[session].pipeline = Some(pipeline);
        let leader = self.pipelines[pipeline.0].leader();
        let text = Bytes(REQUEST_BYTES_PER_TOKEN * u64::from(request.prompt) + REQUEST_BYTES);
        self.send((session, (ingress, leader)), text, Event::AtHead(session));
    }

    /// Sends a message of a session; without a link, the session fails.
    pub(super) fn send(&mut self, (session, way): (usize, (NodeOrd, NodeOrd)), bytes: Bytes, then: Event) {
        match self.network.send(&self.problem, self.now, way, bytes) {
            Some(time) => self.at(time, then),
            None => self.fail(session, Failure::LinkLost),
        }
    }

    fn at_head(&mut self, session: usize) {
        let Some(pipeline) = self.sessions[session].pipeline else {
            return;
        };
        let Open { pipeline, admits, .. } = &self.pipelines[pipeline.0];
        if !admits {
            return self.fail(session, Failure::Unavailable);
        }
        let known = &mut self.sessions[session];
        let room = pipeline.context_tokens.saturating_sub(known.request.prompt);
        if room == 0 || known.request.prompt == 0 {
            return self.fail(session, Failure::TooLong);
        }
        let chunks = known.request.prompt.div_ceil(pipeline.chunk_rows);
        known.chunk_rows = known.request.prompt.div_ceil(chunks);
        known.answer = known.request.output.clamp(1, room);
        known.state = State::Waiting;
        let place = known.pipeline.map_or(0, |pipeline| pipeline.0);
        self.pipelines[place].waiting.push_back(session);
        self.seat(PipelineId(place));
        if self.sessions[session].state == State::Waiting {
            self.at(self.now + self.patience.0, Event::GiveUp(session));
        }
    }

    /// Gives free seats to those who wait, in order.
    fn seat(&mut self, pipeline: PipelineId) {
        loop {
            let open = &mut self.pipelines[pipeline.0];
            if open.taken == open.pipeline.sessions || !open.admits {
                return;
            }
            let Some(session) = open.waiting.pop_front() else {
                return;
            };
            open.taken += 1;
            self.sessions[session].state = State::Running;
            self.hold(pipeline, u64::from(self.sessions[session].request.prompt));
            self.begin(session, pipeline);
        }
    }

    /// The session's prompt goes into the pipeline, or its assistant first.
    fn begin(&mut self, session: usize, pipeline: PipelineId) {
        let job = Job {
            session,
            pipeline,
            stage: 0,
            step: Step::Chunk(0),
        };
        match self.pipelines[pipeline.0].pipeline.shape.assistant {
            None => self.reach(job),
            Some(assistant) => self.begin_assisted(job, assistant),
        }
    }

    /// So many more positions are held.
    pub(super) fn hold(&mut self, pipeline: PipelineId, positions: u64) {
        let open = &mut self.pipelines[pipeline.0];
        open.cells += positions;
        let room = u64::from(open.pipeline.context_tokens) * u64::from(open.pipeline.sessions);
        let peak = &mut self.books.cells_peak[open.pipeline.service];
        if open.cells * peak.1.max(1) >= peak.0 * room {
            *peak = (open.cells, room);
        }
    }

    pub(super) fn reach(&mut self, job: Job) {
        let node = self.pipelines[job.pipeline.0].node(job.stage);
        let device = &mut self.devices[node.index()];
        device
            .company
            .arrived((job.pipeline, job.stage), job.session, self.now);
        device.push(job);
        self.look(node.index(), self.now);
    }

    /// A node is to look for work then, behind everything else that happens at that time.
    fn look(&mut self, node: usize, time: Time) {
        let looks_at = &mut self.devices[node].looks_at;
        if looks_at.is_none_or(|known| time < known) {
            *looks_at = Some(time);
            self.at(time, Event::Look(node));
        }
    }

    fn compute(&mut self, node: usize) {
        if self.devices[node].running.is_some() || !self.alive[node] {
            return;
        }
        let (pipelines, sessions) = (&self.pipelines, &self.sessions);
        let is_over = |job: &Job| sessions[job.session].is_over();
        let device = &mut self.devices[node];
        let awaited = device
            .decodes_next(is_over)
            .and_then(|stage| device.company.worth_waiting(stage, self.now));
        if let Some(until) = awaited {
            return self.look(node, until);
        }
        let jobs = device.next(
            |job| pipelines[job.pipeline.0].pipeline.chunk_rows as usize,
            is_over,
        );
        let Some(time) = self.time_of(&jobs) else {
            return;
        };
        self.batches += 1;
        let number = self.batches;
        self.devices[node].running = Some(Running {
            jobs,
            began: self.now,
            number,
        });
        self.at(self.now + time.0, Event::End(node, number));
    }

    fn time_of(&self, jobs: &[Job]) -> Option<Nanos> {
        let first = jobs.first()?;
        let open = &self.pipelines[first.pipeline.0];
        let (node, candidate, layers) = open.place(&self.problem, first.stage);
        let rows = open.rows_of(first);
        let batch = match first.step {
            Step::Chunk(ordinal) => {
                let session = &self.sessions[first.session];
                let (rows, ends) = session.chunk(ordinal);
                let history = u64::from(ordinal) * u64::from(session.chunk_rows);
                let ends = ends && !open.only_reads(first);
                Batch::Prompt { rows, history, ends }
            }
            Step::Token(_) => {
                let held: u64 = jobs
                    .iter()
                    .map(|job| self.sessions[job.session].positions())
                    .sum();
                let sessions = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
                let history = held / jobs.len() as u64;
                match rows {
                    1 => Batch::Tokens { sessions, history },
                    rows => Batch::Drafted {
                        sessions,
                        rows,
                        history,
                    },
                }
            }
        };
        let time = batch_time(&self.problem, node, candidate, layers, batch);
        Some(time.expect("stages run on nodes whose speed is known"))
    }

    fn end(&mut self, node: usize, number: u64) {
        let ends = |running: &mut Running| running.number == number;
        let Some(running) = self.devices[node].running.take_if(ends) else {
            return;
        };
        self.write_down(node, &running);
        self.keep_company(node, &running);
        for job in running.jobs {
            if !self.sessions[job.session].is_over() {
                self.go_on(job);
            }
        }
        self.look(node, self.now);
    }

    /// Sessions that got a token together are waited for together.
    fn keep_company(&mut self, node: usize, running: &Running) {
        let Some(first) = running.jobs.first() else {
            return;
        };
        let shape = &self.pipelines[first.pipeline.0].pipeline.shape;
        let is_whole = shape.stages.len() == 1 && shape.assistant.is_none();
        let sessions = &self.sessions;
        let goes_on = |job: &&Job| {
            let session = &sessions[job.session];
            let has_token = match job.step {
                Step::Chunk(ordinal) => session.chunk(ordinal).1,
                Step::Token(_) => true,
            };
            has_token && !session.is_over()
        };
        let going_on = running.jobs.iter().filter(goes_on).map(|job| job.session);
        self.devices[node].company.computed(
            (first.pipeline, first.stage),
            going_on,
            is_whole,
            self.now - running.began,
            self.now,
        );
    }

    fn write_down(&mut self, node: usize, running: &Running) {
        let Some(first) = running.jobs.first() else {
            return;
        };
        let service = self.pipelines[first.pipeline.0].pipeline.service;
        self.books.busy[node][service] += self.now - running.began;
        let last_stage = self.pipelines[first.pipeline.0].pipeline.shape.stages.len() - 1;
        if let (Step::Token(_), true) = (first.step, first.stage == last_stage) {
            let (batches, tokens) = &mut self.books.batches[service];
            *batches += 1;
            *tokens += running.jobs.len() as u64;
        }
        if let Some(log) = &mut self.books.log {
            let sessions = &self.sessions;
            let member = |job: &Job| {
                let before = match job.step {
                    Step::Chunk(ordinal) => ordinal,
                    Step::Token(generated) => {
                        let session = &sessions[job.session];
                        session.request.prompt.div_ceil(session.chunk_rows) + generated - 1
                    }
                };
                (job.session, before)
            };
            log.push(Batched {
                node: NodeOrd::from_index(node),
                pipeline: first.pipeline,
                stage: first.stage,
                began: running.began,
                ended: self.now,
                members: running.jobs.iter().map(member).collect(),
            });
        }
    }

    /// Rows leave a stage.
    fn go_on(&mut self, job: Job) {
        let Job {
            session,
            pipeline,
            stage,
            step,
        } = job;
        let open = &self.pipelines[pipeline.0];
        if open.is_assistant(stage) {
            return self.assistant_goes_on(job);
        }
        let (rows, ends) = match step {
            Step::Chunk(ordinal) => self.sessions[session].chunk(ordinal),
            Step::Token(_) => (open.rows_of(&job), true),
        };
        if let (Step::Chunk(ordinal), 0) = (step, stage) {
            let service = self.sessions[session].request.service;
            self.books.prompt_tokens[service] += u64::from(rows);
            if !ends {
                let step = Step::Chunk(ordinal + 1);
                self.reach(Job { step, ..job });
            }
        }
        let open = &self.pipelines[pipeline.0].pipeline;
        let stages = &open.shape.stages;
        let node = stages[stage].node;
        if let Some(next) = stages.get(stage + 1) {
            let bytes = open.row_bytes[stage].times(u64::from(rows)) + Bytes(FRAME_BYTES);
            let reach = Event::Reach(Job {
                stage: stage + 1,
                ..job
            });
            self.send((session, (node, next.node)), bytes, reach);
        } else if ends {
            let head = stages[0].node;
            let bytes = match (step, rows) {
                (Step::Chunk(_), _) | (Step::Token(_), 1) => Bytes(TOKEN_BYTES),
                (Step::Token(_), rows) => draft_bytes(rows),
            };
            self.send((session, (node, head)), bytes, Event::Token(session));
        }
    }

    /// The head has a token: it streams it to the user, and goes on or ends.
    fn token(&mut self, session: usize) {
        let Some(pipeline) = self.sessions[session].pipeline else {
            return;
        };
        if self.pipelines[pipeline.0].drafts().is_some() {
            return self.tell_drafter(session, pipeline);
        }
        let Some(generated) = self.show(session, pipeline, 1) else {
            return;
        };
        self.reach(Job {
            session,
            pipeline,
            stage: 0,
            step: Step::Token(generated),
        });
    }

    /// So many tokens more go to the user, as one message; how many there are now, unless the answer ends with them or cannot
    /// be told.
    pub(super) fn show(&mut self, session: usize, pipeline: PipelineId, tokens: u32) -> Option<u32> {
        let request = self.sessions[session].request;
        let open = &self.pipelines[pipeline.0];
        let (head, leader) = (open.teller(&self.sessions[session]), open.leader());
        let ingress = request.ingress.unwrap_or(leader);
        let event = Bytes(EVENT_BYTES).times(u64::from(tokens));
        let mut time = Some(self.now);
        for way in [(head, leader), (leader, ingress)] {
            time = time.and_then(|time| self.network.send(&self.problem, time, way, event));
        }
        let Some(time) = time else {
            self.fail(session, Failure::LinkLost);
            return None;
        };
        let sending = request.air.down.map_or(Nanos::ZERO, |rate| transfer(event, rate));
        let shown = time + (request.air.latency + sending).0;
        let known = &mut self.sessions[session];
        known.first.get_or_insert(shown);
        known.last = known.last.max(shown);
        known.generated += tokens;
        let (generated, is_last) = (known.generated, known.generated == known.answer);
        self.books.tokens[request.service] += u64::from(tokens);
        self.hold(pipeline, u64::from(tokens));
        if is_last {
            self.over(session, State::Done);
            return None;
        }
        Some(generated)
    }

    fn fail(&mut self, session: usize, failure: Failure) {
        if !self.sessions[session].is_over() {
            self.over(session, State::Failed(failure));
        }
    }

    fn over(&mut self, session: usize, state: State) {
        let known = &mut self.sessions[session];
        let was = std::mem::replace(&mut known.state, state);
        known.ended = Some(self.now);
        let positions = known.positions();
        let Some(pipeline) = known.pipeline else {
            return;
        };
        let open = &mut self.pipelines[pipeline.0];
        let shape = &open.pipeline.shape;
        let stages = shape.stages.iter().map(|stage| stage.node.index());
        let assistant = shape.assistant.iter().map(|assistant| assistant.node.index());
        let nodes: Vec<usize> = stages.chain(assistant).collect();
        match was {
            State::Running => {
                open.taken -= 1;
                open.cells -= positions;
                self.seat(pipeline);
            }
            State::Waiting => open.waiting.retain(|waiting| *waiting != session),
            State::Coming | State::Done | State::Failed(_) => {}
        }
        for (stage, node) in nodes.into_iter().enumerate() {
            self.devices[node].company.left((pipeline, stage), session);
            self.look(node, self.now);
        }
    }
}
