//! One resource as it goes over the wire: bytes made once, shared by every stream, and the version they have.

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

/// The hash of a resource's bytes: equal on every replica, and after a restart, exactly when the bytes are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Arc<str>);

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
        let version = Version(format!("{:032x}", hasher.finish128().as_u128()).into());
        Self { version, bytes: bytes.into() }
    }
}

impl Version {
    /// A version as a client gives it back; it may be anything.
    pub fn of_client(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
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
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
        assert_eq!(Encoded::new(b"outrigger".to_vec()).version.as_str(), "4a7d8a05bae0c8ef3d89a2f0395d985f");
        assert_ne!(Encoded::new(vec![]).version, Encoded::new(vec![0]).version);
    }
}
