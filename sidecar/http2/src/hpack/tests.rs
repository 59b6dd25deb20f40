//! HPACK against the specification's own examples (RFC 7541 Appendix C), and against itself.

use super::decoder::Decoder;
use super::encoder::{Encoder, Indexing};
use super::field::{Field, Malformed};
use super::{HpackError, OVERHEAD, TABLE_SIZE};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn text(field: &Field) -> String {
    match field {
        Field::Method(method) => format!(":method: {method}"),
        Field::Scheme(scheme) => format!(":scheme: {scheme}"),
        Field::Authority(authority) => format!(":authority: {authority}"),
        Field::Path(path) => format!(":path: {path}"),
        Field::Status(status) => format!(":status: {}", status.as_str()),
        Field::Regular(name, value) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
        Field::Malformed(_, why) => format!("{why:?}"),
    }
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |field: Field, _: usize| fields.push(text(&field)))?;
    Ok(fields)
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

#[test]
fn single_fields_as_in_appendix_c_2() {
    for (block, field, size) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header", 55),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0),
        ("82", ":method: GET", 0),
    ] {
        let mut decoder = Decoder::default();
        assert_eq!(decoded(&mut decoder, &bytes(block)).unwrap(), [field]);
        assert_eq!(decoder.size(), size, "{field}");
    }
}

#[test]
fn requests_as_in_appendix_c_3_and_c_4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::default();
        for ((block, fields), size) in blocks.iter().zip(REQUESTS).zip([57, 110, 164]) {
            assert_eq!(decoded(&mut decoder, &bytes(block)).unwrap(), fields);
            assert_eq!(decoder.size(), size);
        }
    }
}

#[test]
fn responses_that_evict_as_in_appendix_c_5_and_c_6() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::default();
        // The examples have a table of 256 bytes.
        assert_eq!(decoded(&mut decoder, &bytes("3fe1 01")).unwrap(), [""; 0]);
        for ((block, fields), size) in blocks.iter().zip(RESPONSES).zip([222, 222, 215]) {
            assert_eq!(decoded(&mut decoder, &bytes(block)).unwrap(), fields);
            assert_eq!(decoder.size(), size);
        }
    }
}

#[test]
fn blocks_that_are_none_are_told_apart() {
    for (block, error) in [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("ff ff ff ff ff ff 01", HpackError::Integer),
        ("ff", HpackError::Truncated),
        ("40", HpackError::Truncated),
        ("40 03 61", HpackError::Truncated),
        ("40 01 61", HpackError::Truncated),
        ("40 01 61 82 ff", HpackError::Truncated),
        ("40 01 61 81 00", HpackError::Huffman),
        ("7f 00 01 61", HpackError::Index),
        ("3f e2 1f", HpackError::TableSize),
        ("82 20", HpackError::TableSize),
    ] {
        assert_eq!(decoded(&mut Decoder::default(), &bytes(block)), Err(error), "{block}");
    }
}

#[test]
fn a_field_no_message_may_have_still_counts_in_the_table() {
    let mut decoder = Decoder::default();
    // `connection: x`, then by index; then another value under its name; the table keeps the size of all.
    let first = bytes("40 0a 636f 6e6e 6563 7469 6f6e 01 78");
    let refused = [format!("{:?}", Malformed::OfTheConnection)];
    assert_eq!(decoded(&mut decoder, &first).unwrap(), refused);
    assert_eq!(decoded(&mut decoder, &bytes("be")).unwrap(), refused);
    assert_eq!(decoded(&mut decoder, &bytes("7e 02 7879")).unwrap(), refused);
    assert_eq!(decoder.size(), (10 + 1 + OVERHEAD) + (10 + 2 + OVERHEAD));
    // A bad value under a good name does not spoil the name.
    let fields = decoded(&mut decoder, &bytes("40 01 61 02 2078 7e 01 79")).unwrap();
    assert_eq!(fields, [format!("{:?}", Malformed::FieldValue), "a: y".to_owned()]);
}

#[test]
fn a_table_that_shrinks_forgets_and_one_that_is_told_twice_says_the_smallest_first() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut send = |encoder: &mut Encoder| {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.field("x-name", b"value", Indexing::Allowed, &mut block);
        assert_eq!(decoded(&mut decoder, &block).unwrap(), ["x-name: value"]);
        block.len()
    };
    let literal = send(&mut encoder);
    assert_eq!(send(&mut encoder), 1);
    encoder.resize(0);
    encoder.resize(10_000);
    assert!(send(&mut encoder) > literal, "the table was emptied in between, and both sides know");
    assert_eq!(send(&mut encoder), 1);
    encoder.resize(0);
    send(&mut encoder);
    assert_eq!(send(&mut encoder), literal, "nothing fits");
}

#[test]
fn a_name_whose_values_never_repeat_stops_filling_the_table() {
    let mut encoder = Encoder::default();
    let send = |encoder: &mut Encoder, name: &str, value: &str| {
        let mut block = Vec::new();
        encoder.field(name, value.as_bytes(), Indexing::Allowed, &mut block);
        block[0]
    };
    for _ in 0..2 {
        send(&mut encoder, "x-same", "value");
    }
    let is_indexed = |first: u8| first & 0xc0 == 0x40;
    let inserted = (0..640).filter(|n| is_indexed(send(&mut encoder, "x-trace", &n.to_string()))).count();
    assert!((8..=20).contains(&inserted), "{inserted}");
    assert_eq!(send(&mut encoder, "x-same", "value") & 0x80, 0x80, "what repeats is still there");
}

#[test]
fn a_secret_is_never_indexed_and_arrives_marked() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    for _ in 0..2 {
        let mut block = Vec::new();
        encoder.field("authorization", b"Bearer x", Indexing::Never, &mut block);
        assert_eq!(block[0] & 0xf0, 0x10);
        let mut is_sensitive = false;
        let mut take = |field: Field, _: usize| {
            is_sensitive = matches!(field, Field::Regular(_, value) if value.is_sensitive());
        };
        decoder.decode(&block, &mut take).unwrap();
        assert!(is_sensitive);
        assert_eq!(decoder.size(), 0);
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_whatever_was_sent_before(
        messages in proptest::collection::vec(
            proptest::collection::vec(
                ("[a-z-]{1,3}|content-length|user-agent|:path", "[a-z0-9]{0,40}|[a-z]{0,2}", any::<bool>()),
                0..12,
            ),
            1..40,
        ),
        resizes in proptest::collection::vec(0_usize..2 * TABLE_SIZE, 40),
        resizing in proptest::collection::vec(proptest::bool::weighted(0.1), 40),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for ((message, size), resizes) in messages.iter().zip(resizes).zip(resizing) {
            if resizes {
                encoder.resize(size);
            }
            let mut block = Vec::new();
            encoder.begin(&mut block);
            let mut expected = Vec::new();
            for (name, value, secret) in message {
                let value = if name == ":path" { format!("/{value}") } else { value.clone() };
                let indexing = if *secret { Indexing::Never } else { Indexing::Allowed };
                encoder.field(name, value.as_bytes(), indexing, &mut block);
                let is_refused = name == "te" && value != "trailers";
                let te = format!("{:?}", Malformed::Te);
                let name = format!("{name}: {value}");
                expected.push(if is_refused { te } else { name });
            }
            let fields = decoded(&mut decoder, &block).unwrap();
            let invalid = format!("{:?}", Malformed::FieldName);
            for (field, expected) in fields.iter().zip(&expected) {
                prop_assert!(field == expected || *field == invalid, "{field} {expected}");
            }
            prop_assert_eq!(fields.len(), expected.len());
            prop_assert_eq!(decoder.size(), encoder.size(), "both tables are the same");
        }
    }

    #[test]
    fn no_bytes_do_harm_or_fill_more_than_the_table(
        blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
    ) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let ended = decoder.decode(&block, &mut |_: Field, _: usize| {}).is_err();
            prop_assert!(decoder.size() <= TABLE_SIZE);
            if ended {
                break;
            }
        }
    }
}
