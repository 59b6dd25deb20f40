//! What of a change is worth a word: a condition that turned. What enters is a change as the store tells it; what leaves is
//! notices. Objects that come into being with a condition that does not hold are told too, as nobody waits for those that do.

use crate::store::{Event, Key};
use serde_json::Value;

/// Something to be told of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The object.
    pub about: Key,
    /// Its identity, by which `kubectl describe` finds what is about it.
    pub uid: String,
    /// Whether something is wrong.
    pub is_warning: bool,
    /// In a word, for machines.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The notices of a change.
pub fn notices(event: &Event) -> Vec<Notice> {
    let Event::Put { stored, previous } = event else { return Vec::new() };
    if !stored.key.kind.has_status() {
        return Vec::new();
    }
    let (before, now) = (previous.as_ref().map(|previous| previous.object.read()), stored.object.read());
    let was = |told: &Told<'_>| {
        let mut all = before.iter().flat_map(conditions);
        all.find(|earlier| (earlier.whose, earlier.kind) == (told.whose, told.kind)).map(|it| it.holds)
    };
    let turned = conditions(&now).filter(|told| match (was(told), told.holds) {
        (Some(held), holds) => held != holds,
        (None, holds) => !holds,
    });
    let notice = |told: Told<'_>| {
        let whose = told.whose.map(|whose| format!(" ({whose})")).unwrap_or_default();
        let holds = if told.holds { "" } else { "not " };
        Notice {
            about: stored.key.clone(),
            uid: text(&now, "/metadata/uid").to_owned(),
            is_warning: !told.holds,
            reason: told.reason.to_owned(),
            message: format!("{holds}{}{whose}: {}", told.kind, told.message)
                .trim_end_matches(": ")
                .to_owned(),
        }
    };
    turned.map(notice).collect()
}

/// A condition, and by whom it was told: the parent of a route, the target of a policy.
struct Told<'a> {
    whose: Option<&'a str>,
    kind: &'a str,
    holds: bool,
    reason: &'a str,
    message: &'a str,
}

fn conditions(object: &Value) -> impl Iterator<Item = Told<'_>> {
    let status = object.get("status").unwrap_or(&Value::Null);
    let own = list(status, "conditions").iter().map(|condition| (None, condition));
    let others = ["parents", "ancestors"].into_iter().flat_map(|field| list(status, field));
    let by_others = others.flat_map(|other| {
        let names = ["/parentRef/name", "/ancestorRef/name"];
        let whose = names.into_iter().find_map(|pointer| other.pointer(pointer)?.as_str());
        list(other, "conditions").iter().map(move |condition| (whose, condition))
    });
    own.chain(by_others).map(|(whose, condition)| Told {
        whose,
        kind: text(condition, "/type"),
        holds: text(condition, "/status") == "True",
        reason: text(condition, "/reason"),
        message: text(condition, "/message"),
    })
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Document, Revision, Stored};
    use manifests::Kind;
    use serde_json::json;

    fn route(status: &str) -> Value {
        json!({"metadata": {"uid": "u"}, "status": {"parents": [{
            "parentRef": {"name": "web"},
            "conditions": [{"type": "Accepted", "status": status, "reason": "NoSuchPort", "message": "web has no port 81"}],
        }]}})
    }

    fn stored(kind: Kind, object: Value) -> Stored {
        Stored { key: Key::new(kind, "shop", "web"), revision: Revision(1), object: Document::of(&object) }
    }

    fn told(kind: Kind, before: Option<Value>, after: Value) -> Vec<(bool, String)> {
        let event = Event::Put { stored: stored(kind, after), previous: before.map(|it| stored(kind, it)) };
        notices(&event).into_iter().map(|notice| (notice.is_warning, notice.message)).collect()
    }

    #[test]
    fn a_condition_that_turns_is_told_and_one_that_stays_is_not() {
        let refused = vec![(true, "not Accepted (web): web has no port 81".to_owned())];
        assert_eq!(told(Kind::HttpRoute, Some(route("True")), route("False")), refused);
        assert_eq!(told(Kind::HttpRoute, None, route("False")), refused);
        assert_eq!(told(Kind::HttpRoute, Some(json!({})), route("False")), refused);
        assert_eq!(told(Kind::HttpRoute, Some(route("False")), route("True")).len(), 1);
        assert_eq!(told(Kind::HttpRoute, Some(route("False")), route("False")), []);
        assert_eq!(told(Kind::HttpRoute, None, route("True")), []);
        assert_eq!(
            told(Kind::HttpRoute, None, json!({"status": {"parents": 7, "conditions": [null]}})).len(),
            1
        );
        let ready = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert_eq!(told(Kind::Workload, Some(ready("False")), ready("True")), [(false, "Ready".to_owned())]);
        assert_eq!(told(Kind::Event, None, ready("False")), [], "nobody tells of what was told");
        assert_eq!(
            notices(&Event::Deleted {
                stored: stored(Kind::HttpRoute, route("False")),
                written: Revision(1)
            }),
            []
        );
    }
}
