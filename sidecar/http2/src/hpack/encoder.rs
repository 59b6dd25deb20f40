//! Fields become header blocks. A field that was sent before costs a byte or two, so each is looked for among those; one
//! that is not there enters the table if fields of its name tend to come again. That is found out as it goes: a name whose
//! values were inserted several times in a row without being sent again (a trace id, a path with a number in it) is sent
//! literally from then on, and tried again now and then. Strings are never compressed. Pure.
//!
//! ```text
//! field ─ by name ─> slot ─> entries with that name, newest first ──same value──> index
//!                                       └─ none ──> literal: into the table, or not
//! ```

use super::static_table::{self, STATIC_COUNT};
use super::{OVERHEAD, TABLE_SIZE, integer};
use std::collections::VecDeque;

/// Slots for names. Names that meet in one share its luck, no more.
const SLOTS: usize = 64;

/// Entries of a slot that are compared with a field at most.
const COMPARED_MAX: usize = 8;

/// Insertions of a slot in a row that nobody asked for again, until it inserts no more.
const WASTED_MAX: u8 = 8;

/// A field of such a name enters the table after so many that did not: it may have begun to repeat.
const TRIED_EVERY: u8 = 64;

/// A field that takes more of the table than this would drive out all others.
const ENTRY_MAX: usize = TABLE_SIZE / 4;

/// The table of what was sent, and how to find it.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// Oldest first: the place in it, plus how many were evicted, is an entry's number.
    entries: VecDeque<Entry>,
    evicted: u32,
    size: usize,
    max_size: usize,
    /// The smallest and the newest size that the other side does not know of yet (RFC 7541 §4.2).
    resized: Option<(usize, usize)>,
    slots: Box<[Slot; SLOTS]>,
}

#[derive(Debug)]
struct Entry {
    /// Name, then value.
    text: Box<[u8]>,
    name_bytes: usize,
    /// The number of the entry before in the same slot.
    before: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    newest: Option<u32>,
    wasted: u8,
    skipped: u8,
}

/// Whether a field may enter the tables of anybody on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Indexing {
    /// As it suits.
    Allowed,
    /// Never (RFC 7541 §7.1.3).
    Never,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            evicted: 0,
            size: 0,
            max_size: TABLE_SIZE,
            resized: None,
            slots: Box::new([Slot::default(); SLOTS]),
        }
    }
}

impl Entry {
    fn is(&self, name: &[u8]) -> bool {
        self.name_bytes == name.len() && self.text.starts_with(name)
    }

    fn value(&self) -> &[u8] {
        self.text.get(self.name_bytes..).unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// Names differ in their lengths and ends nearly always.
fn slot_of(name: &[u8]) -> usize {
    let byte = |at: usize| usize::from(name.get(at).copied().unwrap_or_default());
    let (last, middle) = (byte(name.len().wrapping_sub(1)), byte(name.len() / 2));
    (name.len().wrapping_mul(7) ^ last.wrapping_mul(5) ^ middle.wrapping_mul(19) ^ byte(1)) % SLOTS
}

impl Encoder {
    /// The other side's table holds so much at most. Ours is never larger than the default.
    pub(crate) fn resize(&mut self, size: usize) {
        let size = size.min(TABLE_SIZE);
        if size == self.max_size && self.resized.is_none() {
            return;
        }
        let smallest = self.resized.map_or(size, |(smallest, _)| smallest.min(size));
        self.resized = Some((smallest, size));
        self.max_size = size;
        self.evict(0);
    }

    /// Begins a block.
    pub(crate) fn begin(&mut self, block: &mut Vec<u8>) {
        if let Some((smallest, newest)) = self.resized.take() {
            if smallest < newest {
                integer::encode(0x20, 5, smallest, block);
            }
            integer::encode(0x20, 5, newest, block);
        }
    }

    /// A field of the static table.
    pub(crate) fn known(index: u8, block: &mut Vec<u8>) {
        block.push(0x80 | index);
    }

    /// Appends a field. A pseudo-header field is one too.
    pub(crate) fn field(&mut self, name: &str, value: &[u8], indexing: Indexing, block: &mut Vec<u8>) {
        let name = name.as_bytes();
        let number = slot_of(name);
        let newest = self.slots.get(number).and_then(|slot| slot.newest);
        let (mut next, mut named) = (newest, None);
        for _ in 0..COMPARED_MAX {
            let Some((index, entry)) = next.and_then(|number| self.entry(number)) else { break };
            if entry.is(name) {
                if entry.value() == value && indexing == Indexing::Allowed {
                    integer::encode(0x80, 7, index, block);
                    if let Some(slot) = self.slots.get_mut(number) {
                        slot.wasted = 0;
                    }
                    return;
                }
                named = named.or(Some(index));
            }
            next = entry.before;
        }
        self.literal(name, value, indexing, number, named, block);
    }

    /// A field that was not sent before.
    fn literal(
        &mut self,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        number: usize,
        named: Option<usize>,
        block: &mut Vec<u8>,
    ) {
        let text = std::str::from_utf8(name).unwrap_or_default();
        if indexing == Indexing::Allowed
            && let Some(index) = static_table::index_of(text, value)
        {
            return integer::encode(0x80, 7, index, block);
        }
        let named = named.or_else(|| static_table::index_of_name(text)).unwrap_or(0);
        let size = name.len() + value.len() + OVERHEAD;
        let enters =
            indexing == Indexing::Allowed && size <= ENTRY_MAX.min(self.max_size) && self.is_worth(number);
        match (indexing, enters) {
            (Indexing::Never, _) => integer::encode(0x10, 4, named, block),
            (Indexing::Allowed, true) => integer::encode(0x40, 6, named, block),
            (Indexing::Allowed, false) => integer::encode(0, 4, named, block),
        }
        if named == 0 {
            string(name, block);
        }
        string(value, block);
        if enters {
            self.insert(name, value, number);
        }
    }

    /// Whether a new field of this slot should enter the table.
    fn is_worth(&mut self, number: usize) -> bool {
        let Some(slot) = self.slots.get_mut(number) else { return false };
        if slot.wasted < WASTED_MAX {
            slot.wasted += 1;
            return true;
        }
        slot.skipped = (slot.skipped + 1) % TRIED_EVERY;
        slot.skipped == 0
    }

    fn insert(&mut self, name: &[u8], value: &[u8], number: usize) {
        self.evict(name.len() + value.len() + OVERHEAD);
        let mut text = Vec::with_capacity(name.len() + value.len());
        text.extend_from_slice(name);
        text.extend_from_slice(value);
        let Some(slot) = self.slots.get_mut(number) else { return };
        let entry = Entry { text: text.into(), name_bytes: name.len(), before: slot.newest };
        slot.newest = Some(self.evicted.wrapping_add(self.entries.len() as u32));
        self.size += entry.size();
        self.entries.push_back(entry);
    }

    /// What the table holds, in bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn evict(&mut self, coming: usize) {
        while self.size + coming > self.max_size {
            let Some(entry) = self.entries.pop_front() else { return };
            self.size = self.size.saturating_sub(entry.size());
            self.evicted = self.evicted.wrapping_add(1);
        }
    }

    /// The entry with this number and its index, if it is still there.
    fn entry(&self, number: u32) -> Option<(usize, &Entry)> {
        let place = number.wrapping_sub(self.evicted) as usize;
        let entry = self.entries.get(place)?;
        Some((STATIC_COUNT + self.entries.len() - place, entry))
    }
}

fn string(text: &[u8], block: &mut Vec<u8>) {
    integer::encode(0, 7, text.len(), block);
    block.extend_from_slice(text);
}
