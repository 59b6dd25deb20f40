//! Serving HTTP/1.1: requests come off a connection one after the other, each is answered, and the connection ends when
//! the client closes it, when it is idle or slow for too long, or by the drain once the request in flight is answered.

use super::beside::Beside;
use super::body::{DownBody, WireBody};
use super::explain::Explained;
use super::settings;
use crate::connect::{Link, Prefixed};
use crate::listen::activity::{Activity, Watched};
use crate::refusal::Reason;
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use crate::worker::Worker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;

/// Serves a connection until it has ended; `answer` makes the answer of each request.
///
/// ```text
/// served by hyper ──nothing for a tick──> still: the socket alone ──bytes come──> served by hyper …
/// ```
/// hyper holds two buffers and room for a request, some 20 KiB in all, for as long as it has a connection. One that is still
/// is taken away from it.
pub(crate) async fn serve<F, A>(
    worker: &Rc<Worker>,
    direction: Direction,
    activity: &Rc<Activity>,
    stream: Prefixed<Link>,
    answer: F,
) where
    F: Fn(Request<WireBody>) -> A,
    A: Future<Output = Response<DownBody>>,
{
    let config = &worker.shared.config;
    let _open = config.families.connections.open(direction, Side::Downstream, ConnectionProtocol::Http1);
    let mut stream = stream;
    // Boxed, so that a still connection does not hold the room.
    while let Some(still) = Box::pin(serve_until_still(worker, direction, activity, stream, &answer)).await {
        stream = still;
        let Some(socket) = stream.socket() else { continue };
        tokio::select! {
            biased;
            // An error is for whoever reads it.
            _ready = socket.readable() => {}
            _in_head = activity.overdue() => return,
            () = config.closing(direction).idle(activity) => return,
        }
    }
}

/// What a connection is no longer served for.
enum End {
    /// It has ended.
    Served(hyper::Result<()>),
    /// It is idle or slow for too long.
    Overdue { in_head: bool },
    /// Nothing happens on it.
    Still,
    /// It may be closed.
    Closing,
}

/// Waits until a connection is to be served no longer though it has not ended.
async fn end(worker: &Worker, direction: Direction, activity: &Activity, can_be_still: bool) -> End {
    tokio::select! {
        biased;
        in_head = activity.overdue() => End::Overdue { in_head },
        () = activity.still(), if can_be_still => End::Still,
        () = worker.shared.config.closing(direction).idle(activity) => End::Closing,
    }
}

/// Serves a connection until it has ended, or is still: then it is returned.
async fn serve_until_still<F, A>(
    worker: &Rc<Worker>,
    direction: Direction,
    activity: &Rc<Activity>,
    stream: Prefixed<Link>,
    answer: &F,
) -> Option<Prefixed<Link>>
where
    F: Fn(Request<WireBody>) -> A,
    A: Future<Output = Response<DownBody>>,
{
    let can_be_still = stream.is_plain();
    let service = service_fn(|request: Request<Incoming>| {
        // Asked in here: the future has room for the answer's own once.
        async move {
            let mut response = answer(request.map(WireBody::Http1)).await;
            worker.shared.config.say_last(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let io = Explained::new(Watched::new(stream, activity), activity.owed());
    let mut connection = settings::http1_server().serve_connection(TokioIo::new(io), service).with_upgrades();
    let end = pin!(end(worker, direction, activity, can_be_still));
    let end = tokio::select! {
        // What has come is taken, whatever else is the case.
        biased;
        served = &mut connection => End::Served(served),
        end = Beside::new(end) => end,
    };
    let served = match end {
        End::Served(served) => served,
        End::Overdue { in_head } => {
            if in_head {
                worker.recorder.refused(direction, Reason::HeaderTimeout);
            }
            return None;
        }
        End::Still => {
            let parts = connection.into_parts()?;
            let stream = parts.io.into_inner().into_inner().into_inner();
            return Some(stream.with_read(parts.read_buf));
        }
        End::Closing => {
            Pin::new(&mut connection).graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "downstream connection ended");
    }
    if let Some(reason) = activity.owed().refused() {
        worker.recorder.refused(direction, reason);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Held;
    use crate::listen::activity::IDLE_TICKS;
    use crate::outbound::world::World;
    use bytes::Bytes;
    use mesh_protocol::mesh::EgressPolicy;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{LocalSet, yield_now};

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// Sends `rest`, and reads up to the answer's last word.
    async fn ask(client: &mut TcpStream, rest: &str) -> String {
        client.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"well") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_still_connection_holds_only_its_socket_and_answers_as_before() {
        let promise = async {
            let world = World::new(EgressPolicy::Allow);
            let (mut client, server) = connected().await;
            let (worker, activity) = (world.worker.clone(), world.worker.watch.connection());
            let watched = activity.clone();
            let served = tokio::task::spawn_local(async move {
                let answer = async |_| {
                    let held = Held { busy: Some(activity.begin()), ..Held::default() };
                    Response::new(DownBody::words(Bytes::from_static(b"well")).holding(held))
                };
                serve(&worker, Direction::Outbound, &activity, Link::Plain(server).into(), answer).await;
            });
            for _ in 0..3 {
                // In two parts, and none of it lost: the first may be what wakes a still connection.
                client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
                let answer = ask(&mut client, "st: a\r\n\r\n").await;
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                assert!(watched.is_read());
                while watched.is_read() {
                    world.worker.watch.advance();
                    yield_now().await;
                }
            }
            drop(client);
            served.await.unwrap();
        };
        LocalSet::new().run_until(promise).await;
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_ended_and_counted_whichever_way_it_came() {
        let promise = async {
            let world = World::new(EgressPolicy::Allow);
            for (direction, word) in [(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")] {
                let (client, server) = connected().await;
                let stream = Prefixed::new("GET / HTTP/1.1\r\nHost: or".into(), Link::Plain(server));
                let (worker, activity) = (world.worker.clone(), world.worker.watch.connection());
                let served = tokio::task::spawn_local(async move {
                    let answer = |_| std::future::pending::<Response<DownBody>>();
                    serve(&worker, direction, &activity, stream, answer).await;
                });
                for _ in 0..IDLE_TICKS {
                    yield_now().await;
                    world.worker.watch.advance();
                }
                served.await.unwrap();
                assert_eq!(world.count("outrigger_refusals_total", word), 1.0, "{word}");
                drop(client);
            }
            assert_eq!(world.count("outrigger_refusals_total", "header_timeout"), 2.0);
        };
        LocalSet::new().run_until(promise).await;
    }
}
