//! The API over real sockets: requests of a plain HTTP client, answers as people's tools see them. TLS is left out here:
//! who the client is comes from the test.

mod bounds;
mod garbage;
mod rights;
mod sidecars;

use super::*;
use crate::ca::token::Audience;
use crate::store::EmbeddedStore;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use mesh_mtls::ApiClient;
use mesh_names::{Namespace, ServiceAccount};
use mesh_process::Drain;
use serde_json::Value;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

struct Fixed;

impl TokenAuthority for Fixed {
    fn mint(
        &self,
        namespace: &Namespace,
        account: &ServiceAccount,
        audience: Audience,
        lifetime: Option<Duration>,
    ) -> Result<MintedToken, MintRefusal> {
        let seconds = lifetime.map_or(3600, |lifetime| lifetime.as_secs());
        if seconds > 100_000 {
            return Err(MintRefusal::Lifetime("at most 100000 seconds".into()));
        }
        let expires = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        Ok(MintedToken { text: format!("{}-{namespace}-{account}", audience.as_str()), expires })
    }

    fn bearer(&self, token: &str) -> Result<(Namespace, ServiceAccount), String> {
        let account = token.strip_prefix("outrigger-api-shop-").ok_or("it is none of ours")?;
        Ok(("shop".parse().unwrap(), account.parse().unwrap()))
    }
}

impl ProxyDirectory for Fixed {
    fn list<'a>(&'a self, namespace: Option<&'a str>, name: Option<&'a str>) -> BoxFuture<'a, ProxyListing> {
        let proxy = json!({"metadata": {"name": "orders-1", "namespace": "shop"}, "status": {"appliedRevision": "7"}});
        let is_asked_for = namespace.is_none_or(|it| it == "shop") && name.is_none_or(|it| it == "orders-1");
        let proxies = if is_asked_for { vec![proxy] } else { Vec::new() };
        let warnings = vec!["one control plane did not answer".to_owned()];
        Box::pin(async { ProxyListing { proxies, warnings } })
    }
}

/// A running API and a client of it.
struct Mesh {
    api: ApiServer,
    drain: Drain,
    connections: JoinSet<()>,
    _folder: tempfile::TempDir,
}

fn administrator() -> ApiClient {
    ApiClient::User { name: "admin".into(), groups: vec!["system:masters".into()] }
}

impl Mesh {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        let store = EmbeddedStore::open(&folder.path().join("store.redb"), &registry).unwrap();
        let drain = Drain::new();
        let parts = ApiParts {
            store: Arc::new(store),
            tokens: Arc::new(Fixed),
            proxies: Arc::new(Fixed),
            drain: drain.signal(),
            is_ready: Arc::new(|| true),
        };
        let api = ApiServer::new(parts, &registry).await.unwrap();
        Self { api, drain, connections: JoinSet::new(), _folder: folder }
    }

    async fn send_as(
        &mut self,
        client: ApiClient,
        request: Request<Full<Bytes>>,
    ) -> http::Response<Incoming> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        let api = self.api.clone();
        self.connections.spawn(async move { api.connection(accepted, client, remote).await });
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        self.connections.spawn(async move { connection.await.unwrap_or_default() });
        sender.send_request(request).await.unwrap()
    }

    async fn call(&mut self, method: Method, path: &str, media: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let response = self.send_as(administrator(), request.body(Full::new(body)).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, "", &Value::Null).await
    }

    async fn post(&mut self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, "application/json", &body).await
    }

    async fn put(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::PUT, path, "application/json", body).await
    }

    async fn patch(&mut self, path: &str, kind: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::PATCH, path, &format!("application/{kind}"), &body).await
    }

    async fn delete(&mut self, path: &str) -> (StatusCode, Value) {
        self.call(Method::DELETE, path, "application/json", &Value::Null).await
    }

    /// Starts a watch and returns its events as they come.
    async fn watch(&mut self, path: &str) -> Events {
        let request = Request::get(path).body(Full::default()).unwrap();
        let response = self.send_as(administrator(), request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), buffer: Vec::new() }
    }
}

struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                return Some((event["type"].as_str().unwrap().to_owned(), event["object"].clone()));
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    async fn word_and_name(&mut self) -> (String, String) {
        let (word, object) = self.next().await.unwrap();
        (word, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "name": "http"}]},
    })
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let mut mesh = Mesh::start().await;
    let (code, created) = mesh.post(SERVICES, service("orders")).await;
    assert_eq!(code, StatusCode::CREATED, "{created}");
    assert_eq!(created["metadata"]["generation"], 1);
    let path = format!("{SERVICES}/orders");
    assert_eq!(mesh.get(&path).await, (StatusCode::OK, created.clone()));
    let (code, again) = mesh.post(SERVICES, service("orders")).await;
    assert_eq!((code, &again["reason"]), (StatusCode::CONFLICT, &json!("AlreadyExists")));

    let mut changed = created.clone();
    changed["spec"]["ports"][0]["port"] = json!(81);
    let (code, changed) = mesh.put(&path, &changed).await;
    assert_eq!((code, &changed["metadata"]["generation"]), (StatusCode::OK, &json!(2)), "{changed}");
    let (code, stale) = mesh.put(&path, &created).await;
    assert_eq!((code, &stale["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    assert_eq!(mesh.get(&path).await.1, changed, "a refused write changes nothing");

    let (code, list) = mesh.get("/api/v1/services?labelSelector=app%3Dorders").await;
    assert_eq!((code, &list["kind"]), (StatusCode::OK, &json!("ServiceList")));
    assert_eq!(list["items"], json!([changed]));
    assert_eq!(mesh.get("/api/v1/services?labelSelector=app%3Dother").await.1["items"], json!([]));

    let (code, status) = mesh.delete(&path).await;
    assert_eq!((code, &status["status"]), (StatusCode::OK, &json!("Success")));
    let (code, status) = mesh.get(&path).await;
    assert_eq!((code, &status["reason"]), (StatusCode::NOT_FOUND, &json!("NotFound")));
    assert_eq!(status["message"], "services \"orders\" not found");
}

#[tokio::test]
async fn every_kind_of_patch_changes_what_it_says() {
    let mut mesh = Mesh::start().await;
    mesh.post(SERVICES, service("orders")).await;
    let path = format!("{SERVICES}/orders");
    let (code, object) = mesh
        .patch(&path, "merge-patch+json", json!({"metadata": {"labels": {"app": null, "tier": "back"}}}))
        .await;
    assert_eq!((code, &object["metadata"]["labels"]), (StatusCode::OK, &json!({"tier": "back"})));
    let add = json!({"spec": {"ports": [{"port": 443, "name": "https"}]}});
    let (_, object) = mesh.patch(&path, "strategic-merge-patch+json", add).await;
    assert_eq!(object["spec"]["ports"].as_array().unwrap().len(), 2, "{object}");
    let remove = json!([{"op": "remove", "path": "/spec/ports/0"}]);
    let (_, object) = mesh.patch(&path, "json-patch+json", remove).await;
    assert_eq!(object["spec"]["ports"][0]["port"], 443);
    let (code, _) =
        mesh.patch(&path, "merge-patch+json", json!({"metadata": {"resourceVersion": "1"}})).await;
    assert_eq!(code, StatusCode::CONFLICT);
    let (code, status) = mesh.patch(&path, "json", json!({})).await;
    assert_eq!(
        (code, &status["reason"]),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("UnsupportedMediaType"))
    );
}

#[tokio::test]
async fn server_side_apply_creates_changes_and_reports_conflicts() {
    let mut mesh = Mesh::start().await;
    let path = format!("{SERVICES}/orders");
    let by = |who: &str| format!("{path}?fieldManager={who}");
    let (code, object) = mesh.patch(&by("ann"), "apply-patch+yaml", service("orders")).await;
    assert_eq!(
        (code, &object["metadata"]["managedFields"][0]["manager"]),
        (StatusCode::CREATED, &json!("ann")),
        "{object}"
    );
    let (code, again) = mesh.patch(&by("ann"), "apply-patch+yaml", service("orders")).await;
    assert_eq!((code, &again), (StatusCode::OK, &object), "applying again changes nothing");
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"labels": {"app": "x"}}});
    let (code, status) = mesh.patch(&by("bob"), "apply-patch+yaml", theirs.clone()).await;
    assert_eq!(
        (code, &status["details"]["causes"][0]["field"]),
        (StatusCode::CONFLICT, &json!(".metadata.labels.app"))
    );
    let (code, object) =
        mesh.patch(&format!("{}&force=true", by("bob")), "apply-patch+yaml", theirs.clone()).await;
    assert_eq!((code, &object["metadata"]["labels"]["app"]), (StatusCode::OK, &json!("x")));
    let (code, _) = mesh.patch(&path, "apply-patch+yaml", theirs).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "a manager must be named");
}

#[tokio::test]
async fn a_bad_object_is_refused_with_every_field_at_fault() {
    let mut mesh = Mesh::start().await;
    let mut object = service("orders");
    object["spec"]["prots"] = json!([]);
    object["spec"]["ports"][0]["port"] = json!(0);
    let (code, status) = mesh.post(SERVICES, object.clone()).await;
    assert_eq!((code, &status["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")));
    let fields: Vec<_> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    assert!(fields.contains(&"spec.prots") && fields.contains(&"spec.ports[0].port"), "{status}");
    let (code, status) = mesh.post("/api/v1/namespaces/nowhere/services", service("orders")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    assert!(status["message"].as_str().unwrap().starts_with("namespaces \"nowhere\" not found"), "{status}");
    let (code, _) = mesh.call(Method::POST, SERVICES, "application/json", &json!("x".repeat(4 << 20))).await;
    assert_eq!(code, StatusCode::PAYLOAD_TOO_LARGE);
    let (code, _) = mesh.call(Method::POST, SERVICES, "text/plain", &object).await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_field_that_is_said_twice_is_refused_or_warned_of_in_every_body() {
    let mut mesh = Mesh::start().await;
    mesh.post(SERVICES, service("orders")).await;
    let path = format!("{SERVICES}/orders");
    let whole = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "name": "orders"}, "spec": {"ports": [{"port": 80}]}}"#;
    let part = r#"{"metadata": {"labels": {"a": "b"}, "labels": {"a": "c"}}}"#;
    for (method, path, media, text) in [
        (Method::POST, SERVICES.to_owned(), "application/json", whole),
        (Method::PUT, path.clone(), "application/json", whole),
        (Method::PATCH, path.clone(), "application/merge-patch+json", part),
        (Method::PATCH, format!("{path}?fieldManager=me"), "application/apply-patch+yaml", whole),
    ] {
        let request = |query: &str| {
            let path = if path.contains('?') { format!("{path}&{query}") } else { format!("{path}?{query}") };
            let request = Request::builder().method(method.clone()).uri(path).header("Content-Type", media);
            request.body(Full::new(Bytes::from(text))).unwrap()
        };
        let refused = mesh.send_as(administrator(), request("fieldValidation=Strict")).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{method} {media}");
        let bytes = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&bytes).contains("duplicate field"), "{method} {media}");
        let warned = mesh.send_as(administrator(), request("fieldValidation=Warn")).await;
        let is_told =
            warned.headers().get_all("Warning").iter().any(|it| it.to_str().unwrap().contains("duplicate"));
        assert!(
            is_told || method == Method::POST && warned.status() == StatusCode::CONFLICT,
            "{method} {media}"
        );
    }
}

#[tokio::test]
async fn a_dry_run_answers_and_stores_nothing() {
    let mut mesh = Mesh::start().await;
    let (code, object) = mesh.post(&format!("{SERVICES}?dryRun=All"), service("orders")).await;
    assert_eq!((code, &object["spec"]["ports"][0]["port"]), (StatusCode::CREATED, &json!(80)));
    assert_eq!(mesh.get(&format!("{SERVICES}/orders")).await.0, StatusCode::NOT_FOUND);
    let (_, created) = mesh.post(SERVICES, service("orders")).await;
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    let (_, patched) = mesh.patch(&format!("{SERVICES}/orders?dryRun=All"), "merge-patch+json", patch).await;
    assert_eq!(patched["metadata"]["labels"]["x"], "y");
    assert_eq!(mesh.get(&format!("{SERVICES}/orders")).await.1, created);
}

#[tokio::test]
async fn a_watch_tells_what_the_selector_lets_through() {
    let mut mesh = Mesh::start().await;
    mesh.post(SERVICES, service("before")).await;
    let mut all = mesh.watch(&format!("{SERVICES}?watch=true")).await;
    assert_eq!(all.word_and_name().await, ("ADDED".into(), "before".into()));
    let (_, list) = mesh.get(SERVICES).await;
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut selected = mesh
        .watch(&format!("{SERVICES}?watch=true&resourceVersion={revision}&labelSelector=tier%3Dfront"))
        .await;
    let path = format!("{SERVICES}/before");
    for tier in [json!("front"), json!("front"), json!("back")] {
        let patch = json!({"metadata": {"labels": {"tier": tier}, "annotations": {"n": "1"}}});
        mesh.patch(&path, "merge-patch+json", patch).await;
        mesh.patch(&path, "merge-patch+json", json!({"metadata": {"annotations": {"n": "2"}}})).await;
    }
    for word in ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"] {
        assert_eq!(selected.word_and_name().await.0, word);
    }
    mesh.delete(&path).await;
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != "DELETED") {
        words.push(all.word_and_name().await.0);
    }
    assert_eq!(words.len(), 7, "{words:?}");
    let (code, status) = mesh.get(&format!("{SERVICES}?watch=true&resourceVersion=99999")).await;
    assert_eq!((code, &status["reason"]), (StatusCode::GONE, &json!("Expired")));
}

#[tokio::test]
async fn a_watch_list_ends_its_beginning_with_a_bookmark_and_the_drain_ends_it() {
    let mut mesh = Mesh::start().await;
    let query =
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = mesh.watch(&format!("/api/v1/namespaces?{query}")).await;
    assert_eq!(events.word_and_name().await, ("ADDED".into(), "default".into()));
    assert_eq!(events.word_and_name().await, ("ADDED".into(), "outrigger-system".into()));
    let (word, bookmark) = events.next().await.unwrap();
    assert_eq!(word, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    mesh.drain.drain();
    assert_eq!(events.next().await, None);
    while let Some(ended) = mesh.connections.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let mut mesh = Mesh::start().await;
    for n in 0..5 {
        mesh.post(SERVICES, service(&format!("s{n}"))).await;
    }
    let (mut names, mut resume, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (_, page) = mesh.get(&format!("{SERVICES}?limit=2&continue={resume}")).await;
        pages += 1;
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()));
        match page["metadata"]["continue"].as_str() {
            Some(token) => resume = token.to_owned(),
            None => break,
        }
    }
    assert_eq!((pages, json!(names)), (3, json!(["s0", "s1", "s2", "s3", "s4"])));
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_done() {
    let mut mesh = Mesh::start().await;
    let mut object = service("orders");
    object["metadata"]["finalizers"] = json!(["example.org/hold"]);
    let (code, object) = mesh.post(SERVICES, object).await;
    assert_eq!(code, StatusCode::CREATED, "{object}");
    let path = format!("{SERVICES}/orders");
    let (code, object) = mesh.delete(&path).await;
    assert_eq!(code, StatusCode::ACCEPTED);
    assert!(object["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(mesh.get(&path).await.0, StatusCode::OK);
    mesh.patch(&path, "merge-patch+json", json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(mesh.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_namespace_takes_what_is_in_it_along() {
    let mut mesh = Mesh::start().await;
    let (code, _) = mesh.post("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    assert_eq!(code, StatusCode::CREATED);
    let services = "/api/v1/namespaces/shop/services";
    assert_eq!(mesh.post(services, service("a")).await.0, StatusCode::CREATED);
    let (code, going) = mesh.delete("/api/v1/namespaces/shop").await;
    assert_eq!((code, &going["status"]["phase"]), (StatusCode::ACCEPTED, &json!("Terminating")));
    let (code, refusal) = mesh.post(services, service("b")).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{refusal}");
    assert_eq!(namespaces::pass(&mesh.api.0, birth::now()).await, Ok(true), "there is a pause");
    assert_eq!(mesh.get(&format!("{services}/a")).await.0, StatusCode::OK);
    let later = birth::now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(namespaces::pass(&mesh.api.0, later).await, Ok(false));
    assert_eq!(mesh.get("/api/v1/namespaces/shop").await.0, StatusCode::NOT_FOUND);
    assert_eq!(mesh.get(services).await.1["items"], json!([]));
    assert_eq!(mesh.delete("/api/v1/namespaces/default").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn status_is_written_apart_from_the_rest() {
    let mut mesh = Mesh::start().await;
    let mut object = service("orders");
    object["status"] = json!({"conditions": []});
    let (_, object) = mesh.post(SERVICES, object).await;
    assert_eq!(object.get("status"), None);
    let path = format!("{SERVICES}/orders");
    let condition = json!({"type": "Ready", "status": "True", "reason": "Ok", "message": "",
                           "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = json!({"spec": {"selector": {"app": "x"}}, "status": {"conditions": [condition]}});
    let (code, object) = mesh.patch(&format!("{path}/status"), "merge-patch+json", patch.clone()).await;
    assert_eq!((code, &object["spec"]["selector"]["app"]), (StatusCode::OK, &json!("orders")), "{object}");
    assert_eq!(object["status"]["conditions"][0]["type"], "Ready");
    let (_, object) = mesh.patch(&path, "merge-patch+json", json!({"status": null})).await;
    assert_eq!(object["status"]["conditions"][0]["type"], "Ready");
}

#[tokio::test]
async fn tables_are_what_kubectl_prints() {
    let mut mesh = Mesh::start().await;
    mesh.post(SERVICES, service("orders")).await;
    let table = |path: &str| {
        let request = Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        request.body(Full::default()).unwrap()
    };
    for (path, first) in [(SERVICES, "orders"), ("/apis/outrigger.dev/v1alpha1/proxies", "orders-1")] {
        let response = mesh.send_as(administrator(), table(path)).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let table: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(table["kind"], "Table");
        let row = &table["rows"][0];
        assert_eq!(row["cells"][0], first);
        assert_eq!(
            row["cells"].as_array().unwrap().len(),
            table["columnDefinitions"].as_array().unwrap().len()
        );
    }
}

#[tokio::test]
async fn requests_are_counted_by_verb_kind_and_code() {
    let mut mesh = Mesh::start().await;
    mesh.post(SERVICES, service("orders")).await;
    mesh.post(SERVICES, service("orders")).await;
    let count = |code: &str| mesh.api.0.requests.with_label_values(&["create", "services", code]).get();
    assert_eq!((count("201"), count("409")), (1, 1));
}
