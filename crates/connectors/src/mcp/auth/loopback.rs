//! The way back from an authorization page to a program on the same machine: a listener on the loopback interface, as
//! RFC 8252, section 7.3, describes for native applications.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use trunkline_model::BoxFuture;

use super::Authorizer;

const PATH: &str = "/callback";

/// The longest request that is read.
const MAX_HEAD: usize = 16 << 10;

/// How long a browser may take to send its request.
const READING: Duration = Duration::from_secs(10);

const THANKS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n\
                      Trunkline may use the server now. You can close this page.\n";

const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Waits on the loopback interface for the browser of a person who follows the link.
pub(super) struct Loopback {
    origin: String,
    listener: Mutex<std::net::TcpListener>,
}

impl Loopback {
    /// Takes a free port.
    pub(super) fn bind() -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let origin = format!("http://{}", listener.local_addr()?);
        Ok(Self { origin, listener: Mutex::new(listener) })
    }

    async fn wait(&self) -> std::io::Result<String> {
        let listener = TcpListener::from_std(self.listener.lock().try_clone()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            let target = tokio::time::timeout(READING, target(&mut stream)).await;
            let back = target.ok().flatten().filter(|target| target.starts_with(PATH));
            let answer = if back.is_some() { THANKS } else { UNKNOWN };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            if let Some(target) = back {
                return Ok(format!("{}{target}", self.origin));
            }
        }
    }
}

impl Authorizer for Loopback {
    fn redirect_uri(&self) -> String {
        format!("{}{PATH}", self.origin)
    }

    fn authorize<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<String, String>> {
        // The link is shown in the service's status.
        Box::pin(async move { self.wait().await.map_err(|error| format!("nobody can come back: {error}")) })
    }
}

/// What a GET asks for.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    (words.next()? == "GET").then(|| words.next().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_browsers_way_back_is_read() {
        let loopback = Loopback::bind().unwrap();
        let address = loopback.origin.trim_start_matches("http://").to_owned();
        let browse = async {
            for path in ["/favicon.ico", "/callback?code=1&state=2"] {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
            }
        };
        let (back, ()) = tokio::join!(loopback.authorize("https://example.com/"), browse);
        assert_eq!(back.unwrap(), format!("{}?code=1&state=2", loopback.redirect_uri()));
    }
}
