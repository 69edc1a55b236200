//! What a child writes to standard error: the last lines are kept, in bounded memory.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How many lines are kept.
const LINES: usize = 50;

/// How much of a line is kept, in bytes.
const LINE: usize = 1_000;

/// The last lines of standard error.
#[derive(Debug, Default)]
pub(super) struct Stderr(Mutex<VecDeque<String>>);

impl Stderr {
    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }

    /// The last `count` lines as one text.
    pub(super) fn tail(&self, count: usize) -> String {
        let lines = self.0.lock();
        let skip = lines.len().saturating_sub(count);
        lines.iter().skip(skip).map(String::as_str).collect::<Vec<_>>().join(" | ")
    }

    /// Adds a line.
    pub(super) fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.get(..LINE).unwrap_or(line));
        let text = text.trim_end().replace(char::is_control, " ");
        if text.is_empty() {
            return;
        }
        let mut lines = self.0.lock();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    /// Reads lines until the end of `source`.
    pub(super) async fn follow(&self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4096];
        let mut line = Vec::new();
        while let Ok(count @ 1..) = source.read(&mut buffer).await {
            for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                // The rest of a line that is too long is passed over.
                line.extend_from_slice(&part[..part.len().min(LINE.saturating_sub(line.len()))]);
                if part.ends_with(b"\n") {
                    self.push(&line);
                    line.clear();
                }
            }
        }
        self.push(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_and_cut() {
        let stderr = Stderr::default();
        let text = format!("{}\n{}no end", "x\n".repeat(200), "y".repeat(100_000));
        stderr.follow(text.as_bytes()).await;
        let lines = stderr.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.last().map(String::len), Some(LINE));
        assert_eq!(stderr.tail(1).len(), LINE);
    }
}
