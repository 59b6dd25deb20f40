//! Serving HTTP/1.1: requests come off a connection one after the other, each is answered, and the connection ends when
//! the client closes it, when it is idle or slow for too long, or by the drain once the request in flight is answered.

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
use std::rc::Rc;

/// Serves a connection until it has ended; `answer` makes the answer of each request.
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
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, answer) = (worker.clone(), answer(request.map(WireBody::Http1)));
        async move {
            let mut response = answer.await;
            worker.shared.config.say_last(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let io = Explained::new(Watched::new(stream, activity), activity.owed());
    let connection = settings::http1_server().serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        // What has come is taken, whatever else is the case.
        biased;
        served = connection.as_mut() => served,
        in_head = activity.overdue() => {
            if in_head {
                worker.recorder.refused(direction, Reason::HeaderTimeout);
            }
            return;
        }
        () = config.closing(direction).idle(activity) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "downstream connection ended");
    }
    if let Some(reason) = activity.owed().refused() {
        worker.recorder.refused(direction, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::activity::IDLE_TICKS;
    use crate::outbound::world::World;
    use mesh_protocol::mesh::EgressPolicy;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{LocalSet, yield_now};

    #[tokio::test]
    async fn a_head_that_never_ends_is_ended_and_counted_whichever_way_it_came() {
        let promise = async {
            let world = World::new(EgressPolicy::Allow);
            for (direction, word) in [(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let stream = Link::Plain(listener.accept().await.unwrap().0);
                let stream = Prefixed::new("GET / HTTP/1.1\r\nHost: or".into(), stream);
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
