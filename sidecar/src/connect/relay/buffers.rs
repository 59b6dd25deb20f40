//! A worker's buffers for relaying, lent and given back. Two sizes; a bounded number is kept.

use std::cell::RefCell;

const SMALL: usize = 16 * 1024;
const LARGE: usize = 256 * 1024;

/// Buffers kept of each size: 2 MiB at most. More are made when more connections are in the middle of a write, and
/// freed afterwards.
const KEPT_SMALL: usize = 64;
const KEPT_LARGE: usize = 4;

/// A lent buffer.
#[derive(Debug)]
pub(super) struct Buffer(Box<[u8]>);

/// The buffers not lent.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Buffer>>,
    large: RefCell<Vec<Buffer>>,
}

impl Buffer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    pub(super) fn is_large(&self) -> bool {
        self.0.len() == LARGE
    }
}

impl Buffers {
    pub(super) fn take(&self, large: bool) -> Buffer {
        let (kept, size) = if large { (&self.large, LARGE) } else { (&self.small, SMALL) };
        kept.borrow_mut().pop().unwrap_or_else(|| Buffer(vec![0; size].into_boxed_slice()))
    }

    pub(super) fn give_back(&self, buffer: Buffer) {
        let (kept, most) =
            if buffer.is_large() { (&self.large, KEPT_LARGE) } else { (&self.small, KEPT_SMALL) };
        let mut kept = kept.borrow_mut();
        if kept.len() < most {
            kept.push(buffer);
        }
    }
}
