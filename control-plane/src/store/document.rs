//! An object as the store keeps it.

use serde::Deserialize;
use serde::de::{Error, IgnoredAny};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// An object's JSON, as compact text: as a tree of maps it takes several times the memory. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// The document of an object.
    pub fn of(object: &Value) -> Self {
        Self(object.to_string().into())
    }

    /// What was kept outside of the process.
    ///
    /// # Errors
    /// It is not JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Self(text.into()))
    }

    /// The object, made anew at each call.
    pub fn read(&self) -> Value {
        // Only what somebody put into the file or into etcd by hand can be JSON and yet fail here: it is nested too deep.
        self.part().unwrap_or_else(|| {
            tracing::error!(
                bytes = self.0.len(),
                "a stored object nests too deep to be read: delete it, or write it anew"
            );
            Value::Null
        })
    }

    /// Some fields of the object, without those that `T` does not name; nothing if they are not of `T`'s types.
    pub fn part<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }

    /// Whether a text is in it as it is written, somewhere.
    pub fn mentions(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl AsRef<[u8]> for Document {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::borrow::Cow;

    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }

    #[test]
    fn what_was_an_object_is_that_object_again() {
        let object = json!({"name": "a\"\u{1F6A3}\n", "n": [1, -2.5, null, true], "m": {"b": 1, "a": 2}});
        let document = Document::of(&object);
        assert_eq!(document.read(), object);
        assert_eq!(Document::parse(document.as_ref()).unwrap(), document);
        assert_eq!(document.part::<Named<'_>>().unwrap().name, "a\"\u{1F6A3}\n");
        assert!(Document::of(&json!({"name": 7})).part::<Named<'_>>().is_none());
    }

    #[test]
    fn what_is_not_json_is_no_document_and_what_nests_too_deep_reads_as_nothing() {
        for wrong in [&b""[..], b"{", b"{\"a\": 1}}", b"\"\xff\"", b"a"] {
            assert!(Document::parse(wrong).is_err(), "{wrong:?}");
        }
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(Document::parse(deep.as_bytes()).unwrap().read(), Value::Null);
    }
}
