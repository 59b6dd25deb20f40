//! Open files sent from process to process over a Unix socket (`SCM_RIGHTS`, unix(7)). Enters and leaves: bytes with
//! descriptors beside them. Never here: what either means. Everything blocks, within the socket's own timeouts.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Most descriptors in one message; the kernel takes 253.
pub(crate) const DESCRIPTORS_MAX: usize = 200;

/// Sends bytes, at least one, with descriptors beside the first of them.
///
/// # Errors
/// The peer is gone, or too slow, or there are too many descriptors.
pub(crate) fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let message = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); message.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > DESCRIPTORS_MAX || !ancillary.push(message) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    match bytes.get(sent..) {
        None | Some([]) => Ok(()),
        Some(rest) => io::Write::write_all(&mut &*socket, rest),
    }
}

/// Receives some bytes and what came beside them; no bytes if the peer has closed. Descriptors are closed on exec.
///
/// # Errors
/// The peer is gone, or too slow, or sent more descriptors than [`DESCRIPTORS_MAX`].
pub(crate) fn receive(socket: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more descriptors than expected, or no room for them",
        ));
    }
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn an_open_file_goes_with_the_bytes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        send(&ours, b"a socket", &[far.as_fd()]).unwrap();
        drop(far);
        let mut bytes = [0; 64];
        let (length, mut descriptors) = receive(&theirs, &mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"a socket");
        let mut received = UnixStream::from(descriptors.pop().unwrap());
        assert!(descriptors.is_empty());
        near.write_all(b"hello").unwrap();
        drop(near);
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn the_end_is_no_bytes_and_too_many_descriptors_are_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let many = vec![ours.as_fd(); DESCRIPTORS_MAX + 1];
        send(&ours, b"x", &many).unwrap_err();
        send(&ours, b"x", &many[1..]).unwrap();
        let mut bytes = [0; 8];
        let (length, descriptors) = receive(&theirs, &mut bytes).unwrap();
        assert_eq!((length, descriptors.len()), (1, DESCRIPTORS_MAX));
        // All that was received is the same socket, so it too must go.
        drop((descriptors, ours));
        assert_eq!(receive(&theirs, &mut bytes).unwrap().0, 0);
    }
}
