//! `trunkline events`: what has happened, from the record; publishing, and what could not be delivered.

mod steer;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, ServerArgs};
use super::output::{Format, plain, print, say};
use super::stop::Stop;
use super::{OutputArgs, block_on};
use crate::Error;

/// How long to wait before asking again where the gateway went away.
const AGAIN: Duration = Duration::from_secs(1);

/// How many events are asked for at once.
const PAGE: &str = "1000";

/// The largest event, in bytes.
const MAX_EVENT: usize = 16 << 20;

/// Show what has happened, or publish an event.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Option<EventsCommand>,
    /// Go on with what happens from now on, until stopped.
    #[arg(short, long)]
    follow: bool,
    /// Begin at this position and show everything since; the newest events where left out.
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// Only events whose type is this, or begins so.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum EventsCommand {
    #[command(flatten)]
    Steer(steer::Command),
    /// Drop a view and build it anew from the record, while the gateway runs; all views where none is named.
    Rebuild {
        /// The view: `flow`, …
        view: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// A page of the record.
#[derive(Deserialize)]
struct Page {
    events: Vec<Value>,
    next: u64,
    end: bool,
}

/// One event of a stream (WHATWG HTML, section 9.2).
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    id: String,
    data: String,
}

impl Events {
    pub(super) fn run(mut self) -> Result<(), Stop> {
        match self.command.take() {
            Some(EventsCommand::Rebuild { view, server }) => return rebuild(&server.client()?, view),
            Some(EventsCommand::Steer(command)) => {
                return command.run(&self.server.client()?, self.output.output);
            }
            None => {}
        }
        let client = self.server.client()?;
        block_on(async {
            // Without a position, the newest page is not wanted before what comes from now on.
            let from = match self.from {
                None if self.follow => None,
                from => Some(self.pages(&client, from).await?),
            };
            if self.follow { self.follow(&client, from).await } else { Ok(()) }
        })
    }

    /// Prints what comes from a position on, until stopped or refused.
    async fn follow(&self, client: &Client, mut from: Option<u64>) -> Result<(), Stop> {
        loop {
            match self.stream(client, &mut from).await {
                Ok(()) => {}
                // Once it has answered, a gateway that goes away is expected to come back.
                Err(Stop::Error(Error::Unreachable { .. } | Error::Answer { .. })) if from.is_some() => {}
                Err(stop) => return Err(stop),
            }
            say("the stream ended; asking again");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Prints what is there, and returns the position after it.
    async fn pages(&self, client: &Client, from: Option<u64>) -> Result<u64, Stop> {
        let mut from = from;
        loop {
            let mut query = self.query(from);
            if from.is_some() {
                query.push(("limit", PAGE.to_owned()));
            }
            let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let page: Page = client.get(&["v1", "events"], &query).await?;
            for event in &page.events {
                self.show(event)?;
            }
            if page.end || from.is_none_or(|from| page.next <= from) {
                return Ok(page.next);
            }
            from = Some(page.next);
        }
    }

    /// Prints a stream to its end. `from` follows what was seen.
    async fn stream(&self, client: &Client, from: &mut Option<u64>) -> Result<(), Stop> {
        let query = self.query(*from);
        let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let response = client.send(Method::GET, &["v1", "events"], &query, None, "text/event-stream").await?;
        let mut body = response.into_body();
        let mut parser = Parser::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| client.answer(error.to_string()))?;
            let Ok(chunk) = frame.into_data() else { continue };
            let messages = parser.feed(&chunk).map_err(|reason| client.answer(reason.to_owned()))?;
            for message in messages {
                let event = serde_json::from_str(&message.data);
                self.show(&event.map_err(|error| client.answer(error.to_string()))?)?;
                *from = message.id.parse().ok().map(|id: u64| id + 1).or(*from);
            }
        }
        Ok(())
    }

    fn query(&self, from: Option<u64>) -> Vec<(&'static str, String)> {
        let from = from.map(|from| ("from", from.to_string()));
        from.into_iter().chain(self.kind.clone().map(|kind| ("type", kind))).collect()
    }

    fn show(&self, event: &Value) -> anyhow::Result<()> {
        let text = match self.output.output {
            Format::Json => event.to_string() + "\n",
            Format::Yaml => format!("---\n{}", serde_saphyr::to_string(event)?),
            Format::Table => line(event),
        };
        Ok(print(&text)?)
    }
}

fn rebuild(client: &Client, view: Option<String>) -> Result<(), Stop> {
    let names = match view {
        Some(view) => vec![view],
        None => {
            let views: Vec<Value> = block_on(client.get(&["v1", "views"], &[]))?;
            views.iter().filter_map(|view| view["name"].as_str().map(str::to_owned)).collect()
        }
    };
    for name in names {
        let path = format!("{name}:rebuild");
        let done: Value = block_on(client.post(&["v1", "views", &path], String::new()))?;
        say(&format_args!("the view {name} is built anew, up to position {}", done["position"]));
    }
    Ok(())
}

/// An event on a line: position, time, type, who, what.
fn line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (id, kind) = (text(&event["sequence"]), text(&event["type"]));
    let kind = kind.strip_prefix("dev.trunkline.").unwrap_or(&kind);
    let kind = kind.strip_suffix(".v1").unwrap_or(kind);
    let line = format!(
        "{id:>8}  {:<30}  {kind:<26}  {:<12}  {}",
        text(&event["time"]),
        text(&event["authid"]),
        text(&event["subject"])
    );
    plain(line.trim_end()) + "\n"
}

/// Reads a stream of events in pieces of any size.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    message: Message,
}

impl Parser {
    /// The messages that `chunk` completes.
    fn feed(&mut self, chunk: &Bytes) -> Result<Vec<Message>, &'static str> {
        self.buffer.extend_from_slice(chunk);
        let mut messages = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let message = std::mem::take(&mut self.message);
                // The id stays for messages that bring none; without data there is no message.
                self.message.id.clone_from(&message.id);
                if !message.data.is_empty() {
                    messages.push(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut self.message.id),
                "data" => {
                    if !self.message.data.is_empty() {
                        self.message.data.push('\n');
                    }
                    self.message.data.push_str(value);
                }
                _ => {}
            }
        }
        if self.buffer.len() + self.message.data.len() > MAX_EVENT {
            return Err("an event is too large");
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_from_pieces_of_any_size() {
        let stream =
            ": hello\r\n\r\nid: 7\nevent: a\ndata: {\"a\":\ndata: 1}\n\nretry: 5\nid: 8\ndata: {}\n\nid: 9\n";
        let message = |id: &str, data: &str| Message { id: id.into(), data: data.into() };
        let expected = [message("7", "{\"a\":\n1}"), message("8", "{}")];
        for size in [1, 3, 1000] {
            let mut parser = Parser::default();
            let mut read = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                read.extend(parser.feed(&Bytes::copy_from_slice(chunk)).unwrap());
            }
            assert_eq!(read, expected, "in pieces of {size}");
        }
    }
}
