//! Sockets, threads and the end: binds, prints the ready line, hands each accepted connection to a mode's handler, and
//! on SIGTERM stops accepting and waits for connections to finish. What a connection says is never looked at here.

use super::Listen;
use anyhow::{Context, Result};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From the signal to the moment when connections that are still open are dropped.
const GRACE: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted: the burst of a thousand-connection test.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept (file descriptors used up), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How connections are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// All at once.
    Concurrently,
    /// The next one only when the one before has ended, as a simple server does.
    OneAtATime,
}

/// Serves a mode: one `handler` per thread is made by `make`, and called with each connection and a token that is
/// cancelled when the server drains.
///
/// # Errors
/// The address cannot be bound or a runtime cannot be started.
pub fn serve<M, H, F>(listen: &Listen, accept: Accept, make: M) -> Result<()>
where
    M: Fn() -> Result<H> + Clone + Send + 'static,
    H: Fn(TcpStream, CancellationToken) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let drain = CancellationToken::new();
    let first = runtime()?;
    let listener = first.block_on(async { bind(listen.listen) })?;
    let addr = listener.local_addr()?;
    let mut threads = Vec::new();
    for index in 1..listen.threads {
        let (make, drain) = (make.clone(), drain.clone());
        let thread =
            std::thread::Builder::new().name(format!("origin-{index}")).spawn(move || -> Result<()> {
                let runtime = runtime()?;
                let listener = runtime.block_on(async { bind(addr) })?;
                runtime.block_on(accept_until_drained(listener, accept, make()?, drain));
                Ok(())
            })?;
        threads.push(thread);
    }
    let handler = make()?;
    first.block_on(async {
        let signals = drain.clone();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::task::spawn_local(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            signals.cancel();
        });
        announce(addr);
        accept_until_drained(listener, accept, handler, drain).await;
        anyhow::Ok(())
    })?;
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a serving thread panicked"))??;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the ready line is this program's interface")]
fn announce(addr: SocketAddr) {
    println!("origin ready: addr={addr}");
}

fn runtime() -> Result<LocalRuntime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).context("starting a runtime")
}

fn bind(addr: SocketAddr) -> Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr).with_context(|| format!("listening on {addr}: choose a free port with --listen"))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn accept_until_drained<H, F>(
    listener: TcpListener,
    accept: Accept,
    handler: H,
    drain: CancellationToken,
) where
    H: Fn(TcpStream, CancellationToken) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let handler = Rc::new(handler);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A connection already reset by its client fails here, and then again in the handler, which ends it.
        stream.set_nodelay(true).ok();
        let served = (*handler)(stream, drain.clone());
        match accept {
            Accept::Concurrently => drop(connections.spawn_local(served)),
            Accept::OneAtATime => {
                tokio::select! { () = served => {}, () = drain.cancelled() => break }
            }
        }
    }
    drop(listener);
    connections.close();
    // What is still open after the grace time is dropped with the runtime.
    tokio::time::timeout(GRACE, connections.wait()).await.ok();
}
