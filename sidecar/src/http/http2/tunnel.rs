//! A CONNECT stream as a stream of bytes (RFC 9113 §8.5): DATA frames either way, END_STREAM as the end of one.

use bytes::{Buf, Bytes};
use mesh_http2::{Error, ErrorCode, RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The tunnel that comes once a CONNECT is answered.
#[derive(Debug)]
pub(crate) struct Opened(pub(super) oneshot::Receiver<Tunnel>);

impl Opened {
    /// Waits for the answer to leave; nothing if it never does.
    pub(crate) async fn tunnel(self) -> Option<Tunnel> {
        self.0.await.ok()
    }
}

/// An open tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    send: SendStream,
    receive: RecvStream,
    /// What has come and was not read yet; its window is given back once it is.
    unread: Bytes,
}

impl Tunnel {
    pub(super) fn new(send: SendStream, receive: RecvStream) -> Self {
        Self { send, receive, unread: Bytes::new() }
    }
}

fn broken(error: Error) -> io::Error {
    let kind = if let Error::Io(broken) = &error { broken.kind() } else { io::ErrorKind::ConnectionReset };
    io::Error::new(kind, error)
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                // NO_ERROR and CANCEL end a tunnel as a closed connection would.
                Some(Err(error)) if matches!(error.code(), Some(ErrorCode::NO_ERROR | ErrorCode::CANCEL)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let amount = this.unread.len().min(buf.remaining());
        buf.put_slice(this.unread.get(..amount).unwrap_or_default());
        this.unread.advance(amount);
        this.receive.release(amount);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let send = &mut self.get_mut().send;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(send.poll_room(cx)).map_err(broken)?.min(buf.len());
        let part = Bytes::copy_from_slice(buf.get(..room).unwrap_or_default());
        send.send_data(part, false).map_err(broken)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().send.send_data(Bytes::new(), true).map_err(broken))
    }
}
