//! Models as families: which blocks are shared, seen from storage.
//!
//! Blocks that the same models contain are one *chunk*; blocks of one model only are the model's *own* bytes. Models with
//! the same chunks are a *family*: a base model and its adapters are one chunk and one family, frozen bottom layers of
//! several depths are a chain of chunks with a family for each depth.

use std::collections::BTreeMap;

use super::CachingProblem;
use crate::units::{BlockOrd, Bytes};

/// Position of a chunk.
pub(crate) type Chunk = u32;

/// The models of a problem, by what they share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Library {
    /// Bytes of no other model, by model.
    pub(crate) own_bytes: Vec<u64>,
    /// The blocks behind them.
    own_blocks: Vec<Vec<BlockOrd>>,
    /// Family of each model.
    pub(crate) family: Vec<u32>,
    /// Chunks of each family.
    pub(crate) families: Vec<Vec<Chunk>>,
    /// Size of each chunk.
    pub(crate) chunk_bytes: Vec<u64>,
    /// The blocks behind them.
    chunk_blocks: Vec<Vec<BlockOrd>>,
    /// How many families contain each chunk.
    pub(crate) chunk_families: Vec<u32>,
}

impl Library {
    pub(crate) fn new(problem: &CachingProblem) -> Self {
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); problem.blocks.len()];
        for (model, blocks) in (0..).zip(&problem.models) {
            blocks.iter().for_each(|block| users[block.index()].push(model));
        }
        let mut by_users: BTreeMap<Vec<u32>, Vec<BlockOrd>> = BTreeMap::new();
        for (index, models) in users.into_iter().enumerate() {
            by_users
                .entry(models)
                .or_default()
                .push(BlockOrd::from_index(index));
        }
        let mut library = Self {
            own_bytes: vec![0; problem.models.len()],
            own_blocks: vec![Vec::new(); problem.models.len()],
            ..Self::default()
        };
        let mut chunks_of: Vec<Vec<Chunk>> = vec![Vec::new(); problem.models.len()];
        for (models, blocks) in by_users {
            let bytes: Bytes = blocks.iter().map(|block| problem.blocks[block.index()]).sum();
            match models.as_slice() {
                [] => {}
                [model] => {
                    library.own_bytes[*model as usize] = bytes.0;
                    library.own_blocks[*model as usize] = blocks;
                }
                sharers => {
                    let chunk = as_u32(library.chunk_bytes.len());
                    sharers
                        .iter()
                        .for_each(|model| chunks_of[*model as usize].push(chunk));
                    library.chunk_bytes.push(bytes.0);
                    library.chunk_blocks.push(blocks);
                }
            }
        }
        library.found_families(chunks_of);
        library
    }

    /// So many chunks, each shared by the models of one family and by no others. The models are the caller's.
    pub(crate) fn of_chunks(chunk_bytes: Vec<u64>) -> Self {
        let chunks = 0..as_u32(chunk_bytes.len());
        Self {
            families: chunks.map(|chunk| vec![chunk]).collect(),
            chunk_families: vec![1; chunk_bytes.len()],
            chunk_bytes,
            ..Self::default()
        }
    }

    fn found_families(&mut self, chunks_of: Vec<Vec<Chunk>>) {
        let mut known: BTreeMap<Vec<Chunk>, u32> = BTreeMap::new();
        self.chunk_families = vec![0; self.chunk_bytes.len()];
        for chunks in chunks_of {
            let next = as_u32(self.families.len());
            let family = *known.entry(chunks.clone()).or_insert(next);
            self.family.push(family);
            if family == next {
                chunks
                    .iter()
                    .for_each(|chunk| self.chunk_families[*chunk as usize] += 1);
                self.families.push(chunks);
            }
        }
    }

    /// Adds a model of known shared blocks and a block of its own; `false`, and nothing is added, unless those are what a
    /// family shares.
    pub(crate) fn add_model(&mut self, own: Bytes, block: BlockOrd, shared: &[BlockOrd]) -> bool {
        let mut shared = shared.to_vec();
        shared.sort_unstable();
        let blocks_of = |chunks: &Vec<Chunk>| {
            let mut blocks: Vec<BlockOrd> = chunks
                .iter()
                .flat_map(|chunk| &self.chunk_blocks[*chunk as usize])
                .copied()
                .collect();
            blocks.sort_unstable();
            blocks
        };
        let Some(family) = self
            .families
            .iter()
            .position(|chunks| blocks_of(chunks) == shared)
        else {
            return false;
        };
        self.own_bytes.push(own.0);
        self.own_blocks.push(vec![block]);
        self.family.push(as_u32(family));
        true
    }

    /// Size of a model, shared chunks included.
    pub(crate) fn model_bytes(&self, model: u32) -> u64 {
        let chunks = &self.families[self.family[model as usize] as usize];
        let shared: u64 = chunks.iter().map(|chunk| self.chunk_bytes[*chunk as usize]).sum();
        shared + self.own_bytes[model as usize]
    }

    /// Price of bringing a model's own blocks to where some blocks are held.
    pub(crate) fn fetch_own(&self, problem: &CachingProblem, model: u32, held: &[BlockOrd]) -> u64 {
        fetch(problem, &self.own_blocks[model as usize], held)
    }

    /// Price of bringing a chunk to where some blocks are held.
    pub(crate) fn fetch_chunk(&self, problem: &CachingProblem, chunk: Chunk, held: &[BlockOrd]) -> u64 {
        fetch(problem, &self.chunk_blocks[chunk as usize], held)
    }
}

/// Each block's price is rounded up to whole units.
fn fetch(problem: &CachingProblem, blocks: &[BlockOrd], held: &[BlockOrd]) -> u64 {
    let missing = blocks.iter().filter(|block| held.binary_search(block).is_err());
    missing
        .map(|block| {
            let exact = u128::from(problem.blocks[block.index()].0) * u128::from(problem.fetch_price);
            u64::try_from(exact.div_ceil(1 << 30)).unwrap_or(u64::MAX)
        })
        .fold(0, u64::saturating_add)
}

/// A count as an ordinal: no list of a problem is that long.
pub(crate) fn as_u32(index: usize) -> u32 {
    u32::try_from(index).expect("a problem holds fewer than 2^32 items")
}
