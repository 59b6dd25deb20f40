//! What a kind is called where objects are kept: `plural.group`, the plural alone for the core group. Never changed, since
//! files and other replicas hold it.

use manifests::Kind;

/// The name under which objects of a kind are kept.
pub(super) fn kind_name(kind: Kind) -> String {
    if kind.group().is_empty() {
        kind.plural().to_owned()
    } else {
        format!("{}.{}", kind.plural(), kind.group())
    }
}

/// The kind with that name; nothing for one of a later version.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind_name(*kind) == name)
}
