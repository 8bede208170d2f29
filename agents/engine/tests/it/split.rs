//! A split model says what the unsplit one says: greedy tokens are equal for equal batch shapes, threads and build.

use engine::{LoadStage, Worker, WorkerConfig};

use crate::{
    reference::{Reference, best, write_untied_variant},
    support::{NUM_LAYERS, Pipeline, config, greedy, model_path, rows, scratch, stage},
};

const QUESTIONS: [&str; 3] = [
    "What is the capital of France?",
    "Write a haiku about rust on an old bridge.",
    "Explain in two sentences why the sky is blue.",
];
const TOKENS: usize = 40;

fn prompts(reference: &Reference) -> Vec<Vec<u32>> {
    let chat = |question: &str| format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
    QUESTIONS
        .iter()
        .map(|question| reference.tokenize(&chat(question), false, true))
        .collect()
}

async fn assert_equal_to_unsplit(cuts: &[u32]) {
    let mut reference = Reference::load(&model_path(), 256, 1, 256);
    let pipeline = Pipeline::load(
        Worker::start(config()).await.unwrap(),
        cuts,
        &stage(0..NUM_LAYERS),
    )
    .await;
    for prompt in prompts(&reference) {
        let expected = reference.generate(&prompt, 256, TOKENS);
        assert_eq!(
            pipeline.generate(0, &prompt, 256, TOKENS).await,
            expected,
            "cut at {cuts:?}"
        );
        pipeline.release(0).await;
    }
}

#[tokio::test]
async fn the_whole_model_in_one_stage_equals_plain_llama_cpp() {
    assert_equal_to_unsplit(&[]).await;
}

#[tokio::test]
async fn two_stages_equal_the_unsplit_model() {
    assert_equal_to_unsplit(&[15]).await;
}

#[tokio::test]
async fn three_stages_equal_the_unsplit_model() {
    assert_equal_to_unsplit(&[7, 22]).await;
}

#[tokio::test]
async fn stages_of_a_single_layer_at_both_ends_and_in_the_middle_equal_the_unsplit_model() {
    assert_equal_to_unsplit(&[1, 12, 13, 29]).await;
}

#[tokio::test]
async fn a_prompt_of_a_thousand_tokens_in_chunks_equals_the_unsplit_model() {
    const CHUNK: usize = 256;
    let mut reference = Reference::load(&model_path(), 1_280, 1, CHUNK as u32);
    let sentence =
        "Every morning the lighthouse keeper wrote down the weather, the ships and what he had dreamt. ";
    let mut prompt = reference.tokenize(&sentence.repeat(80), false, false);
    prompt.truncate(1_000);
    assert_eq!(prompt.len(), 1_000);
    let like = LoadStage {
        context: 1_280,
        rows_max: CHUNK as u32,
        ..stage(0..NUM_LAYERS)
    };
    let pipeline = Pipeline::load(Worker::start(config()).await.unwrap(), &[9, 21], &like).await;
    let expected = reference.generate(&prompt, CHUNK, 32);
    assert_eq!(pipeline.generate(0, &prompt, CHUNK, 32).await, expected);
}

#[tokio::test]
async fn two_sessions_interleaved_equal_the_unsplit_model() {
    let mut reference = Reference::load(&model_path(), 256, 2, 256);
    let prompts = prompts(&reference);
    let like = LoadStage {
        sessions: 2,
        ..stage(0..NUM_LAYERS)
    };
    let pipeline = Pipeline::load(Worker::start(config()).await.unwrap(), &[15], &like).await;

    // Both prompts in one batch of ours; the engine computes each by itself, and so does the reference.
    let mut expected: Vec<u32> = Vec::new();
    for (slot, prompt) in (0..2).zip(&prompts) {
        let last = prompt.len() - 1;
        let rows: Vec<_> = prompt
            .iter()
            .enumerate()
            .map(|(at, &token)| (token, slot, at as u32, at == last))
            .collect();
        expected.push(best(&reference.decode(&rows)[0]));
    }
    let both: Vec<u32> = prompts[..2].concat();
    let both_rows = [rows(0, 0, prompts[0].len()), rows(1, 0, prompts[1].len())].concat();
    let outputs = [greedy(prompts[0].len() as u32 - 1), greedy(both.len() as u32 - 1)];
    let first = pipeline.step(&both, &both_rows, &outputs).await.unwrap();
    let mut found: Vec<u32> = first.samples.iter().map(|sample| sample.token).collect();
    assert_eq!(found, expected);

    let mut positions = [prompts[0].len() as u32, prompts[1].len() as u32];
    for step in 0..TOKENS {
        let rows_of_reference: Vec<_> = (0..2)
            .map(|slot| (expected[slot], slot as u32, positions[slot], true))
            .collect();
        expected = reference
            .decode(&rows_of_reference)
            .iter()
            .map(|logits| best(logits))
            .collect();
        // The batch's own order must not matter.
        let order = if step % 2 == 0 { [0, 1] } else { [1, 0] };
        let batch_rows: Vec<_> = order
            .iter()
            .flat_map(|&slot| rows(slot as u32, positions[slot], 1))
            .collect();
        let tokens = order.map(|slot| found[slot]);
        let output = pipeline
            .step(&tokens, &batch_rows, &[greedy(0), greedy(1)])
            .await
            .unwrap();
        for (sample, slot) in output.samples.iter().zip(order) {
            found[slot] = sample.token;
            positions[slot] += 1;
        }
        assert_eq!(found, expected, "step {step}");
    }
}

#[tokio::test]
async fn a_model_with_a_head_of_its_own_and_rotary_factors_equals_its_unsplit_self() {
    let folder = scratch();
    let path = folder.path().join("variant.gguf");
    write_untied_variant(&model_path(), &path, 6);
    let mut reference = Reference::load(&path, 256, 1, 256);
    let prompt = prompts(&reference).remove(0);
    let expected = reference.generate(&prompt, 256, TOKENS);
    let mut plain = Reference::load(&model_path(), 256, 1, 256);
    assert_ne!(
        plain.generate(&prompt, 256, TOKENS),
        expected,
        "the variant is another model"
    );
    let config = WorkerConfig {
        cache_dir: folder.path().into(),
        ..config()
    };
    let like = LoadStage {
        model_path: path,
        model_digest: "variant".into(),
        ..stage(0..6)
    };
    let pipeline = Pipeline::load(Worker::start(config).await.unwrap(), &[2, 5], &like).await;
    assert_eq!(pipeline.generate(0, &prompt, 256, TOKENS).await, expected);
}
