//! A server that was connected to before it was known whether it is needed, and what it has said meanwhile.

use super::Speaks;
use crate::connect::{Link, Prefixed};
use bytes::BytesMut;
use tokio::io::AsyncReadExt;

/// Bytes of the server read while the protocol is still being found out: more than any greeting. The rest waits in the
/// socket.
const FIRST_READ: usize = 4096;

/// A connection to a server, and its first words.
#[derive(Debug)]
pub(crate) struct Early {
    link: Link,
    first: BytesMut,
}

impl Early {
    /// It has said nothing yet.
    pub(crate) fn new(link: Link) -> Self {
        Self { link, first: BytesMut::new() }
    }

    /// The whole stream, its first words included.
    pub(crate) fn into_stream(self) -> Prefixed<Link> {
        Prefixed::new(self.first.freeze(), self.link)
    }
}

impl Speaks for Early {
    async fn spoke(&mut self) -> bool {
        if self.first.capacity() == 0 {
            self.first.reserve(FIRST_READ);
        }
        matches!(self.link.read_buf(&mut self.first).await, Ok(amount) if amount > 0)
    }
}
