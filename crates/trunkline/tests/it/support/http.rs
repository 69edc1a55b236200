//! HTTP as plain as possible: one connection a request, which ends where its reply is dropped.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::within;

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: hyper::http::response::Parts,
    body: Incoming,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) async fn bytes(self) -> Bytes {
        within("the body", self.body.collect()).await.unwrap().to_bytes()
    }

    pub(crate) async fn text(self) -> String {
        String::from_utf8(self.bytes().await.to_vec()).unwrap()
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The body as server-sent events.
    pub(crate) fn events(self) -> Events {
        assert!(self.is_stream(), "{}: {:?}", self.status, self.head.headers);
        Events { body: self.body, read: Vec::new() }
    }

    /// The JSON-RPC response, wherever it comes.
    pub(crate) async fn response(self) -> Value {
        if !self.is_stream() {
            return self.json().await;
        }
        let mut events = self.events();
        loop {
            let message = events.message().await;
            if message.get("id").is_some() && message.get("method").is_none() {
                return message;
            }
        }
    }
}

/// Server-sent events.
pub(crate) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) data: String,
}

impl Events {
    /// The next event with data; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        within("the next event", async {
            loop {
                while let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                    let block: Vec<u8> = self.read.drain(..end + 2).collect();
                    let event = Event::parse(std::str::from_utf8(&block).unwrap());
                    if !event.data.is_empty() {
                        return Some(event);
                    }
                }
                match self.body.frame().await? {
                    Ok(frame) => self.read.extend_from_slice(frame.data_ref().unwrap()),
                    Err(_) => return None,
                }
            }
        })
        .await
    }

    /// The next event's data as JSON.
    pub(crate) async fn message(&mut self) -> Value {
        let event = self.next().await.expect("the stream goes on");
        serde_json::from_str(&event.data).unwrap()
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => event.id = Some(value.to_owned()),
                Some(("event", value)) => event.kind = Some(value.to_owned()),
                Some(("data", value)) => event.data.push_str(value),
                _ => {}
            }
        }
        event
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Sends a request and waits for the head of its reply.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let work = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header(HOST, address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Reply { status: head.status.as_u16(), head, body }
    };
    within("the reply", work).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, "GET", path, &[], "").await
}

pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    send(address, "POST", path, &all, body).await
}
