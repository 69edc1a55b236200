//! How well and how fast requests find their intent, for folders with `train.jsonl` and `queries.jsonl`: 20 examples of each intent,
//! given as configuration is; one JSON line a set. Where there is `oos.jsonl`, how well what is out of scope is told.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and counts"
)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_discovery::embed::{MiniLm, Table};
use trunkline_discovery::intent::{Intents, Said};
use trunkline_discovery::search::{Document, Mix, SearchIndex};

/// How many examples of each intent there are.
const EXAMPLES: usize = 20;

fn main() {
    let (mut given, mut table, mut encoder) = (Vec::new(), Table::built_in(), None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--table" {
            table = words.next().and_then(|file| read(Path::new(&file))).unwrap_or(table);
        } else if word == "--encoder" {
            encoder = words.next().and_then(|file| encoder_of(Path::new(&file)));
        } else if !word.starts_with("--") {
            given.push(PathBuf::from(word));
        }
    }
    let mut folders = Vec::new();
    for folder in given {
        if folder.join("train.jsonl").is_file() {
            folders.push(folder);
        } else {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            folders.extend(entries.filter(|path| path.join("train.jsonl").is_file()));
        }
    }
    folders.sort();
    if folders.is_empty() {
        println!("there is nothing to measure: name folders with train.jsonl and queries.jsonl");
    }
    for folder in folders {
        measure(&folder, table, encoder.as_ref());
    }
}

/// An encoder whose weights are in a file.
fn encoder_of(file: &Path) -> Option<Arc<MiniLm>> {
    MiniLm::read(&fs::read(file).ok()?).inspect_err(|error| println!("{error}")).ok().map(Arc::new)
}

/// A table that was read from a file, for as long as the measurement runs.
fn read(file: &Path) -> Option<&'static Table> {
    let table =
        Table::read(Cow::Owned(fs::read(file).ok()?)).inspect_err(|error| println!("{error}")).ok()?;
    Some(Box::leak(Box::new(table)))
}

fn lines(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).ok()?;
        Some((
            value["text"].as_str()?.to_owned(),
            value["relevant"][0].as_str().unwrap_or_default().to_owned(),
        ))
    };
    text.lines().filter_map(line).collect()
}

/// So many examples of each intent, drawn with a seed.
fn sample(folder: &Path) -> Vec<(String, String)> {
    let mut all = lines(&folder.join("train.jsonl"));
    let mut random = 7_u64;
    for at in (1..all.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(at, (random >> 33) as usize % (at + 1));
    }
    let mut count: HashMap<String, usize> = HashMap::new();
    all.retain(|(_, intent)| {
        let count = count.entry(intent.clone()).or_default();
        *count += 1;
        *count <= EXAMPLES
    });
    all
}

fn measure(folder: &Path, table: &'static Table, encoder: Option<&Arc<MiniLm>>) {
    let examples = sample(folder);
    let mut intents = Intents::with(table);
    let vector = |text: &str| encoder.map(|encoder| encoder.encode(text));
    let start = Instant::now();
    for (text, intent) in &examples {
        if let Err(error) = intents.example(intent, said(text, vector(text).as_deref())) {
            println!("{error}");
            return;
        }
    }
    let learned = start.elapsed() / examples.len().max(1) as u32;
    let mut index = SearchIndex::with(table, Mix { meaning: 0.0, clauses: 0.0, learned: 0.0, encoded: 0.0 });
    for (number, (text, _)) in examples.iter().enumerate() {
        index.insert(&Arc::from(number.to_string()), &Document { description: text, ..Document::default() });
    }
    let nearest = |text: &str| {
        let hit = index.search(text, 1, |_| true).into_iter().next()?;
        examples.get(hit.key.parse::<usize>().ok()?).map(|(_, intent)| intent.clone())
    };
    let queries = lines(&folder.join("queries.jsonl"));
    let (mut right, mut base, mut inside, mut times) = (0, 0, Vec::new(), Vec::new());
    let (mut calibration, mut taken) = ([(0.0_f64, 0.0_f64, 0_usize); 10], 0);
    for (text, intent) in &queries {
        let start = Instant::now();
        let guesses = intents.guess(said(text, vector(text).as_deref()), 3);
        times.push(start.elapsed());
        let good = guesses.first().is_some_and(|guess| guess.intent == *intent);
        let confidence = guesses.first().map_or(0.0, |guess| f64::from(guess.confidence));
        let bin = &mut calibration[((confidence * 10.0) as usize).min(9)];
        *bin = (bin.0 + confidence, bin.1 + f64::from(u8::from(good)), bin.2 + 1);
        right += usize::from(good);
        base += usize::from(nearest(text).as_ref() == Some(intent));
        inside.push(known(&guesses));
        taken += usize::from(known(&guesses) >= 0.5);
    }
    let error: f64 = calibration.iter().map(|(sure, good, _)| (sure - good).abs()).sum::<f64>()
        / queries.len().max(1) as f64;
    let outside: Vec<f32> = lines(&folder.join("oos.jsonl"))
        .iter()
        .map(|(text, _)| known(&intents.guess(said(text, vector(text).as_deref()), 3)))
        .collect();
    let refused = outside.iter().filter(|known| **known < 0.5).count();
    times.sort_unstable();
    let at = |share: f64| {
        times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(Duration::ZERO)
    };
    let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    println!(
        "{}",
        json!({
            "bench": "intent", "encoder": encoder.is_some(), "set": folder.file_name().unwrap_or_default().to_string_lossy(), "examples": examples.len(), "queries": queries.len(),
            "accuracy": percent(right, queries.len()), "accuracy_bm25_nearest": percent(base, queries.len()),
            "calibration_error": error, "in_scope_taken": percent(taken, queries.len()),
            "out_of_scope_auroc": if outside.is_empty() { Value::Null } else { json!(auroc(&inside, &outside)) },
            "out_of_scope_refused": if outside.is_empty() { Value::Null } else { json!(percent(refused, outside.len())) },
            "p50_us": at(0.5).as_secs_f64() * 1e6, "p99_us": at(0.99).as_secs_f64() * 1e6, "example_us": learned.as_secs_f64() * 1e6,
        })
    );
}

/// A text with its vector, where there is an encoder.
fn said<'a>(text: &'a str, vector: Option<&'a [f32]>) -> Said<'a> {
    vector.map_or(text.into(), |vector| Said::encoded(text, vector))
}

/// How sure it is that any of the intents is meant.
fn known(guesses: &[trunkline_discovery::intent::Guess]) -> f32 {
    guesses.iter().map(|guess| guess.confidence).sum()
}

/// How often one that is in scope is surer than one that is not.
fn auroc(inside: &[f32], outside: &[f32]) -> f64 {
    let wins =
        |one: &f32| {
            outside
                .iter()
                .map(|other| {
                    if one > other {
                        1.0
                    } else {
                        f64::from(u8::from(one.to_bits() == other.to_bits())) / 2.0
                    }
                })
                .sum::<f64>()
        };
    inside.iter().map(wins).sum::<f64>() / (inside.len() * outside.len()).max(1) as f64
}
