//! Reading, setting and deleting at a place in a value: `.a[0]`, `.[1:3]`, `getpath`, `setpath`, `delpaths`.

use std::rc::Rc;

use super::budget::{Budget, Fault, Held, MAX_DEPTH, Stop};
use super::json;
use super::number::Num;
use super::value::{Arr, ITEM, Obj, Val};

/// Where a value came from.
#[derive(Clone, Debug)]
pub(super) enum Route<'a> {
    /// Nobody asks for its path.
    Off,
    /// Its path is asked for, and it has none: it was made, not found.
    Lost,
    /// It was found here.
    At(Steps<'a>),
}

/// The steps from the root to a value, last first, shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps<'a>(Option<Rc<Step<'a>>>);

#[derive(Debug)]
struct Step<'a> {
    key: Val<'a>,
    before: Steps<'a>,
    _held: Held,
}

impl<'a> Steps<'a> {
    pub(super) fn then(&self, key: Val<'a>, budget: &Budget) -> Result<Self, Stop> {
        let held = budget.hold(size_of::<Step<'_>>())?;
        Ok(Self(Some(Rc::new(Step { key, before: self.clone(), _held: held }))))
    }

    /// The keys, first first.
    pub(super) fn keys(&self, budget: &Budget) -> Result<Vec<Val<'a>>, Stop> {
        let mut keys = Vec::new();
        let mut at = self;
        while let Some(step) = &at.0 {
            budget.step()?;
            keys.push(step.key.clone());
            at = &step.before;
        }
        budget.room(keys.len() * ITEM)?;
        keys.reverse();
        Ok(keys)
    }
}

/// Not recursive: a path may be as long as memory lasts.
impl Drop for Steps<'_> {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut step) = next.and_then(|rc| Rc::try_unwrap(rc).ok()) {
            next = step.before.0.take();
        }
    }
}

/// `value[key]`; what is not there is null.
pub(super) fn index<'a>(value: &Val<'a>, key: &Val<'a>, budget: &Budget) -> Result<Val<'a>, Fault<'a>> {
    match (value, key) {
        (Val::Obj(object), Val::Str(key)) => Ok(object.get(key).unwrap_or(Val::Null)),
        (Val::Null, Val::Str(_) | Val::Num(_) | Val::Null) => Ok(Val::Null),
        (Val::Arr(array), Val::Num(number)) => {
            Ok(position(*number, array.len()).and_then(|at| array.get(at)).unwrap_or(Val::Null))
        }
        (Val::Arr(_) | Val::Null | Val::Str(_), Val::Obj(range)) => {
            let (from, to) = bounds(range);
            slice(value, &from, &to, budget)
        }
        (Val::Arr(array), Val::Arr(part)) => super::natives::arrays::indices_of(array, part, budget),
        (value, Val::Str(key)) => {
            Err(Fault::raise(format!("Cannot index {} with \"{}\"", value.kind(), short(key))))
        }
        (value, key) => Err(Fault::raise(format!("Cannot index {} with {}", value.kind(), key.kind()))),
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The position that an index means: from the end if negative.
fn position(index: Num, len: usize) -> Option<usize> {
    let index = if index.is_nan() { return None } else { index.floor() };
    if index < 0 {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    } else {
        usize::try_from(index).ok()
    }
}

fn bounds<'a>(range: &Obj<'a>) -> (Val<'a>, Val<'a>) {
    (range.get("start").unwrap_or(Val::Null), range.get("end").unwrap_or(Val::Null))
}

/// Start and end of a slice of something with `len` parts.
fn span<'a>(from: &Val<'a>, to: &Val<'a>, len: usize) -> Result<(usize, usize), Fault<'a>> {
    let edge = |bound: &Val<'a>, absent: usize, up: bool| match bound {
        Val::Null => Ok(absent),
        Val::Num(number) => {
            let number = if up { number.float().ceil() } else { number.float().floor() };
            let index = Num::Float(number).trunc();
            let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
            Ok(if index < 0 { len.saturating_sub(distance) } else { distance.min(len) })
        }
        _ => Err(Fault::raise("Start and end indices of an array slice must be numbers")),
    };
    let start = edge(from, 0, false)?;
    Ok((start, edge(to, len, true)?.max(start)))
}

/// `value[from:to]`.
pub(super) fn slice<'a>(
    value: &Val<'a>,
    from: &Val<'a>,
    to: &Val<'a>,
    budget: &Budget,
) -> Result<Val<'a>, Fault<'a>> {
    match value {
        Val::Null => Ok(Val::Null),
        Val::Arr(array) => {
            let (start, end) = span(from, to, array.len())?;
            if let Arr::Lent(items) = array {
                return Ok(Val::Arr(Arr::Lent(&items[start..end])));
            }
            budget.room((end - start) * ITEM)?;
            Ok(Val::array((start..end).filter_map(|at| array.get(at)).collect(), budget)?)
        }
        Val::Str(text) => {
            budget.scan(2 * text.len())?;
            let (start, end) = span(from, to, text.chars().count())?;
            let mut edges = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let start_byte = edges.nth(start).unwrap_or(text.len());
            let end_byte =
                if end > start { edges.nth(end - start - 1).unwrap_or(text.len()) } else { start_byte };
            budget.room(end_byte - start_byte)?;
            Ok(Val::text(text[start_byte..end_byte].to_owned(), budget)?)
        }
        other => Err(Fault::raise(format!("Cannot index {} with object", other.kind()))),
    }
}

/// `getpath`.
pub(super) fn get<'a>(
    value: &Val<'a>,
    keys: impl IntoIterator<Item = Val<'a>>,
    budget: &Budget,
) -> Result<Val<'a>, Fault<'a>> {
    let mut value = value.clone();
    for key in keys {
        budget.step()?;
        if matches!(value, Val::Null) {
            return Ok(Val::Null);
        }
        value = index(&value, &key, budget)?;
    }
    Ok(value)
}

/// `setpath`: in place where nobody else has the parts.
pub(super) fn set<'a>(
    value: Val<'a>,
    keys: &[Val<'a>],
    new: Val<'a>,
    budget: &Budget,
) -> Result<Val<'a>, Fault<'a>> {
    if keys.len() > MAX_DEPTH {
        return Err(Stop::too_deep().into());
    }
    change(value, keys, budget, &mut |_| Ok(Some(new.clone())))
}

type Change<'c, 'a> = &'c mut dyn FnMut(Val<'a>) -> Result<Option<Val<'a>>, Fault<'a>>;

/// Replaces what is at `keys` by what `new` makes of it. Not deeper than [`MAX_DEPTH`].
fn change<'a>(
    value: Val<'a>,
    keys: &[Val<'a>],
    budget: &Budget,
    new: Change<'_, 'a>,
) -> Result<Val<'a>, Fault<'a>> {
    budget.step()?;
    let Some((key, rest)) = keys.split_first() else {
        return Ok(new(value)?.unwrap_or(Val::Null));
    };
    match (value, key) {
        (Val::Null, Val::Str(_)) => {
            change(Val::object(super::value::Entries::default(), budget)?, keys, budget, new)
        }
        (Val::Null, Val::Num(_) | Val::Obj(_)) => change(Val::array(Vec::new(), budget)?, keys, budget, new),
        (Val::Obj(object), Val::Str(key)) => object.with(key, budget, |part| change(part, rest, budget, new)),
        (Val::Arr(array), Val::Num(number)) => {
            let len = array.len();
            let at =
                position(*number, len).ok_or_else(|| Fault::raise("Out of bounds negative array index"))?;
            if at >= len {
                budget.room(at.saturating_mul(ITEM))?;
                budget.work(at - len)?;
            }
            array.with(at, budget, |part| change(part, rest, budget, new))
        }
        (Val::Arr(array), Val::Obj(range)) => {
            let (from, to) = bounds(range);
            let (start, end) = span(&from, &to, array.len())?;
            let part = slice(&Val::Arr(array.clone()), &from, &to, budget)?;
            let Val::Arr(part) = change(part, rest, budget, new)? else {
                return Err(Fault::raise("A slice of an array can only be assigned another array"));
            };
            budget.room((array.len() + part.len()) * ITEM)?;
            let mut items = array.into_items(budget)?;
            items.splice(start..end, part.iter());
            Ok(Val::array(items, budget)?)
        }
        (value, Val::Str(key)) => {
            Err(Fault::raise(format!("Cannot index {} with \"{}\"", value.kind(), short(key))))
        }
        (value, key) => {
            Err(Fault::raise(format!("Cannot update field at {} index of {}", key.kind(), value.kind())))
        }
    }
}

/// `delpaths`: the last ones first, so that the earlier ones stay true.
pub(super) fn delete_all<'a>(
    value: Val<'a>,
    paths: Vec<Val<'a>>,
    budget: &Budget,
) -> Result<Val<'a>, Fault<'a>> {
    let paths = super::natives::arrays::sorted(paths, budget)?;
    let mut value = value;
    for path in paths.into_iter().rev() {
        let Val::Arr(keys) = path else {
            return Err(Fault::raise("Path must be specified as an array"));
        };
        if keys.len() > MAX_DEPTH {
            return Err(Stop::too_deep().into());
        }
        let keys: Vec<_> = keys.iter().collect();
        let Some((last, parents)) = keys.split_last() else { return Ok(Val::Null) };
        if matches!(get(&value, parents.iter().cloned(), budget)?, Val::Null) {
            continue;
        }
        value = change(value, parents, budget, &mut |parent| delete(parent, last, budget).map(Some))?;
    }
    Ok(value)
}

fn delete<'a>(parent: Val<'a>, key: &Val<'a>, budget: &Budget) -> Result<Val<'a>, Fault<'a>> {
    match (parent, key) {
        (Val::Null, _) => Ok(Val::Null),
        (Val::Obj(object), Val::Str(key)) => {
            budget.work(object.len() / 8)?;
            let mut entries = object.into_entries(budget)?;
            entries.shift_remove(&**key);
            Ok(Val::object(entries, budget)?)
        }
        (Val::Arr(array), Val::Num(number)) => {
            budget.work(array.len() / 8)?;
            let at = position(*number, array.len());
            let mut items = array.into_items(budget)?;
            if let Some(at) = at.filter(|&at| at < items.len()) {
                items.remove(at);
            }
            Ok(Val::array(items, budget)?)
        }
        (Val::Arr(array), Val::Obj(range)) => {
            let (from, to) = bounds(range);
            let (start, end) = span(&from, &to, array.len())?;
            let mut items = array.into_items(budget)?;
            items.drain(start..end);
            Ok(Val::array(items, budget)?)
        }
        (Val::Obj(_), key) => {
            Err(Fault::raise(format!("Cannot delete field at object index of {}", key.kind())))
        }
        (parent, key) => Err(Fault::raise(format!("Cannot delete {} of {}", json_text(key), parent.kind()))),
    }
}

fn json_text(value: &Val<'_>) -> String {
    let mut text = String::new();
    json::sketch(value, &mut text);
    text
}
