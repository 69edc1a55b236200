//! Functions of numbers.

use super::super::budget::Fault;
use super::super::number::Num;
use super::super::value::Val;
use super::{Result, Tools};

fn number<'a>(value: &Val<'a>) -> std::result::Result<Num, Fault<'a>> {
    match value {
        Val::Num(number) => Ok(*number),
        other => Err(Fault::raise(format!("{} number required", other.shown()))),
    }
}

pub(super) fn one<'a>(input: &Val<'a>, function: fn(f64) -> f64) -> Result<'a> {
    Ok(Val::float(function(number(input)?.float())))
}

/// A function that leaves integers alone, so that large ones stay exact.
pub(super) fn whole<'a>(input: Val<'a>, function: fn(f64) -> f64) -> Result<'a> {
    match number(&input)? {
        Num::Float(float) => Ok(Val::float(function(float))),
        _ => Ok(input),
    }
}

pub(super) fn two<'a>(arguments: &[Val<'a>], function: fn(f64, f64) -> f64) -> Result<'a> {
    Ok(Val::float(function(number(&arguments[0])?.float(), number(&arguments[1])?.float())))
}

pub(super) fn abs<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let number = number(&input)?;
    Ok(if number.order(Num::Int(0)).is_lt() && !number.is_nan() { Val::Num(number.neg()) } else { input })
}

pub(super) fn is_infinite<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::Bool(number(&input)?.float().is_infinite()))
}

pub(super) fn is_nan<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::Bool(number(&input)?.is_nan()))
}

pub(super) fn is_normal<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::Bool(number(&input)?.float().is_normal()))
}
