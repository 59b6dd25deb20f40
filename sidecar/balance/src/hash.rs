//! Hashes that are the same in every process, on every machine and in every version.
//!
//! Enters: bytes of a request (a header, a cookie, an address) or of an endpoint's address. Leaves: a [`HashKey`]. Never
//! here: what is hashed, which the caller decides; secrets, since anybody can compute these.
//!
//! **XXH64** (Yann Collet, <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>) with seed 0 turns bytes into
//! keys: short, fast on the few bytes of a header, and what Envoy and gRPC hash with. The standard library's hasher is no
//! choice: it may change with every compiler, and two sidecars that disagree send one session to two places. All of this
//! is a promise: a change moves every session of every user, and the golden values below fail.

use std::net::{IpAddr, SocketAddr};

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// Where a request or an endpoint stands on a ring or in a table.
///
/// Two endpoints of one service need different keys: with the same one, the second gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(u64);

impl HashKey {
    /// A key that was computed elsewhere. It need not be even: it is mixed before use.
    pub const fn new(key: u64) -> Self {
        Self(key)
    }

    /// The key of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh64(bytes))
    }

    /// The key of an address with its port. An IPv4 address has the same key when it is written as IPv6 (`::ffff:a.b.c.d`).
    pub fn of_address(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; 18];
        let (octets, port) = bytes.split_at_mut(16);
        octets.copy_from_slice(&ip.octets());
        port.copy_from_slice(&address.port().to_be_bytes());
        Self(xxh64(&bytes))
    }

    /// This key together with another: for several sources, in their order.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(mix(self.0.rotate_left(1) ^ mix(other.0)))
    }

    /// One of many independent hashes of this key.
    pub(crate) fn salted(self, salt: u64) -> u64 {
        mix(self.0 ^ mix(salt.wrapping_add(PRIMES[4])))
    }
}

/// Every bit of the result depends on every bit of `x`: the finalizer of SplitMix64, Stafford's variant 13.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn xxh64(bytes: &[u8]) -> u64 {
    let [p1, p2, _, p4, p5] = PRIMES;
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { p5 } else { striped(stripes) };
    hash = hash.wrapping_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(p1).wrapping_add(p4);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        let half = u64::from(u32::from_le_bytes(*half)).wrapping_mul(p1);
        hash = (hash ^ half).rotate_left(23).wrapping_mul(p2).wrapping_add(PRIMES[2]);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(p2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

/// Four lanes side by side, merged at the end.
fn striped(stripes: &[[u8; 32]]) -> u64 {
    let [p1, p2, _, p4, _] = PRIMES;
    let mut lanes = [p1.wrapping_add(p2), p2, 0, 0_u64.wrapping_sub(p1)];
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    let [a, b, c, d] = lanes;
    let merged = [a.rotate_left(1), b.rotate_left(7), c.rotate_left(12), d.rotate_left(18)];
    let merged = merged.into_iter().fold(0_u64, u64::wrapping_add);
    lanes.into_iter().fold(merged, |hash, lane| (hash ^ round(0, lane)).wrapping_mul(p1).wrapping_add(p4))
}

fn round(lane: u64, word: u64) -> u64 {
    let [p1, p2, ..] = PRIMES;
    lane.wrapping_add(word.wrapping_mul(p2)).rotate_left(31).wrapping_mul(p1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The published check values of xxHash's own sanity test: its input is this sequence, its seed 0.
    fn sanity_input(length: usize) -> Vec<u8> {
        let mut state: u64 = 2_654_435_761;
        let mut next = || {
            let byte = state.to_le_bytes()[7];
            state = state.wrapping_mul(11_400_714_785_074_694_797);
            byte
        };
        std::iter::repeat_with(&mut next).take(length).collect()
    }

    #[test]
    fn bytes_hash_as_the_reference_implementation_has_it() {
        let published = [
            (0, 0xEF46_DB37_51D8_E999),
            (1, 0xE934_A84A_DB05_2768),
            (4, 0x9136_A0DC_A574_57EE),
            (14, 0x8282_DCC4_994E_35C8),
            (222, 0xB641_AE8C_B691_C174),
        ];
        for (length, hash) in published {
            assert_eq!(xxh64(&sanity_input(length)), hash, "{length} bytes");
        }
        assert_eq!(xxh64(b"abc"), 0x44BC_2CF5_AD77_0999);
    }

    #[test]
    fn keys_never_change() {
        let address = |text: &str| HashKey::of_address(text.parse().expect("an address"));
        let keys = [HashKey::of(b"alice"), address("10.0.0.1:8080"), address("[2001:db8::1]:443")];
        assert_eq!(
            keys.map(|key| key.0),
            [8_332_761_332_120_969_289, 224_578_172_337_157_435, 5_676_642_636_798_041_326]
        );
        assert_eq!(address("10.0.0.1:8080"), address("[::ffff:10.0.0.1]:8080"));
        assert_eq!(
            [HashKey::new(1).salted(2), HashKey::new(1).and(HashKey::new(2)).0],
            [8_175_264_451_385_688_158, 18_150_421_933_739_947_993]
        );
    }

    #[test]
    fn several_sources_count_in_their_order() {
        let (a, b) = (HashKey::of(b"a"), HashKey::of(b"b"));
        let all = [a, b, a.and(b), b.and(a), a.and(a), b.and(b), a.and(b).and(a)];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn one_bit_of_a_key_changes_about_half_of_its_hash() {
        let changed = |bit: u32| (HashKey::new(0).salted(7) ^ HashKey::new(1 << bit).salted(7)).count_ones();
        assert!((0..64).all(|bit| (16..=48).contains(&changed(bit))));
    }
}
