//! Where an evaluation goes on when a way has ended, by having no further value or by an error.

use super::super::budget::Stop;
use super::super::frame::{Choice, Item, Next, Step};
use super::super::value::Val;
use super::{Flow, Machine};

impl<'a> Machine<'a> {
    /// Goes on at the last choice; `None` if there is none.
    pub(super) fn back(&mut self) -> Result<Option<Flow<'a>>, Stop> {
        let Some(choice) = self.choices.pop() else { return Ok(None) };
        Ok(Some(match choice {
            Choice::Eval { term, env, item, next } => Flow::Eval(term, env, item, next),
            Choice::Each { cursor, route, next } => self.next_part(cursor, route, next)?,
            Choice::Range { from, to, by, traced, next } => {
                let sign = by.float();
                let within =
                    if sign > 0.0 { from.order(to).is_lt() } else { sign < 0.0 && from.order(to).is_gt() };
                if !within {
                    return Ok(Some(Flow::Back));
                }
                self.choose(Choice::Range { from: from.add(by), to, by, traced, next: next.clone() })?;
                Flow::Give(Item::made(Val::Num(from), traced), next)
            }
            Choice::Collect { items, held, traced, next } => {
                Flow::Give(Item::made(Val::list(items, held)?, traced), next)
            }
            Choice::Reduce { state, traced, next } => {
                let state = state.unwrap_or_else(|| Item::made(Val::Null, traced));
                Flow::Give(state, next)
            }
            Choice::Alternative { seen: false, right, env, item, next } => Flow::Eval(right, env, item, next),
            Choice::Alternative { seen: true, .. } | Choice::Foreach { .. } | Choice::Limit(_) => Flow::Back,
            Choice::Modify { state, gone, traced, next, .. } => {
                let whole = self.without(state, gone);
                Self::give(whole, traced, next)?
            }
            Choice::Gone { at, keys } => {
                self.mark_gone(at, keys)?;
                Flow::Back
            }
        }))
    }

    /// Goes on at the `try` around what raised `error`, or gives the error back if there is none.
    pub(super) fn catch(
        &mut self,
        error: Val<'a>,
        next: Next<'a>,
    ) -> Result<Result<Flow<'a>, Val<'a>>, Stop> {
        let mut next = next;
        while let Some((step, rest)) = next.pop() {
            self.budget.step()?;
            next = rest;
            match step {
                Step::Try { handler, env, choices } => {
                    self.choices.truncate(choices);
                    return Ok(Ok(match handler {
                        Some(handler) => Flow::Eval(handler, env, Item::plain(error), next),
                        None => Flow::Back,
                    }));
                }
                step => {
                    if let Some(at) = step.outer_choice() {
                        self.choices.truncate(at + 1);
                        next = match self.choices.pop() {
                            Some(
                                Choice::Collect { next, .. }
                                | Choice::Reduce { next, .. }
                                | Choice::Foreach { next, .. }
                                | Choice::Modify { next, .. },
                            ) => next,
                            _ => Next::default(),
                        };
                    }
                }
            }
        }
        Ok(Err(error))
    }
}
