//! One resource as it goes over the wire: bytes made once, shared by every stream, and the version they have.

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;

/// The hash of a resource's bytes: equal on every replica, and after a restart, exactly when the bytes are. Written in
/// hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 16]);

/// A resource's bytes and their version. Equal when the versions are.
#[derive(Clone)]
pub struct Encoded {
    /// The hash of `bytes`.
    pub version: Version,
    /// The protobuf message.
    pub bytes: Bytes,
}

impl Encoded {
    /// Takes the bytes and finds their version: SipHash-1-3 with 128 bits and the zero key, in hex. 128 bits, since
    /// an accidental equality would keep a change from every sidecar.
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(&bytes);
        let version = Version(hasher.finish128().as_u128().to_be_bytes());
        Self { version, bytes: bytes.into() }
    }
}

impl Version {
    /// A version as a client gives it back; nothing if it is none of ours.
    pub fn of_client(text: &str) -> Option<Self> {
        let is_ours =
            text.len() == 32 && text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
        is_ours.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|it| Self(it.to_be_bytes()))
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl Eq for Encoded {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.version, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_never_changes_for_the_same_bytes() {
        // Written down: a new hash would make every sidecar fetch everything after an upgrade.
        let version = Encoded::new(b"outrigger".to_vec()).version;
        assert_eq!(version.to_string(), "4a7d8a05bae0c8ef3d89a2f0395d985f");
        assert_ne!(Encoded::new(vec![]).version, Encoded::new(vec![0]).version);
        assert_eq!(Version::of_client(&version.to_string()), Some(version));
        for other in ["", "7", "4A7D8A05BAE0C8EF3D89A2F0395D985F", "+a7d8a05bae0c8ef3d89a2f0395d985f"] {
            assert_eq!(Version::of_client(other), None, "{other}");
        }
    }
}
