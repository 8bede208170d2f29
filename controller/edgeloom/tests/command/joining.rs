//! A machine joins: with a bootstrap token it gets a certificate of its own, which is good for its node and for nothing else.

use std::{
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use crds::EdgeNode;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
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
