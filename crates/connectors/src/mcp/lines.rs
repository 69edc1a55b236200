//! Lines from bytes as they arrive, each of bounded length.

use bytes::{Bytes, BytesMut};

/// How much of a line that is too long is kept.
const HEAD: usize = 512;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line without its end.
    Whole(Bytes),
    /// The start of a line that is too long. The rest is passed over.
    TooLong(Bytes),
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// What has arrived and is not cut yet. Append to it.
    pub(super) buffer: BytesMut,
    scanned: usize,
    limit: usize,
    passing_over: bool,
}

impl Lines {
    /// Lines of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, limit, passing_over: false }
    }

    /// The next line, if it has arrived.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                if self.passing_over {
                    self.buffer.clear();
                    self.scanned = 0;
                } else if self.buffer.len() > self.limit {
                    let head = self.buffer.split_to(HEAD.min(self.buffer.len())).freeze();
                    self.buffer.clear();
                    self.scanned = 0;
                    self.passing_over = true;
                    return Some(Line::TooLong(head));
                }
                return None;
            };
            let line = self.buffer.split_to(self.scanned + end + 1).freeze();
            self.scanned = 0;
            if std::mem::take(&mut self.passing_over) {
                continue;
            }
            let line = line.slice(..line.len() - 1);
            if line.len() > self.limit {
                return Some(Line::TooLong(line.slice(..HEAD.min(line.len()))));
            }
            return Some(Line::Whole(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            lines.buffer.extend_from_slice(chunk);
            out.extend(std::iter::from_fn(|| lines.next()));
            assert!(lines.buffer.len() <= limit);
        }
        out
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let found = cut(&[b"ab\ncdefg", b"hij", b"klm\nno\n"], 4);
        let expected = [
            Line::Whole(b"ab"[..].into()),
            Line::TooLong(b"cdefg"[..].into()),
            Line::Whole(b"no"[..].into()),
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn chunking_makes_no_difference(text in "[ab\n]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..8)) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(cut(&chunks, 100), cut(&[text], 100));
        }
    }
}
