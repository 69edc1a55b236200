//! The names nearest to one that is not there.

/// Up to `count` of `names` that are nearest to `wanted`, nearest first. Names that contain `wanted`, or that it
/// contains, count as near; others by edit distance (Levenshtein) of at most a third of their length.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, count: usize) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let longest = lower.len().max(wanted.len());
            if wanted.len() >= 3 && (lower.contains(&wanted) || wanted.contains(&lower)) {
                return Some((longest - lower.len().min(wanted.len()).min(longest), name));
            }
            let distance = distance(&wanted, &lower);
            (distance * 3 <= longest).then_some((distance, name))
        })
        .collect();
    found.sort();
    found.into_iter().take(count).map(|(_, name)| name.to_owned()).collect()
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_found() {
        let names = ["git__log", "git__status", "orders__create_order"];
        assert_eq!(nearest("git_log", names.into_iter(), 3), ["git__log"]);
        assert_eq!(nearest("create_order", names.into_iter(), 3), ["orders__create_order"]);
        assert!(nearest("weather", names.into_iter(), 3).is_empty());
    }
}
