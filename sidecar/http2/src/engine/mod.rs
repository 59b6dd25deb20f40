//! A connection without its socket: bytes that came go in, bytes to be sent come out, and in between are the streams as
//! their holders see them. Never here: reading, writing, time. Pure, but for the wakers of those who wait; they are woken
//! while the engine is borrowed, so waking may not call back, which runtimes never do.
//!
//! ```text
//! bytes ──> receive ──> frames ──> messages ──> streams <── read, send ── holders
//!                          └─ settings, windows     │
//! bytes <── output <── transmit <───────────────────┘
//! ```

mod flow;
mod frames;
mod going_away;
mod messages;
mod output;
mod read;
mod send;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

pub(crate) use flow::DEFAULT_WINDOW;
pub(crate) use stream::Key;

use crate::config::Config;
use crate::error::{Error, Violation};
use crate::frame;
use crate::hpack::{Decoder, Encoder};
use flow::Flow;
use going_away::GoingAway;
use http::Request;
use output::Output;
use std::collections::VecDeque;
use std::task::Waker;
use streams::Streams;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It opens streams.
    Client,
    /// It answers them.
    Server,
}

/// What the other side has set (RFC 9113 §6.5.2).
#[derive(Debug, Clone, Copy)]
struct Peer {
    initial_window: u32,
    streams_max: u32,
}

/// How much of a connection's beginning has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// So many bytes of the preface.
    Preface(usize),
    /// All that is before SETTINGS.
    BeforeSettings,
    /// All.
    Yes,
}

/// A header block that goes on in the next frame.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
    frames: usize,
}

/// A request whose stream was opened by the other side and that nobody has taken yet.
#[derive(Debug)]
struct Arrived {
    key: Key,
    request: Request<()>,
}

/// Signs of a peer that makes work for nothing. Each exchange that ends as it should takes one off.
#[derive(Debug, Default)]
struct Suspicion {
    empty_frames: u32,
    early_resets: u32,
    violations: u32,
}

/// A connection's state.
#[derive(Debug)]
pub(crate) struct Engine {
    role: Role,
    config: Config,
    peer: Peer,
    begun: Begun,
    decoder: Decoder,
    encoder: Encoder,
    /// Fields of the last message, which the next will have about as many of.
    fields: usize,
    block: Option<Block>,
    streams: Streams,
    arrived: VecDeque<Arrived>,
    /// Requests that wait until the other side takes more streams.
    waiting: VecDeque<Key>,
    flow: Flow,
    output: Output,
    going_away: GoingAway,
    suspicion: Suspicion,
    /// Something was read since somebody asked.
    heard: bool,
    is_pinging: bool,
    /// Its task should give back the memory that it does not need.
    is_resting: bool,
    /// How the connection failed.
    failure: Option<Error>,
    /// The task that reads and writes.
    task: Option<Waker>,
    /// It will look at the output by itself.
    is_awake: bool,
    /// Holders that may open streams.
    openers: usize,
}

impl Engine {
    /// A new connection. What it says first is in its output.
    pub(crate) fn new(role: Role, config: Config) -> Self {
        let mut output = Output::default();
        let begun = match role {
            Role::Client => {
                output.bytes().extend_from_slice(frame::PREFACE);
                Begun::BeforeSettings
            }
            Role::Server => Begun::Preface(0),
        };
        config.say(role, output.bytes());
        Self {
            role,
            config,
            peer: Peer { initial_window: flow::DEFAULT_WINDOW, streams_max: config.first_streams },
            begun,
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            fields: 0,
            block: None,
            streams: Streams::default(),
            arrived: VecDeque::new(),
            waiting: VecDeque::new(),
            flow: Flow::new(config.connection_window),
            output,
            going_away: GoingAway::default(),
            suspicion: Suspicion::default(),
            heard: false,
            is_pinging: false,
            is_resting: false,
            failure: None,
            task: None,
            is_awake: true,
            openers: 0,
        }
    }

    /// The other side has said what a connection begins with.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun == Begun::Yes
    }

    /// How the connection failed, if it did.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Whether a client is told that it broke the protocol, and may still be sending. A client waits for no server so: who
    /// drives it need not look at the clock while nothing is asked.
    pub(crate) fn lingers(&self) -> bool {
        self.role == Role::Server && matches!(self.failure, Some(Error::Connection(_)))
    }

    /// The other side broke the protocol for good: it is told, and all streams end.
    pub(crate) fn break_off(&mut self, violation: Violation) {
        if self.failure.is_none() {
            let last = self.streams.last_of_peer();
            frame::go_away(self.output.bytes(), last, violation.code(), &violation.to_string());
            self.fail(Error::Connection(violation));
        }
    }

    /// The connection has ended, with all its streams.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(error.clone());
        for arrived in std::mem::take(&mut self.arrived) {
            if let Some(stream) = self.streams.get_mut(arrived.key) {
                stream.handles = stream.handles.saturating_sub(1);
            }
        }
        self.waiting.clear();
        for key in self.streams.keys() {
            let unopened = self.streams.get(key).is_some_and(|stream| stream.id == 0);
            self.fail_stream(key, if unopened { Error::NotOpened } else { error.clone() });
        }
        self.wake();
    }

    /// Something is to be written: the connection's task looks, once.
    fn wake(&mut self) {
        if !self.is_awake
            && let Some(task) = &self.task
        {
            self.is_awake = true;
            task.wake_by_ref();
        }
    }

    /// The connection's task has begun to look.
    pub(crate) fn awake(&mut self) {
        self.is_awake = true;
    }

    /// The connection's task has looked, and waits.
    pub(crate) fn asleep(&mut self, waker: &Waker) {
        stream::wait(&mut self.task, waker);
        self.is_awake = false;
    }

    /// One more may open streams.
    pub(crate) fn add_opener(&mut self) {
        self.openers += 1;
    }

    /// One less may open streams; without any the connection ends with its last stream.
    pub(crate) fn remove_opener(&mut self) {
        self.openers = self.openers.saturating_sub(1);
        if self.openers == 0 {
            self.wake();
        }
    }

    /// Whether something was read since this was asked last.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Asks the other side for a sign of life, unless it is asked already.
    pub(crate) fn ping(&mut self) {
        if !self.is_pinging && self.failure.is_none() {
            self.is_pinging = true;
            frame::ping(self.output.bytes(), 0, frames::SIGN_OF_LIFE);
            self.wake();
        }
    }

    /// Gives back the memory that a connection without traffic does not need.
    pub(crate) fn rest(&mut self) {
        if self.streams.kept() == 0 {
            self.output.rest();
            self.is_resting = true;
            self.wake();
        }
    }

    /// Gives back what the engine need not keep, if it keeps nothing; returns whether the task should do the same with its own.
    /// A wish to rest is granted once.
    pub(crate) fn rests(&mut self) -> bool {
        if !self.config.keeps_buffers {
            self.output.rest();
            if self.arrived.is_empty() {
                self.arrived = VecDeque::new();
            }
            return true;
        }
        std::mem::take(&mut self.is_resting)
    }

    /// What is to be written.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Whether requests wait to be taken.
    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// The next request.
    pub(crate) fn accept(&mut self) -> Option<(Key, Request<()>)> {
        let Arrived { key, request } = self.arrived.pop_front()?;
        Some((key, request))
    }
}
