//! The chart's main switches, and combinations of them: all of those that meet in the agents' pods, and of all others every
//! two together. The suites that render the chart and those that ask a cluster what it says of it share them.

use std::collections::BTreeSet;

use crate::helm::Release;
use serde_json::{Value, json};

/// A switch, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    name: &'static str,
    value: &'static str,
}

/// A switch's name, and how it may stand.
type Switch = (&'static str, &'static [&'static str]);

/// The switches that meet in the agents' pods.
const OF_AGENTS: [Switch; 4] = [
    ("cache", &["hostPath", "prepared", "emptyDir"]),
    ("hostPort", &["off", "on"]),
    ("gpu", &["off", "on"]),
    ("pools", &["off", "on"]),
];

/// The others.
const OTHERS: [Switch; 11] = [
    ("crds", &["kept", "dropped", "off"]),
    ("names", &["usual", "other"]),
    ("updates", &["byController", "byHand", "rolling"]),
    ("exposed", &["service", "ingress", "httpRoute", "nodePort"]),
    ("monitors", &["off", "on"]),
    ("traces", &["off", "on"]),
    ("dashboards", &["on", "off"]),
    ("networkPolicy", &["open", "closed", "off"]),
    ("admissionPolicy", &["on", "off"]),
    ("accounts", &["made", "given"]),
    ("extras", &["off", "on"]),
];

/// Every combination that is tried.
#[must_use]
pub fn combinations() -> Vec<Vec<Setting>> {
    let mut begun = vec![vec![]];
    for switch in OF_AGENTS {
        let longer = |known: &Vec<Setting>| {
            let known = known.clone();
            settings_of(switch).map(move |setting| [known.clone(), vec![setting]].concat())
        };
        begun = begun.iter().flat_map(longer).collect();
    }
    let mut missing = pairs();
    let mut combinations: Vec<_> = begun
        .into_iter()
        .map(|begun| complete(begun, &mut missing))
        .collect();
    while let Some((one, other)) = missing.first().copied() {
        combinations.push(complete(vec![one, other], &mut missing));
    }
    combinations
}

/// Sets all switches that are not set yet, each so that most pairs are new, and takes the pairs off those that are missing.
fn complete(mut settings: Vec<Setting>, missing: &mut BTreeSet<(Setting, Setting)>) -> Vec<Setting> {
    for switch in [&OF_AGENTS[..], &OTHERS[..]].concat() {
        if settings.iter().any(|known| known.name == switch.0) {
            continue;
        }
        let is_new = |known: &Setting, setting: &Setting| missing.contains(&pair(*known, *setting));
        let news = |setting: &Setting| settings.iter().filter(|known| is_new(known, setting)).count();
        settings.push(settings_of(switch).max_by_key(news).expect("a switch has values"));
    }
    for (index, setting) in settings.iter().enumerate() {
        for other in &settings[..index] {
            missing.remove(&pair(*setting, *other));
        }
    }
    settings
}

fn settings_of((name, values): Switch) -> impl Iterator<Item = Setting> {
    values.iter().map(move |value| Setting { name, value })
}

/// Every two settings of different switches.
fn pairs() -> BTreeSet<(Setting, Setting)> {
    let switches = [&OF_AGENTS[..], &OTHERS[..]].concat();
    let mut pairs = BTreeSet::new();
    for (index, switch) in switches.iter().enumerate() {
        for other in &switches[index + 1..] {
            pairs.extend(
                settings_of(*switch).flat_map(|one| settings_of(*other).map(move |two| pair(one, two))),
            );
        }
    }
    pairs
}

fn pair(one: Setting, other: Setting) -> (Setting, Setting) {
    (one.min(other), one.max(other))
}

impl Setting {
    /// The chart's values, as `--set-json` takes them.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        let set = |values: &[(&str, Value)]| {
            values
                .iter()
                .map(|(path, value)| format!("{path}={value}"))
                .collect()
        };
        match (self.name, self.value) {
            ("cache", "prepared") => set(&[("agent.cache.hostPath.prepare", json!(false))]),
            ("cache", "emptyDir") => set(&[(
                "agent.cache",
                json!({"type": "emptyDir", "emptyDir": {"sizeLimit": "20Gi"}}),
            )]),
            ("hostPort", "on") => set(&[("agent.quic.hostPort", json!({"enabled": true, "port": 17843}))]),
            ("gpu", "on") => set(&[("agent.gpu.enabled", json!(true))]),
            ("pools", "on") => set(&[(
                "agent.pools",
                json!({"large": {"resources": {"limits": {"memory": "32Gi"}}, "nodeSelector": {"size": "large"}},
                    "small": {"drainSeconds": 0, "nodeSelector": {"size": "small"}}}),
            )]),
            ("crds", "dropped") => set(&[("crds.keep", json!(false))]),
            ("crds", "off") => set(&[("crds.enabled", json!(false))]),
            ("names", "other") => set(&[
                ("nameOverride", json!("weave")),
                ("commonLabels", json!({"team": "edge"})),
            ]),
            ("updates", "byHand") => set(&[("controller.updatesAgents", json!(false))]),
            ("updates", "rolling") => set(&[("agent.updateStrategy", json!("RollingUpdate"))]),
            ("exposed", "ingress") => set(&[(
                "router.ingress",
                json!({"enabled": true, "hosts": ["edge.example"], "className": "nginx",
                    "tls": [{"secretName": "edge-tls", "hosts": ["edge.example"]}]}),
            )]),
            ("exposed", "httpRoute") => set(&[(
                "router.httpRoute",
                json!({"enabled": true, "parentRefs": [{"name": "gateway"}], "hostnames": ["edge.example"]}),
            )]),
            ("exposed", "nodePort") => set(&[(
                "router.service",
                json!({"type": "NodePort", "port": 80, "nodePort": 30080}),
            )]),
            ("monitors", "on") => set(&[
                (
                    "metrics.serviceMonitor",
                    json!({"enabled": true, "labels": {"release": "prometheus"}}),
                ),
                (
                    "metrics.prometheusRule",
                    json!({"enabled": true, "runbookUrl": "https://wiki.example/edgeloom"}),
                ),
            ]),
            ("traces", "on") => set(&[("traces.otlpEndpoint", json!("http://collector.example:4318"))]),
            ("dashboards", "off") => set(&[("metrics.dashboards.enabled", json!(false))]),
            ("networkPolicy", "off") => set(&[("networkPolicy.enabled", json!(false))]),
            ("networkPolicy", "closed") => {
                let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "clients"}}}]);
                set(&[
                    ("networkPolicy.routerFrom", from.clone()),
                    ("networkPolicy.metricsFrom", from),
                ])
            }
            ("admissionPolicy", "off") => set(&[("admissionPolicy.enabled", json!(false))]),
            ("accounts", "given") => set(&[
                (
                    "controller.serviceAccount",
                    json!({"create": false, "name": "given-controller"}),
                ),
                (
                    "agent.serviceAccount",
                    json!({"create": false, "name": "given-agent"}),
                ),
            ]),
            ("extras", "on") => {
                let extras = json!({
                    "podLabels": {"team": "edge"}, "podAnnotations": {"note": "12"}, "priorityClassName": "high",
                    "tolerations": [{"operator": "Exists"}], "nodeSelector": {"kubernetes.io/os": "linux"},
                    "extraEnv": [{"name": "HF_ENDPOINT", "value": "https://mirror.example"}],
                    "extraVolumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "weights"}}],
                    "extraVolumeMounts": [{"name": "weights", "mountPath": "/weights", "readOnly": true}],
                });
                let of = |component: &str| {
                    let extras = extras.as_object().expect("an object").clone();
                    extras
                        .into_iter()
                        .map(move |(name, value)| format!("{component}.{name}={value}"))
                        .collect::<Vec<_>>()
                };
                let secrets = format!("imagePullSecrets={}", json!([{"name": "registry"}]));
                [of("controller"), of("agent"), vec![secrets]].concat()
            }
            _ => vec![],
        }
    }
}

/// All at once.
#[must_use]
pub fn everything() -> Vec<String> {
    let settings = [
        ("hostPort", "on"),
        ("gpu", "on"),
        ("pools", "on"),
        ("exposed", "ingress"),
        ("exposed", "httpRoute"),
        ("monitors", "on"),
        ("networkPolicy", "closed"),
        ("extras", "on"),
    ];
    settings
        .iter()
        .flat_map(|(name, value)| Setting { name, value }.values())
        .collect()
}

/// What the release is called.
#[must_use]
pub fn release(settings: &[Setting]) -> Release<'static> {
    if settings.contains(&Setting {
        name: "names",
        value: "other",
    }) {
        Release {
            name: "prod",
            namespace: "models",
        }
    } else {
        Release::USUAL
    }
}

/// What does not meet the standard `restricted`, as the values say and NOTES.txt repeats.
#[must_use]
pub fn named(settings: &[Setting]) -> BTreeSet<String> {
    let is = |name, value| settings.contains(&Setting { name, value });
    let mut named = BTreeSet::new();
    if !is("cache", "emptyDir") {
        named.insert("volume data: hostPath".to_owned());
    }
    if is("cache", "hostPath") {
        named.insert("container prepare-cache: runs as root".to_owned());
        named.insert("container prepare-cache: capability CHOWN".to_owned());
    }
    if is("hostPort", "on") {
        named.insert("container agent: host port".to_owned());
    }
    named
}
