//! Servers, and plain connections to them.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server under test.
pub(crate) struct Target {
    /// What it is called in the table.
    pub(crate) name: String,
    /// The processes whose memory counts.
    pub(crate) processes: Vec<u32>,
    address: String,
    host: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// Reads `NAME=KUBECONFIG[,PID…]`; the kubeconfig has client certificates.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, rest) = text
            .split_once('=')
            .with_context(|| format!("{text} is not NAME=KUBECONFIG[,PID…]"))?;
        let mut parts = rest.split(',');
        let file = parts.next().unwrap_or_default();
        let processes = parts
            .map(|part| part.parse().with_context(|| format!("{part} is no process id")))
            .collect::<Result<_>>()?;
        let content = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let config: Value = serde_yaml::from_str(&content).with_context(|| format!("cannot read {file}"))?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let address = cluster["server"].as_str().context("the cluster has no server")?;
        let address = address
            .strip_prefix("https://")
            .context("the server is not https")?
            .trim_end_matches('/')
            .to_owned();
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        let host = ServerName::try_from(host.to_owned()).context("the server is no name")?;

        let authority = pem(cluster, "certificate-authority")?;
        let certificate = pem(user, "client-certificate")?;
        let key = pem(user, "client-key")?;
        let mut roots = RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(&authority) {
            roots.add(one?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>()?;
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?;
        Ok(Self {
            name: name.to_owned(),
            processes,
            address,
            host,
            tls: Arc::new(tls),
        })
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(self.host.clone(), stream)
            .await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection {
            sender,
            host: self.address.clone(),
        })
    }
}

/// What a kubeconfig gives as base64 or as the name of a file.
fn pem(from: &Value, field: &str) -> Result<Vec<u8>> {
    if let Some(data) = from[format!("{field}-data")].as_str() {
        return Ok(STANDARD.decode(data)?);
    }
    let file = from[field]
        .as_str()
        .with_context(|| format!("the kubeconfig has no {field}"))?;
    fs::read(file).with_context(|| format!("cannot read {file}"))
}

/// A connection, on which one request goes after the other.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Asks, and gives back the body, which nobody has looked at. The answer has to be a success.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        media_type: &str,
        body: String,
    ) -> Result<Bytes> {
        let answer = async {
            let incoming = self.begin(method, path, media_type, body).await?;
            Ok(incoming.collect().await?.to_bytes())
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .context("no answer")?
    }

    /// Asks, and gives back the body as it comes.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        media_type: &str,
        body: String,
    ) -> Result<Incoming> {
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, media_type)
            .header(header::USER_AGENT, "bench-apiserver")
            .body(Full::from(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let code = response.status();
        if !code.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(
                code.is_success(),
                "{method} {path}: {code} {}",
                String::from_utf8_lossy(&body)
            );
            unreachable!("it is no success");
        }
        Ok(response.into_body())
    }
}
