//! Commands that answer and end: what they print, and with which exit code.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::{edgeloom, said};

/// One node with so much memory, a service, and a model whose header was read before, so that no file is needed.
fn world(memory: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "
apiVersion: edgeloom.dev/v1alpha1
kind: EdgeNode
metadata: {{name: edge-server}}
spec: {{limits: {{memory: {memory}, cores: '1'}}}}
---
apiVersion: edgeloom.dev/v1alpha1
kind: Model
metadata: {{name: smol}}
spec: {{variants: [{{name: q4-1, uri: 'file:///nowhere/smol.gguf'}}]}}
status:
  conditions:
  - {{type: Inspected, status: 'True', reason: AsDesired, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}}
  architecture:
    {{name: llama, layers: 30, embeddingLength: 576, feedForwardLength: 1536, heads: 9, keyValueHeads: 3,
      headLength: 64, vocabulary: 49152, contextLength: 8192, splittable: true}}
  variants:
  - {{name: q4-1, digest: 'sha256:smol', sizeBytes: 98362432, quantisation: Q4_1, layerBytes: [2211840],
      embeddingBytes: 30081024, headBytes: 0, otherBytes: 2304}}
---
apiVersion: edgeloom.dev/v1alpha1
kind: LLMService
metadata: {{name: chat}}
spec: {{models: [{{name: smol}}], contextTokens: 1024}}
"
    );
    fs::write(folder.path().join("world.yaml"), text).unwrap();
    folder
}

fn solve(folder: &Path, form: &str) -> (Option<i32>, String, String) {
    let arguments = ["solve", "-f", folder.to_str().unwrap(), "--output", form];
    said(&edgeloom(&arguments).output().unwrap())
}

#[test]
fn solve_shows_what_a_change_would_make_of_an_answer() {
    let world = world("1Gi");
    let folder = world.path().to_str().unwrap();
    let asked = |changes: &[&str]| {
        let flags = changes.iter().flat_map(|change| ["--what-if", change]);
        let arguments: Vec<&str> = ["solve", "-f", folder].into_iter().chain(flags).collect();
        said(&edgeloom(&arguments).output().unwrap())
    };
    let (code, table, _) = asked(&["node/edge-server compute=50%"]);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.starts_with("What if node/edge-server compute=50%:\n  default/chat: stays, costs "),
        "{table}"
    );
    assert!(
        table.contains("more per request\n    before  edge-server [0, 30): "),
        "{table}"
    );
    assert!(table.contains("LLMService default/chat: Feasible\n"), "{table}");
    let (code, table, _) = asked(&["node/edge-server lost"]);
    assert_eq!(code, Some(3), "{table}");
    assert!(
        table.contains("default/chat: can no longer be placed\n"),
        "{table}"
    );
    assert!(table.contains("after   no pipeline\n"), "{table}");
    let (code, _, errors) = asked(&["node/nobody lost"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("there is no EdgeNode \"nobody\"; there are edge-server"),
        "{errors}"
    );
    let (code, _, errors) = asked(&["link/radio rate=50%"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("there is no EdgeLink \"radio\""), "{errors}");
}

#[test]
fn solve_explains_a_decision_or_prints_its_placement() {
    let world = world("1Gi");
    let (code, table, _) = solve(world.path(), "table");
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.starts_with("LLMService default/chat: Feasible\n"),
        "{table}"
    );
    assert!(table.contains("edge-server  cpu     [0,30)"), "{table}");

    let (_, json, _) = solve(world.path(), "json");
    let list: serde_json::Value = serde_json::from_str(&json).unwrap();
    let placement = &list["items"][0];
    assert_eq!(
        (&placement["kind"], &placement["metadata"]["namespace"]),
        (&"Placement".into(), &"default".into())
    );
    assert_eq!(placement["spec"]["pipelines"][0]["stages"][0]["endLayer"], 30);

    let (_, yaml, _) = solve(world.path(), "yaml");
    let read = crds::manifest::read(&yaml).unwrap();
    assert_eq!(&read[0], placement);
}

/// Modes that agents do not run are told and not chosen: not a line of the answer is another one.
#[test]
fn what_two_models_would_give_is_told_as_the_example_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/04-two-models");
    let (code, table, _) = solve(&folder, "table");
    assert_eq!(code, Some(0), "{table}");
    let expected = fs::read_to_string(folder.join("decision.txt")).unwrap();
    assert_eq!(table, expected);
    let (_, json, _) = solve(&folder, "json");
    let list: serde_json::Value = serde_json::from_str(&json).unwrap();
    for placement in list["items"].as_array().unwrap() {
        assert_eq!(placement["spec"]["pipelines"][0]["mode"], "OnServer");
    }
}

#[test]
fn a_service_that_cannot_be_placed_is_an_answer_with_an_exit_code_of_its_own() {
    let (code, table, _) = solve(world("64Mi").path(), "table");
    assert_eq!(code, Some(3), "{table}");
    assert!(
        table.contains("Infeasible") && table.contains("edge-server"),
        "{table}"
    );
}

#[test]
fn what_is_wrong_is_one_line_that_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let inside = |arguments: &[&str]| {
        said(
            &edgeloom(arguments)
                .current_dir(&empty)
                .env("HOME", "/nowhere")
                .output()
                .unwrap(),
        )
    };
    let (code, _, errors) = inside(&["solve", "-f", "missing"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.starts_with("error: ") && errors.contains("missing") && errors.lines().count() == 1,
        "{errors}"
    );

    let (code, _, errors) = inside(&["explain", "llmservice/chat"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("edgeloom up") && errors.contains("--kubeconfig"),
        "{errors}"
    );

    let (code, _, errors) = inside(&["explain", "model/chat"]);
    assert_eq!(
        (code, errors.contains("llmservice/NAME")),
        (Some(1), true),
        "{errors}"
    );

    let (code, ..) = inside(&["solve"]);
    assert_eq!(code, Some(2));
}

#[test]
fn up_refuses_shares_that_no_machine_can_give_before_it_starts_anything() {
    let folder = tempfile::tempdir().unwrap();
    let node = "apiVersion: edgeloom.dev/v1alpha1\nkind: EdgeNode\nmetadata: {name: giant}\nspec: {limits: {cores: '100k'}}\n";
    let file = folder.path().join("nodes.yaml");
    fs::write(&file, node).unwrap();
    let data = folder.path().join("data");
    let arguments = [
        "up",
        "--nodes",
        file.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ];
    let (code, _, errors) = said(&edgeloom(&arguments).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("100000 cores") && errors.contains("a quarter"),
        "{errors}"
    );
    assert!(!data.exists());
}

#[test]
fn version_says_what_api_is_spoken() {
    let (code, text, _) = said(&edgeloom(&["version"]).output().unwrap());
    assert_eq!(code, Some(0));
    assert!(
        text.starts_with("edgeloom ") && text.contains("edgeloom.dev/v1alpha1"),
        "{text}"
    );
}

#[test]
fn under_the_name_of_a_plugin_the_usage_is_kubectls() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-edgeloom");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_edgeloom"), &plugin).unwrap();
    let help = |arguments: &[&str]| said(&Command::new(&plugin).args(arguments).output().unwrap()).1;
    let text = help(&["--help"]);
    assert!(
        text.contains("Usage: kubectl edgeloom [OPTIONS] <COMMAND>"),
        "{text}"
    );
    let text = help(&["explain", "--help"]);
    assert!(text.contains("Usage: kubectl edgeloom explain "), "{text}");
    assert!(text.contains("--context <NAME>"), "{text}");
    let text = said(&edgeloom(&["--help"]).output().unwrap()).1;
    assert!(text.contains("Usage: edgeloom [OPTIONS] <COMMAND>"), "{text}");
}
