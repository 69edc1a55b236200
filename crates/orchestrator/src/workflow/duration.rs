//! Durations: ISO 8601 text, named units, or an expression that gives either.

use std::time::Duration;

use serde_json::Value;

use crate::expression::Expression;

use super::node::{Node, marked};

/// A duration as a workflow says it.
#[derive(Clone, Debug)]
pub enum DurationOf {
    /// It is known.
    Fixed(Duration),
    /// It is known when it is needed; [`parse`] reads what comes of it.
    Expression(Expression),
}

const EXPECTED: &str = "a duration: ISO 8601 such as PT1M30S, an expression, or an object of days, hours, minutes, seconds, milliseconds";

/// What the units of an inline duration are, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("days", 86_400_000),
    ("hours", 3_600_000),
    ("minutes", 60_000),
    ("seconds", 1_000),
    ("milliseconds", 1),
];

pub(super) fn read(node: Node<'_>) -> Option<DurationOf> {
    if let Some(expression) = node.value().as_str().and_then(marked) {
        return Some(DurationOf::Expression(Expression::new(expression)));
    }
    if node.value().is_object() {
        return inline(node).map(DurationOf::Fixed);
    }
    parse(node.value()).map(DurationOf::Fixed).or_else(|| node.unexpected(EXPECTED))
}

/// Reads a duration without saying what is wrong with it.
pub(crate) fn read_quietly(value: &Value) -> Option<DurationOf> {
    match value.as_str().and_then(marked) {
        Some(expression) => Some(DurationOf::Expression(Expression::new(expression))),
        None => parse(value).map(DurationOf::Fixed),
    }
}

/// What text such as `30s`, `5 minutes` or `1h` may mean, in ISO 8601.
pub(crate) fn guess(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(end);
    let count: u64 = count.parse().ok()?;
    match unit.trim() {
        "d" | "day" | "days" => Some(format!("P{count}D")),
        "h" | "hour" | "hours" => Some(format!("PT{count}H")),
        "m" | "min" | "minute" | "minutes" => Some(format!("PT{count}M")),
        "s" | "sec" | "second" | "seconds" => Some(format!("PT{count}S")),
        "ms" | "milliseconds" => Some(format!("PT{}.{:03}S", count / 1000, count % 1000)),
        _ => None,
    }
}

fn inline(node: Node<'_>) -> Option<Duration> {
    let members = node.object()?;
    let mut total = Some(Duration::ZERO);
    let mut any = false;
    for (unit, milliseconds) in UNITS {
        if let Some(part) = members.get(unit) {
            any = true;
            let part = part.whole_number().and_then(|count| {
                count.checked_mul(milliseconds).or_else(|| part.unexpected("a shorter duration"))
            });
            total = total.zip(part).map(|(total, part)| total.saturating_add(Duration::from_millis(part)));
        }
    }
    members.finish();
    if any { total } else { node.unexpected(EXPECTED) }
}

/// A duration from what an expression gave: ISO 8601 text, or an object of units.
#[must_use]
pub fn parse(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => parse_iso8601(text),
        Value::Object(units) if !units.is_empty() => {
            units.iter().try_fold(Duration::ZERO, |total, (unit, count)| {
                let (_, milliseconds) = UNITS.iter().find(|(name, _)| name == unit)?;
                total.checked_add(Duration::from_millis(count.as_u64()?.checked_mul(*milliseconds)?))
            })
        }
        _ => None,
    }
}

/// A duration of ISO 8601, such as `P1DT2H` or `PT0.5S`. A year counts 365 days and a month 30, as there is no calendar
/// to count by.
#[must_use]
pub fn parse_iso8601(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('P')?;
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    const DAY: f64 = 86_400.0;
    let date = parts(date, &[('Y', 365.0 * DAY), ('M', 30.0 * DAY), ('W', 7.0 * DAY), ('D', DAY)])?;
    let time = parts(time, &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)])?;
    Duration::try_from_secs_f64(date + time).ok()
}

/// The sum of parts such as `1H30M`, whose units come in this order, in seconds.
fn parts(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut units = units.iter();
    let mut seconds = 0.0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(end);
        let whole_form = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
        let unit = rest.chars().next().filter(|_| whole_form)?;
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        text = &rest[unit.len_utf8()..];
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn iso_8601_is_read() {
        for (text, milliseconds) in [
            ("PT30S", 30_000),
            ("PT0.25S", 250),
            ("P1DT2H3M4S", 93_784_000),
            ("P2W", 1_209_600_000),
            ("P1M", 2_592_000_000),
            ("PT1M", 60_000),
        ] {
            assert_eq!(parse_iso8601(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "", "P", "PT", "P1", "30S", "PT1.S", "PT.5S", "PT1S1M", "PT1M1M", "P-1D", "PT1e3S", "PT1.2.3S",
            "P1H",
        ] {
            assert_eq!(parse_iso8601(text), None, "{text}");
        }
        assert_eq!(parse_iso8601(&format!("P{}D", "9".repeat(400))), None);
    }

    #[test]
    fn what_an_expression_gives_is_read() {
        assert_eq!(parse(&json!({"minutes": 1, "seconds": 5})), Some(Duration::from_secs(65)));
        assert_eq!(parse(&json!("PT5S")), Some(Duration::from_secs(5)));
        for value in
            [json!({}), json!({"weeks": 1}), json!({"seconds": -1}), json!(5), json!({"days": u64::MAX})]
        {
            assert_eq!(parse(&value), None, "{value}");
        }
    }
}
