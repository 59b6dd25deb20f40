//! A connection that speaks HTTP no longer: after a 101, or the success of a CONNECT (RFC 9110 §7.8, §9.3.6). It becomes
//! its stream again, and the bytes behind the head that were read already.

use crate::connection::{Shared, Switch};
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The stream, and what was read of it.
#[derive(Debug)]
pub struct Upgraded<IO> {
    /// The stream.
    pub io: IO,
    /// What the other side has sent already; to be read before anything else.
    pub read: Bytes,
}

/// The stream of a served connection, once its answer that changes the protocol is written. Nothing if it never is.
pub struct OnUpgrade<IO>(pub(crate) Rc<Shared<IO>>);

impl<IO> Future for OnUpgrade<IO> {
    type Output = Option<Upgraded<IO>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Upgraded<IO>>> {
        let mut state = self.0.state.borrow_mut();
        match state.switch {
            Switch::Done => Poll::Ready(state.take_upgraded()),
            Switch::Never => Poll::Ready(None),
            Switch::Possible => {
                state.switching = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<IO> fmt::Debug for OnUpgrade<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnUpgrade").finish_non_exhaustive()
    }
}
