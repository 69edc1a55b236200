//! A map of many nodes, with those drawn as one that belong together by their names.

use std::collections::{BTreeMap, HashMap};

use super::{Drawn, Edge, NodeKind, Picture, Seen};

/// More nodes than this are grouped.
const MAX_NODES: usize = 60;

/// The map with at most 60 nodes: first those are drawn as one whose names begin alike, then all of a kind.
/// `open` names groups that are not to be folded.
#[must_use]
pub fn grouped(picture: Picture, open: &[String]) -> Picture {
    if picture.nodes.len() <= MAX_NODES {
        return picture;
    }
    let by_prefix = |node: &Drawn| Some(format!("{}:{}-*", word(node.kind), prefix(&node.name)?));
    let first = fold(picture, &by_prefix, open);
    if first.nodes.len() <= MAX_NODES {
        return first;
    }
    fold(first, &|node| Some(format!("{}:all", word(node.kind))), open)
}

fn word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Agent | NodeKind::Principal => "callers",
        NodeKind::Door => "doors",
        NodeKind::Flows => "flows",
        NodeKind::Service | NodeKind::Group => "services",
        NodeKind::Beyond => "beyond",
    }
}

/// The first word of a name of several.
fn prefix(name: &str) -> Option<&str> {
    let (first, rest) = name.split_once(['-', '_', '.', '/'])?;
    (!first.is_empty() && !rest.is_empty()).then_some(first)
}

fn fold(picture: Picture, key: &dyn Fn(&Drawn) -> Option<String>, open: &[String]) -> Picture {
    let mut groups: BTreeMap<String, Vec<Drawn>> = BTreeMap::new();
    let mut nodes = Vec::new();
    for node in picture.nodes {
        let folds = !matches!(node.kind, NodeKind::Door | NodeKind::Flows);
        match key(&node).filter(|key| folds && !open.contains(&format!("group:{key}"))) {
            Some(key) => groups.entry(key).or_default().push(node),
            None => nodes.push(node),
        }
    }
    let mut moved: HashMap<String, String> = HashMap::new();
    for (key, mut members) in groups {
        if members.len() == 1 {
            nodes.append(&mut members);
            continue;
        }
        let id = format!("group:{key}");
        members.iter().for_each(|member| {
            moved.insert(member.id.clone(), id.clone());
        });
        nodes.push(group(id, &key, members));
    }
    nodes.sort_by(|a, b| (a.column, &a.name).cmp(&(b.column, &b.name)));
    let mut edges: BTreeMap<(String, String), Seen> = BTreeMap::new();
    for Edge { from, to, seen } in picture.edges {
        let moved = |id: String| moved.get(&id).cloned().unwrap_or(id);
        let ends = (moved(from), moved(to));
        if ends.0 != ends.1 {
            edges.entry(ends).or_default().add(&seen);
        }
    }
    let edges = edges.into_iter().map(|((from, to), seen)| Edge { from, to, seen }).collect();
    Picture { nodes, edges, window_s: picture.window_s, grouped: true }
}

fn group(id: String, key: &str, members: Vec<Drawn>) -> Drawn {
    let mut seen = Seen::default();
    members.iter().for_each(|member| seen.add(&member.seen));
    let (_, name) = key.split_once(':').unwrap_or(("", key));
    // What is wrong with one is wrong with the group: it must not be hidden.
    let bad = members.iter().find(|member| member.health == "bad");
    let health = match bad {
        Some(_) => "bad",
        None if seen.calls > 0 => "good",
        None => "idle",
    };
    let names = members.iter().flat_map(|member| match member.kind {
        NodeKind::Group => member.members.clone(),
        _ => vec![member.name.clone()],
    });
    let members_all: Vec<String> = names.collect();
    Drawn {
        id,
        kind: NodeKind::Group,
        name: format!("{name} ({})", members_all.len()),
        column: members[0].column,
        state: bad.and_then(|member| member.state.clone()),
        cause: bad.map(|member| match &member.cause {
            Some(cause) => format!("{}: {cause}", member.name),
            None => format!("{} fails", member.name),
        }),
        breakers: members.iter().flat_map(|member| member.breakers.clone()).collect(),
        protocol: None,
        also: Vec::new(),
        health,
        seen,
        members: members_all,
    }
}
