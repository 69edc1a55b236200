//! Server-sent events, read as they arrive (WHATWG HTML, section 9.2.6). Data that lies within one chunk on one line,
//! the usual case, is passed on without a copy.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::Error;

/// The longest wait before a reconnection that a server may ask for.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The type; empty for `message`.
    pub(super) kind: String,
    /// The data lines, joined by line feeds.
    pub(super) data: Bytes,
}

/// Reads events from chunks cut anywhere.
#[derive(Debug)]
pub(super) struct Parser {
    chunk: Bytes,
    /// The start of a line whose end has not come yet.
    partial: BytesMut,
    data: Option<BytesMut>,
    whole: Option<Bytes>,
    kind: String,
    limit: usize,
    skip_line_feed: bool,
    at_start: bool,
    /// The id of the last event that had one.
    pub(super) last_id: Option<String>,
    /// How long to wait before reconnecting, where the server says so.
    pub(super) retry: Option<Duration>,
}

impl Parser {
    /// A parser that takes events of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            data: None,
            whole: None,
            kind: String::new(),
            limit,
            skip_line_feed: false,
            at_start: true,
            last_id: None,
            retry: None,
        }
    }

    /// Takes the next chunk. Call it when [`next`](Self::next) has no more.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "events are left in the last chunk");
        self.chunk = chunk;
    }

    /// Forgets an unfinished event: the stream was cut and is read anew.
    pub(super) fn restart(&mut self) {
        let (last_id, retry) = (self.last_id.take(), self.retry);
        *self = Self { last_id, retry, ..Self::new(self.limit) };
    }

    /// The next event within the chunk.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Error> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<Bytes>, Error> {
        if self.skip_line_feed && !self.chunk.is_empty() {
            self.skip_line_feed = false;
            if self.chunk[0] == b'\n' {
                let _ = self.chunk.split_to(1);
            }
        }
        let Some(end) = memchr::memchr2(b'\r', b'\n', &self.chunk) else {
            self.bound(self.partial.len() + self.chunk.len())?;
            self.partial.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return Ok(None);
        };
        self.bound(self.partial.len() + end)?;
        let mut line = self.chunk.split_to(end);
        self.skip_line_feed = self.chunk[0] == b'\r';
        let _ = self.chunk.split_to(1);
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&line);
            line = self.partial.split().freeze();
        }
        if self.at_start {
            self.at_start = false;
            if line.starts_with(b"\xef\xbb\xbf") {
                let _ = line.split_to(3);
            }
        }
        Ok(Some(line))
    }

    fn field(&mut self, line: &Bytes) -> Result<(), Error> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.first() == Some(&b' ') {
            value = value.slice(1..);
        }
        match &line[..colon] {
            b"data" => self.append(value)?,
            b"event" => self.kind = String::from_utf8_lossy(value.get(..256).unwrap_or(&value)).into_owned(),
            b"id" if value.len() <= 4_096 && !value.contains(&0) => {
                self.last_id = String::from_utf8(value.to_vec()).ok().filter(|id| !id.is_empty());
            }
            b"retry" => {
                let wait = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                self.retry = wait.map(|ms| Duration::from_millis(ms).min(MAX_RETRY)).or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }

    fn append(&mut self, value: Bytes) -> Result<(), Error> {
        match (&mut self.data, self.whole.take()) {
            (None, None) => self.whole = Some(value),
            (None, Some(first)) => {
                let mut data = BytesMut::from(first);
                data.extend_from_slice(b"\n");
                data.extend_from_slice(&value);
                self.data = Some(data);
            }
            (Some(data), _) => {
                data.extend_from_slice(b"\n");
                data.extend_from_slice(&value);
            }
        }
        self.bound(self.data.as_ref().map_or(0, BytesMut::len))
    }

    fn dispatch(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let data = self.data.take().map(BytesMut::freeze).or_else(|| self.whole.take())?;
        Some(Event { kind, data })
    }

    fn bound(&self, length: usize) -> Result<(), Error> {
        // A data line is the data and its field name.
        if length > self.limit.saturating_add(6) { Err(Error::TooLarge(self.limit)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(parser: &mut Parser, chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for chunk in chunks {
            parser.push(Bytes::copy_from_slice(chunk));
            while let Some(event) = parser.next().unwrap() {
                out.push((event.kind, String::from_utf8_lossy(&event.data).into_owned()));
            }
        }
        out
    }

    #[test]
    fn data_on_one_line_is_not_copied() {
        let chunk = Bytes::from_static(b"data: {\"a\":1}\n\n");
        let mut parser = Parser::new(100);
        parser.push(chunk.clone());
        let event = parser.next().unwrap().unwrap();
        assert_eq!(event.data.as_ptr(), chunk[6..].as_ptr());
    }

    #[test]
    fn every_part_of_the_format_is_read() {
        let mut parser = Parser::new(1000);
        let text = b"\xef\xbb\xbf: hello\r\nid: 1\r\nretry: 50\r\ndata:\r\n\r\nevent: endpoint\rdata: /x\rdata: y\r\r\
                     data\n\nevent: none\n\ndata: a\n\ndata: unfinished\n";
        let found = events(&mut parser, &[text]);
        let expected = [("", ""), ("endpoint", "/x\ny"), ("", ""), ("", "a")];
        assert_eq!(found, expected.map(|(kind, data)| (kind.to_owned(), data.to_owned())));
        assert_eq!(parser.last_id.as_deref(), Some("1"));
        assert_eq!(parser.retry, Some(Duration::from_millis(50)));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new(10);
        parser.push(Bytes::from_static(b"data: 12345678901234567890"));
        assert!(matches!(parser.next(), Err(Error::TooLarge(10))));
        let mut parser = Parser::new(10);
        parser.push(Bytes::from_static(b"data: 12345678\ndata: 12345678\n"));
        assert!(matches!(parser.next(), Err(Error::TooLarge(10))));
    }

    proptest! {
        #[test]
        fn chunking_makes_no_difference(
            parts in proptest::collection::vec("(data|event|id|retry|)(: ?|)[a-z0-9 :]{0,5}(\r\n|\n|\r){0,3}", 0..20),
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let text = parts.concat().into_bytes();
            let whole = events(&mut Parser::new(1000), &[&text]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&mut Parser::new(1000), &chunks), whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8), limit in 0usize..64) {
            let mut parser = Parser::new(limit);
            for chunk in chunks {
                parser.push(Bytes::from(chunk));
                loop {
                    match parser.next() {
                        Ok(Some(event)) => prop_assert!(event.data.len() <= limit + 6),
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
            }
        }
    }
}
