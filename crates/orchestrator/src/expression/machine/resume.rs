//! What each step does with a value.

use super::super::budget::{Fault, Stop};
use super::super::env::{Binding, Env};
use super::super::frame::{Choice, Item, Next, Step};
use super::super::natives;
use super::super::number::Num;
use super::super::path::{self, Route};
use super::super::syntax::{Fold, TermId};
use super::super::value::{Cursor, Entries, ITEM, Val};
use super::{Flow, Flowing, Machine};

impl<'a> Machine<'a> {
    pub(super) fn resume(&mut self, step: Step<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let budget = self.budget;
        match step {
            Step::Pipe(right, env) => Ok(Flow::Eval(right, env, item, next)),
            Step::Field(name) => self.found(self.find(&item, &Val::lent(name)), next),
            Step::Key(base, env, outer) => {
                Ok(Flow::Eval(base, env, outer, next.first(Step::At(item.val), budget)?))
            }
            Step::At(key) => self.found(self.find(&item, &key), next),
            Step::From { base, to, env, item: outer } => {
                let aside = outer.aside();
                let step = Step::To { base, from: item.val, env: env.clone(), item: outer };
                Ok(Flow::Eval(to, env, aside, next.first(step, budget)?))
            }
            Step::To { base, from, env, item: outer } => {
                Ok(Flow::Eval(base, env, outer, next.first(Step::Slice(from, item.val), budget)?))
            }
            Step::Slice(from, to) => self.found(self.slice(&item, &from, &to), next),
            Step::Each => self.each(item, next),
            Step::Negate { traced } => match item.val {
                Val::Num(number) => Ok(Flow::Give(Item::made(Val::Num(number.neg()), traced), next)),
                other => Self::fail(Fault::raise(format!("{} cannot be negated", other.shown())), next),
            },
            Step::Bind { slot, body, env, item: outer } => {
                Ok(Flow::Eval(body, env.bind(slot, Binding::Value(item.val), budget)?, outer, next))
            }
            Step::If { yes, no, env, item: outer } => {
                Ok(Flow::Eval(if item.val.truthy() { yes } else { no }, env, outer, next))
            }
            // Its body has a value, which is nobody's error.
            Step::Try { .. } => Ok(Flow::Give(item, next)),
            Step::Right { operator, left, env, item: outer } => {
                self.left(operator, left, item.val, env, outer, next)
            }
            Step::Left { operator, right, traced } => {
                Self::give(natives::operators::apply(operator, item.val, right, budget), traced, next)
            }
            Step::Logic { until, right, env, item: outer } => {
                let traced = outer.traced();
                if item.val.truthy() == until {
                    return Ok(Flow::Give(Item::made(Val::Bool(until), traced), next));
                }
                Ok(Flow::Eval(right, env, outer.aside(), next.first(Step::Truth { traced }, budget)?))
            }
            Step::Truth { traced } => Ok(Flow::Give(Item::made(Val::Bool(item.val.truthy()), traced), next)),
            Step::Object(_) | Step::Native(_) => self.resume_parts(step, item, next),
            Step::PathOf { .. } | Step::GetPath(_) => self.resume_path(step, item, next),
            Step::LimitCount { .. } | Step::Range { .. } => self.resume_count(step, item, next),
            _ => self.resume_choice(step, item, next),
        }
    }

    fn found(&self, found: Result<Item<'a>, Fault<'a>>, next: Next<'a>) -> Flowing<'a> {
        match found {
            Ok(item) => Ok(Flow::Give(item, next)),
            Err(fault) => Self::fail(fault, next),
        }
    }

    fn slice(&self, item: &Item<'a>, from: &Val<'a>, to: &Val<'a>) -> Result<Item<'a>, Fault<'a>> {
        let val = path::slice(&item.val, from, to, self.budget)?;
        let route = self.step_to(item, || {
            let entries = [(Val::lent("start"), from), (Val::lent("end"), to)];
            let mut range = Entries::default();
            for (key, bound) in entries {
                if let Val::Str(key) = key {
                    range.insert(key, bound.clone());
                }
            }
            Val::object(range, self.budget)
        })?;
        Ok(Item { val, route })
    }

    fn each(&mut self, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        if let Route::Lost = item.route {
            let message = format!("Invalid path expression with result {}", item.val.shown());
            return Self::fail(Fault::raise(message), next);
        }
        match Cursor::new(item.val) {
            Ok(cursor) => self.next_part(cursor, item.route, next),
            Err(fault) => Self::fail(fault, next),
        }
    }

    /// Goes on with the next part of an array or object, and keeps the choice of the others.
    pub(super) fn next_part(
        &mut self,
        mut cursor: Cursor<'a>,
        route: Route<'a>,
        next: Next<'a>,
    ) -> Flowing<'a> {
        let Some((key, val)) = cursor.next() else { return Ok(Flow::Back) };
        let part = match &route {
            Route::At(steps) => Route::At(steps.then(key, self.budget)?),
            _ => Route::Off,
        };
        if !cursor.is_done() {
            self.choose(Choice::Each { cursor, route, next: next.clone() })?;
        }
        Ok(Flow::Give(Item { val, route: part }, next))
    }

    fn resume_parts(&mut self, step: Step<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        match step {
            Step::Object(mut building) => {
                let Some(key) = building.key.take() else {
                    return match item.val {
                        Val::Str(key) => {
                            building.key = Some(key);
                            self.build(building, next)
                        }
                        other => {
                            let message = format!("Object keys must be strings, not {}", other.shown());
                            Self::fail(Fault::raise(message), next)
                        }
                    };
                };
                match building.object.with(&key, self.budget, |_| Ok(item.val)) {
                    Ok(Val::Obj(object)) => {
                        building.object = object;
                        building.index += 1;
                        self.build(building, next)
                    }
                    Ok(_) => Ok(Flow::Back),
                    Err(fault) => Self::fail(fault, next),
                }
            }
            Step::Native(mut calling) => {
                calling.values.insert(0, item.val);
                calling.arguments = calling.arguments.split_last().map_or(&[], |(_, before)| before);
                self.argument(calling, next)
            }
            _ => Ok(Flow::Back),
        }
    }

    fn resume_path(&mut self, step: Step<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        match step {
            Step::PathOf { traced } => match &item.route {
                Route::At(steps) => {
                    let keys = Val::array(steps.keys(self.budget)?, self.budget)?;
                    Ok(Flow::Give(Item::made(keys, traced), next))
                }
                _ => {
                    let message = format!("Invalid path expression with result {}", item.val.shown());
                    Self::fail(Fault::raise(message), next)
                }
            },
            Step::GetPath(mut outer) => {
                let keys = match item.val {
                    Val::Arr(keys) => keys,
                    _ => return Self::fail(Fault::raise("Path must be specified as an array"), next),
                };
                let val = match path::get(&outer.val, keys.iter(), self.budget) {
                    Ok(val) => val,
                    Err(fault) => return Self::fail(fault, next),
                };
                for key in keys.iter() {
                    match self.step_to(&outer, || Ok(key)) {
                        Ok(route) => outer.route = route,
                        Err(fault) => return Self::fail(fault, next),
                    }
                }
                Ok(Flow::Give(Item { val, route: outer.route }, next))
            }
            _ => Ok(Flow::Back),
        }
    }

    fn resume_count(&mut self, step: Step<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        let number = match item.val {
            Val::Num(number) => number,
            _ => return Self::fail(Fault::raise("Range bounds and limits must be numeric"), next),
        };
        match step {
            Step::LimitCount { body, env, item: outer } => {
                if number.order(Num::Int(0)).is_lt() {
                    return Ok(Flow::Eval(body, env, outer, next));
                }
                // Half a value is a value.
                let Some(left) = number.ceiling().filter(|&left| left > 0) else { return Ok(Flow::Back) };
                let at = self.choose(Choice::Limit(left))?;
                Ok(Flow::Eval(body, env, outer, next.first(Step::Limit(at), self.budget)?))
            }
            Step::Range { terms, mut values, env, item: outer } => {
                values.push(Val::Num(number));
                if let Some(term) = terms.get(values.len()) {
                    let aside = outer.aside();
                    let step = Step::Range { terms, values, env: env.clone(), item: outer };
                    return Ok(Flow::Eval(*term, env, aside, next.first(step, self.budget)?));
                }
                let [Val::Num(from), Val::Num(to), Val::Num(by)] = values[..] else { return Ok(Flow::Back) };
                self.choose(Choice::Range { from, to, by, traced: outer.traced(), next })?;
                Ok(Flow::Back)
            }
            _ => Ok(Flow::Back),
        }
    }

    fn resume_choice(&mut self, step: Step<'a>, item: Item<'a>, next: Next<'a>) -> Flowing<'a> {
        match step {
            Step::Limit(at) => {
                if let Some(Choice::Limit(left)) = self.choices.get_mut(at) {
                    *left -= 1;
                    if *left == 0 {
                        self.choices.truncate(at);
                    }
                }
                Ok(Flow::Give(item, next))
            }
            Step::Alternative(at) => {
                if !item.val.truthy() {
                    return Ok(Flow::Back);
                }
                if let Some(Choice::Alternative { seen, .. }) = self.choices.get_mut(at) {
                    *seen = true;
                }
                Ok(Flow::Give(item, next))
            }
            Step::Collect(at) => {
                if let Some(Choice::Collect { items, held, .. }) = self.choices.get_mut(at) {
                    held.grow(ITEM)?;
                    items.push(item.val);
                }
                Ok(Flow::Back)
            }
            Step::FoldStart { fold, env, item: outer } => self.fold(fold, env, outer, item, next),
            Step::FoldItem { at, fold, env } => {
                let (Some(Choice::Reduce { state, .. }) | Some(Choice::Foreach { state, .. })) =
                    self.choices.get_mut(at)
                else {
                    return Ok(Flow::Back);
                };
                let state = state.take().unwrap_or_else(|| Item::plain(Val::Null));
                let env = env.bind(fold.slot, Binding::Value(item.val), self.budget)?;
                let step = Step::FoldSet { at, fold, env: env.clone() };
                Ok(Flow::Eval(fold.update, env, state, Next::default().first(step, self.budget)?))
            }
            Step::FoldSet { at, fold, env } => self.fold_set(at, fold, env, item),
            Step::ModifyPath { at, update, env } => self.modify(at, update, env, item),
            Step::ModifySet { at, keys, choices } => self.modify_set(at, &keys, choices, item),
            _ => Ok(Flow::Back),
        }
    }

    fn fold(
        &mut self,
        fold: &'a Fold,
        env: Env<'a>,
        input: Item<'a>,
        start: Item<'a>,
        next: Next<'a>,
    ) -> Flowing<'a> {
        let traced = start.traced();
        let state = Some(start);
        let choice = match fold.extract {
            None => Choice::Reduce { state, traced, next },
            Some(_) => Choice::Foreach { state, next },
        };
        let at = self.choose(choice)?;
        let step = Step::FoldItem { at, fold, env: env.clone() };
        Ok(Flow::Eval(fold.source, env, input, Next::default().first(step, self.budget)?))
    }

    fn fold_set(&mut self, at: usize, fold: &'a Fold, env: Env<'a>, item: Item<'a>) -> Flowing<'a> {
        match (self.choices.get_mut(at), fold.extract) {
            (Some(Choice::Reduce { state, .. }), _) => {
                *state = Some(item);
                Ok(Flow::Back)
            }
            (Some(Choice::Foreach { state, next }), Some(extract)) => {
                *state = Some(item.clone());
                let next = next.clone();
                Ok(Flow::Eval(extract, env, item, next))
            }
            _ => Ok(Flow::Back),
        }
    }

    /// What comes after the choice of this number, for an error inside it.
    fn inside(&self, at: usize) -> Result<Next<'a>, Stop> {
        Next::default().first(Step::Collect(at), self.budget)
    }

    fn modify(&mut self, at: usize, update: TermId, env: Env<'a>, item: Item<'a>) -> Flowing<'a> {
        let Some(Choice::Modify { state, .. }) = self.choices.get(at) else { return Ok(Flow::Back) };
        let keys = match &item.route {
            Route::At(steps) => steps.keys(self.budget)?,
            _ => {
                let message = format!("Invalid path expression with result {}", item.val.shown());
                return Self::fail(Fault::raise(message), self.inside(at)?);
            }
        };
        let part = match path::get(state, keys.iter().cloned(), self.budget) {
            Ok(part) => part,
            Err(fault) => {
                return Self::fail(fault, self.inside(at)?);
            }
        };
        let choices = self.choices.len();
        self.choose(Choice::Gone { at, keys: keys.clone() })?;
        let step = Step::ModifySet { at, keys, choices };
        Ok(Flow::Eval(update, env, Item::plain(part), Next::default().first(step, self.budget)?))
    }

    fn modify_set(&mut self, at: usize, keys: &[Val<'a>], choices: usize, item: Item<'a>) -> Flowing<'a> {
        // The first value counts; the other ways to one are given up.
        self.choices.truncate(choices);
        let Some(Choice::Modify { state, .. }) = self.choices.get_mut(at) else { return Ok(Flow::Back) };
        let whole = std::mem::replace(state, Val::Null);
        match path::set(whole, keys, item.val, self.budget) {
            Ok(whole) => {
                *state = whole;
                Ok(Flow::Back)
            }
            Err(fault) => Self::fail(fault, self.inside(at)?),
        }
    }

    /// Removes from `whole` what updates gave no value for.
    pub(super) fn without(&self, whole: Val<'a>, gone: Vec<Val<'a>>) -> Result<Val<'a>, Fault<'a>> {
        if gone.is_empty() { Ok(whole) } else { path::delete_all(whole, gone, self.budget) }
    }

    /// Keeps in mind that what is at `keys` goes.
    pub(super) fn mark_gone(&mut self, at: usize, keys: Vec<Val<'a>>) -> Result<(), Stop> {
        let keys = Val::array(keys, self.budget)?;
        if let Some(Choice::Modify { gone, held, .. }) = self.choices.get_mut(at) {
            held.grow(ITEM)?;
            gone.push(keys);
        }
        Ok(())
    }
}
