//! The text that Prometheus reads: its own format 0.0.4, and OpenMetrics 1.0 with exemplars.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use trunkline_model::TraceId;

use crate::metrics::histogram::{BOUNDS, Counts, as_float};

/// The longest value of a label, in characters.
const MAX_LABEL: usize = 200;

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows. The names of its samples end in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times by how long they were.
    Histogram,
}

/// A call that stands for those in its bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace.
    pub trace: TraceId,
    /// Its value.
    pub value: f64,
    /// When.
    pub time: Timestamp,
}

/// The labels of a sample: names that are ours, and values from anywhere.
pub type Labels = Vec<(&'static str, Arc<str>)>;

/// A sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What follows the family's name: empty, `_total`, `_bucket`, `_sum` or `_count`.
    pub suffix: &'static str,
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// A call that stands for it.
    pub exemplar: Option<Exemplar>,
}

/// Samples of one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name, without a sample's suffix.
    pub name: &'static str,
    /// What it tells, in words.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The one that a header `Accept` asks for.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Family {
    /// A family without samples.
    #[must_use]
    pub fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, help, kind, samples: Vec::new() }
    }

    /// With one more sample.
    pub fn put(&mut self, labels: Labels, value: f64) {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        self.samples.push(Sample { suffix, labels, value, exemplar: None });
    }

    /// With a histogram's samples. `bounds` are some of the histogram's own; `exemplars` are by bucket.
    pub fn put_histogram(
        &mut self,
        labels: &Labels,
        counts: &Counts,
        bounds: &[f64],
        exemplars: &[Option<Exemplar>],
    ) {
        let (mut below, mut exemplar) = (0, None);
        let upper = BOUNDS.iter().copied().chain([f64::INFINITY]);
        for (index, (bound, count)) in upper.zip(counts.buckets).enumerate() {
            below += count;
            exemplar = exemplars.get(index).copied().flatten().or(exemplar);
            if bound.is_infinite() || bounds.contains(&bound) {
                let mut labels = labels.clone();
                labels.push(("le", Arc::from(number(bound))));
                let value = as_float(below);
                self.samples.push(Sample { suffix: "_bucket", labels, value, exemplar: exemplar.take() });
            }
        }
        for (suffix, value) in [("_sum", counts.sum()), ("_count", as_float(below))] {
            self.samples.push(Sample { suffix, labels: labels.clone(), value, exemplar: None });
        }
    }
}

/// The text of families.
#[must_use]
pub fn render(families: &[Family], format: Format) -> String {
    let mut out = String::with_capacity(64 << 10);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let Family { name, help, kind, .. } = family;
        let total = if format == Format::Prometheus && *kind == Kind::Counter { "_total" } else { "" };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String can't fail.
        let _ = writeln!(out, "# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}");
        if format == Format::OpenMetrics && name.ends_with("_seconds") {
            let _ = writeln!(out, "# UNIT {name} seconds");
        }
        for sample in &family.samples {
            out.push_str(name);
            out.push_str(sample.suffix);
            write_labels(&mut out, &sample.labels);
            let _ = write!(out, " {}", number(sample.value));
            if let (Format::OpenMetrics, Some(exemplar)) = (format, &sample.exemplar) {
                let time = as_float(u64::try_from(exemplar.time.as_millisecond()).unwrap_or(0)) / 1e3;
                let Exemplar { trace, value, .. } = exemplar;
                let _ = write!(out, " # {{trace_id=\"{trace}\"}} {} {time:.3}", number(*value));
            }
            out.push('\n');
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_labels(out: &mut String, labels: &Labels) {
    if labels.is_empty() {
        return;
    }
    for (index, (name, value)) in labels.iter().enumerate() {
        let _ = write!(out, "{}{name}=\"", if index == 0 { '{' } else { ',' });
        for character in value.chars().take(MAX_LABEL) {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                // What terminals and readers of lines might take for more than a letter.
                control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                    out.push('\u{fffd}')
                }
                plain => out.push(plain),
            }
        }
        out.push('"');
    }
    out.push('}');
}

/// A number as both formats write it.
#[must_use]
pub fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        // The shortest that reads back as the same; `1` and not `1.0`, as Prometheus itself writes bounds.
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn a_histogram_is_written_in_both_formats() {
        let histogram = Histogram::default();
        histogram.record_ns(3_000_000);
        let mut family = Family::new("trunkline_x_seconds", Kind::Histogram, "How long.");
        let trace = TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap();
        let exemplar = Exemplar { trace, value: 0.003, time: Timestamp::UNIX_EPOCH };
        let mut exemplars = [None; crate::metrics::histogram::BUCKETS];
        exemplars[5] = Some(exemplar);
        family.put_histogram(
            &vec![("tool", Arc::from("a\"b\nc"))],
            &histogram.counts(),
            &[0.001, 0.01],
            &exemplars,
        );
        let text = render(&[family.clone()], Format::Prometheus);
        assert!(text.contains("# TYPE trunkline_x_seconds histogram\n"), "{text}");
        assert!(text.contains("trunkline_x_seconds_bucket{tool=\"a\\\"b\\nc\",le=\"0.001\"} 0\n"), "{text}");
        assert!(
            text.contains("le=\"+Inf\"} 1\n") && text.contains("_sum{tool=\"a\\\"b\\nc\"} 0.003\n"),
            "{text}"
        );
        let text = render(&[family], Format::OpenMetrics);
        let wanted = "le=\"0.01\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.003 0.000\n";
        assert!(text.contains(wanted) && text.ends_with("# EOF\n"), "{text}");
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_its_line(value in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let mut family = Family::new("x", Kind::Gauge, "X.");
            family.put(vec![("l", Arc::from(&*value))], 1.0);
            let text = render(&[family], Format::Prometheus);
            prop_assert_eq!(text.lines().count(), 3);
            let line = text.lines().last().unwrap();
            let inner = line.strip_prefix("x{l=\"").and_then(|rest| rest.strip_suffix("\"} 1")).unwrap();
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                prop_assert!(character != '"');
                if character == '\\' {
                    prop_assert!(matches!(characters.next(), Some('\\' | '"' | 'n')));
                }
            }
        }
    }
}
