//! What a real API server says of the chart: of the definitions, and of everything that it renders.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use tests::{
    helm::{Helm, chart},
    switches::{self, Setting},
};

use crate::{cluster::Cluster, release};

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_taken_without_a_warning_and_their_kinds_are_served() {
    let cluster = Cluster::of_this_test();
    let files = fs::read_dir(format!("{}/files/crds", chart())).expect("the chart has definitions");
    for file in files {
        let path = file.expect("a folder can be read").path();
        cluster.check(&fs::read_to_string(path).expect("a file can be read"));
    }
    cluster.serving().await;
    for definition in crds::definitions() {
        let name = definition.metadata.name.expect("a definition has a name");
        let served = cluster.get(&["crd", &name]).expect("the release brings it");
        let conditions = served["status"]["conditions"].as_array().expect("conditions");
        let states: BTreeSet<_> = conditions
            .iter()
            .map(|condition| (condition["type"].as_str(), condition["status"].as_str()))
            .collect();
        // NonStructuralSchema, KubernetesAPIApprovalPolicyConformant and the like would be faults.
        let wanted = BTreeSet::from([
            (Some("Established"), Some("True")),
            (Some("NamesAccepted"), Some("True")),
        ]);
        assert_eq!(states, wanted, "{name}");
    }
    // The API server has checked the types of the policies' expressions against these definitions.
    let checked = || {
        let policies = cluster.list(&["validatingadmissionpolicies", "--selector", release::OWN]);
        let is_checked = |policy: &Value| !policy["status"]["typeChecking"].is_null();
        (!policies.is_empty() && policies.iter().all(is_checked)).then_some(policies)
    };
    for policy in cluster.until("checked policies", checked).await {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_switches_is_linted_and_taken_by_the_api_server() {
    let cluster = Cluster::of_this_test();
    // Over objects that are there, the server would merge what two writers want.
    cluster.uninstall();
    bring_other_kinds(&cluster).await;
    let (mut checked, mut left_out) = (0, BTreeSet::new());
    let served = served_kinds(&cluster);
    let combinations = switches::combinations();
    let namespaces = combinations
        .iter()
        .map(|settings| switches::release(settings).namespace);
    for name in namespaces.collect::<BTreeSet<_>>() {
        if cluster.get(&["namespace", name]).is_none() {
            cluster.kubectl(&["create", "namespace", name]);
        }
    }
    for settings in &combinations {
        let values: Vec<_> = settings.iter().flat_map(Setting::values).collect();
        lint(settings, &values);
        let release = switches::release(settings);
        let manifests = Helm::V4.template(&release, &values);
        let manifests = manifests.unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        let (known, unknown): (Vec<_>, Vec<_>) = manifests
            .into_iter()
            .partition(|manifest| served.contains(&kind_of(manifest)));
        left_out.extend(unknown.iter().map(kind_of));
        checked += known.len();
        let text: Vec<_> = known.iter().map(Value::to_string).collect();
        cluster.check(&text.join("\n---\n"));
    }
    eprintln!(
        "{} combinations, {checked} manifests were checked",
        combinations.len()
    );
    if std::env::var("EDGELOOM_OTHER_DEFINITIONS").is_ok() {
        assert!(left_out.is_empty(), "{left_out:?} are not served");
    } else if !left_out.is_empty() {
        eprintln!("skipped, since this cluster does not have these kinds: {left_out:?}");
    }
}

fn lint(settings: &[Setting], values: &[String]) {
    let chart = chart();
    let mut arguments = vec!["lint", "--strict", &chart];
    arguments.extend(values.iter().flat_map(|value| ["--set-json", value]));
    let said = Helm::V4.run(&arguments);
    let said = said.unwrap_or_else(|error| panic!("{settings:?}: {error}"));
    assert!(!said.contains("[WARNING]"), "{settings:?}: {said}");
}

/// Kinds that the chart uses and others define, where the cluster is ours.
async fn bring_other_kinds(cluster: &Cluster) {
    let Ok(paths) = std::env::var("EDGELOOM_OTHER_DEFINITIONS") else {
        return;
    };
    for path in paths.lines() {
        cluster.kubectl(&["apply", "--server-side", "--filename", path]);
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=120s",
            "--filename",
            path,
        ]);
    }
}

/// Group and version with the kind, as a manifest has them.
fn kind_of(manifest: &Value) -> (String, String) {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default().to_owned();
    (text("apiVersion"), text("kind"))
}

fn served_kinds(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let table = cluster.kubectl(&["api-resources", "--no-headers"]);
    table
        .lines()
        .filter_map(|line| {
            // NAME, SHORTNAMES if there are any, APIVERSION, NAMESPACED, KIND
            let mut words = line.split_whitespace().rev();
            let (kind, _, version) = (words.next()?, words.next()?, words.next()?);
            Some((version.to_owned(), kind.to_owned()))
        })
        .collect()
}
