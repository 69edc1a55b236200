//! An HTTP service of a test, with the OpenAPI document of its operations. It ends with the test's runtime.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The status, headers and body of an answer.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);

/// The service.
pub(crate) struct Upstream {
    url: String,
    shared: Arc<Shared>,
}

type Answers = Box<dyn Fn(&Request<Bytes>) -> Answer + Send>;

struct Shared {
    asked: AtomicUsize,
    /// Requests wait for a permit before they are answered.
    gate: Semaphore,
    answer: Mutex<Answers>,
}

impl Upstream {
    /// Starts it on a free port.
    pub(crate) async fn start(answer: impl Fn(&Request<Bytes>) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(1 << 20),
            answer: Mutex::new(Box::new(answer)),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = serving.clone();
                let service = hyper::service::service_fn(move |request| reply(shared.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { url, shared }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Answers in another way from now on.
    pub(crate) fn answers(&self, answer: impl Fn(&Request<Bytes>) -> Answer + Send + 'static) {
        *self.shared.answer.lock() = Box::new(answer);
    }

    /// Lets no more than so many requests through, until it is called again.
    pub(crate) fn let_through(&self, requests: usize) {
        self.shared.gate.forget_permits(usize::MAX >> 4);
        self.shared.gate.add_permits(requests);
    }

    /// Where it is, without a path.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A service of the configuration: `GET /read?a=…` is the tool `read`, `GET /other` `other`, `POST /write` `write`.
    /// `more` is more YAML of it.
    pub(crate) fn service(&self, name: &str, folder: &Path, more: &str) -> String {
        let document = folder.join("upstream.yaml");
        std::fs::write(&document, DOCUMENT).unwrap();
        let (document, url) = (document.display(), &self.url);
        format!("  {name}:\n    openapi: {{ document: \"{document}\", base_url: \"{url}\" }}\n{more}")
    }
}

const DOCUMENT: &str = "\
openapi: 3.1.0
info: { title: Upstream, version: '1' }
paths:
  /read:
    get:
      operationId: read
      parameters: [{ name: a, in: query, schema: { type: integer } }, { name: b, in: query, schema: { type: string } }]
      responses: { '200': { description: ok, content: { application/json: { schema: { type: object } } } } }
  /other:
    get: { operationId: other, responses: { '200': { description: ok, content: { application/json: {} } } } }
  /write:
    post: { operationId: write, responses: { '200': { description: ok, content: { application/json: {} } } } }
";

async fn reply(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() == "HEAD" {
        return Ok(Response::new(Full::default()));
    }
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let permit = shared.gate.acquire().await.unwrap();
    permit.forget();
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, body.collect().await?.to_bytes());
    let (status, headers, body) = (shared.answer.lock())(&request);
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(body)).unwrap())
}
