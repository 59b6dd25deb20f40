//! The Huffman code of HPACK (RFC 7541 §5.2, Appendix B), read only: what we send is not compressed with it, since between
//! neighbours bytes are cheaper than the instructions that save them. The code is canonical: codes of one length follow
//! each other in the order of their symbols, so the lengths say everything. Nine bits are looked up at once, which covers
//! all that is usual in fields; longer codes are found by their length. Pure.

use super::HpackError;

/// The length of each symbol's code in bits; the last is the end of a string, which never stands in one.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28,
    28, //
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6,
    6, //
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    8, //
    7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7,
    7, //
    7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22,
    23, //
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21,
    22, //
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22,
    25, //
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
    24, //
    20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27,
    27, //
    27, 27, 27, 26, 30,
];

/// Bits that are looked up at once.
const FAST_BITS: u32 = 9;
const LONGEST: usize = 30;

struct Code {
    /// By the next nine bits: the symbol and its length, or length 0 for a longer code.
    fast: [(u8, u8); 1 << FAST_BITS],
    /// By length: the first code, the end of its codes as the upper bits of a window, and where its symbols begin.
    first: [u32; LONGEST + 1],
    end: [u64; LONGEST + 1],
    offset: [usize; LONGEST + 1],
    /// All symbols, by length and value.
    symbols: [u16; 257],
}

static CODE: Code = code();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which would say so")]
const fn code() -> Code {
    let mut code = Code {
        fast: [(0, 0); 1 << FAST_BITS],
        first: [0; LONGEST + 1],
        end: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut next, mut placed, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.offset[length] = placed;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed] = symbol as u16;
                if length <= FAST_BITS as usize {
                    let spare = FAST_BITS as usize - length;
                    let mut entry = (next as usize) << spare;
                    let until = entry + (1 << spare);
                    while entry < until {
                        code.fast[entry] = (symbol as u8, length as u8);
                        entry += 1;
                    }
                }
                placed += 1;
                next += 1;
            }
            symbol += 1;
        }
        code.end[length] = (next as u64) << (32 - length);
        length += 1;
    }
    code
}

/// The symbol whose code begins the window, and its length.
fn look_up(window: u32) -> Option<(u16, u32)> {
    let fast = CODE.fast.get((window >> (32 - FAST_BITS)) as usize);
    if let Some((symbol, length)) = fast.filter(|(_, length)| *length > 0) {
        return Some((u16::from(*symbol), u32::from(*length)));
    }
    for length in FAST_BITS as usize + 1..=LONGEST {
        if u64::from(window) < CODE.end.get(length).copied()? {
            let code = window >> (32 - length);
            let within = code.checked_sub(CODE.first.get(length).copied()?)?;
            let symbol = CODE.symbols.get(CODE.offset.get(length)? + within as usize)?;
            return Some((*symbol, length as u32));
        }
    }
    None
}

/// Decodes a whole string, appending it to `into`. It is at most 8/5 as long as `coded`.
///
/// # Errors
/// [`HpackError::Huffman`]: the end's symbol within, or a padding that is not the beginning of that (RFC 7541 §5.2).
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>) -> Result<(), HpackError> {
    into.reserve(coded.len() * 8 / 5);
    let mut rest = coded.iter();
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 56 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            have += 8;
        }
        if have == 0 {
            return Ok(());
        }
        // The next 32 bits; past the end of the string there are ones, as in the padding.
        let window = match have.checked_sub(32) {
            Some(unused) => (bits >> unused) as u32,
            None => ((bits << (32 - have)) as u32) | (u32::MAX >> have),
        };
        let (symbol, length) = look_up(window).ok_or(HpackError::Huffman)?;
        if length > have {
            let padding = (1_u64 << have) - 1;
            let is_padding = have < 8 && bits & padding == padding;
            return if is_padding { Ok(()) } else { Err(HpackError::Huffman) };
        }
        into.push(u8::try_from(symbol).map_err(|_end| HpackError::Huffman)?);
        have -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(plain: &[u8]) -> Vec<u8> {
        let (mut coded, mut bits, mut have) = (Vec::new(), 0_u64, 0);
        for byte in plain {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let place = CODE.symbols.iter().position(|symbol| *symbol == u16::from(*byte)).unwrap();
            let code = CODE.first[length] + u32::try_from(place - CODE.offset[length]).unwrap();
            bits = bits << length | u64::from(code);
            have += length;
            while have >= 8 {
                have -= 8;
                coded.push((bits >> have) as u8);
            }
        }
        if have > 0 {
            coded.push((bits << (8 - have)) as u8 | (0xff >> have));
        }
        coded
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut plain = Vec::new();
        decode(coded, &mut plain).map(|()| plain)
    }

    #[test]
    fn the_codes_are_those_of_the_appendix() {
        for (symbol, code, length) in [
            (b'0', 0x0, 5),
            (b'a', 0x3, 5),
            (b'X', 0xfc, 8),
            (b'{', 0x7ffe, 15),
            (0, 0x1ff8, 13),
            (10, 0x3fff_fffc, 30),
            (255, 0x3ff_ffee, 26),
        ] {
            let window = code << (32 - length);
            assert_eq!(look_up(window), Some((u16::from(symbol), length)), "{symbol}");
        }
        assert_eq!(look_up(u32::MAX), Some((256, 30)));
    }

    #[test]
    fn a_padding_that_is_none_is_refused() {
        for coded in [
            &[0xff][..],
            &[0b0001_1000],
            &[0x1f, 0xff],
            &[0xff, 0xff, 0xff, 0xff],
            &[0x3f, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decoded(coded), Err(HpackError::Huffman), "{coded:x?}");
        }
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encode(&plain)).unwrap(), plain);
        }

        #[test]
        fn no_bytes_do_harm_or_grow_beyond_the_bound(coded in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plain) = decoded(&coded) {
                prop_assert!(plain.len() <= coded.len() * 8 / 5);
            }
        }
    }
}
