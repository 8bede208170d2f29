//! Lazy greedy: again and again the model and server with the largest gain that still fits (TrimCaching Gen, arXiv
//! 2405.03990, made lazy after Minoux 1978).
//!
//! Gains only fall while others store more, so an old gain is a bound: it is computed again only when it leads. Where a
//! server gets a new chunk, the new bytes of its other models fall, and that server's gains are all computed again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Place;
use super::index::Index;
use super::library::as_u32;
use super::stock::Stock;
use crate::search::Meter;

/// What the largest gain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreedyRule {
    /// Worth.
    Gain,
    /// Worth per byte that is not there yet.
    GainPerByte,
}

/// Places by the largest gain.
#[derive(Clone, Copy, Debug)]
pub(super) struct LazyGreedy(pub(super) GreedyRule);

impl Place for LazyGreedy {
    fn place(&self, index: &Index, meter: &mut Meter<'_>) -> Stock {
        let mut greedy = Greedy {
            index,
            rule: self.0,
            stock: Stock::empty(index),
            shops: index.shelves.iter().map(|_| Shop::new(index)).collect(),
            leaders: BinaryHeap::new(),
        };
        for server in 0..index.shelves.len() {
            greedy.reprice(server, meter);
            greedy.nominate(server);
        }
        while let Some((_, Reverse(server))) = greedy.leaders.pop() {
            if !meter.spend(0) {
                break;
            }
            greedy.advance(server as usize, meter);
        }
        greedy
            .stock
            .positions
            .iter_mut()
            .for_each(|positions| positions.sort_unstable());
        greedy.stock
    }
}

/// A gain that was once right, and the position of the model that has it: the larger gain first, then the lower position.
type Offer = (Key, Reverse<u32>);

/// A finite number that sorts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Key(f64);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One server during the search.
struct Shop {
    offers: BinaryHeap<Offer>,
    /// Chunks that are there, by ordinal.
    chunks: Vec<bool>,
    bytes: u64,
}

impl Shop {
    fn new(index: &Index) -> Self {
        Self {
            offers: BinaryHeap::new(),
            chunks: vec![false; index.library.chunk_bytes.len()],
            bytes: 0,
        }
    }
}

struct Greedy<'a> {
    index: &'a Index,
    rule: GreedyRule,
    stock: Stock,
    shops: Vec<Shop>,
    /// The leading offer of each server.
    leaders: BinaryHeap<(Key, Reverse<u32>)>,
}

impl Greedy<'_> {
    /// Bytes and price of what storing a model would bring to a server.
    fn news(&self, server: usize, position: usize) -> (u64, u64) {
        let (library, shelf) = (&self.index.library, &self.index.shelves[server]);
        let model = shelf.models[position] as usize;
        let (mut bytes, mut price) = (library.own_bytes[model], shelf.fetch(position));
        for &chunk in &library.families[library.family[model] as usize] {
            if !self.shops[server].chunks[chunk as usize] {
                bytes += library.chunk_bytes[chunk as usize];
                price += shelf.chunk_price(chunk);
            }
        }
        (bytes, price)
    }

    /// The key of a model now; nothing if it does not fit or gains nothing.
    #[allow(clippy::cast_precision_loss, reason = "values and sizes stay below 2^53")]
    fn key(&self, server: usize, position: usize) -> Option<Key> {
        let shelf = &self.index.shelves[server];
        let (bytes, price) = self.news(server, position);
        if self.shops[server].bytes + bytes > shelf.capacity {
            return None;
        }
        let free = shelf
            .rows(position)
            .iter()
            .filter(|row| self.stock.holders[**row as usize] == 0);
        let served: u64 = free.map(|row| self.index.rows[*row as usize].value).sum();
        if served <= price {
            return None;
        }
        let gain = (served - price) as f64;
        Some(Key(match self.rule {
            GreedyRule::Gain => gain,
            GreedyRule::GainPerByte => gain / bytes as f64,
        }))
    }

    /// Computes all offers of a server again.
    fn reprice(&mut self, server: usize, meter: &mut Meter<'_>) {
        let shelf = &self.index.shelves[server];
        meter.spend(shelf.num_pairs() as u64);
        let mut offers = std::mem::take(&mut self.shops[server].offers).into_vec();
        offers.clear();
        for position in 0..as_u32(shelf.models.len()) {
            // What is stored gains nothing more.
            if let Some(key) = self.key(server, position as usize) {
                offers.push((key, Reverse(position)));
            }
        }
        self.shops[server].offers = BinaryHeap::from(offers);
    }

    /// Lets a server's leading offer compete.
    fn nominate(&mut self, server: usize) {
        if let Some((key, _)) = self.shops[server].offers.peek() {
            self.leaders.push((*key, Reverse(as_u32(server))));
        }
    }

    /// Computes the leading offer of a server again; takes it if it still leads all.
    fn advance(&mut self, server: usize, meter: &mut Meter<'_>) {
        let Some((_, Reverse(position))) = self.shops[server].offers.pop() else {
            return;
        };
        meter.spend(4);
        if let Some(key) = self.key(server, position as usize) {
            let offer = (key, Reverse(position));
            let leads_here = self.shops[server]
                .offers
                .peek()
                .is_none_or(|other| offer > *other);
            let nominee = (key, Reverse(as_u32(server)));
            if leads_here && self.leaders.peek().is_none_or(|other| nominee > *other) {
                self.take(server, position, meter);
            } else {
                self.shops[server].offers.push(offer);
            }
        }
        self.nominate(server);
    }

    fn take(&mut self, server: usize, position: u32, meter: &mut Meter<'_>) {
        let (library, shelf) = (&self.index.library, &self.index.shelves[server]);
        let (bytes, _) = self.news(server, position as usize);
        self.shops[server].bytes += bytes;
        self.stock.positions[server].push(position);
        for &row in shelf.rows(position as usize) {
            self.stock.holders[row as usize] += 1;
        }
        let model = shelf.models[position as usize] as usize;
        let mut has_news = false;
        for &chunk in &library.families[library.family[model] as usize] {
            let here = &mut self.shops[server].chunks[chunk as usize];
            has_news |= !*here;
            *here = true;
        }
        if has_news {
            self.reprice(server, meter);
        }
    }
}
