//! How well and how fast arguments are made from requests, for folders of `tools.jsonl` and `queries.jsonl` with `calls`: one JSON
//! line a set and part. `--train FILE` learns the weights anew on the part that is for it.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and counts"
)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use trunkline_discovery::arguments::training::{Example, WEIGHTS, examples};
use trunkline_discovery::arguments::{Form, Request};
use trunkline_model::Schema;

fn main() {
    let (mut given, mut train) = (Vec::new(), None);
    let mut show = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            "--train" => train = words.next(),
            "--show" => show = true,
            _ if word.starts_with("--") => {}
            _ => given.push(PathBuf::from(word)),
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
    let tasks: Vec<Task> = folders.iter().flat_map(|folder| tasks(folder)).collect();
    if tasks.is_empty() {
        println!(
            "there is nothing to measure: name folders with tools.jsonl and queries.jsonl that have calls"
        );
        return;
    }
    if let Some(file) = train {
        learn(&tasks, Path::new(&file));
        return;
    }
    report(&tasks, show);
}

/// A request with the call that it asks for.
struct Task {
    set: String,
    /// Of a tool that the weights were not learned on, where the set is one of those they were learned on.
    unseen: bool,
    text: String,
    tool: Value,
    accept: Map<String, Value>,
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn tasks(folder: &Path) -> Vec<Task> {
    let tools: HashMap<String, Value> = lines(&folder.join("tools.jsonl"))
        .into_iter()
        .filter_map(|tool| Some((tool["id"].as_str()?.to_owned(), tool)))
        .collect();
    let set = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut tasks = Vec::new();
    for query in lines(&folder.join("queries.jsonl")) {
        let group = query["group"].as_str().unwrap_or_default();
        let calls = query["calls"].as_array().cloned().unwrap_or_default();
        for call in &calls {
            let id = call["tool"].as_str().unwrap_or_default();
            let same = calls.iter().filter(|other| other["tool"] == call["tool"]).count();
            let Some(tool) = tools.get(id).filter(|tool| tool["parameters"].is_object() && same == 1) else {
                continue;
            };
            let exactly = |arguments: &Map<String, Value>| {
                arguments.iter().map(|(name, value)| (name.clone(), json!([value]))).collect()
            };
            let accept =
                call["accept"].as_object().cloned().or_else(|| call["arguments"].as_object().map(exactly));
            let Some(accept) = accept else { continue };
            // What comes from an earlier call is in no request.
            if Value::from(accept.clone()).to_string().contains("\"$") {
                continue;
            }
            let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            tasks.push(Task {
                set: if group.is_empty() { set.clone() } else { format!("{set} {group}") },
                unseen: (hash >> 20).is_multiple_of(3),
                text: query["text"].as_str().unwrap_or_default().to_owned(),
                tool: tool.clone(),
                accept,
            });
        }
    }
    tasks
}

impl Task {
    fn form(&self) -> Form {
        let text = |name: &str| self.tool[name].as_str().unwrap_or_default().to_owned();
        Form::new(&text("name"), &text("description"), &Schema::new(self.tool["parameters"].clone()))
    }

    fn request(&self) -> Request<'_> {
        Request { text: &self.text, now: &NOW, known: &[], fixed: None }
    }

    /// Is the value, or that there is none, right at a path?
    fn right(&self, path: &[String], value: Option<&Value>) -> bool {
        right(&self.accept, path, value)
    }

    /// Is every argument within what is accepted?
    fn exact(&self, arguments: &Value) -> bool {
        let Some(arguments) = arguments.as_object() else { return false };
        whole(&self.accept, arguments)
    }
}

/// 2023-10-01, 09:00 UTC.
static NOW: LazyLock<Zoned> = LazyLock::new(|| Timestamp::constant(1_696_150_800, 0).to_zoned(TimeZone::UTC));

fn right(accept: &Map<String, Value>, path: &[String], value: Option<&Value>) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let Some(accepted) = accept.get(first).and_then(Value::as_array) else { return value.is_none() };
    if rest.is_empty() {
        return match value {
            Some(value) => accepted.iter().any(|accepted| same(accepted, value)),
            None => accepted.iter().any(|accepted| accepted == ""),
        };
    }
    let inner = |accepted: &Value| {
        accepted.as_object().is_some_and(|inner| {
            let inner = inner
                .iter()
                .map(|(name, value)| {
                    (name.clone(), if value.is_array() { value.clone() } else { json!([value]) })
                })
                .collect();
            right(&inner, rest, value)
        })
    };
    accepted.iter().any(|accepted| inner(accepted) || accepted == "" && value.is_none())
}

fn whole(accept: &Map<String, Value>, arguments: &Map<String, Value>) -> bool {
    arguments.iter().all(|(name, value)| {
        accept
            .get(name)
            .and_then(Value::as_array)
            .is_some_and(|accepted| accepted.iter().any(|accepted| same(accepted, value)))
    }) && accept.iter().all(|(name, accepted)| {
        arguments.contains_key(name)
            || accepted.as_array().is_some_and(|accepted| accepted.iter().any(|accepted| accepted == ""))
    })
}

/// As BFCL compares: text without spaces and marks in lower case; objects by member, each with what is accepted for it.
fn same(accepted: &Value, value: &Value) -> bool {
    match (accepted, value) {
        (Value::String(a), Value::String(b)) => plain(a) == plain(b),
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-9)
        }
        (Value::String(a), Value::Number(b)) => *a == b.to_string(),
        (Value::Number(a), Value::String(b)) => *b == a.to_string(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let a = a
                .iter()
                .map(|(name, value)| {
                    (name.clone(), if value.is_array() { value.clone() } else { json!([value]) })
                })
                .collect();
            whole(&a, b)
        }
        (a, b) => a == b,
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|letter| !" ,./-_*^'\"".contains(*letter)).flat_map(char::to_lowercase).collect()
}

/// The base line: values of the right type, word for word, in the order in which they come.
fn verbatim(task: &Task) -> Value {
    let marks = |letter: char| !letter.is_alphanumeric() && letter != '.' && letter != '-';
    let words: Vec<&str> =
        task.text.split_whitespace().map(|word| word.trim_matches(marks).trim_end_matches('.')).collect();
    let mut numbers = words.iter().filter_map(|word| word.replace(',', "").parse::<f64>().ok());
    let mut quoted = task.text.split(['\'', '"']).skip(1).step_by(2);
    let mut names = words.iter().skip(1).filter(|word| word.starts_with(char::is_uppercase));
    let mut arguments = Map::new();
    for name in task.tool["parameters"]["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    {
        let value = match task.tool["parameters"]["properties"][name]["type"].as_str() {
            Some("integer") => numbers.next().map(|number| json!(number as i64)),
            Some("number") => numbers.next().map(|number| json!(number)),
            Some("boolean") => Some(json!(true)),
            Some("string") => quoted.next().or_else(|| names.next().copied()).map(Value::from),
            _ => None,
        };
        arguments.extend(value.map(|value| (name.to_owned(), value)));
    }
    Value::Object(arguments)
}

#[derive(Default)]
struct Row {
    count: usize,
    exact: usize,
    base: usize,
    asked: usize,
    invalid: usize,
    slots: usize,
    right: usize,
    times: Vec<Duration>,
}

fn report(tasks: &[Task], show: bool) {
    let mut rows: BTreeMap<(String, &str), Row> = BTreeMap::new();
    let mut all = Vec::new();
    for task in tasks {
        let form = task.form();
        let start = Instant::now();
        let filled = form.fill(&task.request());
        let took = start.elapsed();
        let call = filled.call();
        let schema = Schema::new(task.tool["parameters"].clone());
        let exact = call.is_some() && task.exact(&filled.arguments);
        if show && !exact {
            let not = if call.is_some() { "wrong" } else { "asked" };
            println!(
                "{} {not}: {}\n   {}\n   {}",
                task.set,
                task.text,
                filled.arguments,
                Value::from(task.accept.clone())
            );
        }
        for part in ["all", if task.unseen { "kept out" } else { "learned on" }] {
            let row = rows.entry((task.set.clone(), part)).or_default();
            row.count += 1;
            row.exact += usize::from(exact);
            row.base += usize::from(task.exact(&verbatim(task)));
            row.asked += usize::from(call.is_none());
            row.invalid += usize::from(call.as_ref().is_some_and(|call| schema.validate(call).is_err()));
            for name in task.accept.keys() {
                row.slots += 1;
                row.right += usize::from(task.right(std::slice::from_ref(name), filled.arguments.get(name)));
            }
            row.times.push(took);
        }
        all.push(took);
    }
    println!(
        "{:<28} {:<10} {:>6} {:>8} {:>10} {:>7} {:>8} {:>8} {:>9} {:>9}",
        "set", "part", "calls", "exact %", "verbatim %", "slots %", "asked %", "invalid", "p50", "p99"
    );
    for ((set, part), row) in &mut rows {
        row.times.sort_unstable();
        let at = |share: f64| row.times[((row.times.len() - 1) as f64 * share) as usize];
        let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        let (exact, base, asked, slots) = (
            percent(row.exact, row.count),
            percent(row.base, row.count),
            percent(row.asked, row.count),
            percent(row.right, row.slots),
        );
        println!(
            "{set:<28} {part:<10} {:>6} {exact:>8.1} {base:>10.1} {slots:>7.1} {asked:>8.1} {:>8} {:>9.1?} {:>9.1?}",
            row.count,
            row.invalid,
            at(0.5),
            at(0.99)
        );
        println!(
            "{}",
            json!({
                "bench": "arguments", "set": set, "part": part, "calls": row.count, "exact": exact, "exact_verbatim": base, "slots": slots, "asked": asked,
                "invalid": row.invalid, "p50_us": at(0.5).as_secs_f64() * 1e6, "p99_us": at(0.99).as_secs_f64() * 1e6,
            })
        );
    }
}

/// Learns the weights by AdaGrad (Duchi et al. 2011) on the likelihood that one of the right candidates is taken, and writes them.
fn learn(tasks: &[Task], file: &Path) {
    let mut seen: Vec<(f32, Example)> = Vec::new();
    for task in tasks.iter().filter(|task| !task.unseen) {
        let form = task.form();
        let weight = if task.set.starts_with("bfcl") { 1.0 } else { 0.4 };
        seen.extend(
            examples(&form, &task.request(), |path, value| task.right(path, value))
                .into_iter()
                .map(|example| (weight, example)),
        );
    }
    let (mut weights, mut squares, mut sum) =
        (vec![0.0_f32; WEIGHTS], vec![1e-3_f32; WEIGHTS], vec![0.0_f32; WEIGHTS]);
    let mut random = 1_u64;
    let rounds = 30;
    for round in 0..rounds {
        for at in (1..seen.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seen.swap(at, (random >> 33) as usize % (at + 1));
        }
        let mut loss = 0.0;
        for (weight, example) in &seen {
            let score = |features: &Vec<(u16, f32)>| {
                features.iter().map(|(at, value)| weights[usize::from(*at)] * value).sum::<f32>()
            };
            let scores: Vec<f32> = example.candidates.iter().map(score).collect();
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let of: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
            let (total, good): (f32, f32) =
                of.iter().zip(&example.right).fold((0.0, 1e-9), |(total, good), (one, right)| {
                    (total + one, if *right { good + one } else { good })
                });
            loss += -(good / total).ln() * weight;
            for ((candidate, one), right) in example.candidates.iter().zip(&of).zip(&example.right) {
                let slope = weight * (one / total - if *right { one / good } else { 0.0 });
                if slope.abs() < 1e-5 {
                    continue;
                }
                for (at, value) in candidate {
                    let at = usize::from(*at);
                    let slope = slope * value + 1e-4 * weights[at];
                    squares[at] += slope * slope;
                    weights[at] -= 0.15 * slope / squares[at].sqrt();
                }
            }
        }
        if round >= rounds / 2 {
            sum.iter_mut().zip(&weights).for_each(|(sum, weight)| *sum += weight);
        }
        println!("{round} {:.4}", loss / seen.len() as f32);
    }
    let count = (rounds - rounds / 2) as f32;
    let rows: Vec<String> = sum.iter().map(|sum| format!("{:.2}", sum / count)).collect();
    let body: String = rows.chunks(16).map(|row| format!("    {},\n", row.join(", "))).collect();
    let text = format!(
        "//! What each feature counts, as `cargo bench -p trunkline-discovery --bench arguments -- --train FILE DIR…` learned it.\n\n\
         pub(super) const WEIGHTS: &[f32] = &[\n{body}];\n"
    );
    if let Err(error) = fs::write(file, text) {
        println!("{error}");
    }
}
