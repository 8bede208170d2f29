//! Who is let in over the network, and who may do what.

use std::{sync::Arc, time::Duration};

use apiserver::{
    auth::{Authorizer, Decision, RequestAttributes, UserInfo},
    serve::{Error, ServeConfig, start},
};
use async_trait::async_trait;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{kubectl, program::Kubectl, served::Served};

/// Users `red` and `blue` may do anything to widgets of their own colour, and to nothing else. Lists have to select it.
struct ByColor;

impl ByColor {
    fn color(user: &UserInfo) -> Option<&str> {
        user.is_in("painters").then_some(user.name.as_str())
    }
}

#[async_trait]
impl Authorizer for ByColor {
    async fn authorize(&self, attributes: &RequestAttributes) -> Decision {
        let Some(color) = Self::color(&attributes.user) else {
            return Decision::NoOpinion;
        };
        if attributes.resource != "widgets" {
            return Decision::NoOpinion;
        }
        match attributes.verb.as_str() {
            "list" | "watch" if !attributes.selects("spec.color", color) => {
                Decision::Deny(format!("the list has to carry fieldSelector=spec.color={color}"))
            }
            _ => Decision::Allow,
        }
    }

    async fn admit(
        &self,
        attributes: &RequestAttributes,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Decision {
        let Some(color) = Self::color(&attributes.user) else {
            return Decision::Allow;
        };
        let foreign = |object: &&Value| object["spec"]["color"] != color;
        if new.iter().chain(old.iter()).any(foreign) {
            return Decision::Deny(format!("{color} touches {color} widgets only"));
        }
        Decision::Allow
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_users_each_touch_only_what_is_theirs() {
    let served = Served::with(vec![Arc::new(ByColor)]).await;
    let admin = Kubectl::new(served.kubeconfig());
    kubectl::define(&admin).await;
    admin
        .ok_with("apply -f -", &kubectl::widget("bluish", "blue"))
        .await;
    let red = Kubectl::new(served.kubeconfig_of("red", "painters"));
    let blue = Kubectl::new(served.kubeconfig_of("blue", "painters"));

    red.ok_with("apply -f -", &kubectl::widget("reddish", "red"))
        .await;
    assert_eq!(
        red.ok("get wd --field-selector spec.color=red -o name").await,
        "widget.edge.test/reddish\n"
    );
    assert_eq!(
        blue.ok("get wd --field-selector spec.color=blue -o name").await,
        "widget.edge.test/bluish\n"
    );
    let mut watch = red.begin("get wd --field-selector spec.color=red -w -o name");
    watch.line_with("reddish").await;

    let said = red.fails("get wd", "").await;
    assert!(
        said.contains(r#"User "red" cannot list resource "widgets" in API group "edge.test""#),
        "{said}"
    );
    assert!(said.contains("fieldSelector=spec.color=red"), "{said}");
    assert!(
        red.fails("get wd --field-selector spec.color=blue", "")
            .await
            .contains("is forbidden")
    );
    for line in [
        "get wd bluish",
        "delete wd bluish",
        r#"patch wd bluish --type=merge -p '{"spec":{"note":"x"}}'"#,
    ] {
        assert!(
            red.fails(line, "").await.contains("red touches red widgets only"),
            "{line}"
        );
    }
    let theft = r#"patch wd reddish --type=merge -p '{"spec":{"color":"blue"}}'"#;
    assert!(
        red.fails(theft, "")
            .await
            .contains("red touches red widgets only")
    );
    assert!(
        red.fails("create -f -", &kubectl::widget("other", "blue"))
            .await
            .contains("is forbidden")
    );
    assert!(
        red.fails("get secrets", "")
            .await
            .contains(r#"cannot list resource "secrets" in API group """#)
    );
    assert_eq!(
        admin.json("get wd bluish").await["spec"],
        json!({ "color": "blue", "replicas": 1 })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_identity_nothing_but_health_is_answered() {
    let served = Served::new().await;
    let read = async |path: &str| {
        let mut config = Config::new(served.running.url.parse().unwrap());
        config.accept_invalid_certs = true;
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        Client::try_from(config).unwrap().request_text(request).await
    };
    assert_eq!(read("/readyz").await.unwrap(), "ok");
    assert!(read("/version").await.unwrap().contains("gitVersion"));
    let nobody = Kubectl::new(served.folder.path().join("no-such-file"));
    let at = format!("--server={} --insecure-skip-tls-verify", served.running.url);
    for path in ["/api", "/api/v1/namespaces", "/openapi/v3", "/metrics"] {
        let refused = read(path).await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 401),
            "{path}: {refused:?}"
        );
        let said = nobody
            .fails(&format!("{at} --token=nonsense get --raw {path}"), "")
            .await;
        assert!(said.contains("Unauthorized"), "{path}: {said}");
    }
    let token = served
        .running
        .issue_token(&UserInfo::authenticated("jane", ["a"]), Duration::from_secs(600))
        .unwrap();
    let at = format!("{at} --token={token}");
    assert!(nobody.ok(&format!("{at} get --raw /api")).await.contains("v1"));
    assert!(
        nobody
            .fails(&format!("{at} get --raw /metrics"), "")
            .await
            .contains(r#"User "jane" cannot get path"#)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_not_let_in() {
    let (served, other) = (Served::new().await, Served::new().await);
    let stolen = other
        .running
        .issue_client("edgeloom:admin", "system:masters", Duration::from_secs(600))
        .unwrap();
    let (certificate, key) = (served.folder.path().join("crt"), served.folder.path().join("key"));
    std::fs::write(&certificate, stolen.certificate_pem).unwrap();
    std::fs::write(&key, stolen.key_pem).unwrap();
    let nobody = Kubectl::new(served.folder.path().join("no-such-file"));
    let line = format!(
        "--server={} --insecure-skip-tls-verify --client-certificate={} --client-key={} get ns",
        served.running.url,
        certificate.display(),
        key.display()
    );
    let said = nobody.fails(&line, "").await;
    assert!(said.contains("tls"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_ask_who_they_are_and_what_they_may_do() {
    let served = Served::with(vec![Arc::new(ByColor)]).await;
    let admin = Kubectl::new(served.kubeconfig());
    let red = Kubectl::new(served.kubeconfig_of("red", "painters"));
    assert!(red.ok("auth whoami").await.contains("painters"));
    assert_eq!(admin.ok("auth can-i delete secrets").await.trim(), "yes");
    assert_eq!(red.call("auth can-i delete secrets", "").await.out.trim(), "no");
    assert_eq!(
        admin
            .call("auth can-i delete secrets --as red --as-group painters", "")
            .await
            .out
            .trim(),
        "no"
    );
    assert!(
        red.fails("get ns --as edgeloom:admin --as-group system:masters", "")
            .await
            .contains("cannot impersonate")
    );
    let robot = admin
        .ok("auth whoami --as system:serviceaccount:default:robot")
        .await;
    assert!(robot.contains("system:serviceaccounts:default"), "{robot}");
    admin.ok("create serviceaccount robot").await;
    let token = admin.ok("create token robot").await;
    assert!(!token.is_empty());
}

#[tokio::test]
async fn a_second_server_on_a_data_directory_says_who_has_it() {
    let served = Served::new().await;
    let second = start(
        ServeConfig::new(served.folder.path().join("data")),
        CancellationToken::new(),
    )
    .await;
    match second {
        Err(error @ Error::InUse { .. }) => {
            let process = format!("(process {})", std::process::id());
            assert!(error.to_string().contains(&process), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_ends_watches_and_lets_the_directory_go() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = || ServeConfig {
        kubeconfig: Some(kubeconfig.clone()),
        ..ServeConfig::new(folder.path().join("data"))
    };
    let running = start(config(), CancellationToken::new()).await.unwrap();
    let kubectl = Kubectl::new(&kubeconfig);
    kubectl.ok("create configmap kept").await;
    let mut watch = kubectl.begin("get configmaps -w -o name");
    watch.line_with("kept").await;
    tokio::time::timeout(crate::served::SOON, running.stop())
        .await
        .expect("it stops while a watch is open");
    let again = start(config(), CancellationToken::new()).await.unwrap();
    let maps = kubectl.ok("get configmaps -o name").await;
    assert!(maps.lines().any(|line| line == "configmap/kept"), "{maps}");
    again.stop().await;
}
