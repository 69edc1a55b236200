//! Dates and times in a request, those relative to now as well.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::{Span, ToSpan};

use super::numbers::Number;
use super::tokens::{Kind, Text, Token};

/// A date, a time of day, or both.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) date: Option<Date>,
    pub(super) time: Option<Time>,
    pub(super) from: usize,
    pub(super) to: usize,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Every date and time of a request.
pub(super) fn of(text: &Text<'_>, numbers: &[Number], now: DateTime) -> Vec<Moment> {
    let reader = Reader { tokens: &text.tokens, numbers, now };
    let mut found: Vec<Moment> = Vec::new();
    let mut at = 0;
    while at < text.tokens.len() {
        let date = reader.date(at).map(|(date, to)| Moment { date: Some(date), time: None, from: at, to });
        let one = date.or_else(|| {
            reader.time(at).map(|(time, to)| Moment { date: None, time: Some(time), from: at, to })
        });
        let Some(one) = one else {
            at += 1;
            continue;
        };
        at = one.to;
        match found.last_mut() {
            // "tomorrow at 3 pm", "at 14:00 on May 3rd"
            Some(before)
                if one.from - before.to <= 2
                    && joined(&text.tokens[before.to..one.from])
                    && before.date.is_none() != one.date.is_none()
                    && before.time.is_none() != one.time.is_none() =>
            {
                before.date = before.date.or(one.date);
                before.time = before.time.or(one.time);
                before.to = one.to;
            }
            _ => found.push(one),
        }
    }
    found
}

fn joined(between: &[Token]) -> bool {
    between.iter().all(|token| matches!(&*token.lower, "at" | "on" | "," | "t" | "the" | "of" | "by"))
}

struct Reader<'a> {
    tokens: &'a [Token],
    numbers: &'a [Number],
    now: DateTime,
}

impl Reader<'_> {
    fn lower(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.lower)
    }

    fn whole(&self, at: usize) -> Option<i16> {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Number)?;
        token.lower.parse().ok()
    }

    fn year(&self, at: usize) -> Option<i16> {
        self.whole(at).filter(|year| self.tokens[at].lower.len() == 4 && (1000..3000).contains(year))
    }

    fn month(&self, at: usize) -> Option<i8> {
        let word = self.lower(at).trim_end_matches('.');
        let whole = |month: &str| {
            *month == *word
                || word.len() == 3 && month.starts_with(word)
                || word == "sept" && month == "september"
        };
        let found = MONTHS.iter().position(|month| whole(month))?;
        // "may" is mostly a verb: only its capital makes it a month.
        (word != "may" && word != "mar" || self.tokens[at].capital).then_some(i8::try_from(found + 1).ok()?)
    }

    /// The day of a month, and what follows it: `3`, `3rd`, `third`.
    fn day(&self, at: usize) -> Option<(i8, usize)> {
        let number = self
            .numbers
            .iter()
            .find(|number| number.from == at && number.value >= 1.0 && number.value <= 31.0)?;
        #[expect(clippy::cast_possible_truncation, reason = "1 to 31")]
        (number.value.fract() == 0.0 && (number.ordinal || !number.word) && !number.percent && !number.money)
            .then_some((number.value as i8, number.to))
    }

    fn date(&self, at: usize) -> Option<(Date, usize)> {
        self.in_numbers(at).or_else(|| self.with_month(at)).or_else(|| self.relative(at))
    }

    /// `2024-05-03`, `5/3/2024`, `03.05.2024`.
    fn in_numbers(&self, at: usize) -> Option<(Date, usize)> {
        let mark = self.lower(at + 1);
        if matches!(mark, "-" | "/") && self.lower(at + 3) == mark {
            let (a, b, c) = (self.whole(at)?, self.whole(at + 2)?, self.whole(at + 4)?);
            let small = |number: i16| i8::try_from(number).ok();
            let date = if self.year(at).is_some() {
                Date::new(a, small(b)?, small(c)?)
            } else {
                self.year(at + 4)?;
                // Month first, as most write it with these marks, where it can be one.
                Date::new(c, small(a)?, small(b)?)
                    .or_else(|_| Date::new(c, small(b).unwrap_or(0), small(a).unwrap_or(0)))
            };
            return Some((date.ok()?, at + 5));
        }
        // `03.05.2024`: the tokens are `03.05`, `.`, `2024`.
        let (day, month) = self.lower(at).split_once('.')?;
        let year = (self.lower(at + 1) == ".").then(|| self.year(at + 2))??;
        Some((Date::new(year, month.parse().ok()?, day.parse().ok()?).ok()?, at + 3))
    }

    /// `May 3rd, 2024`, `3 May`, `the 3rd of May 2024`.
    fn with_month(&self, at: usize) -> Option<(Date, usize)> {
        let (month, day, mut to) = if let Some(month) = self.month(at) {
            let after = at + 1 + usize::from(self.lower(at + 1) == ".");
            let (day, to) = self.day(after)?;
            (month, day, to)
        } else {
            let (day, mut to) = self.day(at)?;
            to += usize::from(self.lower(to) == "of");
            (self.month(to)?, day, to + 1)
        };
        let comma = usize::from(matches!(self.lower(to), "," | "of"));
        let year = self.year(to + comma);
        if year.is_some() {
            to += comma + 1;
        }
        let date = Date::new(year.unwrap_or(self.now.year()), month, day).ok()?;
        // Without a year the next one is meant, unless it has only just been.
        let date = if year.is_none() && date.saturating_add(30.days()) < self.now.date() {
            date.saturating_add(1.year())
        } else {
            date
        };
        Some((date, to))
    }

    fn relative(&self, at: usize) -> Option<(Date, usize)> {
        let today = self.now.date();
        let by = |span: Span| today.checked_add(span).ok();
        let (first, second) = (self.lower(at), self.lower(at + 1));
        Some(match (first, second) {
            ("today" | "tonight", _) => (today, at + 1),
            ("tomorrow", _) => (by(1.day())?, at + 1),
            ("yesterday", _) => (by(-1.day())?, at + 1),
            ("day", "after") if self.lower(at + 2) == "tomorrow" => (by(2.days())?, at + 3),
            ("day", "before") if self.lower(at + 2) == "yesterday" => (by(-2.days())?, at + 3),
            ("this", "morning" | "afternoon" | "evening") => (today, at + 2),
            ("next" | "last" | "this", unit) => {
                let sign = match first {
                    "next" => 1,
                    "last" => -1,
                    _ => 0,
                };
                if let Some(day) = weekday(unit) {
                    let date = if sign < 0 { today.nth_weekday(-1, day) } else { today.nth_weekday(1, day) };
                    return Some((date.ok()?, at + 2));
                }
                (by(span(unit, sign)?)?, at + 2)
            }
            ("in", _) => {
                let (count, to) = self.count(at + 1)?;
                (by(span(self.lower(to), count)?)?, to + 1)
            }
            _ => {
                if let Some(day) = weekday(first) {
                    return Some((today.nth_weekday(1, day).ok()?, at + 1));
                }
                let (count, to) = self.count(at)?;
                let sign = match (self.lower(to + 1), self.lower(to + 2)) {
                    ("ago", _) => -1,
                    ("from", "now" | "today") => 1,
                    _ => return None,
                };
                let to_after = to + 2 + usize::from(sign > 0);
                (by(span(self.lower(to), sign * count)?)?, to_after)
            }
        })
    }

    /// A whole number of something, `a` being one.
    fn count(&self, at: usize) -> Option<(i32, usize)> {
        if matches!(self.lower(at), "a" | "an") {
            return Some((1, at + 1));
        }
        let number = self.numbers.iter().find(|number| number.from == at)?;
        #[expect(clippy::cast_possible_truncation, reason = "whole and at most 10,000")]
        (number.value.fract() == 0.0 && (0.0..=10_000.0).contains(&number.value) && !number.ordinal)
            .then_some((number.value as i32, number.to))
    }

    fn time(&self, at: usize) -> Option<(Time, usize)> {
        match self.lower(at) {
            "noon" => return Some((Time::constant(12, 0, 0, 0), at + 1)),
            "midnight" => return Some((Time::midnight(), at + 1)),
            _ => {}
        }
        let hour = i8::try_from(self.whole(at)?).ok()?;
        let (mut minute, mut second, mut to) = (0, 0, at + 1);
        let clock = self.lower(to) == ":" && self.tokens[to].glued && self.lower(to + 1).len() == 2;
        if clock {
            minute = i8::try_from(self.whole(to + 1)?).ok()?;
            to += 2;
            if self.lower(to) == ":" && self.lower(to + 1).len() == 2 {
                second = i8::try_from(self.whole(to + 1)?).ok()?;
                to += 2;
            }
        }
        let (half, length) = self.half(to);
        let hour = match half {
            Some(true) if hour < 12 => hour + 12,
            Some(false) if hour == 12 => 0,
            Some(_) => hour,
            None if clock => hour,
            None => return None,
        };
        Some((Time::new(hour, minute, second, 0).ok()?, to + length))
    }

    /// Is it the afternoon (`pm`), and how many tokens say so.
    fn half(&self, at: usize) -> (Option<bool>, usize) {
        match (self.lower(at), self.lower(at + 1), self.lower(at + 2)) {
            ("pm", ..) => (Some(true), 1),
            ("am", ..) => (Some(false), 1),
            ("p", ".", "m") => (Some(true), 3 + usize::from(self.lower(at + 3) == ".")),
            ("a", ".", "m") => (Some(false), 3 + usize::from(self.lower(at + 3) == ".")),
            ("o'clock", ..) => (Some(false), 1),
            ("in", "the", "afternoon" | "evening") => (Some(true), 3),
            ("in", "the", "morning") => (Some(false), 3),
            _ => (None, 0),
        }
    }
}

fn weekday(word: &str) -> Option<Weekday> {
    DAYS.iter().find(|(day, _)| *day == word).map(|(_, day)| *day)
}

fn span(unit: &str, count: i32) -> Option<Span> {
    let count = i64::from(count);
    Some(match unit.strip_suffix('s').unwrap_or(unit) {
        "day" => count.days(),
        "week" => count.weeks(),
        "month" => count.months(),
        "year" => count.years(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::numbers;
    use super::*;

    fn read(request: &str) -> Vec<(Option<String>, Option<String>)> {
        let text = Text::new(request);
        // A Wednesday.
        let now = date(2026, 3, 4).at(9, 0, 0, 0);
        let show = |moment: Moment| {
            (moment.date.map(|date| date.to_string()), moment.time.map(|time| time.to_string()))
        };
        of(&text, &numbers::of(&text), now).into_iter().map(show).collect()
    }

    #[test]
    fn dates_are_read_however_they_are_written() {
        for (request, date) in [
            ("on 2022/08/16", "2022-08-16"),
            ("01-31-1980", "1980-01-31"),
            ("31/01/1980", "1980-01-31"),
            ("15th October,2023", "2023-10-15"),
            ("January 1, 2021", "2021-01-01"),
            ("the 3rd of May", "2026-05-03"),
            ("tomorrow", "2026-03-05"),
            ("next Friday", "2026-03-06"),
            ("last Monday", "2026-03-02"),
            ("in two weeks", "2026-03-18"),
            ("3 days ago", "2026-03-01"),
            ("a month from now", "2026-04-04"),
            ("the day after tomorrow", "2026-03-06"),
            ("03.05.2024", "2024-05-03"),
            ("January 5", "2027-01-05"),
        ] {
            assert_eq!(read(request), [(Some(date.to_owned()), None)], "{request}");
        }
        assert_eq!(read("it may be 3 or 99/99/9999 or 5:99"), []);
    }

    #[test]
    fn times_join_their_dates() {
        let both = |date: &str, time: &str| [(Some(date.to_owned()), Some(time.to_owned()))];
        assert_eq!(read("tomorrow at 3:30 pm"), both("2026-03-05", "15:30:00"));
        assert_eq!(read("at 14:00 on May 3rd"), both("2026-05-03", "14:00:00"));
        assert_eq!(read("by 7 a.m. today"), both("2026-03-04", "07:00:00"));
        assert_eq!(read("at noon"), [(None, Some("12:00:00".to_owned()))]);
    }
}
