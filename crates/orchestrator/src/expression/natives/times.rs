//! Dates and times, all in UTC. What time it is now is not among them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;

use super::super::budget::Fault;
use super::super::number::Num;
use super::super::value::Val;
use super::{Result, Tools, text_of};

/// How long the format of a time may be.
const FORMAT_LENGTH: usize = 200;

fn refuse<'a>(function: &str, value: &Val<'a>, why: impl std::fmt::Display) -> Fault<'a> {
    Fault::raise(format!("{function} cannot use {}: {why}", value.shown()))
}

/// The instant that seconds since 1970 or a broken-down time are.
fn instant<'a>(value: &Val<'a>, function: &str) -> std::result::Result<Timestamp, Fault<'a>> {
    match value {
        Val::Num(Num::Float(seconds)) => {
            let nanos = (seconds.fract() * 1e9).round();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a fraction of a second; whole seconds saturate"
            )]
            let parts = (seconds.trunc() as i64, nanos as i32);
            Timestamp::new(parts.0, parts.1).map_err(|why| refuse(function, value, why))
        }
        Val::Num(seconds) => {
            Timestamp::from_second(seconds.trunc()).map_err(|why| refuse(function, value, why))
        }
        Val::Arr(parts) => {
            let part = |at: usize| match parts.get(at) {
                Some(Val::Num(number)) => Ok(number.float()),
                _ => Err(refuse(
                    function,
                    value,
                    "it needs numbers for year, month, day, hour, minute and second",
                )),
            };
            let small = |at: usize| part(at).map(small);
            #[expect(clippy::cast_possible_truncation, reason = "it saturates, and then is no year")]
            let year = part(0)? as i16;
            let second = part(5)?;
            #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second")]
            let nanos = (second.fract() * 1e9) as i32;
            let (month, day) = (small(1)?.saturating_add(1), small(2)?);
            let time = DateTime::new(year, month, day, small(3)?, small(4)?, self::small(second), nanos);
            let zoned = time.and_then(|time| time.to_zoned(TimeZone::UTC));
            zoned.map(|zoned| zoned.timestamp()).map_err(|why| refuse(function, value, why))
        }
        other => Err(refuse(function, other, "it is no number and no broken-down time")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates, and then is no part of a time")]
fn small(part: f64) -> i8 {
    part as i8
}

/// Year, month from 0, day, hour, minute, second, day of the week, day of the year from 0.
fn broken<'a>(tools: &Tools<'a>, time: DateTime) -> Result<'a> {
    let mut parts: Vec<_> =
        [i64::from(time.year()), i64::from(time.month()) - 1, i64::from(time.day()), i64::from(time.hour())]
            .into_iter()
            .chain([i64::from(time.minute())])
            .map(|part| Val::Num(Num::Int(part)))
            .collect();
    parts.push(Val::float(f64::from(time.second()) + f64::from(time.subsec_nanosecond()) / 1e9));
    parts.push(Val::Num(Num::Int(i64::from(time.weekday().to_sunday_zero_offset()))));
    parts.push(Val::Num(Num::Int(i64::from(time.day_of_year()) - 1)));
    Ok(Val::array(parts, tools.budget)?)
}

pub(super) fn broken_down<'a>(tools: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let Val::Num(_) = input else { return Err(refuse("gmtime", &input, "it is no number")) };
    let time = instant(&input, "gmtime")?.to_zoned(TimeZone::UTC).datetime();
    broken(tools, time)
}

pub(super) fn seconds<'a>(_: &mut Tools<'a>, input: Val<'a>, _: &[Val<'a>]) -> Result<'a> {
    let Val::Arr(_) = input else { return Err(refuse("mktime", &input, "it is no broken-down time")) };
    Ok(Val::Num(Num::Int(instant(&input, "mktime")?.as_second())))
}

fn format_of<'v, 'a>(value: &'v Val<'a>, function: &str) -> std::result::Result<&'v str, Fault<'a>> {
    let format = text_of(value, function)?;
    if format.len() > FORMAT_LENGTH {
        return Err(refuse(
            function,
            value,
            format_args!("a format may be at most {FORMAT_LENGTH} bytes long"),
        ));
    }
    Ok(format)
}

pub(super) fn format<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let format = format_of(&arguments[0], "strftime")?;
    tools.budget.room(FORMAT_LENGTH * 256)?;
    let zoned = instant(&input, "strftime")?.to_zoned(TimeZone::UTC);
    let text = strtime::format(format, &zoned).map_err(|why| refuse("strftime", &arguments[0], why))?;
    Ok(Val::text(text, tools.budget)?)
}

pub(super) fn parse<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let format = format_of(&arguments[0], "strptime")?;
    let text = text_of(&input, "strptime")?;
    tools.budget.scan(text.len())?;
    // The Z that ends a time of ISO 8601 is a letter like others here.
    let parsed = BrokenDownTime::parse(format, text).and_then(|parsed| parsed.to_datetime());
    broken(tools, parsed.map_err(|why| refuse("strptime", &input, why))?)
}
