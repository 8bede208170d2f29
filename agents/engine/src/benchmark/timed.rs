//! What of a model is timed: the layers that become stages, their sessions, and the places of the file that they need.

use std::{ops::Range, path::Path};

use crate::{Error, LoadStage, ModelFacts, Result, StageId, architecture, gguf::Gguf, stage_file};

/// Batches up to this size decode, too, one row for each session.
const SESSIONS: u32 = 8;
/// Positions that a session holds before a batch that continues it.
const HELD: u32 = 384;

/// What of a model's file the benchmark reads beside its header, in ascending order and apart from each other. A file with
/// holes elsewhere can be timed: of an embedding table that is not the head too, the times of looking rows up are then those
/// of empty pages.
///
/// # Errors
///
/// Those of a model that cannot be timed.
pub fn places(model: &Gguf) -> Result<Vec<Range<u64>>> {
    let facts = ModelFacts::of(model)?;
    let Parts::Layers(layers) = Parts::of(model, &facts)? else {
        let all = model.header_bytes..model.file_bytes;
        return Ok(vec![all]);
    };
    let mut places = Vec::new();
    for layers in layers {
        places.extend(stage_file::places(model, &facts, &layers)?);
    }
    places.sort_unstable_by_key(|place| place.start);
    Ok(places
        .into_iter()
        .fold(Vec::new(), |mut apart: Vec<Range<u64>>, place| {
            match apart.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => apart.push(place),
            }
            apart
        }))
}

/// Which layers are stages of their own while they are timed.
#[derive(Clone, Debug)]
pub(super) enum Parts {
    /// One layer, three, and the last. Not the first layer: a first stage looks embeddings up, which is timed by itself.
    Layers([Range<u32>; 3]),
    /// All layers, of which there are so many.
    Whole(u32),
}

impl Parts {
    fn of(model: &Gguf, facts: &ModelFacts) -> Result<Self> {
        let layers = facts.layers;
        match architecture::refusal(model) {
            Ok(()) if layers >= 4 => Ok(Self::Layers([1..2, layers - 4..layers - 1, layers - 1..layers])),
            Ok(()) | Err(Error::SplitUnsupported { .. }) => Ok(Self::Whole(layers)),
            Err(error) => Err(error),
        }
    }
}

/// What is timed, and with how many positions.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    pub(super) parts: Parts,
    /// Rows of the largest batch.
    pub(super) rows_max: u32,
    /// Positions that a session holds before a batch that continues it.
    pub(super) held: u32,
}

impl Timed {
    /// With batches of up to `rows` rows; a model of a short context is timed with shorter ones.
    pub(super) fn of(model: &Gguf, facts: &ModelFacts, rows: u32) -> Result<Self> {
        let rows_max = rows.min(facts.context_length / 2).max(1);
        Ok(Self {
            parts: Parts::of(model, facts)?,
            rows_max,
            held: HELD.min(facts.context_length - rows_max),
        })
    }

    /// The stages to load.
    pub(super) fn stages(&self, model_path: &Path, model_digest: &str) -> Vec<LoadStage> {
        let stage = |id, layers, context, sessions| LoadStage {
            id,
            model_path: model_path.to_owned(),
            model_digest: model_digest.to_owned(),
            layers,
            context,
            sessions,
            rows_max: self.rows_max,
        };
        let (continued, sessions) = (self.held + self.rows_max, self.sessions());
        match &self.parts {
            Parts::Layers([one, three, last]) => vec![
                stage(self.body(), one.clone(), continued, sessions + 1),
                stage(id("three"), three.clone(), self.rows_max, sessions),
                stage(self.end(), last.clone(), self.rows_max, sessions),
            ],
            Parts::Whole(layers) => vec![stage(self.body(), 0..*layers, continued, sessions + 1)],
        }
    }

    /// The stage whose layers are timed without a head.
    pub(super) fn body(&self) -> StageId {
        match self.parts {
            Parts::Layers(_) => id("one"),
            Parts::Whole(_) => id("whole"),
        }
    }

    /// How many layers that are.
    pub(super) fn body_layers(&self) -> u64 {
        match self.parts {
            Parts::Layers(_) => 1,
            Parts::Whole(layers) => layers.into(),
        }
    }

    /// The stage with the head, which has as many layers.
    pub(super) fn end(&self) -> StageId {
        match self.parts {
            Parts::Layers(_) => id("last"),
            Parts::Whole(_) => id("whole"),
        }
    }

    /// Batches up to this size decode, too, one row for each session. A whole model's sessions would need much memory.
    pub(super) fn sessions(&self) -> u32 {
        match self.parts {
            Parts::Layers(_) => SESSIONS,
            Parts::Whole(_) => 1,
        }
    }

    /// Passes through all numbers of rows. One through a whole model takes as long as many through its parts, and what it
    /// times is long enough to be no moment's whim.
    pub(super) fn passes(&self) -> usize {
        match self.parts {
            Parts::Layers(_) => 5,
            Parts::Whole(_) => 1,
        }
    }

    /// Slot of the session that holds positions.
    pub(super) fn held_slot(&self) -> u32 {
        self.sessions()
    }
}

/// The name of a stage that is timed.
pub(super) fn id(name: &str) -> StageId {
    StageId(format!("benchmark {name}"))
}
