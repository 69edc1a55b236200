//! The evaluator: a value goes from step to step, and where an expression has more than one value, the choice to go on
//! there is kept for later.
//!
//! Both lists are on the heap and counted, so that no expression uses native stack by its recursion. A tail call adds
//! nothing. This is how jq's own interpreter backtracks; that continuations are kept as data is after the CEK machine
//! (Felleisen and Friedman, 1986).

use super::budget::{Budget, Fault, Held, Stop};
use super::env::{Binding, Env};
use super::frame::{Building, Calling, Choice, Item, Next, Step};
use super::natives;
use super::path::{self, Route};
use super::prelude::Prelude;
use super::syntax::{Constant, Function, FunctionId, Operator, Program, Term, TermId};
use super::value::{Entries, Val};

mod backtrack;
mod resume;

/// Levels of `.a.b.c` that are read without a step for each.
const QUICK: usize = 8;

/// What is to be done next.
pub(super) enum Flow<'a> {
    Eval(TermId, Env<'a>, Item<'a>, Next<'a>),
    Give(Item<'a>, Next<'a>),
    /// jq's `error`, where this would have come next.
    Raise(Val<'a>, Next<'a>),
    /// This way has no further value.
    Back,
}

type Flowing<'a> = Result<Flow<'a>, Stop>;

/// The state of one evaluation.
pub(super) struct Machine<'a> {
    program: &'a Program,
    prelude: &'static Prelude,
    globals: Vec<Val<'a>>,
    budget: &'a Budget,
    choices: Vec<Choice<'a>>,
    /// The most choices that were ever open, which are counted.
    most: usize,
    held: Held,
    tools: natives::Tools<'a>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        program: &'a Program,
        prelude: &'static Prelude,
        globals: Vec<Val<'a>>,
        budget: &'a Budget,
    ) -> Self {
        let tools = natives::Tools::new(budget);
        Self {
            program,
            prelude,
            globals,
            budget,
            choices: Vec::new(),
            most: 0,
            held: budget.nothing(),
            tools,
        }
    }

    /// The first value, if there is one.
    pub(super) fn run(mut self, input: Val<'a>) -> Result<Option<Val<'a>>, Fault<'a>> {
        let mut flow = Flow::Eval(self.program.root, Env::default(), Item::plain(input), Next::default());
        loop {
            self.budget.step()?;
            flow = match flow {
                Flow::Eval(term, env, item, next) => self.eval(term, env, item, next)?,
                Flow::Give(item, next) => match next.pop() {
                    Some((step, next)) => self.resume(step, item, next)?,
                    None => return Ok(Some(item.val)),
                },
                Flow::Raise(error, next) => match self.catch(error, next)? {
                    Ok(flow) => flow,
                    Err(error) => return Err(Fault::Raise(error)),
                },
                Flow::Back => match self.back()? {
                    Some(flow) => flow,
                    None => return Ok(None),
                },
            };
        }
    }

    fn term(&self, id: TermId) -> &'a Term {
        let (id, own) = (id as usize, self.prelude.table.terms.len());
        if id < own { &self.prelude.table.terms[id] } else { &self.program.table.terms[id - own] }
    }

    fn function(&self, id: FunctionId) -> &'a Function {
        let (id, own) = (id as usize, self.prelude.table.functions.len());
        if id < own { &self.prelude.table.functions[id] } else { &self.program.table.functions[id - own] }
    }

    /// Keeps a choice; gives its number.
    fn choose(&mut self, choice: Choice<'a>) -> Result<usize, Stop> {
        if self.choices.len() == self.most {
            self.held.grow(size_of::<Choice<'_>>())?;
            self.most += 1;
        }
        self.choices.push(choice);
        Ok(self.choices.len() - 1)
    }

    /// Goes on with a result of a function.
    fn give(result: Result<Val<'a>, Fault<'a>>, traced: bool, next: Next<'a>) -> Flowing<'a> {
        match result {
            Ok(val) => Ok(Flow::Give(Item::made(val, traced), next)),
            Err(fault) => Self::fail(fault, next),
        }
    }

    fn fail(fault: Fault<'a>, next: Next<'a>) -> Flowing<'a> {
        match fault {
            Fault::Raise(error) => Ok(Flow::Raise(error, next)),
            Fault::Stop(stop) => Err(stop),
        }
    }

    fn constant(constant: &'a Constant) -> Val<'a> {
        match constant {
            Constant::Null => Val::Null,
            Constant::Bool(bool) => Val::Bool(*bool),
            Constant::Num(number) => Val::Num(*number),
            Constant::Text(text) => Val::lent(text),
        }
    }

    /// The value of a term that has just one and needs no steps: most operands and conditions are such.
    fn quick(&self, term: TermId, env: &Env<'a>, input: &Val<'a>, depth: usize) -> Option<Val<'a>> {
        match self.term(term) {
            Term::Identity => Some(input.clone()),
            Term::Constant(constant) => Some(Self::constant(constant)),
            Term::Global(index) => self.globals.get(*index as usize).cloned(),
            Term::Variable(slot) => match env.find(*slot) {
                Some(Binding::Value(val)) => Some(val.clone()),
                _ => None,
            },
            Term::Field(base, name) if depth < QUICK => match self.quick(*base, env, input, depth + 1)? {
                Val::Obj(object) => Some(object.get(name).unwrap_or(Val::Null)),
                Val::Null => Some(Val::Null),
                _ => None,
            },
            _ => None,
        }
    }

    fn eval(&mut self, term: TermId, env: Env<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        Ok(match self.term(term) {
            Term::Identity => Flow::Give(item, next),
            Term::Constant(constant) => Flow::Give(Item::made(Self::constant(constant), item.traced()), next),
            Term::Global(_) | Term::Variable(_) => {
                let val = self.quick(term, &env, &Val::Null, 0).unwrap_or(Val::Null);
                Flow::Give(Item::made(val, item.traced()), next)
            }
            Term::Argument(slot) => match env.find(*slot) {
                Some(Binding::Argument(body, env)) => Flow::Eval(*body, env.clone(), item, next),
                _ => Flow::Back,
            },
            Term::Pipe(left, right) => {
                let next = next.first(Step::Pipe(*right, env.clone()), budget)?;
                Flow::Eval(*left, env, item, next)
            }
            Term::Comma(left, right) => {
                let (env, right) = (env, *right);
                self.choose(Choice::Eval {
                    term: right,
                    env: env.clone(),
                    item: item.clone(),
                    next: next.clone(),
                })?;
                Flow::Eval(*left, env, item, next)
            }
            Term::Empty => Flow::Back,
            Term::Call(id, arguments) => self.call(*id, arguments, env, item, next)?,
            Term::Field(..) | Term::Index(..) | Term::Slice(..) | Term::Each(_) | Term::GetPath(_) => {
                self.eval_place(term, env, item, next)?
            }
            Term::Path(_) | Term::Modify(..) | Term::Array(_) | Term::Object(_) | Term::Fold(_) => {
                self.eval_collecting(term, env, item, next)?
            }
            Term::Binary(..) | Term::Negate(_) | Term::Native(..) | Term::And(..) | Term::Or(..) => {
                self.eval_computing(term, env, item, next)?
            }
            _ => self.eval_control(term, env, item, next)?,
        })
    }

    /// Terms that find something in their input.
    fn eval_place(&mut self, term: TermId, env: Env<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        match self.term(term) {
            Term::Field(base, name) => {
                if !item.traced()
                    && let Some(val) = self.quick(term, &env, &item.val, 0)
                {
                    return Ok(Flow::Give(Item::plain(val), next));
                }
                Ok(Flow::Eval(*base, env, item, next.first(Step::Field(name), budget)?))
            }
            Term::Index(base, key) => match self.quick(*key, &env, &item.val, 0) {
                Some(key) => Ok(Flow::Eval(*base, env, item, next.first(Step::At(key), budget)?)),
                None => {
                    let aside = item.aside();
                    Ok(Flow::Eval(*key, env.clone(), aside, next.first(Step::Key(*base, env, item), budget)?))
                }
            },
            Term::Slice(base, from, to) => {
                let aside = item.aside();
                let step = Step::From { base: *base, to: *to, env: env.clone(), item };
                Ok(Flow::Eval(*from, env, aside, next.first(step, budget)?))
            }
            Term::Each(base) => Ok(Flow::Eval(*base, env, item, next.first(Step::Each, budget)?)),
            Term::GetPath(keys) => {
                let aside = item.aside();
                Ok(Flow::Eval(*keys, env, aside, next.first(Step::GetPath(item), budget)?))
            }
            _ => Ok(Flow::Back),
        }
    }

    /// Terms that make one value of many.
    fn eval_collecting(&mut self, term: TermId, env: Env<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        let traced = item.traced();
        match self.term(term) {
            Term::Path(body) => {
                let next = next.first(Step::PathOf { traced }, budget)?;
                Ok(Flow::Eval(*body, env, Item::root(item.val), next))
            }
            Term::Modify(paths, update) => {
                let (state, held) = (item.val.clone(), budget.nothing());
                let at = self.choose(Choice::Modify { state, gone: Vec::new(), held, traced, next })?;
                let step = Step::ModifyPath { at, update: *update, env: env.clone() };
                Ok(Flow::Eval(*paths, env, Item::root(item.val), Next::default().first(step, budget)?))
            }
            Term::Array(body) => {
                let held = budget.nothing();
                let at = self.choose(Choice::Collect { items: Vec::new(), held, traced, next })?;
                let next = Next::default().first(Step::Collect(at), budget)?;
                Ok(Flow::Eval(*body, env, Item::plain(item.val), next))
            }
            Term::Object(entries) => {
                let Val::Obj(object) = Val::object(Entries::default(), budget)? else {
                    return Ok(Flow::Back);
                };
                let building = Building { entries, index: 0, key: None, object, env, item };
                self.build(Box::new(building), next)
            }
            Term::Fold(fold) => {
                let aside = item.aside();
                let step = Step::FoldStart { fold, env: env.clone(), item: aside };
                Ok(Flow::Eval(fold.start, env, item, next.first(step, budget)?))
            }
            _ => Ok(Flow::Back),
        }
    }

    /// Goes on with an object that is being made.
    fn build(&mut self, building: Box<Building<'a>>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        let Some((key, value)) = building.entries.get(building.index) else {
            let traced = building.item.traced();
            return Ok(Flow::Give(Item::made(Val::Obj(building.object), traced), next));
        };
        let term = if building.key.is_some() { *value } else { *key };
        if let Some(val) = self.quick(term, &building.env, &building.item.val, 0) {
            return Ok(Flow::Give(Item::plain(val), next.first(Step::Object(building), budget)?));
        }
        let (env, aside) = (building.env.clone(), building.item.aside());
        Ok(Flow::Eval(term, env, aside, next.first(Step::Object(building), budget)?))
    }

    /// Terms that compute with values.
    fn eval_computing(&mut self, term: TermId, env: Env<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        match self.term(term) {
            Term::Binary(operator, left, right) => match self.quick(*right, &env, &item.val, 0) {
                Some(right) => self.left(*operator, *left, right, env, item, next),
                None => {
                    let aside = item.aside();
                    let step = Step::Right { operator: *operator, left: *left, env: env.clone(), item };
                    Ok(Flow::Eval(*right, env, aside, next.first(step, budget)?))
                }
            },
            Term::Negate(body) => {
                let step = Step::Negate { traced: item.traced() };
                Ok(Flow::Eval(*body, env, Item::plain(item.val), next.first(step, budget)?))
            }
            Term::And(left, right) | Term::Or(left, right) => {
                let until = matches!(self.term(term), Term::Or(..));
                let aside = item.aside();
                let step = Step::Logic { until, right: *right, env: env.clone(), item };
                Ok(Flow::Eval(*left, env, aside, next.first(step, budget)?))
            }
            Term::Native(native, arguments) => {
                let traced = item.traced();
                if arguments.is_empty() {
                    let result = natives::call(*native, &mut self.tools, item.val, &[]);
                    return Self::give(result, traced, next);
                }
                let calling = Calling { native: *native, arguments, values: Vec::new(), env, item };
                self.argument(Box::new(calling), next)
            }
            _ => Ok(Flow::Back),
        }
    }

    /// Goes on with a call, whose last argument is evaluated first.
    fn argument(&mut self, mut calling: Box<Calling<'a>>, next: Next<'a>) -> Flowing<'a> {
        while let Some(&term) = calling.arguments.split_last().map(|(last, _)| last) {
            let Some(val) = self.quick(term, &calling.env, &calling.item.val, 0) else {
                let (env, aside) = (calling.env.clone(), calling.item.aside());
                let next = next.first(Step::Native(calling), self.budget)?;
                return Ok(Flow::Eval(term, env, aside, next));
            };
            calling.values.insert(0, val);
            calling.arguments = &calling.arguments[..calling.arguments.len() - 1];
        }
        let Calling { native, values, item, .. } = *calling;
        let traced = item.traced();
        let result = natives::call(native, &mut self.tools, item.val, &values);
        Self::give(result, traced, next)
    }

    /// Goes on with an operation whose right side is known.
    fn left(
        &mut self,
        operator: Operator,
        left: TermId,
        right: Val<'a>,
        env: Env<'a>,
        item: Item<'a>,
        next: Next<'a>,
    ) -> Flowing<'a> {
        let traced = item.traced();
        let left_val = match self.term(left) {
            // Moved, so that `. + [1]` can be done in place.
            Term::Identity => item.val,
            _ => match self.quick(left, &env, &item.val, 0) {
                Some(val) => val,
                None => {
                    let next = next.first(Step::Left { operator, right, traced }, self.budget)?;
                    return Ok(Flow::Eval(left, env, Item::plain(item.val), next));
                }
            },
        };
        drop(env);
        Self::give(natives::operators::apply(operator, left_val, right, self.budget), traced, next)
    }

    /// Terms that decide what is evaluated.
    fn eval_control(&mut self, term: TermId, env: Env<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        match self.term(term) {
            Term::Bind(source, slot, body) => {
                let aside = item.aside();
                let step = Step::Bind { slot: *slot, body: *body, env: env.clone(), item };
                Ok(Flow::Eval(*source, env, aside, next.first(step, budget)?))
            }
            Term::If(condition, yes, no) => match self.quick(*condition, &env, &item.val, 0) {
                Some(val) => Ok(Flow::Eval(if val.truthy() { *yes } else { *no }, env, item, next)),
                None => {
                    let aside = item.aside();
                    let step = Step::If { yes: *yes, no: *no, env: env.clone(), item };
                    Ok(Flow::Eval(*condition, env, aside, next.first(step, budget)?))
                }
            },
            Term::Try(body, handler) => {
                let step = Step::Try { handler: *handler, env: env.clone(), choices: self.choices.len() };
                Ok(Flow::Eval(*body, env, item, next.first(step, budget)?))
            }
            Term::Label(slot, body) => {
                let env = env.bind(*slot, Binding::Label(self.choices.len()), budget)?;
                Ok(Flow::Eval(*body, env, item, next))
            }
            Term::Break(slot) => {
                if let Some(Binding::Label(choices)) = env.find(*slot) {
                    self.choices.truncate(*choices);
                }
                Ok(Flow::Back)
            }
            Term::Alternative(left, right) => {
                let (other, after) = (item.clone(), next.clone());
                let choice = Choice::Alternative {
                    seen: false,
                    right: *right,
                    env: env.clone(),
                    item: other,
                    next: after,
                };
                let at = self.choose(choice)?;
                Ok(Flow::Eval(*left, env, item, next.first(Step::Alternative(at), budget)?))
            }
            Term::Limit(count, body) => {
                let aside = item.aside();
                let step = Step::LimitCount { body: *body, env: env.clone(), item };
                Ok(Flow::Eval(*count, env, aside, next.first(step, budget)?))
            }
            Term::Range(from, to, by) => {
                let aside = item.aside();
                let terms = [*from, *to, *by];
                let step = Step::Range { terms, values: Vec::new(), env: env.clone(), item };
                Ok(Flow::Eval(*from, env, aside, next.first(step, budget)?))
            }
            _ => Ok(Flow::Back),
        }
    }

    fn call(
        &mut self,
        id: FunctionId,
        arguments: &'a [TermId],
        env: Env<'a>,
        item: Item<'a>,
        next: Next<'a>,
    ) -> Flowing<'a> {
        let function = self.function(id);
        let mut inner = env.within(function.base);
        for (slot, argument) in function.arguments.iter().zip(arguments) {
            // An argument that is only passed on stays what it is.
            let binding = match self.term(*argument) {
                Term::Argument(outer) => env.find(*outer).cloned(),
                _ => None,
            };
            let binding = binding.unwrap_or_else(|| Binding::Argument(*argument, env.clone()));
            inner = inner.bind(*slot, binding, self.budget)?;
        }
        Ok(Flow::Eval(function.body, inner, item, next))
    }

    /// What is at `key` of `item`, with its path if that is asked for.
    fn find(&self, item: &Item<'a>, key: &Val<'a>) -> Result<Item<'a>, Fault<'a>> {
        let route = self.step_to(item, || Ok(key.clone()))?;
        Ok(Item { val: path::index(&item.val, key, self.budget)?, route })
    }

    /// The path of the part of `item` at some key.
    fn step_to(
        &self,
        item: &Item<'a>,
        key: impl FnOnce() -> Result<Val<'a>, Stop>,
    ) -> Result<Route<'a>, Fault<'a>> {
        match &item.route {
            Route::Off => Ok(Route::Off),
            Route::At(steps) => Ok(Route::At(steps.then(key()?, self.budget)?)),
            Route::Lost => {
                Err(Fault::raise(format!("Invalid path expression with result {}", item.val.shown())))
            }
        }
    }
}
