//! The values that an evaluation works on.
//!
//! Input and variables are borrowed, so that `.a.b` of a large document copies nothing; what an expression makes is
//! shared by reference count, counted in its [`Budget`], and knows its own depth, so that dropping it never recurses
//! deeper than [`MAX_DEPTH`].

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::budget::{Budget, Fault, Held, MAX_DEPTH, Stop};
use super::number::Num;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Num(Num),
    Str(Str<'a>),
    Arr(Arr<'a>),
    Obj(Obj<'a>),
}

/// Text: of the input, of the program, or made.
#[derive(Clone, Debug)]
pub(super) enum Str<'a> {
    Lent(&'a str),
    Own(Rc<Text>),
}

/// Text that was made.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    held: Held,
}

/// An array: of the input, or made.
#[derive(Clone, Debug)]
pub(super) enum Arr<'a> {
    Lent(&'a [Value]),
    Own(Rc<List<'a>>),
}

/// An array that was made.
#[derive(Debug)]
pub(super) struct List<'a> {
    items: Vec<Val<'a>>,
    depth: usize,
    held: Held,
}

/// An object: of the input, or made.
#[derive(Clone, Debug)]
pub(super) enum Obj<'a> {
    Lent(&'a Map<String, Value>),
    Own(Rc<Table<'a>>),
}

/// An object that was made, in the order in which its keys were.
#[derive(Debug)]
pub(super) struct Table<'a> {
    entries: Entries<'a>,
    depth: usize,
    held: Held,
}

/// The entries of an object.
pub(super) type Entries<'a> = IndexMap<Str<'a>, Val<'a>>;

/// Bytes that one more item of an array takes.
pub(super) const ITEM: usize = size_of::<Val<'_>>();

/// Bytes that one more entry of an object takes.
pub(super) const ENTRY: usize = size_of::<Val<'_>>() + size_of::<Str<'_>>() + 48;

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Own(text) => &text.text,
        }
    }
}

impl<'a> Str<'a> {
    /// With `more` after it: in place if nobody else has it.
    pub(super) fn extended(self, more: &str, budget: &Budget) -> Result<Self, Stop> {
        budget.room(self.len() + more.len())?;
        if let Self::Own(mut text) = self {
            if let Some(own) = Rc::get_mut(&mut text) {
                budget.scan(more.len())?;
                own.held.grow(more.len())?;
                own.text.push_str(more);
                return Ok(Self::Own(text));
            }
            return Self::made([&text.text, more].concat(), budget);
        }
        Self::made([&self, more].concat(), budget)
    }

    fn made(text: String, budget: &Budget) -> Result<Self, Stop> {
        let held = budget.hold(text.len())?;
        budget.scan(text.len())?;
        Ok(Self::Own(Rc::new(Text { text, held })))
    }
}

impl Borrow<str> for Str<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Str<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Str<'_> {}

impl Hash for Str<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<'a> Arr<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Lent(items) => items.len(),
            Self::Own(list) => list.items.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Lent(items) => items.get(index).map(Val::lend),
            Self::Own(list) => list.items.get(index).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The items, to be changed: without a copy if nobody else has them.
    pub(super) fn into_items(self, budget: &Budget) -> Result<Vec<Val<'a>>, Stop> {
        let list = match self {
            Self::Own(list) => match Rc::try_unwrap(list) {
                Ok(list) => return Ok(list.items),
                Err(shared) => Self::Own(shared),
            },
            lent => lent,
        };
        budget.room(list.len() * ITEM)?;
        budget.work(list.len())?;
        Ok(list.iter().collect())
    }
}

impl<'a> Obj<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Lent(map) => map.len(),
            Self::Own(table) => table.entries.len(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Self::Lent(map) => map.get(key).map(Val::lend),
            Self::Own(table) => table.entries.get(key).cloned(),
        }
    }

    /// The entries, in their order, one after the other.
    pub(super) fn entries(&self) -> Vec<(Str<'a>, Val<'a>)> {
        match self {
            Self::Lent(map) => map.iter().map(|(k, v)| (Str::Lent(k), Val::lend(v))).collect(),
            Self::Own(table) => table.entries.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    /// The first `count` keys, in their order.
    pub(super) fn keys(&self, count: usize) -> Vec<Str<'a>> {
        match self {
            Self::Lent(map) => map.keys().take(count).map(|key| Str::Lent(key)).collect(),
            Self::Own(table) => table.entries.keys().take(count).cloned().collect(),
        }
    }

    /// The keys in the order of their code points.
    pub(super) fn sorted_keys(&self) -> Vec<Str<'a>> {
        let mut keys = self.keys(usize::MAX);
        keys.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        keys
    }

    /// The entries, to be changed: without a copy if nobody else has them.
    pub(super) fn into_entries(self, budget: &Budget) -> Result<Entries<'a>, Stop> {
        let table = match self {
            Self::Own(table) => match Rc::try_unwrap(table) {
                Ok(table) => return Ok(table.entries),
                Err(shared) => Self::Own(shared),
            },
            lent => lent,
        };
        budget.room(table.len() * ENTRY)?;
        budget.work(table.len() * 2)?;
        Ok(table.entries().into_iter().collect())
    }
}

impl<'a> Val<'a> {
    /// The value of the caller's that this is, borrowed.
    pub(super) fn lend(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => Self::Num(Num::from_json(number)),
            Value::String(text) => Self::Str(Str::Lent(text)),
            Value::Array(items) => Self::Arr(Arr::Lent(items)),
            Value::Object(map) => Self::Obj(Obj::Lent(map)),
        }
    }

    /// A short text that is not counted: for messages.
    pub(super) fn message(text: String) -> Self {
        Self::Str(Str::Own(Rc::new(Text { text, held: Held::default() })))
    }

    /// Text of the program or the input.
    pub(super) fn lent(text: &'a str) -> Self {
        Self::Str(Str::Lent(text))
    }

    pub(super) fn text(text: String, budget: &Budget) -> Result<Self, Stop> {
        Ok(Self::Str(Str::made(text, budget)?))
    }

    pub(super) fn array(items: Vec<Self>, budget: &Budget) -> Result<Self, Stop> {
        let held = budget.hold(items.len() * ITEM)?;
        budget.work(items.len() / 4)?;
        Self::list(items, held)
    }

    /// The array of items that are already counted in `held`.
    pub(super) fn list(items: Vec<Self>, held: Held) -> Result<Self, Stop> {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(Stop::too_deep());
        }
        Ok(Self::Arr(Arr::Own(Rc::new(List { items, depth, held }))))
    }

    pub(super) fn object(entries: Entries<'a>, budget: &Budget) -> Result<Self, Stop> {
        let held = budget.hold(entries.len() * ENTRY)?;
        budget.work(entries.len() / 4)?;
        let depth = 1 + entries.values().map(Self::depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(Stop::too_deep());
        }
        Ok(Self::Obj(Obj::Own(Rc::new(Table { entries, depth, held }))))
    }

    /// Levels of what was made; the levels of borrowed values are counted by those who walk them.
    fn depth(&self) -> usize {
        match self {
            Self::Arr(Arr::Own(list)) => list.depth,
            Self::Obj(Obj::Own(table)) => table.depth,
            _ => 0,
        }
    }

    pub(super) fn int(number: usize) -> Self {
        Self::Num(Num::Int(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    pub(super) fn float(number: f64) -> Self {
        Self::Num(Num::computed(number))
    }

    /// jq's idea of truth.
    pub(super) fn truthy(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    /// jq's name of its type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Num(_) => "number",
            Self::Str(_) => "string",
            Self::Arr(_) => "array",
            Self::Obj(_) => "object",
        }
    }

    /// Type and beginning of the value, for messages.
    pub(super) fn shown(&self) -> String {
        let mut text = String::new();
        super::json::sketch(self, &mut text);
        format!("{} ({text})", self.kind())
    }

    /// The children of an array or object, in order.
    pub(super) fn children(&self, budget: &Budget) -> Result<Vec<Val<'a>>, Fault<'a>> {
        match self {
            Self::Arr(items) => {
                budget.room(items.len() * ITEM)?;
                Ok(items.iter().collect())
            }
            Self::Obj(object) => {
                budget.room(object.len() * ITEM * 2)?;
                Ok(object.entries().into_iter().map(|(_, value)| value).collect())
            }
            other => Err(Fault::raise(format!("Cannot iterate over {}", other.shown()))),
        }
    }
}

impl<'a> Arr<'a> {
    /// With `items` after its own: in place if nobody else has it.
    pub(super) fn extended(self, more: &Arr<'a>, budget: &Budget) -> Result<Val<'a>, Stop> {
        budget.work(more.len())?;
        let Self::Own(mut list) = self else {
            let mut items = self.into_items(budget)?;
            budget.room(more.len() * ITEM)?;
            items.extend(more.iter());
            return Val::array(items, budget);
        };
        if let Some(own) = Rc::get_mut(&mut list) {
            own.held.grow(more.len() * ITEM)?;
            own.items.extend(more.iter());
            own.depth = own.depth.max(1 + more.iter().map(|item| item.depth()).max().unwrap_or(0));
            if own.depth > MAX_DEPTH {
                return Err(Stop::too_deep());
            }
            return Ok(Val::Arr(Self::Own(list)));
        }
        let mut items = Self::Own(list).into_items(budget)?;
        budget.room(more.len() * ITEM)?;
        items.extend(more.iter());
        Val::array(items, budget)
    }
}

impl<'a> Arr<'a> {
    /// With what `new` makes of the item at `at`, filled up with null: in place if nobody else has it.
    pub(super) fn with(
        self,
        at: usize,
        budget: &Budget,
        new: impl FnOnce(Val<'a>) -> Result<Val<'a>, Fault<'a>>,
    ) -> Result<Val<'a>, Fault<'a>> {
        let mut list = match self {
            Self::Own(list) if Rc::strong_count(&list) == 1 => list,
            shared => match Val::array(shared.into_items(budget)?, budget)? {
                Val::Arr(Self::Own(list)) => list,
                other => return Ok(other),
            },
        };
        if let Some(own) = Rc::get_mut(&mut list) {
            if at >= own.items.len() {
                own.held.grow((at + 1 - own.items.len()) * ITEM)?;
                own.items.resize(at + 1, Val::Null);
            }
            // Taken out of its place, so that the part is nobody else's while it is changed.
            let part = new(std::mem::replace(&mut own.items[at], Val::Null))?;
            own.depth = own.depth.max(1 + part.depth());
            if own.depth > MAX_DEPTH {
                return Err(Stop::too_deep().into());
            }
            own.items[at] = part;
        }
        Ok(Val::Arr(Self::Own(list)))
    }
}

impl<'a> Obj<'a> {
    /// With what `new` makes of the value at `key`, or of null: in place if nobody else has it.
    pub(super) fn with(
        self,
        key: &Str<'a>,
        budget: &Budget,
        new: impl FnOnce(Val<'a>) -> Result<Val<'a>, Fault<'a>>,
    ) -> Result<Val<'a>, Fault<'a>> {
        let mut table = match self {
            Self::Own(table) if Rc::strong_count(&table) == 1 => table,
            shared => match Val::object(shared.into_entries(budget)?, budget)? {
                Val::Obj(Self::Own(table)) => table,
                other => return Ok(other),
            },
        };
        if let Some(own) = Rc::get_mut(&mut table) {
            let before = own.entries.len();
            let slot = own.entries.entry(key.clone()).or_insert(Val::Null);
            let part = new(std::mem::replace(slot, Val::Null))?;
            own.depth = own.depth.max(1 + part.depth());
            if own.depth > MAX_DEPTH {
                return Err(Stop::too_deep().into());
            }
            *slot = part;
            own.held.grow((own.entries.len() - before) * ENTRY)?;
        }
        Ok(Val::Obj(Self::Own(table)))
    }
}

/// A place in an array or object whose parts are gone through.
#[derive(Debug)]
pub(super) enum Cursor<'a> {
    Array(Arr<'a>, usize),
    Lent(serde_json::map::Iter<'a>),
    Own(Rc<Table<'a>>, usize),
}

impl<'a> Cursor<'a> {
    /// Before the first part of `value`.
    pub(super) fn new(value: Val<'a>) -> Result<Self, Fault<'a>> {
        match value {
            Val::Arr(array) => Ok(Self::Array(array, 0)),
            Val::Obj(Obj::Lent(map)) => Ok(Self::Lent(map.iter())),
            Val::Obj(Obj::Own(table)) => Ok(Self::Own(table, 0)),
            other => Err(Fault::raise(format!("Cannot iterate over {}", other.shown()))),
        }
    }

    /// The next part, with its key.
    pub(super) fn next(&mut self) -> Option<(Val<'a>, Val<'a>)> {
        match self {
            Self::Array(array, at) => {
                let part = array.get(*at)?;
                *at += 1;
                Some((Val::int(*at - 1), part))
            }
            Self::Lent(entries) => entries.next().map(|(key, value)| (Val::lent(key), Val::lend(value))),
            Self::Own(table, at) => {
                let (key, value) = table.entries.get_index(*at)?;
                *at += 1;
                Some((Val::Str(key.clone()), value.clone()))
            }
        }
    }

    /// Whether there is no further part.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Array(array, at) => *at >= array.len(),
            Self::Lent(entries) => entries.len() == 0,
            Self::Own(table, at) => *at >= table.entries.len(),
        }
    }
}

/// Whether both are the same allocation.
pub(super) fn same(a: &Val<'_>, b: &Val<'_>) -> bool {
    match (a, b) {
        (Val::Arr(Arr::Own(a)), Val::Arr(Arr::Own(b))) => {
            std::ptr::eq(Rc::as_ptr(a).cast::<()>(), Rc::as_ptr(b).cast())
        }
        (Val::Obj(Obj::Own(a)), Val::Obj(Obj::Own(b))) => {
            std::ptr::eq(Rc::as_ptr(a).cast::<()>(), Rc::as_ptr(b).cast())
        }
        _ => false,
    }
}
