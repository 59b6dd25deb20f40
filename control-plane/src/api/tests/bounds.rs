//! What is too much, and what is no request at all: refused with a `Status`, and nobody else notices.

use super::*;
use crate::api::watch::WATCHES_PER_USER;
use crate::store::Expect;
use manifests::Kind;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, bytes: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x".repeat(bytes)}})
}

fn is_refused(answer: &(StatusCode, Value), code: StatusCode, reason: &str, says: &str) {
    let (found, status) = answer;
    assert_eq!((*found, &status["reason"]), (code, &json!(reason)), "{status}");
    assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code.as_u16())));
    assert!(status["message"].as_str().unwrap().contains(says), "{status}");
}

#[tokio::test]
async fn an_object_of_a_mebibyte_is_refused_however_it_comes_to_be() {
    let mut mesh = Mesh::start().await;
    const TOO_LARGE: (StatusCode, &str) = (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge");
    let refused = mesh.post(MAPS, map("a", 1024 * 1024)).await;
    is_refused(&refused, TOO_LARGE.0, TOO_LARGE.1, "split it, or keep large contents elsewhere");
    let (code, _) = mesh.post(MAPS, map("a", 1000 * 1024)).await;
    assert_eq!(code, StatusCode::CREATED);
    let more = json!({"data": {"b": "x".repeat(100 * 1024)}});
    let path = format!("{MAPS}/a");
    let refused = mesh.patch(&path, "merge-patch+json", more.clone()).await;
    is_refused(&refused, TOO_LARGE.0, TOO_LARGE.1, "split it, or keep large contents elsewhere");
    let mut applied = map("a", 1000 * 1024);
    applied["data"]["b"] = more["data"]["b"].clone();
    let forced = format!("{path}?fieldManager=me&force=true");
    let refused = mesh.patch(&forced, "apply-patch+yaml", applied).await;
    is_refused(&refused, TOO_LARGE.0, TOO_LARGE.1, "split it, or keep large contents elsewhere");
    let (_, kept) = mesh.get(&path).await;
    assert!(kept["data"].get("b").is_none(), "what is refused changes nothing");
    let refused = mesh.post(MAPS, map("b", 4 * 1024 * 1024)).await;
    is_refused(&refused, TOO_LARGE.0, TOO_LARGE.1, "the request's body has more than");
}

#[tokio::test]
async fn a_patch_that_nests_an_object_in_itself_again_and_again_is_refused() {
    let mut mesh = Mesh::start().await;
    mesh.post(MAPS, map("a", 1)).await;
    let mut operations = vec![json!({"op": "add", "path": "/data", "value": {"a": {}}})];
    operations.extend((0..16).map(
        |doubled| json!({"op": "copy", "from": "/data", "path": format!("/data{}", "/a".repeat(1 << doubled))}),
    ));
    let path = format!("{MAPS}/a");
    let refused = mesh.patch(&path, "json-patch+json", json!(operations)).await;
    is_refused(&refused, StatusCode::UNPROCESSABLE_ENTITY, "Invalid", "leads more than 64 levels deep");
    assert_eq!(mesh.get(&path).await.1["data"], map("a", 1)["data"], "what is refused changes nothing");
}

#[tokio::test]
async fn nests_aliases_and_label_sets_without_end_are_refused() {
    let mut mesh = Mesh::start().await;
    let nest = |open: &str, close: &str| {
        format!("{{\"apiVersion\": \"v1\", \"data\": {}1{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    for (media, body) in [
        ("application/json", nest("[", "]")),
        ("application/json", nest("{\"a\":", "}")),
        ("application/yaml", nest("[", "]")),
        ("application/merge-patch+json", nest("[", "]")),
        ("application/apply-patch+yaml", nest("{a: ", "}")),
    ] {
        let (method, path) = match media.contains("patch") {
            true => (Method::PATCH, format!("{MAPS}/a?fieldManager=me")),
            false => (Method::POST, MAPS.to_owned()),
        };
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = mesh.send_as(administrator(), request).await;
        let code = response.status();
        let status = response.into_body().collect().await.unwrap().to_bytes();
        is_refused(
            &(code, serde_json::from_slice(&status).unwrap()),
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "",
        );
    }
    let doubled: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    let body = format!("apiVersion: v1\nkind: ConfigMap\na0: &a0 [x]\n{doubled}");
    for (media, method) in
        [("application/yaml", Method::POST), ("application/apply-patch+yaml", Method::PATCH)]
    {
        let path = if method == Method::POST { MAPS.to_owned() } else { format!("{MAPS}/a?fieldManager=me") };
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let request = request.body(Full::new(Bytes::from(body.clone()))).unwrap();
        let response = mesh.send_as(administrator(), request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{media}");
    }
    let mut many = map("many", 1);
    let set = |count: usize, prefix: &str| -> Value {
        (0..count)
            .map(|n| (format!("{prefix}{n}"), json!("x".repeat(60))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    many["metadata"]["labels"] = set(20_000, "label-");
    let refused = mesh.post(MAPS, many.clone()).await;
    is_refused(&refused, StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "split it");
    many["metadata"]["labels"] = Value::Null;
    many["metadata"]["annotations"] = set(5_000, "note-");
    let refused = mesh.post(MAPS, many.clone()).await;
    is_refused(&refused, StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "annotations have");
    many["metadata"]["annotations"] = Value::Null;
    many["metadata"]["labels"] = json!({"a b": "c", "d": "e!"});
    let (code, status) = mesh.post(MAPS, many).await;
    is_refused(&(code, status.clone()), StatusCode::UNPROCESSABLE_ENTITY, "Invalid", "metadata.labels");
    assert_eq!(status["details"]["causes"].as_array().unwrap().len(), 2, "all at once: {status}");
}

#[tokio::test]
async fn a_user_with_too_many_watches_is_refused_more_and_others_are_not() {
    let mut mesh = Mesh::start().await;
    let path = format!("{SERVICES}?watch=true");
    let mut open = Vec::new();
    for _ in 0..WATCHES_PER_USER {
        open.push(mesh.watch(&path).await);
    }
    for _ in 0..10 {
        let refused = mesh.get(&path).await;
        is_refused(
            &refused,
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "this user has 512 watches open",
        );
    }
    let other = ApiClient::User { name: "ann".into(), groups: vec!["system:masters".into()] };
    let request = Request::get(&path).body(Full::default()).unwrap();
    assert_eq!(mesh.send_as(other, request).await.status(), StatusCode::OK);
    let (code, _) = mesh.post(SERVICES, service("orders")).await;
    assert_eq!(code, StatusCode::CREATED, "the user's other requests go on");
    for events in &mut open {
        assert_eq!(events.word_and_name().await.1, "orders");
    }
    drop(open);
    // The server notices when it next has something to say.
    mesh.delete(&format!("{SERVICES}/orders")).await;
    loop {
        let request = Request::get(&path).body(Full::default()).unwrap();
        match mesh.send_as(administrator(), request).await.status() {
            StatusCode::OK => break,
            refused => assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS),
        }
    }
}

/// Changes of 2 KiB straight into the store: as many as the history holds, and 16 MiB that sockets may hold of them.
async fn outlive_the_history(mesh: &Mesh) {
    let store = Arc::clone(&mesh.api.0.store);
    let key = |n: usize| crate::store::Key::new(Kind::ConfigMap, "default", format!("m{n}"));
    let content = json!({"metadata": {"namespace": "default"}, "data": {"a": "x".repeat(2_000)}});
    for _ in 0..crate::store::HISTORY_EVENTS / 1024 + 8 {
        let writes = (0..1024).map(|n| store.put(key(n), content.clone(), Expect::Any));
        futures_util::future::try_join_all(writes).await.unwrap();
    }
}

#[tokio::test]
async fn a_watch_that_is_never_read_holds_nobody_up_and_is_told_to_list_again() {
    let mut mesh = Mesh::start().await;
    let mut unread = mesh.watch(&format!("{MAPS}?watch=true")).await;
    outlive_the_history(&mesh).await;
    let mut other = mesh.watch(&format!("{SERVICES}?watch=true")).await;
    mesh.post(SERVICES, service("orders")).await;
    assert_eq!(other.word_and_name().await, ("ADDED".into(), "orders".into()));
    let (mut told, mut last) = (0, String::new());
    let ended = loop {
        let (word, object) = unread.next().await.expect("an end with a reason");
        if word == "ERROR" {
            break object;
        }
        last = object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        told += 1;
    };
    assert!(told < crate::store::HISTORY_EVENTS, "{told} up to {last} were kept for it");
    assert_eq!((&ended["reason"], &ended["code"]), (&json!("Expired"), &json!(410)), "{ended}");
    assert_eq!(unread.next().await, None);
}

#[tokio::test]
async fn what_the_history_no_longer_holds_is_gone_and_a_new_list_begins_again() {
    let mut mesh = Mesh::start().await;
    for n in 0..3 {
        mesh.post(SERVICES, service(&format!("s{n}"))).await;
    }
    let (_, page) = mesh.get(&format!("{SERVICES}?limit=1")).await;
    let (token, revision) = (
        page["metadata"]["continue"].as_str().unwrap().to_owned(),
        page["metadata"]["resourceVersion"].as_str().unwrap().to_owned(),
    );
    outlive_the_history(&mesh).await;
    for path in [
        format!("{SERVICES}?limit=1&continue={token}"),
        format!("{SERVICES}?watch=true&resourceVersion={revision}"),
        format!("{SERVICES}?resourceVersion={revision}&resourceVersionMatch=Exact"),
    ] {
        is_refused(&mesh.get(&path).await, StatusCode::GONE, "Expired", "list again");
    }
    let (code, list) = mesh.get(&format!("{SERVICES}?resourceVersion={revision}")).await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (StatusCode::OK, 3), "not older than");
}

#[tokio::test]
async fn the_pages_of_a_list_are_of_one_moment() {
    let mut mesh = Mesh::start().await;
    for n in 0..4 {
        mesh.post(SERVICES, service(&format!("s{n}"))).await;
    }
    let (_, first) = mesh.get(&format!("{SERVICES}?limit=1")).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    mesh.delete(&format!("{SERVICES}/s1")).await;
    mesh.post(SERVICES, service("s11")).await;
    let patch = json!({"metadata": {"labels": {"app": "changed"}}});
    mesh.patch(&format!("{SERVICES}/s2"), "merge-patch+json", patch).await;
    let (_, rest) = mesh.get(&format!("{SERVICES}?limit=9&continue={token}")).await;
    let seen = |list: &Value| -> Vec<(Value, Value)> {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|it| (it["metadata"]["name"].clone(), it["metadata"]["labels"]["app"].clone()))
            .collect()
    };
    let then = |names: &[&str]| names.iter().map(|it| (json!(it), json!(it))).collect::<Vec<_>>();
    assert_eq!(seen(&rest), then(&["s1", "s2", "s3"]));
    assert_eq!(rest["metadata"]["resourceVersion"], revision.as_str());
    let exact = format!("{SERVICES}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(seen(&mesh.get(&exact).await.1), then(&["s0", "s1", "s2", "s3"]));
    // A watch from there tells what the pages did not.
    let mut events = mesh.watch(&format!("{SERVICES}?watch=true&resourceVersion={revision}")).await;
    for expected in [("DELETED", "s1"), ("ADDED", "s11"), ("MODIFIED", "s2")] {
        assert_eq!(events.word_and_name().await, (expected.0.into(), expected.1.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_to_who_asked_and_name_where_to_go_on() {
    let mut mesh = Mesh::start().await;
    let (_, before) = mesh.get(SERVICES).await;
    mesh.post(MAPS, map("a", 1)).await;
    let (_, list) = mesh.get(SERVICES).await;
    assert_ne!(before["metadata"]["resourceVersion"], list["metadata"]["resourceVersion"]);
    // Last, as the clock runs on while the disk writes, and a watch has its time.
    let from = before["metadata"]["resourceVersion"].as_str().unwrap();
    let query = format!("watch=true&allowWatchBookmarks=true&resourceVersion={from}");
    let mut events = mesh.watch(&format!("{SERVICES}?{query}")).await;
    let bookmark = loop {
        let (word, bookmark) = events.next().await.unwrap();
        assert_eq!(word, "BOOKMARK");
        if bookmark["metadata"]["resourceVersion"] == list["metadata"]["resourceVersion"] {
            break bookmark;
        }
    };
    assert_eq!((&bookmark["kind"], bookmark.get("spec")), (&json!("Service"), None));
}

#[tokio::test]
async fn every_malformed_request_is_answered_with_a_status() {
    let mut mesh = Mesh::start().await;
    mesh.post(SERVICES, service("orders")).await;
    let object = format!("{SERVICES}/orders");
    let (json_type, patch) = ("application/json", "application/json-patch+json");
    for (method, path, media, body, code, reason) in [
        (Method::GET, "/nowhere", "", "", 404, "NotFound"),
        (Method::GET, "/apis/outrigger.dev/v1alpha1/moons", "", "", 404, "NotFound"),
        (Method::GET, &format!("{SERVICES}?limit=-1"), "", "", 400, "BadRequest"),
        (Method::GET, &format!("{SERVICES}?continue=!"), "", "", 400, "BadRequest"),
        (Method::GET, &format!("{SERVICES}?labelSelector=a%3D%3D%3Db"), "", "", 400, "BadRequest"),
        (Method::GET, &format!("{SERVICES}?resourceVersion=x"), "", "", 400, "BadRequest"),
        (Method::GET, &format!("{SERVICES}?resourceVersionMatch=Exact"), "", "", 400, "BadRequest"),
        (Method::GET, &format!("{SERVICES}?resourceVersionMatch=Sometimes"), "", "", 400, "BadRequest"),
        (Method::PUT, SERVICES, json_type, "{}", 405, "MethodNotAllowed"),
        (Method::POST, &object, json_type, "{}", 405, "MethodNotAllowed"),
        (Method::POST, SERVICES, json_type, "", 400, "BadRequest"),
        (Method::POST, SERVICES, json_type, "{", 400, "BadRequest"),
        (Method::POST, SERVICES, json_type, "[]", 400, "BadRequest"),
        (Method::POST, SERVICES, json_type, "\u{feff}{}", 400, "BadRequest"),
        (Method::POST, SERVICES, "application/xml", "<a/>", 415, "UnsupportedMediaType"),
        (
            Method::POST,
            SERVICES,
            json_type,
            r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}"#,
            400,
            "BadRequest",
        ),
        (
            Method::POST,
            SERVICES,
            json_type,
            r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "A_"}}"#,
            422,
            "Invalid",
        ),
        (
            Method::POST,
            SERVICES,
            json_type,
            r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "b"}}"#,
            400,
            "BadRequest",
        ),
        (
            Method::PUT,
            &object,
            json_type,
            r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}}"#,
            400,
            "BadRequest",
        ),
        (Method::PATCH, &object, patch, r#"[{"op": "fly", "path": "/a"}]"#, 400, "BadRequest"),
        (Method::PATCH, &object, patch, r#"[{"op": "test", "path": "/kind", "value": "b"}]"#, 422, "Invalid"),
        (Method::PATCH, &object, "text/plain", "a", 415, "UnsupportedMediaType"),
        (Method::PATCH, &object, "application/apply-patch+yaml", "{}", 400, "BadRequest"),
        (Method::DELETE, &format!("{SERVICES}/nobody"), "", "", 404, "NotFound"),
    ] {
        let request = Request::builder().method(method.clone()).uri(path).header("content-type", media);
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = mesh.send_as(administrator(), request).await;
        let found = response.status();
        let status = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value =
            serde_json::from_slice(&status).unwrap_or_else(|_| panic!("{method} {path}: {status:?}"));
        let seen = (found.as_u16(), status["reason"].as_str().unwrap_or_default());
        assert_eq!(seen, (code, reason), "{method} {path} {body}: {status}");
        assert!(!status["message"].as_str().unwrap().is_empty(), "{status}");
    }
}
