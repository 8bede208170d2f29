//! Does what [`crate::reconcile`] says, one step at a time in tasks of their own, and remembers what became of it.

pub(crate) mod fetch;
mod verify;

use std::{path::Path, sync::Arc, time::Instant};

use crds::{StageSpec, condition::Reason};
use engine::{LoadStage, StageId, Text};
use k8s_openapi::jiff::Timestamp;

use self::fetch::Source;
use crate::{
    agent::Core,
    desired::Desired,
    disk::{STAGE_FILES, Wanted},
    reconcile::Step,
    session::seats::{LoadedStage, Seats},
};

/// Begins a step. What takes long goes on in the background and touches the core when it is done.
pub(crate) fn begin(core: &Arc<Core>, desired: &Desired, step: Step) {
    let spec_of = |name: &str| {
        desired
            .stages
            .get(name)
            .and_then(|stage| stage.spec.as_ref().ok())
    };
    match step {
        Step::Fetch { stage } => {
            if let Some(spec) = spec_of(&stage) {
                fetch_weights(core, spec, wanted(core, desired));
            }
        }
        Step::Load { stage } => {
            if let Some(spec) = spec_of(&stage) {
                load(core, &stage, spec, wanted(core, desired));
            }
        }
        Step::Unload { stage } => unload(core, &stage),
        Step::AwaitMemory {
            stage,
            needed_bytes,
            free_bytes,
        } => {
            let message = format!("it needs {needed_bytes} bytes, and {free_bytes} are free");
            core.stages.wait(&stage, Reason::MemoryNotFree, message);
        }
        Step::Refuse { stage, reason } => core.stages.refuse(&stage, Reason::InvalidSpec, reason),
    }
}

/// What stays on disk: what is asked for, and what is in memory still.
fn wanted(core: &Core, desired: &Desired) -> Wanted {
    let loaded = core.stages.all_ready();
    let asked = desired
        .stages
        .values()
        .filter_map(|stage| stage.spec.as_ref().ok());
    Wanted::of(asked.chain(loaded.iter().map(|stage| &stage.spec)))
}

fn fetch_weights(core: &Arc<Core>, spec: &StageSpec, wanted: Wanted) {
    let source = Source {
        digest: spec.model.digest.clone(),
        uri: spec.model.uri.clone(),
        sha256: spec.model.sha256.clone(),
    };
    let progress = core.files.fetching(&source.digest);
    let core = Arc::clone(core);
    tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let forget = |path: &Path| core.files.forget(path);
        let make_room = |bytes| core.disk.make_room(&wanted, bytes, &forget);
        match fetch::fetch(&source, &core.data_dir, &progress, &make_room) {
            Ok(file) => {
                core.metrics.fetched_bytes.inc_by(file.fetched_bytes);
                tracing::info!(
                    digest = source.digest,
                    bytes = file.bytes,
                    fetched_bytes = file.fetched_bytes,
                    took_ms = begun.elapsed().as_millis() as u64,
                    "weights are on disk"
                );
                let bytes = i64::try_from(file.bytes).unwrap_or(i64::MAX);
                core.files.here(&source.digest, file.path, bytes);
            }
            Err(error) => {
                core.metrics.fetch_failures.inc();
                let message = crds::with_causes(&error);
                tracing::warn!(
                    digest = source.digest,
                    error = message,
                    "weights cannot be fetched"
                );
                core.files.failed(&source.digest, message, Instant::now());
            }
        }
        core.touch();
    });
}

fn load(core: &Arc<Core>, name: &str, spec: &StageSpec, wanted: Wanted) {
    let Some(path) = core.files.path(&spec.model.digest) else {
        return;
    };
    core.stages.loading(name, spec.memory.total_bytes);
    let (core, name, spec) = (Arc::clone(core), name.to_owned(), spec.clone());
    tokio::spawn(async move {
        // The file of a part of a model is written by the worker, which knows no bound.
        let bytes = {
            let (path, layers) = (path.clone(), layers_of(&spec));
            let (digest, cache) = (spec.model.digest.clone(), core.data_dir.join(STAGE_FILES));
            let asked = move || engine::stage_file_bytes(&path, &digest, &layers, &cache);
            // What is wrong with the file is said when it is loaded.
            tokio::task::spawn_blocking(asked).await.ok().and_then(Result::ok)
        };
        let forget = |path: &Path| core.files.forget(path);
        let room = match core.disk.make_room(&wanted, bytes.unwrap_or(0), &forget) {
            Ok(room) => room,
            Err(full) => {
                core.metrics.stage_load_failures.inc();
                tracing::warn!(stage = name, %full, "stage not loaded");
                let now = Instant::now();
                core.stages
                    .failed(&name, Reason::StorageNotFree, full.to_string(), now);
                core.touch();
                return;
            }
        };
        let loaded = load_now(&core, &name, spec, path).await;
        drop(room);
        match loaded {
            Ok(stage) => {
                tracing::info!(
                    stage = name,
                    layers = stage.layers(),
                    epoch = stage.loaded.epoch.0,
                    took_ms = stage.loaded.took.as_millis() as u64,
                    "stage loaded"
                );
                core.metrics.stage_loads.inc();
                core.metrics
                    .stage_load_duration
                    .observe(stage.loaded.took.as_secs_f64());
                core.stages.loaded(&name, Arc::new(stage), Timestamp::now());
            }
            Err(error) => {
                core.metrics.stage_load_failures.inc();
                tracing::warn!(stage = name, %error, "stage not loaded");
                let reason = match error {
                    engine::Error::Memory { .. } => Reason::MemoryNotFree,
                    engine::Error::SplitUnsupported { .. } => Reason::SplitUnsupported,
                    engine::Error::Gguf { .. } => Reason::InvalidFormat,
                    engine::Error::Restarting { .. } => Reason::WorkerRestarting,
                    _ => Reason::LoadFailed,
                };
                core.stages
                    .failed(&name, reason, error.to_string(), Instant::now());
            }
        }
        core.touch();
    });
}

fn layers_of(spec: &StageSpec) -> std::ops::Range<u32> {
    spec.first_layer.unsigned_abs()..spec.end_layer.unsigned_abs()
}

async fn load_now(
    core: &Core,
    name: &str,
    spec: StageSpec,
    model_path: std::path::PathBuf,
) -> engine::Result<LoadedStage> {
    let id = StageId(name.to_owned());
    let text = if spec.is_head() {
        let path = model_path.clone();
        let text = tokio::task::spawn_blocking(move || Text::load(&path)).await;
        let text = text.map_err(|error| engine::Error::Text {
            reason: format!("reading the vocabulary failed: {error}"),
        })?;
        Some(Arc::new(text?))
    } else {
        None
    };
    let request = LoadStage {
        id: id.clone(),
        model_path,
        model_digest: spec.model.digest.clone(),
        layers: layers_of(&spec),
        context: spec.context_tokens.unsigned_abs(),
        sessions: spec.sessions.unsigned_abs(),
        rows_max: spec.batch_rows.unsigned_abs(),
    };
    let loaded = match core.worker.load(request.clone(), |_| {}).await {
        // Left over from an agent's task that was told to stop in the middle.
        Err(engine::Error::StageExists { .. }) => {
            core.worker.unload(&id).await?;
            core.worker.load(request, |_| {}).await?
        }
        other => other?,
    };
    let seats = Seats::new(spec.sessions.unsigned_abs(), core.releases.clone());
    Ok(LoadedStage {
        id,
        spec,
        loaded,
        text,
        seats,
    })
}

fn unload(core: &Arc<Core>, name: &str) {
    let Some(stage) = core.stages.unloading(name) else {
        return;
    };
    let (core, name) = (Arc::clone(core), name.to_owned());
    tokio::spawn(async move {
        match core.worker.unload(&stage.id).await {
            Ok(()) | Err(engine::Error::NoSuchStage { .. }) => {
                tracing::info!(stage = name, "stage unloaded");
            }
            // The worker is gone, and with it the stage's memory.
            Err(error) => tracing::warn!(stage = name, %error, "stage not unloaded in order"),
        }
        core.stages.unloaded(&name);
        core.touch();
    });
}
