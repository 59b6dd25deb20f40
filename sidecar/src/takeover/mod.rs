//! One sidecar process takes over from another without a connection lost: the listening sockets themselves change hands,
//! so what waits in their backlogs is accepted by whoever is there.
//!
//! ```text
//! running process                          new process (--takeover)
//!   offers STATE-DIR/takeover  <──connects──
//!   checks whose process it is
//!   ──sockets, the lock on the directory──>  checks, binds what is missing, accepts beside the old one,
//!                                            registers the same workload
//!   accepts no more             <──serving──
//!   ──end of the link─────────────────────>  says that it is ready
//!   finishes what it has, ends
//! ```
//! Until the last word nothing has changed for the running process: if the new one fails, it goes on.
//!
//! Enters: sockets by the flag they belong to. Leaves: the same in another process. Never here: what is served on them.

mod inherit;
mod offer;

pub(crate) use inherit::{Inherited, Link};
pub(crate) use offer::{Kept, Offer, Taken};

use crate::descriptors::{self, DESCRIPTORS_MAX};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The offer's name in the state directory.
const SOCKET: &str = "takeover";
/// Of what is said here; another one is not understood.
const VERSION: u32 = 1;
/// The word of a process that has taken over.
const SERVING: u8 = b'S';
/// The lock on the state directory, among the sockets.
const LOCK: &str = "lock";
/// Longest list of names.
const BATCH_BYTES: usize = 64 * 1024;

/// Some of the open files, in the order in which they come with this.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    version: u32,
    names: Vec<String>,
    more: bool,
}

/// An open file and what it is: a flag, for what that flag asks for.
type Named = (String, OwnedFd);

fn send_all(link: &UnixStream, files: &[Named]) -> io::Result<()> {
    let batches = files.len().div_ceil(DESCRIPTORS_MAX).max(1);
    for number in 0..batches {
        let some: Vec<_> = files.iter().skip(number * DESCRIPTORS_MAX).take(DESCRIPTORS_MAX).collect();
        let names = some.iter().map(|(name, _)| name.clone()).collect();
        let batch = Batch { version: VERSION, names, more: number + 1 < batches };
        let text = serde_json::to_vec(&batch)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let bytes = [&length.to_be_bytes()[..], &text].concat();
        let descriptors: Vec<_> = some.iter().map(|(_, file)| file.as_fd()).collect();
        descriptors::send(link, &bytes, &descriptors)?;
    }
    Ok(())
}

fn receive_all(link: &UnixStream) -> io::Result<Vec<Named>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut files = Vec::new();
    loop {
        let mut length = [0; 4];
        let (read, descriptors) = descriptors::receive(link, &mut length)?;
        let mut link = link;
        // What came with the first byte is here; the rest of the number usually is, too.
        link.read_exact(length.get_mut(read..).unwrap_or_default())?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if length > BATCH_BYTES {
            return Err(wrong("it says more than expected"));
        }
        let mut text = vec![0; length];
        link.read_exact(&mut text)?;
        let batch: Batch = serde_json::from_slice(&text)?;
        if batch.version != VERSION {
            return Err(wrong("it is of another version, which hands over in another way"));
        }
        if batch.names.len() != descriptors.len() {
            return Err(wrong("there are more names than sockets"));
        }
        files.extend(batch.names.into_iter().zip(descriptors));
        if !batch.more {
            return Ok(files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn many_sockets_arrive_with_their_names_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sockets: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let files: Vec<Named> = (0..DESCRIPTORS_MAX + 2)
            .map(|number| (number.to_string(), sockets[number % 2].try_clone().unwrap().into()))
            .collect();
        let sending = std::thread::spawn(move || send_all(&ours, &files).unwrap());
        let received = receive_all(&theirs).unwrap();
        sending.join().unwrap();
        assert_eq!(received.len(), DESCRIPTORS_MAX + 2);
        for (number, (name, file)) in received.into_iter().enumerate() {
            assert_eq!(name, number.to_string());
            let address = TcpListener::from(file).local_addr().unwrap();
            assert_eq!(address, sockets[number % 2].local_addr().unwrap());
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |text: &str| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            descriptors::send(&ours, &[&length, text.as_bytes()].concat(), &[]).unwrap();
            drop(ours);
            receive_all(&theirs).unwrap_err().to_string()
        };
        assert!(refused(r#"{"version":2,"names":[],"more":false}"#).contains("another version"));
        assert!(
            refused(r#"{"version":1,"names":["lock"],"more":false}"#).contains("more names than sockets")
        );
        refused("{");
    }
}
