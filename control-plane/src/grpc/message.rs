//! gRPC's messages in their frames (its HTTP/2 protocol, "Length-Prefixed-Message"): a byte that says whether the message
//! is compressed, its length in four bytes, the message. Pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::Status;

/// What stands before a message.
const PREFIX: usize = 5;

/// Puts a message in its frame, with no byte more than it needs.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    // A response is closed at a few MiB.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut bytes);
    bytes.into()
}

/// Takes messages out of a stream of bytes. Between messages it holds none.
#[derive(Debug)]
pub struct Unframer {
    /// What has come of a message that is not whole.
    held: BytesMut,
    /// Bytes of a message.
    longest: usize,
}

impl Unframer {
    /// Refuses messages of more bytes than `longest`.
    pub fn new(longest: usize) -> Self {
        Self { held: BytesMut::new(), longest }
    }

    /// Takes what has come.
    pub fn push(&mut self, bytes: &Bytes) {
        self.held.extend_from_slice(bytes);
    }

    /// Whether a message has begun that is not whole.
    pub fn is_amid(&self) -> bool {
        !self.held.is_empty()
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// The status to end the call with: the message is compressed, which was not agreed upon, longer than it may be, or
    /// can't be read.
    pub fn take<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let Some((prefix, rest)) = self.held.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if compressed != 0 {
            return Err(Status::unimplemented(
                "compressed messages are not read here: send them as they are",
            ));
        }
        if length > self.longest {
            let longest = self.longest;
            return Err(Status::out_of_range(format!(
                "a message of {length} bytes: at most {longest} are read"
            )));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.held.advance(PREFIX);
        let message = self.held.split_to(length).freeze();
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        let read = M::decode(message);
        read.map(Some).map_err(|error| Status::internal(format!("a message can't be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::wire::discovery::DeltaDiscoveryRequest as Request;
    use proptest::prelude::*;

    fn request(url: &str) -> Request {
        Request { type_url: url.to_owned(), ..Request::default() }
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_their_bytes_come(
            urls in proptest::collection::vec("[a-z]{0,40}", 0..6),
            cuts in proptest::collection::vec(1_usize..30, 1..60),
        ) {
            let sent: Vec<_> = urls.iter().map(|url| request(url)).collect();
            let mut bytes: Bytes = sent.iter().flat_map(|it| frame(it).to_vec()).collect::<Vec<_>>().into();
            let mut unframer = Unframer::new(1_000);
            let mut read = Vec::new();
            for cut in cuts.iter().cycle() {
                if bytes.is_empty() {
                    break;
                }
                unframer.push(&bytes.split_to(bytes.len().min(*cut)));
                while let Some(message) = unframer.take::<Request>().unwrap() {
                    read.push(message);
                }
            }
            prop_assert_eq!(read, sent);
            prop_assert!(!unframer.is_amid());
        }

        #[test]
        fn arbitrary_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut unframer = Unframer::new(100);
            unframer.push(&bytes.into());
            while let Ok(Some(_)) = unframer.take::<Request>() {}
        }
    }

    #[test]
    fn what_may_not_come_ends_the_call_before_it_is_all_there() {
        let judged = |bytes: &'static [u8]| {
            let mut unframer = Unframer::new(100);
            unframer.push(&Bytes::from_static(bytes));
            unframer.take::<Request>().map_err(|status| status.code())
        };
        assert_eq!(judged(&[1, 0, 0, 0, 1]), Err(tonic::Code::Unimplemented));
        assert_eq!(judged(&[0, 0, 0, 0, 101]), Err(tonic::Code::OutOfRange));
        assert_eq!(judged(&[0, 0, 0, 0, 1, 0xff]), Err(tonic::Code::Internal));
        assert_eq!(judged(&[0, 0, 0, 0, 100]), Ok(None));
        assert_eq!(judged(&[0, 0, 0, 0]), Ok(None));
    }
}
