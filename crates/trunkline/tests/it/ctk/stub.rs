//! The service that workflows ask: it stands in for the hosts of the kit, and fails as it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The service. It ends with the scenario's runtime.
pub(super) struct Stub {
    address: SocketAddr,
    asked: Asked,
}

/// How often each path was asked, and under which idempotency keys.
type Asked = Arc<Mutex<HashMap<String, Vec<String>>>>;

impl Stub {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen = seen.clone();
                let service =
                    hyper::service::service_fn(move |request| answer(request, seen.clone(), address));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, asked }
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The idempotency keys of the requests for `path`; empty where there was none.
    pub(super) fn asked(&self, path: &str) -> Vec<String> {
        self.asked.lock().get(path).cloned().unwrap_or_default()
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Asked,
    address: SocketAddr,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let time = {
        let mut asked = asked.lock();
        let keys = asked.entry(path.clone()).or_default();
        keys.push(text("idempotency-key").to_owned());
        keys.len()
    };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (status, value) = match &*segments {
        ["v2", "swagger.json"] => (200, swagger(address)),
        ["v2", "pet", "findByStatus"] => {
            let query = parts.uri.query().unwrap_or_default();
            let status = query.split('&').find_map(|pair| pair.strip_prefix("status=")).unwrap_or_default();
            (200, json!([pet(1, status), pet(2, status)]))
        }
        ["v2", "pet", id] => match id.parse() {
            Ok(id) => (200, pet(id, "available")),
            Err(_) => (404, json!({"code": 404, "message": "no such pet"})),
        },
        ["v2", "pet"] => (200, serde_json::from_slice(&body).unwrap_or(Value::Null)),
        ["basic-auth", user, password] => {
            let login = format!("Basic {}", base64(&format!("{user}:{password}")));
            if text("authorization") == login {
                (200, json!({"authenticated": true, "user": user}))
            } else {
                (401, json!({"authenticated": false}))
            }
        }
        ["anything"] => {
            let said: Value =
                serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
            let method = parts.method.as_str();
            let query = parts.uri.query();
            let (kind, proof) = (text("content-type"), text("authorization"));
            (
                200,
                json!({"method": method, "body": said, "query": query, "type": kind, "authorization": proof}),
            )
        }
        // Fails as often as it says, then answers.
        ["flaky", _, failures] => {
            let failing = failures.parse::<usize>().is_ok_and(|failures| time <= failures);
            if failing { (503, json!({"attempt": time})) } else { (200, json!({"attempt": time})) }
        }
        ["status", status] => (status.parse().unwrap_or(500), json!({"said": status})),
        ["slow"] => std::future::pending().await,
        _ => (404, json!({"message": "there is nothing here"})),
    };
    let status = StatusCode::from_u16(status).unwrap();
    let mut answer = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    if status.is_redirection() {
        answer = answer.header(header::LOCATION, "http://elsewhere.invalid/");
    }
    Ok(answer.body(Full::new(Bytes::from(value.to_string()))).unwrap())
}

fn pet(id: u64, status: &str) -> Value {
    json!({"id": id, "name": format!("pet {id}"), "status": status})
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The part of the petstore's document that the kit uses.
fn swagger(address: SocketAddr) -> Value {
    let parameter = |name: &str, place: &str, kind: &str| json!([{"name": name, "in": place, "required": true, "type": kind}]);
    let ok = json!({"200": {"description": "ok"}});
    json!({
        "swagger": "2.0", "info": {"title": "Petstore", "version": "1.0.7"},
        "host": address.to_string(), "basePath": "/v2", "schemes": ["http"],
        "paths": {
            "/pet/findByStatus": {"get": {
                "operationId": "findPetsByStatus", "produces": ["application/json"],
                "parameters": [{"name": "status", "in": "query", "required": true, "type": "array",
                    "items": {"type": "string"}, "collectionFormat": "multi"}],
                "responses": ok,
            }},
            "/pet/{petId}": {"get": {
                "operationId": "getPetById", "parameters": parameter("petId", "path", "integer"), "responses": ok,
            }},
            "/pet": {"post": {
                "operationId": "addPet", "consumes": ["application/json"],
                "parameters": [{"name": "body", "in": "body", "required": true, "schema": {"type": "object"}}],
                "responses": ok,
            }},
        },
    })
}
