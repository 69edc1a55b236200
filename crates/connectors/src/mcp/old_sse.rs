//! The transport of revision 2024-11-05: one event stream on which all answers come, and an endpoint named there that
//! takes what we send.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::sync::mpsc;
use url::Url;

use super::channel::{Channel, Post};
use super::error::Error;
use super::http::{Answer, Endpoint};
use super::jsonrpc;
use super::sse::Parser;
use super::streamable::follow;

/// How long the name of the endpoint may take to come.
const NAMING: Duration = Duration::from_secs(5);

/// An open stream, and where to send to.
pub(super) struct OldSse<'a> {
    answer: Answer<'a>,
    parser: Parser,
    endpoint: Endpoint,
    headers: HeaderMap,
}

impl<'a> OldSse<'a> {
    /// Opens the stream at `url` and waits for the name of the endpoint.
    pub(super) async fn open(
        stream: &'a Endpoint,
        url: &Url,
        headers: &HeaderMap,
        connect_timeout: Duration,
        limit: usize,
    ) -> Result<Self, Error> {
        let mut get = headers.clone();
        get.remove(header::CONTENT_TYPE);
        get.insert(header::HOST, stream.host());
        get.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let mut answer = stream.send(Method::GET, get, bytes::Bytes::new(), true).await?;
        if !answer.status.is_success() {
            return Err(Error::Status { status: answer.status.as_u16(), body: String::new() });
        }
        let mut parser = Parser::new(limit);
        let naming = async {
            loop {
                while let Some(event) = parser.next()? {
                    if event.kind == "endpoint" {
                        return Ok(String::from_utf8_lossy(&event.data).into_owned());
                    }
                }
                let ended = || Error::Garbage("the stream ended before it named an endpoint".to_owned());
                parser.push(answer.chunk().await?.ok_or_else(ended)?);
            }
        };
        let named = tokio::time::timeout(NAMING, naming).await.unwrap_or(Err(Error::Timeout(NAMING)))?;
        let target = url.join(&named).ok().filter(|target| target.origin() == url.origin());
        // Our headers may hold secrets: they go nowhere else.
        let target = target.ok_or_else(|| {
            Error::Garbage(format!(
                "the stream names an endpoint elsewhere: {}",
                jsonrpc::excerpt(named.as_bytes())
            ))
        })?;
        let endpoint = Endpoint::new(&target, connect_timeout)?;
        let mut headers = headers.clone();
        headers.insert(header::HOST, endpoint.host());
        Ok(Self { answer, parser, endpoint, headers })
    }

    /// Carries messages until the stream ends. Tells why it ended.
    pub(super) async fn run(mut self, channel: &Arc<Channel>, mut inbox: mpsc::Receiver<Post>) -> Error {
        let mut errands = FuturesUnordered::new();
        let reading = follow(channel, &mut self.answer, &mut self.parser, &mut errands);
        let (endpoint, headers) = (&self.endpoint, &self.headers);
        let writing = async {
            let mut posts = FuturesUnordered::new();
            loop {
                tokio::select! {
                    post = inbox.recv() => {
                        let Some(post) = post else { return Error::Lost("nobody is left to write".to_owned()) };
                        posts.push(async move {
                            let answer = endpoint.send(Method::POST, headers.clone(), post.body, false).await?;
                            if !answer.status.is_success() {
                                return Err(Error::Lost(format!("a message was refused with {}", answer.status)));
                            }
                            answer.collect(1 << 16).await.map(|_| ())
                        });
                    }
                    Some(done) = posts.next() => if let Err(error) = done { return error },
                }
            }
        };
        tokio::select! {
            ended = reading => ended.err().unwrap_or_else(|| Error::Lost("the stream has ended".to_owned())),
            error = writing => error,
        }
    }
}
