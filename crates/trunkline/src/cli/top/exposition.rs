//! Reads the text of `/metrics` (Prometheus exposition format 0.0.4), as far as it is looked at here.

/// A sample: its name, labels and value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// The name.
    pub(super) name: String,
    labels: Vec<(String, String)>,
    /// The value.
    pub(super) value: f64,
}

impl Sample {
    /// The value of a label; empty where it has none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// The samples of the given names. Lines that can't be read are left out.
pub(super) fn read(text: &str, names: &[&str]) -> Vec<Sample> {
    let wanted = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        names.contains(&name)
    };
    text.lines().filter(wanted).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.trim_start_matches(',').to_owned(), value));
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A value up to its closing quote, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_what_is_escaped() {
        let text =
            "# TYPE a counter\na{x=\"1\",y=\"q\\\"{} \\\\ \\n\"} 2.5 1700\na 3\nab 4\nbad{x=\"1 5\na{=\n";
        let read = read(text, &["a", "bad"]);
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!((read[0].label("x"), read[0].label("y"), read[0].value), ("1", "q\"{} \\ \n", 2.5));
        assert_eq!((read[1].label("x"), read[1].value), ("", 3.0));
    }
}
