//! Header blocks become fields. Pure.

use super::field::{Field, Name};
use super::static_table::{self, STATIC_COUNT};
use super::{HpackError, OVERHEAD, TABLE_SIZE, huffman, integer};
use std::collections::VecDeque;

/// The table of what the other side has sent, and how to read its blocks.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Newest first.
    table: VecDeque<Entry>,
    /// The sizes of all.
    size: usize,
    /// What the other side said it keeps; at most [`TABLE_SIZE`], which is what we allow.
    max_size: usize,
    /// Where strings are decompressed.
    scratch: Vec<u8>,
}

/// Where decoded fields go, each with the size it counts for in a list of fields.
pub(crate) trait Sink {
    /// A field that stays in a table: what is needed of it is copied, by reference mostly.
    fn known(&mut self, field: &Field, size: usize);

    /// A field that is in no table.
    fn fresh(&mut self, field: Field, size: usize);
}

#[cfg(test)]
impl<F: FnMut(Field, usize)> Sink for F {
    fn known(&mut self, field: &Field, size: usize) {
        self(field.clone(), size);
    }

    fn fresh(&mut self, field: Field, size: usize) {
        self(field, size);
    }
}

/// A field in the table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) field: Field,
    /// The length of its name, which may be one that is not kept.
    pub(super) name_bytes: usize,
    /// What it counts for.
    pub(super) size: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, max_size: TABLE_SIZE, scratch: Vec::new() }
    }
}

impl Decoder {
    /// Decodes a whole block.
    ///
    /// # Errors
    /// [`HpackError`]: nothing that comes after can be decoded.
    pub(crate) fn decode(&mut self, mut block: &[u8], sink: &mut impl Sink) -> Result<(), HpackError> {
        let mut may_resize = true;
        while let Some((first, rest)) = block.split_first() {
            block = rest;
            match *first {
                // An indexed field (RFC 7541 §6.1).
                first if first & 0x80 != 0 => {
                    let index = integer::decode(first, 7, &mut block)?;
                    let entry = self.at(index)?;
                    sink.known(&entry.field, entry.size);
                }
                // A literal that enters the table (§6.2.1).
                first if first & 0x40 != 0 => {
                    let entry = self.literal(first, 6, &mut block)?;
                    sink.known(&entry.field, entry.size);
                    self.insert(entry);
                }
                // The table's size changes (§6.3), only before all fields (§4.2).
                first if first & 0x20 != 0 => {
                    let size = integer::decode(first, 5, &mut block)?;
                    if size > TABLE_SIZE || !may_resize {
                        return Err(HpackError::TableSize);
                    }
                    self.max_size = size;
                    self.evict(0);
                    continue;
                }
                // A literal that does not enter it (§6.2.2), or never may (§6.2.3).
                first => {
                    let Entry { mut field, size, .. } = self.literal(first, 4, &mut block)?;
                    if first & 0x10 != 0
                        && let Field::Regular(_, value) = &mut field
                    {
                        value.set_sensitive(true);
                    }
                    sink.fresh(field, size);
                }
            }
            may_resize = false;
        }
        if self.scratch.capacity() > TABLE_SIZE {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// What the table holds, in bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn at(&self, index: usize) -> Result<&Entry, HpackError> {
        let entry = match index.checked_sub(STATIC_COUNT + 1) {
            Some(place) => self.table.get(place),
            None => static_table::field(index),
        };
        entry.ok_or(HpackError::Index)
    }

    /// A name, by index or as a string, and a value.
    fn literal(&mut self, first: u8, prefix: u32, block: &mut &[u8]) -> Result<Entry, HpackError> {
        let (name, name_bytes) = match integer::decode(first, prefix, block)? {
            0 => {
                let name = string(block, &mut self.scratch)?;
                (Name::parse(name), name.len())
            }
            index => {
                let entry = self.at(index)?;
                (entry.field.name(), entry.name_bytes)
            }
        };
        let value = string(block, &mut self.scratch)?;
        let size = name_bytes + value.len() + OVERHEAD;
        Ok(Entry { field: Field::new(name, value), name_bytes, size })
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size);
        // One that is larger than the table empties it, and that is all (RFC 7541 §4.4).
        if entry.size <= self.max_size {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    fn evict(&mut self, coming: usize) {
        while self.size + coming > self.max_size {
            let Some(entry) = self.table.pop_back() else { return };
            self.size = self.size.saturating_sub(entry.size);
        }
    }
}

/// Reads a string, out of the block or decompressed.
fn string<'a, 'b: 'a>(block: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], HpackError> {
    let (first, rest) = block.split_first().ok_or(HpackError::Truncated)?;
    *block = rest;
    let length = integer::decode(*first, 7, block)?;
    let (string, rest) = block.split_at_checked(length).ok_or(HpackError::Truncated)?;
    *block = rest;
    if first & 0x80 == 0 {
        return Ok(string);
    }
    scratch.clear();
    huffman::decode(string, scratch)?;
    Ok(scratch)
}
