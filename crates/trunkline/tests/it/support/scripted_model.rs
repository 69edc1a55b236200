//! A scripted endpoint of ours that stands in for a model in the tests. It understands nothing: it answers what the test says, in the
//! form of the API that it is asked by, and keeps what it was asked.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::upstream::{Answer, Upstream};

/// The stand-in.
pub(crate) struct ScriptedModel {
    pub(crate) upstream: Upstream,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
}

impl ScriptedModel {
    /// Starts it on a free port.
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Answer + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upstream = Upstream::start(keeping(seen.clone(), answer)).await;
        Self { upstream, seen }
    }

    /// Answers in another way from now on.
    pub(crate) fn answers(&self, answer: impl Fn(&Seen) -> Answer + Send + 'static) {
        self.upstream.answers(keeping(self.seen.clone(), answer));
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("{}/v1", self.upstream.url())
    }

    /// The section of the configuration that names it, with more of the endpoint and of the section.
    pub(crate) fn config(&self, kind: &str, of_endpoint: &str, more: &str) -> String {
        let url = self.url();
        format!("model: {{ {kind}: {{ url: \"{url}\", model: scripted-stand-in{of_endpoint} }}{more} }}\n")
    }
}

fn keeping(
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: impl Fn(&Seen) -> Answer + Send + 'static,
) -> impl Fn(&Request<Bytes>) -> Answer + Send + 'static {
    move |request| {
        let body = serde_json::from_slice(request.body()).unwrap_or_default();
        let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
        let one = Seen { path, headers, body };
        let answered = answer(&one);
        seen.lock().push(one);
        answered
    }
}

/// An answer with this body.
pub(crate) fn plainly(status: u16, body: impl Into<String>) -> Answer {
    (status, Vec::new(), body.into())
}

/// This text, as the chat API of OpenAI gives it.
pub(crate) fn chat(text: &str) -> Answer {
    let message = json!({"role": "assistant", "content": text});
    plainly(200, json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string())
}

/// These arguments, as the messages API of Anthropic gives them.
pub(crate) fn message(arguments: &Value) -> Answer {
    let words = json!({"type": "text", "text": "I fill in {the form}."});
    let block = json!({"type": "tool_use", "id": "t1", "name": "arguments", "input": arguments});
    plainly(200, json!({"type": "message", "role": "assistant", "content": [words, block]}).to_string())
}
