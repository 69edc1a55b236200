//! What names stand for while an expression runs.

use std::rc::Rc;

use super::budget::{Budget, Held, Stop};
use super::syntax::{Slot, TermId};
use super::value::Val;

/// What a slot is bound to.
#[derive(Clone, Debug)]
pub(super) enum Binding<'a> {
    Value(Val<'a>),
    /// A filter argument: a term, and what its names stand for.
    Argument(TermId, Env<'a>),
    /// The number of choices that were open outside the label.
    Label(usize),
}

/// Bindings, the innermost first, shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Env<'a>(Option<Rc<Node<'a>>>);

#[derive(Debug)]
struct Node<'a> {
    slot: Slot,
    binding: Binding<'a>,
    outer: Env<'a>,
    _held: Held,
}

impl<'a> Env<'a> {
    pub(super) fn bind(self, slot: Slot, binding: Binding<'a>, budget: &Budget) -> Result<Self, Stop> {
        let held = budget.hold(size_of::<Node<'_>>())?;
        Ok(Self(Some(Rc::new(Node { slot, binding, outer: self, _held: held }))))
    }

    pub(super) fn find(&self, slot: Slot) -> Option<&Binding<'a>> {
        self.at(slot).and_then(|env| env.0.as_deref()).map(|node| &node.binding)
    }

    /// The environment whose innermost binding is `slot`'s.
    pub(super) fn within(&self, slot: Slot) -> Self {
        self.at(slot).cloned().unwrap_or_default()
    }

    fn at(&self, slot: Slot) -> Option<&Self> {
        let mut env = self;
        while let Some(node) = &env.0 {
            if node.slot == slot {
                return Some(env);
            }
            env = &node.outer;
        }
        None
    }
}

/// Not recursive: filter arguments of filter arguments may go on as long as memory lasts.
impl Drop for Env<'_> {
    fn drop(&mut self) {
        let mut next = self.0.take();
        let mut arguments = Vec::new();
        while let Some(rc) = next.take().or_else(|| arguments.pop()) {
            let Ok(mut node) = Rc::try_unwrap(rc) else { continue };
            next = node.outer.0.take();
            if let Binding::Argument(_, env) = &mut node.binding {
                arguments.extend(env.0.take());
            }
        }
    }
}
