//! What a file may do to its reader: nothing. And what is said about it points at the right place.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use manifests::{Completeness, Diagnostic, FieldPath, Kind, Object, check, load, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Loads a text in every way there is, and looks at everything it gives.
fn read_all(text: &str) {
    let _parsed = parse(text);
    match load([("any.yaml", text)]) {
        Ok(set) => {
            let between = check(&set, Completeness::Complete);
            let shown: Vec<String> = between.iter().chain(&set.warnings).map(ToString::to_string).collect();
            assert!(shown.iter().all(|line| !line.is_empty()));
        }
        Err(found) => assert!(found.iter().any(Diagnostic::is_error)),
    }
}

/// Pieces of which YAML is made, so that chance meets its grammar.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "apiVersion: v1\n",
        "kind: Service\n",
        "kind: List\n",
        "items:\n",
        "metadata:\n",
        "  name: a\n",
        "spec:\n",
        "  ports:\n",
        "    - port: 80\n",
        "---\n",
        "...\n",
        "- ",
        "? ",
        ": ",
        "&a ",
        "*a",
        "<<: *a\n",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "|\n",
        ">\n",
        "#",
        "!t ",
        "!!str ",
        "%YAML 1.2\n",
        "\t",
        " ",
        "  ",
        "\n",
        "\r\n",
        ",",
        "~",
        "null",
        "é",
        "\u{feff}",
        "\0",
        "0x1f",
        ".inf",
        "a",
        "b: c\n",
        "@",
        "`",
        "-",
        "--- |\n",
        "\u{2028}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Any JSON, not deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![prop::sample::select(FIELDS).prop_map(str::to_owned), ".{0,6}"];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "labels",
    "rules",
    "matches",
    "path",
    "type",
    "value",
    "headers",
    "backendRefs",
    "port",
    "ports",
    "weight",
    "retry",
    "codes",
    "timeouts",
    "request",
    "filters",
    "endpoints",
    "addresses",
    "conditions",
    "data",
    "stringData",
    "selector",
    "address",
    "parentRefs",
];

proptest! {
    #[test]
    fn any_text_is_loaded_without_panic(text in ".{0,200}") {
        read_all(&text);
    }

    #[test]
    fn anything_like_yaml_is_loaded_without_panic(text in yaml_like()) {
        read_all(&text);
    }

    #[test]
    fn any_json_is_read_as_any_kind_without_panic(value in any_json()) {
        for kind in Kind::ALL {
            let reading = Object::read(kind, value.clone());
            prop_assert_eq!(reading.object.is_none(), reading.diagnostics.iter().any(Diagnostic::is_error));
        }
    }

    /// A field nobody knows is found wherever it is put, at its own place and nowhere else.
    #[test]
    fn an_unknown_field_is_found_wherever_it_stands(place in any::<prop::sample::Index>()) {
        let full = full_route();
        let mut places = Vec::new();
        mappings(&full, String::new(), &mut places);
        let pointer = place.get(&places);
        let mut value = full.clone();
        value.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert("xyzzy".to_owned(), json!(1));
        let found = Object::from_json(Kind::HttpRoute, value.clone()).unwrap_err();
        let errors: Vec<_> = found.iter().filter(|found| found.is_error()).collect();
        prop_assert_eq!(errors.len(), 1, "{:?}", errors);
        let expected = FieldPath::parse(&format!("{pointer}/xyzzy").trim_start_matches('/').split('/')
            .map(|step| step.parse::<usize>().map_or_else(|_| format!(".{step}"), |index| format!("[{index}]")))
            .collect::<String>());
        prop_assert_eq!(&errors[0].path, &expected);

        // The same from a file: the position is that of the key.
        let text = serde_yaml::to_string(&value).unwrap();
        let found = load([("route.yaml", &text)]).unwrap_err();
        let position = found.iter().find(|found| found.is_error()).unwrap().position.unwrap();
        let line = text.lines().nth(position.line - 1).unwrap();
        let at: String = line.chars().skip(position.column - 1).collect();
        prop_assert_eq!(&at, "xyzzy: 1", "{}", line);
    }
}

/// A route that uses every part the mesh does.
fn full_route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {
            "hostnames": ["orders.example.org"],
            "parentRefs": [{"group": "", "kind": "Service", "name": "orders", "port": 80}],
            "rules": [{
                "name": "all",
                "matches": [{
                    "path": {"type": "Exact", "value": "/a"},
                    "headers": [{"name": "x-a", "type": "RegularExpression", "value": "a+"}],
                    "queryParams": [{"name": "q", "value": "1"}],
                    "method": "GET",
                }],
                "backendRefs": [{"name": "orders", "port": 80, "weight": 1}],
                "timeouts": {"request": "10s", "backendRequest": "1s"},
                "retry": {"codes": [503], "attempts": 2, "backoff": "10ms"},
            }],
        },
    })
}

fn mappings(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                mappings(value, format!("{pointer}/{key}"), found);
            }
            found.push(pointer);
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                mappings(item, format!("{pointer}/{place}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn codes(text: &str) -> Vec<&'static str> {
    match load([("file.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|found| found.code.as_str()).collect(),
    }
}

#[test]
fn an_object_must_be_smaller_than_the_bound() {
    let config = |bytes: usize| json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(bytes)}});
    let frame = config(0).to_string().len();
    for (bytes, is_taken) in [(1_048_575, true), (1_048_576, false)] {
        let read = Object::from_json(Kind::ConfigMap, config(bytes - frame));
        assert_eq!(read.is_ok(), is_taken, "{bytes}");
    }
}

#[test]
fn a_file_larger_than_the_bound_is_refused_unread() {
    assert_eq!(codes(&"#".repeat(manifests::FILE_BYTES_MAX)), Vec::<&str>::new());
    assert_eq!(codes(&"#".repeat(manifests::FILE_BYTES_MAX + 1)), ["too-large"]);
}

#[test]
fn nesting_is_bounded_in_files_and_in_json() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(codes(&nested(64)), ["not-an-object"]);
    assert_eq!(codes(&nested(65)), ["too-deep"]);
    let value = |depth: usize| serde_json::from_str::<Value>(&nested(depth)).unwrap();
    let code = |depth| Object::from_json(Kind::ConfigMap, value(depth)).unwrap_err()[0].code.as_str();
    assert_eq!(code(64), "wrong-type");
    assert_eq!(code(65), "too-deep");
}

#[test]
fn aliases_are_bounded_by_what_they_stand_for() {
    let laughs = |levels: usize| {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..levels {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
        }
        text
    };
    assert_eq!(codes(&laughs(4)), ["missing-field", "missing-field"]);
    assert_eq!(codes(&laughs(9)), ["too-many-aliases"]);
    assert_eq!(codes("a: &a [*a]\n"), ["too-many-aliases"]);
}

#[test]
fn anchors_aliases_and_merge_keys_mean_what_they_stand_for() {
    let text = "
apiVersion: v1
kind: Service
metadata: &metadata
  name: front
  labels: &labels {app: front}
spec:
  selector: *labels
  ports:
    - &port {name: a, port: 80, protocol: TCP}
    - {<<: *port, name: b, port: 0}
";
    let found = load([("front.yaml", text)]).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "front.yaml:11:28: Service front: spec.ports[1].port: 0 is not a port; choose one from 1 to 65535"
    );
}

#[test]
fn the_files_of_a_set_are_all_read_before_anything_is_refused() {
    let wrong = "apiVersion: v1\nkind: Namespace\nmetadata: {name: A}\n";
    let found = load([("a.yaml", wrong), ("b.yaml", "a: [\n"), ("c.yaml", wrong)]).unwrap_err();
    let files: Vec<_> = found.iter().map(|found| found.file.as_deref().unwrap()).collect();
    assert_eq!(files, ["a.yaml", "b.yaml", "c.yaml"]);
}

#[test]
fn a_body_is_one_document_of_yaml_or_json() {
    assert_eq!(parse("{\"a\": [1, \"b\"]}").unwrap(), json!({"a": [1, "b"]}));
    assert_eq!(parse("---\na: 1\n---\n# nothing\n").unwrap(), json!({"a": 1}));
    assert_eq!(parse("").unwrap(), Value::Null);
    assert_eq!(parse("a: 1\n---\nb: 1\n").unwrap_err()[0].code.as_str(), "bad-value");
    assert_eq!(parse("a: 1\na: 2\n").unwrap_err()[0].code.as_str(), "duplicate-key");
}
