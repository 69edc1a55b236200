//! The order of steps: what depends on what, cycles, and the structure of sequences and branches that keeps the order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{Part, Plan, Reference};

/// A part of the structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// One step, by index.
    Step(usize),
    /// Parts at once; each a sequence.
    Parallel(Vec<Vec<Block>>),
}

/// Parts that are knots larger than this are cut into levels at once: peeling them is quadratic.
const MAX_KNOT: usize = 500;

/// The order of the steps of a plan, by their indexes in it.
#[derive(Debug)]
pub(crate) struct Order {
    /// The steps that come right before each step, without repetition.
    pub before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// The steps in an order that breaks none, as far as there is one.
    sorted: Vec<usize>,
}

impl Order {
    /// Of a plan; names of steps that are not there are left out.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut indexes: HashMap<&str, usize> = HashMap::new();
        for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| !step.id.is_empty()) {
            indexes.entry(&step.id).or_insert(index);
        }
        let before: Vec<Vec<usize>> = plan
            .steps
            .iter()
            .map(|step| {
                let explicit = step.after.iter().map(|name| &**name);
                // A step's undo refers to its own result.
                let own = |reference: &Reference| {
                    reference.part == Part::Undo && reference.step.as_deref() == Some(&step.id)
                };
                let referred = step.references.iter().filter(|reference| !own(reference));
                let names = explicit.chain(referred.filter_map(|reference| reference.step.as_deref()));
                let mut before: Vec<usize> = names.filter_map(|name| indexes.get(name).copied()).collect();
                before.sort_unstable();
                before.dedup();
                before
            })
            .collect();
        Self::new(before)
    }

    fn new(before: Vec<Vec<usize>>) -> Self {
        let mut after = vec![Vec::new(); before.len()];
        for (index, earlier) in before.iter().enumerate() {
            for &other in earlier {
                after[other].push(index);
            }
        }
        let mut waits: Vec<usize> = before.iter().map(Vec::len).collect();
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..before.len()).filter(|&index| waits[index] == 0).map(Reverse).collect();
        let mut sorted = Vec::with_capacity(before.len());
        while let Some(Reverse(index)) = ready.pop() {
            sorted.push(index);
            for &later in &after[index] {
                waits[later] -= 1;
                if waits[later] == 0 {
                    ready.push(Reverse(later));
                }
            }
        }
        Self { before, after, sorted }
    }

    /// Cycles that have no step in common: each step comes after the next one, and the last one after the first.
    pub(crate) fn cycles(&self) -> Vec<Vec<usize>> {
        let mut done = vec![false; self.before.len()];
        for &index in &self.sorted {
            done[index] = true;
        }
        let mut cycles = Vec::new();
        for start in 0..done.len() {
            // Every step that is not sorted is in a cycle or behind one, so that going back always ends in a cycle.
            let mut place: HashMap<usize, usize> = HashMap::new();
            let mut path = Vec::new();
            let mut at = start;
            while !done[at] {
                if let Some(&first) = place.get(&at) {
                    cycles.push(path.split_off(first));
                    break;
                }
                place.insert(at, path.len());
                path.push(at);
                match self.before[at].iter().find(|&&earlier| !done[earlier]) {
                    Some(&earlier) => at = earlier,
                    None => break,
                }
            }
            for index in path.into_iter().chain(cycles.last().into_iter().flatten().copied()) {
                done[index] = true;
            }
        }
        cycles
    }

    /// All steps that come after any of these, directly or not.
    pub(crate) fn all_after(&self, steps: &[usize]) -> Vec<bool> {
        self.reach(steps, &self.after)
    }

    /// All steps that come before any of these, directly or not.
    pub(crate) fn all_before(&self, steps: &[usize]) -> Vec<bool> {
        self.reach(steps, &self.before)
    }

    fn reach(&self, steps: &[usize], edges: &[Vec<usize>]) -> Vec<bool> {
        let mut reached = vec![false; self.before.len()];
        let mut open = steps.to_vec();
        while let Some(at) = open.pop() {
            for &next in &edges[at] {
                if !std::mem::replace(&mut reached[next], true) {
                    open.push(next);
                }
            }
        }
        reached
    }

    /// The structure that keeps the order, with branches nested at most `depth` deep; at least one level is taken.
    pub(super) fn blocks(&self, depth: usize) -> Vec<Block> {
        let mut split = Split { order: self, inside: vec![0; self.before.len()], stamp: 0 };
        split.sequence(self.sorted.clone(), depth.max(1))
    }
}

/// Works on parts of the steps; each part is a list in an order that breaks none.
struct Split<'o> {
    order: &'o Order,
    /// Which steps are in the part at hand: those with its stamp.
    inside: Vec<usize>,
    stamp: usize,
}

impl Split<'_> {
    fn enter(&mut self, steps: &[usize]) {
        self.stamp += 1;
        for &step in steps {
            self.inside[step] = self.stamp;
        }
    }

    fn before(&self, step: usize) -> impl Iterator<Item = usize> + '_ {
        self.order.before[step].iter().copied().filter(|&other| self.inside[other] == self.stamp)
    }

    fn after(&self, step: usize) -> impl Iterator<Item = usize> + '_ {
        self.order.after[step].iter().copied().filter(|&other| self.inside[other] == self.stamp)
    }

    fn sequence(&mut self, steps: Vec<usize>, depth: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open = vec![steps];
        while let Some(steps) = open.pop() {
            if let [step] = steps[..] {
                blocks.push(Block::Step(step));
                continue;
            }
            let parts = self.independent(&steps);
            if parts.len() > 1 {
                if parts.iter().all(|part| part.len() == 1) {
                    blocks.push(parallel(steps));
                } else if depth > 1 {
                    let branches = parts.into_iter().map(|part| self.sequence(part, depth - 1)).collect();
                    blocks.push(Block::Parallel(branches));
                } else {
                    blocks.extend(self.levels(&steps));
                }
                continue;
            }
            let segments = self.segments(&steps);
            if segments.len() > 1 {
                open.extend(segments.into_iter().rev());
            } else if steps.len() > MAX_KNOT {
                blocks.extend(self.levels(&steps));
            } else if !steps.is_empty() {
                self.enter(&steps);
                let (first, rest): (Vec<usize>, Vec<usize>) =
                    steps.iter().partition(|&&step| self.before(step).next().is_none());
                blocks.push(parallel(first));
                open.push(rest);
            }
        }
        blocks
    }

    /// The parts that do not depend on each other, in the order of their first steps.
    fn independent(&mut self, steps: &[usize]) -> Vec<Vec<usize>> {
        self.enter(steps);
        let mut part_of: HashMap<usize, usize> = HashMap::with_capacity(steps.len());
        let mut count = 0;
        for &start in steps {
            if part_of.contains_key(&start) {
                continue;
            }
            let mut open = vec![start];
            part_of.insert(start, count);
            while let Some(at) = open.pop() {
                for next in self.before(at).chain(self.after(at)) {
                    if part_of.insert(next, count).is_none() {
                        open.push(next);
                    }
                }
            }
            count += 1;
        }
        let mut parts = vec![Vec::new(); count];
        for step in steps {
            parts[part_of[step]].push(*step);
        }
        parts
    }

    /// The longest row of parts such that all of one comes before all of the next.
    ///
    /// Such a cut is one of every sorted list. It is there where each last step of what is left of it (none on the left
    /// comes after it) comes right before each first step of what is right of it (none on the right comes before it), so
    /// that counting the pairs is enough.
    fn segments(&mut self, steps: &[usize]) -> Vec<Vec<usize>> {
        self.enter(steps);
        let mut waits: HashMap<usize, usize> =
            steps.iter().map(|&step| (step, self.before(step).count())).collect();
        let mut last = vec![false; self.inside.len()];
        let mut first = vec![false; self.inside.len()];
        let (mut lasts, mut firsts, mut pairs) = (0_usize, 0_usize, 0_usize);
        for &step in steps.iter().filter(|step| waits[*step] == 0) {
            first[step] = true;
            firsts += 1;
        }
        let mut segments: Vec<Vec<usize>> = vec![Vec::new()];
        for (index, &step) in steps.iter().enumerate() {
            if index > 0 && pairs == lasts * firsts {
                segments.push(Vec::new());
            }
            if let Some(segment) = segments.last_mut() {
                segment.push(step);
            }
            pairs -= self.before(step).filter(|&other| last[other]).count();
            first[step] = false;
            firsts -= 1;
            for other in self.before(step) {
                if std::mem::replace(&mut last[other], false) {
                    lasts -= 1;
                    pairs -= self.after(other).filter(|&next| first[next]).count();
                }
            }
            for next in self.after(step) {
                let left = waits.entry(next).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    first[next] = true;
                    firsts += 1;
                    pairs += self.before(next).filter(|&other| last[other]).count();
                }
            }
            last[step] = true;
            lasts += 1;
            pairs += self.after(step).filter(|&next| first[next]).count();
        }
        segments
    }

    /// One level after the other: each the steps that wait only for earlier levels.
    fn levels(&mut self, steps: &[usize]) -> Vec<Block> {
        self.enter(steps);
        let mut level_of: HashMap<usize, usize> = HashMap::with_capacity(steps.len());
        let mut levels: Vec<Vec<usize>> = Vec::new();
        for &step in steps {
            let level = self.before(step).map(|other| level_of[&other] + 1).max().unwrap_or(0);
            level_of.insert(step, level);
            if levels.len() == level {
                levels.push(Vec::new());
            }
            levels[level].push(step);
        }
        levels.into_iter().map(parallel).collect()
    }
}

fn parallel(steps: Vec<usize>) -> Block {
    match steps[..] {
        [step] => Block::Step(step),
        _ => Block::Parallel(steps.into_iter().map(|step| vec![Block::Step(step)]).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(blocks: &[Block]) -> String {
        let one = |block: &Block| match block {
            Block::Step(step) => step.to_string(),
            Block::Parallel(branches) => {
                format!("({})", branches.iter().map(|b| show(b)).collect::<Vec<_>>().join("|"))
            }
        };
        blocks.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn structure(before: &[&[usize]]) -> String {
        show(&Order::new(before.iter().map(|b| b.to_vec()).collect()).blocks(6))
    }

    #[test]
    fn series_parallel_orders_keep_all_their_freedom() {
        assert_eq!(structure(&[]), "");
        assert_eq!(structure(&[&[]]), "0");
        assert_eq!(structure(&[&[], &[0], &[1]]), "0 1 2");
        assert_eq!(structure(&[&[], &[], &[]]), "(0|1|2)");
        // A diamond, also with an edge that says nothing new.
        assert_eq!(structure(&[&[], &[0], &[0], &[1, 2]]), "0 (1|2) 3");
        assert_eq!(structure(&[&[], &[0], &[0], &[0, 1, 2]]), "0 (1|2) 3");
        // Two chains, and a join.
        assert_eq!(structure(&[&[], &[0], &[], &[2], &[1, 3]]), "(0 1|2 3) 4");
        // All of two come before all of two.
        assert_eq!(structure(&[&[], &[], &[0, 1], &[0, 1]]), "(0|1) (2|3)");
    }

    #[test]
    fn a_knot_is_cut_once_and_then_goes_on() {
        // 0→2, 0→3, 1→3: neither series nor parallel.
        assert_eq!(structure(&[&[], &[], &[0], &[0, 1]]), "(0|1) (2|3)");
        // Two chains of three with one edge across.
        assert_eq!(structure(&[&[], &[0], &[1], &[], &[3], &[4, 0]]), "(0|3) (1 2|4 5)");
    }

    #[test]
    fn cycles_are_named_whole() {
        let order = Order::new(vec![vec![2], vec![0], vec![1], vec![3], vec![0], vec![]]);
        assert_eq!(order.cycles(), [vec![0, 2, 1], vec![3]]);
        assert!(Order::new(vec![vec![], vec![0]]).cycles().is_empty());
    }

    #[test]
    fn large_orders_are_quick() {
        let chain: Vec<Vec<usize>> =
            (0..10_000).map(|n: usize| n.checked_sub(1).into_iter().collect()).collect();
        assert_eq!(Order::new(chain).blocks(6).len(), 10_000);
        let knot: Vec<Vec<usize>> = (0..10_000_usize)
            .map(|n| [3, 7, 11].iter().filter_map(|d| n.checked_sub(*d)).collect())
            .collect();
        assert!(!Order::new(knot).blocks(6).is_empty());
    }

    /// When each step starts and ends, if each takes one unit of time.
    fn times(blocks: &[Block], mut now: usize, spans: &mut Vec<(usize, usize)>) -> usize {
        for block in blocks {
            now = match block {
                Block::Step(step) => {
                    spans[*step] = (now, now + 1);
                    now + 1
                }
                Block::Parallel(branches) => {
                    branches.iter().map(|branch| times(branch, now, spans)).max().unwrap_or(now)
                }
            };
        }
        now
    }

    fn depth(blocks: &[Block]) -> usize {
        blocks
            .iter()
            .map(|block| match block {
                Block::Step(_) => 0,
                Block::Parallel(branches) => 1 + branches.iter().map(|b| depth(b)).max().unwrap_or(0),
            })
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_order_is_broken_and_no_step_lost(
            edges in proptest::collection::vec((0..24_usize, 0..24_usize), 0..60),
            nesting in 1..7_usize,
        ) {
            let mut before = vec![Vec::new(); 24];
            for (a, b) in edges {
                if a < b && !before[b].contains(&a) {
                    before[b].push(a);
                }
            }
            let order = Order::new(before.clone());
            let blocks = order.blocks(nesting);
            prop_assert!(depth(&blocks) <= nesting);
            let mut spans = vec![(usize::MAX, 0); 24];
            times(&blocks, 0, &mut spans);
            for (step, earlier) in before.iter().enumerate() {
                prop_assert!(spans[step].0 < usize::MAX);
                for other in earlier {
                    prop_assert!(spans[*other].1 <= spans[step].0);
                }
            }
        }
    }
}
