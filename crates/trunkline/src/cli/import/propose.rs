//! `trunkline import --propose`: what a service can do in words, what there is already that does the same, and what to write into the
//! configuration: capabilities, effects and undos. A person accepts it; nothing is taken over before.

mod diff;
mod learn;
mod there;

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value, json};
use trunkline_discovery::capabilities::{inferred, seems_read_only};
use trunkline_model::{Effects, ToolSpec};
use trunkline_orchestrator::proposals::{Proposal as Undo, undos};

use super::super::output::{Format, plain, print, print_data, say, short};
use super::super::stop::Stop;
use super::insert::{Target, Undos};
use super::{Import, LeftOut, Proposal, left_out};
use there::There;

/// What is proposed for a service.
#[derive(Debug, Serialize)]
struct Proposed {
    service: String,
    /// What it can do: what it is about, and what can be done with that.
    can: Vec<Can>,
    /// Tools that seem to do what another one does already.
    duplicates: Vec<Duplicate>,
    /// How tools seem to be undone.
    undos: Vec<Undo>,
    remarks: Vec<String>,
    left_out: Vec<LeftOut>,
    #[serde(skip)]
    entry: Value,
}

/// A tool, and what is proposed for it.
#[derive(Debug, Serialize)]
struct Can {
    tool: String,
    description: String,
    /// As its name says it; nothing where it does not.
    capability: Option<String>,
    /// What it does to the world, as it says or as its method says.
    effects: Effects,
    /// It seems to change nothing, though it does not say so.
    seems_read_only: bool,
}

/// A tool that does what another one seems to do.
#[derive(Debug, Serialize)]
struct Duplicate {
    tool: String,
    of: String,
    /// How much they are alike, from 0 to 1.
    alike: f32,
}

#[derive(Debug, Serialize)]
struct Report {
    source: String,
    into: PathBuf,
    written: bool,
    services: Vec<Proposed>,
    left_out: Vec<LeftOut>,
    /// The change of the configuration, line by line.
    diff: String,
}

/// Says what is proposed, and writes it where that is accepted.
pub(super) async fn run(
    import: Import,
    target: PathBuf,
    old: Target,
    proposals: Vec<Proposal>,
    left: Vec<LeftOut>,
) -> Result<(), Stop> {
    let there = There::look(import.server.client()?, &target).await?;
    let mut services = Vec::new();
    for proposal in proposals {
        services.push(propose(proposal, &target, &there).await?);
    }
    let entries: Vec<(&str, &Value)> =
        services.iter().map(|one| (one.service.as_str(), &one.entry)).collect();
    let hidden: Vec<Value> = services.iter().map(|one| super::hide::hide(&one.entry)).collect();
    let shown: Vec<(&str, &Value)> =
        services.iter().zip(&hidden).map(|(one, entry)| (one.service.as_str(), entry)).collect();
    let mut found = Undos::new();
    for undo in services.iter().flat_map(|one| &one.undos) {
        found.insert(undo.tool.clone(), flow_tool(undo));
    }
    let (undo, by_hand) = if old.takes(&entries, &found) { (found, false) } else { (Undos::new(), true) };
    let diff = diff::of(old.text(), &old.with(&shown, &undo)?);
    let written = import.accept && !services.is_empty();
    if written {
        old.write_with(&entries, &undo)?;
        say(&format_args!("written to {}", target.display()));
    }
    if by_hand {
        for one in &mut services {
            let add = |undo: &Undo| format!("add under flows.tools by hand: {}", undo.snippet);
            let more: Vec<String> = one.undos.iter().map(add).collect();
            one.remarks.extend(more);
        }
    }
    let report = Report { source: import.source, into: target, written, services, left_out: left, diff };
    match import.output.output {
        Format::Table => print(&text(&report, there.note()))?,
        format => print_data(format, &report, |_| String::new())?,
    }
    Ok(())
}

async fn propose(proposal: Proposal, target: &std::path::Path, there: &There) -> Result<Proposed, Stop> {
    let tools = learn::tools(&proposal, target).await?;
    let named: Vec<(String, ToolSpec)> =
        tools.iter().map(|spec| (format!("{}__{}", proposal.name, spec.name), spec.clone())).collect();
    let can: Vec<Can> = tools.iter().map(can).collect();
    let duplicates = tools.iter().filter_map(|spec| there.like(spec)).collect();
    let entry = entry(&proposal, &can);
    Ok(Proposed {
        undos: undos(&named),
        service: proposal.name,
        can,
        duplicates,
        remarks: proposal.remarks,
        left_out: proposal.left_out,
        entry,
    })
}

fn can(spec: &ToolSpec) -> Can {
    Can {
        tool: spec.name.to_string(),
        description: spec.description.clone(),
        capability: inferred(&spec.name).map(|term| term.as_str().to_owned()),
        effects: spec.effects,
        seems_read_only: !spec.effects.read_only && seems_read_only(&spec.name),
    }
}

/// The entry under `services`, with what is said of single tools.
fn entry(proposal: &Proposal, can: &[Can]) -> Value {
    let mut tools = Map::new();
    for one in can {
        let mut settings = Map::new();
        if let Some(term) = &one.capability {
            settings.insert("capabilities".to_owned(), json!([term]));
        }
        if one.seems_read_only {
            settings.insert("effects".to_owned(), json!({"read_only": true}));
        }
        if !settings.is_empty() {
            tools.insert(one.tool.clone(), Value::Object(settings));
        }
    }
    let mut entry = proposal.entry.clone();
    for connector in ["openapi", "mcp"] {
        if let Some(members) =
            entry.get_mut(connector).and_then(Value::as_object_mut).filter(|_| !tools.is_empty())
        {
            members.insert("tools".to_owned(), Value::Object(std::mem::take(&mut tools)));
        }
    }
    entry
}

/// What is written of an undo under `flows.tools`. `$${` keeps the configuration from reading a variable.
fn flow_tool(undo: &Undo) -> Value {
    let plain = |value: &Value| json!(value.as_str().unwrap_or_default().replace("${", "$${"));
    let members = undo.args.as_object().into_iter().flatten();
    let args: Map<String, Value> = members.map(|(name, value)| (name.clone(), plain(value))).collect();
    json!({"undo": {"tool": undo.undo, "args": args}})
}

fn text(report: &Report, note: Option<&str>) -> String {
    let mut out = String::new();
    for service in &report.services {
        out.push_str(&in_words(service));
    }
    out.push_str(&left_out(&report.left_out, ""));
    if let Some(note) = note {
        out.push_str(&format!("note: {}\n", plain(note)));
    }
    if report.services.is_empty() {
        return out;
    }
    out.push_str(&format!("\n--- {0}\n+++ {0}, as proposed\n{1}", report.into.display(), report.diff));
    if !report.written {
        out.push_str("\nNothing was written. With --accept it is.\n");
    }
    out
}

/// A service in words.
fn in_words(service: &Proposed) -> String {
    let reads = service.can.iter().filter(|one| one.effects.read_only || one.seems_read_only).count();
    let all = service.can.len();
    let mut out = format!(
        "{}: {all} tools, {reads} only read, {} change something\n",
        plain(&service.service),
        all - reads
    );
    for one in &service.can {
        let term = one.capability.as_deref().unwrap_or("-");
        let does = match (one.effects.read_only, one.seems_read_only, one.effects.destructive) {
            (true, ..) => "reads",
            (_, true, _) => "reads, by its name",
            (_, _, true) => "may delete or overwrite",
            _ => "changes something",
        };
        out.push_str(&format!(
            "  {} ({}; {does}) {}\n",
            plain(&one.tool),
            plain(term),
            short(&one.description, 70)
        ));
    }
    for one in &service.duplicates {
        let (tool, of) = (plain(&one.tool), plain(&one.of));
        out.push_str(&format!(
            "  likely the same: {tool} and {of}, which is there ({:.0} % alike)\n",
            100.0 * one.alike
        ));
    }
    for undo in &service.undos {
        out.push_str(&format!(
            "  undo: {} by {} ({})\n",
            plain(&undo.tool),
            plain(&undo.undo),
            plain(&undo.why)
        ));
    }
    for remark in &service.remarks {
        out.push_str(&format!("  note: {}\n", plain(remark)));
    }
    out + &left_out(&service.left_out, "  ")
}
