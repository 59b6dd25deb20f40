//! Requests to the control plane's API, one after another over one connection.
//!
//! Enters: a method, a path and a body. Leaves: JSON, or an error that says where it went wrong: no connection, no trust,
//! or the server's own words. Never here: what the objects mean.

use crate::kubeconfig::Access;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use mesh_mtls::{Alpn, ApiConnector, ClientCertificate, TrustBundle};
use mesh_process::Tasks;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// From the first packet to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// From sending a request to the end of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of one answer: a list of all objects of a large mesh. One more is an error.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// What an answer shall look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Objects,
    /// A `meta.k8s.io/v1` Table made by the server.
    Table,
}

impl Form {
    fn accept(self) -> &'static str {
        match self {
            Self::Objects => "application/json",
            Self::Table => "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        }
    }
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The kubeconfig's certificates cannot be used.
    #[error("the kubeconfig's {what} cannot be used: {problem}")]
    Credentials { what: &'static str, problem: String },
    /// There is no connection.
    #[error(
        "cannot reach the control plane at {server}: {problem}; is it running, and is this its kubeconfig?"
    )]
    Unreachable { server: String, problem: String },
    /// The connection broke.
    #[error("the control plane at {server} broke off: {problem}")]
    Broken { server: String, problem: String },
    /// The server refused.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
}

impl ApiError {
    /// Whether the server says that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code == StatusCode::NOT_FOUND.as_u16())
    }
}

/// A refusal in the server's words: a Kubernetes `Status`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) details: Details,
}

/// What a refusal is about.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Details {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) causes: Vec<Cause>,
}

/// One field that is at fault.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Cause {
    #[serde(default)]
    pub(crate) field: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// The way to one control plane.
pub(crate) struct Client {
    access: Access,
    trust_bundle: TrustBundle,
    connector: ApiConnector,
    connection: Option<SendRequest<Full<Bytes>>>,
    tasks: Tasks,
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    pub(crate) fn new(access: Access) -> Result<Self, ApiError> {
        let unusable = |what| move |problem: String| ApiError::Credentials { what, problem };
        let trust_bundle = TrustBundle::from_pem(&access.authority);
        let trust_bundle =
            trust_bundle.map_err(|error| unusable("certificate authority")(chain_of(&error)))?;
        let certificate =
            access.certificate.as_ref().map(|(chain, key)| ClientCertificate::from_pem(chain, key));
        let certificate =
            certificate.transpose().map_err(|error| unusable("client certificate")(chain_of(&error)))?;
        let connector = ApiConnector::new(&trust_bundle, certificate, &[Alpn::Http1]);
        let connector = connector.map_err(|error| unusable("certificate authority")(chain_of(&error)))?;
        Ok(Self { access, trust_bundle, connector, connection: None, tasks: Tasks::new() })
    }

    /// The namespace used where none is given.
    pub(crate) fn namespace(&self) -> &str {
        &self.access.namespace
    }

    /// The certificates of the authority the kubeconfig names, as DER.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.trust_bundle.certificates()
    }

    /// The authority the kubeconfig names, as PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.access.authority
    }

    /// Where the API is, for messages.
    pub(crate) fn server(&self) -> String {
        self.access.server.to_string().trim_end_matches('/').to_owned()
    }

    /// Reads objects.
    pub(crate) async fn get(&mut self, path: &str, form: Form) -> Result<Value, ApiError> {
        self.ask(Method::GET, path, form, None).await.map(|(_, value)| value)
    }

    /// Sends any request; the body with its content type.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        form: Form,
        body: Option<(&'static str, String)>,
    ) -> Result<(StatusCode, Value), ApiError> {
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(method, path, form, body)).await;
        let (status, bytes) = answered.unwrap_or_else(|_elapsed| {
            self.connection = None;
            Err(self.broken(&format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))
        })?;
        if status.is_success() {
            let value = serde_json::from_slice(&bytes);
            return value.map(|value| (status, value)).map_err(|error| self.broken(&error.to_string()));
        }
        Err(ApiError::Refused(Box::new(refusal(status, &bytes))))
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        form: Form,
        body: Option<(&'static str, String)>,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let authority = self.access.server.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(ACCEPT, form.accept())
            .header(USER_AGENT, concat!("meshctl/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.access.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            None => Bytes::new(),
            Some((content_type, body)) => {
                request = request.header(CONTENT_TYPE, content_type);
                Bytes::from(body)
            }
        };
        let request = request.body(Full::new(body)).map_err(|error| self.broken(&chain_of(&error)))?;
        let mut connection = self.connection().await?;
        let response =
            connection.send_request(request).await.map_err(|error| self.broken(&chain_of(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.broken(&chain_of(error.as_ref())))?;
        self.connection = Some(connection);
        Ok((status, body.to_bytes()))
    }

    /// The connection of the last request if it still lives, else a new one.
    async fn connection(&mut self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let server = self.server();
        let unreachable = |problem: String| ApiError::Unreachable { server: server.clone(), problem };
        let host = self.access.server.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.access.server.port_u16().unwrap_or(443);
        let connect = async {
            let stream = TcpStream::connect((host.as_str(), port)).await;
            let stream = stream.map_err(|error| unreachable(error.to_string()))?;
            let stream = self.connector.connect(stream, &host).await;
            stream.map_err(|error| unreachable(chain_of(&error)))
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_elapsed| {
            Err(unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))
        })?;
        let (sender, driver) =
            handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(chain_of(&error)))?;
        self.tasks.spawn("connection", async move {
            // What breaks a connection is seen by the request on it.
            drop(driver.await);
        });
        Ok(sender)
    }

    fn broken(&self, problem: &str) -> ApiError {
        ApiError::Broken { server: self.server(), problem: problem.to_owned() }
    }
}

/// The server's words, or the best that can be said without them.
fn refusal(status: StatusCode, bytes: &[u8]) -> Status {
    let mut refusal: Status = serde_json::from_slice(bytes).unwrap_or_default();
    if refusal.message.is_empty() {
        let text = String::from_utf8_lossy(bytes);
        refusal.message = format!("the control plane answered {status}: {}", text.trim());
    }
    refusal.code = status.as_u16();
    refusal
}

/// An error with everything that caused it.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_kept_and_an_answer_without_any_is_described() {
        let text =
            br#"{"kind":"Status","message":"no","code":409,"details":{"causes":[{"field":"spec.x"}]}}"#;
        let status = refusal(StatusCode::CONFLICT, text);
        assert_eq!((status.message.as_str(), status.code), ("no", 409));
        assert_eq!(status.details.causes[0].field, "spec.x");
        let status = refusal(StatusCode::BAD_GATEWAY, b"oops\n");
        assert_eq!(status.message, "the control plane answered 502 Bad Gateway: oops");
    }
}
