//! Several wishes of one request, in the order in which they are to be done.

use std::ops::Range;

use super::Guess;

/// What parts two wishes, the longer before what it contains.
const BETWEEN: [&str; 12] = [
    " and after that ",
    " and then ",
    ", then ",
    " and also ",
    " then ",
    " as well as ",
    " also ",
    " plus ",
    "; ",
    ". ",
    "? ",
    " and ",
];

/// The most wishes of a request.
const MOST: usize = 8;

/// The fewest words of a wish.
const LEAST: usize = 2;

/// The least confidence in each part for a request to be taken apart.
const SURE: f32 = 0.4;

/// The spans of the wishes. A request is only taken apart where both parts mean something, and not the same.
pub(super) fn of(text: &str, guess: impl Fn(&str) -> Vec<Guess>) -> Vec<Range<usize>> {
    let mut wishes: Vec<(Range<usize>, Option<String>)> = Vec::new();
    let mut reversed = false;
    for span in parts(text) {
        let best = guess(&text[span.clone()]).into_iter().next().filter(|best| best.confidence >= SURE);
        let meant = best.map(|best| best.intent);
        match wishes.last_mut() {
            // What means nothing by itself, or the same again, goes on with what stood before it.
            Some((before, same)) if meant.is_none() || *same == meant || same.is_none() => {
                before.end = span.end;
                if same.is_none() {
                    *same = meant;
                }
            }
            _ => wishes.push((span, meant)),
        }
    }
    // "Before you ship it, check the stock": the second is done first.
    let first = text.trim_start().get(..7).unwrap_or_default();
    if wishes.len() == 2 && first.eq_ignore_ascii_case("before ") {
        reversed = true;
    }
    let mut spans: Vec<Range<usize>> = wishes.into_iter().map(|(span, _)| span).collect();
    if reversed {
        spans.reverse();
    }
    spans
}

/// Where a request may be taken apart.
fn parts(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let before = lower.trim_start().starts_with("before ") || lower.trim_start().starts_with("after ");
    let mut parts = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < lower.len() && parts.len() + 1 < MOST {
        let rest = &lower.as_bytes()[at..];
        let comma = before && parts.is_empty() && rest.starts_with(b", ");
        let between = if comma {
            Some(2)
        } else {
            BETWEEN.iter().find(|between| rest.starts_with(between.as_bytes())).map(|between| between.len())
        };
        let long = |part: &str| part.split_whitespace().count() >= LEAST;
        match between {
            Some(length) if long(&text[start..at]) && long(&text[at + length..]) => {
                parts.push(start..at);
                start = at + length;
                at = start;
            }
            _ => at += 1,
        }
    }
    parts.push(start..text.len());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_apart_where_both_parts_mean_something_else() {
        let guess = |clause: &str| {
            let known = ["ship", "stock", "mail"].into_iter().find(|word| clause.contains(word));
            known.map(|word| vec![Guess { intent: word.to_owned(), confidence: 0.9 }]).unwrap_or_default()
        };
        let of = |text: &'static str| of(text, guess).into_iter().map(|span| &text[span]).collect::<Vec<_>>();
        assert_eq!(of("ship order 42 and then mail the customer"), ["ship order 42", "mail the customer"]);
        assert_eq!(of("ship the red and the blue one"), ["ship the red and the blue one"]);
        assert_eq!(of("Before you ship it, check the stock"), ["check the stock", "Before you ship it"]);
        assert_eq!(of("wait \u{1f600} and what \u{1f600} now"), ["wait \u{1f600} and what \u{1f600} now"]);
    }
}
