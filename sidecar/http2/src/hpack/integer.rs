//! Numbers of HPACK: what does not fit the bits left in the first byte follows in sevens (RFC 7541 §5.1). Pure.

use super::HpackError;

/// Bytes after the first: 28 bits, more than any index, length or table size here.
const MORE_MAX: u32 = 4;

/// Reads a number whose first byte, `first`, was taken off `input` already; its lowest `prefix` bits belong to it.
///
/// # Errors
/// [`HpackError::Truncated`], [`HpackError::Integer`].
pub(super) fn decode(first: u8, prefix: u32, input: &mut &[u8]) -> Result<usize, HpackError> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Ok(value);
    }
    for more in 0..MORE_MAX {
        let (byte, rest) = input.split_first().ok_or(HpackError::Truncated)?;
        *input = rest;
        value += usize::from(byte & 0x7f) << (7 * more);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HpackError::Integer)
}

/// Writes a number behind the bits of `pattern`.
#[inline]
pub(super) fn encode(pattern: u8, prefix: u32, value: usize, into: &mut Vec<u8>) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        into.push(pattern | value as u8);
        return;
    }
    into.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (value, prefix, bytes) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 0b1001_1010, 0b1010]), (42, 8, &[0b10_1010])]
        {
            let mut encoded = Vec::new();
            encode(0, prefix, value, &mut encoded);
            assert_eq!(encoded, bytes);
            assert_eq!(decode(bytes[0], prefix, &mut &bytes[1..]), Ok(value));
        }
    }

    #[test]
    fn a_number_that_does_not_end_is_refused() {
        assert_eq!(decode(0x1f, 5, &mut &[0x80][..]), Err(HpackError::Truncated));
        assert_eq!(decode(0x1f, 5, &mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]), Err(HpackError::Integer));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(value in 0_usize..1 << 28, prefix in 4_u32..=7) {
            let mut encoded = Vec::new();
            encode(0, prefix, value, &mut encoded);
            let mut rest = &encoded[1..];
            prop_assert_eq!(decode(encoded[0], prefix, &mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }
    }
}
