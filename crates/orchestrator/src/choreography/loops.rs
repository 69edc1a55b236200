//! Loops that can be seen before anything runs: a flow emits what starts it again, alone or by way of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::Subscription;
use crate::workflow::Workflow;

/// How deep a definition is looked into.
const MAX_DEPTH: usize = 64;

/// The loops among these subscriptions, each as the names on its way, the first again at its end. Filters and sources are
/// not looked at, so that one which ends by itself may be among them.
#[must_use]
pub fn find(subscriptions: &[Arc<Subscription>], flows: &[Arc<Workflow>]) -> Vec<Vec<String>> {
    let edges: Vec<Vec<(usize, String)>> = subscriptions
        .iter()
        .map(|subscription| {
            let Some(flow) = subscription.workflow(flows) else { return Vec::new() };
            let mut kinds = BTreeSet::new();
            emitted(flow.source(), 0, &mut kinds);
            let mut next = Vec::new();
            for kind in kinds {
                let fit = subscriptions.iter().enumerate().filter(|(_, other)| other.may_want(&kind));
                next.extend(fit.map(|(index, _)| (index, kind.clone())));
            }
            next
        })
        .collect();
    let mut found = Vec::new();
    let mut done = vec![false; subscriptions.len()];
    for start in 0..subscriptions.len() {
        let Some(way) = way_back(start, &edges, &done) else { continue };
        let mut path = vec![subscriptions[start].name.to_string()];
        for (index, kind) in way {
            path.push(format!("({kind})"));
            path.push(subscriptions[index].name.to_string());
            done[index] = true;
        }
        found.push(path);
    }
    found
}

/// The shortest way from a subscription to itself that uses none that is in a loop already.
fn way_back(start: usize, edges: &[Vec<(usize, String)>], done: &[bool]) -> Option<Vec<(usize, String)>> {
    if done[start] {
        return None;
    }
    let mut from: Vec<Option<(usize, String)>> = vec![None; edges.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(index) = queue.pop_front() {
        for (next, kind) in &edges[index] {
            if done[*next] || from[*next].is_some() {
                continue;
            }
            from[*next] = Some((index, kind.clone()));
            if *next == start {
                let (mut way, mut at) = (Vec::new(), start);
                while let Some((before, kind)) = from[at].take() {
                    way.push((at, kind));
                    at = before;
                }
                way.reverse();
                return Some(way);
            }
            queue.push_back(*next);
        }
    }
    None
}

/// The types of events that a definition emits, as far as they are written out.
fn emitted(value: &Value, depth: usize, kinds: &mut BTreeSet<String>) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(members) => {
            if let Some(kind) = members.get("emit").and_then(|emit| emit["event"]["with"]["type"].as_str())
                && !kind.starts_with("${")
            {
                kinds.insert(kind.to_owned());
            }
            members.values().for_each(|value| emitted(value, depth + 1, kinds));
        }
        Value::Array(items) => items.iter().for_each(|value| emitted(value, depth + 1, kinds)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::choreography::{Order, Target};

    fn flow(name: &str, emits: &str) -> Arc<Workflow> {
        let source = json!({
            "document": {"dsl": "1.0.3", "namespace": "test", "name": name, "version": "1.0.0"},
            "do": [{"all": {"do": [{"tell": {"emit": {"event": {"with": {"type": emits}}}}}]}}],
        });
        Arc::new(Workflow::from_source(Arc::new(source)).unwrap())
    }

    fn on(kind: &str, flow: &str) -> Arc<Subscription> {
        let order = Order {
            name: format!("on-{flow}"),
            types: vec![kind.to_owned()],
            source: None,
            filter: None,
            target: Target::Flow(flow.to_owned()),
            args: None,
            emit: None,
            group: None,
            concurrency: 1,
            attempts: 1,
            backoff: Duration::ZERO,
            timeout: Duration::from_secs(1),
        };
        Arc::new(Subscription::new(order).unwrap())
    }

    #[test]
    fn loops_are_found_and_chains_are_not() {
        let flows = [flow("a", "x.b"), flow("b", "x.a"), flow("c", "x.d"), flow("d", "done"), flow("e", "e")];
        let all = [on("x.a", "a"), on("x.b", "b"), on("x.c", "c"), on("x.d", "d"), on("e*", "e")];
        let expected = [vec!["on-a", "(x.b)", "on-b", "(x.a)", "on-a"], vec!["on-e", "(e)", "on-e"]];
        assert_eq!(find(&all, &flows), expected);
        assert_eq!(find(&all[2..4], &flows), Vec::<Vec<String>>::new());
    }
}
