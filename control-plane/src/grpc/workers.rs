//! The threads that connections live on, each with its own runtime. All accept from one listener.

use super::{Services, connection};
use crate::listen::{Connection, HandshakeMetrics, incoming};
use mesh_mtls::ApiAcceptor;
use mesh_process::{DrainSignal, Tasks};
use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

/// What each thread serves with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) services: Services,
    pub(crate) acceptor: ApiAcceptor,
    pub(crate) handshakes: HandshakeMetrics,
    pub(crate) tasks: Tasks,
    pub(crate) drain: DrainSignal,
}

/// Starts a thread for each processor. They end when the drain has begun and their connections are done; a task of
/// `parts.tasks` waits for them.
///
/// # Errors
/// When a thread, its runtime or its handle of the listener can't be had.
pub(crate) fn spawn(parts: &Parts, listener: tokio::net::TcpListener) -> io::Result<()> {
    let listener = listener.into_std()?;
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for number in 0..threads {
        let (listener, here) = (listener.try_clone()?, parts.clone());
        let (done, ended) = oneshot::channel::<()>();
        let work = move || -> io::Result<()> {
            let _done = done;
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
            runtime.block_on(accept(here, listener))
        };
        let thread = std::thread::Builder::new().name(format!("discovery-{number}"));
        thread.spawn(move || {
            if let Err(error) = work() {
                tracing::error!(%error, "a discovery thread stopped");
            }
        })?;
        parts.tasks.spawn("discovery thread", async move {
            // Dropped with the thread, however it ends.
            let _ended = ended.await;
        });
    }
    Ok(())
}

async fn accept(parts: Parts, listener: TcpListener) -> io::Result<()> {
    let Parts { services, acceptor, handshakes, tasks, drain } = parts;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = incoming("discovery", listener, acceptor, handshakes, &tasks, drain.clone());
    let here = Tasks::new();
    while let Some(accepted) = connections.next().await {
        let (services, tasks, drain) = (services.clone(), here.clone(), drain.clone());
        // Boxed: the future of a connection would have room for it at each step it is handed on.
        here.spawn_local("discovery connection", serve(Box::new(accepted), services, tasks, drain));
    }
    here.join(std::time::Duration::MAX).await;
    Ok(())
}

async fn serve(connection: Box<Connection>, services: Services, tasks: Tasks, drain: DrainSignal) {
    let (remote, peer) = (connection.remote(), connection.client().into());
    if let Err(error) = connection::serve(connection, peer, services, &tasks, drain).await {
        tracing::debug!(%remote, %error, "a sidecar's connection ended");
    }
}
