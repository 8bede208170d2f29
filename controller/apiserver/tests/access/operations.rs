//! What whoever runs a server relies on: its audit log, its limits, certificates that are renewed under it, tokens for machines that
//! join, and an end that nobody notices.

use std::{sync::Arc, time::Duration};

use apiserver::{
    audit::{self, policy::Policy},
    serve::{CertificateFiles, Limits, ServeConfig, start},
};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Request;
use http_body_util::BodyExt;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    program::Kubectl,
    served::{SOON, Served},
};

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  nonResourceURLs: ['*']
- level: Request
  resources: [{group: '', resources: [configmaps]}]
- level: RequestResponse
  verbs: [create]
  resources: [{group: '', resources: [serviceaccounts]}]
- level: Metadata
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_tells_who_did_what() {
    let logs = tempfile::tempdir().unwrap();
    let path = logs.path().join("audit.log");
    let served = Served::configured(|config| {
        config.audit = Some(audit::Config {
            path: path.clone(),
            bytes_max: 100 << 20,
            backups_max: 1,
            policy: Policy::parse(POLICY).unwrap(),
        });
    })
    .await;
    let admin = Kubectl::new(served.kubeconfig());
    let jane = Kubectl::new(served.kubeconfig_of("jane", "painters"));
    admin.ok("create configmap told --from-literal=color=red").await;
    admin
        .ok("create secret generic kept --from-literal=password=hunter2")
        .await;
    jane.fails("get secrets", "").await;
    admin.ok("create serviceaccount robot").await;
    admin
        .ok("get configmaps --as jim --as-group system:masters")
        .await;
    served.stop().await;

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains(&STANDARD.encode("hunter2")),
        "bodies of Secrets are not told"
    );
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let event = |verb: &str, resource: &str| {
        let found = |event: &&Value| event["verb"] == verb && event["objectRef"]["resource"] == resource;
        events
            .iter()
            .find(found)
            .unwrap_or_else(|| panic!("{verb} {resource} is not told in {text}"))
    };
    let created = event("create", "configmaps");
    assert_eq!(created["requestObject"]["data"], json!({"color": "red"}));
    assert_eq!(
        (&created["level"], &created["responseStatus"]["code"]),
        (&json!("Request"), &json!(201))
    );
    assert_eq!(
        (&created["user"]["username"], &created["sourceIPs"]),
        (&json!("edgeloom:admin"), &json!(["127.0.0.1"]))
    );
    assert!(created["userAgent"].as_str().unwrap().starts_with("kubectl"));
    assert_eq!(event("create", "secrets")["requestObject"], Value::Null);
    let answered = event("create", "serviceaccounts");
    assert_eq!(answered["level"], "RequestResponse");
    assert_eq!(answered["requestObject"]["metadata"]["name"], "robot");
    let uid = &answered["responseObject"]["metadata"]["uid"];
    assert!(uid.is_string(), "{answered}");
    let refused = event("list", "secrets");
    assert_eq!(
        (&refused["user"]["username"], &refused["responseStatus"]["code"]),
        (&json!("jane"), &json!(403))
    );
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    let impersonated = event("list", "configmaps");
    assert_eq!(impersonated["user"]["username"], "edgeloom:admin");
    assert_eq!(impersonated["impersonatedUser"]["username"], "jim");
    assert!(
        events.iter().all(|event| event["objectRef"].is_object()),
        "other URLs are not told"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_token_lets_a_machine_in_until_it_is_deleted() {
    let served = Served::new().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:edge"}});
    let path = "/api/v1/namespaces/kube-system/secrets";
    let (code, body) = served.ask("POST", path, secret).await;
    assert_eq!(code, 201, "{body:#}");
    let machine = Kubectl::new(served.folder.path().join("no-such-file"));
    let at = format!(
        "--server={} --insecure-skip-tls-verify --token=abcdef.0123456789abcdef",
        served.running.url
    );
    let said = machine.ok(&format!("{at} auth whoami")).await;
    assert!(
        said.contains("system:bootstrap:abcdef") && said.contains("system:bootstrappers:edge"),
        "{said}"
    );
    let said = machine.fails(&format!("{at} get secrets -A"), "").await;
    assert!(
        said.contains(r#"User "system:bootstrap:abcdef" cannot list resource "secrets""#),
        "{said}"
    );
    let (code, _) = served
        .ask("DELETE", &format!("{path}/bootstrap-token-abcdef"), Value::Null)
        .await;
    assert_eq!(code, 200);
    let said = machine.fails(&format!("{at} auth whoami"), "").await;
    assert!(said.contains("Unauthorized"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_many_too_long_or_too_large_is_refused() {
    let served = Served::configured(|config| {
        config.limits = Limits {
            mutating: 0,
            ..Limits::default()
        };
    })
    .await;
    let admin = Kubectl::new(served.kubeconfig());
    let (mut plain, _) = connect(&served, "localhost", served.running.authority_pem()).await;
    let request = b"POST /api/v1/namespaces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    plain.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, plain.read_to_end(&mut answer))
        .await
        .expect("it is answered")
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("\"reason\":\"TooManyRequests\""), "{answer}");
    assert!(
        admin.ok("get namespaces").await.contains("kube-system"),
        "reading is another kind"
    );
    let metrics = admin.ok("get --raw /metrics").await;
    assert!(
        metrics.contains("apiserver_dropped_requests_total{request_kind=\"mutating\"}"),
        "{metrics}"
    );
    let (_, longest) = served.ask("GET", "/api?timeout=nonsense", Value::Null).await;
    assert!(longest.is_object(), "a document takes no time");
    let (code, body) = served
        .ask("GET", "/api/v1/namespaces?timeout=nonsense", Value::Null)
        .await;
    assert_eq!(code, 400, "{body:#}");

    let maps = "/api/v1/namespaces/default/configmaps";
    let large = json!({"metadata": {"name": "large"}, "data": {"k": "v".repeat(3 << 20)}});
    let (code, body) = served.ask("POST", maps, large).await;
    assert_eq!(
        (code, &body["reason"]),
        (413, &json!("RequestEntityTooLarge")),
        "{body:#}"
    );

    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post(format!("{maps}?timeout=100ms")).header("content-type", "application/json");
    let answer = served
        .running
        .admin_router()
        .oneshot(request.body(never).unwrap());
    let response = timeout(SOON, answer).await.expect("it is answered").unwrap();
    assert_eq!(response.status(), 504);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["reason"], "Timeout", "{body:#}");
}

/// A connection to a server by this name, and the certificate that it showed.
async fn connect(served: &Served, name: &str, roots: &str) -> (TlsStream<TcpStream>, Vec<u8>) {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        trusted.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let stream = TcpStream::connect(served.running.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    (stream, shown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_and_open_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    };
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let roots = params.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let issue = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["edge.example".to_owned()]).unwrap();
        std::fs::write(&files.certificate, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
    };
    issue();
    let served = Served::configured(|config| config.certificates = vec![files.clone()]).await;
    let (mut open, first) = connect(&served, "edge.example", &roots).await;

    issue();
    let renewed = async {
        while connect(&served, "edge.example", &roots).await.1 == first {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, renewed)
        .await
        .expect("the new certificate is shown");
    open.write_all(b"GET /readyz HTTP/1.1\r\nhost: edge.example\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    timeout(SOON, open.read_exact(&mut answer))
        .await
        .expect("it is answered")
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let by_address = Kubectl::new(served.kubeconfig());
    assert!(
        by_address.ok("get namespaces").await.contains("default"),
        "the authority's own is shown there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_to_stop_says_so_and_serves_until_everybody_knows() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let config = ServeConfig {
        kubeconfig: Some(folder.path().join("kubeconfig")),
        // The test ends before.
        shutdown_delay: Duration::from_secs(3600),
        ..ServeConfig::new(folder.path().join("data"))
    };
    let running = start(config, stop.clone()).await.unwrap();
    let kubectl = Kubectl::new(folder.path().join("kubeconfig"));
    let mut watch = kubectl.begin("get configmaps -w -o name");
    kubectl.ok("create configmap before").await;
    watch.line_with("before").await;
    stop.cancel();
    let left = async {
        while kubectl.call("get --raw /readyz", "").await.ok {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, left).await.expect("readiness fails");
    let said = kubectl.fails("get --raw /readyz?verbose", "").await;
    assert!(said.contains("[-]shutdown failed"), "{said}");
    assert_eq!(kubectl.ok("get --raw /livez").await, "ok");
    kubectl.ok("create configmap after").await;
    watch.line_with("after").await;
    drop(running);
}

/// A PKCS #10 request for this common name, in base64.
fn certificate_request(common_name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, common_name);
    STANDARD.encode(params.serialize_request(&key).unwrap().pem().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_requests_are_approved_and_denied_with_kubectl() {
    let served = Served::new().await;
    let admin = Kubectl::new(served.kubeconfig());
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    for name in ["comes-in", "stays-out"] {
        let request = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {
                "request": certificate_request(name), "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        });
        let (code, body) = served.ask("POST", path, request).await;
        assert_eq!(code, 201, "{body}");
    }
    admin.ok("certificate approve comes-in").await;
    admin.ok("certificate deny stays-out").await;
    served
        .until(&format!("{path}/comes-in"), |_, request| {
            request["status"]["certificate"].is_string()
        })
        .await;
    let (_, denied) = served.ask("GET", &format!("{path}/stays-out"), Value::Null).await;
    assert_eq!(denied["status"]["conditions"][0]["type"], "Denied", "{denied}");
    assert_eq!(denied["status"].get("certificate"), None);
}
