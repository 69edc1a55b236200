//! The templates of annotations: `{{ $labels.NAME }}`, `{{ $value }}`, and a few ways to write a number.

use super::Labels;

/// Fills in a template.
///
/// # Errors
/// What is not known in it.
pub(super) fn fill(text: &str, labels: &Labels, value: f64) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (inner, after) = after.split_once("}}").ok_or("a template does not end")?;
        out.push_str(&one(inner.trim(), labels, value)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn one(inner: &str, labels: &Labels, value: f64) -> Result<String, String> {
    let (what, how) = match inner.split_once('|') {
        Some((what, how)) => (what.trim(), Some(how.trim())),
        None => (inner, None),
    };
    if let (Some(name), None) = (what.strip_prefix("$labels."), how) {
        return Ok(labels.get(name).cloned().unwrap_or_default());
    }
    match (what, how) {
        ("$value", None) => Ok(plain(value)),
        ("$value", Some("humanize")) => Ok(humanize(value)),
        ("$value", Some("humanizePercentage")) => {
            Ok(format!("{:.4}", value * 100.0).trim_end_matches('0').trim_end_matches('.').to_owned() + "%")
        }
        ("$value", Some("humanizeDuration")) => Ok(duration(value)),
        _ => Err(format!("the template {inner:?} is not known here")),
    }
}

fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn humanize(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(size, _)| value.abs() >= *size) {
        Some((size, unit)) => format!("{}{unit}", plain(value / size)),
        None => plain(value),
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{}ms", plain(seconds * 1e3));
    }
    if seconds < 60.0 {
        return format!("{}s", plain(seconds));
    }
    let minutes = (seconds / 60.0).floor();
    format!("{minutes}m {:.0}s", seconds - minutes * 60.0)
}
