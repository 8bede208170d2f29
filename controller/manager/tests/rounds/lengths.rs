//! Prompts and answers of different lengths: what is promised is judged at the percentile, not for the typical request.

use super::*;

fn workload(prompts: &[(i32, i32)]) -> serde_json::Value {
    let quantiles = prompts
        .iter()
        .map(|(percentile, tokens)| json!({ "percentile": percentile, "tokens": tokens }));
    json!({ "promptTokens": 60, "promptTokenQuantiles": quantiles.collect::<Vec<_>>() })
}

fn asks(scene: &mut Scene, workload: serde_json::Value, slo: serde_json::Value) {
    scene.service().spec.workload = spec(workload);
    scene.service().spec.slo = spec(slo);
    scene.service().spec.modes = vec![crds::InferenceMode::OnServer];
}

/// Tokens of prompt and answer that the solver is asked about.
fn asked(scene: &Scene) -> (u32, u32) {
    let snapshot = Snapshot::take(&scene.world, Options::default());
    let service = &snapshot.problem.services[0];
    (service.prompt_tokens, service.output_tokens)
}

/// One node that is quick at tokens, and one that is quick at prompts.
fn two() -> Scene {
    let mut reader = node("reader", 500, 400);
    let points = &mut reader.status.as_mut().expect("a node that reports").devices[0].benchmarks[0].points;
    for point in points.iter_mut().filter(|point| point.rows >= 64) {
        point.layer_nanoseconds /= 4;
    }
    Scene::new([node("talker", 500, 300), reader])
}

#[test]
fn a_promise_is_judged_for_the_prompt_at_its_percentile() {
    let promise = json!({ "timeToFirstTokenMilliseconds": 1000, "percentile": 95 });
    let mut scene = two();
    asks(&mut scene, workload(&[]), promise.clone());
    assert_eq!(asked(&scene), (60, 128));
    assert_eq!(scene.serving_after_settling(), "talker[0, 30)");

    // As short at the median, and nearly a thousand tokens where it matters: one prompt in twenty.
    let mut scene = two();
    asks(&mut scene, workload(&[(50, 60), (90, 120), (95, 880)]), promise);
    assert_eq!(asked(&scene).0, 880);
    assert_eq!(scene.serving_after_settling(), "reader[0, 30)");
    let placement = &scene.world.placements[0].spec;
    assert_eq!(placement.pipelines[0].predicted.prompt_tokens, Some(880));

    // Where nothing is promised the mean decides: 0.5·30 + 0.4·90 + 0.05·500 + 0.05·880.
    let mut scene = two();
    asks(&mut scene, workload(&[(50, 60), (90, 120), (95, 880)]), json!({}));
    assert_eq!(asked(&scene).0, 120);
    assert_eq!(scene.serving_after_settling(), "talker[0, 30)");
}

#[test]
fn lengths_of_users_count_as_often_as_they_ask() {
    let user = |name: &str, requests: i32, tokens: i32| {
        let demand = json!({
            "service": "chat",
            "requestsPerHour": requests,
            "promptTokenQuantiles": [{ "percentile": 100, "tokens": tokens }],
            "outputTokenQuantiles": [{ "percentile": 100, "tokens": 100 }],
        });
        let mut user = EdgeUser::new(name, spec::<EdgeUserSpec>(json!({ "demands": [demand] })));
        user.metadata.namespace = Some("default".to_owned());
        Arc::new(user)
    };
    let mut scene = two();
    scene.world.users = vec![user("ada", 3, 400), user("bob", 1, 800)];
    // Means of 200 and 400, three to one; answers of 50.
    assert_eq!(asked(&scene), (250, 50));
    asks(
        &mut scene,
        workload(&[]),
        json!({ "timeToFirstTokenMilliseconds": 1000, "percentile": 75 }),
    );
    // At 343 tokens 3 · 343/400 + 343/800 are 75 % of 4, nearly.
    assert_eq!(asked(&scene).0, 343);
    // Prompt and answer fit in the context of 1024.
    scene.world.users = vec![user("bob", 1, 100_000)];
    assert_eq!(asked(&scene), (974, 50));
}
