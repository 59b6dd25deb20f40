//! The engine on a socket: reads, has the engine act, writes. All that the streams of a connection have to say when its
//! task runs leaves in one write.

use crate::config::Config;
use crate::engine::{Engine, Role};
use crate::error::Error;
use bytes::BytesMut;
use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A connection's engine, for its task and for all who hold streams of it.
pub(crate) type Shared = Rc<RefCell<Engine>>;

/// Room for reading: a TLS record, or the largest frame.
const READ_BYTES: usize = 17 * 1024;

/// Less room than this is not worth a read.
const READ_MIN: usize = 4 * 1024;

/// Reads until what they led to is written.
const READS_MAX: usize = 8;

/// Reads of what nobody wants before a connection is closed: a quarter of a MiB.
const LINGERING_READS: usize = 16;

/// Where the socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// All is written; the other side is told that nothing follows.
    Closing,
    /// What still comes is read and thrown away, in so many more reads.
    Lingering(usize),
    Closed,
}

/// A connection's task.
#[derive(Debug)]
pub(crate) struct Driver<IO> {
    io: IO,
    engine: Shared,
    input: BytesMut,
    /// Something was written since the last flush.
    is_unflushed: bool,
    /// The other side has closed, or reading failed.
    is_deaf: bool,
    life: Life,
}

/// What a look at a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Requests wait to be taken.
    Arrived,
    /// The connection is over.
    Over,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    pub(crate) fn new(io: IO, role: Role, config: Config) -> Self {
        let engine = Rc::new(RefCell::new(Engine::new(role, config.bounded())));
        Self { io, engine, input: BytesMut::new(), is_unflushed: false, is_deaf: false, life: Life::Open }
    }

    pub(crate) fn engine(&self) -> &Shared {
        &self.engine
    }

    /// Reads, acts, writes, until there is something to tell or nothing to do. To be called until it is pending.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Looked> {
        self.engine.borrow_mut().awake();
        loop {
            let reading = self.read(cx);
            if self.engine.borrow().has_arrived() {
                return Poll::Ready(Looked::Arrived);
            }
            let writing = self.write(cx);
            if self.life == Life::Closed {
                return Poll::Ready(Looked::Over);
            }
            if reading.is_pending() && (writing.is_pending() || self.life == Life::Open) {
                break;
            }
        }
        let mut engine = self.engine.borrow_mut();
        if engine.rests() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        engine.asleep(cx.waker());
        Poll::Pending
    }

    /// Reads what is there, up to a bound, or until requests have arrived. Pending if there is no more.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_MAX {
            if self.is_deaf || self.engine.borrow().failure().is_some() {
                return Poll::Pending;
            }
            if self.input.capacity() - self.input.len() < READ_MIN {
                self.input.reserve(READ_BYTES);
            }
            let read = pin!(self.io.read_buf(&mut self.input)).poll(cx);
            let mut engine = self.engine.borrow_mut();
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    self.is_deaf = true;
                    engine.fail(Error::Closed);
                }
                Poll::Ready(Err(error)) => {
                    self.is_deaf = true;
                    engine.fail(error.into());
                }
                Poll::Ready(Ok(_)) => {
                    engine.receive(&mut self.input);
                    if engine.has_arrived() {
                        return Poll::Ready(());
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// Takes off the socket what still comes, until the other side closes too, or more comes than is waited for. Closed with
    /// bytes unread, the connection would be reset, and our last words lost with it (RFC 9112 §9.6 says it of HTTP/1.1).
    fn linger(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        while *left > 0 {
            self.input.clear();
            self.input.reserve(READ_BYTES);
            match ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx)) {
                Ok(1..) => *left -= 1,
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Writes what there is, and closes if nothing will follow. Pending if the other side does not take more.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.life == Life::Open {
            let mut engine = self.engine.borrow_mut();
            engine.transmit();
            let bytes = engine.output().waiting();
            if bytes.is_empty() {
                if !self.is_unflushed {
                    if !engine.is_done() {
                        return Poll::Ready(());
                    }
                    self.life = Life::Closing;
                    break;
                }
                match Pin::new(&mut self.io).poll_flush(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => self.is_unflushed = false,
                    Poll::Ready(Err(error)) => {
                        engine.fail(error.into());
                        self.life = Life::Closed;
                    }
                }
                continue;
            }
            match Pin::new(&mut self.io).poll_write(cx, bytes) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(amount)) if amount > 0 => {
                    engine.output().wrote(amount);
                    self.is_unflushed = true;
                }
                Poll::Ready(Ok(_)) => {
                    engine.fail(Error::Closed);
                    self.life = Life::Closed;
                }
                Poll::Ready(Err(error)) => {
                    engine.fail(error.into());
                    self.life = Life::Closed;
                }
            }
        }
        if self.life == Life::Closing {
            // Whether the other side hears it is its affair.
            let Poll::Ready(_told) = Pin::new(&mut self.io).poll_shutdown(cx) else { return Poll::Pending };
            let lingers = self.engine.borrow().lingers() && !self.is_deaf;
            self.life = Life::Lingering(if lingers { LINGERING_READS } else { 0 });
        }
        if let Life::Lingering(mut left) = self.life {
            let lingering = self.linger(cx, &mut left);
            self.life = Life::Lingering(left);
            ready!(lingering);
            self.life = Life::Closed;
            self.engine.borrow_mut().fail(Error::Closed);
        }
        Poll::Ready(())
    }
}

impl<IO> Drop for Driver<IO> {
    /// Nobody reads or writes any more: all who hold streams are told.
    fn drop(&mut self) {
        self.engine.borrow_mut().fail(Error::Closed);
    }
}
