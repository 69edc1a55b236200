//! `+ - * / %` and the comparisons.

use std::cmp::Ordering;

use super::super::budget::{Budget, Fault};
use super::super::json;
use super::super::number::Num;
use super::super::syntax::Operator;
use super::super::value::{ENTRY, ITEM, Obj, Str, Val};
use super::{Result, strings};

pub(in super::super) fn apply<'a>(
    operator: Operator,
    left: Val<'a>,
    right: Val<'a>,
    budget: &Budget,
) -> Result<'a> {
    Ok(match operator {
        Operator::Add => add(left, right, budget)?,
        Operator::Sub => subtract(left, right, budget)?,
        Operator::Mul => multiply(left, right, budget)?,
        Operator::Div => divide(&left, &right, budget)?,
        Operator::Rem => remainder(&left, &right)?,
        Operator::Eq => Val::Bool(json::equal(&left, &right, budget)?),
        Operator::Ne => Val::Bool(!json::equal(&left, &right, budget)?),
        Operator::Lt => Val::Bool(order(&left, &right, budget)?.is_lt()),
        Operator::Le => Val::Bool(order(&left, &right, budget)?.is_le()),
        Operator::Gt => Val::Bool(order(&left, &right, budget)?.is_gt()),
        Operator::Ge => Val::Bool(order(&left, &right, budget)?.is_ge()),
    })
}

/// The order of jq, in which what is no number is below everything, even itself.
fn order<'a>(left: &Val<'a>, right: &Val<'a>, budget: &Budget) -> std::result::Result<Ordering, Fault<'a>> {
    match (left, right) {
        (Val::Num(left), Val::Num(_)) if left.is_nan() => Ok(Ordering::Less),
        _ => Ok(json::order(left, right, budget)?),
    }
}

fn refuse<'a>(left: &Val<'a>, right: &Val<'a>, what: &str) -> Fault<'a> {
    Fault::raise(format!("{} and {} cannot be {what}", left.shown(), right.shown()))
}

fn add<'a>(left: Val<'a>, right: Val<'a>, budget: &Budget) -> Result<'a> {
    match (left, right) {
        (Val::Null, other) | (other, Val::Null) => Ok(other),
        (Val::Num(left), Val::Num(right)) => Ok(Val::Num(left.add(right))),
        (Val::Str(left), Val::Str(right)) => Ok(Val::Str(left.extended(&right, budget)?)),
        (Val::Arr(left), Val::Arr(right)) => Ok(left.extended(&right, budget)?),
        (Val::Obj(left), Val::Obj(right)) => {
            budget.room(right.len() * ENTRY)?;
            let mut whole = left;
            for (key, value) in right.entries() {
                budget.step()?;
                match whole.with(&key, budget, |_| Ok(value))? {
                    Val::Obj(object) => whole = object,
                    other => return Ok(other),
                }
            }
            Ok(Val::Obj(whole))
        }
        (left, right) => Err(refuse(&left, &right, "added")),
    }
}

fn subtract<'a>(left: Val<'a>, right: Val<'a>, budget: &Budget) -> Result<'a> {
    match (left, right) {
        (Val::Num(left), Val::Num(right)) => Ok(Val::Num(left.sub(right))),
        (Val::Arr(left), Val::Arr(right)) => {
            budget.room(left.len() * ITEM)?;
            let mut rest = Vec::new();
            'items: for item in left.iter() {
                for taken in right.iter() {
                    if json::equal(&item, &taken, budget)? {
                        continue 'items;
                    }
                }
                rest.push(item);
            }
            Ok(Val::array(rest, budget)?)
        }
        (left, right) => Err(refuse(&left, &right, "subtracted")),
    }
}

fn multiply<'a>(left: Val<'a>, right: Val<'a>, budget: &Budget) -> Result<'a> {
    match (left, right) {
        (Val::Num(left), Val::Num(right)) => Ok(Val::Num(left.mul(right))),
        (Val::Str(text), Val::Num(times)) | (Val::Num(times), Val::Str(text)) => repeat(&text, times, budget),
        (Val::Obj(left), Val::Obj(right)) => merge(left, &right, budget, 0),
        (left, right) => Err(refuse(&left, &right, "multiplied")),
    }
}

/// `text` that many times, rounded up; null for none.
fn repeat<'a>(text: &Str<'a>, times: Num, budget: &Budget) -> Result<'a> {
    let Some(times) = times.ceiling().filter(|&times| times > 0) else { return Ok(Val::Null) };
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    budget.room(text.len().saturating_mul(times))?;
    Ok(Val::text(text.repeat(if text.is_empty() { 0 } else { times }), budget)?)
}

/// The objects merged, and so are objects that are at the same key in both.
fn merge<'a>(left: Obj<'a>, right: &Obj<'a>, budget: &Budget, depth: usize) -> Result<'a> {
    let depth = json::deeper(depth)?;
    budget.room(right.len() * ENTRY)?;
    let mut whole = left;
    for (key, value) in right.entries() {
        budget.step()?;
        let merged = whole.with(&key, budget, |before| match (before, value) {
            (Val::Obj(before), Val::Obj(value)) => merge(before, &value, budget, depth),
            (_, value) => Ok(value),
        })?;
        match merged {
            Val::Obj(object) => whole = object,
            other => return Ok(other),
        }
    }
    Ok(Val::Obj(whole))
}

fn divide<'a>(left: &Val<'a>, right: &Val<'a>, budget: &Budget) -> Result<'a> {
    match (left, right) {
        (Val::Num(a), Val::Num(b)) => {
            let quotient = a.div(*b).map(Val::Num);
            quotient.ok_or_else(|| refuse(left, right, "divided because the divisor is zero"))
        }
        (Val::Str(text), Val::Str(separator)) => strings::split_at(text, separator, budget),
        _ => Err(refuse(left, right, "divided")),
    }
}

fn remainder<'a>(left: &Val<'a>, right: &Val<'a>) -> Result<'a> {
    let (Val::Num(a), Val::Num(b)) = (left, right) else {
        return Err(refuse(left, right, "divided (remainder)"));
    };
    let rest = a.rem(*b).map(Val::Num);
    rest.ok_or_else(|| refuse(left, right, "divided (remainder) because the divisor is zero"))
}
