//! What the two ends of a connection have in common, and what a body in anybody's hands shares with it: the stream, what
//! was read, what is to be written, and how far the message that comes in has got.
//!
//! It is borrowed for as long as a look at it takes, never while somebody else's future or body is polled.

use crate::decoder::{Decoder, Step};
use crate::error::{BodyError, BoxError};
use crate::framing::Length;
use crate::head::Progress;
use crate::incoming::Incoming;
use crate::out::Out;
use crate::reader::Reader;
use crate::upgrade::Upgraded;
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, shared by its owner and by the body that comes over it.
#[derive(Debug)]
pub(crate) struct Shared<IO> {
    pub(crate) state: RefCell<State<IO>>,
    /// Whether the owner is polling what may read the body: it looks at the connection afterwards by itself.
    pub(crate) is_polling: Cell<bool>,
}

#[derive(Debug)]
pub(crate) struct State<IO> {
    /// None once it was closed or has become another protocol's.
    pub(crate) io: Option<IO>,
    pub(crate) reader: Reader,
    pub(crate) progress: Progress,
    pub(crate) out: Out,
    /// The body of the message that comes in.
    pub(crate) body: Decoder,
    /// Which message that is: a body of an earlier one reads nothing.
    pub(crate) turn: u32,
    pub(crate) continues: Continue,
    /// Whether interim answers may be written: the request's client knows of them, and its answer has not begun.
    pub(crate) takes_interim: bool,
    /// The owner, which waits for the body's end.
    pub(crate) waiting: Option<Waker>,
    /// The body's reader, where somebody else may end the connection: the rest of a request's body, in another task.
    pub(crate) reading: Option<Waker>,
    /// Why somebody else did.
    pub(crate) broke: Option<BoxError>,
    pub(crate) switch: Switch,
    pub(crate) switching: Option<Waker>,
    /// Whether another message may follow.
    pub(crate) keeps_alive: bool,
    /// Whether a client's request has left completely.
    pub(crate) is_sent: bool,
}

/// The answer 100 to `Expect: 100-continue` (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continue {
    /// Nobody waits for it.
    Nothing,
    /// It is written when the body is first read.
    Owed,
    /// It is being written.
    Leaving,
}

/// Whether the connection becomes another protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// It won't.
    Never,
    /// It was asked to.
    Possible,
    /// Whoever asked may take it.
    Done,
}

impl<IO> Shared<IO> {
    pub(crate) fn new(io: IO, read: BytesMut) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(State {
                io: Some(io),
                reader: Reader::new(read),
                progress: Progress::default(),
                out: Out::default(),
                body: Decoder::Done,
                turn: 0,
                continues: Continue::Nothing,
                takes_interim: false,
                waiting: None,
                reading: None,
                broke: None,
                switch: Switch::Never,
                switching: None,
                keeps_alive: true,
                is_sent: true,
            }),
            is_polling: Cell::new(false),
        })
    }

    /// Ends the connection for everybody who holds a part of it.
    pub(crate) fn close(&self, why: Option<BoxError>) {
        let mut state = self.state.borrow_mut();
        if state.switch == Switch::Possible {
            state.switch = Switch::Never;
        }
        let io = if state.switch == Switch::Done { None } else { state.io.take() };
        state.keeps_alive = false;
        state.broke = state.broke.take().or(why);
        let wakers = [state.waiting.take(), state.reading.take(), state.switching.take()];
        drop(state);
        drop(io);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// The body of the message whose head was just read. One that is here already is cut off, and the message is over.
    pub(crate) fn begin_body(self: &Rc<Self>, length: Length) -> Incoming<IO> {
        let mut state = self.state.borrow_mut();
        state.turn = state.turn.wrapping_add(1);
        state.body = Decoder::new(length);
        if let Length::Exact(length) = length {
            match usize::try_from(length) {
                Ok(0) => return Incoming::empty(),
                Ok(length) if length <= state.reader.buffer.len() => {
                    state.body = Decoder::Done;
                    return Incoming::whole(state.reader.buffer.split_to(length).freeze());
                }
                Ok(_) | Err(_) => {}
            }
        }
        Incoming::stream(self.clone(), state.turn)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Shared<IO> {
    /// More of the body of message `turn`, for whoever has it.
    pub(crate) fn poll_body(
        &self,
        turn: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state.borrow_mut();
        if state.turn != turn {
            return Poll::Ready(Some(Err(BodyError::Over)));
        }
        let frame = ready!(state.poll_body(cx));
        let waiting = state.body_is_over().then(|| state.waiting.take()).flatten();
        drop(state);
        if let Some(waiting) = waiting
            && !self.is_polling.get()
        {
            waiting.wake();
        }
        Poll::Ready(frame)
    }
}

impl<IO> State<IO> {
    /// Whether nobody will read more of the body.
    pub(crate) fn body_is_over(&self) -> bool {
        matches!(self.body, Decoder::Done | Decoder::Broken)
    }

    /// The stream, for whoever speaks another protocol on it.
    pub(crate) fn take_upgraded(&mut self) -> Option<Upgraded<IO>> {
        let read = self.reader.buffer.split().freeze();
        self.io.take().map(|io| Upgraded { io, read })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> State<IO> {
    /// Reads more; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let expected = match self.body {
            Decoder::Exact(rest) => Some(rest),
            Decoder::Done | Decoder::Broken | Decoder::UntilClose | Decoder::Chunked(_) => None,
        };
        match &mut self.io {
            Some(io) => self.reader.poll_read(io, cx, expected),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes what is queued.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            _ if self.out.is_clean() => Poll::Ready(Ok(())),
            Some(io) => self.out.poll_write(io, cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// More of the body; nothing once it is over.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.continues != Continue::Nothing && !self.body.is_done() {
            if self.continues == Continue::Owed {
                self.out.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.continues = Continue::Leaving;
            }
            if let Err(error) = ready!(self.poll_write(cx)) {
                return self.break_body(BodyError::Io(error));
            }
            self.continues = Continue::Nothing;
        }
        loop {
            match self.body.step(&mut self.reader.buffer) {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Step::Done) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(error) => return self.break_body(error),
            }
            if self.io.is_none() {
                // Closed by us, which is no end of the body.
                return self.break_body(BodyError::Over);
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    if let Err(error) = self.body.end() {
                        return self.break_body(error);
                    }
                    self.keeps_alive = false;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return self.break_body(BodyError::Io(error)),
                Poll::Pending => {
                    if let Some(reading) = &mut self.reading {
                        reading.clone_from(cx.waker());
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn break_body(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.body = Decoder::Broken;
        self.keeps_alive = false;
        let error = self.broke.take().map_or(error, BodyError::Request);
        Poll::Ready(Some(Err(error)))
    }
}
