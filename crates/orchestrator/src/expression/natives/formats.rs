//! The formats of strings: `@csv`, `@sh`, `@base64` and so on.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::super::budget::Fault;
use super::super::json::{self, Writer};
use super::super::value::{Str, Val};
use super::strings::escape;
use super::values::plain_text;
use super::{Result, Tools};

/// The characters of base 32 (RFC 4648).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The input as text, each character escaped.
fn escaped<'a>(tools: &Tools<'a>, input: &Val<'a>, each: impl Fn(char, &mut String)) -> Result<'a> {
    let text = plain_text(input, tools.budget)?;
    let mut writer = Writer::new(tools.budget)?;
    escape(&mut writer, &text, each)?;
    Ok(writer.finish()?)
}

pub(super) fn html<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    escaped(tools, &input, |char, out| match char {
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '&' => out.push_str("&amp;"),
        '\'' => out.push_str("&#39;"),
        '"' => out.push_str("&quot;"),
        other => out.push(other),
    })
}

pub(super) fn uri<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    escaped(tools, &input, |char, out| {
        if char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '~') {
            out.push(char);
            return;
        }
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            _ = write!(out, "%{byte:02X}");
        }
    })
}

pub(super) fn from_uri<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let text = plain_text(&input, tools.budget)?;
    tools.budget.room(2 * text.len())?;
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None if bytes[at] == b'%' => {
                return Err(Fault::raise(format!("{} is not a valid uri encoding", input.shown())));
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    Ok(Val::text(String::from_utf8_lossy(&decoded).into_owned(), tools.budget)?)
}

/// One row: the items of the input, each as `cell` writes it.
fn row<'a>(
    tools: &Tools<'a>,
    input: Val<'a>,
    format: &str,
    between: &str,
    quoted: impl Fn(&mut Writer<'_>, &Str<'a>) -> std::result::Result<(), Fault<'a>>,
) -> Result<'a> {
    let cells = match input {
        Val::Arr(cells) => cells,
        other => {
            return Err(Fault::raise(format!(
                "{} cannot be {format}-formatted, only an array can be",
                other.shown()
            )));
        }
    };
    let mut writer = Writer::new(tools.budget)?;
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            writer.push(between)?;
        }
        match &cell {
            Val::Null => {}
            Val::Bool(_) | Val::Num(_) => writer.json(&cell)?,
            Val::Str(text) => quoted(&mut writer, text)?,
            _ => {
                return Err(Fault::raise(format!("{} is not valid in a {format} row", cell.shown())));
            }
        }
    }
    Ok(writer.finish()?)
}

pub(super) fn csv<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    row(tools, input, "csv", ",", |writer, text| {
        writer.push("\"")?;
        escape(writer, text, |char, out| {
            if char == '"' {
                out.push('"');
            }
            out.push(char);
        })?;
        Ok(writer.push("\"")?)
    })
}

pub(super) fn tsv<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    row(tools, input, "tsv", "\t", |writer, text| {
        escape(writer, text, |char, out| match char {
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            other => out.push(other),
        })
    })
}

pub(super) fn shell<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let words = match input {
        Val::Arr(_) => json::array_of(input)?.iter().collect(),
        other => vec![other],
    };
    let mut writer = Writer::new(tools.budget)?;
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            writer.push(" ")?;
        }
        match word {
            Val::Str(text) => {
                writer.push("'")?;
                escape(&mut writer, text, |char, out| match char {
                    '\'' => out.push_str("'\\''"),
                    other => out.push(other),
                })?;
                writer.push("'")?;
            }
            Val::Arr(_) | Val::Obj(_) => {
                return Err(Fault::raise(format!("{} cannot be escaped for shell", word.shown())));
            }
            scalar => writer.json(scalar)?,
        }
    }
    Ok(writer.finish()?)
}

pub(super) fn base64<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let text = plain_text(&input, tools.budget)?;
    tools.budget.room(text.len() / 3 * 4 + 4)?;
    Ok(Val::text(STANDARD.encode(text.as_bytes()), tools.budget)?)
}

pub(super) fn from_base64<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let text = plain_text(&input, tools.budget)?;
    tools.budget.room(2 * text.len())?;
    match STANDARD_NO_PAD.decode(text.trim_end_matches('=').as_bytes()) {
        Ok(bytes) => Ok(Val::text(String::from_utf8_lossy(&bytes).into_owned(), tools.budget)?),
        Err(_) => Err(Fault::raise(format!("{} is not valid base64 data", input.shown()))),
    }
}

pub(super) fn base32<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let text = plain_text(&input, tools.budget)?;
    tools.budget.room(text.len() * 2 + 8)?;
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(5) {
        let mut bits = [0; 8];
        bits[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(bits);
        let digits = (chunk.len() * 8).div_ceil(5);
        for digit in 0..8 {
            let index = bits >> (35 - 5 * digit) & 31;
            let char = BASE32[usize::try_from(index).unwrap_or(0)];
            encoded.push(if digit < digits { char::from(char) } else { '=' });
        }
    }
    Ok(Val::text(encoded, tools.budget)?)
}

pub(super) fn from_base32<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let text = plain_text(&input, tools.budget)?;
    tools.budget.room(2 * text.len())?;
    let mut decoded = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit =
            BASE32.iter().position(|&digit| digit == byte).and_then(|digit| u32::try_from(digit).ok());
        let Some(digit) = digit else {
            return Err(Fault::raise(format!("{} is not valid base32 data", input.shown())));
        };
        bits = bits << 5 | digit;
        count += 5;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff).unwrap_or(0));
        }
        bits &= (1 << count) - 1;
    }
    Ok(Val::text(String::from_utf8_lossy(&decoded).into_owned(), tools.budget)?)
}
