//! Who may do what.

use super::*;

#[tokio::test]
async fn who_may_not_is_told_so() {
    let mut mesh = Mesh::start().await;
    let eve = ApiClient::User { name: "eve".into(), groups: vec!["dev".into()] };
    let sidecar = ApiClient::Workload("spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap());
    for (client, path, code) in [
        (ApiClient::Anonymous, SERVICES, StatusCode::UNAUTHORIZED),
        (ApiClient::Anonymous, "/apis", StatusCode::UNAUTHORIZED),
        (ApiClient::Anonymous, "/nowhere", StatusCode::UNAUTHORIZED),
        (ApiClient::Anonymous, "/livez", StatusCode::OK),
        (ApiClient::Anonymous, "/readyz", StatusCode::OK),
        (ApiClient::Anonymous, "/version", StatusCode::OK),
        (eve.clone(), SERVICES, StatusCode::FORBIDDEN),
        (eve.clone(), "/apis", StatusCode::OK),
        (sidecar, SERVICES, StatusCode::FORBIDDEN),
        (administrator(), "/nowhere", StatusCode::NOT_FOUND),
    ] {
        let request = Request::get(path).body(Full::default()).unwrap();
        let response = mesh.send_as(client.clone(), request).await;
        assert_eq!(response.status(), code, "{client:?} {path}");
    }
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (client, is_allowed) in [(eve, false), (administrator(), true)] {
        let request = Request::post(review).body(Full::new(Bytes::from_static(b"{\"spec\":{}}"))).unwrap();
        let response = mesh.send_as(client, request).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["status"]["allowed"], is_allowed, "{answer}");
    }
}

#[tokio::test]
async fn a_join_token_is_minted_for_a_namespace_that_exists() {
    let mut mesh = Mesh::start().await;
    let path = |namespace: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts/orders/token");
    let request = json!({"spec": {"expirationSeconds": 600}});
    let (code, answer) = mesh.post(&path("default"), request.clone()).await;
    assert_eq!(
        (code, &answer["status"]["token"]),
        (StatusCode::CREATED, &json!("outrigger-join-default-orders"))
    );
    assert_eq!(answer["status"]["expirationTimestamp"], "1970-01-01T00:10:00Z");
    assert_eq!(mesh.post(&path("nowhere"), request).await.0, StatusCode::NOT_FOUND);
    let (code, answer) = mesh.post(&path("default"), json!({"spec": {"expirationSeconds": 1_000_000}})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(answer["message"].as_str().unwrap().contains("at most 100000 seconds"), "{answer}");
}

/// Asks as somebody who bears a token.
async fn with_token(
    mesh: &mut Mesh,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let request =
        Request::builder().method(method).uri(path).header("Authorization", format!("Bearer {token}"));
    let request = request.header("Content-Type", "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let response = mesh.send_as(ApiClient::Anonymous, request).await;
    let code = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap())
}

const TOKENS: &str = "/api/v1/namespaces/shop/serviceaccounts/deployer/token";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings";

fn binding(role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": "shop"}],
    })
}

#[tokio::test]
async fn who_bears_a_token_has_the_rights_of_its_bindings_for_as_long_as_they_are_there() {
    let mut mesh = Mesh::start().await;
    let (code, _) = mesh.post("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    assert_eq!(code, StatusCode::CREATED);
    let request = json!({"spec": {"audiences": ["outrigger-api"]}});
    let (code, answer) = mesh.post(TOKENS, request).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let shop = "/api/v1/namespaces/shop/services";
    let ask = async |mesh: &mut Mesh, method: Method, path: &str| {
        let body = if method == Method::POST { service("orders") } else { Value::Null };
        with_token(mesh, &token, method, path, body).await
    };
    let (code, refusal) = ask(&mut mesh, Method::GET, shop).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    let message = refusal["message"].as_str().unwrap();
    for part in
        ["system:serviceaccount:shop:deployer", "cannot list", "\"services\"", "\"shop\"", "to view in this"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(mesh.post(BINDINGS, binding("view")).await.0, StatusCode::CREATED);
    for (method, path, expected) in [
        (Method::GET, shop, StatusCode::OK),
        (Method::GET, "/api/v1/namespaces/shop", StatusCode::OK),
        (Method::POST, shop, StatusCode::FORBIDDEN),
        (Method::GET, "/api/v1/namespaces/shop/secrets", StatusCode::FORBIDDEN),
        (Method::GET, "/api/v1/namespaces/default/services", StatusCode::FORBIDDEN),
        (Method::GET, "/api/v1/services", StatusCode::FORBIDDEN),
        (Method::GET, BINDINGS, StatusCode::FORBIDDEN),
    ] {
        let (code, answer) = ask(&mut mesh, method.clone(), path).await;
        assert_eq!(code, expected, "{method} {path}: {answer}");
    }
    let review = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "services", "namespace": "shop"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (_, answer) = with_token(&mut mesh, &token, Method::POST, path, review).await;
    assert_eq!(answer["status"]["allowed"], true, "{answer}");

    let (code, answer) = mesh.put(&format!("{BINDINGS}/deployer"), &binding("edit")).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(ask(&mut mesh, Method::POST, shop).await.0, StatusCode::CREATED);
    let (code, _) = with_token(&mut mesh, &token, Method::POST, BINDINGS, binding("view")).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "nobody hands on rights");
    assert_eq!(mesh.delete(&format!("{BINDINGS}/deployer")).await.0, StatusCode::OK);
    assert_eq!(ask(&mut mesh, Method::GET, shop).await.0, StatusCode::FORBIDDEN, "at once");
}

#[tokio::test]
async fn a_token_to_join_with_is_none_for_the_api_and_audiences_are_ours() {
    let mut mesh = Mesh::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/orders/token";
    let (_, answer) = mesh.post(path, json!({"spec": {"audiences": ["outrigger-join"]}})).await;
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let (code, answer) = with_token(&mut mesh, &token, Method::GET, "/apis", Value::Null).await;
    assert_eq!(code, StatusCode::UNAUTHORIZED, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("none of ours"), "{answer}");
    for audiences in [json!(["vault"]), json!(["outrigger-api", "outrigger-join"])] {
        let (code, answer) = mesh.post(path, json!({"spec": {"audiences": audiences}})).await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{answer}");
    }
}

#[tokio::test]
async fn a_role_binding_to_what_is_no_role_is_refused_with_its_field() {
    let mut mesh = Mesh::start().await;
    let mut wrong = binding("editor");
    wrong["subjects"][0]["namespace"] = Value::Null;
    let (code, answer) = mesh.post(&BINDINGS.replace("shop", "default"), wrong).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let fields: Vec<_> = answer["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["roleRef.name", "subjects[0].namespace"], "{answer}");
}
