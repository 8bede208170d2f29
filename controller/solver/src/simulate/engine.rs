//! The event loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::load::{Length, Load};
use super::node::{Server, Waiting};
use super::report::{Latency, Report};
use super::route::{Hop, Memory, Router};
use super::{Scenario, Window};
use crate::random::Random;

/// Nanoseconds.
type Time = u64;

const SECOND: f64 = 1e9;
/// Between requests that a saturated load sends at its beginning, and before those that it sends later.
const PAUSE: Time = 100_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request comes to the door.
    Arrive(Length32),
    /// A session reaches the hop that it was sent to.
    Reach(usize),
    /// A node ends its batch.
    End(usize),
    /// A session's token has come back to the door.
    Return(usize),
}

/// A [`Length`] that can be ordered among events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Length32(u32, u32);

/// A request under way.
struct Session {
    length: Length,
    hops: Vec<Hop>,
    /// Where it is: a place in `hops`.
    at: usize,
    /// Rounds that are done: the prompt, then tokens.
    rounds: u32,
    arrived: Time,
    round_began: Time,
}

impl Session {
    /// Tokens that move together in this round.
    fn tokens(&self) -> u32 {
        if self.rounds == 0 { self.length.prompt } else { 1 }
    }
}

struct Simulation<'s> {
    scenario: &'s Scenario<'s>,
    now: Time,
    created: u64,
    agenda: BinaryHeap<Reverse<(Time, u64, Event)>>,
    servers: Vec<Option<Server<'s>>>,
    memory: Vec<Memory>,
    router: Router<'s>,
    /// By link: when it has sent what it was given.
    free_at: Vec<Time>,
    sessions: Vec<Session>,
    unused: Vec<usize>,
    door: VecDeque<(Length, Time)>,
    random: Random,
    in_flight: usize,
    seen: Seen,
}

/// What is counted in the window.
struct Seen {
    from: Time,
    until: Time,
    tokens: u64,
    prompt: Vec<f64>,
    decode: Vec<f64>,
    busy: Vec<Time>,
    kv_peak: f64,
    finished: usize,
    rejected: usize,
    events: u64,
}

/// Simulates a scenario until the end of its window.
///
/// # Panics
/// When the layout does not fit the cluster, or the routing sends over links that are not there: callers check layouts
/// ([`Layout::check`](crate::region::Layout::check)) and derive routings from them.
#[must_use]
pub fn run(scenario: &Scenario<'_>) -> Report {
    let mut simulation = Simulation::new(scenario);
    simulation.begin();
    simulation.work();
    simulation.report()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a simulation, rounded"
)]
fn nanoseconds(seconds: f64) -> Time {
    (seconds * SECOND).round() as Time
}

impl<'s> Simulation<'s> {
    fn new(scenario: &'s Scenario<'s>) -> Self {
        let Scenario {
            cluster,
            layout,
            routing,
            load,
            window,
            ..
        } = *scenario;
        let num_nodes = cluster.nodes.len();
        let mut entries = vec![Vec::new(); num_nodes + 1];
        for (from, edges) in routing.0.iter().enumerate() {
            let end = layout.0.get(from).map_or(0, |range| range.end);
            for (to, _) in edges {
                entries[*to].push(end);
            }
        }
        let server = |node: usize| {
            let range = &layout.0[node];
            let bytes = cluster.activation_bytes;
            (!range.is_empty()).then(|| Server::new(cluster.type_of(node), range, &entries[node], bytes))
        };
        // Memory of nodes that no request reaches is nobody's.
        let capacity = |node: usize| match layout.0[node].len() {
            0 => 0.0,
            _ if entries[node].is_empty() => 0.0,
            layers => cluster.type_of(node).limits[layers - 1].kv_tokens * layers as f64,
        };
        let memory = |node| Memory {
            capacity: capacity(node),
            reserved: 0.0,
            used: 0.0,
        };
        let seed = match load {
            Load::Saturated { seed, .. } | Load::Population { seed, .. } => *seed,
            Load::Arrivals(_) => 0,
        };
        Self {
            scenario,
            now: 0,
            created: 0,
            agenda: BinaryHeap::new(),
            servers: (0..num_nodes).map(server).collect(),
            memory: (0..num_nodes).map(memory).collect(),
            router: Router::new(cluster, layout, routing),
            free_at: vec![0; (num_nodes + 1) * (num_nodes + 1)],
            sessions: Vec::new(),
            unused: Vec::new(),
            door: VecDeque::new(),
            random: Random::seeded(seed),
            in_flight: 0,
            seen: Seen::new(window, num_nodes),
        }
    }

    fn begin(&mut self) {
        match self.scenario.load {
            Load::Saturated { initial: size, .. } | Load::Population { size, .. } => {
                for index in 0..*size {
                    let length = self.draw();
                    self.at(index as Time * PAUSE, Event::Arrive(length));
                }
            }
            Load::Arrivals(requests) => {
                for request in requests {
                    let Length { prompt, output } = request.length;
                    self.at(
                        nanoseconds(request.arrival),
                        Event::Arrive(Length32(prompt, output)),
                    );
                }
            }
        }
    }

    fn draw(&mut self) -> Length32 {
        match self.scenario.load {
            Load::Saturated { lengths, .. } | Load::Population { lengths, .. } => {
                let Length { prompt, output } = lengths[self.random.below(lengths.len())];
                Length32(prompt, output)
            }
            Load::Arrivals(_) => unreachable!("arrivals are given, not drawn"),
        }
    }

    fn at(&mut self, time: Time, event: Event) {
        self.created += 1;
        self.agenda.push(Reverse((time, self.created, event)));
    }

    fn work(&mut self) {
        while let Some(Reverse((time, _, event))) = self.agenda.pop() {
            if time >= self.seen.until {
                break;
            }
            self.now = time;
            self.seen.events += 1;
            match event {
                Event::Arrive(Length32(prompt, output)) => self.arrive(Length { prompt, output }),
                Event::Reach(session) => self.reach(session),
                Event::End(node) => self.end(node),
                Event::Return(session) => self.come_back(session),
            }
        }
    }

    fn arrive(&mut self, length: Length) {
        match self.scenario.load {
            Load::Saturated { .. } => {
                if !self.admit(length, self.now) {
                    self.seen.rejected += 1;
                }
            }
            Load::Population { .. } | Load::Arrivals(_) => {
                self.door.push_back((length, self.now));
                self.open_the_door();
            }
        }
    }

    /// Admits those who wait, in order, until there is no memory for the first of them.
    fn open_the_door(&mut self) {
        while let Some((length, arrived)) = self.door.front().copied() {
            if !self.admit(length, arrived) {
                break;
            }
            self.door.pop_front();
        }
    }

    fn reserved_per_layer(&self, length: Length) -> f64 {
        (f64::from(length.prompt) + self.scenario.admission.answer_tokens).floor()
    }

    /// Whether there was a pipeline with memory.
    fn admit(&mut self, length: Length, arrived: Time) -> bool {
        let tokens = self.reserved_per_layer(length);
        let high_water = self.scenario.admission.high_water;
        let Some(hops) = self
            .router
            .choose(&self.memory, tokens, high_water, f64::from(length.prompt))
        else {
            return false;
        };
        for hop in &hops {
            self.memory[hop.node].reserved += tokens * hop.layers as f64;
        }
        let session = Session {
            length,
            hops,
            at: 0,
            rounds: 0,
            arrived,
            round_began: self.now,
        };
        let place = match self.unused.pop() {
            Some(place) => {
                self.sessions[place] = session;
                place
            }
            None => {
                self.sessions.push(session);
                self.sessions.len() - 1
            }
        };
        self.in_flight += 1;
        self.send(place, self.scenario.cluster.door());
        true
    }

    /// Sends a session's tokens from a node, or the door, to where it goes next.
    fn send(&mut self, place: usize, from: usize) {
        let cluster = self.scenario.cluster;
        let session = &self.sessions[place];
        let to = session
            .hops
            .get(session.at)
            .map_or(cluster.door(), |hop| hop.node);
        let link = cluster.link(from, to).expect("routings use links that are there");
        let bytes = f64::from(session.tokens()) * cluster.token_bytes_between(from, to);
        let free_at = &mut self.free_at[from * (cluster.door() + 1) + to];
        *free_at = (*free_at).max(self.now) + nanoseconds(bytes / link.rate);
        let time = *free_at + nanoseconds(link.latency);
        let event = if to == cluster.door() {
            Event::Return(place)
        } else {
            Event::Reach(place)
        };
        self.at(time, event);
    }

    fn reach(&mut self, place: usize) {
        let session = &self.sessions[place];
        let hop = session.hops[session.at];
        let prompt_tokens = if session.rounds == 0 {
            session.length.prompt
        } else {
            0
        };
        let server = self.servers[hop.node]
            .as_mut()
            .expect("pipelines go through nodes that hold layers");
        server.enter(
            Waiting {
                session: place,
                prompt_tokens,
            },
            hop.entry,
        );
        self.compute(hop.node);
    }

    fn compute(&mut self, node: usize) {
        let Some(seconds) = self.servers[node].as_mut().and_then(Server::begin) else {
            return;
        };
        let end = self.now + nanoseconds(seconds);
        self.seen.busy(node, self.now, end);
        self.at(end, Event::End(node));
    }

    fn end(&mut self, node: usize) {
        let leaving = self.servers[node].as_mut().map(Server::end).unwrap_or_default();
        for waiting in leaving {
            self.sessions[waiting.session].at += 1;
            self.send(waiting.session, node);
        }
        self.compute(node);
    }

    /// A round is done: the next token, or the end.
    fn come_back(&mut self, place: usize) {
        let session = &mut self.sessions[place];
        let was_prompt = session.rounds == 0;
        let tokens = f64::from(session.tokens());
        self.seen.round(session, self.now);
        session.rounds += 1;
        session.at = 0;
        session.round_began = self.now;
        let done = session.rounds > session.length.output;
        for hop in &session.hops {
            let memory = &mut self.memory[hop.node];
            memory.used += tokens * hop.layers as f64;
            self.seen.kv_peak = self.seen.kv_peak.max(memory.used / memory.capacity);
        }
        if done {
            self.finish(place);
        } else {
            self.router.count(&self.sessions[place].hops, 1.0);
            self.send(place, self.scenario.cluster.door());
        }
        self.feed(was_prompt, done);
    }

    fn finish(&mut self, place: usize) {
        let hops = std::mem::take(&mut self.sessions[place].hops);
        let length = self.sessions[place].length;
        let reserved = self.reserved_per_layer(length);
        let used = f64::from(length.prompt + length.output);
        for hop in hops {
            let memory = &mut self.memory[hop.node];
            memory.reserved -= reserved * hop.layers as f64;
            memory.used -= used * hop.layers as f64;
        }
        self.unused.push(place);
        self.in_flight -= 1;
        self.seen.finished += usize::from(self.seen.counts(self.now));
        self.open_the_door();
    }

    /// Offline loads send another request.
    fn feed(&mut self, was_prompt: bool, done: bool) {
        let more = match self.scenario.load {
            Load::Saturated { mark, .. } => (was_prompt || done) && self.fullest_layer() <= *mark,
            Load::Population { .. } => done,
            Load::Arrivals(_) => false,
        };
        if more {
            let length = self.draw();
            self.at(self.now + PAUSE, Event::Arrive(length));
        }
    }

    /// Part of the memory of all holders of a layer that is reserved, for the fullest layer.
    fn fullest_layer(&self) -> f64 {
        let mut sums = vec![(0.0, 0.0); self.scenario.cluster.num_layers];
        for (node, range) in self.scenario.layout.holders() {
            let Memory {
                capacity, reserved, ..
            } = &self.memory[node];
            for (taken, total) in &mut sums[range.clone()] {
                *taken += reserved / range.len() as f64;
                *total += capacity / range.len() as f64;
            }
        }
        sums.iter()
            .map(|(taken, total)| taken / total)
            .fold(0.0, f64::max)
    }

    fn report(self) -> Report {
        let Window { seconds, .. } = self.scenario.window;
        let per_batch = |server: &Option<Server<'_>>| {
            server.as_ref().map_or(0.0, |server| {
                server.sequences as f64 / server.batches.max(1) as f64
            })
        };
        Report {
            decode_tokens_per_second: self.seen.tokens as f64 / seconds,
            prompt: Latency::of(self.seen.prompt),
            decode: Latency::of(self.seen.decode),
            busy: self
                .seen
                .busy
                .iter()
                .map(|busy| *busy as f64 / (seconds * SECOND))
                .collect(),
            batch: self.servers.iter().map(per_batch).collect(),
            kv_peak: self.seen.kv_peak,
            finished: self.seen.finished,
            rejected: self.seen.rejected,
            waiting: self.door.len(),
            in_flight: self.in_flight,
            events: self.seen.events,
        }
    }
}

impl Seen {
    fn new(window: Window, num_nodes: usize) -> Self {
        Self {
            from: nanoseconds(window.warm_up),
            until: nanoseconds(window.warm_up + window.seconds),
            tokens: 0,
            prompt: Vec::new(),
            decode: Vec::new(),
            busy: vec![0; num_nodes],
            kv_peak: 0.0,
            finished: 0,
            rejected: 0,
            events: 0,
        }
    }

    fn counts(&self, time: Time) -> bool {
        (self.from..self.until).contains(&time)
    }

    fn round(&mut self, session: &Session, now: Time) {
        if !self.counts(now) {
            return;
        }
        if session.rounds == 0 {
            self.prompt.push((now - session.arrived) as f64 / SECOND);
        } else {
            self.tokens += 1;
            self.decode.push((now - session.round_began) as f64 / SECOND);
        }
    }

    fn busy(&mut self, node: usize, begin: Time, end: Time) {
        self.busy[node] += end.min(self.until).saturating_sub(begin.max(self.from));
    }
}
