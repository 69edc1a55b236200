//! Numbers in a request: digits, words, percents, money, and the unit that stands by them.

use super::tokens::{Kind, Text, Token};

/// A number, and what stands by it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) percent: bool,
    pub(super) money: bool,
    pub(super) ordinal: bool,
    /// Was it written as a word?
    pub(super) word: bool,
    /// The unit after it, in full and stemmed where it is known.
    pub(super) unit: Option<String>,
    /// The tokens of the number itself, without its unit.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Short forms of units and what they stand for, as stems.
const UNITS: [(&str, &str); 46] = [
    ("m", "meter"),
    ("metre", "meter"),
    ("km", "kilomet"),
    ("kilometr", "kilomet"),
    ("cm", "centimet"),
    ("mm", "millimet"),
    ("mi", "mile"),
    ("ft", "feet"),
    ("foot", "feet"),
    ("in", "inch"),
    ("yd", "yard"),
    ("kg", "kilogram"),
    ("kilo", "kilogram"),
    ("g", "gram"),
    ("mg", "milligram"),
    ("lb", "pound"),
    ("lbs", "pound"),
    ("oz", "ounc"),
    ("l", "liter"),
    ("litr", "liter"),
    ("ml", "millilit"),
    ("s", "second"),
    ("sec", "second"),
    ("min", "minut"),
    ("mins", "minut"),
    ("h", "hour"),
    ("hr", "hour"),
    ("hrs", "hour"),
    ("k", "kelvin"),
    ("c", "celsius"),
    ("f", "fahrenheit"),
    ("hz", "hertz"),
    ("n", "newton"),
    ("j", "joul"),
    ("w", "watt"),
    ("kw", "kilowatt"),
    ("v", "volt"),
    ("a", "amper"),
    ("mph", "mile"),
    ("kmh", "kilomet"),
    ("pa", "pascal"),
    ("mol", "mole"),
    ("ohm", "ohm"),
    ("gb", "gigabyt"),
    ("mb", "megabyt"),
    ("kb", "kilobyt"),
];

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const ORDINALS: [&str; 12] = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
];

/// What a word multiplies the number before it with.
fn scale(word: &str) -> Option<f64> {
    Some(match word {
        "hundred" => 1e2,
        "thousand" => 1e3,
        "million" | "millions" => 1e6,
        "billion" | "billions" | "bn" => 1e9,
        "trillion" => 1e12,
        "dozen" => 12.0,
        _ => return None,
    })
}

/// A word's own number.
#[expect(clippy::cast_precision_loss, reason = "indexes of short lists")]
fn word(lower: &str) -> Option<f64> {
    let small = SMALL.iter().position(|small| *small == lower).map(|at| at as f64);
    small.or_else(|| TENS.iter().position(|tens| *tens == lower).map(|at| (at as f64 + 2.0) * 10.0))
}

/// The unit that a stem stands for.
pub(super) fn unit(stem: &str) -> &str {
    UNITS.iter().find(|(short, _)| *short == stem).map_or(stem, |(_, full)| full)
}

/// Every number of a request.
pub(super) fn of(text: &Text<'_>) -> Vec<Number> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.tokens.len() {
        let number = digits(text, at).or_else(|| words(&text.tokens, at));
        match number {
            Some(number) => {
                at = number.to.max(at + 1);
                found.push(number);
            }
            None => at += 1,
        }
    }
    found
}

fn is(token: Option<&Token>, words: &[&str]) -> bool {
    token.is_some_and(|token| words.contains(&&*token.lower))
}

fn digits(text: &Text<'_>, at: usize) -> Option<Number> {
    let tokens = &text.tokens;
    let token = tokens.get(at).filter(|token| token.kind == Kind::Number)?;
    let mut value: f64 = token.lower.replace(',', "").parse().ok().filter(|value: &f64| value.is_finite())?;
    let (mut from, mut to) = (at, at + 1);
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let mut money = false;
    if is(before(1), &["$", "\u{20ac}", "\u{a3}", "\u{a5}"]) {
        money = true;
        from -= 1;
    }
    let sign = from.checked_sub(1).and_then(|at| tokens.get(at));
    let negative = is(sign, &["-", "\u{2212}"])
        && tokens[from].glued
        && !(sign.is_some_and(|sign| sign.glued)
            && from
                .checked_sub(2)
                .and_then(|at| tokens.get(at))
                .is_some_and(|token| token.kind != Kind::Mark))
        || is(sign, &["minus", "negative"]);
    if negative {
        value = -value;
        from -= 1;
    }
    let mut ordinal = false;
    if let Some(next) = tokens.get(to).filter(|next| next.glued) {
        ordinal = matches!(&*next.lower, "st" | "nd" | "rd" | "th");
        to += usize::from(ordinal);
        let by = match &*next.lower {
            "k" if money => 1e3,
            "mn" | "m" if money => 1e6,
            "b" | "bn" if money => 1e9,
            _ => 1.0,
        };
        value *= by;
        to += usize::from(by > 1.0);
    }
    while let Some(by) = tokens.get(to).and_then(|next| scale(&next.lower)) {
        value *= by;
        to += 1;
    }
    Some(finish(tokens, Number { value, percent: false, money, ordinal, word: false, unit: None, from, to }))
}

fn words(tokens: &[Token], at: usize) -> Option<Number> {
    let plain = |value: f64, to: usize| Number {
        value,
        percent: false,
        money: false,
        ordinal: false,
        word: true,
        unit: None,
        from: at,
        to,
    };
    let first = tokens.get(at).filter(|token| token.kind == Kind::Word)?;
    #[expect(clippy::cast_precision_loss, reason = "index of a short list")]
    if let Some(rank) = ORDINALS.iter().position(|ordinal| *ordinal == first.lower) {
        return Some(Number { ordinal: true, ..plain(rank as f64 + 1.0, at + 1) });
    }
    if first.lower == "half" && !is(tokens.get(at + 1), &["of"]) {
        return Some(plain(0.5, at + 1));
    }
    if matches!(&*first.lower, "a" | "an") {
        // "a hundred", "a dozen", but not "a week".
        let by = tokens.get(at + 1).and_then(|next| scale(&next.lower))?;
        return Some(finish(tokens, plain(by, at + 2)));
    }
    let (mut total, mut current, mut to) = (0.0, word(&first.lower)?, at + 1);
    while let Some(next) = tokens.get(to) {
        let joined = matches!(&*next.lower, "-" | "and")
            && tokens.get(to + 1).is_some_and(|after| {
                word(&after.lower).is_some_and(|after| {
                    if next.lower == "-" {
                        current % 10.0 == 0.0 && after < 10.0
                    } else {
                        current >= 100.0 || total > 0.0
                    }
                })
            });
        if joined {
            to += 1;
            continue;
        }
        if let Some(by) = scale(&next.lower) {
            current *= by;
            if by >= 1e3 {
                total += current;
                current = 0.0;
            }
        } else if let Some(more) = word(&next.lower).filter(|more| {
            current == 0.0 && total > 0.0
                || *more < 10.0 && current >= 20.0 && current % 10.0 == 0.0
                || current >= 100.0 && *more < 100.0
        }) {
            current += more;
        } else {
            break;
        }
        to += 1;
    }
    Some(finish(tokens, plain(total + current, to)))
}

/// Reads what follows: percent, currency, unit.
fn finish(tokens: &[Token], mut number: Number) -> Number {
    let next = tokens.get(number.to);
    if is(next, &["%", "percent"]) {
        number.percent = true;
        number.to += 1;
        return number;
    }
    if is(next, &["dollars", "dollar", "usd", "eur", "euro", "euros", "gbp", "bucks", "\u{20ac}", "\u{a3}"]) {
        number.money = true;
    }
    let next = next.filter(|token| token.lower != "-").or_else(|| tokens.get(number.to + 1));
    number.unit = next.filter(|token| token.kind == Kind::Word).map(|token| unit(&token.stem).to_owned());
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<f64> {
        of(&Text::new(text)).into_iter().map(|number| number.value).collect()
    }

    #[test]
    fn numbers_are_read_in_digits_and_words() {
        assert_eq!(values("1,250.50 and -11, minus 3, b = -4"), [1250.5, -11.0, -3.0, -4.0]);
        assert_eq!(values("twenty-five people, one hundred and two, three"), [25.0, 102.0, 3.0]);
        assert_eq!(values("two million five hundred thousand"), [2_500_000.0]);
        assert_eq!(
            values("$3k, 213 million, a dozen, half, 2020-2021"),
            [3000.0, 213e6, 12.0, 0.5, 2020.0, 2021.0]
        );
        assert_eq!(values("the 19th and the second"), [19.0, 2.0]);
    }

    #[test]
    fn what_stands_by_a_number_is_kept() {
        let text = Text::new("8% over 298K for $5 and 10 meters");
        let found = of(&text);
        assert!(found[0].percent && found[2].money);
        assert_eq!(found[1].unit.as_deref(), Some("kelvin"));
        assert_eq!(found[3].unit.as_deref(), Some("meter"));
    }
}
