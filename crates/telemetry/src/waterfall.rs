//! A trace as it is looked at: its spans in the order of a waterfall, the critical path, and where nothing happens.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};
use trunkline_model::SpanId;

use crate::clock::millis;
use crate::semconv;
use crate::span::{Span, SpanEvent, SpanKind, Status};
use crate::store::Summary;

/// A gap shorter than this share of the whole is none.
const GAP_SHARE: f64 = 0.1;

/// A trace as it is looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Waterfall {
    /// What is known of the whole.
    #[serde(flatten)]
    pub trace: Summary,
    /// Its spans: each stands before its children, and these in the order in which they began.
    pub rows: Vec<Shown>,
    /// Times within which nothing but waiting happened, worth folding away.
    pub gaps: Vec<Gap>,
    /// The calls of Trunkline that are part of it: the correlation ids of their events.
    pub calls: Vec<String>,
    /// How many spans are missing that others say to be children of.
    pub missing_parents: usize,
    /// How many spans are not shown, where there are more than were asked for.
    pub left_out: usize,
}

/// A span as it is looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The span.
    pub span_id: SpanId,
    /// The span that it is a child of.
    pub parent_id: Option<SpanId>,
    /// How deep it stands, from 0.
    pub depth: usize,
    /// How many spans stand below it.
    pub below: usize,
    /// What is done.
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: SpanKind,
    /// The service that tells it.
    pub service: String,
    /// Whether it was received: it is none of Trunkline's own.
    pub received: bool,
    /// When it began, in milliseconds after the trace did.
    pub start_ms: f64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// How much of that is not its children's, in milliseconds.
    pub self_ms: f64,
    /// `unset`, `ok` or `error`.
    pub status: Status,
    /// What went wrong.
    pub error: Option<String>,
    /// How much of it lies on the critical path, in milliseconds: what the whole would be shorter by.
    pub critical_ms: f64,
    /// More of it.
    pub attributes: Map<String, Value>,
    /// What happened within.
    pub events: Vec<Value>,
}

/// A time within which nothing but waiting happened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// Its beginning, in milliseconds after the trace's.
    pub start_ms: f64,
    /// Its end.
    pub end_ms: f64,
}

struct Tree<'a> {
    spans: &'a [Span],
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
    missing: usize,
}

/// A trace as it is looked at: at most so many spans.
#[must_use]
pub fn waterfall(trace: Summary, mut spans: Vec<Span>, most: usize) -> Waterfall {
    // A span that came twice is shown once.
    let mut seen = std::collections::HashSet::new();
    spans.retain(|span| seen.insert(span.id));
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    let began = spans.first().map_or(0, |span| span.start);
    let tree = Tree::new(&spans);
    let critical = tree.critical();
    let order = tree.order();
    let left_out = order.len().saturating_sub(most);
    let mut rows = Vec::with_capacity(order.len().min(most));
    for (index, depth, below) in order.into_iter().take(most) {
        rows.push(shown(&tree, index, depth, below, began, critical[index]));
    }
    let calls = spans.iter().filter_map(|span| span.text(semconv::CALL).map(str::to_owned)).collect();
    Waterfall { gaps: gaps(&spans, began), calls, missing_parents: tree.missing, left_out, rows, trace }
}

impl<'a> Tree<'a> {
    fn new(spans: &'a [Span]) -> Self {
        let by_id: HashMap<SpanId, usize> =
            spans.iter().enumerate().map(|(at, span)| (span.id, at)).collect();
        let (mut children, mut roots, mut missing) = (vec![Vec::new(); spans.len()], Vec::new(), 0);
        for (index, span) in spans.iter().enumerate() {
            let parent = span.parent.map(|parent| by_id.get(&parent).copied());
            match parent {
                Some(Some(parent)) if parent != index => children[parent].push(index),
                Some(_) => {
                    missing += 1;
                    roots.push(index);
                }
                None => roots.push(index),
            }
        }
        let mut tree = Self { spans, children, roots, missing };
        tree.break_circles();
        tree
    }

    /// Spans from outside may be their own ancestors: what no root leads to is a root.
    fn break_circles(&mut self) {
        let mut reached = vec![false; self.spans.len()];
        let mut next = self.roots.clone();
        let mut index = 0;
        loop {
            while let Some(at) = next.pop() {
                if !std::mem::replace(&mut reached[at], true) {
                    next.extend(&self.children[at]);
                }
            }
            let Some(lost) = (index..self.spans.len()).find(|at| !reached[*at]) else { break };
            for children in &mut self.children {
                children.retain(|child| *child != lost);
            }
            self.roots.push(lost);
            next.push(lost);
            index = lost;
        }
        self.roots.sort_unstable();
    }

    /// Every span with its depth and the number of those below it, each before its children.
    fn order(&self) -> Vec<(usize, usize, usize)> {
        let mut order: Vec<(usize, usize, usize)> = Vec::with_capacity(self.spans.len());
        let mut next: Vec<(usize, usize)> = self.roots.iter().rev().map(|root| (*root, 0)).collect();
        while let Some((index, depth)) = next.pop() {
            order.push((index, depth, 0));
            next.extend(self.children[index].iter().rev().map(|child| (*child, depth + 1)));
        }
        // From the end: what stands behind one and deeper is below it.
        let mut open: Vec<usize> = Vec::new();
        for at in 0..order.len() {
            while open.last().is_some_and(|above| order[*above].1 >= order[at].1) {
                open.pop();
            }
            open.iter().for_each(|above| order[*above].2 += 1);
            open.push(at);
        }
        order
    }

    /// How much of each span lies on the critical path, in nanoseconds: from the end of each root backwards, always the
    /// child that ended last before (the algorithm of Jaeger's critical path).
    fn critical(&self) -> Vec<u64> {
        let mut share = vec![0; self.spans.len()];
        let mut next: Vec<(usize, u64)> =
            self.roots.iter().map(|root| (*root, self.spans[*root].end)).collect();
        while let Some((index, until)) = next.pop() {
            let span = &self.spans[index];
            let mut at = until.min(span.end);
            let mut children: Vec<usize> = self.children[index].clone();
            children.sort_by_key(|child| std::cmp::Reverse(self.spans[*child].end));
            for child in children {
                let below = &self.spans[child];
                let (start, end) = (below.start.max(span.start), below.end.min(span.end));
                // It began after what is already accounted for, or did not overlap with its parent at all.
                if start >= at || end <= span.start {
                    continue;
                }
                // One that goes on while a later one already accounts for the time is not waited for.
                if end > at {
                    continue;
                }
                share[index] += at - end;
                next.push((child, end));
                at = start;
            }
            share[index] += at.saturating_sub(span.start);
        }
        share
    }

    /// How much of a span is not its children's, in nanoseconds.
    fn own(&self, index: usize) -> u64 {
        let span = &self.spans[index];
        let (mut covered, mut reached) = (0, span.start);
        for child in &self.children[index] {
            let (start, end) = (self.spans[*child].start.max(reached), self.spans[*child].end.min(span.end));
            covered += end.saturating_sub(start);
            reached = reached.max(end);
        }
        span.took().saturating_sub(covered)
    }
}

fn shown(tree: &Tree<'_>, index: usize, depth: usize, below: usize, began: u64, critical: u64) -> Shown {
    let span = &tree.spans[index];
    let attributes = span.attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let event = |event: &SpanEvent| {
        let more: Map<String, Value> =
            event.attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let at = millis(event.time.saturating_sub(began));
        serde_json::json!({"at_ms": at, "name": event.name, "attributes": more})
    };
    Shown {
        span_id: span.id,
        parent_id: span.parent,
        depth,
        below,
        name: span.name.clone(),
        kind: span.kind,
        service: span.service.to_string(),
        received: span.received,
        start_ms: millis(span.start - began),
        duration_ms: millis(span.took()),
        self_ms: millis(tree.own(index)),
        status: span.status,
        error: span.error.clone(),
        critical_ms: millis(critical),
        attributes,
        events: span.events.iter().map(event).collect(),
    }
}

/// Times within which no span that has no children does anything but wait.
fn gaps(spans: &[Span], began: u64) -> Vec<Gap> {
    let end = spans.iter().map(|span| span.end).max().unwrap_or(began);
    let parents: std::collections::HashSet<SpanId> = spans.iter().filter_map(|span| span.parent).collect();
    let busy =
        spans.iter().filter(|span| !parents.contains(&span.id) && span.text(semconv::WAITS_FOR).is_none());
    let least = crate::metrics::histogram::as_float(end - began) * GAP_SHARE;
    let (mut reached, mut gaps) = (began, Vec::new());
    let mut put = |from: u64, to: u64| {
        if to > from && crate::metrics::histogram::as_float(to - from) >= least.max(1e6) {
            gaps.push(Gap { start_ms: millis(from - began), end_ms: millis(to - began) });
        }
    };
    for span in busy {
        put(reached, span.start);
        reached = reached.max(span.end);
    }
    put(reached, end);
    gaps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_model::TraceId;

    use super::*;
    use crate::store::Kept;

    /// A span of these milliseconds.
    fn span(id: u8, parent: u8, start: u64, end: u64) -> Span {
        let trace = TraceId::new([7; 16]).unwrap();
        let (id, parent) = (SpanId::new([id; 8]).unwrap(), SpanId::new([parent; 8]));
        Span::ours(trace, id, parent, format!("{start}"), start * 1_000_000, end * 1_000_000)
    }

    fn look(spans: Vec<Span>) -> Waterfall {
        waterfall(Kept::default().summary(TraceId::new([7; 16]).unwrap()), spans, 10_000)
    }

    #[test]
    fn each_span_stands_before_its_children_and_the_critical_path_adds_up() {
        let spans = vec![
            span(4, 1, 70, 90),
            span(1, 0, 0, 100),
            span(2, 1, 10, 60),
            span(3, 2, 20, 50),
            span(5, 1, 15, 30),
            span(6, 99, 95, 99),
        ];
        let seen = look(spans);
        let rows: Vec<(f64, usize, usize)> =
            seen.rows.iter().map(|row| (row.start_ms, row.depth, row.below)).collect();
        assert_eq!(rows, [(0., 0, 4), (10., 1, 1), (20., 2, 0), (15., 1, 0), (70., 1, 0), (95., 0, 0)]);
        assert_eq!(seen.missing_parents, 1);
        let critical: f64 =
            seen.rows.iter().filter(|row| row.start_ms < 95.).map(|row| row.critical_ms).sum();
        assert!((critical - 100.).abs() < 1e-9, "{critical}");
        assert!((seen.rows[0].critical_ms - 30.).abs() < 1e-9 && seen.rows[3].critical_ms == 0.0);
        assert!((seen.rows[1].self_ms - 20.).abs() < 1e-9);
        let gaps: Vec<(f64, f64)> = seen.gaps.iter().map(|gap| (gap.start_ms, gap.end_ms)).collect();
        assert_eq!(gaps, [(0., 15.), (50., 70.)]);
    }

    #[test]
    fn spans_that_are_their_own_ancestors_are_shown_all_the_same() {
        let seen = look(vec![span(1, 2, 0, 5), span(2, 1, 1, 4), span(3, 3, 2, 3)]);
        assert_eq!(seen.rows.len(), 3);
    }

    proptest! {
        #[test]
        fn every_span_is_shown_once(parents in proptest::collection::vec((0..40_u8, 0..50_u64, 0..50_u64), 1..40)) {
            let spans: Vec<Span> = parents
                .iter()
                .zip(1..)
                .map(|((parent, start, took), id)| span(id, *parent, *start, start + took))
                .collect();
            let count = spans.len();
            let seen = look(spans);
            prop_assert_eq!(seen.rows.len(), count);
            for row in &seen.rows {
                prop_assert!(row.critical_ms <= row.duration_ms + 1e-9 && row.self_ms <= row.duration_ms + 1e-9);
            }
        }
    }
}
