//! Random plans, and what happens while they run.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use trunkline_orchestrator::entry::Undo;

use crate::world::{Act, Nature, Tool, undo_args};

/// How a step says that it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Unsaid,
    Nothing,
    /// By the step, from its arguments, its result, or what it left for the steps.
    ByArguments,
    ByResult,
    ByStep,
    /// It does no harm where nothing was done.
    Safe,
    /// By the tool.
    Declared,
}

/// A step.
#[derive(Clone, Debug)]
pub(crate) struct StepOf {
    /// What comes before it, and whether by a reference.
    pub(crate) needs: Vec<(usize, bool)>,
    nature: Nature,
    first: Vec<Act>,
    then: Act,
    pub(crate) way: Way,
    undo: (bool, Vec<Act>, Act),
    /// Whether it is left out, where it says that.
    when: Option<bool>,
    /// For how many items it is done.
    pub(crate) items: Option<usize>,
    retry: bool,
    timeout: Option<u32>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// At once.
    Kill,
    /// At once, and what the disk had taken and nobody knew of is lost.
    Lose,
    /// It was asked to: what is under way is waited for, for a moment.
    Close,
}

/// A plan and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) steps: Vec<StepOf>,
    pub(crate) pivot: Option<usize>,
    concurrency: Option<u32>,
    timeout: Option<u32>,
    /// In which process, and at which tick of it, someone cancels.
    pub(crate) cancel: Option<(usize, u32)>,
    /// At which tick each process ends, and how.
    pub(crate) crashes: Vec<(u32, Crash)>,
    /// The person takes their time.
    pub(crate) slow: bool,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Succeed), 1 => Just(Act::Refuse), 4 => Just(Act::Fail), 3 => Just(Act::Lost),
        2 => Just(Act::LostBefore), 1 => Just(Act::Hang), 1 => Just(Act::HangBefore),
    ]
}

fn last() -> impl Strategy<Value = Act> {
    prop_oneof![40 => Just(Act::Succeed), 4 => Just(Act::Refuse), 1 => Just(Act::Fail), 2 => Just(Act::Lost), 1 => Just(Act::LostBefore)]
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        1 => Just(Nature::ReadOnly), 2 => Just(Nature::Idempotent), 4 => Just(Nature::Keyed), 3 => Just(Nature::Plain)
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        1 => Just(Way::Unsaid), 1 => Just(Way::Nothing), 3 => Just(Way::ByArguments), 2 => Just(Way::ByResult),
        1 => Just(Way::ByStep), 2 => Just(Way::Safe), 2 => Just(Way::Declared),
    ]
}

fn step() -> impl Strategy<Value = StepOf> {
    let often = |some: u32| prop::bool::weighted(f64::from(some) / 100.0);
    let first = (often(35), prop::collection::vec(acts(), 1..4))
        .prop_map(|(some, acts)| if some { acts } else { Vec::new() });
    let undone = (often(25), prop::collection::vec(acts(), 1..3))
        .prop_map(|(some, acts)| if some { acts } else { Vec::new() });
    let world = (nature(), first, last(), way(), (any::<bool>(), undone, last()));
    let shape = (
        prop::collection::vec((0..12_usize, any::<bool>()), 0..4),
        prop_oneof![8 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))],
        prop_oneof![6 => Just(None), 1 => (0..4_usize).prop_map(Some)],
        often(15),
        prop_oneof![9 => Just(None), 1 => (1..12_u32).prop_map(Some)],
    );
    (world, shape).prop_map(|(world, (needs, when, items, retry, timeout))| {
        let (nature, first, then, way, undo) = world;
        StepOf { needs, nature, first, then, way, undo, when, items, retry, timeout }
    })
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![3 => Just(Crash::Kill), 3 => Just(Crash::Lose), 1 => Just(Crash::Close)]
}

/// All that may happen.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let plan = (
        prop::collection::vec(step(), 1..=12),
        prop::option::weighted(0.35, 0..12_usize),
        prop::option::weighted(0.2, 1..4_u32),
        prop::option::weighted(0.05, 2..40_u32),
    );
    let fate = (
        prop::option::weighted(0.25, (0..3_usize, 1..60_u32)),
        prop::collection::vec((1..50_u32, crash()), 0..5),
        prop::bool::weighted(0.2),
    );
    (plan, fate).prop_map(|((mut steps, pivot, concurrency, timeout), (cancel, crashes, slow))| {
        for (index, step) in steps.iter_mut().enumerate() {
            step.needs.retain(|(on, _)| *on < index);
            step.needs.sort_unstable();
            step.needs.dedup_by_key(|(on, _)| *on);
        }
        let pivot = pivot.filter(|pivot| *pivot < steps.len());
        Case { steps, pivot, concurrency, timeout, cancel, crashes, slow }
    })
}

impl StepOf {
    pub(crate) fn has_effects(&self) -> bool {
        self.nature != Nature::ReadOnly
    }

    pub(crate) fn may_repeat(&self) -> bool {
        self.nature == Nature::Idempotent
    }

    pub(crate) fn can_be_undone(&self) -> bool {
        !matches!(self.way, Way::Unsaid | Way::Nothing)
    }

    pub(crate) fn is_left_out(&self) -> bool {
        self.when == Some(false) || self.items == Some(0)
    }

    /// What it is called for.
    pub(crate) fn ids(&self, index: usize) -> Vec<String> {
        match self.items {
            None => vec![format!("s{index}")],
            Some(items) => (0..items).map(|item| format!("s{index}[{item}]")).collect(),
        }
    }
}

impl Case {
    /// The tools of the plan.
    pub(crate) fn tools(&self) -> HashMap<String, Tool> {
        let mut tools = HashMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            let declared = (step.way == Way::Declared).then(|| Undo {
                tool: Arc::from(format!("undo{index}")),
                args: undo_args(".args.id"),
                safe: false,
            });
            let tool = Tool { nature: step.nature, first: step.first.clone(), then: step.then, declared };
            tools.insert(format!("tool{index}"), tool);
            let (keyed, first, then) = step.undo.clone();
            let nature = if keyed { Nature::Keyed } else { Nature::Idempotent };
            tools.insert(format!("undo{index}"), Tool { nature, first, then, declared: None });
        }
        tools
    }

    /// The plan as a model would write it.
    pub(crate) fn plan(&self) -> Value {
        let steps: Vec<Value> = (0..self.steps.len()).map(|index| self.step(index)).collect();
        let mut plan = json!({"name": "random", "steps": steps});
        if let Some(concurrency) = self.concurrency {
            plan["concurrency"] = json!(concurrency);
        }
        if let Some(timeout) = self.timeout {
            plan["timeout"] = json!({"milliseconds": timeout});
        }
        plan
    }

    fn step(&self, index: usize) -> Value {
        let step = &self.steps[index];
        let mut args = Map::new();
        let id = match step.items {
            None => json!(format!("s{index}")),
            Some(_) => json!(format!("${{ \"s{index}[\" + ($item | tostring) + \"]\" }}")),
        };
        args.insert("id".to_owned(), id);
        let mut after = Vec::new();
        for (on, by_reference) in &step.needs {
            if *by_reference {
                args.insert(format!("d{on}"), json!(format!("${{ .steps.s{on} }}")));
            } else {
                after.push(format!("s{on}"));
            }
        }
        let mut out = json!({"id": format!("s{index}"), "tool": format!("tool{index}"), "args": args});
        if !after.is_empty() {
            out["after"] = json!(after);
        }
        let undo = |by: &str| json!({"tool": format!("undo{index}"), "args": undo_args(by)});
        match step.way {
            Way::Unsaid | Way::Declared => {}
            Way::Nothing => out["undo"] = json!(false),
            Way::ByArguments => out["undo"] = undo(".args.id"),
            Way::ByResult => out["undo"] = undo(".result.id"),
            Way::ByStep if step.items.is_some() => {
                out["undo"] = undo(&format!("\"s{index}[\" + ($item | tostring) + \"]\""));
            }
            Way::ByStep => out["undo"] = undo(&format!(".steps.s{index}.id")),
            Way::Safe => {
                out["undo"] = undo(".args.id");
                out["undo"]["safe"] = json!(true);
            }
        }
        if self.pivot == Some(index) {
            out["pivot"] = json!(true);
        }
        if let Some(holds) = step.when {
            out["when"] = json!(holds.to_string());
        }
        if let Some(items) = step.items {
            out["forEach"] = json!(json!((0..items).collect::<Vec<_>>()).to_string());
        }
        if step.retry {
            out["retry"] = json!({"delay": {"milliseconds": 1}, "limit": {"attempt": {"count": 2}}});
        }
        if let Some(timeout) = step.timeout {
            out["timeout"] = json!({"milliseconds": timeout});
        }
        out
    }
}
