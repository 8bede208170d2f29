//! A machine joins: with a bootstrap token it gets a certificate of its own, which is good for its node and for nothing else.

use std::{
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use apiserver::auth::{authority::Authority, kubeconfig};
use crds::EdgeNode;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        certificates::v1::CertificateSigningRequest,
        core::v1::Secret,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{controller::Program, edgeloom, said};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

struct Site {
    folder: TempDir,
    runtime: Runtime,
    _control_plane: Program,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut command = edgeloom(&["control-plane", "--listen", "127.0.0.1:0", "--data"]);
        command
            .arg(at("plane"))
            .arg("--kubeconfig")
            .arg(at("admin"))
            .arg("--announce")
            .arg(at("announcement"));
        let control_plane = Program::start(&mut command);
        let site = Self {
            runtime: Runtime::new().unwrap(),
            _control_plane: control_plane,
            folder,
        };
        site.until("the control plane answers", || site.at("announcement").exists());
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < DEADLINE, "never: {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a token, and gives back the kubeconfig with it.
    fn token(&self, name: &str, more: &[&str]) -> PathBuf {
        let path = self.at(name);
        let mut command = edgeloom(&["token", "--kubeconfig"]);
        let output = command
            .arg(self.at("admin"))
            .arg("--output")
            .arg(&path)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{:?}", said(&output));
        path
    }

    fn agent(&self, node: &str, data: &str, bootstrap: &Path) -> std::process::Command {
        let mut command = edgeloom(&["agent", "--register", "--node", node, "--data"]);
        command
            .arg(self.at(data))
            .arg("--bootstrap-kubeconfig")
            .arg(bootstrap);
        command
    }

    /// What the node's agent has told of itself, once it has.
    fn status(&self, node: &str) -> Option<crds::EdgeNodeStatus> {
        let nodes: Api<EdgeNode> = Api::all(self.client(&self.at("admin")));
        let found = self.runtime.block_on(nodes.get_opt(node)).unwrap();
        found?.status.filter(|status| status.agent.is_some())
    }

    /// A figure of the node's agent, once it can be read.
    fn figure(&self, node: &str, metric: &str) -> Option<f64> {
        let url = self.status(node)?.agent?.router_url;
        let text = ureq::get(format!("{url}/metrics")).call().ok()?;
        let text = text.into_body().read_to_string().ok()?;
        let series = format!("{metric}{{node=\"{node}\"}} ");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }

    /// Puts a certificate of which a sixth is left in place of the agent's own.
    fn nearly_end(&self, node: &str, data: &str) {
        let (day, now) = (Duration::from_secs(24 * 3600), Timestamp::now());
        let authority = Authority::open(&self.at("plane/pki"), now).unwrap();
        let credential = authority
            .issue_client(
                &format!("edgeloom:node:{node}"),
                "edgeloom:nodes",
                day,
                now - day * 5 / 6,
            )
            .unwrap();
        let file = self.at(data).join("kubeconfig");
        let before = Kubeconfig::read_from(&file).unwrap();
        let url = before.clusters[0].cluster.clone().unwrap().server.unwrap();
        let text = kubeconfig::text(&url, authority.certificate_pem(), &credential);
        kubeconfig::write(&file, &text).unwrap();
    }

    /// Refuses every new certificate request from now on, until the end of the binding that is given back.
    fn refuse_requests(&self) -> Api<ValidatingAdmissionPolicyBinding> {
        let client = self.client(&self.at("admin"));
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        let requests: Api<CertificateSigningRequest> = Api::all(client);
        let policy = json!({"metadata": {"name": "none"}, "spec": {
            "validations": [{"expression": "false", "message": "not today"}],
            "matchConstraints": {"resourceRules": [{"apiGroups": ["certificates.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["certificatesigningrequests"]}]}}});
        let binding = json!({"metadata": {"name": "none"}, "spec": {
            "policyName": "none", "validationActions": ["Deny"]}});
        let (policy, binding) = (
            serde_json::from_value(policy).unwrap(),
            serde_json::from_value(binding).unwrap(),
        );
        let (write, dry) = (
            PostParams::default(),
            PostParams {
                dry_run: true,
                ..PostParams::default()
            },
        );
        self.runtime.block_on(policies.create(&write, &policy)).unwrap();
        self.runtime.block_on(bindings.create(&write, &binding)).unwrap();
        let known = self
            .runtime
            .block_on(requests.list(&ListParams::default()))
            .unwrap();
        let mut again = known.items.into_iter().next().unwrap();
        again.metadata = Default::default();
        again.metadata.name = Some("again".to_owned());
        again.status = None;
        self.until("requests are refused", || {
            let answer = self.runtime.block_on(requests.create(&dry, &again));
            answer.is_err_and(|error| error.to_string().contains("not today"))
        });
        bindings
    }

    /// Runs an agent that may not join.
    fn refused(&self, node: &str, data: &str, bootstrap: &Path) -> String {
        let output: Output = self.agent(node, data, bootstrap).output().unwrap();
        let (code, _, errors) = said(&output);
        assert_eq!(code, Some(1), "{errors}");
        errors.lines().last().unwrap_or_default().to_owned()
    }

    fn client(&self, kubeconfig: &Path) -> Client {
        let _guard = self.runtime.enter();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = self
            .runtime
            .block_on(Config::from_custom_kubeconfig(kubeconfig, &options))
            .unwrap();
        Client::try_from(config).unwrap()
    }
}

#[test]
fn a_machine_joins_with_a_token_and_is_known_by_its_own_certificate_from_then_on() {
    let site = Site::start();
    let anybody = site.token("anybody", &[]);
    let agent = Program::start(&mut site.agent("edge-1", "one", &anybody));
    agent.until_says("the agent has a certificate of its own");
    let nodes: Api<EdgeNode> = Api::all(site.client(&site.at("admin")));
    site.until("the agent reports", || {
        let node = site.runtime.block_on(nodes.get_opt("edge-1")).unwrap();
        node.is_some_and(|node| node.status.is_some_and(|status| status.agent.is_some()))
    });

    let own = site.client(&site.at("one/kubeconfig"));
    let itself: Api<EdgeNode> = Api::all(own.clone());
    site.runtime.block_on(itself.get("edge-1")).unwrap();
    let secrets: Api<Secret> = Api::all(own);
    match site.runtime.block_on(secrets.list(&ListParams::default())) {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("{other:?}"),
    }

    let said = site.refused("edge-1", "two", &anybody);
    assert!(said.contains("an agent speaks for edge-1 already"), "{said}");
    let for_another = site.token("for-another", &["--node", "edge-2"]);
    let said = site.refused("edge-3", "three", &for_another);
    assert!(
        said.contains("this bootstrap token is for the node edge-2"),
        "{said}"
    );
    drop(agent);
}

#[test]
fn an_agent_renews_its_certificate_while_it_runs_and_asks_again_when_that_fails() {
    let site = Site::start();
    let anybody = site.token("anybody", &[]);
    let first = Program::start(&mut site.agent("edge-1", "one", &anybody));
    first.until_says("the agent has a certificate of its own");
    site.until("the agent reports", || site.status("edge-1").is_some());
    drop(first);

    site.nearly_end("edge-1", "one");
    let incarnation = |site: &Site| Some(site.status("edge-1")?.agent?.incarnation);
    let (old, bindings) = (incarnation(&site), site.refuse_requests());
    let agent = Program::start(&mut site.agent("edge-1", "one", &anybody));
    let said = agent.until_says("the agent's certificate cannot be renewed yet");
    assert!(said.contains("not today"), "{said}");
    // It works on with the one that it has.
    site.until("the agent reports", || incarnation(&site) != old);
    site.until("the failure can be seen", || {
        let failures = site.figure("edge-1", "edgeloom_certificate_renewal_failures_total");
        failures.is_some_and(|failures| failures >= 1.0)
    });
    let end = "edgeloom_certificate_expiration_timestamp_seconds";
    let near = site.figure("edge-1", end).unwrap();

    let running = incarnation(&site);
    site.runtime
        .block_on(bindings.delete("none", &DeleteParams::default()))
        .unwrap();
    agent.until_says("the agent's certificate is renewed");
    site.until("the new end can be seen", || {
        site.figure("edge-1", end).is_some_and(|end| end > near)
    });
    let nodes: Api<EdgeNode> = Api::all(site.client(&site.at("one/kubeconfig")));
    site.runtime.block_on(nodes.get("edge-1")).unwrap();

    // It hears of what changes, and says so, without having been started again.
    let nodes: Api<EdgeNode> = Api::all(site.client(&site.at("admin")));
    let moved = Patch::Merge(json!({"spec": {"site": "hall 2"}}));
    let moved = site
        .runtime
        .block_on(nodes.patch("edge-1", &PatchParams::default(), &moved))
        .unwrap();
    site.until("the agent has seen the change", || {
        let status = site.status("edge-1").unwrap();
        status.observed_generation == moved.metadata.generation
    });
    assert_eq!(incarnation(&site), running);
}
