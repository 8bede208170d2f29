//! What choosing a token promises.

use super::*;

fn warm(temperature: f32) -> Sampling {
    Sampling {
        temperature,
        ..Sampling::default()
    }
}

/// How often each token is chosen over many positions.
fn frequencies(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
    const POSITIONS: u32 = 20_000;
    let mut counts = vec![0.0; logits.len()];
    for position in 0..POSITIONS {
        counts[choose(logits, sampling, &[], position).unwrap() as usize] += 1.0 / f64::from(POSITIONS);
    }
    counts
}

fn assert_close(found: &[f64], expected: &[f64]) {
    for (found_one, expected_one) in found.iter().zip(expected) {
        // 20,000 draws have a standard deviation below 0.0036; five of them.
        assert!(
            (found_one - expected_one).abs() < 0.018,
            "{found:?} is not {expected:?}"
        );
    }
}

#[test]
fn greedy_takes_the_most_probable_and_the_first_of_equals() {
    assert_eq!(choose(&[0.0, 2.0, 1.0], &Sampling::default(), &[], 7), Some(1));
    assert_eq!(choose(&[3.0, 3.0, 3.0], &Sampling::default(), &[], 7), Some(0));
    assert_eq!(
        choose(&[-3.0, f32::NEG_INFINITY, -1.0], &Sampling::default(), &[], 7),
        Some(2)
    );
}

#[test]
fn tokens_come_as_often_as_the_softmax_says() {
    let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
    assert_close(&frequencies(&logits, &warm(1.0)), &[0.125, 0.25, 0.625]);
    // At temperature 1/2 probabilities are squared.
    assert_close(
        &frequencies(&logits, &warm(0.5)),
        &[1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0],
    );
}

#[test]
fn seed_and_position_alone_decide() {
    let logits: Vec<f32> = (0..50).map(|token| (token as f32 * 0.7).sin()).collect();
    let choices = |seed: u64| -> Vec<_> {
        (0..200)
            .map(|position| choose(&logits, &Sampling { seed, ..warm(1.0) }, &[], position))
            .collect()
    };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
    let resumed = choose(&logits, &Sampling { seed: 1, ..warm(1.0) }, &[], 123);
    assert_eq!(resumed, choices(1)[123]);
}

#[test]
fn the_random_numbers_stay_the_same_in_all_versions() {
    let numbers = [
        uniform(0, 0),
        uniform(0, 1),
        uniform(1, 0),
        uniform(u64::MAX, u32::MAX),
    ];
    assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
    let tokens = numbers.map(|number| (number * 1e6) as u32);
    assert_eq!(tokens, GOLDEN_MILLIONTHS);
}

/// Computed once by an independent program (Python, arbitrary integers, the published constants).
const GOLDEN_MILLIONTHS: [u32; 4] = [652_448, 34_011, 368_189, 911_475];

#[test]
fn top_k_keeps_exactly_so_many_even_among_equals() {
    let logits = [1.0, 1.0, 1.0, 1.0];
    let found = frequencies(
        &logits,
        &Sampling {
            top_k: 2,
            ..warm(1.0)
        },
    );
    assert_close(&found, &[0.5, 0.5, 0.0, 0.0]);
    assert_eq!(found[2] + found[3], 0.0);
    assert_close(
        &frequencies(
            &logits,
            &Sampling {
                top_k: 9,
                ..warm(1.0)
            },
        ),
        &[0.25; 4],
    );
    assert_eq!(
        choose(
            &[0.0, 1.0],
            &Sampling {
                top_k: 1,
                ..warm(50.0)
            },
            &[],
            3
        ),
        Some(1)
    );
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_it() {
    let logits = [0.1_f32.ln(), 0.2_f32.ln(), 0.3_f32.ln(), 0.4_f32.ln()];
    let found = frequencies(
        &logits,
        &Sampling {
            top_p: 0.65,
            ..warm(1.0)
        },
    );
    assert_close(&found, &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0]);
    assert_eq!(found[0] + found[1], 0.0);
    // However small, the best one stays.
    assert_eq!(
        frequencies(
            &logits,
            &Sampling {
                top_p: 1e-6,
                ..warm(1.0)
            }
        ),
        [0.0, 0.0, 0.0, 1.0].map(round_up)
    );
}

/// The sum of 20,000 equal parts, as `frequencies` makes it.
fn round_up(share: f64) -> f64 {
    (0..20_000).map(|_| share / 20_000.0).sum()
}

#[test]
fn top_p_finds_the_nucleus_of_a_large_vocabulary_without_sorting_it() {
    let logits: Vec<f32> = (0..50_000_u32)
        .map(|token| -((token.wrapping_mul(2_654_435_761) % 1_000) as f32) / 50.0)
        .collect();
    for top_p in [0.1, 0.5, 0.9, 0.999] {
        let all = candidates(&logits, 0.0, 1.0);
        let total: f64 = all.iter().map(|candidate| candidate.weight).sum();
        let mut sorted = all.clone();
        sorted.sort_by(|left, right| {
            right
                .logit
                .total_cmp(&left.logit)
                .then(left.token.cmp(&right.token))
        });
        let mut sum = 0.0;
        let plain = sorted.iter().take_while(|candidate| {
            let before = sum;
            sum += candidate.weight;
            before < total * f64::from(top_p)
        });
        let expected: Vec<u32> = plain.map(|candidate| candidate.token).collect();
        let found: Vec<u32> = keep_top_p(all, top_p)
            .iter()
            .map(|candidate| candidate.token)
            .collect();
        assert_eq!(found, expected, "top_p {top_p}");
    }
}

#[test]
fn min_p_drops_what_is_far_below_the_best() {
    let logits = [0.0, 0.5_f32.ln(), 0.05_f32.ln()];
    let found = frequencies(
        &logits,
        &Sampling {
            min_p: 0.1,
            ..warm(1.0)
        },
    );
    assert_close(&found, &[2.0 / 3.0, 1.0 / 3.0, 0.0]);
    assert_eq!(found[2], 0.0);
    assert_eq!(
        choose(
            &logits,
            &Sampling {
                min_p: 1.0,
                ..warm(9.0)
            },
            &[],
            5
        ),
        Some(0)
    );
}

#[test]
fn logits_that_are_not_numbers_are_never_chosen_and_never_panic() {
    let broken = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for sampling in [
        Sampling::default(),
        warm(1.0),
        Sampling {
            top_k: 3,
            top_p: 0.5,
            min_p: 0.2,
            ..warm(0.7)
        },
    ] {
        for position in 0..50 {
            assert_eq!(choose(&broken, &sampling, &[], position), Some(1));
        }
        assert_eq!(choose(&[f32::NAN; 8], &sampling, &[], 0), None);
        assert_eq!(choose(&[], &sampling, &[], 0), None);
    }
    assert!(logprob(&broken, 1).abs() < 1e-6);
}

#[test]
fn extreme_temperatures_stay_finite() {
    let logits = [1e30, -1e30, 0.0];
    for temperature in [1e-30, 1e-3, 100.0] {
        assert_eq!(choose(&logits, &warm(temperature), &[], 1), Some(0));
    }
}

#[test]
fn penalties_push_what_was_said_away() {
    let logits = [2.0, 1.9, -1.0];
    let choice = |sampling: &Sampling, history: &[u32]| choose(&logits, sampling, history, 0);
    assert_eq!(
        choice(
            &Sampling {
                repetition_penalty: 1.2,
                ..Sampling::default()
            },
            &[0]
        ),
        Some(1)
    );
    assert_eq!(
        choice(
            &Sampling {
                presence_penalty: 0.2,
                ..Sampling::default()
            },
            &[0]
        ),
        Some(1)
    );
    let frequency = Sampling {
        frequency_penalty: 0.06,
        ..Sampling::default()
    };
    assert_eq!(choice(&frequency, &[0]), Some(0));
    assert_eq!(choice(&frequency, &[0, 0]), Some(1));
    // A negative logit is made more negative, and tokens outside of the vocabulary are ignored.
    let penalised = penalise(
        &logits,
        &Sampling {
            repetition_penalty: 2.0,
            ..Sampling::default()
        },
        &[2, 99],
    );
    assert_eq!(penalised, [2.0, 1.9, -2.0]);
}

#[test]
fn the_logarithm_is_that_of_the_plain_softmax() {
    let logits = [0.0, 3.0_f32.ln()];
    assert!((logprob(&logits, 1) - 0.75_f32.ln()).abs() < 1e-6);
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let field = |sampling: Sampling| match sampling.check() {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(warm(-1.0)), "temperature");
    assert_eq!(field(warm(f32::NAN)), "temperature");
    assert_eq!(
        field(Sampling {
            top_p: 0.0,
            ..Sampling::default()
        }),
        "top_p"
    );
    assert_eq!(
        field(Sampling {
            min_p: 1.1,
            ..Sampling::default()
        }),
        "min_p"
    );
    assert_eq!(
        field(Sampling {
            repetition_penalty: 0.0,
            ..Sampling::default()
        }),
        "repetition_penalty"
    );
    assert_eq!(
        field(Sampling {
            presence_penalty: f32::INFINITY,
            ..Sampling::default()
        }),
        "presence_penalty"
    );
    assert!(Sampling::default().check().is_ok());
}
