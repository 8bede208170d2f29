//! What a header says of the test model, against figures that were known before.

use engine::ModelFacts;

use crate::support::model_path;

#[test]
fn the_test_models_facts_are_the_published_ones() {
    let facts = ModelFacts::read(&model_path()).unwrap();
    assert_eq!(facts.architecture, "llama");
    assert_eq!(
        (facts.layers, facts.embedding_length, facts.feed_forward_length),
        (30, 576, 1_536)
    );
    assert_eq!(
        (
            facts.heads,
            facts.key_value_heads,
            facts.key_length,
            facts.value_length
        ),
        (9, 3, 64, 64)
    );
    assert_eq!((facts.vocabulary, facts.context_length), (49_152, 8_192));
    assert_eq!(facts.quantisation, "Q4_1");
    // 2,211,840 bytes of Q4_1 and two norms of 576 floats.
    assert!(
        facts
            .layer_bytes
            .iter()
            .all(|&bytes| bytes == 2_211_840 + 2 * 576 * 4)
    );
    assert_eq!(facts.embedding_bytes, 30_081_024);
    assert_eq!(facts.output_bytes, 30_081_024 + 576 * 4);
    assert!(facts.tied && facts.chat_template);
    assert_eq!(facts.split_unsupported, None);
    assert_eq!(facts.file_bytes, 98_362_432);
    // 22.5 KiB for each position of the whole model.
    assert_eq!(facts.cache_bytes_per_position_and_layer() * 30, 23_040);
}
