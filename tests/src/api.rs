//! Requests to the HTTPS API with the administrator's certificate, one after the other on one connection.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use mesh_mtls::{Alpn, ApiConnector, ClientCertificate, TrustBundle};
use serde_json::Value;
use std::path::Path;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A connection to the API.
#[derive(Debug)]
pub struct Api {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Api {
    /// Connects as a kubeconfig says.
    ///
    /// # Errors
    /// It can't be read, or there is no connection.
    pub async fn connect(kubeconfig: &Path) -> Result<Self> {
        let file = std::fs::read_to_string(kubeconfig).context("reading the kubeconfig")?;
        let file: Value = serde_yaml::from_str(&file).context("reading the kubeconfig")?;
        let text = |pointer: &str| {
            file.pointer(pointer)
                .and_then(Value::as_str)
                .with_context(|| format!("no {pointer} in the kubeconfig"))
        };
        let pem =
            |pointer: &str| Ok::<_, anyhow::Error>(String::from_utf8(STANDARD.decode(text(pointer)?)?)?);
        let roots = TrustBundle::from_pem(&pem("/clusters/0/cluster/certificate-authority-data")?)?;
        let certificate = ClientCertificate::from_pem(
            &pem("/users/0/user/client-certificate-data")?,
            &pem("/users/0/user/client-key-data")?,
        )?;
        let server: Uri = text("/clusters/0/cluster/server")?.parse()?;
        let authority = server.authority().context("no address of the server")?.to_string();
        let host = server.host().context("no host of the server")?.trim_matches(['[', ']']).to_owned();
        let socket = TcpStream::connect(&authority).await.context("connecting to the API")?;
        let stream =
            ApiConnector::new(&roots, Some(certificate), &[Alpn::Http1])?.connect(socket, &host).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // What breaks it is seen by the request on it.
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { authority, sender, _driver: driver })
    }

    /// Sends a request with JSON.
    ///
    /// # Errors
    /// It is not answered, or refused: with what was said.
    pub async fn send(&mut self, method: Method, path: &str, media: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.exchange(method, path, media, body).await?;
        if !status.is_success() {
            bail!("{path}: {status}: {answer}");
        }
        Ok(answer)
    }

    /// Sends a request with JSON and returns whatever is answered.
    ///
    /// # Errors
    /// It is not answered; whether it was done is not known then.
    pub async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        media: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        let request = request.header(CONTENT_TYPE, media).body(Full::new(Bytes::from(body.to_string())))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&answer)?))
    }
}
