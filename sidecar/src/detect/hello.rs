//! The server name in a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), read without taking part in the handshake. Pure:
//! what enters is a prefix of what a client sent, what leaves is a verdict that more bytes never change. A parser of its
//! own, as TLS libraries want to own the connection: thirty lines of lengths, every one of them checked.

/// Bytes looked at. Browsers send 2 KiB with post-quantum key shares; one record holds at most 16.
pub(crate) const HELLO_MAX: usize = 16 * 1024;

/// The content type of a record, and the type of a message in it.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The extension, and the type of a name in it.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const NAME_MAX: usize = 253;

/// What the first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// They could be a ClientHello.
    More,
    /// A ClientHello, with the name it asks for, in lower case.
    Complete(Option<Box<str>>),
    /// Something else.
    Other,
}

/// Reads what a client has sent so far.
pub(crate) fn hello(bytes: &[u8]) -> Hello {
    // The type, the version's first byte, and a length: nothing else begins so.
    let start = [HANDSHAKE, 3];
    if !bytes.iter().zip(&start).all(|(byte, wanted)| byte == wanted) {
        return Hello::Other;
    }
    let mut message = Vec::new();
    let mut rest = Reader(bytes);
    loop {
        if let Some((kind, length)) = header(&message)
            && (kind != CLIENT_HELLO || length > HELLO_MAX)
        {
            return Hello::Other;
        }
        if let Some(body) = body(&message) {
            return Hello::Complete(server_name(body).flatten());
        }
        // A message may be cut into several records.
        let Some(kind) = rest.u8() else { return Hello::More };
        let (major, minor, length) = (rest.u8(), rest.u8(), rest.u16());
        if kind != HANDSHAKE || major.is_some_and(|major| major != 3) {
            return Hello::Other;
        }
        let (Some(_), Some(length)) = (minor, length) else { return Hello::More };
        if length == 0 {
            return Hello::Other;
        }
        let length = usize::from(length);
        let available = length.min(rest.0.len());
        message.extend_from_slice(rest.take(available).unwrap_or_default());
        if available < length && body(&message).is_none() {
            let is_other =
                header(&message).is_some_and(|(kind, all)| kind != CLIENT_HELLO || all > HELLO_MAX);
            return if is_other { Hello::Other } else { Hello::More };
        }
    }
}

/// The type and length of a message.
fn header(message: &[u8]) -> Option<(u8, usize)> {
    let mut reader = Reader(message);
    let (kind, high, low) = (reader.u8()?, reader.u8()?, reader.u16()?);
    Some((kind, usize::from(high) << 16 | usize::from(low)))
}

/// What follows, once all of it is there.
fn body(message: &[u8]) -> Option<&[u8]> {
    let (_, length) = header(message)?;
    message.get(4..)?.get(..length)
}

/// The name a ClientHello asks for; nothing if it breaks its own lengths.
fn server_name(body: &[u8]) -> Option<Option<Box<str>>> {
    let mut reader = Reader(body);
    // The version and the random bytes; then session, cipher suites and compression methods.
    reader.take(2 + 32)?;
    let session = reader.u8()?;
    reader.take(session.into())?;
    let ciphers = reader.u16()?;
    reader.take(ciphers.into())?;
    let compression = reader.u8()?;
    reader.take(compression.into())?;
    let Some(length) = reader.u16() else { return Some(None) };
    let mut extensions = Reader(reader.take(length.into())?);
    while let Some(kind) = extensions.u16() {
        let length = extensions.u16()?;
        let content = extensions.take(length.into())?;
        if kind == SERVER_NAME {
            return Some(host(content));
        }
    }
    Some(None)
}

fn host(content: &[u8]) -> Option<Box<str>> {
    let mut list = Reader(content);
    list.u16()?;
    if list.u8()? != HOST_NAME {
        return None;
    }
    let length = list.u16()?;
    let name = list.take(length.into()).filter(|name| (1..=NAME_MAX).contains(&name.len()))?;
    let name = std::str::from_utf8(name).ok().filter(|name| name.is_ascii())?;
    Some(name.to_ascii_lowercase().into())
}

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, amount: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(amount)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes: [u8; 2] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(length: usize, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&size[4 - length..], content].concat()
    }

    /// A ClientHello that asks for `name`, in records of at most `cut` bytes.
    pub(crate) fn client_hello(name: Option<&str>, cut: usize) -> Vec<u8> {
        let mut extensions = [vec![0, 43], block(2, &[2, 3, 4])].concat();
        if let Some(name) = name {
            let entry = [vec![0], block(2, name.as_bytes())].concat();
            extensions.extend([vec![0, 0], block(2, &block(2, &entry))].concat());
        }
        let parts = [vec![3, 3], vec![7; 32], block(1, &[9; 32]), block(2, &[19, 1]), block(1, &[0])];
        let body = [parts.concat(), block(2, &extensions)].concat();
        let message = [vec![1], block(3, &body)].concat();
        message.chunks(cut).flat_map(|chunk| [vec![22, 3, 1], block(2, chunk)].concat()).collect()
    }

    #[test]
    fn the_name_is_read_whole_and_in_pieces() {
        for cut in [1, 7, 50, 16_384] {
            let bytes = client_hello(Some("API.example.com"), cut);
            assert_eq!(hello(&bytes), Hello::Complete(Some("api.example.com".into())), "{cut}");
            for end in 0..bytes.len() {
                assert_eq!(hello(&bytes[..end]), Hello::More, "{cut} {end}");
            }
        }
        assert_eq!(hello(&client_hello(None, 100)), Hello::Complete(None));
    }

    #[test]
    fn what_is_no_client_hello_is_told_early() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"\x16\x02", b"\x15\x03\x01", b"\x16\x03\x01\x00\x00"] {
            assert_eq!(hello(bytes), Hello::Other, "{bytes:?}");
        }
        let server = b"\x16\x03\x03\x00\x10\x02\x00\x00\x0c";
        assert_eq!(hello(server), Hello::Other, "a ServerHello");
        let huge = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff";
        assert_eq!(hello(huge), Hello::Other, "longer than anybody's");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_a_verdict_stays(tail: Vec<u8>, more: Vec<u8>, cut in 0_usize..200) {
            let bytes = client_hello(Some("a.example.com"), 60);
            let bytes = [bytes.get(..cut.min(bytes.len())).unwrap(), &tail].concat();
            let first = hello(&bytes);
            if first != Hello::More {
                prop_assert_eq!(hello(&[bytes, more].concat()), first);
            }
        }
    }
}
