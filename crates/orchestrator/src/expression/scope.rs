//! The names that an expression may use, and why some of jq's are not among them.

use super::natives;
use super::syntax::{FunctionId, NativeId, Slot};

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    Variable(Slot),
    Argument(Slot),
    Label(Slot),
    Function(FunctionId),
}

#[derive(Clone, Debug)]
struct Name {
    text: String,
    arity: usize,
    meaning: Meaning,
}

/// The names that can be seen, the innermost last.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    names: Vec<Name>,
    slots: Slot,
}

impl Scope {
    /// A scope inside one with this many slots.
    pub(super) fn after(slots: Slot) -> Self {
        Self { names: Vec::new(), slots }
    }

    pub(super) fn slots(&self) -> Slot {
        self.slots
    }

    /// A slot that nothing else has.
    pub(super) fn fresh(&mut self) -> Slot {
        self.slots += 1;
        self.slots
    }

    pub(super) fn variable(&mut self, text: &str) -> Slot {
        let slot = self.fresh();
        self.push(text, 0, Meaning::Variable(slot));
        slot
    }

    pub(super) fn argument(&mut self, text: &str) -> Slot {
        let slot = self.fresh();
        self.push(text, 0, Meaning::Argument(slot));
        slot
    }

    pub(super) fn label(&mut self, text: &str) -> Slot {
        let slot = self.fresh();
        self.push(text, 0, Meaning::Label(slot));
        slot
    }

    pub(super) fn function(&mut self, text: &str, arity: usize, id: FunctionId) {
        self.push(text, arity, Meaning::Function(id));
    }

    fn push(&mut self, text: &str, arity: usize, meaning: Meaning) {
        self.names.push(Name { text: text.to_owned(), arity, meaning });
    }

    /// Where the scope is now, to [`Scope::leave`] to.
    pub(super) fn mark(&self) -> usize {
        self.names.len()
    }

    pub(super) fn leave(&mut self, mark: usize) {
        self.names.truncate(mark);
    }

    /// The innermost binding: what a definition that starts here can see.
    pub(super) fn innermost(&self) -> Slot {
        self.names.iter().rev().find_map(|name| name.meaning.slot()).unwrap_or(0)
    }

    pub(super) fn find_variable(&self, text: &str) -> Option<Slot> {
        self.names.iter().rev().find_map(|name| match name.meaning {
            Meaning::Variable(slot) if name.text == text => Some(slot),
            _ => None,
        })
    }

    pub(super) fn find_label(&self, text: &str) -> Option<Slot> {
        self.names.iter().rev().find_map(|name| match name.meaning {
            Meaning::Label(slot) if name.text == text => Some(slot),
            _ => None,
        })
    }

    /// The filter argument or definition of this name.
    pub(super) fn find_filter(&self, text: &str, arity: usize) -> Option<Meaning> {
        let found = self.names.iter().rev().find(|name| {
            let filter = matches!(name.meaning, Meaning::Argument(_) | Meaning::Function(_));
            filter && name.arity == arity && name.text == text
        });
        found.map(|name| name.meaning)
    }

    pub(super) fn filters(&self) -> impl Iterator<Item = (&str, usize)> {
        let filter = |name: &&Name| matches!(name.meaning, Meaning::Argument(_) | Meaning::Function(_));
        self.names.iter().filter(filter).map(|name| (name.text.as_str(), name.arity))
    }
}

impl Meaning {
    fn slot(self) -> Option<Slot> {
        match self {
            Self::Variable(slot) | Self::Argument(slot) | Self::Label(slot) => Some(slot),
            Self::Function(_) => None,
        }
    }
}

/// The function of ours with this name.
pub(super) fn native(text: &str, arity: usize) -> Option<NativeId> {
    let found = natives::TABLE.iter().position(|native| native.arity == arity && native.name == text)?;
    NativeId::try_from(found).ok()
}

/// Names of jq that an expression may not use, and what to do instead.
const REFUSED: [(&str, &str); 18] = [
    ("now", "would make a run unrepeatable; use $workflow.startedAt or $task.startedAt"),
    ("localtime", "depends on the machine's time zone; use `gmtime`"),
    ("strflocaltime", "depends on the machine's time zone; use `strftime`"),
    ("env", "would read the environment of the gateway; pass what is needed as input"),
    ("ENV", "would read the environment of the gateway; pass what is needed as input"),
    ("input", "has nothing to read here; the input is `.`"),
    ("inputs", "has nothing to read here; the input is `.`"),
    ("input_filename", "has no file here"),
    ("input_line_number", "has no file here"),
    ("halt", "would end more than this expression; use `error` or `empty`"),
    ("halt_error", "would end more than this expression; use `error`"),
    ("debug", "has nowhere to write; leave it out"),
    ("stderr", "has nowhere to write; leave it out"),
    ("get_search_list", "has no modules here"),
    ("modulemeta", "has no modules here"),
    ("import", "has no modules here; write the definitions with `def`"),
    ("include", "has no modules here; write the definitions with `def`"),
    ("module", "has no modules here; write the definitions with `def`"),
];

/// Why `text` may not be used, if it is a name of jq that may not.
pub(super) fn refusal(text: &str) -> Option<String> {
    let (name, why) = REFUSED.iter().find(|(name, _)| *name == text)?;
    let sigil = if *name == "ENV" { "$" } else { "" };
    Some(format!("`{sigil}{name}` {why}"))
}

/// What is wrong with a call of `text` that nothing is known of, with the nearest name that there is.
pub(super) fn unknown(text: &str, arity: usize, scopes: &[&Scope]) -> String {
    let special = super::parser::SPECIAL.iter().copied();
    let known = scopes.iter().flat_map(|scope| scope.filters()).chain(special);
    let known: Vec<_> =
        known.chain(natives::TABLE.iter().map(|native| (native.name, native.arity))).collect();
    let mut arities: Vec<_> =
        known.iter().filter(|(name, _)| *name == text).map(|(_, arity)| *arity).collect();
    arities.sort_unstable();
    arities.dedup();
    if !arities.is_empty() {
        let arities: Vec<_> = arities.iter().map(usize::to_string).collect();
        return format!("`{text}` takes {} arguments, not {arity}", arities.join(" or "));
    }
    let names = known.iter().map(|(name, _)| *name).filter(|name| !name.starts_with('_'));
    match nearest(text, names) {
        Some(near) => format!("there is no function `{text}`; did you mean `{near}`?"),
        None => format!("there is no function `{text}`"),
    }
}

/// The name most like `text`, if one is.
pub(super) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.map(|name| (strsim::jaro_winkler(text, name), name));
    near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8).map(|(_, name)| name)
}
