//! Predicted memory against what the worker process really held at its peak, read from the kernel.

use std::{fs, ops::Range};

use engine::{Error, Input, LoadStage, Worker, WorkerConfig};

use crate::support::{NUM_LAYERS, Pipeline, config, greedy, rows, stage};

/// What the kernel's count of resident pages may be off by: it gathers 32 pages for each processor before it adds them
/// up, at the start and at the peak. A process may also have taken and given back some before its first stage.
const BLUR_BYTES: u64 = 256 << 10;

/// Peak of a process's resident bytes.
fn peak_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Loads a stage, fills its sessions, and compares.
async fn assert_foreseen(layers: Range<u32>, context: u32, sessions: u32, rows_max: u32) {
    let worker = Worker::start(config()).await.unwrap();
    let process = worker.held_memory().unwrap().process;
    let base = peak_bytes(process);
    let like = LoadStage {
        context,
        sessions,
        rows_max,
        ..stage(layers.clone())
    };
    let pipeline = Pipeline::load(worker.clone(), &[], &like).await;
    let predicted = Worker::predict_memory(like).await.unwrap();
    for slot in 0..sessions {
        let mut position = 0;
        while position < context {
            let count = rows_max.min(context - position) as usize;
            let input = match layers.start {
                0 => Input::Tokens(vec![1; count]),
                _ => Input::Hidden(vec![0x3d; count * 576 * 4].into()),
            };
            let outputs = if layers.end == NUM_LAYERS {
                vec![greedy(count as u32 - 1)]
            } else {
                vec![]
            };
            let batch = pipeline.batch(0, input, &rows(slot, position, count), &outputs);
            worker.execute(batch).await.unwrap();
            position += count as u32;
        }
    }
    let held = peak_bytes(process) - base;
    // Never under, and not more than 5 % over.
    let (least, most) = (held - BLUR_BYTES, held + held / 20 + BLUR_BYTES);
    let foreseen = predicted.total_bytes();
    assert!(
        (least..=most).contains(&foreseen),
        "{layers:?}: held {held}, predicted {foreseen}: {predicted:?}"
    );
    let held_now = worker.held_memory().unwrap();
    assert!(held_now.resident_bytes <= held_now.reserved_bytes, "{held_now:?}");
    worker.stop().await;
}

#[tokio::test]
async fn memory_of_first_stages_is_foreseen() {
    assert_foreseen(0..15, 512, 1, 512).await;
    assert_foreseen(0..2, 256, 2, 8).await;
}

#[tokio::test]
async fn memory_of_middle_stages_is_foreseen() {
    assert_foreseen(10..12, 1_024, 1, 512).await;
    assert_foreseen(10..12, 300, 2, 64).await;
    assert_foreseen(12..13, 256, 1, 256).await;
    assert_foreseen(5..25, 256, 1, 128).await;
}

#[tokio::test]
async fn memory_of_last_stages_is_foreseen() {
    assert_foreseen(28..30, 512, 1, 512).await;
    assert_foreseen(29..30, 256, 4, 8).await;
}

#[tokio::test]
async fn memory_of_the_whole_model_is_foreseen() {
    assert_foreseen(0..30, 256, 1, 8).await;
    assert_foreseen(0..30, 256, 2, 128).await;
}

#[tokio::test]
async fn a_stage_that_does_not_fit_beside_the_others_is_refused_with_the_figures() {
    const LIMIT: u64 = 100 << 20;
    let config = WorkerConfig {
        memory_limit_bytes: Some(LIMIT),
        ..config()
    };
    let worker = Worker::start(config).await.unwrap();
    worker.load(stage(0..15), |_| {}).await.unwrap();
    let refused = worker.load(stage(0..NUM_LAYERS), |_| {}).await.unwrap_err();
    let Error::Memory {
        needed_bytes,
        free_bytes,
        limit_bytes,
    } = refused
    else {
        panic!("{refused}")
    };
    assert!(needed_bytes > free_bytes && free_bytes < LIMIT && limit_bytes == LIMIT);
    // Once there is room again, the next one is taken.
    worker.unload(&stage(0..15).id).await.unwrap();
    worker.load(stage(15..25), |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_lower_limit_takes_no_stage_away_and_lets_none_in() {
    let pipeline = Pipeline::load(Worker::start(config()).await.unwrap(), &[], &stage(0..15)).await;
    let worker = &pipeline.worker;
    let epoch = worker.epoch().unwrap();
    let lower = worker.held_memory().unwrap().reserved_bytes - (4 << 20);
    worker.set_limits(Some(lower), None).await.unwrap();
    let refused = worker.load(stage(15..16), |_| {}).await;
    assert!(
        matches!(refused, Err(Error::Memory { free_bytes: 0, .. })),
        "{refused:?}"
    );
    // The stage computes on, in the same life: what it holds is above the limit, and no more than was admitted.
    for position in 0..20 {
        let batch = pipeline.batch(0, Input::Tokens(vec![1]), &rows(0, position, 1), &[]);
        worker.execute(batch).await.unwrap();
    }
    assert_eq!(worker.epoch(), Ok(epoch));
    worker.unload(&stage(0..15).id).await.unwrap();
    worker.load(stage(15..16), |_| {}).await.unwrap();
}
