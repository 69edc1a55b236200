//! Calls of OpenAPI tools against a server that tells what it was sent.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Json as AxumJson, Router};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::openapi::{Config, Document, OpenApi, build, location};
use trunkline_model::{
    EffectState, Fault, Json, Retry, Service, ServiceId, ServiceObserver, ServiceState, ServiceStatus,
};

use super::{call, context, execute, text, tool};

/// Keeps what a service tells.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl ServiceObserver for Told {
    fn contents_changed(&self, _: &ServiceId) {
        self.0.lock().unwrap().push("contents".to_owned());
    }

    fn status_changed(&self, _: &ServiceId, status: &ServiceStatus) {
        self.0.lock().unwrap().push(format!("{:?}", status.state));
    }

    fn resource_updated(&self, _: &ServiceId, _: &str) {}

    fn logged(&self, _: &ServiceId, _: &Json) {}
}

/// What the echo server was sent.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let headers: serde_json::Map<_, _> = headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
        })
        .collect();
    let echoed = json!({
        "method": method.as_str(), "uri": uri.to_string(), "headers": headers, "body": String::from_utf8_lossy(&body),
    });
    AxumJson(echoed).into_response()
}

#[derive(Clone, Default)]
struct Tokens(Arc<AtomicUsize>);

/// A token endpoint whose first token is refused by `guarded`.
async fn token(State(tokens): State<Tokens>, headers: HeaderMap, body: String) -> Response {
    let expected = base64::engine::general_purpose::STANDARD.encode("me:s%3Acret");
    if headers.get(header::AUTHORIZATION).is_none_or(|value| *value != format!("Basic {expected}")) {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    if !body.contains("grant_type=client_credentials") || !body.contains("scope=read+write") {
        return (StatusCode::BAD_REQUEST, body).into_response();
    }
    let number = tokens.0.fetch_add(1, Ordering::SeqCst) + 1;
    AxumJson(json!({"access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 3600}))
        .into_response()
}

async fn guarded(headers: HeaderMap) -> Response {
    match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        Some("Bearer t1") | None => StatusCode::UNAUTHORIZED.into_response(),
        Some(token) => AxumJson(json!({"token": token})).into_response(),
    }
}

async fn status(uri: Uri) -> Response {
    let code: u16 = uri.path().rsplit('/').next().unwrap().parse().unwrap();
    let problem = json!({"title": "Odd", "detail": "as asked"});
    (StatusCode::from_u16(code).unwrap(), [(header::RETRY_AFTER, "3")], AxumJson(problem)).into_response()
}

fn routes(other: &str) -> Router {
    let elsewhere = format!("{other}/echo");
    Router::new()
        .route("/token", post(token))
        .route("/guarded", get(guarded))
        .route("/status/{code}", any(status))
        .route("/near", get(|| async { Redirect::temporary("/echo?from=near") }))
        .route("/far", get(move || async move { Redirect::temporary(&elsewhere) }))
        .route("/large", get(|| async { "x".repeat(5000) }))
        .route("/slow", any(|| async { std::future::pending::<()>().await }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/image", get(|| async { ([(header::CONTENT_TYPE, "image/png")], "png") }))
        .route("/list", get(|| async { AxumJson(json!([1, 2])) }))
        .fallback(echo)
        .with_state(Tokens::default())
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A service of a document in a file. Its server is `base`.
async fn service(base: &str, document: &Value, more: Value) -> Arc<OpenApi> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("api.json"), document.to_string()).unwrap();
    let mut config = json!({"document": "api.json", "base_url": base});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: Config = serde_json::from_value(config).unwrap();
    let http = HttpClient::new().unwrap();
    let (service, _) =
        build(config, folder.path(), ServiceId::new("api"), Arc::new(Told::default()), http).await.unwrap();
    assert_eq!(service.status().state, ServiceState::Up, "{:?}", service.status());
    service
}

fn parameter(name: &str, location: &str, more: Value) -> Value {
    let mut parameter = json!({"name": name, "in": location, "schema": {}});
    parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parameter
}

fn document(paths: Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "Test", "version": "1"}, "paths": paths})
}

async fn echoed(service: &OpenApi, name: &str, arguments: Value) -> Value {
    let result = execute(service, name, arguments).await.unwrap();
    assert!(!result.is_error, "{result:?}");
    result.body.to_value()["structuredContent"].clone()
}

#[tokio::test]
async fn parameters_of_all_places_and_styles_arrive() {
    let base = serve(routes("")).await;
    let document = document(json!({"/p/{simple}/{label}/{matrix}": {
        "parameters": [parameter("simple", "path", json!({})), parameter("shared", "query", json!({}))],
        "get": {"operationId": "all", "parameters": [
            parameter("label", "path", json!({"style": "label", "explode": true})),
            parameter("matrix", "path", json!({"style": "matrix", "explode": true})),
            parameter("form", "query", json!({})),
            parameter("flat", "query", json!({"explode": false})),
            parameter("space", "query", json!({"style": "spaceDelimited", "explode": false})),
            parameter("pipe", "query", json!({"style": "pipeDelimited", "explode": false})),
            parameter("deep", "query", json!({"style": "deepObject", "explode": true})),
            parameter("reserved", "query", json!({"allowReserved": true})),
            {"name": "json", "in": "query", "content": {"application/json": {"schema": {}}}},
            parameter("X-List", "header", json!({})),
            parameter("simple", "header", json!({"required": true})),
            parameter("Authorization", "header", json!({})),
            parameter("c", "cookie", json!({})),
        ]},
    }}));
    let service = service(&format!("{base}/v1/"), &document, json!({"headers": {"X-Own": "mine"}})).await;
    let schema = tool(&*service, "all").spec().input.document().clone();
    assert_eq!(schema["required"], json!(["simple", "label", "matrix", "simple_header"]));
    assert!(schema["properties"].get("Authorization").is_none());
    let mut traced = context();
    traced.trace.traceparent = Some(Arc::from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    let arguments = json!({
        "simple": ["a", "b/c"], "label": ["x", "y"], "matrix": {"k": 1}, "shared": true, "form": ["1", "2"],
        "flat": {"R": 1}, "space": ["a", "b"], "pipe": ["a", "b"], "deep": {"a": {"b": "c"}}, "reserved": "a/b?c",
        "json": {"j": [1]}, "X-List": ["l", "m"], "simple_header": 7, "c": "cookie",
    });
    let outcome = tool(&*service, "all").execute(&call("all", arguments), &traced).await.unwrap();
    let trunkline_model::Outcome::Complete(result) = outcome else { panic!() };
    let echoed = result.body.to_value()["structuredContent"].clone();
    assert_eq!(
        echoed["uri"],
        "/v1/p/a,b%2Fc/.x.y/;k=1?shared=true&form=1&form=2&flat=R,1&space=a%20b&pipe=a%7Cb&deep%5Ba%5D%5Bb%5D=c\
         &reserved=a/b?c&json=%7B%22j%22%3A%5B1%5D%7D"
    );
    let headers = &echoed["headers"];
    assert_eq!(headers["x-list"], "l,m");
    assert_eq!(headers["simple"], "7");
    assert_eq!(headers["cookie"], "c=cookie");
    assert_eq!(headers["x-own"], "mine");
    assert_eq!(headers["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
}

#[tokio::test]
async fn bodies_of_all_kinds_arrive() {
    let base = serve(routes("")).await;
    let operation = |media_type: &str, schema: Value| json!({"post": {"operationId": media_type, "requestBody": {"required": true, "content": {media_type: {"schema": schema}}}}});
    let file = json!({"type": "object", "properties": {"f": {"type": "string", "format": "binary"}, "n": {"type": "integer"}}});
    let paths = json!({
        "/a": operation("application/merge-patch+json", json!({})),
        "/b": operation("application/x-www-form-urlencoded", json!({"type": "object"})),
        "/c": operation("multipart/form-data", file),
        "/d": operation("text/plain", json!({"type": "string"})),
        "/e": operation("application/octet-stream", json!({"type": "string", "format": "binary"})),
    });
    let mut document = document(paths);
    document["openapi"] = "3.0.3".into();
    let service = service(&base, &document, json!({})).await;
    let json = echoed(&service, "application_merge-patch_json", json!({"body": {"a": [1, null]}})).await;
    assert_eq!(
        (&json["body"], &json["headers"]["content-type"]),
        (&json!("{\"a\":[1,null]}"), &json!("application/merge-patch+json"))
    );
    let form =
        echoed(&service, "application_x-www-form-urlencoded", json!({"body": {"a": "x&y", "b": [1, 2]}}))
            .await;
    assert_eq!(form["body"], "a=x%26y&b=1&b=2");
    let parts = echoed(
        &service,
        "multipart_form-data",
        json!({"body": {"f": {"text": "hi", "filename": "f.txt"}, "n": 3}}),
    )
    .await;
    let body = parts["body"].as_str().unwrap();
    assert!(
        body.contains(
            "name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\r\n"
        ),
        "{body}"
    );
    assert!(body.contains("name=\"n\"\r\n\r\n3\r\n"), "{body}");
    assert_eq!(echoed(&service, "text_plain", json!({"body": "as it is"})).await["body"], "as it is");
    assert_eq!(echoed(&service, "application_octet-stream", json!({"body": "aGk="})).await["body"], "hi");
    let missing = execute(&*service, "text_plain", json!({})).await.unwrap_err();
    assert_eq!((missing.code, missing.fault), ("TL4110", Fault::Caller));
    let mut keyed = call("text_plain", json!({"body": "x"}));
    keyed.idempotency_key = Some(Arc::from("once"));
    let outcome = tool(&*service, "text_plain").execute(&keyed, &context()).await.unwrap();
    let trunkline_model::Outcome::Complete(result) = outcome else { panic!() };
    assert_eq!(result.body.to_value()["structuredContent"]["headers"]["idempotency-key"], "once");
}

#[tokio::test]
async fn swagger_2_is_spoken() {
    let base = serve(routes("")).await;
    let document = json!({
        "swagger": "2.0", "info": {"title": "Old", "version": "1"}, "consumes": ["application/x-www-form-urlencoded"],
        "paths": {"/s": {"post": {"operationId": "form", "parameters": [
            {"name": "pipes", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "pipes"},
            {"name": "multi", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"},
            {"name": "csv", "in": "formData", "type": "array", "items": {"type": "string"}},
            {"name": "need", "in": "formData", "type": "string", "required": true},
        ]}, "put": {"operationId": "body", "parameters": [
            {"name": "pet", "in": "body", "required": true, "schema": {"$ref": "#/definitions/Pet"}},
        ]}}},
        "definitions": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}}},
    });
    let service = service(&base, &document, json!({})).await;
    let arguments =
        json!({"pipes": ["a", "b"], "multi": ["c", "d"], "body": {"csv": ["e", "f"], "need": "g"}});
    let form = echoed(&service, "form", arguments).await;
    assert_eq!(form["uri"], "/s?pipes=a%7Cb&multi=c&multi=d");
    assert_eq!(form["body"], "csv=e,f&need=g");
    assert_eq!(
        echoed(&service, "body", json!({"body": {"name": "Rex"}})).await["body"],
        "{\"name\":\"Rex\"}"
    );
}

#[tokio::test]
async fn credentials_fulfil_the_first_alternative_they_can() {
    let base = serve(routes("")).await;
    let secured = |id: &str, security: Value| json!({"get": {"operationId": id, "security": security}});
    let mut document = document(json!({
        "/basic": secured("basic", json!([{"unknown": []}, {"basic": []}])),
        "/both": secured("both", json!([{"query": [], "cookie": []}])),
        "/maybe": secured("maybe", json!([{}, {"bearer": []}])),
        "/open": secured("open", json!([])),
        "/top": {"get": {"operationId": "top"}},
        "/status/401": secured("unfulfilled", json!([{"unknown": []}])),
    }));
    document["security"] = json!([{"header": []}]);
    document["components"] = json!({"securitySchemes": {
        "basic": {"type": "http", "scheme": "basic"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "query": {"type": "apiKey", "in": "query", "name": "key"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
        "unknown": {"type": "openIdConnect", "openIdConnectUrl": "https://x.example"},
    }});
    let credentials = json!({"credentials": {
        "basic": {"username": "me", "password": "pass"}, "bearer": {"token": "tok"}, "header": {"key": "k1"},
        "query": {"key": "k&2"}, "cookie": {"key": "k3"},
    }});
    let service = service(&base, &document, credentials).await;
    assert_eq!(echoed(&service, "basic", json!({})).await["headers"]["authorization"], "Basic bWU6cGFzcw==");
    let both = echoed(&service, "both", json!({})).await;
    assert_eq!((&both["uri"], &both["headers"]["cookie"]), (&json!("/both?key=k%262"), &json!("sid=k3")));
    assert_eq!(echoed(&service, "maybe", json!({})).await["headers"]["authorization"], "Bearer tok");
    let open = echoed(&service, "open", json!({})).await;
    assert!(open["headers"].get("authorization").is_none() && open["headers"].get("x-key").is_none());
    assert_eq!(echoed(&service, "top", json!({})).await["headers"]["x-key"], "k1");
    let refused = execute(&*service, "unfulfilled", json!({})).await.unwrap();
    assert!(text(&refused).contains("credentials.unknown.token"), "{refused:?}");
}

#[tokio::test]
async fn a_refused_token_is_fetched_anew_once() {
    let base = serve(routes("")).await;
    let mut document = document(json!({
        "/guarded": {"get": {"operationId": "guarded", "security": [{"oauth": ["read", "write"]}]}},
        "/echo": {"get": {"operationId": "echo", "security": [{"oauth": ["read", "write"]}]}},
    }));
    document["components"] = json!({"securitySchemes": {"oauth": {"type": "oauth2", "flows": {
        "clientCredentials": {"tokenUrl": format!("{base}/token"), "scopes": {}}}}}});
    let credentials = json!({"credentials": {"oauth": {"client_id": "me", "client_secret": "s:cret"}}});
    let service = service(&base, &document, credentials).await;
    assert_eq!(echoed(&service, "guarded", json!({})).await["token"], "Bearer t2");
    // Kept, and shared by operations with the same scopes.
    assert_eq!(echoed(&service, "echo", json!({})).await["headers"]["authorization"], "Bearer t2");
    let wrong = json!({"credentials": {"oauth": {"client_id": "me", "client_secret": "guess"}}});
    let service = self::service(&base, &document, wrong).await;
    let failure = execute(&*service, "guarded", json!({})).await.unwrap_err();
    assert_eq!((failure.code, failure.effect), ("TL4111", EffectState::None));
    assert!(failure.detail.contains("401") && !failure.detail.contains("guess"), "{failure}");
}

#[tokio::test]
async fn answers_become_results_errors_and_failures() {
    let other = serve(routes("")).await;
    let base = serve(routes(&other)).await;
    let get = |id: &str| json!({"get": {"operationId": id}});
    let mut list = get("list");
    list["get"]["responses"] = json!({"200": {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "integer"}}}}}});
    let document = document(json!({
        "/status/{code}": {"get": {"operationId": "safe"}, "post": {"operationId": "unsafe"}},
        "/near": get("near"), "/far": get("far"), "/large": get("large"), "/none": get("none"),
        "/image": get("image"), "/list": list, "/slow": {"post": {"operationId": "slow"}},
    }));
    let config = json!({"max_response_bytes": 4000, "timeout_ms": 300, "headers": {"X-Secret": "s"}});
    let service = service(&base, &document, config).await;
    let refused = execute(&*service, "safe", json!({"code": "404"})).await.unwrap();
    assert!(refused.is_error);
    assert_eq!(text(&refused), "404 Not Found: Odd: as asked");
    let limited = execute(&*service, "unsafe", json!({"code": 429})).await.unwrap_err();
    assert_eq!((limited.code, limited.status, limited.effect), ("TL4125", 429, EffectState::None));
    assert_eq!(limited.retry, Retry::After(Duration::from_secs(3)));
    let broken = execute(&*service, "unsafe", json!({"code": 500})).await.unwrap_err();
    assert_eq!((broken.code, broken.fault, broken.effect), ("TL4124", Fault::Service, EffectState::Unknown));
    let broken = execute(&*service, "safe", json!({"code": 503})).await.unwrap_err();
    assert_eq!(broken.effect, EffectState::None);
    let large = execute(&*service, "large", json!({})).await.unwrap_err();
    assert_eq!(large.code, "TL4123");
    assert!(large.detail.contains("5000") && large.detail.contains("4000"), "{large}");
    let slow = execute(&*service, "slow", json!({})).await.unwrap_err();
    assert_eq!((slow.code, slow.effect), ("TL4121", EffectState::Unknown));
    assert_eq!(echoed(&service, "near", json!({})).await["uri"], "/echo?from=near");
    let far = execute(&*service, "far", json!({})).await.unwrap();
    assert!(text(&far).contains(&other) && text(&far).contains("not asked"), "{far:?}");
    assert_eq!(text(&execute(&*service, "none", json!({})).await.unwrap()), "204 No Content");
    let image = execute(&*service, "image", json!({})).await.unwrap();
    assert_eq!(image.body.to_value()["content"][0]["mimeType"], "image/png");
    let list = execute(&*service, "list", json!({})).await.unwrap();
    assert_eq!(list.body.to_value()["structuredContent"], json!({"result": [1, 2]}));
    assert_eq!(
        tool(&*service, "list").spec().output.as_ref().unwrap().validate(&json!({"result": [1, 2]}).into()),
        Ok(())
    );
}

/// Waits until `done` says so.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_service_is_tried_again_until_it_is_there_and_when_it_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = Config { document: format!("http://{address}/api.json"), ..Config::default() };
    let told = Arc::new(Told::default());
    let http = HttpClient::new().unwrap();
    let (service, runner) =
        build(config, Path::new("/"), ServiceId::new("api"), told.clone(), http).await.unwrap();
    tokio::spawn(runner);
    until(|| service.status().state == ServiceState::Down).await;
    assert!(service.status().cause.unwrap().contains("can't be read"));
    assert!(service.contents().tools.is_empty());

    let document = document(json!({"/echo": {"get": {"operationId": "echo"}}}));
    let router = routes("").route("/api.json", get(move || async move { AxumJson(document) }));
    // A server in a task of its own runtime, so that it can be ended with all its connections.
    let start = |router: Router| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move { axum::serve(TcpListener::from_std(listener).unwrap(), router).await });
        runtime
    };
    let server = start(router.clone());
    until(|| service.status().state == ServiceState::Up).await;
    assert_eq!(service.status().protocol, "openapi 3.1.0");
    // Without `servers` requests go to where the document came from.
    assert_eq!(echoed(&service, "echo", json!({})).await["uri"], "/echo");

    server.shutdown_background();
    let lost = loop {
        match execute(&*service, "echo", json!({})).await {
            Err(failure) if failure.code == "TL4120" => break failure,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!((lost.effect, lost.retry), (EffectState::None, Retry::Soon));
    assert_eq!(service.status().state, ServiceState::Down);
    assert_eq!(service.contents().tools.len(), 1);
    let server = start(router);
    until(|| service.status().state == ServiceState::Up).await;
    assert!(execute(&*service, "echo", json!({})).await.is_ok());
    assert_eq!(*told.0.lock().unwrap(), ["Down", "Up", "contents", "Down", "Up"]);
    server.shutdown_background();
}

#[tokio::test]
async fn a_document_from_a_url_can_not_send_credentials_elsewhere() {
    let other = serve(routes("")).await;
    let mut api = document(json!({
        "/echo": {"get": {"operationId": "echo", "security": [{"key": []}]}},
        "/file": {"$ref": "file:///etc/hostname"},
        "/host": {"$ref": format!("{other}/path-item.json")},
    }));
    api["servers"] = json!([{"url": other}]);
    api["components"] =
        json!({"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}});
    let served = api.clone();
    let base = serve(Router::new().route("/api.json", get(move || async move { AxumJson(served) }))).await;
    let config = |more: Value| -> Config {
        let mut config = json!({"document": format!("{base}/api.json"), "credentials": {"key": {"key": "k"}}, "headers": {"X-Own": "o"}});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    };
    for (more, expected) in [(json!({}), None), (json!({"base_url": other}), Some("k"))] {
        let http = HttpClient::new().unwrap();
        let observer = Arc::new(Told::default());
        let (service, runner) =
            build(config(more), Path::new("/"), ServiceId::new("api"), observer, http).await.unwrap();
        tokio::spawn(runner);
        until(|| service.status().state == ServiceState::Up).await;
        // What refers to files and other hosts is left out.
        assert_eq!(service.contents().tools.len(), 1);
        let headers = &echoed(&service, "echo", json!({})).await["headers"];
        assert_eq!(headers.get("x-key").and_then(Value::as_str), expected);
        assert_eq!(headers.get("x-own").is_some(), expected.is_some());
    }
}

#[tokio::test]
async fn a_document_is_fetched_through_redirects_of_its_own_origin_only() {
    let api = document(json!({"/echo": {"get": {"operationId": "echo"}}}));
    let router = |other: String| {
        let api = api.clone();
        Router::new()
            .route("/api.json", get(move || async move { AxumJson(api) }))
            .route("/near", get(|| async { Redirect::temporary("/api.json") }))
            .route("/far", get(move || async move { Redirect::temporary(&format!("{other}/api.json")) }))
            .route("/circle", get(|| async { Redirect::temporary("/circle") }))
    };
    let other = serve(router(String::new())).await;
    let base = serve(router(other.clone())).await;
    let http = HttpClient::new().unwrap();
    let load = async |path: &str| {
        let url = location(&format!("{base}{path}"), Path::new("/")).unwrap();
        Document::load(&url, 10_000, &http).await.map_err(|error| error.to_string())
    };
    assert!(load("/near").await.is_ok());
    assert!(load("/far").await.unwrap_err().contains(&other));
    assert!(load("/circle").await.unwrap_err().contains("circle"));
    assert!(load("/absent").await.unwrap_err().contains("404"));
}
