//! The lines that change, with a few around them.

/// How many lines around a change are shown.
const AROUND: usize = 2;

/// The change from one text to the other. Where lines were only put in, that is told exactly; else everything between the first
/// and the last difference is told as taken out and put in.
pub(super) fn of(old: &str, new: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = put_in(&before, &after).unwrap_or_else(|| replaced(&before, &after));
    let changed = |at: usize| lines.get(at).is_some_and(|(sign, _)| *sign != ' ');
    let mut out = String::new();
    let mut skipped = false;
    for (at, (sign, line)) in lines.iter().enumerate() {
        let near = (at.saturating_sub(AROUND)..=at + AROUND).any(changed);
        if near {
            out.push_str(&format!("{sign} {line}\n"));
        } else if !skipped {
            out.push_str("  ...\n");
        }
        skipped = !near;
    }
    out
}

fn put_in<'a>(before: &[&'a str], after: &[&'a str]) -> Option<Vec<(char, &'a str)>> {
    let mut left = before.iter().peekable();
    let mut lines = Vec::new();
    for line in after {
        if left.next_if(|old| *old == line).is_some() {
            lines.push((' ', *line));
        } else {
            lines.push(('+', *line));
        }
    }
    left.next().is_none().then_some(lines)
}

fn replaced<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(char, &'a str)> {
    let start = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let rest = before.len().min(after.len()) - start;
    let same =
        before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count().min(rest);
    let of = |sign: char, lines: &[&'a str]| lines.iter().map(|line| (sign, *line)).collect::<Vec<_>>();
    let mut lines = of(' ', &before[..start]);
    lines.extend(of('-', &before[start..before.len() - same]));
    lines.extend(of('+', &after[start..after.len() - same]));
    lines.extend(of(' ', &after[after.len() - same..]));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_and_what_is_replaced_is_told() {
        assert_eq!(of("a\nb\n", "a\nx\nb\n"), "  a\n+ x\n  b\n");
        assert_eq!(of("a\nb\nc\n", "a\nx\nc\n"), "  a\n- b\n+ x\n  c\n");
        assert_eq!(of("", "x\n"), "+ x\n");
        assert_eq!(of("1\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\nx\n"), "  ...\n  4\n  5\n+ x\n");
    }
}
