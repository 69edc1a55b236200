//! Which spans of a trace are drawn, and where: at most [`ROWS`] of them, what matters first, and times without work in little
//! space.

use std::collections::BinaryHeap;

use trunkline_telemetry::span::Status;
use trunkline_telemetry::waterfall::{Shown, Waterfall};

use super::html::{Html, html};

/// The most spans that are drawn at once.
pub(super) const ROWS: usize = 300;

/// How wide the drawing is, and how much of that a time without work takes.
const WIDTH: f64 = 1000.0;
const GAP: f64 = 20.0;

/// The spans that are drawn.
pub(super) struct View {
    /// By their index, each with how many of those below it are not drawn.
    pub(super) rows: Vec<(usize, usize)>,
    /// The span that is looked at, where it is not the whole.
    pub(super) root: Option<usize>,
    /// Where the page begins and the next one does, where all are looked at one after the other.
    pub(super) from: Option<(usize, Option<usize>)>,
    /// How many are not drawn.
    pub(super) left_out: usize,
}

impl View {
    /// The spans below `span` (all where it is empty) that matter most: those that failed or lead to one that did, then those on
    /// the critical path, then the longest. With `from`, so many in their order instead. `None` where there is no such span.
    pub(super) fn of(seen: &Waterfall, span: &str, from: Option<usize>) -> Option<Self> {
        let root = match span {
            "" => None,
            span => Some(seen.rows.iter().position(|row| row.span_id.to_string() == span)?),
        };
        let (first, end) = match root {
            Some(root) => (root, root + 1 + seen.rows[root].below),
            None => (0, seen.rows.len()),
        };
        let end = end.min(seen.rows.len());
        if let Some(from) = from {
            let start = first + from.min(end - first);
            let stop = (start + ROWS).min(end);
            let next = (stop < end).then_some(stop - first);
            let rows = (start..stop).map(|row| (row, 0)).collect();
            return Some(Self {
                rows,
                root,
                from: Some((start - first, next)),
                left_out: end - first - (stop - start),
            });
        }
        let drawn = chosen(&seen.rows, first, end);
        let mut below = vec![0_usize; drawn.len()];
        // A span that is not drawn counts at the nearest one above it that is.
        let mut at = 0;
        let mut open: Vec<usize> = Vec::new();
        for row in first..end {
            while open.last().is_some_and(|above| seen.rows[drawn[*above]].depth >= seen.rows[row].depth) {
                open.pop();
            }
            if drawn.get(at) == Some(&row) {
                open.push(at);
                at += 1;
            } else if let Some(above) = open.last() {
                below[*above] += 1;
            }
        }
        let left_out = end - first - drawn.len();
        Some(Self { rows: drawn.into_iter().zip(below).collect(), root, from: None, left_out })
    }
}

/// The spans to draw of a range that holds whole subtrees: a span is drawn where that above it is.
fn chosen(rows: &[Shown], first: usize, end: usize) -> Vec<usize> {
    if end - first <= ROWS {
        return (first..end).collect();
    }
    let mut fails = vec![false; end - first];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); end - first];
    let mut tops = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for row in first..end {
        while open.last().is_some_and(|above| rows[*above].depth >= rows[row].depth) {
            open.pop();
        }
        match open.last() {
            Some(above) => children[above - first].push(row),
            None => tops.push(row),
        }
        if rows[row].status == Status::Error {
            for above in
                open.iter().rev().take_while(|above| !fails[**above - first]).copied().collect::<Vec<_>>()
            {
                fails[above - first] = true;
            }
            fails[row - first] = true;
        }
        open.push(row);
    }
    let weight = |row: usize| {
        let micros = |ms: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float is cast to what it can be at most"
            )]
            let micros = (ms.max(0.0) * 1e3) as u64;
            micros
        };
        (
            fails[row - first],
            micros(rows[row].critical_ms),
            micros(rows[row].duration_ms),
            std::cmp::Reverse(row),
        )
    };
    let mut heap: BinaryHeap<_> = tops.into_iter().map(weight).collect();
    let mut drawn = Vec::with_capacity(ROWS);
    while let Some((.., std::cmp::Reverse(row))) = heap.pop() {
        drawn.push(row);
        if drawn.len() == ROWS {
            break;
        }
        heap.extend(children[row - first].iter().copied().map(weight));
    }
    drawn.sort_unstable();
    drawn
}

/// Where moments are drawn.
pub(super) struct Scale {
    /// Times without work, as they were and as they are drawn.
    gaps: Vec<(f64, f64)>,
    end: f64,
    /// Width of a millisecond of work.
    width: f64,
}

impl Scale {
    pub(super) fn of(seen: &Waterfall) -> Self {
        let end = seen.rows.iter().map(|row| row.start_ms + row.duration_ms).fold(0.001, f64::max);
        let gaps: Vec<(f64, f64)> = seen.gaps.iter().map(|gap| (gap.start_ms, gap.end_ms)).collect();
        let idle: f64 = gaps.iter().map(|(start, end)| end - start).sum();
        let room = gaps.iter().fold(WIDTH, |room, _| room - GAP);
        Self { gaps, end, width: room / (end - idle).max(0.001) }
    }

    /// Where a moment is drawn.
    fn at(&self, ms: f64) -> f64 {
        let (mut at, mut from) = (0.0, 0.0);
        for (start, end) in &self.gaps {
            if ms <= *start {
                break;
            }
            at += (start - from) * self.width + GAP * ((ms - start) / (end - start).max(0.001)).min(1.0);
            from = *end;
        }
        (at + (ms.min(self.end) - from).max(0.0) * self.width).clamp(0.0, WIDTH)
    }

    /// A span as a bar.
    pub(super) fn bar(&self, span: &Shown) -> Html {
        let (start, end) = (self.at(span.start_ms), self.at(span.start_ms + span.duration_ms));
        let kind = match (span.status == Status::Error, span.critical_ms > 0.0) {
            (true, _) => "<rect class=\"failed\" y=\"2\" height=\"10\" x=\"",
            (false, true) => "<rect class=\"critical\" y=\"2\" height=\"10\" x=\"",
            (false, false) => "<rect class=\"aside\" y=\"2\" height=\"10\" x=\"",
        };
        let mut out = html(
            "<svg class=\"bar\" viewBox=\"0 0 1000 14\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        );
        for (from, _) in &self.gaps {
            let from = self.at(*from);
            let line = format!("{from:.1}");
            let path = format!("M{line} 0V14M{:.1} 0V14", from + GAP);
            out = out.raw("<path class=\"gap\" d=\"").text(&path).raw("\"/>");
        }
        out = out.raw(kind).text(&format!("{start:.1}")).raw("\" width=\"");
        out.text(&format!("{:.1}", (end - start).max(2.0))).raw("\"/></svg>")
    }
}
