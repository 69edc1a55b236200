//! The MCP door over standard input and output: one client, one message a line.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trunkline_model::{Principal, TraceContext};

use super::legacy;
use super::message::{Message, Params};
use super::modern::{self, Peer};
use super::reply::{Answer, Era};
use super::session::Session;
use super::{listen, reply};
use crate::{Error, Gateway, Show};

/// How many messages may wait for a client that does not read.
const BACKLOG: usize = 1_024;

/// How many requests of the client may be under way at once.
const MAX_RUNNING: usize = 256;

/// Serves one client until its input ends or `shutdown`.
///
/// # Errors
/// Where input or output fails.
pub async fn serve(
    gateway: Arc<Gateway>,
    show: Option<Show>,
    input: impl AsyncRead + Unpin + Send,
    output: impl AsyncWrite + Unpin + Send + 'static,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let (messages, queue) = mpsc::channel(BACKLOG);
    let writing = gateway.spawn(write(output, queue));
    let peer = Peer {
        principal: Arc::new(Principal::local()),
        door: "stdio",
        trace: TraceContext::default(),
        conversation: Some(Arc::from(format!("stdio-{}", gateway.process))),
        show,
    };
    let limit = gateway.rules.load().config.max_request_bytes;
    let mut client = Client {
        gateway,
        peer,
        messages,
        session: None,
        running: Arc::new(tokio::sync::Semaphore::new(MAX_RUNNING)),
        requests: Arc::default(),
        gone: CancellationToken::new(),
    };
    let mut input = BufReader::new(input);
    let read = loop {
        let line = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            line = read_line(&mut input, limit) => line,
        };
        match line {
            Ok(Some(Line::Message(line))) => client.take(line).await,
            Ok(Some(Line::TooLong)) => {
                let failure = Error::TooLarge { limit }.into();
                client.send(reply::unreadable(b"", &failure)).await;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    client.leave().await;
    drop(client);
    // The answers of requests that are still under way are written before the output closes.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), writing).await;
    read
}

enum Line {
    Message(Bytes),
    TooLong,
}

/// The next line that is not empty.
async fn read_line(
    input: &mut (impl AsyncBufReadExt + Unpin),
    limit: usize,
) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let buffer = input.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(if line.trim_ascii().is_empty() {
                None
            } else {
                Some(Line::Message(Bytes::from(line)))
            });
        }
        let end = memchr::memchr(b'\n', buffer);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        too_long |= line.len() + part.len() > limit;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_none() {
            continue;
        }
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Message(Bytes::from(line))));
        }
        line.clear();
    }
}

async fn write(mut output: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, 64).await > 0 {
        let mut text = Vec::with_capacity(batch.iter().map(|message| message.len() + 1).sum());
        for message in batch.drain(..) {
            text.extend_from_slice(&message);
            text.push(b'\n');
        }
        if output.write_all(&text).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

struct Client {
    gateway: Arc<Gateway>,
    peer: Peer,
    messages: mpsc::Sender<Bytes>,
    session: Option<Arc<Session>>,
    running: Arc<tokio::sync::Semaphore>,
    /// Modern requests under way by the JSON text of their ids. They can be cancelled.
    requests: Arc<Mutex<HashMap<Bytes, CancellationToken>>>,
    /// The client has left: nobody hears of changes any more.
    gone: CancellationToken,
}

impl Client {
    async fn send(&self, message: Bytes) {
        // A client that has closed its end needs no answer.
        let _ = self.messages.send(message).await;
    }

    /// Takes a message. A request is answered by a task of its own, so that a slow one holds up no other.
    async fn take(&mut self, line: Bytes) {
        let message = match Message::parse(&line) {
            Ok(message) => message,
            Err(error) => return self.send(reply::unreadable(&line, &error.into())).await,
        };
        if message.method.as_deref() == Some("notifications/cancelled") {
            self.cancel_modern(&message);
        }
        if modern::is_modern(None, &line, &message) {
            return self.answer(&line, &message, None).await;
        }
        if message.method.as_deref() == Some("initialize") && self.session.is_none() {
            match legacy::initialize(&self.gateway, &self.peer, &line, &message).await {
                Ok((session, answer)) => {
                    self.session = Some(session);
                    deliver(answer, &self.messages).await;
                    self.follow();
                }
                Err(failure) => {
                    let id = message.id_in(&line);
                    deliver(Answer::failure(id.as_ref(), &failure, Era::Legacy), &self.messages).await;
                }
            }
            return;
        }
        let Some(session) = self.session.clone() else {
            if message.id.is_some() && message.method.is_some() {
                let failure = Error::HeaderMismatch("initialize first".to_owned()).into();
                let id = message.id_in(&line);
                self.send(reply::error_message(id.as_ref(), &failure, Era::Legacy).0).await;
            }
            return;
        };
        if message.method.is_none() || message.id.is_none() {
            // Answers and notifications are taken in order.
            legacy::handle(&self.gateway, &self.peer, &session, &line, &message).await;
            return;
        }
        self.answer(&line, &message, Some(session)).await;
    }

    /// Answers a request by a task of its own. Where too many are under way, it is refused: waiting for a place would
    /// hold up the client's answers to questions, for which they may wait.
    async fn answer(&self, line: &Bytes, message: &Message<'_>, session: Option<Arc<Session>>) {
        let Some(id) = message.id_in(line) else { return };
        let Ok(place) = self.running.clone().try_acquire_owned() else {
            let era = if session.is_some() { Era::Legacy } else { Era::Modern };
            let failure = Error::TooMany("requests").into();
            return self.send(reply::error_message(Some(&id), &failure, era).0).await;
        };
        let (gateway, peer, messages) = (self.gateway.clone(), self.peer.clone(), self.messages.clone());
        // Changes are told for as long as the client is there; other requests are answered to their end.
        let listens = message.method.as_deref() == Some("subscriptions/listen");
        let cancelled = if listens { self.gone.child_token() } else { CancellationToken::new() };
        let id = session.is_none().then(|| id.bytes());
        let requests = self.requests.clone();
        if let Some(id) = &id {
            requests.lock().insert(id.clone(), cancelled.clone());
        }
        let line = line.clone();
        self.gateway.spawn(async move {
            let answered = async {
                let Ok(message) = Message::parse(&line) else { return };
                let answer = match session {
                    Some(session) => legacy::handle(&gateway, &peer, &session, &line, &message).await,
                    None => modern::handle(&gateway, peer, &line, &message, None).await,
                };
                deliver(answer, &messages).await;
            };
            // What is dropped here is cancelled, and has no answer.
            cancelled.run_until_cancelled(answered).await;
            if let Some(id) = id {
                requests.lock().remove(&id);
            }
            drop(place);
        });
    }

    /// Cancels a modern request.
    fn cancel_modern(&self, message: &Message<'_>) {
        let Ok(params) = Params::parse(message.params) else { return };
        let cancelled =
            params.request_id.and_then(|id| self.requests.lock().get(id.get().as_bytes()).cloned());
        if let Some(cancelled) = cancelled {
            cancelled.cancel();
        }
    }

    /// Tells the client of changes, for as long as it is there.
    fn follow(&self) {
        let Some(session) = &self.session else { return };
        let changes = listen::legacy(&self.gateway, session);
        let (messages, gone) = (self.messages.clone(), self.gone.clone());
        self.gateway.spawn(gone.run_until_cancelled_owned(async move {
            deliver(Answer::Stream(changes), &messages).await;
        }));
    }

    async fn leave(&mut self) {
        self.gone.cancel();
        if let Some(session) = self.session.take()
            && let Err(failure) = legacy::end_session(&self.gateway, &session).await
        {
            tracing::warn!(%failure, "the end of a session is not in the record");
        }
    }
}

async fn deliver(answer: Answer, messages: &mpsc::Sender<Bytes>) {
    match answer {
        Answer::Accepted => {}
        Answer::Message { body, .. } => {
            let _ = messages.send(body).await;
        }
        Answer::Stream(mut stream) => {
            while let Some(frame) = stream.next().await {
                if messages.send(frame.data).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::tests::gateway;

    #[tokio::test]
    async fn a_client_that_leaves_ends_its_streams() {
        let (gateway, _folder) = gateway(&Default::default());
        let (near, far) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(far);
        let serving = tokio::spawn(serve(gateway.clone(), None, input, output, CancellationToken::new()));
        let (read, mut write) = tokio::io::split(near);
        let mut lines = BufReader::new(read).lines();
        let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        let listen = |id: u8| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true}},{meta}}}}}"#
            )
        };
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
        let next = async |lines: &mut tokio::io::Lines<_>| lines.next_line().await.unwrap().unwrap();
        for message in [hello.to_owned(), listen(2)] {
            write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
            next(&mut lines).await;
        }
        let text = format!("{cancel}\n{}\n", listen(3));
        write.write_all(text.as_bytes()).await.unwrap();
        assert!(next(&mut lines).await.contains("acknowledged"));
        gateway.reconfigure(
            crate::Config::default(),
            trunkline_policy::Authenticator::new(&Default::default()).unwrap(),
            trunkline_policy::Authorizer::new(&Default::default()),
        );
        // The session and the second listener are told; the first listener is not there any more.
        let mut told = 0;
        while told < 2 {
            let line = next(&mut lines).await;
            assert!(!line.contains(r#"/subscriptionId":2"#), "{line}");
            told += usize::from(line.contains("tools/list_changed"));
        }
        write.shutdown().await.unwrap();
        drop(lines);
        serving.await.unwrap().unwrap();
        gateway.tasks.close();
        gateway.tasks.wait().await;
    }
}
