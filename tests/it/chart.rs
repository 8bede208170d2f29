//! The Helm chart, as the real helm renders it: what it refuses, and that what it makes is sound.

mod observability;
mod policy;
mod rules;

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;
use tests::{
    control_plane::ControlPlane,
    helm::{Helm, Release, chart},
    switches::{self, Setting},
    up::{edgeloom, repository},
};

use self::rules::Manifests;

fn rendered(values: &[&str]) -> Manifests {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    let documents = Helm::V4.template(&Release::USUAL, &values);
    Manifests::new(
        documents.unwrap_or_else(|error| panic!("{values:?}: {error}")),
        &Release::USUAL,
    )
}

#[test]
fn both_helms_find_nothing_to_complain_of() {
    for helm in [Helm::V3, Helm::V4] {
        let linted = helm.run(&["lint", "--strict", &chart()]);
        let text = linted.unwrap_or_else(|error| panic!("{helm:?}: {error}"));
        assert!(
            !text.contains("[WARNING]") && !text.contains("[ERROR]"),
            "{helm:?}: {text}"
        );
    }
}

#[test]
fn bad_values_are_refused_with_words_that_help() {
    // The value, and words that must be in what is said: where it is, and what would be right.
    let refused: &[(&str, &[&str])] = &[
        (
            "controller.replicas=-1",
            &["/controller/replicas", "minimum", "0"],
        ),
        (
            r#"controller.replicas="two""#,
            &["/controller/replicas", "want integer"],
        ),
        ("controler={}", &["additional properties 'controler' not allowed"]),
        (
            r#"agent.pools={"gpu":{"drain":3}}"#,
            &["/agent/pools/gpu", "'drain' not allowed"],
        ),
        (r#"agent.pools={"GPU":{}}"#, &["agent.pools.GPU", "lower-case"]),
        (
            r#"agent.cache.type="pvc""#,
            &["/agent/cache/type", "'hostPath', 'emptyDir'"],
        ),
        (
            r#"agent.cache.hostPath.path="cache""#,
            &["agent.cache.hostPath.path", "absolute path"],
        ),
        (
            r#"agent.pools={"x":{"cache":{"hostPath":{"path":"/"}}}}"#,
            &["agent.pools.x.cache.hostPath.path", "folder"],
        ),
        (
            r#"agent.cache.emptyDir.sizeLimit="20GB""#,
            &["agent.cache.emptyDir.sizeLimit", "20GB", "2Gi"],
        ),
        (
            r#"agent.resources.limits.memory="2 GB""#,
            &["agent.resources.limits.memory", "2 GB", "2Gi"],
        ),
        (
            r#"controller.resources.requests.cpu="half""#,
            &["controller.resources.requests.cpu", "500m"],
        ),
        (
            r#"agent.drainSeconds="10s""#,
            &["/agent/drainSeconds", "want integer"],
        ),
        ("agent.gpu.count=0", &["/agent/gpu/count", "want 1"]),
        (
            r#"agent.updateStrategy="Recreate""#,
            &["/agent/updateStrategy", "'OnDelete', 'RollingUpdate'"],
        ),
        (
            r#"agent.extraEnv=[{"value":"x"}]"#,
            &["/agent/extraEnv/0", "'name'"],
        ),
        (
            r#"agent.serviceAccount.name="edgeloom-controller""#,
            &["must differ", "agent.serviceAccount.name"],
        ),
        (r#"image.digest="latest""#, &["image.digest", "sha256:"]),
        (
            r#"image.pullPolicy="Sometimes""#,
            &["/image/pullPolicy", "'IfNotPresent'"],
        ),
        (r#"log.format="xml""#, &["/log/format", "'text', 'json'"]),
        ("router.service.port=70000", &["/router/service/port", "maximum"]),
        (
            "router.service.nodePort=30080",
            &["router.service.nodePort", "NodePort or LoadBalancer"],
        ),
        (
            "router.ingress.enabled=true",
            &["router.ingress.hosts", "edgeloom.example.com"],
        ),
        (r#"router.ingress.path="v1""#, &["router.ingress.path", "slash"]),
        (
            "router.httpRoute.enabled=true",
            &["router.httpRoute.parentRefs", "Gateways"],
        ),
        (
            r#"metrics.serviceMonitor.interval="15 sec""#,
            &["metrics.serviceMonitor.interval", "15s"],
        ),
        (
            r#"metrics.prometheusRule.runbookUrl="RUNBOOK.md""#,
            &["metrics.prometheusRule.runbookUrl", "https://wiki.example.com"],
        ),
        (
            r#"traces.otlpEndpoint="collector:4318""#,
            &["traces.otlpEndpoint", "http://collector"],
        ),
    ];
    for (value, words) in refused {
        let error = Helm::V4
            .template(&Release::USUAL, &[(*value).to_owned()])
            .expect_err(value);
        for word in *words {
            assert!(error.contains(word), "{value}: {word:?} is not in\n{error}");
        }
    }
}

#[test]
fn every_combination_of_switches_renders_sound_manifests() {
    for settings in switches::combinations() {
        let values: Vec<_> = settings.iter().flat_map(Setting::values).collect();
        let release = switches::release(&settings);
        let documents = Helm::V4
            .template(&release, &values)
            .unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        let manifests = Manifests::new(documents, &release);
        let mut faults = manifests.faults();
        // What does not meet the pod security standard `restricted` is what NOTES.txt names, and nothing else.
        let (found, named) = (manifests.unrestricted(), switches::named(&settings));
        faults.extend(found.symmetric_difference(&named).map(|exception| {
            format!(
                "{exception}: {}",
                if named.contains(exception) {
                    "named, and not there"
                } else {
                    "not named"
                }
            )
        }));
        assert!(faults.is_empty(), "{settings:?}:\n{}", faults.join("\n"));
    }
}

#[test]
fn the_notes_name_what_is_not_restricted_and_what_is_unsafe() {
    // Values, words that the notes must have, and words that they must not have.
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (
            &[],
            &["hostPath /var/lib/edgeloom", "CAP_CHOWN", "enforce=privileged"],
            &["UDP port", "WARNING"],
        ),
        (
            &["agent.cache.hostPath.prepare=false"],
            &["hostPath"],
            &["with CAP_CHOWN"],
        ),
        (
            &[r#"agent.cache.type="emptyDir""#],
            &[],
            &["hostPath", "CAP_CHOWN", "enforce=privileged", "WARNING"],
        ),
        (
            &[
                r#"agent.cache.type="emptyDir""#,
                r#"agent.pools={"far":{"quic":{"hostPort":{"enabled":true,"port":9999}}}}"#,
            ],
            &["UDP port", "9999", "enforce=privileged"],
            &["hostPath", "CAP_CHOWN"],
        ),
        (
            &["admissionPolicy.enabled=false"],
            &["WARNING: admissionPolicy.enabled"],
            &[],
        ),
        (
            &[r#"agent.updateStrategy="RollingUpdate""#],
            &["WARNING: agent.updateStrategy"],
            &[],
        ),
        (
            &["controller.updatesAgents=false"],
            &["delete their pods yourself"],
            &[],
        ),
        (
            &["crds.keep=false"],
            &["`helm uninstall` keeps the Secret"],
            &["CustomResourceDefinitions"],
        ),
        (
            &[
                "router.ingress.enabled=true",
                r#"router.ingress.hosts=["edge.example"]"#,
            ],
            &["http://edge.example/v1/chat/completions"],
            &["port-forward"],
        ),
    ];
    for (values, words, absent) in cases {
        let chart = chart();
        let mut arguments = vec![
            "install",
            "edgeloom",
            &chart,
            "--dry-run=client",
            "--namespace",
            "edgeloom-system",
        ];
        for value in *values {
            arguments.extend(["--set-json", value]);
        }
        let text = Helm::V4
            .run(&arguments)
            .unwrap_or_else(|error| panic!("{values:?}: {error}"));
        let (_, notes) = text.split_once("NOTES:").expect("there are notes");
        for word in *words {
            assert!(
                notes.contains(word),
                "{values:?}: {word:?} is missing in\n{notes}"
            );
        }
        for word in *absent {
            assert!(!notes.contains(word), "{values:?}: {word:?} stands in\n{notes}");
        }
    }
}

#[test]
fn both_helms_render_the_same() {
    let everything = switches::everything();
    for values in [vec![], everything] {
        let by = |helm: Helm| helm.template(&Release::USUAL, &values).expect("it renders");
        let (old, new) = (by(Helm::V3), by(Helm::V4));
        let key = |document: &Value| {
            (
                document["kind"].to_string(),
                document["metadata"]["name"].to_string(),
            )
        };
        let sorted = |mut documents: Vec<Value>| {
            documents.sort_by_key(key);
            documents
        };
        assert_eq!(sorted(old), sorted(new));
    }
}

#[test]
fn definitions_are_those_of_the_types_and_are_kept_where_that_is_wanted() {
    let policy =
        |definition: &Value| definition["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
    let kept = rendered(&[]);
    let definitions = kept.of_kind("CustomResourceDefinition");
    for known in crds::definitions() {
        let name = known.metadata.name.expect("a definition has a name");
        let definition = definitions
            .iter()
            .find(|definition| definition["metadata"]["name"] == *name)
            .unwrap_or_else(|| panic!("{name} is not in the chart"));
        assert_eq!(
            definition["spec"],
            serde_json::to_value(known.spec).expect("plain data")
        );
        assert_eq!(policy(definition), "keep");
    }
    assert_eq!(definitions.len(), crds::definitions().len());
    let dropped = rendered(&["crds.keep=false"]);
    let dropped = dropped.of_kind("CustomResourceDefinition");
    assert_eq!(dropped.len(), definitions.len());
    assert!(dropped.iter().all(|definition| policy(definition).is_null()));
    assert_eq!(
        rendered(&["crds.enabled=false"])
            .of_kind("CustomResourceDefinition")
            .len(),
        0
    );
}

#[test]
fn the_release_fits_its_secret() {
    // A release's Secret holds the packed chart and the manifests, in base64, and may have 1 MiB.
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().display().to_string();
    let packed = Helm::V4.run(&["package", &chart(), "--destination", &target]);
    packed.expect("the chart is packed");
    let archive = fs::read_dir(folder.path())
        .expect("a folder")
        .next()
        .expect("an archive");
    let bytes = archive
        .and_then(|archive| archive.metadata())
        .expect("a file")
        .len();
    assert!(bytes < 300 << 10, "the packed chart has {bytes} bytes");
}

#[test]
fn agents_read_no_secret_and_nobody_may_do_everything() {
    let manifests = rendered(&[]);
    for role in ["ClusterRole", "Role"]
        .map(|kind| manifests.of_kind(kind))
        .concat()
    {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().into_iter().flatten() {
            let of = |field: &str| -> BTreeSet<String> {
                let values = rule[field].as_array().into_iter().flatten();
                values.filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let (groups, resources, verbs) = (of("apiGroups"), of("resources"), of("verbs"));
            assert!(
                ![&groups, &resources, &verbs]
                    .iter()
                    .any(|values| values.contains("*")),
                "{name}: {rule}"
            );
            let touches = |wanted: &str| resources.iter().any(|resource| resource.starts_with(wanted));
            let forbidden = ["escalate", "bind", "impersonate"];
            assert!(
                !forbidden.iter().any(|verb| verbs.contains(*verb)),
                "{name}: {rule}"
            );
            if name.ends_with("-agent") {
                assert!(!touches("secrets") && !verbs.contains("delete"), "{name}: {rule}");
                assert!(!groups.contains(""), "{name}: {rule}");
            }
            if touches("secrets") && verbs.contains("update") {
                assert_eq!(
                    of("resourceNames"),
                    BTreeSet::from(["edgeloom-control-plane".to_owned()])
                );
            }
        }
    }
}

#[tokio::test]
async fn the_example_for_kind_is_taken_by_the_chart_and_the_api_server() {
    let folder = repository().join("examples/kind");
    let values = folder.join("values.yaml").display().to_string();
    let rendered = Helm::V4.run(&["template", "edgeloom", &chart(), "--values", &values]);
    let rendered = crds::manifest::read(&rendered.expect("it renders")).expect("it is YAML");
    // What the Model's uri names is mounted in both, read by the controller and run by the agents.
    for kind in ["Deployment", "DaemonSet"] {
        let workload = rendered.iter().find(|document| document["kind"] == kind);
        let containers = &workload.expect(kind)["spec"]["template"]["spec"]["containers"];
        assert!(
            containers.to_string().contains(r#""mountPath":"/models""#),
            "{containers}"
        );
    }
    let plane = ControlPlane::start().await;
    let manifests = fs::read_to_string(folder.join("service.yaml")).expect("a file");
    let mut documents = crds::manifest::read(&manifests).expect("it is YAML").into_iter();
    for document in documents.by_ref() {
        assert!(document.to_string().contains("smollm2-135m"));
        let mut document = document;
        document["metadata"]["namespace"] = "default".into();
        match document["kind"].as_str() {
            Some("Model") => drop(plane.create::<crds::Model>(document).await),
            Some("LLMService") => drop(plane.create::<crds::LLMService>(document).await),
            other => panic!("{other:?} is not expected here"),
        }
    }
}

#[test]
fn the_program_knows_every_flag_that_it_is_given() {
    let manifests = rendered(&[
        "agent.quic.hostPort.enabled=true",
        r#"traces.otlpEndpoint="http://collector:4318""#,
    ]);
    let mut commands = 0;
    for container in manifests.containers() {
        let arguments: Vec<_> = container["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let command = arguments
            .iter()
            .find(|argument| !argument.starts_with("--"))
            .expect("a subcommand");
        let output = Command::new(edgeloom()).args([command, "--help"]).output();
        let help = String::from_utf8(output.expect("edgeloom runs").stdout).expect("a text");
        let known: BTreeSet<_> = help
            .split(|letter: char| letter.is_whitespace() || letter == ',')
            .filter(|word| word.starts_with("--"))
            .collect();
        for flag in arguments.iter().filter(|argument| argument.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or(flag);
            assert!(
                known.contains(flag),
                "edgeloom {command} does not know {flag}:\n{help}"
            );
        }
        commands += 1;
    }
    assert_eq!(
        commands, 4,
        "controller, agent and the step before it, the test of the release"
    );
}
