//! The nearest name to a mistyped one.

/// The longest name that is compared, in characters.
const MAX_NAME: usize = 64;

/// The candidate with the smallest edit distance, where that is at most a third of the length of `name` (at least 1).
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    if length > MAX_NAME {
        return None;
    }
    let limit = (length / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_recognised_and_a_different_word_is_not() {
        let names = ["listen", "services", "data_dir"];
        assert_eq!(nearest("lisetn", names.into_iter()), Some("listen"));
        assert_eq!(nearest("service", names.into_iter()), Some("services"));
        assert_eq!(nearest("upstreams", names.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(100_000), names.into_iter()), None);
    }
}
