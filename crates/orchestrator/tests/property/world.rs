//! A model of the world: tools that succeed, refuse, are lost with or without their effect, hang, or fail for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use trunkline_model::{BoxFuture, EffectState, Effects, Failure, Outcome, Principal, ToolResult};
use trunkline_orchestrator::entry::Undo;
use trunkline_orchestrator::outside::{Contract, StepCall, Tools};

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Succeed,
    /// A certain no, for good: a tool that honours keys keeps it with its key.
    Refuse,
    /// A certain no that may pass.
    Fail,
    /// It happens, and nobody hears of it.
    Lost,
    /// It does not happen, and nobody hears of that.
    LostBefore,
    /// It happens, and there is no answer before the deadline.
    Hang,
    /// It does not happen, and there is no answer before the deadline.
    HangBefore,
}

/// How a tool knows a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    ReadOnly,
    Idempotent,
    Keyed,
    /// It does not: every call does it again.
    Plain,
}

/// How a tool behaves.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) nature: Nature,
    /// What the first calls come to, for each thing that it is called for.
    pub(crate) first: Vec<Act>,
    /// What all later ones come to.
    pub(crate) then: Act,
    /// What undoes it is declared of the tool.
    pub(crate) declared: Option<Undo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Done,
    Undone,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) what: What,
    /// What it happened to: the id of a step, with the number of the item in a loop.
    pub(crate) id: String,
    /// Whether that was there before.
    pub(crate) before: bool,
}

#[derive(Default)]
struct State {
    effects: Vec<Effect>,
    /// What is there.
    there: HashMap<String, u32>,
    /// What tools that honour keys keep: whether it was done.
    keys: HashMap<String, bool>,
    /// How often each tool was called for each thing.
    calls: HashMap<(String, String), usize>,
    /// Calls that name nothing.
    blind: Vec<String>,
}

/// The world outlives every process.
pub(crate) struct World {
    tools: HashMap<String, Tool>,
    state: Mutex<State>,
    /// Counts what happens in a process: entries, calls, effects, answers.
    ticks: AtomicU32,
    /// At which tick the process ends, and at which someone cancels the run.
    crash_at: AtomicU32,
    cancel_at: AtomicU32,
    pub(crate) crash: Notify,
    pub(crate) cancel: Notify,
    /// Calls get no answer and have no effect: it is only looked at which are made.
    frozen: bool,
    pub(crate) called: Notify,
}

impl World {
    pub(crate) fn new(tools: HashMap<String, Tool>, frozen: bool) -> Self {
        Self {
            tools,
            state: Mutex::default(),
            ticks: AtomicU32::new(0),
            crash_at: AtomicU32::new(0),
            cancel_at: AtomicU32::new(0),
            crash: Notify::new(),
            cancel: Notify::new(),
            frozen,
            called: Notify::new(),
        }
    }

    pub(crate) fn tools(&self) -> &HashMap<String, Tool> {
        &self.tools
    }

    /// Another process begins, which ends at a tick; 0 is never.
    pub(crate) fn process(&self, crash_at: u32, cancel_at: u32) {
        self.ticks.store(0, Ordering::Relaxed);
        self.crash_at.store(crash_at, Ordering::Relaxed);
        self.cancel_at.store(cancel_at, Ordering::Relaxed);
    }

    pub(crate) fn tick(&self) {
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        if tick == self.crash_at.load(Ordering::Relaxed) {
            self.crash.notify_one();
        }
        if tick == self.cancel_at.load(Ordering::Relaxed) {
            self.cancel.notify_one();
        }
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.state.lock().effects.clone()
    }

    /// How many of a thing there are.
    pub(crate) fn there(&self, id: &str) -> u32 {
        self.state.lock().there.get(id).copied().unwrap_or(0)
    }

    /// The calls that named nothing.
    pub(crate) fn blind(&self) -> Vec<String> {
        self.state.lock().blind.clone()
    }

    /// How many calls were made in all.
    pub(crate) fn calls(&self) -> usize {
        self.state.lock().calls.values().sum()
    }

    /// What this call comes to.
    fn act(&self, step: &StepCall, id: &str) -> Act {
        let tool = &self.tools[&*step.tool];
        let mut state = self.state.lock();
        let count = state.calls.entry((step.tool.to_string(), id.to_owned())).or_default();
        let act = tool.first.get(*count).copied().unwrap_or(tool.then);
        *count += 1;
        act
    }

    /// Lets it happen. Gives whether the tool says yes.
    fn happen(&self, step: &StepCall, id: &str, what: What, act: Act) -> bool {
        let nature = self.tools[&*step.tool].nature;
        let mut state = self.state.lock();
        let keyed = nature == Nature::Keyed;
        if keyed && let Some(done) = state.keys.get(&*step.idempotency_key) {
            return *done;
        }
        let yes = act != Act::Refuse;
        if keyed {
            state.keys.insert(step.idempotency_key.to_string(), yes);
        }
        if !yes || nature == Nature::ReadOnly {
            return yes;
        }
        let there = state.there.entry(id.to_owned()).or_default();
        let before = *there > 0;
        *there = match (what, nature) {
            (What::Undone, _) => there.saturating_sub(1),
            (What::Done, Nature::Idempotent) => 1,
            (What::Done, _) => *there + 1,
        };
        state.effects.push(Effect { what, id: id.to_owned(), before });
        true
    }
}

pub(crate) struct Hands(pub(crate) Arc<World>);

impl Tools for Hands {
    fn contract(&self, _principal: &Principal, tool: &str) -> Result<Contract, Failure> {
        let Some(known) = self.0.tools.get(tool) else {
            return Err(Failure::caller("TL0000", "None", "no such tool", "none"));
        };
        let (read_only, idempotent) =
            (known.nature == Nature::ReadOnly, matches!(known.nature, Nature::ReadOnly | Nature::Idempotent));
        Ok(Contract {
            target: Arc::from(format!("world/{tool}")),
            version: Arc::from("1"),
            hash: Arc::from("h"),
            effects: Effects { read_only, idempotent, ..Effects::default() },
            keyed: known.nature == Nature::Keyed,
            undo: known.declared.clone(),
        })
    }

    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let world = self.0.clone();
        Box::pin(async move {
            world.tick();
            world.called.notify_one();
            if world.frozen {
                return std::future::pending().await;
            }
            let arguments = step.arguments.to_value();
            let (id, what) = match (arguments["id"].as_str(), arguments["of"].as_str()) {
                (Some(id), _) => (id.to_owned(), What::Done),
                (None, Some(of)) => (of.to_owned(), What::Undone),
                _ => {
                    world.state.lock().blind.push(format!("{} of {arguments}", step.tool));
                    return Ok(ToolResult::text("of what?", true).into());
                }
            };
            let act = world.act(&step, &id);
            let lost = |effect| Failure::service("TL4005", "Lost", "no answer", effect, "Look.");
            pass(world.calls(), 0).await;
            if !matches!(act, Act::Fail | Act::LostBefore | Act::HangBefore) {
                let yes = world.happen(&step, &id, what, act);
                world.tick();
                pass(world.calls(), 3).await;
                match act {
                    Act::Lost => return Err(lost(EffectState::Unknown)),
                    Act::Hang => {}
                    _ if yes => {
                        let value = json!({"id": id});
                        return Ok(ToolResult::content(json!([]), Some(value), false).into());
                    }
                    _ => return Ok(ToolResult::text("no", true).into()),
                }
            }
            match act {
                Act::Fail => return Err(lost(EffectState::None)),
                Act::LostBefore => return Err(lost(EffectState::Unknown)),
                _ => tokio::time::sleep_until(step.deadline.into()).await,
            }
            Err(lost(EffectState::Unknown))
        })
    }
}

/// Lets others go first, now and then for a moment of the clock.
async fn pass(count: usize, salt: usize) {
    match (count + salt) % 7 {
        0 => {}
        5 => tokio::time::sleep(Duration::from_millis(1)).await,
        turns => {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The undo of a step, as the world knows it.
pub(crate) fn undo_args(by: &str) -> Value {
    json!({"of": format!("${{ {by} }}")})
}
