//! How well and how fast tools are found by requests, for folders of `tools.jsonl` and `queries.jsonl`: one JSON line a set, the
//! mean last.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and counts"
)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_discovery::capabilities::inferred;
use trunkline_discovery::embed::{MiniLm, Table};
use trunkline_discovery::search::{Document, Encoded, Mix, SearchIndex, told};

/// How many tools are told of.
const TOP: usize = 10;

/// The ways that are measured beside each other.
const WAYS: [(&str, Mix); 4] = [
    ("words", Mix { meaning: 0.0, clauses: 0.0, learned: 0.0, encoded: 0.0 }),
    ("words, clauses", Mix { meaning: 0.0, clauses: 0.5, learned: 0.0, encoded: 0.0 }),
    ("meaning", Mix { meaning: 1.0, clauses: 0.0, learned: 0.0, encoded: 0.0 }),
    ("meaning, clauses", Mix { meaning: 1.0, clauses: 0.5, learned: 0.0, encoded: 0.0 }),
];

fn main() {
    let (mut given, mut learns, mut mix) = (Vec::new(), false, Mix::default());
    let mut by = By { table: Table::built_in(), encoder: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--table" {
            by.table = words.next().and_then(|file| read(Path::new(&file))).unwrap_or(by.table);
        } else if word == "--encoder" {
            by.encoder = words.next().and_then(|file| Encoder::read(Path::new(&file)));
        } else if word == "--mix" {
            let numbers = words.next().unwrap_or_default();
            let numbers: Vec<f32> = numbers.split(',').filter_map(|number| number.parse().ok()).collect();
            if let [meaning, clauses, learned, encoded] = numbers[..] {
                mix = Mix { meaning, clauses, learned, encoded };
            }
        } else if word == "--learn" {
            learns = true;
        } else if !word.starts_with("--") {
            given.push(PathBuf::from(word));
        }
    }
    let mut folders = Vec::new();
    for folder in given {
        if folder.join("tools.jsonl").is_file() {
            folders.push(folder);
        } else {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            folders.extend(entries.filter(|path| path.join("tools.jsonl").is_file()));
        }
    }
    folders.sort();
    if folders.is_empty() {
        println!("there is nothing to measure: name folders with tools.jsonl and queries.jsonl");
        return;
    }
    let rows = table_of(&folders, &by, mix, learns, "all");
    let mut ways = WAYS.to_vec();
    if by.encoder.is_some() {
        ways.push(("without encoder", Mix { encoded: 0.0, ..mix }));
        ways.push(("encoder", Mix { meaning: 1.0, clauses: 0.0, learned: 0.0, encoded: 1.0 }));
    }
    for (way, mix) in ways {
        table_of(&folders, &by, mix, false, way);
    }
    for row in &rows {
        println!("{}", row.json());
    }
    println!("{}", mean(&rows).json());
    for count in [10_000, 100_000] {
        among(&folders, by.table, count);
    }
}

/// How long a request takes among so many tools, and how long one takes to be added: the tools of all sets, again and again under
/// other names.
fn among(folders: &[PathBuf], table: &'static Table, count: usize) {
    let read = |name: &str| folders.iter().flat_map(|folder| lines(&folder.join(name))).collect::<Vec<_>>();
    let (tools, queries) = (read("tools.jsonl"), read("queries.jsonl"));
    let mut index = SearchIndex::with(table, Mix::default());
    let mut adding = Vec::with_capacity(count);
    for (number, tool) in tools.iter().cycle().take(count).enumerate() {
        let name = format!("{} {}", tool["name"].as_str().unwrap_or_default(), number / tools.len());
        let guessed = guessed(tool);
        let document = Document { name: &name, ..document(tool, &guessed) };
        let start = Instant::now();
        index.insert(&Arc::from(number.to_string()), &document);
        adding.push(start.elapsed());
    }
    let texts = queries.iter().filter_map(|query| query["text"].as_str());
    let step = (queries.len() / 2_000).max(1);
    let timed = |text: &str| {
        let start = Instant::now();
        std::hint::black_box(index.search(text, TOP, |_| true));
        start.elapsed()
    };
    let mut asking: Vec<Duration> = texts.step_by(step).map(timed).collect();
    adding.sort_unstable();
    asking.sort_unstable();
    let at = |times: &[Duration], share: f64| {
        times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6
    };
    println!(
        "{}",
        json!({
            "bench": "search", "tools": count, "requests": asking.len(), "p50_us": at(&asking, 0.5), "p99_us": at(&asking, 0.99),
            "add_p50_us": at(&adding, 0.5), "add_p99_us": at(&adding, 0.99),
        })
    );
}

/// What texts are made vectors with.
struct By {
    table: &'static Table,
    encoder: Option<Encoder>,
}

impl By {
    /// A text by the encoder, where one is used.
    fn vector(&self, mix: Mix, text: &str) -> Option<Box<[f32]>> {
        self.encoder.as_ref().filter(|_| mix.encoded > 0.0).map(|encoder| encoder.encode(text))
    }
}

/// An encoder, and what it has encoded already. The times of searches are without it.
struct Encoder {
    model: MiniLm,
    known: RefCell<HashMap<String, Box<[f32]>>>,
}

impl Encoder {
    fn read(file: &Path) -> Option<Self> {
        let model = MiniLm::read(&fs::read(file).ok()?).inspect_err(|error| println!("{error}")).ok()?;
        Some(Self { model, known: RefCell::default() })
    }

    fn encode(&self, text: &str) -> Box<[f32]> {
        if let Some(known) = self.known.borrow().get(text) {
            return known.clone();
        }
        let vector = self.model.encode(text);
        self.known.borrow_mut().insert(text.to_owned(), vector.clone());
        vector
    }
}

/// A table that was read from a file, for as long as the measurement runs.
fn read(file: &Path) -> Option<&'static Table> {
    let table =
        Table::read(Cow::Owned(fs::read(file).ok()?)).inspect_err(|error| println!("{error}")).ok()?;
    Some(Box::leak(Box::new(table)))
}

/// Measures every set one way, and prints it.
fn table_of(folders: &[PathBuf], by: &By, mix: Mix, learns: bool, way: &str) -> Vec<Row> {
    println!(
        "{way:<16} {:>7} {:>8} {:>6} {:>6} {:>6} {:>10} {:>10}",
        "tools", "queries", "R@1", "R@5", "N@10", "p50", "p99"
    );
    let rows: Vec<Row> = folders.iter().filter_map(|folder| measure(folder, by, mix, learns)).collect();
    for row in rows.iter().chain([&mean(&rows)]) {
        row.print();
    }
    rows
}

fn mean(rows: &[Row]) -> Row {
    let of = |pick: fn(&Row) -> f64| rows.iter().map(pick).sum::<f64>() / rows.len().max(1) as f64;
    let time =
        |pick: fn(&Row) -> Duration| rows.iter().map(pick).sum::<Duration>() / rows.len().max(1) as u32;
    Row {
        set: "mean".to_owned(),
        tools: rows.iter().map(|row| row.tools).sum(),
        queries: rows.iter().map(|row| row.queries).sum(),
        r1: of(|row| row.r1),
        r5: of(|row| row.r5),
        n10: of(|row| row.n10),
        p50: time(|row| row.p50),
        p99: time(|row| row.p99),
    }
}

struct Row {
    set: String,
    tools: usize,
    queries: usize,
    r1: f64,
    r5: f64,
    n10: f64,
    p50: Duration,
    p99: Duration,
}

impl Row {
    fn print(&self) {
        let Self { set, tools, queries, r1, r5, n10, p50, p99 } = self;
        println!(
            "{set:<16} {tools:>7} {queries:>8} {r1:>6.1} {r5:>6.1} {n10:>6.1} {p50:>10.1?} {p99:>10.1?}"
        );
    }

    fn json(&self) -> Value {
        json!({
            "bench": "search", "set": self.set, "tools": self.tools, "queries": self.queries, "recall_at_1": self.r1,
            "recall_at_5": self.r5, "ndcg_at_10": self.n10, "p50_us": self.p50.as_secs_f64() * 1e6,
            "p99_us": self.p99.as_secs_f64() * 1e6,
        })
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What a tool's name lets guess that it can do.
fn guessed(tool: &Value) -> String {
    let term = tool["name"].as_str().and_then(inferred);
    term.map(|term| term.to_string()).unwrap_or_default()
}

/// What a tool says, from its JSON.
fn document<'a>(tool: &'a Value, guessed: &'a str) -> Document<'a> {
    let mut document = Document {
        inferred: guessed,
        name: tool["name"].as_str().unwrap_or_default(),
        description: tool["description"].as_str().unwrap_or_default(),
        ..Document::default()
    };
    for (name, parameter) in tool["parameters"]["properties"].as_object().into_iter().flatten() {
        document.parameters.push(name);
        document.about_parameters.extend(parameter["description"].as_str());
    }
    document
}

/// Measures the requests of a set. Where `learns`, every other request and the tools that met it are learned before, and the rest
/// of them are measured.
fn measure(folder: &Path, by: &By, mix: Mix, learns: bool) -> Option<Row> {
    let (tools, mut queries) = (lines(&folder.join("tools.jsonl")), lines(&folder.join("queries.jsonl")));
    let mut index = SearchIndex::with(by.table, mix);
    for tool in &tools {
        let guessed = guessed(tool);
        let (key, document) = (tool["id"].as_str()?, document(tool, &guessed));
        index.insert(&Arc::from(key), &document);
        if let Some(vector) = by.vector(mix, &told(&document)) {
            index.set_vector(key, &vector);
        }
    }
    if learns {
        let mut number = 0;
        queries.retain(|query| {
            number += 1;
            let Some(text) = query["text"].as_str().filter(|_| number % 2 == 0) else { return true };
            let tools = query["relevant"].as_array().into_iter().flatten().filter_map(Value::as_str);
            tools.for_each(|tool| index.learn(text, tool));
            false
        });
    }
    let (mut r1, mut r5, mut n10, mut count) = (0.0, 0.0, 0.0, 0_usize);
    let mut times = Vec::with_capacity(queries.len());
    for query in &queries {
        let relevant: Vec<&str> = query["relevant"].as_array()?.iter().filter_map(Value::as_str).collect();
        let text = query["text"].as_str()?;
        let encoded = Encoded::of(text, |text| by.vector(mix, text));
        let start = Instant::now();
        let hits = index.search_encoded(text, &encoded, TOP, |_| true);
        times.push(start.elapsed());
        if relevant.is_empty() {
            continue;
        }
        let gold = |hit: &trunkline_discovery::search::Hit| relevant.contains(&&*hit.key);
        let among = |top: usize| hits.iter().take(top).filter(|hit| gold(hit)).count() as f64;
        let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
        let found: f64 =
            hits.iter().enumerate().filter(|(_, hit)| gold(hit)).map(|(rank, _)| gain(rank)).sum();
        let ideal: f64 = (0..relevant.len().min(TOP)).map(gain).sum();
        r1 += among(1) / relevant.len() as f64;
        r5 += among(5) / relevant.len() as f64;
        n10 += found / ideal;
        count += 1;
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let percent = |sum: f64| 100.0 * sum / count.max(1) as f64;
    Some(Row {
        set: folder.file_name()?.to_string_lossy().into_owned(),
        tools: tools.len(),
        queries: count,
        r1: percent(r1),
        r5: percent(r5),
        n10: percent(n10),
        p50: at(0.5),
        p99: at(0.99),
    })
}
