//! A model that is split says what the whole model says.

use std::time::Instant;

use crds::route_table::HopPhase;

use crate::support::{Events, Plan, chat, eventually, json_of, no_sessions, nodes};

const PROMPTS: [&str; 3] = [
    "What is the capital of France?",
    "Write one sentence about rain.",
    "Count from one to five.",
];
const TOKENS: u32 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn greedy_text_over_two_and_three_agents_is_the_text_of_one() {
    let [a, b, c] = nodes(["a", "b", "c"]).await;
    let plan = Plan::default();
    let mut texts = vec![];
    for stages in [vec![&*a], vec![&a, &b], vec![&a, &b, &c]] {
        let plan = Plan {
            revision: stages.len() as i64,
            ..plan.clone()
        };
        plan.up(&stages, &[]).await;
        let mut of_plan = vec![];
        for prompt in PROMPTS {
            of_plan.push(a.chat(prompt, TOKENS).await);
        }
        // Several chunks of prefill, the last of them short.
        of_plan.push(a.chat(&"The rain in Spain falls. ".repeat(40), TOKENS).await);
        let begun = Instant::now();
        a.chat(PROMPTS[1], 48).await;
        println!(
            "{} stages: 48 tokens and their prompt in {:?}",
            stages.len(),
            begun.elapsed()
        );
        no_sessions(&[&a, &b, &c]).await;
        texts.push(of_plan);
    }
    assert!(texts[0].iter().all(|text| !text.is_empty()), "{texts:?}");
    assert_eq!(texts[0], texts[1], "two stages say the same as one");
    assert_eq!(texts[0], texts[2], "three stages say the same as one");
}

/// The node that has the text has the first and the last layers; the others see hidden states only.
#[tokio::test(flavor = "multi_thread")]
async fn greedy_text_of_a_u_shaped_pipeline_is_the_text_of_one() {
    let [a, b, c] = nodes(["a", "b", "c"]).await;
    let mut texts = vec![];
    for (revision, stages) in [(1, vec![&*a]), (2, vec![&a, &b, &a]), (3, vec![&a, &b, &c, &a])] {
        let plan = Plan {
            revision,
            ..Plan::default()
        };
        plan.up(&stages, &[]).await;
        let mut of_plan = vec![];
        for prompt in [PROMPTS[0], PROMPTS[2], &"The rain in Spain falls. ".repeat(40)] {
            of_plan.push(a.chat(prompt, TOKENS).await);
        }
        let (one, other) = tokio::join!(a.chat(PROMPTS[0], TOKENS), a.chat(PROMPTS[2], TOKENS));
        assert_eq!(
            [&one, &other],
            [&of_plan[0], &of_plan[1]],
            "sessions do not disturb each other"
        );
        no_sessions(&[&a, &b, &c]).await;
        texts.push(of_plan);
    }
    assert!(texts[0].iter().all(|text| !text.is_empty()), "{texts:?}");
    assert_eq!(texts[0], texts[1], "out and back says the same as one");
    assert_eq!(texts[0], texts[2], "over two nodes and back says the same as one");
}

/// The agent compares by itself where it is asked to see text.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_trusted_with_text_refuses_it() {
    let [a] = nodes(["a"]).await;
    let plan = Plan::default();
    let told = |domain: &str| {
        let mut desired = plan.for_node(&a, &[&a], &[]);
        desired.node = serde_json::from_value(serde_json::json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeNode",
            "metadata": { "name": "a" }, "spec": { "tier": "Device", "trustDomain": domain },
        }))
        .unwrap();
        let routes = desired.routes.as_mut().unwrap();
        routes.spec.hops[0].trust_domains = Some(vec!["home".to_owned()]);
        desired
    };
    a.agent.apply(told("hall"));
    eventually("the hop says why it is not ready", || {
        let hops = a.agent.hops();
        let said = hops
            .first()
            .and_then(|hop| hop.message.clone())
            .unwrap_or_default();
        let refuses = said.contains("trust domains") && hops[0].phase == HopPhase::Waiting;
        refuses.then_some(()).ok_or(format!("{hops:?}"))
    })
    .await;
    let (status, body) = json_of(a.post(chat(PROMPTS[0], 4)).await).await;
    assert!(status.is_server_error(), "{status} {body}");
    a.agent.apply(told("home"));
    a.ready(plan.revision).await;
    assert!(!a.chat(PROMPTS[0], 4).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_that_interleave_do_not_disturb_each_other() {
    let [a, b] = nodes(["a", "b"]).await;
    Plan::default().up(&[&a, &b], &[]).await;
    let alone = [a.chat(PROMPTS[0], TOKENS).await, a.chat(PROMPTS[1], TOKENS).await];
    let (first, second) = tokio::join!(a.chat(PROMPTS[0], TOKENS), a.chat(PROMPTS[1], TOKENS));
    assert_eq!([first, second], alone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_holds_no_stage_passes_requests_on_to_the_head() {
    let [a, b, door] = nodes(["a", "b", "door"]).await;
    Plan::default().up(&[&a, &b], &[&door]).await;
    let direct = a.chat(PROMPTS[0], TOKENS).await;
    // The door's connections may come up a moment later than the stages'.
    assert_eq!(door.chat(PROMPTS[0], TOKENS).await, direct);

    let mut body = chat(PROMPTS[0], 200);
    body["stream"] = true.into();
    let mut events = Events::of(door.post(body).await);
    events.some_text().await;
    drop(events);
    no_sessions(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn activations_may_be_squeezed_where_the_plan_says_so() {
    let [a, b] = nodes(["a", "b"]).await;
    for (revision, sends) in [
        (1, crds::ActivationPrecision::F16),
        (2, crds::ActivationPrecision::Int8Outliers),
    ] {
        let plan = Plan {
            revision,
            sends,
            ..Plan::default()
        };
        plan.up(&[&a, &b], &[]).await;
        // Not promised to be the same text, but it is still about what was asked.
        let text = a.chat(PROMPTS[1], TOKENS).await;
        assert!(text.contains("rain"), "{sends:?}: {text}");
    }
}
