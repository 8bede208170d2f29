//! What a worker refuses, survives and reports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use engine::{
    Batch, Error, Input, LoadStage, Output, Row, Sampling, StageId, State, Worker, WorkerConfig, gguf::Gguf,
};

use crate::reference::write_scaled_variant;
use crate::support::{NUM_LAYERS, PATIENCE, Pipeline, config, greedy, model_path, rows, scratch, stage};

/// One layer in the middle: quick to load, takes hidden states.
async fn middle() -> Pipeline {
    Pipeline::load(
        Worker::start(config()).await.unwrap(),
        &[],
        &LoadStage {
            sessions: 2,
            ..stage(12..13)
        },
    )
    .await
}

/// The whole model for prompts of a few tokens.
async fn whole() -> Pipeline {
    Pipeline::load(
        Worker::start(config()).await.unwrap(),
        &[],
        &LoadStage {
            sessions: 2,
            ..stage(0..NUM_LAYERS)
        },
    )
    .await
}

fn hidden(rows: usize) -> Input {
    Input::Hidden(vec![0x3d; rows * 576 * 4].into())
}

/// Waits until the worker is in a state, however long the machine takes.
async fn wait_for(worker: &Worker, right: impl Fn(&State) -> bool) -> State {
    let mut states = worker.subscribe();
    let state = tokio::time::timeout(PATIENCE, states.wait_for(|state| right(state))).await;
    state.expect("the state comes in time").unwrap().clone()
}

fn kill(process: u32) {
    assert!(
        Command::new("kill")
            .args(["-9", &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_position_that_the_cache_does_not_follow_is_refused_and_changes_nothing() {
    let pipeline = middle().await;
    let execute = |position: u32| {
        pipeline
            .worker
            .execute(pipeline.batch(0, hidden(1), &rows(0, position, 1), &[]))
    };
    assert_eq!(
        execute(1).await,
        Err(Error::Position {
            slot: 0,
            expected: 0,
            got: 1
        })
    );
    execute(0).await.unwrap();
    assert_eq!(
        execute(0).await,
        Err(Error::Position {
            slot: 0,
            expected: 1,
            got: 0
        })
    );
    execute(1).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_the_stage_is_refused_with_the_field() {
    let pipeline = middle().await;
    let refused = async |input: Input, rows: &[Row], outputs: &[Output]| match pipeline
        .worker
        .execute(pipeline.batch(0, input, rows, outputs))
        .await
    {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(hidden(1), &[], &[]).await, "rows");
    assert_eq!(refused(hidden(257), &rows(0, 0, 257), &[]).await, "rows");
    assert_eq!(refused(hidden(1), &rows(0, 0, 2), &[]).await, "input");
    assert_eq!(
        refused(Input::Hidden(Bytes::from_static(&[0; 7])), &rows(0, 0, 1), &[]).await,
        "input"
    );
    assert_eq!(
        refused(Input::Tokens(vec![1]), &rows(0, 0, 1), &[]).await,
        "input"
    );
    assert_eq!(refused(hidden(1), &rows(2, 0, 1), &[]).await, "slot");
    assert_eq!(refused(hidden(1), &rows(u32::MAX, 0, 1), &[]).await, "slot");
    assert_eq!(refused(hidden(1), &rows(0, 0, 1), &[greedy(0)]).await, "outputs");
    assert!(
        pipeline
            .worker
            .execute(pipeline.batch(0, hidden(1), &rows(0, 0, 1), &[]))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_whole_model_refuses_unknown_tokens_bad_sampling_and_sessions_that_outgrow_their_cells() {
    let pipeline = whole().await;
    let field = |result: engine::Result<engine::BatchOutput>| match result {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        field(pipeline.step(&[49_152], &rows(0, 0, 1), &[]).await),
        "token"
    );
    assert_eq!(
        field(pipeline.step(&[u32::MAX], &rows(0, 0, 1), &[]).await),
        "token"
    );
    assert_eq!(
        field(pipeline.step(&[1], &rows(0, 0, 1), &[greedy(1)]).await),
        "outputs.row"
    );
    assert_eq!(
        field(
            pipeline
                .step(&[1, 1], &rows(0, 0, 2), &[greedy(0), greedy(1)])
                .await
        ),
        "outputs.row"
    );
    let hot = Output {
        sampling: Sampling {
            temperature: f32::NAN,
            ..Sampling::default()
        },
        ..greedy(0)
    };
    assert_eq!(
        field(pipeline.step(&[1], &rows(0, 0, 1), &[hot]).await),
        "temperature"
    );
    let history = Output {
        history: vec![49_152],
        ..greedy(0)
    };
    assert_eq!(
        field(pipeline.step(&[1], &rows(0, 0, 1), &[history]).await),
        "token"
    );

    pipeline.step(&[1; 250], &rows(0, 0, 250), &[]).await.unwrap();
    let long = pipeline.step(&[1; 7], &rows(0, 250, 7), &[]).await;
    assert_eq!(
        long,
        Err(Error::ContextFull {
            slot: 0,
            needed: 257,
            context: 256
        })
    );
    pipeline
        .step(&[1; 6], &rows(0, 250, 6), &[greedy(5)])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_that_was_cut_back_goes_on_as_if_the_rest_had_never_been() {
    let pipeline = whole().await;
    let prompt = [1, 4_093, 198, 1_780, 314, 260, 3_575];
    let straight = pipeline.generate(0, &prompt, 64, 12).await;
    pipeline.step(&[5; 20], &rows(1, 0, 20), &[]).await.unwrap();
    pipeline
        .worker
        .truncate(pipeline.epoch, &pipeline.stages[0], 1, 0)
        .await
        .unwrap();
    pipeline.step(&prompt[..4], &rows(1, 0, 4), &[]).await.unwrap();
    pipeline.step(&[9, 9, 9], &rows(1, 4, 3), &[]).await.unwrap();
    pipeline
        .worker
        .truncate(pipeline.epoch, &pipeline.stages[0], 1, 4)
        .await
        .unwrap();
    let first = pipeline
        .step(&prompt[4..], &rows(1, 4, 3), &[greedy(2)])
        .await
        .unwrap()
        .samples[0]
        .token;
    assert_eq!(first, straight[0]);
    let more = pipeline
        .worker
        .truncate(pipeline.epoch, &pipeline.stages[0], 1, 99)
        .await;
    assert_eq!(
        more,
        Err(Error::Position {
            slot: 1,
            expected: 7,
            got: 99
        })
    );
}

#[tokio::test]
async fn sampling_is_repeatable_by_seed_and_reports_probabilities() {
    let pipeline = whole().await;
    let draw = async |seed: u64| {
        let sampling = Sampling {
            temperature: 1.5,
            top_p: 0.95,
            seed,
            ..Sampling::default()
        };
        let output = Output {
            sampling,
            logprob: true,
            ..greedy(6)
        };
        let prompt = [1, 4_093, 198, 1_780, 314, 260, 3_575];
        let sample = pipeline
            .step(&prompt, &rows(0, 0, 7), &[output])
            .await
            .unwrap()
            .samples[0];
        pipeline.release(0).await;
        assert!(
            sample
                .logprob
                .is_some_and(|logprob| logprob <= 0.0 && logprob.is_finite())
        );
        sample.token
    };
    let mut tokens = Vec::new();
    for seed in 0..8 {
        let token = draw(seed).await;
        assert_eq!(draw(seed).await, token);
        tokens.push(token);
    }
    tokens.dedup();
    assert!(tokens.len() > 1, "eight seeds, one token");
}

#[tokio::test]
async fn a_killed_worker_comes_back_with_its_stages_and_refuses_its_old_sessions() {
    let pipeline = middle().await;
    pipeline
        .worker
        .execute(pipeline.batch(0, hidden(3), &rows(0, 0, 3), &[]))
        .await
        .unwrap();
    kill(pipeline.worker.held_memory().unwrap().process);
    let old = pipeline.epoch;
    let back = wait_for(
        &pipeline.worker,
        |state| matches!(state, State::Running { epoch } if *epoch != old),
    )
    .await;
    let State::Running { epoch } = back else {
        unreachable!()
    };

    let stale = pipeline
        .worker
        .execute(pipeline.batch(0, hidden(1), &rows(0, 3, 1), &[]))
        .await;
    assert_eq!(
        stale,
        Err(Error::Epoch {
            expected: old.0,
            current: epoch.0
        })
    );
    // Even with the new epoch an empty cache takes no later position.
    let fresh = |position| Batch {
        epoch,
        ..pipeline.batch(0, hidden(1), &rows(0, position, 1), &[])
    };
    assert_eq!(
        pipeline.worker.execute(fresh(3)).await,
        Err(Error::Position {
            slot: 0,
            expected: 0,
            got: 3
        })
    );
    pipeline.worker.execute(fresh(0)).await.unwrap();
}

#[tokio::test]
async fn a_batch_past_its_deadline_costs_the_worker_and_twice_the_request() {
    let pipeline = whole().await;
    let mut epoch = pipeline.epoch;
    let slow = |epoch| Batch {
        epoch,
        deadline: Duration::from_millis(1),
        ..pipeline.batch(0, Input::Tokens(vec![1; 256]), &rows(0, 0, 256), &[])
    };
    for _ in 0..2 {
        assert_eq!(
            pipeline.worker.execute(slow(epoch)).await,
            Err(Error::Deadline { deadline_ms: 1 })
        );
        let old = epoch;
        let state = wait_for(
            &pipeline.worker,
            |state| matches!(state, State::Running { epoch } if *epoch != old),
        )
        .await;
        let State::Running { epoch: new } = state else {
            unreachable!()
        };
        epoch = new;
    }
    assert_eq!(
        pipeline.worker.execute(slow(epoch)).await,
        Err(Error::Poisonous { times: 2 })
    );
    let quick = Batch {
        epoch,
        ..pipeline.batch(0, Input::Tokens(vec![1]), &rows(0, 0, 1), &[])
    };
    pipeline.worker.execute(quick).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_holds_more_than_its_limit_is_killed_and_says_so() {
    // A process without any stage holds more than this.
    let config = WorkerConfig {
        memory_limit_bytes: Some(1 << 20),
        ..config()
    };
    match Worker::start(config).await {
        Err(error) => assert!(error.to_string().contains("over its limit"), "{error}"),
        Ok(worker) => {
            let state = wait_for(&worker, |state| matches!(state, State::Restarting { .. })).await;
            assert!(format!("{state:?}").contains("over its limit"), "{state:?}");
        }
    }
}

#[tokio::test]
async fn a_share_of_a_core_takes_as_much_longer_as_it_is_smaller() {
    let config = WorkerConfig {
        compute_share_cores: Some(0.25),
        ..config()
    };
    let pipeline = Pipeline::load(Worker::start(config).await.unwrap(), &[], &stage(12..14)).await;
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    for position in 0..20 {
        let output = pipeline
            .worker
            .execute(pipeline.batch(0, hidden(1), &rows(0, position, 1), &[]))
            .await
            .unwrap();
        wall += output.wall;
        cpu += output.cpu;
    }
    // Never faster than the share; how much slower is the machine's business.
    assert!(
        wall >= cpu * 4,
        "{wall:?} of wall time for {cpu:?} of processor time"
    );
}

#[tokio::test]
async fn another_share_counts_from_the_next_batch_on_and_keeps_sessions() {
    let worker = Worker::start(WorkerConfig {
        threads: None,
        ..config()
    });
    let pipeline = Pipeline::load(worker.await.unwrap(), &[], &stage(12..14)).await;
    let epoch = pipeline.worker.epoch();
    for (position, share) in [
        (0, None),
        (1, Some(0.25)),
        (2, Some(2.0)),
        (3, None),
        (4, Some(0.5)),
    ] {
        pipeline.worker.set_limits(None, share).await.unwrap();
        let batch = pipeline.batch(0, hidden(1), &rows(0, position, 1), &[]);
        let output = pipeline.worker.execute(batch).await.unwrap();
        let least = share.map_or(Duration::ZERO, |share| output.cpu.div_f64(share));
        // As above: never faster than the share.
        assert!(
            output.wall >= least,
            "{share:?}: {:?} for {:?}",
            output.wall,
            output.cpu
        );
    }
    let refused = pipeline.worker.set_limits(None, Some(0.0)).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!(pipeline.worker.epoch(), epoch, "the worker was not started again");
}

#[tokio::test]
async fn stages_are_loaded_once_and_gone_when_unloaded() {
    let worker = Worker::start(config()).await.unwrap();
    let mut shares = Vec::new();
    let loaded = worker
        .load(stage(12..13), |share| shares.push(share))
        .await
        .unwrap();
    assert_eq!((loaded.embedding_length, loaded.vocabulary), (576, 49_152));
    assert!(!loaded.roles.first && !loaded.roles.last);
    assert_eq!(shares.last(), Some(&1.0));
    let again = worker.load(stage(12..13), |_| {}).await;
    assert!(matches!(again, Err(Error::StageExists { .. })));
    worker.unload(&stage(12..13).id).await.unwrap();
    assert!(matches!(
        worker.unload(&stage(12..13).id).await,
        Err(Error::NoSuchStage { .. })
    ));
    worker.stop().await;
    assert_eq!(worker.epoch(), Err(Error::Stopped));
    assert_eq!(worker.unload(&StageId::from("x")).await, Err(Error::Stopped));
}

#[tokio::test]
async fn impossible_stages_are_refused_with_what_would_be_right() {
    let worker = Worker::start(config()).await.unwrap();
    let refuse = async |stage: LoadStage| worker.load(stage, |_| {}).await.unwrap_err();
    assert_eq!(
        refuse(stage(20..31)).await,
        Error::Layers {
            start: 20,
            end: 31,
            available: 30
        }
    );
    assert!(matches!(refuse(stage(5..5)).await, Error::Layers { .. }));
    let field = |error| match error {
        Error::Invalid { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        field(
            refuse(LoadStage {
                context: 8_193,
                ..stage(0..2)
            })
            .await
        ),
        "context"
    );
    assert_eq!(
        field(
            refuse(LoadStage {
                sessions: 0,
                ..stage(0..2)
            })
            .await
        ),
        "sessions"
    );
    assert_eq!(
        field(
            refuse(LoadStage {
                rows_max: 0,
                ..stage(0..2)
            })
            .await
        ),
        "rows_max"
    );
    assert_eq!(
        field(
            refuse(LoadStage {
                model_digest: "../x".into(),
                ..stage(0..2)
            })
            .await
        ),
        "model_digest"
    );
    let folder = scratch();
    let broken = folder.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF and nothing else").unwrap();
    assert!(matches!(
        refuse(LoadStage {
            model_path: broken,
            ..stage(0..2)
        })
        .await,
        Error::Gguf { .. }
    ));
    let missing = folder.path().join("missing.gguf");
    assert!(matches!(
        refuse(LoadStage {
            model_path: missing,
            ..stage(0..2)
        })
        .await,
        Error::File { .. }
    ));
}

#[tokio::test]
async fn a_stage_file_holds_its_layers_and_no_more() {
    let folder = scratch();
    let worker = Worker::start(WorkerConfig {
        cache_dir: folder.path().into(),
        ..config()
    })
    .await
    .unwrap();
    worker.load(stage(3..5), |_| {}).await.unwrap();
    let file = std::fs::read_dir(folder.path().join("stages-v1"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let file = Gguf::read(&file.join("layers-003-005.gguf")).unwrap();
    let model = Gguf::read(&model_path()).unwrap();
    assert_eq!(file.shape("block_count").unwrap(), Some(2));
    assert_eq!(file.tensors.len(), 2 + 2 * 9);
    assert_eq!(file.tensor("token_embd.weight").unwrap().dimensions, [576, 1]);
    assert!(file.value("tokenizer.ggml.tokens").is_none());
    let bytes = |gguf: &Gguf, name: &str| {
        let tensor = gguf.tensor(name).unwrap();
        let file = std::fs::read(&gguf.path).unwrap();
        file[tensor.offset as usize..(tensor.offset + tensor.bytes) as usize].to_vec()
    };
    assert!(bytes(&file, "blk.1.ffn_down.weight") == bytes(&model, "blk.4.ffn_down.weight"));
}

#[tokio::test]
async fn a_benchmark_times_blocks_and_leaves_nothing_behind() {
    let worker = Worker::start(config()).await.unwrap();
    let before = worker.held_memory().unwrap();
    let table = worker
        .benchmark(model_path(), crate::support::MODEL_DIGEST.into())
        .await
        .unwrap();
    println!("{table:#?}");
    assert_eq!(
        table.points.iter().map(|point| point.rows).collect::<Vec<_>>(),
        [1, 8, 32, 128]
    );
    // The end of a prompt and its history are differences of two timings, which a busy machine may turn round.
    assert!(
        table
            .points
            .iter()
            .all(|point| point.layer_ns > 0 && point.embedding_ns > 0)
    );
    let with_head = table.points.iter().filter(|point| point.head_ns > Some(0));
    assert_eq!(
        with_head.map(|point| point.rows).collect::<Vec<_>>(),
        [1, 8],
        "a prompt has one output, so longer batches have no head time"
    );
    assert_eq!(table.key.quantisation, "Q4_1");
    assert_eq!(table.key.shape, "llama/576/1536/9/3/49152");
    let json = serde_json::to_string(&table).unwrap();
    assert_eq!(serde_json::from_str::<engine::Benchmark>(&json).unwrap(), table);
    // Its stages are gone, and the worker takes the same names again.
    // What the process holds by itself is measured anew and moves by a few pages; a stage is megabytes.
    let after = worker.held_memory().unwrap();
    assert!(
        after.reserved_bytes.abs_diff(before.reserved_bytes) < 1 << 20,
        "{before:?} {after:?}"
    );
    worker
        .benchmark(model_path(), crate::support::MODEL_DIGEST.into())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_model_that_may_not_be_split_is_timed_as_a_whole() {
    let folder = scratch();
    let path = folder.path().join("scaled.gguf");
    write_scaled_variant(&model_path(), &path);
    let worker = Worker::start(WorkerConfig {
        cache_dir: folder.path().join("stages"),
        ..config()
    })
    .await
    .unwrap();
    let table = worker.benchmark(path.clone(), "scaled".into()).await.unwrap();
    println!("{table:#?}");
    assert!(table.points.iter().all(|point| point.layer_ns > 0));
    let with_head = table.points.iter().filter(|point| point.head_ns.is_some());
    assert_eq!(with_head.map(|point| point.rows).collect::<Vec<_>>(), [1]);
    let whole = engine::benchmark::places(&Gguf::read(&path).unwrap()).unwrap();
    assert_eq!(whole.last().unwrap().end, fs::metadata(&path).unwrap().len());
    assert!(
        !folder.path().join("stages").join("stages-v1").exists(),
        "no stage file was needed"
    );
}

#[tokio::test]
async fn a_file_with_holes_where_nothing_is_timed_has_a_benchmark() {
    let folder = scratch();
    let whole = fs::read(model_path()).unwrap();
    let model = Gguf::read(&model_path()).unwrap();
    let mut sample = vec![0; whole.len()];
    let places = engine::benchmark::places(&model).unwrap();
    let header = 0..model.header_bytes;
    for place in [header].iter().chain(&places) {
        let place = place.start as usize..place.end as usize;
        sample[place.clone()].copy_from_slice(&whole[place]);
    }
    let bytes: u64 = places.iter().map(|place| place.end - place.start).sum();
    assert!(bytes < whole.len() as u64 * 6 / 10, "{bytes} bytes are no sample");
    assert!(
        places.is_sorted_by(|one, next| one.end < next.start),
        "{places:?}"
    );
    let path = folder.path().join("sample.gguf");
    fs::write(&path, sample).unwrap();

    // What is timed has the same content: the stage files that the timing leaves are equal.
    let mut stages = [model_path(), path].map(|path| {
        let cache = folder.path().join(path.file_stem().unwrap());
        (path, cache)
    });
    for (path, cache) in &mut stages {
        let worker = Worker::start(WorkerConfig {
            cache_dir: cache.clone(),
            ..config()
        })
        .await
        .unwrap();
        worker.benchmark(path.clone(), "timed".into()).await.unwrap();
    }
    let files = |cache: &Path| {
        let found = fs::read_dir(cache.join("stages-v1/timed")).unwrap();
        let mut files: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let content = |path: PathBuf| (path.file_name().unwrap().to_owned(), fs::read(&path).unwrap());
        files.into_iter().map(content).collect::<Vec<_>>()
    };
    let [of_model, of_sample] = stages.map(|(_, cache)| files(&cache));
    assert_eq!(of_model.len(), 4, "three stages and a lock");
    assert!(of_model == of_sample);
}
