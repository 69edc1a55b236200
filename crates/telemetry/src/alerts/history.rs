//! The samples that rules look at, as far back as they look.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::Labels;
use super::promql::Selector;
use crate::exposition::Family;

/// The most series, and samples of one.
const MAX_SERIES: usize = 50_000;
const MAX_SAMPLES: usize = 2_000;

/// A sample: when, in milliseconds since 1970, and its value.
pub(super) type Sample = (i64, f64);

/// The samples that rules look at.
#[derive(Default)]
pub(super) struct History {
    series: HashMap<String, HashMap<Labels, VecDeque<Sample>>>,
    wanted: HashSet<String>,
    back: Duration,
    count: usize,
    now: i64,
}

impl History {
    /// Keeps the series of these names for so long.
    pub(super) fn new(wanted: impl IntoIterator<Item = String>, back: Duration) -> Self {
        Self { wanted: wanted.into_iter().collect(), back, ..Self::default() }
    }

    /// Takes what is counted now.
    pub(super) fn take(&mut self, families: &[Family], now: i64) {
        self.now = now;
        for family in families {
            let mut name = String::new();
            for sample in &family.samples {
                name.clear();
                name.push_str(family.name);
                name.push_str(sample.suffix);
                if !self.wanted.contains(&name) {
                    continue;
                }
                let labels: Labels = sample
                    .labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.to_string()))
                    .collect();
                let series = self.series.entry(name.clone()).or_default();
                let known = series.contains_key(&labels);
                if !known && self.count >= MAX_SERIES {
                    continue;
                }
                self.count += usize::from(!known);
                let samples = series.entry(labels).or_default();
                samples.push_back((now, sample.value));
            }
        }
        let oldest = now - i64::try_from(self.back.as_millis()).unwrap_or(i64::MAX / 2);
        let mut count = 0;
        for series in self.series.values_mut() {
            series.retain(|_, samples| {
                // The first before the time is what a counter grew from.
                while samples.get(1).is_some_and(|second| second.0 <= oldest) || samples.len() > MAX_SAMPLES {
                    samples.pop_front();
                }
                samples.back().is_some_and(|last| last.0 > oldest)
            });
            count += series.len();
        }
        self.count = count;
    }

    /// The samples of the series that fit.
    pub(super) fn select<'a>(
        &'a self,
        selector: &'a Selector,
    ) -> impl Iterator<Item = (&'a Labels, &'a VecDeque<Sample>)> + 'a {
        let fits = |labels: &Labels| {
            selector.matchers.iter().all(|matcher| {
                matcher.fits(labels.get(&matcher.label).map(String::as_str).unwrap_or_default())
            })
        };
        self.series.get(&selector.name).into_iter().flatten().filter(move |(labels, _)| fits(labels))
    }

    /// When samples were last taken.
    pub(super) fn now(&self) -> i64 {
        self.now
    }
}
