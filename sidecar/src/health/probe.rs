//! One question to an application: asked over a connection of its own, as a new client would. What enters is an address
//! and a check; what leaves is nothing, or in words what was wrong. The caller bounds the time.

use crate::dial::Dial;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_names::AppProtocol;
use mesh_protocol::health::{Asks, grpc};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Most bytes of an answer to gRPC's question: it is a number.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Flag and length before a message of gRPC.
const PREFIX_BYTES: usize = 5;
/// By which an application can tell these requests from others.
const AGENT: HeaderValue = HeaderValue::from_static("outrigger-health-check");

/// Asks once.
///
/// # Errors
/// In words, without a full stop: what was wrong.
///
/// # Cancel safety
/// Cancelling closes the connection.
pub(super) async fn ask(
    dial: Dial,
    at: SocketAddr,
    protocol: AppProtocol,
    asks: &Asks,
) -> Result<(), String> {
    let stream = dial.tcp(at).await.map_err(|error| format!("connecting to port {}: {error}", at.port()))?;
    match asks {
        Asks::Tcp => Ok(()),
        Asks::Http { path, host, statuses } => {
            let host = host.as_deref().unwrap_or("localhost");
            let answer = get(stream, protocol, host, path).await;
            let status = answer.map_err(|error| format!("GET {path} at port {}: {error}", at.port()))?;
            judge(status, statuses).map_err(|wanted| {
                format!("GET {path} at port {} was answered with {status}, not {wanted}", at.port())
            })
        }
        Asks::Grpc { service } => {
            let status = check(stream, service).await;
            let about = if service.is_empty() { "the server" } else { service };
            match status {
                Ok(grpc::SERVING) => Ok(()),
                Ok(status) => {
                    Err(format!("{about} at port {} says that it is {}", at.port(), serving_status(status)))
                }
                Err(error) => Err(format!("{} for {about} at port {}: {error}", grpc::PATH, at.port())),
            }
        }
    }
}

/// Whether a status is one of those wanted; else what was.
fn judge(status: u16, wanted: &[u16]) -> Result<(), String> {
    let is_good = if wanted.is_empty() { (200..400).contains(&status) } else { wanted.contains(&status) };
    if is_good {
        return Ok(());
    }
    let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    Err(if wanted.is_empty() { "200 to 399".to_owned() } else { wanted.join(" or ") })
}

fn serving_status(status: i32) -> &'static str {
    match status {
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

async fn get(stream: TcpStream, protocol: AppProtocol, host: &str, path: &str) -> Result<u16, String> {
    let mut request = Request::new(Full::default());
    request.headers_mut().insert(USER_AGENT, AGENT);
    let answer = match protocol {
        AppProtocol::H2c | AppProtocol::Grpc => {
            *request.uri_mut() = format!("http://{host}{path}").parse().map_err(words)?;
            *request.version_mut() = Version::HTTP_2;
            over_http2(stream, request).await?
        }
        AppProtocol::Http | AppProtocol::Tcp | AppProtocol::Detect => {
            *request.uri_mut() = path.parse().map_err(words)?;
            request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(words)?);
            over_http1(stream, request).await?
        }
    };
    Ok(answer.status().as_u16())
}

async fn over_http1(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer.map_err(words),
        // It may have ended with the answer.
        _ = &mut connection => answer.await.map_err(words),
    }
}

async fn over_http2(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(words)?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer.map_err(words),
        _ = &mut connection => answer.await.map_err(words),
    }
}

/// Asks by gRPC's own protocol; returns the ServingStatus.
async fn check(stream: TcpStream, service: &str) -> Result<i32, String> {
    let question = grpc::question(service);
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + question.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(question.len()).map_err(words)?);
    framed.extend_from_slice(&question);
    let mut request = Request::new(Full::new(framed.freeze()));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = format!("http://localhost{}", grpc::PATH).parse().map_err(words)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, AGENT);

    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(words)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(words)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(words)?;
        // An answer of trailers alone has its status among the headers.
        let trailers = body.trailers().cloned().unwrap_or_else(|| head.headers.clone());
        Ok((head.status, trailers, body.to_bytes()))
    };
    let mut exchange = std::pin::pin!(exchange);
    let mut connection = std::pin::pin!(connection);
    let answer: Result<_, String> = tokio::select! {
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    };
    let (status, trailers, body) = answer?;
    match trailers.get("grpc-status").map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        // NOT_FOUND: the server does not know this service.
        Some(b"5") => return Ok(3),
        Some(code) => {
            return Err(format!("it was answered with gRPC status {}", String::from_utf8_lossy(code)));
        }
        None => {
            return Err(format!("it was answered with HTTP status {} and no gRPC status", status.as_u16()));
        }
    }
    body.get(PREFIX_BYTES..).and_then(grpc::answer).ok_or_else(|| "the answer is no message".to_owned())
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the servers of a test end with it")]
mod tests {
    use super::*;
    use http::HeaderName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that gives the first connection this answer, and what it read.
    async fn answering(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; 4096];
            let length = stream.read(&mut read).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&read[..length]).into_owned()
        });
        (address, served)
    }

    fn http(host: Option<&str>, statuses: &[u16]) -> Asks {
        Asks::Http { path: "/healthz?deep=1".into(), host: host.map(Into::into), statuses: statuses.to_vec() }
    }

    #[tokio::test]
    async fn a_get_is_good_if_its_status_is_one_of_those_wanted() {
        for (answer, statuses, says) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", &[][..], None),
            ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", &[], None),
            (
                "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
                &[],
                Some("was answered with 503, not 200 to 399"),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &[204, 418], Some("with 200, not 204 or 418")),
            ("HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", &[204, 418], None),
            ("SSH-2.0-what\r\n", &[], Some("GET /healthz?deep=1 at port ")),
        ] {
            let (address, served) = answering(answer).await;
            let found = ask(Dial::default(), address, AppProtocol::Http, &http(Some("shop"), statuses)).await;
            let asked = served.await.unwrap().to_lowercase();
            assert!(asked.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{asked}");
            assert!(asked.contains("\r\nhost: shop\r\n"), "{asked}");
            assert!(asked.contains("\r\nuser-agent: outrigger-health-check\r\n"), "{asked}");
            match (says, found) {
                (None, found) => assert_eq!(found, Ok(()), "{answer}"),
                (Some(says), found) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(says), "{answer}: {error}");
                }
            }
        }
    }

    /// A gRPC server that answers the first connection's question so: its message's bytes and its status.
    async fn grpc_server(message: &'static [u8], status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let serve = hyper::service::service_fn(move |request: Request<Incoming>| async move {
                assert_eq!((request.method(), request.uri().path()), (&Method::POST, grpc::PATH));
                assert_eq!(request.headers()[CONTENT_TYPE], "application/grpc");
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(&asked[..], b"\0\0\0\0\x06\x0a\x04shop");
                let trailers = [(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))];
                let trailers = std::future::ready(Some(Ok(trailers.into_iter().collect())));
                let answer = Full::new(Bytes::from_static(message)).with_trailers(trailers);
                Ok::<_, std::convert::Infallible>(Response::new(answer))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), serve).await.ok();
        });
        address
    }

    #[tokio::test]
    async fn a_grpc_server_is_good_if_it_says_that_it_serves() {
        let asks = Asks::Grpc { service: "shop".into() };
        for (message, status, says) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], "0", ""),
            (b"\0\0\0\0\x02\x08\x02", "0", "says that it is NOT_SERVING"),
            (b"\0\0\0\0\x00", "0", "says that it is UNKNOWN"),
            (b"", "5", "says that it is SERVICE_UNKNOWN"),
            (b"", "12", "it was answered with gRPC status 12"),
            (b"\0\0\0\0\x02\xff\xff", "0", "the answer is no message"),
            (b"", "0", "the answer is no message"),
        ] {
            let address = grpc_server(message, status).await;
            let found = ask(Dial::default(), address, AppProtocol::Grpc, &asks).await;
            let error = found.err().unwrap_or_default();
            assert_eq!(error.is_empty(), says.is_empty(), "{message:?}: {error}");
            assert!(error.contains(says), "{message:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_port_is_good_if_it_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(ask(Dial::default(), address, AppProtocol::Tcp, &Asks::Tcp).await, Ok(()));
        drop(listener);
        let error = ask(Dial::default(), address, AppProtocol::Tcp, &Asks::Tcp).await.unwrap_err();
        assert!(
            error.contains(&format!("connecting to port {}: Connection refused", address.port())),
            "{error}"
        );
    }
}
