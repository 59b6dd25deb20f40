//! Bytes whose every position is known, so that a receiver can check a stream without keeping what was sent: byte
//! `n` of a stream is byte `n mod 65536` of one fixed block.

use std::sync::OnceLock;

/// After how many bytes the pattern repeats.
const PERIOD_BYTES: usize = 64 * 1024;
/// Two periods, so that any chunk up to a period long lies in one piece.
const BLOCK_BYTES: usize = 2 * PERIOD_BYTES;

fn block() -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    BLOCK.get_or_init(|| {
        // A xorshift keeps neighbouring periods of any shorter length different from each other.
        let mut state: u32 = 0x9E37_79B9;
        let period: Vec<u8> = (0..PERIOD_BYTES)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_le_bytes()[0]
            })
            .collect();
        period.repeat(BLOCK_BYTES / PERIOD_BYTES)
    })
}

/// Up to `length` bytes (at most a period) of the pattern from a stream's position `offset`.
pub fn chunk(offset: u64, length: usize) -> &'static [u8] {
    let start = usize::try_from(offset % PERIOD_BYTES as u64).unwrap_or(0);
    block().get(start..start + length.min(PERIOD_BYTES)).unwrap_or_default()
}

/// Whether `bytes`, received at a stream's position `offset`, are the pattern's.
pub fn matches(offset: u64, bytes: &[u8]) -> bool {
    let mut offset = offset;
    bytes.chunks(PERIOD_BYTES).all(|received| {
        let right = chunk(offset, received.len()) == received;
        offset += received.len() as u64;
        right
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_its_own_bytes_at_any_offset() {
        for offset in [0, 1, 65_535, 65_536, 1_000_003] {
            assert!(matches(offset, chunk(offset, 65_536)), "offset {offset}");
        }
    }

    #[test]
    fn notices_one_wrong_byte_and_a_shift() {
        let mut bytes = chunk(7, 1000).to_vec();
        assert!(!matches(8, &bytes));
        bytes[999] ^= 1;
        assert!(!matches(7, &bytes));
    }
}
