//! What an expression is once it is parsed: terms in one flat table, every name resolved.

use std::sync::Arc;

use super::number::Num;

/// A term, by its place in the table.
pub(super) type TermId = u32;

/// A definition, by its place in the table.
pub(super) type FunctionId = u32;

/// What a variable, filter argument or label is bound to at run time is found by this; 0 is none.
pub(super) type Slot = u32;

/// A function of the evaluator's own, by its place in [`super::natives::TABLE`].
pub(super) type NativeId = u16;

/// What is written in the expression.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Num(Num),
    Text(Box<str>),
}

/// An operator of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A term.
#[derive(Debug)]
pub(super) enum Term {
    /// `.`
    Identity,
    Constant(Constant),
    /// `$name` of the caller's.
    Global(u32),
    /// `$name` bound in the expression.
    Variable(Slot),
    /// A filter argument.
    Argument(Slot),
    /// `base.name`
    Field(TermId, Box<str>),
    /// `base[key]`
    Index(TermId, TermId),
    /// `base[from:to]`
    Slice(TermId, TermId, TermId),
    /// `base[]`
    Each(TermId),
    /// `[body]`
    Array(TermId),
    /// `{key: value, …}`
    Object(Box<[(TermId, TermId)]>),
    /// `-body`
    Negate(TermId),
    Pipe(TermId, TermId),
    Comma(TermId, TermId),
    /// `source as $slot | body`
    Bind(TermId, Slot, TermId),
    Fold(Box<Fold>),
    /// `if condition then yes else no end`
    If(TermId, TermId, TermId),
    /// `try body catch handler`
    Try(TermId, Option<TermId>),
    /// `label $slot | body`
    Label(Slot, TermId),
    /// `break $slot`
    Break(Slot),
    Binary(Operator, TermId, TermId),
    And(TermId, TermId),
    Or(TermId, TermId),
    /// `left // right`
    Alternative(TermId, TermId),
    /// `paths |= update`
    Modify(TermId, TermId),
    /// A call of a definition.
    Call(FunctionId, Box<[TermId]>),
    /// A call of a function of ours, whose arguments are values.
    Native(NativeId, Box<[TermId]>),
    /// `empty`
    Empty,
    /// `path(body)`
    Path(TermId),
    /// `getpath(keys)`
    GetPath(TermId),
    /// `limit(count; body)`
    Limit(TermId, TermId),
    /// `range(from; to; by)`
    Range(TermId, TermId, TermId),
}

/// `reduce` or `foreach`.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) source: TermId,
    pub(super) slot: Slot,
    pub(super) start: TermId,
    pub(super) update: TermId,
    /// What `foreach` gives out after every step; `None` for `reduce`.
    pub(super) extract: Option<TermId>,
}

/// A definition.
#[derive(Debug)]
pub(super) struct Function {
    /// The innermost binding where it is defined, which its body sees.
    pub(super) base: Slot,
    pub(super) arguments: Vec<Slot>,
    pub(super) body: TermId,
}

/// Terms and definitions.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) terms: Vec<Term>,
    pub(super) functions: Vec<Function>,
}

/// A parsed expression. Its ids go on where those of the prelude end.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) table: Table,
    pub(super) root: TermId,
    /// The caller's variables that it names, with the place where each is named first.
    pub(super) globals: Vec<(Arc<str>, usize)>,
}
