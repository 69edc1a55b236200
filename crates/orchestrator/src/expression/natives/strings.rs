//! Functions of strings.

use super::super::budget::{Budget, Fault};
use super::super::json::{self, Writer};
use super::super::number::Num;
use super::super::value::{ITEM, Str, Val};
use super::{Result, Tools, text_of, values};

pub(super) fn byte_length<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    Ok(Val::int(text_of(&input, "utf8bytelength")?.len()))
}

/// What `change` makes of a string, which may not be longer.
fn changed<'a>(tools: &Tools<'a>, input: &Val<'a>, name: &str, change: fn(&str) -> String) -> Result<'a> {
    let text = text_of(input, name)?;
    tools.budget.room(text.len())?;
    Ok(Val::text(change(text), tools.budget)?)
}

pub(super) fn downcase<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    changed(tools, &input, "ascii_downcase", str::to_ascii_lowercase)
}

pub(super) fn upcase<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    changed(tools, &input, "ascii_upcase", str::to_ascii_uppercase)
}

pub(super) fn trim<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    changed(tools, &input, "trim", |text| text.trim().to_owned())
}

pub(super) fn trim_start<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    changed(tools, &input, "ltrim", |text| text.trim_start().to_owned())
}

pub(super) fn trim_end<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    changed(tools, &input, "rtrim", |text| text.trim_end().to_owned())
}

pub(super) fn starts_with<'a>(_: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let prefix = text_of(&arguments[0], "startswith")?;
    Ok(Val::Bool(text_of(&input, "startswith")?.starts_with(prefix)))
}

pub(super) fn ends_with<'a>(_: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let suffix = text_of(&arguments[0], "endswith")?;
    Ok(Val::Bool(text_of(&input, "endswith")?.ends_with(suffix)))
}

/// `input` without what is not left of it by `cut`, if both are strings.
fn without<'a>(
    tools: &Tools<'a>,
    input: Val<'a>,
    argument: &Val<'a>,
    cut: impl for<'t> FnOnce(&'t str, &str) -> Option<&'t str>,
) -> Result<'a> {
    let (Val::Str(text), Val::Str(fix)) = (&input, argument) else { return Ok(input) };
    match cut(text, fix) {
        Some(rest) => {
            tools.budget.room(rest.len())?;
            Ok(Val::text(rest.to_owned(), tools.budget)?)
        }
        None => Ok(input),
    }
}

pub(super) fn trim_prefix<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    without(tools, input, &arguments[0], |text, fix| text.strip_prefix(fix))
}

pub(super) fn trim_suffix<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    without(tools, input, &arguments[0], |text, fix| text.strip_suffix(fix))
}

pub(super) fn trim_both<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let input = trim_prefix(tools, input, arguments)?;
    trim_suffix(tools, input, arguments)
}

pub(super) fn split<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    split_at(text_of(&input, "split")?, text_of(&arguments[0], "split")?, tools.budget)
}

/// The parts of `text` between the separators; its characters, if the separator is empty.
pub(super) fn split_at<'a>(text: &str, separator: &str, budget: &Budget) -> Result<'a> {
    let mut held = budget.hold(0)?;
    let mut parts = Vec::new();
    let mut add = |part: &str| -> std::result::Result<(), Fault<'a>> {
        held.grow(ITEM)?;
        budget.room(part.len())?;
        parts.push(Val::text(part.to_owned(), budget)?);
        Ok(())
    };
    budget.scan(2 * text.len())?;
    if separator.is_empty() {
        let mut buffer = [0; 4];
        for char in text.chars() {
            add(char.encode_utf8(&mut buffer))?;
        }
    } else if !text.is_empty() {
        for part in text.split(separator) {
            add(part)?;
        }
    }
    Ok(Val::list(parts, held)?)
}

pub(super) fn join<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let items = input.children(tools.budget)?;
    let mut writer = Writer::new(tools.budget)?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            writer.push(text_of(&arguments[0], "join")?)?;
        }
        match item {
            Val::Null => {}
            Val::Arr(_) | Val::Obj(_) => {
                return Err(Fault::raise(format!("Cannot join with {}", item.shown())));
            }
            scalar => writer.push(&values::plain_text(scalar, tools.budget)?)?,
        }
    }
    Ok(writer.finish()?)
}

pub(super) fn explode<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let text = text_of(&input, "explode")?;
    let mut held = tools.budget.hold(0)?;
    let mut codes = Vec::new();
    for char in text.chars() {
        tools.budget.step()?;
        held.grow(ITEM)?;
        codes.push(Val::Num(Num::Int(i64::from(u32::from(char)))));
    }
    Ok(Val::list(codes, held)?)
}

pub(super) fn implode<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let codes = json::array_of(input)?;
    tools.budget.room(codes.len() * 4)?;
    let mut text = String::new();
    for code in codes.iter() {
        tools.budget.step()?;
        let char = match &code {
            Val::Num(number) => u32::try_from(number.trunc()).ok().and_then(char::from_u32),
            _ => None,
        };
        match char {
            Some(char) => text.push(char),
            None => {
                return Err(Fault::raise(format!("Unicode codepoint expected, not {}", code.shown())));
            }
        }
    }
    Ok(Val::text(text, tools.budget)?)
}

/// Appends what `escape` makes of every character of `text`.
pub(super) fn escape<'a>(
    writer: &mut Writer<'_>,
    text: &Str<'a>,
    escape: impl Fn(char, &mut String),
) -> std::result::Result<(), Fault<'a>> {
    for char in text.chars() {
        escape(char, &mut writer.text);
        if writer.text.len() & 0xff < 8 {
            writer.count()?;
        }
    }
    Ok(writer.count()?)
}
