//! Whether the application listens yet. A workload is announced as ready once each of its ports has accepted a connection,
//! so that nobody is sent to an application that is still starting. Enters: the ports of `--inbound`. Leaves: the word
//! that all of them have, once. Never here: whether the application goes on listening, or is well. A port that stops
//! accepting is noticed by the requests that meet it, and by their retries elsewhere.
//!
//! ```text
//! waiting for ports 8080, 9000 ──a connection opens──> waiting for 9000 ──a connection opens──> accepting, for good
//!        └──refused or silent: again after 20 ms … 250 ms──^
//! ```
//! This is what a Kubernetes `tcpSocket` startup probe does. The sidecar's own readiness does not depend on it: its
//! application may wait for it, and for a command that it starts itself that is even the rule.

use crate::backoff::{Backoff, random};
use crate::bootstrap::Start;
use crate::dial::Dial;
use crate::register::Registrar;
use crate::telemetry::ApplicationMetrics;
use futures_util::future::join_all;
use mesh_process::Tasks;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The first wait after a refusal: most programs listen within tens of milliseconds …
const AGAIN_FIRST: Duration = Duration::from_millis(20);
/// … and one that needs minutes is noticed within this. A refused connection on loopback costs some 20 µs.
const AGAIN_MOST: Duration = Duration::from_millis(250);
/// From SYN to giving a try up. On loopback only a full backlog takes longer than microseconds.
const TRY: Duration = Duration::from_millis(250);
/// From the start to saying in the log that something may be wrong. Programs that need longer to start are few.
const PATIENCE: Duration = Duration::from_secs(30);

/// The application's ports that have not accepted a connection yet.
#[derive(Debug)]
pub(crate) struct Application {
    waiting: Vec<SocketAddr>,
    dial: Dial,
    metrics: ApplicationMetrics,
    started: Instant,
}

/// What the ports are like that have not accepted a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// There are none.
    AllAccept,
    /// Nobody listens at one of them.
    Refuses,
    /// None refuses, but one did not answer in time: its backlog is full.
    Silent,
}

impl Application {
    /// With these ports at this address.
    pub(crate) fn new(
        address: IpAddr,
        ports: impl IntoIterator<Item = u16>,
        dial: Dial,
        metrics: ApplicationMetrics,
    ) -> Self {
        let waiting: Vec<_> = ports.into_iter().map(|port| SocketAddr::new(address, port)).collect();
        metrics.waiting_for(waiting.len());
        Self { waiting, dial, metrics, started: Instant::now() }
    }

    /// Looks at once, so that the first announcement is right for an application that runs already, and goes on in a task
    /// if need be. After a takeover one that is too busy to answer is not taken out of the mesh.
    pub(crate) async fn follow(
        mut self,
        start: Start,
        registrar: Registrar,
        tasks: &Tasks,
        stop: CancellationToken,
    ) {
        match (self.look().await, start) {
            (Ports::AllAccept, _) => registrar.ready(),
            (Ports::Silent, Start::TakeOver) => {
                self.metrics.waiting_for(0);
                registrar.ready();
            }
            (Ports::Silent, Start::Afresh) | (Ports::Refuses, _) => {
                tasks.spawn("application", async move {
                    tokio::select! {
                        () = self.accepts() => registrar.ready(),
                        () = stop.cancelled() => {}
                    }
                });
            }
        }
    }

    /// Looks once, for a quarter of a second at most.
    async fn look(&mut self) -> Ports {
        let dial = self.dial;
        let tries = self.waiting.drain(..).map(|address| async move {
            let opened = timeout(TRY, dial.tcp(address)).await;
            (address, opened.map(|opened| opened.is_ok()))
        });
        let mut ports = Ports::AllAccept;
        for (address, opened) in join_all(tries).await {
            ports = match (opened, ports) {
                (Ok(true), _) => continue,
                (Ok(false), _) | (Err(_), Ports::Refuses) => Ports::Refuses,
                (Err(_), Ports::AllAccept | Ports::Silent) => Ports::Silent,
            };
            self.waiting.push(address);
        }
        self.metrics.waiting_for(self.waiting.len());
        ports
    }

    /// Waits until each port has accepted a connection; for as long as it takes, since a person may start the application.
    ///
    /// # Cancel safety
    /// Safe to drop; not to go on with.
    async fn accepts(mut self) {
        tracing::info!(ports = %self.ports(), "not ready for traffic yet: the application does not accept connections");
        let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_MOST);
        let mut is_told = false;
        while !self.waiting.is_empty() {
            tokio::time::sleep(backoff.after_failure(random())).await;
            self.look().await;
            if !is_told && !self.waiting.is_empty() && self.started.elapsed() >= PATIENCE {
                is_told = true;
                tracing::warn!(
                    ports = %self.ports(), waited_s = self.started.elapsed().as_secs(),
                    "still not ready for traffic: nothing has ever accepted a connection there; start the application, \
                     have it listen at this address, or leave out the --inbound that it does not serve"
                );
            }
        }
        let waited_ms = self.started.elapsed().as_millis();
        tracing::info!(waited_ms, "the application accepts connections; ready for traffic");
    }

    fn ports(&self) -> String {
        let ports: Vec<_> = self.waiting.iter().map(ToString::to_string).collect();
        ports.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;
    use socket2::{Domain, Socket, Type};
    use std::net::TcpListener;

    fn application(ports: &[u16]) -> (Application, Registry) {
        let registry = Registry::new();
        let metrics = ApplicationMetrics::register(&registry).unwrap();
        (Application::new([127, 0, 0, 1].into(), ports.iter().copied(), Dial::default(), metrics), registry)
    }

    fn waiting(registry: &Registry) -> f64 {
        registry.gather()[0].get_metric()[0].get_gauge().get_value()
    }

    /// A port that is ours and refuses connections until it listens.
    fn bound() -> (Socket, u16) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }

    #[tokio::test]
    async fn all_ports_must_have_accepted_once_and_none_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = listener.local_addr().unwrap().port();
        let (second, port) = bound();
        let (mut application, registry) = application(&[first, port]);
        assert!((waiting(&registry) - 2.0).abs() < 0.1);
        assert_eq!(application.look().await, Ports::Refuses);
        assert!((waiting(&registry) - 1.0).abs() < 0.1);
        // It had its turn.
        drop(listener);
        second.listen(1).unwrap();
        tokio::time::timeout(Duration::from_secs(20), application.accepts()).await.unwrap();
        assert!(waiting(&registry).abs() < 0.1);
    }

    #[tokio::test]
    async fn without_ports_there_is_nothing_to_wait_for() {
        let (mut application, _registry) = application(&[]);
        assert_eq!(application.look().await, Ports::AllAccept);
    }

    #[tokio::test]
    async fn a_full_backlog_is_told_from_a_port_where_nobody_listens() {
        let (socket, port) = bound();
        socket.listen(0).unwrap();
        // One that is never accepted fills it.
        let _held = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut application, _registry) = application(&[port]);
        assert_eq!(application.look().await, Ports::Silent);
    }
}
