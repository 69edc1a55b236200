//! Functions of arrays: order, groups, places.

use std::cmp::Ordering;

use super::super::budget::{Budget, Fault, Stop};
use super::super::json;
use super::super::value::{Arr, ITEM, Val};
use super::{Result, Tools};

type Items<'a> = Vec<Val<'a>>;

/// The items in their order. A merge sort of our own, because the comparison may be stopped, which the standard one
/// would take for an inconsistent order.
pub(in super::super) fn sorted<'a>(
    items: Items<'a>,
    budget: &Budget,
) -> std::result::Result<Items<'a>, Stop> {
    let keyed = items.into_iter().map(|item| (item.clone(), item)).collect();
    Ok(sort_pairs(keyed, budget)?.into_iter().map(|(_, item)| item).collect())
}

type Pairs<'a> = Vec<(Val<'a>, Val<'a>)>;

/// Sorts pairs by their first, leaving equal ones in their order.
fn sort_pairs<'a>(mut pairs: Pairs<'a>, budget: &Budget) -> std::result::Result<Pairs<'a>, Stop> {
    let _held = budget.hold(pairs.len() * ITEM * 4)?;
    let mut width = 1;
    while width < pairs.len() {
        let mut merged = Vec::with_capacity(pairs.len());
        let mut rest = pairs.into_iter();
        loop {
            let left: Pairs<'a> = rest.by_ref().take(width).collect();
            let right: Pairs<'a> = rest.by_ref().take(width).collect();
            if left.is_empty() {
                break;
            }
            merge(left, right, &mut merged, budget)?;
        }
        pairs = merged;
        width *= 2;
    }
    Ok(pairs)
}

fn merge<'a>(
    left: Pairs<'a>,
    right: Pairs<'a>,
    merged: &mut Pairs<'a>,
    budget: &Budget,
) -> std::result::Result<(), Stop> {
    let mut left = left.into_iter().peekable();
    let mut right = right.into_iter().peekable();
    while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
        let order = json::order(a, b, budget)?;
        merged.extend(if order.is_le() { left.next() } else { right.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(())
}

/// The items of `input` with their keys, which the prelude made.
fn keyed<'a>(tools: &Tools<'a>, input: Val<'a>, keys: &Val<'a>) -> std::result::Result<Pairs<'a>, Fault<'a>> {
    let items = match input {
        Val::Arr(items) => items,
        other => {
            return Err(Fault::raise(format!("{} cannot be sorted, as it is not an array", other.shown())));
        }
    };
    let Val::Arr(keys) = keys else { return Err(Fault::raise("there are no keys to sort by")) };
    tools.budget.room(items.len() * ITEM * 2)?;
    Ok(keys.iter().zip(items.iter()).collect())
}

pub(super) fn sort_by<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let pairs = sort_pairs(keyed(tools, input, &arguments[0])?, tools.budget)?;
    Ok(Val::array(pairs.into_iter().map(|(_, item)| item).collect(), tools.budget)?)
}

pub(super) fn group_by<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let pairs = sort_pairs(keyed(tools, input, &arguments[0])?, tools.budget)?;
    let mut groups = Vec::new();
    let mut group: Items<'a> = Vec::new();
    let mut current: Option<Val<'a>> = None;
    for (key, item) in pairs {
        let same = match &current {
            Some(current) => json::order(current, &key, tools.budget)?.is_eq(),
            None => true,
        };
        if !same {
            groups.push(Val::array(std::mem::take(&mut group), tools.budget)?);
        }
        group.push(item);
        current = Some(key);
    }
    if !group.is_empty() {
        groups.push(Val::array(group, tools.budget)?);
    }
    Ok(Val::array(groups, tools.budget)?)
}

fn extreme<'a>(
    tools: &Tools<'a>,
    input: Val<'a>,
    keys: &Val<'a>,
    better: fn(Ordering) -> bool,
) -> Result<'a> {
    let mut best: Option<(Val<'a>, Val<'a>)> = None;
    for (key, item) in keyed(tools, input, keys)? {
        let replaces = match &best {
            Some((other, _)) => better(json::order(&key, other, tools.budget)?),
            None => true,
        };
        if replaces {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Val::Null, |(_, item)| item))
}

pub(super) fn min_by<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    extreme(tools, input, &arguments[0], Ordering::is_lt)
}

pub(super) fn max_by<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    extreme(tools, input, &arguments[0], Ordering::is_ge)
}

pub(super) fn reverse<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    match input {
        Val::Null => Ok(Val::array(Vec::new(), tools.budget)?),
        Val::Str(text) => {
            tools.budget.room(text.len())?;
            Ok(Val::text(text.chars().rev().collect(), tools.budget)?)
        }
        Val::Arr(array) => {
            let mut items = array.into_items(tools.budget)?;
            items.reverse();
            Ok(Val::array(items, tools.budget)?)
        }
        other => Err(Fault::raise(format!("Cannot reverse {}", other.shown()))),
    }
}

pub(super) fn flatten<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    flattened(tools, input, usize::MAX)
}

pub(super) fn flatten_to<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let Val::Num(depth) = arguments[0] else { return Err(Fault::raise("flatten depth must be a number")) };
    let depth = usize::try_from(depth.floor());
    flattened(tools, input, depth.map_err(|_| Fault::raise("flatten depth must not be negative"))?)
}

fn flattened<'a>(tools: &mut Tools<'a>, input: Val<'a>, levels: usize) -> Result<'a> {
    let items = input.children(tools.budget)?;
    let mut held = tools.budget.hold(0)?;
    let mut flat = Vec::new();
    // The arrays that are open, each with the place in it; the list is as long as the value is deep.
    let mut open = vec![items.into_iter()];
    while let Some(top) = open.last_mut() {
        tools.budget.step()?;
        match top.next() {
            None => _ = open.pop(),
            Some(inner @ Val::Arr(_)) if open.len() <= levels => {
                json::deeper(open.len())?;
                open.push(inner.children(tools.budget)?.into_iter());
            }
            Some(item) => {
                held.grow(ITEM)?;
                flat.push(item);
            }
        }
    }
    Ok(Val::list(flat, held)?)
}

pub(super) fn transpose<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let rows = json::array_of(input)?;
    let mut parsed = Vec::new();
    for row in rows.iter() {
        tools.budget.step()?;
        parsed.push(json::array_of(row)?);
    }
    let width = parsed.iter().map(Arr::len).max().unwrap_or(0);
    let mut columns = Vec::new();
    let _held = tools.budget.hold((width + parsed.len()) * ITEM)?;
    for at in 0..width {
        tools.budget.work(parsed.len())?;
        tools.budget.room(parsed.len() * ITEM)?;
        let column = parsed.iter().map(|row| row.get(at).unwrap_or(Val::Null)).collect();
        columns.push(Val::array(column, tools.budget)?);
    }
    Ok(Val::array(columns, tools.budget)?)
}

pub(super) fn indices<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let budget = tools.budget;
    match (&input, &arguments[0]) {
        (Val::Null, _) => Ok(Val::Null),
        (Val::Str(text), Val::Str(part)) => {
            let mut found = Vec::new();
            let mut held = budget.hold(0)?;
            // Overlapping matches count; places are counted in characters.
            for (place, (at, _)) in text.char_indices().enumerate() {
                budget.work(1 + part.len() / 16)?;
                if !part.is_empty() && text[at..].starts_with(&**part) {
                    held.grow(ITEM)?;
                    found.push(Val::int(place));
                }
            }
            Ok(Val::list(found, held)?)
        }
        (Val::Arr(array), Val::Arr(part)) => indices_of(array, part, budget),
        (Val::Arr(array), item) => {
            let mut found = Vec::new();
            let mut held = budget.hold(0)?;
            for (at, other) in array.iter().enumerate() {
                if json::equal(&other, item, budget)? {
                    held.grow(ITEM)?;
                    found.push(Val::int(at));
                }
            }
            Ok(Val::list(found, held)?)
        }
        (input, part) => {
            Err(Fault::raise(format!("Cannot determine indices of {} in {}", part.shown(), input.shown())))
        }
    }
}

/// The places at which `part` is in `array`.
pub(in super::super) fn indices_of<'a>(array: &Arr<'a>, part: &Arr<'a>, budget: &Budget) -> Result<'a> {
    let mut found = Vec::new();
    let mut held = budget.hold(0)?;
    if part.len() == 0 {
        return Ok(Val::Null);
    }
    for at in 0..(array.len() + 1).saturating_sub(part.len()) {
        let mut same = true;
        for (offset, item) in part.iter().enumerate() {
            let other = array.get(at + offset).unwrap_or(Val::Null);
            if !json::equal(&other, &item, budget)? {
                same = false;
                break;
            }
        }
        if same {
            held.grow(ITEM)?;
            found.push(Val::int(at));
        }
    }
    Ok(Val::list(found, held)?)
}

pub(super) fn index<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    match indices(tools, input, arguments)? {
        Val::Arr(found) => Ok(found.get(0).unwrap_or(Val::Null)),
        other => Ok(other),
    }
}

pub(super) fn rindex<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    match indices(tools, input, arguments)? {
        Val::Arr(found) => Ok(found.len().checked_sub(1).and_then(|at| found.get(at)).unwrap_or(Val::Null)),
        other => Ok(other),
    }
}

/// The place of the argument in the sorted input, or −1 minus the place where it would be.
pub(super) fn bsearch<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let array = json::array_of(input)?;
    let (mut low, mut high) = (0, array.len());
    while low < high {
        let middle = low.midpoint(high);
        let item = array.get(middle).unwrap_or(Val::Null);
        match json::order(&item, &arguments[0], tools.budget)? {
            Ordering::Equal => return Ok(Val::int(middle)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    match Val::int(low + 1) {
        Val::Num(place) => Ok(Val::Num(place.neg())),
        other => Ok(other),
    }
}
