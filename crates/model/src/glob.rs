//! Patterns in which `*` stands for any text.

/// A compiled pattern. `*` stands for any text, also for none; every other character stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// The literal parts between the stars.
    parts: Box<[Box<str>]>,
}

impl Glob {
    /// Compiles a pattern. Every text is a pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self { parts: pattern.split('*').map(Box::from).collect() }
    }

    /// Whether the whole of `text` fits. Linear in the text for each part: taking the leftmost place for each part
    /// leaves the most text to the rest, so no step is ever taken back.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &*self.parts else {
            return self.parts.first().is_some_and(|only| **only == *text);
        };
        let Some(mut rest) = text.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else {
            return false;
        };
        for part in middle {
            match rest.find(&**part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("shop-*", "shop-orders", true),
            ("shop-*", "shop", false),
            ("*_delete", "order_delete", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**x**", "abxcd", true),
            ("délé*", "délété", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} on {text}");
        }
    }

    /// The definition, in the slowest and plainest form.
    fn plain(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| plain(rest, &text[skip..])),
            Some((c, rest)) => text.first() == Some(c) && plain(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&pattern).matches(&text), plain(&chars(&pattern), &chars(&text)));
        }
    }
}
