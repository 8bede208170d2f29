//! How an agent gets a certificate of its own, and a new one before that ends (`renewal` says when): it makes a key, which never leaves
//! the machine, and asks with a CertificateSigningRequest, as a kubelet does. The first time it proves by a bootstrap token that it may
//! ask, from then on by the certificate that it has.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use apiserver::{
    auth::{authority::Credential, certificates, kubeconfig},
    signing::CLIENT_SIGNER,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequest, jiff::Timestamp};
use kube::{Api, Client, Config, ResourceExt as _, api::PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;
use tracing::info;

use crate::{connect, node_authorizer, renewal::Validity};

/// Time in which somebody, a program or a person, has to approve.
const APPROVAL_DEADLINE: Duration = Duration::from_secs(600);
/// Pause between two looks at a request: an agent may read its own by name only.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The kubeconfig of the agent of `node`, in its data directory. It is made with `bootstrap` if it is not there or no longer good.
///
/// # Errors
///
/// When the request is denied, nobody approves it in time, or a file cannot be written.
pub(crate) async fn kubeconfig(node: &str, data: &Path, bootstrap: &Path) -> anyhow::Result<PathBuf> {
    let own = data.join("kubeconfig");
    let now = Timestamp::now();
    match validity(&own) {
        // What is about to end is renewed while the agent runs.
        Some(validity) if now < validity.until => {}
        _ => renew(node, bootstrap, &own)
            .await
            .with_context(|| format!("{node} cannot join with {}", bootstrap.display()))?,
    }
    Ok(own)
}

/// When the certificate in a kubeconfig is good; `None` if there is none.
pub(crate) fn validity(path: &Path) -> Option<Validity> {
    let config = kube::config::Kubeconfig::read_from(path).ok()?;
    let user = config.auth_infos.first()?.auth_info.as_ref()?;
    let pem = STANDARD.decode(user.client_certificate_data.as_ref()?).ok()?;
    let facts = certificates::read_pem(std::str::from_utf8(&pem).ok()?)?;
    Some(Validity {
        from: facts.not_before,
        until: facts.not_after,
    })
}

/// Asks for a certificate with one kubeconfig, and writes another with it.
///
/// # Errors
///
/// As [`kubeconfig`].
pub(crate) async fn renew(node: &str, with: &Path, own: &Path) -> anyhow::Result<()> {
    let config = connect::config_of(with, None).await?;
    let (url, authority) = (url(&config), authority_pem(&config)?);
    let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
    let credential = ask(&client, node).await?;
    if let Some(folder) = own.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    kubeconfig::write(own, &kubeconfig::text(&url, &authority, &credential))?;
    info!(node, kubeconfig = %own.display(), "the agent has a certificate of its own");
    Ok(())
}

/// Asks for a certificate, and waits for it.
async fn ask(client: &Client, node: &str) -> anyhow::Result<Credential> {
    let key = KeyPair::generate().context("failed to make a key")?;
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let made = requests
        .create(&PostParams::default(), &request(node, &key)?)
        .await
        .context("the API server refuses the certificate request")?;
    let name = made.name_any();
    info!(request = name, "asked for a certificate");
    let certificate = tokio::time::timeout(APPROVAL_DEADLINE, certificate(&requests, &name))
        .await
        .with_context(|| {
            format!(
                "nobody approved the certificate request {name} within {} s",
                APPROVAL_DEADLINE.as_secs()
            )
        })??;
    Ok(Credential {
        certificate_pem: certificate,
        key_pem: key.serialize_pem(),
    })
}

fn request(node: &str, key: &KeyPair) -> anyhow::Result<CertificateSigningRequest> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, node_authorizer::user_of(node));
    params
        .distinguished_name
        .push(DnType::OrganizationName, node_authorizer::GROUP);
    let pem = params.serialize_request(key).and_then(|request| request.pem());
    let pem = pem.context("failed to make a certificate request")?;
    serde_json::from_value(json!({
        "metadata": {"generateName": "edgeloom-node-"},
        "spec": {
            "request": ByteString(pem.into_bytes()), "signerName": CLIENT_SIGNER,
            "usages": ["digital signature", "client auth"],
        },
    }))
    .context("failed to make a certificate request")
}

/// The certificate, once it is there.
async fn certificate(requests: &Api<CertificateSigningRequest>, name: &str) -> anyhow::Result<String> {
    loop {
        let request = requests
            .get(name)
            .await
            .context("the certificate request cannot be read")?;
        let status = request.status.unwrap_or_default();
        for condition in status.conditions.iter().flatten() {
            if matches!(condition.type_.as_str(), "Denied" | "Failed") && condition.status == "True" {
                let why = condition.message.as_deref().unwrap_or("no reason is given");
                bail!("the certificate request was refused: {why}");
            }
        }
        if let Some(ByteString(pem)) = status.certificate
            && !pem.is_empty()
        {
            return String::from_utf8(pem).context("the certificate is not PEM");
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// The server's address, without a slash at its end.
pub(crate) fn url(config: &Config) -> String {
    config.cluster_url.to_string().trim_end_matches('/').to_owned()
}

/// The authority that the kubeconfig trusts.
///
/// # Errors
///
/// When it names none: an agent that trusted anybody would show its token to anybody.
pub(crate) fn authority_pem(config: &Config) -> anyhow::Result<String> {
    let certificates = config
        .root_cert
        .as_ref()
        .context("the kubeconfig has no certificate-authority, by which agents could know the server")?;
    let block = |der: &Vec<u8>| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    };
    Ok(certificates.iter().map(block).collect())
}
