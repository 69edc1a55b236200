//! A service of fixed capacity, and the gateway in front of it.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A service that does so many requests at a time, each in the same time, in the order in which they came: also those
/// whose caller has given up, as most services do.
pub(crate) async fn service(at_a_time: usize, time: Duration) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let workers = Arc::new(Semaphore::new(at_a_time));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let workers = workers.clone();
            let service = hyper::service::service_fn(move |request| answer(workers.clone(), time, request));
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
        }
    });
    Ok(url)
}

async fn answer(
    workers: Arc<Semaphore>,
    time: Duration,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != "HEAD" && request.uri().path() == "/work" {
        let work = tokio::spawn(async move {
            let _place = workers.acquire_owned().await;
            tokio::time::sleep(time).await;
        });
        // The work is done whether or not anybody waits for it.
        let _ = work.await;
    }
    let answer = Response::builder().header("content-type", "application/json");
    let answer = answer.body(Full::from(r#"{"done":true,"text":"some words as a service answers them"}"#));
    Ok(answer.unwrap_or_default())
}

/// The document of its operations: `work` takes its time, `quick` none.
const DOCUMENT: &str = "\
openapi: 3.1.0
info: { title: Fixed, version: '1' }
paths:
  /work: { get: { operationId: work, responses: { '200': { description: ok, content: { application/json: {} } } } } }
  /quick: { get: { operationId: quick, responses: { '200': { description: ok, content: { application/json: {} } } } } }
";

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts it. `DOCUMENT` in the configuration is the path of the service's document.
    pub(crate) async fn start(config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let document = folder.path().join("fixed.yaml");
        std::fs::write(&document, DOCUMENT)?;
        let data = folder.path().join("data");
        let config = config.replace("DOCUMENT", &document.display().to_string());
        let config = format!("listen: 127.0.0.1:0\ndata_dir: {}\n{config}", data.display());
        std::fs::write(folder.path().join("trunkline.yaml"), config)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command.arg("up").arg(folder.path()).stdout(Stdio::piped());
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut child = command.stderr(log).spawn()?;
        let out = child.stdout.take().context("a piped output is there")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").context("it says where it listens")?.to_owned();
        Ok(Self { child, url, _folder: folder })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
