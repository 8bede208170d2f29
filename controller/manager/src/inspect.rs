//! Reads the headers of models: the one thing that the controller learns from a file. A Model is inspected once for
//! each generation, and again with backoff while its file cannot be read.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crds::{
    ConditionType, Model, ModelStatus,
    condition::{self, Reason},
    model::{ModelArchitecture, ModelVariant, ModelVariantStatus},
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tracing::{info, warn};

pub mod gguf;
pub mod source;
mod splittable;

/// Backoff of a model whose file cannot be read: first, and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What was tried so far.
#[derive(Debug, Default)]
pub struct Inspector {
    /// How often a Model could not be read, and when last.
    failures: BTreeMap<ModelGeneration, (u32, Instant)>,
}

/// Namespace, name and generation of a Model.
type ModelGeneration = (Option<String>, String, Option<i64>);

/// Why a header could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, or cannot be read.
    #[error("variant {variant}: {source}")]
    Source {
        /// The variant.
        variant: String,
        /// What failed.
        source: source::Error,
    },
    /// The file is not what the Model says.
    #[error("variant {variant}: {source}")]
    Format {
        /// The variant.
        variant: String,
        /// What is wrong.
        source: gguf::Error,
    },
    /// Two variants are not the same network.
    #[error(
        "variant {variant} has another shape than the first variant: all variants must be the same weights"
    )]
    Shape {
        /// The variant.
        variant: String,
    },
}

impl Inspector {
    /// Inspects every Model that needs it and writes its status. Says when to look again, if anything failed.
    pub async fn inspect(&mut self, client: &Client, models: &[Arc<Model>]) -> Option<Duration> {
        let mut retry = None;
        for model in models.iter().filter(|model| needs_inspection(model)) {
            let key = (model.namespace(), model.name_any(), model.metadata.generation);
            if let Some((failures, since)) = self.failures.get(&key) {
                let wait = backoff(*failures).saturating_sub(since.elapsed());
                if wait > Duration::ZERO {
                    retry = Some(retry.map_or(wait, |known: Duration| known.min(wait)));
                    continue;
                }
            }
            let variants = model.spec.variants.clone();
            let read = tokio::task::spawn_blocking(move || read_variants(&variants)).await;
            let read = read.expect("reading a header does not panic");
            if let Err(error) = &read {
                let failures = self.failures.get(&key).map_or(0, |(failures, _)| *failures) + 1;
                warn!(model = key.1, %error, failures, "a model's header could not be read");
                retry = Some(retry.map_or(backoff(failures), |known: Duration| known.min(backoff(failures))));
                self.failures.insert(key.clone(), (failures, Instant::now()));
            } else {
                self.failures.remove(&key);
                info!(model = key.1, "a model's header was read");
            }
            let status = status_of(model, read, Timestamp::now());
            if model.status.as_ref() != Some(&status) {
                let api: Api<Model> = Api::namespaced(client.clone(), &model.namespace().unwrap_or_default());
                let patch = Patch::Merge(json!({ "status": status }));
                if let Err(error) = api.patch_status(&key.1, &PatchParams::default(), &patch).await {
                    warn!(model = key.1, %error, "a model's status could not be written");
                    retry = Some(BACKOFF.0);
                }
            }
        }
        retry
    }
}

fn needs_inspection(model: &Model) -> bool {
    let status = model.status.clone().unwrap_or_default();
    let inspected = condition::state(&status.conditions, ConditionType::Inspected) == Some(true);
    model.metadata.deletion_timestamp.is_none()
        && !(inspected && status.observed_generation == model.metadata.generation)
}

fn backoff(failures: u32) -> Duration {
    BACKOFF
        .0
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)))
        .min(BACKOFF.1)
}

/// Shape and sizes of every variant.
///
/// # Errors
///
/// When a file cannot be read, is not GGUF, or is another network than the first variant.
pub fn read_variants(
    variants: &[ModelVariant],
) -> Result<(ModelArchitecture, Vec<ModelVariantStatus>), Error> {
    let mut read: Vec<ModelVariantStatus> = vec![];
    let mut shape: Option<ModelArchitecture> = None;
    for variant in variants {
        let name = || variant.name.clone();
        let mut file = source::Source::open(&variant.uri).map_err(|source| Error::Source {
            variant: name(),
            source,
        })?;
        let header = gguf::read(&mut file).map_err(|error| match error {
            gguf::ReadError::Source(source) => Error::Source {
                variant: name(),
                source,
            },
            gguf::ReadError::Format(source) => Error::Format {
                variant: name(),
                source,
            },
        })?;
        let (architecture, mut status) = header.facts().map_err(|source| Error::Format {
            variant: name(),
            source,
        })?;
        status.name = name();
        status.size_bytes = i64::try_from(file.size()).unwrap_or(i64::MAX);
        status.digest = match &variant.sha256 {
            Some(sha256) => format!("sha256:{sha256}"),
            None => header.digest(file.size()),
        };
        match &shape {
            None => shape = Some(architecture),
            Some(first) if *first != architecture => return Err(Error::Shape { variant: name() }),
            Some(_) => {}
        }
        read.push(status);
    }
    Ok((shape.unwrap_or_default(), read))
}

fn status_of(
    model: &Model,
    read: Result<(ModelArchitecture, Vec<ModelVariantStatus>), Error>,
    now: Timestamp,
) -> ModelStatus {
    let generation = model.metadata.generation;
    let mut conditions = model.status.clone().unwrap_or_default().conditions;
    let mut say = |state, reason, message: String| {
        for kind in [ConditionType::Inspected, ConditionType::Ready] {
            condition::set(
                &mut conditions,
                kind,
                Some(state),
                reason,
                message.clone(),
                generation,
                now,
            );
        }
    };
    let (architecture, variants) = match read {
        Ok((architecture, variants)) => {
            let (reason, message) = if architecture.splittable {
                (
                    Reason::AsDesired,
                    "layer ranges of this model are proven; it may be split".to_owned(),
                )
            } else {
                let name = &architecture.name;
                let message = format!("layer ranges of this {name} model are not proven: it runs unsplit");
                (Reason::SplitUnsupported, message)
            };
            say(true, reason, message);
            (Some(architecture), variants)
        }
        Err(error) => {
            let reason = match &error {
                Error::Source {
                    source: source::Error::NotFound(_),
                    ..
                } => Reason::NotFound,
                Error::Source { .. } => Reason::FetchFailed,
                Error::Format { .. } | Error::Shape { .. } => Reason::InvalidFormat,
            };
            say(false, reason, error.to_string());
            (None, vec![])
        }
    };
    ModelStatus {
        observed_generation: generation,
        conditions,
        architecture,
        variants,
    }
}
