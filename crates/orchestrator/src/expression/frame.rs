//! The two lists that stand for the native stack: what is to be done with a value, and where else to go on.

use std::rc::Rc;

use super::budget::{Budget, Held, Stop};
use super::env::Env;
use super::number::Num;
use super::path::{Route, Steps};
use super::syntax::{Fold, NativeId, Operator, Slot, TermId};
use super::value::{Cursor, Obj, Str, Val};

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) val: Val<'a>,
    pub(super) route: Route<'a>,
}

impl<'a> Item<'a> {
    /// A value whose path nobody asks for.
    pub(super) fn plain(val: Val<'a>) -> Self {
        Self { val, route: Route::Off }
    }

    /// The root of the paths that are asked for.
    pub(super) fn root(val: Val<'a>) -> Self {
        Self { val, route: Route::At(Steps::default()) }
    }

    /// A value that was made where `traced` tells whether paths are asked for.
    pub(super) fn made(val: Val<'a>, traced: bool) -> Self {
        Self { val, route: if traced { Route::Lost } else { Route::Off } }
    }

    /// Whether its path is asked for.
    pub(super) fn traced(&self) -> bool {
        !matches!(self.route, Route::Off)
    }

    /// The same value for a place where its path does not matter.
    pub(super) fn aside(&self) -> Self {
        Self::plain(self.val.clone())
    }
}

/// What is to be done with the next value.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    Pipe(TermId, Env<'a>),
    Field(&'a str),
    /// The value is the key; then comes the base.
    Key(TermId, Env<'a>, Item<'a>),
    At(Val<'a>),
    From {
        base: TermId,
        to: TermId,
        env: Env<'a>,
        item: Item<'a>,
    },
    To {
        base: TermId,
        from: Val<'a>,
        env: Env<'a>,
        item: Item<'a>,
    },
    Slice(Val<'a>, Val<'a>),
    Each,
    Negate {
        traced: bool,
    },
    Bind {
        slot: Slot,
        body: TermId,
        env: Env<'a>,
        item: Item<'a>,
    },
    Object(Box<Building<'a>>),
    If {
        yes: TermId,
        no: TermId,
        env: Env<'a>,
        item: Item<'a>,
    },
    Try {
        handler: Option<TermId>,
        env: Env<'a>,
        choices: usize,
    },
    Right {
        operator: Operator,
        left: TermId,
        env: Env<'a>,
        item: Item<'a>,
    },
    Left {
        operator: Operator,
        right: Val<'a>,
        traced: bool,
    },
    /// `and` (`until` is false) or `or`.
    Logic {
        until: bool,
        right: TermId,
        env: Env<'a>,
        item: Item<'a>,
    },
    Truth {
        traced: bool,
    },
    PathOf {
        traced: bool,
    },
    GetPath(Item<'a>),
    LimitCount {
        body: TermId,
        env: Env<'a>,
        item: Item<'a>,
    },
    Range {
        terms: [TermId; 3],
        values: Vec<Val<'a>>,
        env: Env<'a>,
        item: Item<'a>,
    },
    Native(Box<Calling<'a>>),
    FoldStart {
        fold: &'a Fold,
        env: Env<'a>,
        item: Item<'a>,
    },
    Limit(usize),
    Alternative(usize),
    /// Those below go on at the choice of this number.
    Collect(usize),
    FoldItem {
        at: usize,
        fold: &'a Fold,
        env: Env<'a>,
    },
    FoldSet {
        at: usize,
        fold: &'a Fold,
        env: Env<'a>,
    },
    ModifyPath {
        at: usize,
        update: TermId,
        env: Env<'a>,
    },
    ModifySet {
        at: usize,
        keys: Vec<Val<'a>>,
        choices: usize,
    },
}

impl Step<'_> {
    /// The choice at which this ends, whose rest is what comes after.
    pub(super) fn outer_choice(&self) -> Option<usize> {
        match self {
            Self::Collect(at)
            | Self::FoldItem { at, .. }
            | Self::FoldSet { at, .. }
            | Self::ModifyPath { at, .. }
            | Self::ModifySet { at, .. } => Some(*at),
            _ => None,
        }
    }
}

/// An object that is being made.
#[derive(Clone, Debug)]
pub(super) struct Building<'a> {
    pub(super) entries: &'a [(TermId, TermId)],
    pub(super) index: usize,
    /// The key of the entry, once it is known.
    pub(super) key: Option<Str<'a>>,
    pub(super) object: Obj<'a>,
    pub(super) env: Env<'a>,
    pub(super) item: Item<'a>,
}

/// A call whose arguments are being evaluated, the last one first.
#[derive(Clone, Debug)]
pub(super) struct Calling<'a> {
    pub(super) native: NativeId,
    pub(super) arguments: &'a [TermId],
    pub(super) values: Vec<Val<'a>>,
    pub(super) env: Env<'a>,
    pub(super) item: Item<'a>,
}

/// What is to be done with the next value, and after that.
#[derive(Clone, Debug, Default)]
pub(super) struct Next<'a>(Option<Rc<Frame<'a>>>);

#[derive(Debug)]
struct Frame<'a> {
    step: Step<'a>,
    next: Next<'a>,
    _held: Held,
}

impl<'a> Next<'a> {
    pub(super) fn first(self, step: Step<'a>, budget: &Budget) -> Result<Self, Stop> {
        let held = budget.hold(size_of::<Frame<'_>>())?;
        Ok(Self(Some(Rc::new(Frame { step, next: self, _held: held }))))
    }

    /// The first step, without a copy if nobody else is to take it.
    pub(super) fn pop(mut self) -> Option<(Step<'a>, Self)> {
        Some(match Rc::try_unwrap(self.0.take()?) {
            Ok(Frame { step, next, .. }) => (step, next),
            Err(shared) => (shared.step.clone(), shared.next.clone()),
        })
    }
}

/// Not recursive: recursion in the expression makes this as long as memory lasts.
impl Drop for Next<'_> {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut frame) = next.and_then(|rc| Rc::try_unwrap(rc).ok()) {
            next = frame.next.0.take();
        }
    }
}

/// Where to go on when a way has ended.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    Eval {
        term: TermId,
        env: Env<'a>,
        item: Item<'a>,
        next: Next<'a>,
    },
    Each {
        cursor: Cursor<'a>,
        route: Route<'a>,
        next: Next<'a>,
    },
    Range {
        from: Num,
        to: Num,
        by: Num,
        traced: bool,
        next: Next<'a>,
    },
    Collect {
        items: Vec<Val<'a>>,
        held: Held,
        traced: bool,
        next: Next<'a>,
    },
    /// `None` for the state while it is being changed, and after a change without a value.
    Reduce {
        state: Option<Item<'a>>,
        traced: bool,
        next: Next<'a>,
    },
    Foreach {
        state: Option<Item<'a>>,
        next: Next<'a>,
    },
    Alternative {
        seen: bool,
        right: TermId,
        env: Env<'a>,
        item: Item<'a>,
        next: Next<'a>,
    },
    Limit(u64),
    Modify {
        state: Val<'a>,
        gone: Vec<Val<'a>>,
        held: Held,
        traced: bool,
        next: Next<'a>,
    },
    /// An update gave no value: what is at these keys goes.
    Gone {
        at: usize,
        keys: Vec<Val<'a>>,
    },
}
