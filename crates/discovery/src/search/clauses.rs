//! A request in its clauses: "find a flight to Rome, then book a hotel and tell Anna" has three wishes.

/// Words that part two clauses.
const BETWEEN: [&str; 7] = ["and", "then", "also", "plus", "afterwards", "next", "finally"];

/// The fewest words of a clause: less is a part of a list.
const LEAST: usize = 3;

/// The most clauses that are told apart.
const MOST: usize = 12;

/// The clauses of a request; itself where it has but one.
pub(super) fn of(request: &str) -> Vec<&str> {
    let mut clauses = Vec::new();
    let mut start = 0;
    for (end, next) in breaks(request) {
        let clause = &request[start..end];
        // What is too short goes on with what follows.
        if clause.split_whitespace().count() >= LEAST {
            clauses.push(clause);
            start = next;
        }
        if clauses.len() == MOST {
            break;
        }
    }
    let rest = &request[start..];
    if clauses.is_empty() || clauses.len() < MOST && rest.split_whitespace().count() >= LEAST {
        clauses.push(rest);
    }
    clauses
}

/// Where one clause may end and the next begin.
fn breaks(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let (start, end) = (at, at + word.len());
        at = end;
        let bare = word.trim_end();
        let plain = bare.trim_matches(|letter: char| !letter.is_alphanumeric());
        if BETWEEN.iter().any(|between| plain.eq_ignore_ascii_case(between)) {
            found.push((start, end));
        } else if bare.ends_with(['.', '!', '?', ';', ',', ':', '\u{3002}', '\u{ff0c}']) {
            found.push((end, end));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_told_apart_and_lists_are_not() {
        let request = "Find a flight to Rome, then book a hotel and tell Anna about it.";
        let clauses: Vec<_> = of(request).into_iter().map(str::trim).collect();
        assert_eq!(clauses, ["Find a flight to Rome,", "then book a hotel", "tell Anna about it."]);
        assert_eq!(of("red, green and blue"), ["red, green and blue"]);
        assert_eq!(of(""), [""]);
        assert_eq!(of(&"one two three. ".repeat(100)).len(), MOST);
    }
}
