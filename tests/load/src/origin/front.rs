//! The front: an HTTP server whose answers come from other services, as a web tier's do. `GET /hello?name=N` calls the
//! gRPC greeter through a proxy on one long-lived channel and names in `x-greeter` which version answered;
//! `GET /echo?line=L` sends a line to a TCP echo. A greeter that fails is a 502 whose body carries its words.

use super::http::{AnswerBody, X_INSTANCE, serve_connection, text};
use super::{Listen, listen};
use crate::greeter::HelloRequest;
use crate::greeter::greeter_client::GreeterClient;
use anyhow::{Context, Result};
use clap::Args;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// The header that says which greeter answered.
pub const X_GREETER: HeaderName = HeaderName::from_static("x-greeter");
/// Start: a call to the greeter or the echo. End: its whole answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line taken from the echo.
const LINE_LIMIT_BYTES: u64 = 64 * 1024;

/// The flags of the front.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    listen: Listen,
    /// HOST:PORT to connect to for the greeter: a proxy's, or the greeter's own
    #[arg(long)]
    greeter_via: Option<String>,
    /// Authority of the greeter
    #[arg(long, default_value = "greeter.demo:50051")]
    greeter: String,
    /// HOST:PORT to connect to for the TCP echo: a proxy's, or the echo's own
    #[arg(long)]
    echo_via: Option<String>,
}

struct Front {
    name: HeaderValue,
    greeter: Option<GreeterClient<Channel>>,
    echo: Option<String>,
}

/// Serves until a signal.
///
/// # Errors
/// The address cannot be bound, or the greeter's authority does not parse.
pub fn run(options: Options) -> Result<()> {
    let listening = options.listen.clone();
    listen::serve(&listening, listen::Accept::Concurrently, move || {
        let name = HeaderValue::from_str(&options.listen.name)?;
        let channel = options.greeter_via.as_ref().map(|via| channel(via, &options.greeter)).transpose()?;
        let front = Rc::new(std::cell::OnceCell::new());
        let echo = options.echo_via.clone();
        Ok(move |stream, drain| {
            let (front, name, channel, echo) = (front.clone(), name.clone(), channel.clone(), echo.clone());
            let service = hyper::service::service_fn(move |request| {
                // Made on the first request: a channel can only be made inside the runtime.
                let front: Rc<Front> = front
                    .get_or_init(|| {
                        let greeter =
                            channel.as_ref().map(|endpoint| GreeterClient::new(endpoint.connect_lazy()));
                        Rc::new(Front { name: name.clone(), greeter, echo: echo.clone() })
                    })
                    .clone();
                async move { Ok::<_, Infallible>(answer(&front, request).await) }
            });
            serve_connection(stream, service, drain)
        })
    })
}

fn channel(via: &str, authority: &str) -> Result<Endpoint> {
    let origin = format!("http://{authority}").parse().with_context(|| {
        format!("--greeter `{authority}` is not an authority: give HOST:PORT, such as greeter.demo:50051")
    })?;
    Ok(Endpoint::from_shared(format!("http://{via}"))?.origin(origin).connect_timeout(CALL_TIMEOUT))
}

async fn answer(front: &Front, request: Request<Incoming>) -> Response<AnswerBody> {
    let query = request.uri().query().unwrap_or_default();
    let mut response = match request.uri().path() {
        "/hello" => hello(front, argument(query, "name").unwrap_or("world")).await,
        "/echo" => echo(front, argument(query, "line").unwrap_or("hello")).await,
        path => {
            text(StatusCode::NOT_FOUND, format!("no page {path}; there are /hello?name= and /echo?line=\n"))
        }
    };
    response.headers_mut().insert(X_INSTANCE, front.name.clone());
    response
}

/// One argument of a query, as it is written: names and lines in tests need no percent-encoding.
fn argument<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

async fn hello(front: &Front, name: &str) -> Response<AnswerBody> {
    let Some(greeter) = &front.greeter else {
        return text(StatusCode::NOT_IMPLEMENTED, "no greeter: start with --greeter-via\n".to_owned());
    };
    let call = async { greeter.clone().say_hello(HelloRequest { name: name.to_owned() }).await };
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(reply)) => {
            let reply = reply.into_inner();
            let mut response = text(StatusCode::OK, format!("{}\n", reply.message));
            if let Ok(instance) = HeaderValue::from_str(&reply.instance) {
                response.headers_mut().insert(X_GREETER, instance);
            }
            response
        }
        Ok(Err(status)) => text(
            StatusCode::BAD_GATEWAY,
            format!("the greeter answered {:?}: {}\n", status.code(), status.message()),
        ),
        Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "the greeter did not answer\n".to_owned()),
    }
}

async fn echo(front: &Front, line: &str) -> Response<AnswerBody> {
    let Some(addr) = &front.echo else {
        return text(StatusCode::NOT_IMPLEMENTED, "no echo: start with --echo-via\n".to_owned());
    };
    match tokio::time::timeout(CALL_TIMEOUT, exchange_line(addr, line)).await {
        Ok(Ok(line)) => text(StatusCode::OK, line),
        Ok(Err(error)) => text(StatusCode::BAD_GATEWAY, format!("the echo failed: {error}\n")),
        Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "the echo did not answer\n".to_owned()),
    }
}

async fn exchange_line(addr: &str, line: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_LIMIT_BYTES)).read_line(&mut answer).await?;
    match answer.ends_with('\n') {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a whole line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_an_argument_by_its_whole_name() {
        assert_eq!(argument("surname=x&name=ada", "name"), Some("ada"));
        assert_eq!(argument("", "name"), None);
    }
}
