//! What every store promises, as checks that run against any of them.

use super::{Event, Expect, Key, Revision, Store, StoreError};
use manifests::Kind;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

fn key(name: &str) -> Key {
    Key::new(Kind::Service, "shop", name)
}

fn object(n: u32) -> Value {
    json!({"spec": {"n": n}})
}

/// Runs every check; each uses names of its own, so one store serves all.
pub(super) async fn check(store: Arc<dyn Store>) {
    writes_are_read_back(&*store).await;
    expectations_are_kept(&*store).await;
    lists_are_selected_and_ordered(&*store).await;
    lists_of_an_earlier_revision_are_as_they_were(&*store).await;
    watches_tell_every_change_in_order(&*store).await;
    watches_of_a_kind_skip_the_others(&*store).await;
    watches_from_the_future_are_refused(&*store).await;
    one_of_many_racing_writers_wins(store.clone()).await;
    increments_are_never_lost(store).await;
}

async fn writes_are_read_back(store: &dyn Store) {
    assert_eq!(store.get(&key("read")).await.unwrap(), None);
    let stored = store.put(key("read"), object(1), Expect::Any).await.unwrap();
    assert_eq!(stored.object.read(), object(1));
    assert_eq!(store.get(&key("read")).await.unwrap().as_ref(), Some(&stored));
    assert_eq!(store.revision().await.unwrap(), stored.revision);
    let deleted = store.delete(key("read"), Expect::Any).await.unwrap();
    assert!(deleted.revision > stored.revision, "a deletion takes a revision");
    assert_eq!(deleted.object, stored.object);
    assert_eq!(store.get(&key("read")).await.unwrap(), None);
}

async fn expectations_are_kept(store: &dyn Store) {
    let k = key("expect");
    let missing = store.put(k.clone(), object(0), Expect::At(Revision(1))).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    assert!(matches!(store.delete(k.clone(), Expect::Any).await, Err(StoreError::NotFound { .. })));
    let first = store.put(k.clone(), object(1), Expect::Absent).await.unwrap();
    let again = store.put(k.clone(), object(2), Expect::Absent).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    let second = store.put(k.clone(), object(2), Expect::At(first.revision)).await.unwrap();
    assert!(second.revision > first.revision);
    for stale in [
        store.put(k.clone(), object(3), Expect::At(first.revision)).await,
        store.delete(k.clone(), Expect::At(first.revision)).await,
    ] {
        let Err(StoreError::Conflict { expected, found, .. }) = stale else { panic!("{stale:?}") };
        assert_eq!((expected, found), (first.revision, second.revision));
    }
    assert_eq!(store.get(&k).await.unwrap(), Some(second.clone()), "a refused write changes nothing");
    store.delete(k, Expect::At(second.revision)).await.unwrap();
}

async fn lists_are_selected_and_ordered(store: &dyn Store) {
    let keys = [
        Key::new(Kind::Service, "list-a", "b"),
        Key::new(Kind::Service, "list-b", "a"),
        Key::new(Kind::Service, "list-a", "a"),
        Key::new(Kind::HttpRoute, "list-a", "a"),
    ];
    for key in &keys {
        store.put(key.clone(), object(0), Expect::Absent).await.unwrap();
    }
    let names = |list: super::List| -> Vec<String> {
        list.items.iter().map(|s| format!("{}/{}", s.key.namespace, s.key.name)).collect()
    };
    let in_namespace = store.list(Some(Kind::Service), Some("list-a")).await.unwrap();
    assert_eq!(in_namespace.revision, store.revision().await.unwrap());
    assert_eq!(names(in_namespace), ["list-a/a", "list-a/b"]);
    let everywhere = names(store.list(Some(Kind::Service), None).await.unwrap());
    assert_eq!(everywhere, ["list-a/a", "list-a/b", "list-b/a"]);
    assert_eq!(store.list(None, Some("list-a")).await.unwrap().items.len(), 3);
    assert!(store.list(Some(Kind::Service), Some("list")).await.unwrap().items.is_empty());
    for key in keys {
        store.delete(key, Expect::Any).await.unwrap();
    }
}

async fn lists_of_an_earlier_revision_are_as_they_were(store: &dyn Store) {
    let k = |name: &str| Key::new(Kind::Service, "then", name);
    let list = |at: Revision| store.list_at(Kind::Service, Some("then"), at);
    let before = store.revision().await.unwrap();
    let mut states = vec![(before, Vec::new())];
    let mut now: Vec<(String, Revision, u32)> = Vec::new();
    for (name, n) in
        [("a", Some(1)), ("b", Some(2)), ("a", Some(3)), ("a", None), ("c", Some(4)), ("a", Some(5))]
    {
        let stored = match n {
            Some(n) => store.put(k(name), object(n), Expect::Any).await.unwrap(),
            None => store.delete(k(name), Expect::Any).await.unwrap(),
        };
        now.retain(|(there, ..)| there != name);
        now.extend(n.map(|n| (name.to_owned(), stored.revision, n)));
        now.sort();
        states.push((stored.revision, now.clone()));
        // What does not concern the list leaves it alone.
        store.put(Key::new(Kind::Service, "elsewhere", name), object(0), Expect::Any).await.unwrap();
    }
    for (revision, expected) in states {
        let then = list(revision).await.unwrap();
        let found: Vec<_> = then
            .items
            .into_iter()
            .map(|it| {
                (it.key.name.clone(), it.revision, it.object.read()["spec"]["n"].as_u64().unwrap() as u32)
            })
            .collect();
        assert_eq!((then.revision, found), (revision, expected));
    }
    let next = Revision(store.revision().await.unwrap().0 + 1);
    assert!(matches!(list(next).await, Err(StoreError::Compacted { .. })));
}

async fn watches_tell_every_change_in_order(store: &dyn Store) {
    let start = store.revision().await.unwrap();
    let first = store.put(key("watch"), object(1), Expect::Absent).await.unwrap();
    let mut watch = store.watch(None, start).await.unwrap();
    let mut later = store.watch(None, first.revision).await.unwrap();
    let second = store.put(key("watch"), object(2), Expect::Any).await.unwrap();
    let deleted = store.delete(key("watch"), Expect::Any).await.unwrap();
    let created = Event::Put { stored: first.clone(), previous: None };
    let changed = Event::Put { stored: second.clone(), previous: Some(first) };
    assert_eq!(watch.next().await.unwrap(), created);
    assert_eq!(watch.next().await.unwrap(), changed);
    let gone = Event::Deleted { stored: deleted.clone(), written: second.revision };
    assert_eq!(watch.next().await.unwrap(), gone);
    assert_eq!(watch.progress(), deleted.revision);
    assert_eq!(later.next().await.unwrap(), changed, "a watch starts after its revision");
    assert_eq!(later.progress(), second.revision);
}

async fn watches_of_a_kind_skip_the_others(store: &dyn Store) {
    let start = store.revision().await.unwrap();
    let mut watch = store.watch(Some(Kind::HttpRoute), start).await.unwrap();
    store.put(key("other"), object(1), Expect::Any).await.unwrap();
    assert!(watch.try_next().unwrap().is_none());
    let route = Key::new(Kind::HttpRoute, "shop", "mine");
    let stored = store.put(route, object(1), Expect::Any).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Event::Put { stored: stored.clone(), previous: None });
    let other = store.put(key("other"), object(2), Expect::Any).await.unwrap();
    // Only an embedded store knows at once; the promise is that progress never runs ahead.
    assert!((stored.revision..=other.revision).contains(&watch.progress()));
}

async fn watches_from_the_future_are_refused(store: &dyn Store) {
    let next = Revision(store.revision().await.unwrap().0 + 1);
    assert!(matches!(store.watch(None, next).await, Err(StoreError::Compacted { .. })));
}

async fn one_of_many_racing_writers_wins(store: Arc<dyn Store>) {
    let base = store.put(key("race"), object(0), Expect::Absent).await.unwrap();
    let mut racers = JoinSet::new();
    for n in 1..=32 {
        let (store, expect) = (store.clone(), Expect::At(base.revision));
        racers.spawn(async move { store.put(key("race"), object(n), expect).await });
    }
    let mut winners = Vec::new();
    for raced in racers.join_all().await {
        match raced {
            Ok(stored) => winners.push(stored),
            Err(error) => assert!(matches!(error, StoreError::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one write from one revision succeeds");
    assert_eq!(store.get(&key("race")).await.unwrap(), winners.pop());
}

async fn increments_are_never_lost(store: Arc<dyn Store>) {
    store.put(key("count"), object(0), Expect::Absent).await.unwrap();
    let increment = |store: Arc<dyn Store>| async move {
        loop {
            let now = store.get(&key("count")).await.unwrap().unwrap();
            let n = now.object.read()["spec"]["n"].as_u64().unwrap() as u32;
            match store.put(key("count"), object(n + 1), Expect::At(now.revision)).await {
                Ok(_) => return,
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    let writers: JoinSet<()> = (0..16).map(|_| increment(store.clone())).collect();
    writers.join_all().await;
    assert_eq!(store.get(&key("count")).await.unwrap().unwrap().object.read(), object(16));
}
