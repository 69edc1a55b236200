//! What came of the parts of a task, as a table with a last line that programs can read.

use std::time::{Duration, Instant};

/// What came of one part.
pub(crate) struct Leg {
    name: String,
    passed: usize,
    failed: usize,
    note: String,
    took: Duration,
}

/// All parts of a task.
#[derive(Default)]
pub(crate) struct Report(Vec<Leg>);

/// How many checks of a part passed and failed, and what there is to say.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) note: String,
}

impl Outcome {
    /// One check that passed.
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        Self { passed: 1, failed: 0, note: note.into() }
    }

    /// A part that could not be run: a failure in CI, else something to say.
    pub(crate) fn missing(why: impl Into<String>) -> Self {
        let failed = usize::from(crate::workspace::in_ci());
        let word = if failed > 0 { "missing" } else { "skipped" };
        Self { passed: 0, failed, note: format!("{word}: {}", why.into()) }
    }
}

impl Report {
    /// Runs a part and notes what came of it. An error is one failed check.
    pub(crate) fn leg(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<Outcome>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome =
            run().unwrap_or_else(|error| Outcome { passed: 0, failed: 1, note: format!("{error:#}") });
        if !outcome.note.is_empty() {
            println!("{name}: {}", outcome.note);
        }
        let Outcome { passed, failed, note } = outcome;
        self.0.push(Leg { name: name.to_owned(), passed, failed, note, took: start.elapsed() });
    }

    /// Prints the table and, alone on the last line, `N passed, N failed`. Gives whether nothing failed.
    pub(crate) fn finish(self) -> bool {
        println!("\n{:<34} {:>7} {:>7} {:>7}  note", "leg", "passed", "failed", "time");
        for leg in &self.0 {
            let note = leg.note.lines().next().unwrap_or_default();
            let seconds = leg.took.as_secs();
            println!("{:<34} {:>7} {:>7} {:>6}s  {note}", leg.name, leg.passed, leg.failed, seconds);
        }
        let sum = |count: fn(&Leg) -> usize| self.0.iter().map(count).sum::<usize>();
        let (passed, failed) = (sum(|leg| leg.passed), sum(|leg| leg.failed));
        println!("{passed} passed, {failed} failed");
        failed == 0 && passed > 0
    }
}
