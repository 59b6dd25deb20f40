//! Bodies as Go writes them, and bodies that nobody wrote.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

fn body(kind: &str, content: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, b"v1"), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, content), bytes(3, b""), bytes(4, b"")].concat()
}

#[test]
fn objects_are_read_as_go_writes_them() {
    let pair = |key: &[u8], value: &[u8]| [bytes(1, key), bytes(2, value)].concat();
    let metadata = [
        bytes(1, b"a"),
        bytes(2, b""),
        bytes(8, b""),
        bytes(11, &pair(b"app", b"")),
        bytes(14, b"example.org/hold"),
    ];
    let secret =
        [bytes(1, &metadata.concat()), bytes(2, &pair(b"k", b"\x00\xff")), bytes(3, b"Opaque")].concat();
    assert_eq!(
        object(&body("Secret", &secret)).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"k": "AP8="},
            "metadata": {"name": "a", "labels": {"app": ""}, "finalizers": ["example.org/hold"]},
        })
    );
    let port = |target: &[u8]| [bytes(1, b"http"), vec![3 << 3, 0xd0, 0x0f], bytes(4, target)].concat();
    let by_number = port(&[1 << 3, 0, 2 << 3, 80]);
    let by_name = port(&[&[1 << 3, 1, 2 << 3, 0][..], &bytes(3, b"web")].concat());
    let service = bytes(2, &[bytes(1, &by_number), bytes(1, &by_name)].concat());
    assert_eq!(
        object(&body("Service", &service)).unwrap()["spec"]["ports"],
        json!([{"name": "http", "port": 2000, "targetPort": 80}, {"name": "http", "port": 2000, "targetPort": "web"}])
    );
}

#[test]
fn what_cannot_be_read_whole_is_refused() {
    assert_eq!(object(b"{}"), Err(ProtobufError::NoMagic));
    assert_eq!(object(&body("Pod", b"")), Err(ProtobufError::UnknownKind("Pod".into())));
    let unknown = object(&body("Secret", &bytes(9, b"x")));
    assert_eq!(unknown, Err(ProtobufError::UnknownField { message: "Secret", number: 9 }));
    assert_eq!(object(&[MAGIC, &[2 << 3 | 2, 200]].concat()), Err(ProtobufError::Torn));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(content in prop::collection::vec(any::<u8>(), 0..100)) {
        for kind in KINDS {
            drop(object(&body(kind.name, &content)));
        }
    }
}
