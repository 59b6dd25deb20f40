//! What is to be written, in order. Frames are appended as they are made, so that all that is ready leaves in one write.

/// Bytes beyond which no more data is added: two full TLS records. Frames without data are always added; what bounds
/// them is that answers to frames are counted, and that nothing new is begun beyond [`WAITING_MAX`].
pub(super) const DATA_MAX: usize = 32 * 1024;

/// Bytes of answers (to PING, SETTINGS, broken streams) that may wait because the other side does not read.
pub(super) const ANSWERS_MAX: usize = 64 * 1024;

/// Bytes that may wait when a stream is opened, by either side; beyond, the other side does not read, and the connection
/// ends. As many as its window lets it make us hold between sidecars; the heads of 1,000 answers are a tenth of that.
pub(super) const WAITING_MAX: usize = 8 << 20;

/// A buffer above this is given back when it is empty.
const KEPT_MAX: usize = 64 * 1024;

/// Bytes on their way to the socket.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes of answers among them.
    answers: usize,
}

impl Output {
    /// Where frames are appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// How much data may be added.
    pub(super) fn room(&self) -> usize {
        DATA_MAX.saturating_sub(self.waiting().len())
    }

    /// An answer of so many bytes was appended. Returns whether there are too many.
    pub(super) fn answered(&mut self, bytes: usize) -> bool {
        self.answers += bytes;
        self.answers > ANSWERS_MAX
    }

    /// Whether so much waits that nothing new may be begun.
    pub(super) fn is_overfull(&self) -> bool {
        self.waiting().len() > WAITING_MAX
    }

    /// So many bytes were written.
    pub(crate) fn wrote(&mut self, amount: usize) {
        self.written += amount;
        self.answers = self.answers.min(self.waiting().len());
        if self.written >= self.bytes.len() {
            self.written = 0;
            self.answers = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_MAX {
                self.bytes = Vec::new();
            }
        } else if self.written > KEPT_MAX {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Gives the memory back, if nothing is in it.
    pub(crate) fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}
