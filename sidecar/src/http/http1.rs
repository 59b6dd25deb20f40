//! Serving HTTP/1.1: requests come off a connection one after the other, each is answered, and the connection ends when
//! the client closes it, when it is idle or slow for too long, or by the drain once the request in flight is answered.
//! What can't be read as a request is answered too, with the rule it breaks.

use super::beside::Beside;
use super::body::{DownBody, WireBody};
use super::interim::Interim;
use super::reply::{Style, reply};
use crate::connect::{Link, Prefixed};
use crate::deadline;
use crate::listen::activity::Activity;
use crate::refusal::{Reason, Refusal};
use crate::telemetry::{ConnectionProtocol, Direction, Side};
use crate::worker::Worker;
use futures_util::FutureExt;
use http::{Request, Response};
use mesh_http1::{After, BadHead, HeadError, Incoming, Server};
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;

/// Serves a connection until it has ended; `answer` makes the answer of each request.
pub(crate) async fn serve<F, A>(
    worker: &Rc<Worker>,
    direction: Direction,
    activity: &Rc<Activity>,
    stream: Prefixed<Link>,
    answer: F,
) where
    F: Fn(Request<WireBody>, Interim) -> A,
    A: Future<Output = Response<DownBody>>,
{
    let config = &worker.shared.config;
    let _open = config.families.connections.open(direction, Side::Downstream, ConnectionProtocol::Http1);
    let (read, link) = stream.into_parts();
    let mut server = Server::new(link, read);
    let (overdue, closing) = (pin!(activity.overdue()), pin!(config.closing(direction).idle(activity)));
    let (mut overdue, mut closing) = (Beside::new(overdue), Beside::new(closing));
    let mut is_closing = false;
    loop {
        let next = tokio::select! {
            // What has come is taken, whatever else is the case.
            biased;
            next = next(&mut server, activity) => next,
            in_head = &mut overdue => {
                if in_head {
                    worker.recorder.refused(direction, Reason::HeaderTimeout);
                }
                return;
            }
            () = &mut closing, if !is_closing => {
                is_closing = true;
                match server.has_begun() {
                    // Its answer will be the last.
                    true => continue,
                    false => break,
                }
            }
        };
        let after = match next {
            Ok(Some(request)) => {
                let (interim, server, answer) = (server.interim(), &mut server, &answer);
                // Boxed, so that an idle connection does not hold the room. Asked in here: the future has room for the
                // answer's own once.
                let exchange = async move {
                    let answer =
                        answer(request.map(WireBody::Http1), Interim::Http1(interim)).map(|mut response| {
                            config.say_last(direction, &mut response);
                            response
                        });
                    server.exchange(pin!(answer)).await
                };
                Box::pin(exchange).await
            }
            Ok(None) => break,
            Err(HeadError::Bad(bad)) => {
                let refusal = refusal(bad);
                worker.recorder.refused(direction, refusal.reason);
                Box::pin(server.exchange(ready(reply(&refusal, Style::Http)))).await
            }
            Err(error @ (HeadError::Closed | HeadError::Io(_))) => {
                tracing::debug!(%error, "downstream connection ended");
                return;
            }
        };
        match after {
            After::Next => {}
            After::Close => break,
            After::Switched => return,
            After::Gone(error) => {
                tracing::debug!(%error, "downstream connection ended");
                return;
            }
            After::Broken(error) => {
                tracing::debug!(%error, "downstream connection closed: an answer broke off");
                return;
            }
        }
    }
    // Whether the client has closed too by then does not matter.
    tokio::time::timeout(deadline::LINGER, Box::pin(server.close())).await.ok();
}

/// The next request; what comes of it meanwhile is noted.
async fn next(
    server: &mut Server<Link>,
    activity: &Activity,
) -> Result<Option<Request<Incoming<Link>>>, HeadError> {
    poll_fn(|cx| {
        let next = server.poll_next(cx);
        if next.is_pending() && server.has_begun() {
            activity.received();
        }
        next
    })
    .await
}

/// Why what came is no request.
fn refusal(bad: BadHead) -> Refusal {
    match bad {
        BadHead::TargetTooLong => Reason::UriTooLong.into(),
        BadHead::TooLarge | BadHead::TooManyFields => Reason::HeadersTooLarge.into(),
        BadHead::NotHttp => Refusal::because(Reason::BadRequest, "what came is no HTTP request"),
        BadHead::Version
        | BadHead::Target
        | BadHead::Field
        | BadHead::LineEnd
        | BadHead::Status
        | BadHead::Length
        | BadHead::LengthAndCoding
        | BadHead::Coding => Refusal::because(Reason::BadRequest, bad.to_string()),
    }
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
    async fn a_request_in_parts_is_answered_again_and_again() {
        let promise = async {
            let world = World::new(EgressPolicy::Allow);
            let (mut client, server) = connected().await;
            let (worker, activity) = (world.worker.clone(), world.worker.watch.connection());
            let served = tokio::task::spawn_local(async move {
                let answer = async |_, _| {
                    let held = Held { busy: Some(activity.begin()), ..Held::default() };
                    Response::new(DownBody::words(Bytes::from_static(b"well")).holding(held))
                };
                serve(&worker, Direction::Outbound, &activity, Link::Plain(server).into(), answer).await;
            });
            for _ in 0..3 {
                client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
                let answer = ask(&mut client, "st: a\r\n\r\n").await;
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
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
                    let answer = |_, _| std::future::pending::<Response<DownBody>>();
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
