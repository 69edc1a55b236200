//! Series by what they are about. Finding one takes no lock; there are only so many, and what comes beyond is one series
//! named `other`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

/// What stands for everything beyond the bound.
pub const OTHER: &str = "other";

/// Series by label.
pub struct Bounded<T> {
    known: ArcSwap<HashMap<Arc<str>, Arc<T>>>,
    /// Held while one is added.
    adding: Mutex<()>,
    other: OnceLock<Arc<T>>,
    most: usize,
}

impl<T: Default> Bounded<T> {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { known: ArcSwap::default(), adding: Mutex::default(), other: OnceLock::new(), most }
    }

    /// The series of a label.
    pub fn of(&self, label: &Arc<str>) -> Arc<T> {
        if let Some(known) = self.known.load().get(label) {
            return known.clone();
        }
        self.add(label)
    }

    fn add(&self, label: &Arc<str>) -> Arc<T> {
        let _adding = self.adding.lock();
        let known = self.known.load_full();
        if let Some(known) = known.get(label) {
            return known.clone();
        }
        if known.len() >= self.most {
            return self.other.get_or_init(Arc::default).clone();
        }
        let (mut more, new) = (HashMap::clone(&known), Arc::<T>::default());
        more.insert(label.clone(), new.clone());
        self.known.store(Arc::new(more));
        new
    }

    /// The series of a label, where there is one.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<Arc<T>> {
        self.known.load().get(label).cloned()
    }

    /// All of them, in the order of their labels, [`OTHER`] last.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let known = self.known.load();
        let mut all: Vec<_> = known.iter().map(|(label, series)| (label.clone(), series.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.extend(self.other.get().map(|other| (Arc::from(OTHER), other.clone())));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn what_comes_beyond_the_bound_is_counted_together() {
        let series: Bounded<AtomicU64> = Bounded::new(2);
        for name in ["a", "b", "c", "d", "a"] {
            series.of(&Arc::from(name)).fetch_add(1, Ordering::Relaxed);
        }
        let all: Vec<(String, u64)> = series
            .all()
            .iter()
            .map(|(name, count)| (name.to_string(), count.load(Ordering::Relaxed)))
            .collect();
        assert_eq!(all, [("a".to_owned(), 2), ("b".to_owned(), 1), (OTHER.to_owned(), 2)]);
    }
}
