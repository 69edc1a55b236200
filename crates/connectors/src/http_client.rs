//! The HTTP client that connectors share: pooled keep-alive connections, bounded bodies, a deadline on every
//! request. It follows no redirects and adds no headers of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::per_thread::PerThread;

/// How long a TCP connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: less than the servers in wide use keep theirs (nginx 75 s, Node 5 s is the
/// exception), so that a request seldom meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

/// Idle connections kept for one host.
const IDLE_PER_HOST: usize = 64;

/// An HTTP/1.1 client over TCP or TLS (roots of the web PKI). Cloning is cheap and shares
/// the pools, of which each thread has one.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<PerThread<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>>);

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// What a client shows of itself: files in PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate chain.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection was made: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The deadline passed.
    #[error("no full answer before the deadline")]
    TimedOut,
    /// The connection broke, or what came back is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is larger than allowed.
    #[error("the answer has {} bytes, at most {limit} are allowed", .declared.map_or("too many".to_owned(), |n| n.to_string()))]
    TooLarge {
        /// The most that is allowed, in bytes.
        limit: usize,
        /// What `Content-Length` announced.
        declared: Option<u64>,
    },
}

impl HttpClient {
    /// A client with an empty pool.
    ///
    /// # Errors
    /// The TLS library can't be set up.
    pub fn new() -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp());
        Ok(Self::over(connector))
    }

    /// A client that trusts the certificates in a file in place of those of the web, and shows its own where it has one.
    ///
    /// # Errors
    /// What is wrong with the files, in words.
    pub fn with_tls(ca: Option<&Path>, identity: Option<Identity<'_>>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut roots = rustls::RootCertStore::empty();
        match ca {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let config = config.with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|error| format!("{}: {error}", key.display()))?;
                let chain = certificates(certificate)?;
                config.with_client_auth_cert(chain, read).map_err(|error| error.to_string())?
            }
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp());
        Ok(Self::over(connector))
    }

    fn over(connector: HttpsConnector<HttpConnector>) -> Self {
        let client = || {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .build(connector.clone())
        };
        Self(Arc::new(PerThread::new(client)))
    }

    /// Sends a request and reads its answer of at most `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError`]. An HTTP status is never an error.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
        limit: usize,
    ) -> Result<Answer, HttpError> {
        let exchange = async {
            let response = self.0.here().request(request).await.map_err(|error| {
                if error.is_connect() {
                    HttpError::Connect(chain(&error))
                } else {
                    HttpError::Broken(chain(&error))
                }
            })?;
            let (parts, body) = response.into_parts();
            let body = collect(body, limit).await?;
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout_at(deadline.into(), exchange).await.unwrap_or(Err(HttpError::TimedOut))
    }
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

/// The certificates in a file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?.collect();
    let found = found.map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"it has no certificate")) } else { Ok(found) }
}

/// Reads a body. One that comes in a single frame is not copied.
async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, HttpError> {
    let declared = body.size_hint().exact();
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(HttpError::TooLarge { limit, declared });
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::Broken(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(HttpError::TooLarge { limit, declared: None });
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            // A second frame: from here on everything is copied into one buffer.
            let expected = declared.and_then(|n| usize::try_from(n).ok()).unwrap_or(first.len() + data.len());
            whole.reserve(expected);
            whole.extend_from_slice(&first);
            first = Bytes::new();
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// An error with its causes in one line; the outermost text alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every connection with `answer` and leaves it open until the client goes.
    async fn server(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while socket.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        if socket.write_all(&answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        format!("http://{address}/")
    }

    fn get(url: &str) -> Request<Full<Bytes>> {
        Request::get(url).body(Full::default()).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_or_not_it_says_its_length() {
        let client = HttpClient::new().unwrap();
        let said = server(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n".to_vec()).await;
        let answer = client.send(get(&said), soon(), 4000).await;
        assert!(matches!(answer, Err(HttpError::TooLarge { declared: Some(5000), .. })), "{answer:?}");

        let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..100 {
            endless.extend_from_slice(b"64\r\n");
            endless.extend_from_slice(&[b'x'; 100]);
            endless.extend_from_slice(b"\r\n");
        }
        let unsaid = server(endless).await;
        let answer = client.send(get(&unsaid), soon(), 4000).await;
        assert!(matches!(answer, Err(HttpError::TooLarge { declared: None, .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_or_garbage_is_told_apart_from_one_that_is_not_there() {
        let client = HttpClient::new().unwrap();
        let silent = server(Vec::new()).await;
        let answer = client.send(get(&silent), Instant::now() + Duration::from_millis(50), 10).await;
        assert!(matches!(answer, Err(HttpError::TimedOut)), "{answer:?}");

        let garbage = server(b"\x00\x01not http\r\n\r\n".to_vec()).await;
        let answer = client.send(get(&garbage), soon(), 10).await;
        assert!(matches!(answer, Err(HttpError::Broken(_))), "{answer:?}");

        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let answer = client.send(get(&format!("http://{unused}/")), soon(), 10).await;
        assert!(matches!(answer, Err(HttpError::Connect(_))), "{answer:?}");
    }
}
