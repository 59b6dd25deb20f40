//! A message's body as it comes: whole, if it came with its head; else read from the socket by whoever polls it.

use crate::connection::{Shared, Switch};
use crate::error::BodyError;
use crate::upgrade::OnUpgrade;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// A body that comes over a connection.
///
/// Dropping it before its end leaves the rest on the connection: a [`Server`](crate::Server) drains it within a bound
/// before it reads the next request, a [`Client`](crate::Client) is not reusable.
pub struct Incoming<IO> {
    kind: Kind<IO>,
    /// Set where the request asks for another protocol.
    upgrade: Option<Rc<Shared<IO>>>,
}

enum Kind<IO> {
    /// There is nothing more.
    Empty,
    /// All of it is here, and not handed out yet.
    Whole(Bytes),
    /// It is read as it comes, unless the connection has gone on to another message.
    Stream(Rc<Shared<IO>>, u32),
}

impl<IO> Incoming<IO> {
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Empty, upgrade: None }
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(bytes), upgrade: None }
    }

    pub(crate) fn stream(connection: Rc<Shared<IO>>, turn: u32) -> Self {
        Self { kind: Kind::Stream(connection, turn), upgrade: None }
    }

    pub(crate) fn asking(mut self, connection: &Rc<Shared<IO>>) -> Self {
        self.upgrade = Some(connection.clone());
        self
    }

    /// The stream that the connection becomes if the request is answered so: for a CONNECT, and for a request with
    /// `Connection: upgrade`.
    pub fn take_upgrade(&mut self) -> Option<OnUpgrade<IO>> {
        let shared = self.upgrade.take()?;
        let is_possible = shared.state.borrow().switch == Switch::Possible;
        is_possible.then_some(OnUpgrade(shared))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Body for Incoming<IO> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(shared, turn) => {
                let polled = shared.poll_body(*turn, cx);
                let is_over = polled.is_ready() && {
                    let state = shared.state.borrow();
                    state.turn == *turn && state.body.is_done()
                };
                if is_over {
                    // From here on the connection may carry another message.
                    this.kind = Kind::Empty;
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Stream(shared, turn) => {
                let state = shared.state.borrow();
                state.turn == *turn && state.body.is_done()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match &self.kind {
            Kind::Empty => Some(0),
            Kind::Whole(bytes) => u64::try_from(bytes.len()).ok(),
            Kind::Stream(shared, _) => shared.state.borrow().body.remaining(),
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<IO> fmt::Debug for Incoming<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "Empty",
            Kind::Whole(_) => "Whole",
            Kind::Stream(..) => "Stream",
        };
        f.debug_tuple("Incoming").field(&kind).finish()
    }
}
