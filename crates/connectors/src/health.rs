//! One look at an instance of a service: is it well?

use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::process::Command;
use url::Url;

use crate::http_client::HttpClient;

/// The largest answer to a check, in bytes.
const LARGEST: usize = 64 << 10;

/// How an instance is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It answers this path with success.
    Http(String),
    /// It takes a connection.
    Tcp,
    /// A command succeeds: program and arguments, where `{url}`, `{host}` and `{port}` stand for the instance.
    Command(Vec<String>),
}

impl Check {
    /// Looks once, for at most `limit`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn make(&self, url: &str, http: &HttpClient, limit: Duration) -> Result<(), String> {
        let parsed = Url::parse(url).map_err(|error| format!("{url} is no URL: {error}"))?;
        match self {
            Self::Http(path) => ask(&parsed, path, http, limit).await,
            Self::Tcp => connect(&parsed).await,
            Self::Command(argv) => run(argv, &parsed).await,
        }
    }
}

async fn ask(url: &Url, path: &str, http: &HttpClient, limit: Duration) -> Result<(), String> {
    let asked = url.join(path).map_err(|error| format!("{path:?} is no path: {error}"))?;
    if asked.origin() != url.origin() {
        return Err(format!("{path:?} is no path of the instance"));
    }
    let request = Request::get(asked.as_str()).body(Full::<Bytes>::default());
    let request = request.map_err(|error| error.to_string())?;
    let answer = http.send(request, Instant::now() + limit, LARGEST).await;
    let status = answer.map_err(|error| format!("its check failed: {error}"))?.status;
    if status.is_success() { Ok(()) } else { Err(format!("it answers its check with {status}")) }
}

async fn connect(url: &Url) -> Result<(), String> {
    let (host, port) = place(url)?;
    let connected = TcpStream::connect((host.as_str(), port)).await;
    connected.map(drop).map_err(|error| format!("it takes no connections: {error}"))
}

async fn run(argv: &[String], url: &Url) -> Result<(), String> {
    let (host, port) = place(url)?;
    let fill = |text: &String| {
        text.replace("{url}", url.as_str()).replace("{host}", &host).replace("{port}", &port.to_string())
    };
    let mut words = argv.iter().map(fill);
    let program = words.next().ok_or("its check has no program")?;
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.map_err(|error| format!("{program} can't be run: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} says that it is not well: {status}")) }
}

fn place(url: &Url) -> Result<(String, u16), String> {
    let host = url.host_str().ok_or_else(|| format!("{url} has no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| format!("{url} has no port"))?;
    // `host_str` keeps the brackets of an IPv6 address.
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers `/good` with 200 and all else with 503.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                        let good = buffer[..read].starts_with(b"GET /good ");
                        let status = if good { "200 OK" } else { "503 Sorry" };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        format!("http://{address}/base")
    }

    #[tokio::test]
    async fn each_kind_of_check_tells_well_from_unwell() {
        let (url, http) = (server().await, HttpClient::new().unwrap());
        let gone =
            format!("http://{}/", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
        let command = |argv: &[&str]| Check::Command(argv.iter().map(ToString::to_string).collect());
        let limit = Duration::from_secs(10);
        for (check, at, good) in [
            (Check::Http("/good".to_owned()), &url, true),
            (Check::Http("/bad".to_owned()), &url, false),
            (Check::Http("http://elsewhere.example/good".to_owned()), &url, false),
            (Check::Http("/good".to_owned()), &gone, false),
            (Check::Tcp, &url, true),
            (Check::Tcp, &gone, false),
            (command(&["test", "{port}", "!=", "80"]), &url, true),
            (command(&["test", "{host}", "=", "elsewhere"]), &url, false),
            (command(&["no-such-program-here"]), &url, false),
        ] {
            assert_eq!(check.make(at, &http, limit).await.is_ok(), good, "{check:?} at {at}");
        }
    }
}
