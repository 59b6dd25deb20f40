//! Reading stored objects: get, list in pages, watch.

use super::accept::Form;
use super::query::Query;
use super::represent::{self, Page, Shape, View};
use super::status::Failure;
use super::watch::{Broadcast, Counted, Start};
use super::{Api, birth, sidecars};
use crate::store::{Key, List, Revision, Stored};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use manifests::Kind;
use serde_json::Value;

/// How the answer should look.
pub(crate) fn view(shape: Shape, form: Form, query: &Query) -> View {
    View { shape, form, include: query.include, now: birth::now() }
}

/// An object, or a list, as it is shown, and what is to be said along with it.
pub(crate) struct Shown {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// One object, as it is shown.
pub(crate) async fn show(api: &Api, key: &Key, view: &View) -> Result<Shown, Failure> {
    let mut object = represent::object(&get(api, key).await?);
    let warnings = tell(api, key, &mut object).await;
    Ok(Shown { value: view.one(object), warnings })
}

/// Adds to an object what is known of it beyond what is stored. Returns why something may be missing.
pub(crate) async fn tell(api: &Api, key: &Key, object: &mut Value) -> Vec<String> {
    if key.kind != Kind::Workload {
        return Vec::new();
    }
    let namespace = Some(key.namespace.as_str());
    sidecars::tell(&*api.proxies, namespace, Some(&key.name), std::slice::from_mut(object)).await
}

/// One object.
pub(crate) async fn get(api: &Api, key: &Key) -> Result<Stored, Failure> {
    let found = api.store.get(key).await?;
    found.ok_or_else(|| Failure::not_found(key.kind.group(), key.kind.plural(), &key.name))
}

/// A list, or a page of it.
pub(crate) async fn list(
    api: &Api,
    kind: Kind,
    namespace: Option<&str>,
    query: &Query,
    view: &View,
) -> Result<Shown, Failure> {
    // The pages of one list are all as of the revision of the first: together they are what was there at one moment, and a
    // watch from there misses nothing.
    let started = query.resume.as_deref().map(resume).transpose()?;
    let exact = query.revision.filter(|_| query.is_exact);
    let List { mut items, revision } = match started.as_ref().map(|(first, _)| *first).or(exact) {
        Some(at) => api.store.list_at(kind, namespace, at).await?,
        None => api.store.list(Some(kind), namespace).await?,
    };
    if started.is_none() && query.revision.is_some_and(|asked| asked > revision) {
        return Err(Failure::expired(format!("too large resource version: the latest is {revision}")));
    }
    items.retain(|stored| query.selects(&stored.object));
    let mut page = Page { revision, resume: None, remaining: None };
    if let Some((_, after)) = started {
        items.retain(|stored| {
            (stored.key.namespace.as_str(), stored.key.name.as_str()) > (&*after.0, &*after.1)
        });
    }
    if let Some(limit) = query.limit.filter(|limit| *limit < items.len()) {
        page.remaining = Some(items.len() - limit);
        items.truncate(limit);
        page.resume = items.last().map(|last| token(page.revision, &last.key));
    }
    let mut objects: Vec<Value> = items.iter().map(represent::object).collect();
    let warnings = if kind == Kind::Workload {
        sidecars::tell(&*api.proxies, namespace, None, &mut objects).await
    } else {
        Vec::new()
    };
    Ok(Shown { value: view.list(objects, &page), warnings })
}

/// A `continue` token: the list's revision and the last object told.
fn token(revision: Revision, last: &Key) -> String {
    URL_SAFE_NO_PAD.encode(format!("{revision}/{}/{}", last.namespace, last.name))
}

fn resume(token: &str) -> Result<(Revision, (String, String)), Failure> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let mut parts = text.splitn(3, '/');
        let revision = parts.next()?.parse().ok()?;
        Some((Revision(revision), (parts.next()?.to_owned(), parts.next()?.to_owned())))
    };
    read().ok_or_else(|| {
        Failure::bad_request("query parameter continue: not a token of this server: list again")
    })
}

/// A stream of changes, from what there is, or from a revision.
pub(crate) async fn watch(
    api: &Api,
    kind: Kind,
    namespace: Option<String>,
    query: Query,
    view: View,
    counted: Counted,
) -> Result<Broadcast, Failure> {
    // 0 means "from any state": what there is now.
    let from = query.revision.filter(|revision| revision.0 > 0 && !query.initial_events);
    let (start, from) = match from {
        Some(from) => (Start { initial: Vec::new(), initial_end: None }, from),
        None => {
            let List { mut items, revision } = api.store.list(Some(kind), namespace.as_deref()).await?;
            items.retain(|stored| query.selects(&stored.object));
            let initial_end = (query.initial_events && query.bookmarks).then_some(revision);
            (Start { initial: items, initial_end }, revision)
        }
    };
    let watch = api.store.watch(Some(kind), from).await?;
    Ok(Broadcast::new(watch, query, namespace, view, start, api.drain.clone(), counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_leads_back_to_its_place() {
        let key = Key::new(Kind::Service, "shop", "orders");
        let (revision, after) = resume(&token(Revision(7), &key)).unwrap();
        assert_eq!((revision, after), (Revision(7), ("shop".into(), "orders".into())));
        for wrong in ["", "x", "!!", "MTIz"] {
            assert!(resume(wrong).is_err(), "{wrong}");
        }
    }
}
