//! All streams of a connection: by key for those who hold them, by number for what comes.

use super::stream::{Key, Stream};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// How many of the streams that we have reset are remembered: what comes on them was under way and is ignored. More than
/// one peer's mesh connection has open.
const RESET_MAX: usize = 1024;

/// Spreads stream numbers, which are odd and grow.
#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}

/// The streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slab: Slab<Stream>,
    by_id: HashMap<u32, Key, BuildHasherDefault<Spread>>,
    /// Streams that the other side takes for open, or that we do.
    open: usize,
    /// The largest number the other side has used.
    last_of_peer: u32,
    /// The largest number we have used.
    last_of_ours: u32,
    /// Numbers of streams that we have reset, oldest first.
    reset: VecDeque<u32>,
    /// The largest of those that are not remembered any more.
    forgotten: u32,
}

impl Streams {
    pub(super) fn get(&self, key: Key) -> Option<&Stream> {
        self.slab.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.slab.get_mut(key)
    }

    pub(super) fn find(&self, id: u32) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    /// Keeps a stream; one that has a number is open.
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        if self.slab.capacity() == 0 {
            // A vector would begin with four, and many a connection has one stream all its life.
            self.slab.reserve_exact(1);
        }
        let key = self.slab.insert(stream);
        if id > 0 {
            self.opened(key, id);
        }
        key
    }

    /// A stream is open under this number from now on.
    pub(super) fn opened(&mut self, key: Key, id: u32) {
        if let Some(stream) = self.slab.get_mut(key) {
            stream.id = id;
            stream.is_counted = true;
            self.open += 1;
            self.by_id.insert(id, key);
        }
    }

    /// A stream is over on the wire.
    pub(super) fn closed(&mut self, key: Key) {
        if let Some(stream) = self.slab.get_mut(key)
            && stream.is_counted
        {
            stream.is_counted = false;
            self.open = self.open.saturating_sub(1);
            self.by_id.remove(&stream.id);
        }
    }

    /// Forgets a stream that is over and that nobody holds.
    pub(super) fn forget_if_gone(&mut self, key: Key) {
        let is_gone = self.slab.get(key).is_some_and(|s| s.handles == 0 && s.is_over());
        if is_gone {
            self.closed(key);
            self.slab.try_remove(key);
        }
    }

    /// Streams that are open on the wire.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Streams that anybody holds, or that are not over.
    pub(super) fn kept(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    pub(super) fn last_of_peer(&self) -> u32 {
        self.last_of_peer
    }

    /// Notes a number that the other side uses. Returns whether it may.
    pub(super) fn peer_uses(&mut self, id: u32) -> bool {
        let may = id % 2 == 1 && id > self.last_of_peer;
        if may {
            self.last_of_peer = id;
        }
        may
    }

    /// The next number of ours, as long as there is one.
    pub(super) fn next_of_ours(&mut self) -> Option<u32> {
        self.has_next_of_ours().then(|| {
            self.last_of_ours = if self.last_of_ours == 0 { 1 } else { self.last_of_ours + 2 };
            self.last_of_ours
        })
    }

    /// Whether numbers are left for another stream of ours.
    pub(super) fn has_next_of_ours(&self) -> bool {
        self.last_of_ours < (1 << 31) - 1
    }

    /// Whether a stream with this number was ever opened, by either side.
    pub(super) fn was_opened(&self, id: u32) -> bool {
        id % 2 == 1 && (id <= self.last_of_peer || id <= self.last_of_ours)
    }

    /// We have reset a stream.
    pub(super) fn note_reset(&mut self, id: u32) {
        if self.reset.len() >= RESET_MAX
            && let Some(oldest) = self.reset.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.reset.push_back(id);
    }

    /// Whether we have reset a stream, or may have and do not remember.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        id <= self.forgotten || self.reset.contains(&id)
    }
}
