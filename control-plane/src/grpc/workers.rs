//! The threads that connections live on, each with its own runtime. All accept from one listener.

use super::{Services, connection};
use crate::listen::{Connection, HandshakeMetrics, incoming};
use mesh_mtls::ApiAcceptor;
use mesh_process::{DrainSignal, Tasks};
use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

/// What each thread serves with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What is answered.
    pub services: Services,
    /// Does the handshakes …
    pub acceptor: ApiAcceptor,
    /// … and these count them.
    pub handshakes: HandshakeMetrics,
    /// Where the threads are waited for.
    pub tasks: Tasks,
    /// When to end.
    pub drain: DrainSignal,
}

/// Starts a thread for each processor. They end when the drain has begun and their connections are done; a task of
/// `parts.tasks` waits for them.
///
/// # Errors
/// When a thread, its runtime or its handle of the listener can't be had.
pub fn spawn(parts: &Parts, listener: tokio::net::TcpListener) -> io::Result<()> {
    let listener = listener.into_std()?;
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for number in 0..threads {
        let (listener, here) = (listener.try_clone()?, parts.clone());
        let (done, ended) = oneshot::channel::<()>();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            let _done = done;
            let (runtime, listener) = match begin(listener) {
                Ok(begun) => begun,
                Err(error) => return started.send(Err(error)).unwrap_or_default(),
            };
            started.send(Ok(())).unwrap_or_default();
            runtime.block_on(accept(here, listener));
        };
        std::thread::Builder::new().name(format!("discovery-{number}")).spawn(work)?;
        // Nobody would miss a thread that never began: the others serve, or none does and all else looks well.
        start.recv().unwrap_or_else(|_| Err(io::Error::other("a thread ended as it began")))?;
        parts.tasks.spawn("discovery thread", async move {
            // Dropped with the thread, however it ends.
            let _ended = ended.await;
        });
    }
    Ok(())
}

fn begin(listener: TcpListener) -> io::Result<(LocalRuntime, tokio::net::TcpListener)> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    Ok((runtime, listener))
}

async fn accept(parts: Parts, listener: tokio::net::TcpListener) {
    let Parts { services, acceptor, handshakes, tasks, drain } = parts;
    let mut connections = incoming("discovery", listener, acceptor, handshakes, &tasks, drain.clone());
    let here = Tasks::new();
    while let Some(accepted) = connections.next().await {
        let (services, tasks, drain) = (services.clone(), here.clone(), drain.clone());
        // Boxed: the future of a connection would have room for it at each step it is handed on.
        here.spawn_local("discovery connection", serve(Box::new(accepted), services, tasks, drain));
    }
    // Without a limit here: who stops the process has one.
    here.join(Duration::MAX).await;
}

async fn serve(connection: Box<Connection>, services: Services, tasks: Tasks, drain: DrainSignal) {
    let (remote, peer) = (connection.remote(), connection.client().into());
    if let Err(error) = connection::serve(connection, peer, services, &tasks, drain).await {
        tracing::debug!(%remote, %error, "a sidecar's connection ended");
    }
}
