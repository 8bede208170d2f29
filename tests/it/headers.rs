//! The controller says whether a model may be split, and the engine refuses if it may not: neither may import the
//! other, so their rules are held against each other here, on headers that are peculiar in one way each.

use std::path::Path;

use crds::model::ModelVariant;
use engine::ModelFacts;
use manager::inspect;

/// Type numbers of GGUF's metadata.
const U32: u32 = 4;
const F32: u32 = 6;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn number(key: &str, value: u32) -> Vec<u8> {
    pair(key, U32, &value.to_le_bytes())
}

fn scale(key: &str, value: f32) -> Vec<u8> {
    pair(key, F32, &value.to_le_bytes())
}

/// A tensor of 64 rows of 64 F32.
fn tensor(name: &str, ordinal: usize) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend((ordinal as u64 * TENSOR_BYTES as u64).to_le_bytes());
    bytes
}

const TENSOR_BYTES: usize = 64 * 64 * 4;

/// A decoder of two layers, with what is peculiar about it.
fn model(path: &Path, architecture: &str, pairs: &[Vec<u8>], tensors: &[&str]) {
    let own = |key: &str, value| number(&format!("{architecture}.{key}"), value);
    let tokens = [
        &TEXT.to_le_bytes()[..],
        &2_u64.to_le_bytes(),
        &text("a"),
        &text("b"),
    ]
    .concat();
    let mut all_pairs = vec![
        pair("general.architecture", TEXT, &text(architecture)),
        own("block_count", 2),
        own("embedding_length", 64),
        own("attention.head_count", 4),
        own("feed_forward_length", 128),
        own("context_length", 512),
        pair("tokenizer.ggml.tokens", ARRAY, &tokens),
    ];
    all_pairs.extend_from_slice(pairs);
    let mut names = vec![
        "token_embd.weight",
        "output_norm.weight",
        "blk.0.attn_q.weight",
        "blk.1.attn_q.weight",
    ];
    names.extend_from_slice(tensors);
    let infos = names
        .iter()
        .enumerate()
        .map(|(ordinal, name)| tensor(name, ordinal));
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend((names.len() as u64).to_le_bytes());
    bytes.extend((all_pairs.len() as u64).to_le_bytes());
    bytes.extend(all_pairs.concat());
    bytes.extend(infos.flatten());
    bytes.resize(bytes.len().next_multiple_of(32) + names.len() * TENSOR_BYTES, 0);
    std::fs::write(path, bytes).expect("the folder can be written");
}

/// What the controller says of the file, and what the engine says.
fn verdicts(path: &Path) -> (bool, bool) {
    let variant = ModelVariant {
        name: "one".to_owned(),
        uri: format!("file://{}", path.display()),
        sha256: None,
        quality_milli: 1000,
    };
    let (architecture, _) = inspect::read_variants(&[variant]).expect("the controller reads the header");
    let facts = ModelFacts::read(path).expect("the engine reads the header");
    (architecture.splittable, facts.split_unsupported.is_none())
}

/// What is peculiar, in words; architecture; pairs and tensors beside the usual ones; whether the model may be split.
type Case<'a> = (&'a str, &'a str, &'a [Vec<u8>], &'a [&'a str], bool);

#[test]
fn the_controller_offers_to_split_exactly_what_the_engine_can_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let per_layer = [
        &U32.to_le_bytes()[..],
        &2_u64.to_le_bytes(),
        &2_u32.to_le_bytes(),
        &4_u32.to_le_bytes(),
    ]
    .concat();
    let cases: &[Case<'_>] = &[
        ("plain", "llama", &[], &[], true),
        (
            "with its own head",
            "llama",
            &[],
            &["output.weight", "rope_freqs.weight"],
            true,
        ),
        ("another architecture", "granite", &[], &[], false),
        (
            "a tensor outside of layers",
            "llama",
            &[],
            &["position_embd.weight"],
            false,
        ),
        (
            "heads by layer",
            "llama",
            &[pair("llama.attention.head_count_kv", ARRAY, &per_layer)],
            &[],
            false,
        ),
        (
            "no experts",
            "llama",
            &[number("llama.expert_count", 0)],
            &[],
            true,
        ),
        ("experts", "llama", &[number("llama.expert_count", 8)], &[], false),
        (
            "a scale of one",
            "llama",
            &[scale("llama.logit_scale", 1.0)],
            &[],
            true,
        ),
        (
            "a scale of zero",
            "llama",
            &[scale("llama.residual_scale", 0.0)],
            &[],
            true,
        ),
        (
            "a scale",
            "llama",
            &[scale("llama.embedding_scale", 12.0)],
            &[],
            false,
        ),
        (
            "a scale in whole numbers",
            "llama",
            &[number("llama.logit_scale", 1)],
            &[],
            false,
        ),
    ];
    for (case, architecture, pairs, tensors, expected) in cases {
        model(&path, architecture, pairs, tensors);
        let (controller, engine) = verdicts(&path);
        assert_eq!((controller, engine), (*expected, *expected), "{case}");
    }
}
