//! How well and how fast tools are found by requests, for folders of `tools.jsonl` and `queries.jsonl`: one JSON line a set, the
//! mean last.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and counts"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_discovery::search::{Document, SearchIndex};

/// How many tools are told of.
const TOP: usize = 10;

fn main() {
    let given: Vec<PathBuf> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).map(PathBuf::from).collect();
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
    println!(
        "{:<14} {:>7} {:>8} {:>6} {:>6} {:>6} {:>10} {:>10}",
        "set", "tools", "queries", "R@1", "R@5", "N@10", "p50", "p99"
    );
    let rows: Vec<Row> = folders.iter().filter_map(|folder| measure(folder)).collect();
    for row in &rows {
        row.print();
    }
    let mean = |pick: fn(&Row) -> f64| rows.iter().map(pick).sum::<f64>() / rows.len().max(1) as f64;
    let (r1, r5, n10) = (mean(|row| row.r1), mean(|row| row.r5), mean(|row| row.n10));
    println!("{:<14} {:>7} {:>8} {r1:>6.1} {r5:>6.1} {n10:>6.1}", "mean", "", "");
    for row in &rows {
        println!("{}", row.json());
    }
    println!(
        "{}",
        json!({"bench": "search", "set": "mean", "recall_at_1": r1, "recall_at_5": r5, "ndcg_at_10": n10})
    );
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
            "{set:<14} {tools:>7} {queries:>8} {r1:>6.1} {r5:>6.1} {n10:>6.1} {p50:>10.1?} {p99:>10.1?}"
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

/// What a tool says, from its JSON.
fn document(tool: &Value) -> Document<'_> {
    let mut document = Document {
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

fn measure(folder: &Path) -> Option<Row> {
    let (tools, queries) = (lines(&folder.join("tools.jsonl")), lines(&folder.join("queries.jsonl")));
    let mut index = SearchIndex::default();
    for tool in &tools {
        index.insert(&Arc::from(tool["id"].as_str()?), &document(tool));
    }
    let (mut r1, mut r5, mut n10, mut count) = (0.0, 0.0, 0.0, 0_usize);
    let mut times = Vec::with_capacity(queries.len());
    for query in &queries {
        let relevant: Vec<&str> = query["relevant"].as_array()?.iter().filter_map(Value::as_str).collect();
        let text = query["text"].as_str()?;
        let start = Instant::now();
        let hits = index.search(text, TOP, |_| true);
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
