//! The accept loop: errors of one connection are skipped, errors of the machine (no more file descriptors, no memory)
//! are waited out, and nothing ends it but its stop.

use crate::connect::unpace;
use crate::limit::{Gate, Permit};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// From a failure of the machine to the next try: long enough not to spin, short enough to be unnoticed when a
/// descriptor is free again.
const RECOVERY: Duration = Duration::from_millis(50);

/// Accepts until `stop` completes, at most as many at once as the gate lets in.
pub(crate) async fn accept_until(
    listener: TcpListener,
    gate: &Gate,
    stop: impl Future<Output = ()>,
    mut taken: impl FnMut(TcpStream, SocketAddr, Permit),
) {
    let mut stop = std::pin::pin!(stop);
    let mut quiet = false;
    loop {
        let accepted = async {
            let permit = gate.enter().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                quiet = false;
                // What is relayed is already in messages; waiting to fill segments only adds latency.
                stream.set_nodelay(true).ok();
                unpace(&stream, peer);
                taken(stream, peer, permit);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                drop(permit);
                if !quiet {
                    tracing::warn!(%error, "cannot accept connections for now; raise the limit of open files?");
                    quiet = true;
                }
                tokio::time::sleep(RECOVERY).await;
            }
        }
    }
}

/// The peer was gone before we took it (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
