//! The small HTTP server for operators: metrics, readiness, liveness, and each binary's own views.
//!
//! Enters: a listener that is already bound (the caller reports a port in use) and [`Views`]. Leaves: answers over
//! HTTP/1.1. Never here: traffic of the mesh. The server is bounded in everything an outsider can spend: connections,
//! header bytes and time, body bytes; so a forgotten scraper cannot hurt the process.

mod metrics;
mod views;

pub use views::{Reply, Request, Views};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Connections served at once. Two Prometheus servers, an orchestrator's probes and a few people need far fewer; one
/// more waits in the listener's backlog until another ends.
const CONNECTIONS: usize = 64;

/// From the moment a connection could send a request until its header is complete; then the connection is closed.
/// Also ends idle kept-alive connections, hence longer than the usual scrape interval of 15 s.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of one request header; one more is answered 431.
const HEADER_BYTES: usize = 16 * 1024;

/// Pause after a failed accept (usually: no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// From the order to stop to the end of a connection on which nothing is asked: what was asked before it arrives in this
/// time, on a machine's loopback or within a region.
const LAST_REQUEST: Duration = Duration::from_millis(250);

/// Serves the views until the future is dropped, which closes the listener and all connections.
///
/// It has no end of its own, so that operators can watch a process drain: run it beside the work and drop it last.
pub async fn serve(listener: TcpListener, views: Views) {
    serve_until(listener, views, &CancellationToken::new()).await;
}

/// The same until told to stop, which closes the listener; returns when what has been asked is answered. Who accepts on
/// another handle of the same socket gets what comes next.
pub async fn serve_until(listener: TcpListener, views: Views, stop: &CancellationToken) {
    let views = Arc::new(views);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&views), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the metrics address");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => note(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a view for operators panicked");
    }
}

async fn serve_connection(stream: TcpStream, views: Arc<Views>, stop: CancellationToken) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let views = Arc::clone(&views);
        async move { Ok::<_, Infallible>(views.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_REQUEST).await;
    };
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection to the metrics address ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Readiness;
    use prometheus::{IntCounter, Registry};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start(views: Views) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut server = JoinSet::new();
        server.spawn(serve(listener, views));
        (address, server)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("listening");
        let request = format!("{request}\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        answer
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing_and_liveness_does_not_care() {
        let readiness = Readiness::new();
        let condition = readiness.condition("certificate");
        let (address, _server) = start(Views::new().health(&readiness)).await;
        let answer = ask(address, "GET /readyz HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("not ready: certificate\n"), "{answer}");
        assert!(ask(address, "GET /livez HTTP/1.1").await.starts_with("HTTP/1.1 200"));
        condition.set(true);
        assert!(ask(address, "GET /ready HTTP/1.1").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn metrics_are_flushed_before_a_scrape_and_follow_the_accept_header() {
        let registry = Registry::new();
        let counter = IntCounter::new("demo_total", "Moves at each scrape").expect("valid");
        registry.register(Box::new(counter.clone())).expect("new");
        let views = Views::new().metrics(registry, move || {
            counter.inc();
            std::future::ready(())
        });
        let (address, _server) = start(views).await;
        let answer = ask(address, "GET /metrics HTTP/1.1").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("# TYPE demo_total counter\ndemo_total 1\n"), "{answer}");
        let openmetrics =
            "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.3";
        let answer = ask(address, openmetrics).await;
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
        assert!(answer.contains("# TYPE demo counter\ndemo_total 2\n"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn what_was_asked_before_the_stop_is_answered_and_nothing_is_accepted_after_it() {
        let asked = Arc::new(tokio::sync::Semaphore::new(0));
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let views = {
            let (asked, go) = (asked.clone(), go.clone());
            Views::new().get("/slow", move |_| {
                let (asked, go) = (asked.clone(), go.clone());
                async move {
                    asked.add_permits(1);
                    go.acquire().await.expect("open").forget();
                    Reply::text("done")
                }
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let (mut serving, mut asking) = (JoinSet::new(), JoinSet::new());
        serving.spawn({
            let stop = stop.clone();
            async move { serve_until(listener, views, &stop).await }
        });
        // One is kept open and silent, one is asked something: the later one, so that both are accepted then.
        let mut silent = TcpStream::connect(address).await.expect("listening");
        asking.spawn(ask(address, "GET /slow HTTP/1.1"));
        asked.acquire().await.expect("open").forget();
        stop.cancel();
        assert_eq!(silent.read(&mut [0; 1]).await.expect("an orderly end"), 0);
        assert!(serving.try_join_next().is_none(), "an answer is owed");
        go.add_permits(1);
        assert!(asking.join_next().await.expect("one").expect("no panic").ends_with("done"));
        serving.join_next().await.expect("one").expect("no panic");
        TcpStream::connect(address).await.expect_err("closed");
    }

    #[tokio::test]
    async fn an_unknown_path_lists_the_known_ones_and_a_wrong_method_the_allowed() {
        let views = Views::new()
            .get("/config", async |_| Reply::text("config"))
            .put("/log", async |request: Request| Reply::text(request.body_text()));
        let (address, _server) = start(views).await;
        let answer = ask(address, "GET /nothing HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.ends_with("no view /nothing; there are:\nGET /config\nPUT /log\n"), "{answer}");
        let answer = ask(address, "GET /log HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: PUT"), "{answer}");
        let answer = ask(address, "HEAD /config HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = ask(address, "GET / HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("GET /config"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let views = Views::new().put("/log", async |request: Request| Reply::text(request.body_text()));
        let (address, _server) = start(views).await;
        for (length, status) in [(views::BODY_BYTES, "200"), (views::BODY_BYTES + 1, "413")] {
            let mut stream = TcpStream::connect(address).await.expect("listening");
            let head = format!("PUT /log HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("open");
            stream.write_all(&vec![b'a'; length]).await.expect("open");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("a status line");
            assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
        }
    }
}
