//! Fields that a JSON body says twice, of which readers take the last and lose the others. What enters is bytes; what leaves is
//! the path of each such field, as Kubernetes' strict decoding names it. Pure.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// More than this nobody reads.
const FOUND_MAX: usize = 16;

/// The paths, in the order of the text; none for what is no JSON.
pub(crate) fn duplicates(json: &[u8]) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(json);
    // What is no JSON is told by whoever reads the values.
    drop(Place { path: String::new(), found: &found }.deserialize(&mut reader));
    found.into_inner()
}

/// A value and where it stands.
struct Place<'a> {
    path: String,
    found: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if !names.insert(name) && self.found.borrow().len() < FOUND_MAX {
                self.found.borrow_mut().push(path.clone());
            }
            map.next_value_seed(Place { path, found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut place = 0;
        while list
            .next_element_seed(Place { path: format!("{}[{place}]", self.path), found: self.found })?
            .is_some()
        {
            place += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_said_twice_is_named_by_its_path() {
        let json = br#"{"kind": "a", "spec": {"ports": [{"port": 1}, {"port": 2, "port": 3}], "x": null, "x": 1.5}, "kind": true}"#;
        assert_eq!(duplicates(json), ["spec.ports[1].port", "spec.x", "kind"]);
        let clean =
            ["{}", "[{\"a\": 1}, {\"a\": 1}]", "7", "", "{\"a\": -1}", "{\"a\": {\"b\": 1}, \"b\": 1}"];
        let not_json = ["a: 1\na: 1\n", "{a: 1, a: 1}", "k8s\0\n"];
        for text in clean.into_iter().chain(not_json) {
            assert_eq!(duplicates(text.as_bytes()), [""; 0], "{text}");
        }
        let many = format!("{{{}\"a\": 1}}", "\"a\": 1, ".repeat(1000));
        assert_eq!(duplicates(many.as_bytes()).len(), FOUND_MAX);
    }

    #[test]
    fn deep_nesting_ends_without_harm() {
        let deep = "[".repeat(100_000);
        assert!(duplicates(deep.as_bytes()).is_empty());
    }
}
