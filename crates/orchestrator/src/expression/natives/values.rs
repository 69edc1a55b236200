//! Functions of any value: types, conversions, keys, paths.

use super::super::budget::{Budget, Fault, Stop};
use super::super::json::{self, Writer};
use super::super::number::Num;
use super::super::path;
use super::super::value::{Cursor, ENTRY, Entries, ITEM, Obj, Str, Val};
use super::{Result, Tools, text_of};

pub(super) fn not<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::Bool(!input.truthy()))
}

pub(super) fn error<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Err(Fault::Raise(input))
}

pub(super) fn error_with<'a>(_: &mut Tools<'a>, _: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    Err(Fault::Raise(arguments[0].clone()))
}

pub(super) fn kind<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::lent(input.kind()))
}

pub(super) fn length<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(match &input {
        Val::Null => Val::int(0),
        Val::Bool(_) => return Err(Fault::raise(format!("{} has no length", input.shown()))),
        Val::Num(number) if number.order(Num::Int(0)).is_lt() => Val::Num(number.neg()),
        Val::Num(number) => Val::Num(*number),
        Val::Str(text) => {
            tools.budget.scan(text.len())?;
            Val::int(text.chars().count())
        }
        Val::Arr(array) => Val::int(array.len()),
        Val::Obj(object) => Val::int(object.len()),
    })
}

/// The JSON text of a value.
fn json_text<'a>(value: &Val<'a>, budget: &Budget) -> std::result::Result<Val<'a>, Stop> {
    let mut writer = Writer::new(budget)?;
    writer.json(value)?;
    writer.finish()
}

/// A string as it is, anything else as JSON text.
pub(super) fn plain_text<'a>(value: &Val<'a>, budget: &Budget) -> std::result::Result<Str<'a>, Stop> {
    match value {
        Val::Str(text) => Ok(text.clone()),
        other => match json_text(other, budget)? {
            Val::Str(text) => Ok(text),
            _ => Ok(Str::Lent("")),
        },
    }
}

pub(super) fn to_string<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::Str(plain_text(&input, tools.budget)?))
}

pub(super) fn to_json<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(json_text(&input, tools.budget)?)
}

pub(super) fn to_number<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    match &input {
        Val::Num(_) => Ok(input),
        Val::Str(text) => {
            tools.budget.scan(8 * text.len())?;
            let number = Num::parse(text).map(Val::Num);
            number.ok_or_else(|| Fault::raise(format!("{} cannot be parsed as a number", input.shown())))
        }
        other => Err(Fault::raise(format!("{} cannot be parsed as a number", other.shown()))),
    }
}

pub(super) fn to_boolean<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    match &input {
        Val::Bool(_) => Ok(input),
        Val::Str(text) if matches!(&**text, "true" | "false") => Ok(Val::Bool(&**text == "true")),
        other => Err(Fault::raise(format!("{} cannot be parsed as a boolean", other.shown()))),
    }
}

pub(super) fn from_json<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    json::parse(text_of(&input, "fromjson")?, tools.budget)
}

pub(super) fn keys<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let Val::Obj(object) = &input else { return keys_unsorted(tools, input, arguments) };
    tools.budget.room(2 * object.len() * ITEM)?;
    tools.budget.work(4 * object.len())?;
    Ok(Val::array(object.sorted_keys().into_iter().map(Val::Str).collect(), tools.budget)?)
}

pub(super) fn keys_unsorted<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let keys = match &input {
        Val::Obj(object) => {
            tools.budget.room(object.len() * ITEM)?;
            object.keys(usize::MAX).into_iter().map(Val::Str).collect()
        }
        Val::Arr(array) => {
            tools.budget.room(array.len() * ITEM)?;
            (0..array.len()).map(Val::int).collect()
        }
        other => return Err(Fault::raise(format!("{} has no keys", other.shown()))),
    };
    Ok(Val::array(keys, tools.budget)?)
}

pub(super) fn has<'a>(_: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    match (&input, &arguments[0]) {
        (Val::Obj(object), Val::Str(key)) => Ok(Val::Bool(object.get(key).is_some())),
        (Val::Arr(array), Val::Num(index)) => {
            let index = usize::try_from(index.floor()).ok();
            Ok(Val::Bool(index.is_some_and(|index| index < array.len())))
        }
        (Val::Null, Val::Str(_) | Val::Num(_)) => Ok(Val::Bool(false)),
        (input, key) => {
            Err(Fault::raise(format!("Cannot check whether {} has a {} key", input.kind(), key.kind())))
        }
    }
}

pub(super) fn contains<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    Ok(Val::Bool(holds(&input, &arguments[0], tools.budget, 0)?))
}

fn holds<'a>(
    whole: &Val<'a>,
    part: &Val<'a>,
    budget: &Budget,
    depth: usize,
) -> std::result::Result<bool, Fault<'a>> {
    budget.step()?;
    let depth = json::deeper(depth)?;
    match (whole, part) {
        (Val::Obj(whole), Val::Obj(part)) => {
            budget.room(part.len() * ENTRY)?;
            for (key, part) in part.entries() {
                match whole.get(&key) {
                    Some(whole) if holds(&whole, &part, budget, depth)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Val::Arr(whole), Val::Arr(parts)) => {
            for part in parts.iter() {
                let mut found = false;
                for whole in whole.iter() {
                    found = whole.kind() == part.kind() && holds(&whole, &part, budget, depth)?;
                    if found {
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Val::Str(whole), Val::Str(part)) => {
            budget.scan(2 * (whole.len() + part.len()))?;
            Ok(whole.contains(&**part))
        }
        (whole, part) if whole.kind() == part.kind() => Ok(json::equal(whole, part, budget)?),
        (whole, part) => Err(Fault::raise(format!(
            "{} and {} cannot have their containment checked",
            whole.shown(),
            part.shown()
        ))),
    }
}

pub(super) fn to_entries<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let mut cursor = Cursor::new(input)?;
    let mut held = tools.budget.hold(0)?;
    let mut entries = Vec::new();
    while let Some((key, value)) = cursor.next() {
        held.grow(ITEM)?;
        let pair = [(Str::Lent("key"), key), (Str::Lent("value"), value)];
        entries.push(Val::object(pair.into_iter().collect(), tools.budget)?);
    }
    Ok(Val::list(entries, held)?)
}

pub(super) fn from_entries<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let entries = json::array_of(input)?;
    tools.budget.room(entries.len() * ENTRY)?;
    let mut object = Entries::default();
    for entry in entries.iter() {
        tools.budget.step()?;
        let Val::Obj(entry) = &entry else {
            return Err(Fault::raise(format!("Cannot index {} with \"key\"", entry.kind())));
        };
        let key = first_of(entry, &["key", "k", "name", "Name", "Key", "K"]);
        let value = first_of(entry, &["value", "v", "Value", "V"]);
        let key = match key {
            Val::Str(key) => key,
            scalar @ (Val::Null | Val::Bool(_) | Val::Num(_)) => plain_text(&scalar, tools.budget)?,
            other => {
                return Err(Fault::raise(format!("Cannot use {} as object key", other.shown())));
            }
        };
        object.insert(key, value);
    }
    Ok(Val::object(object, tools.budget)?)
}

/// The value of the first of the names that is there and not null.
fn first_of<'a>(entry: &Obj<'a>, names: &[&str]) -> Val<'a> {
    let found = names.iter().filter_map(|name| entry.get(name)).find(|value| !matches!(value, Val::Null));
    found.unwrap_or(Val::Null)
}

pub(super) fn set_path<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let [Val::Arr(keys), value] = arguments else {
        return Err(Fault::raise("Path must be specified as an array"));
    };
    tools.budget.room(keys.len() * ITEM)?;
    let keys: Vec<_> = keys.iter().collect();
    path::set(input, &keys, value.clone(), tools.budget)
}

pub(super) fn delete_paths<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let Val::Arr(paths) = &arguments[0] else {
        return Err(Fault::raise("Paths must be specified as an array"));
    };
    path::delete_all(input, paths.clone().into_items(tools.budget)?, tools.budget)
}
