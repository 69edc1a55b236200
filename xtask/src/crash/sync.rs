//! Kills the gateway at its Nth `fdatasync`, for every N of a saga: before it, after it, and before it with the loss of
//! all that was written since the last one. A small C library that is loaded into the gateway does it (`sync.c`).

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use super::books::Books;
use super::{
    Killed, free_port, gateway, http, send, settle, shop, shop_ports, start, wait_for, write_config,
};
use crate::command;

/// More than any saga needs: a test that comes here does not come to its end.
const MOST: u32 = 200;

/// How a saga goes.
const ENDS: [(&str, bool); 2] = [("completed", false), ("undone", true)];

/// What is found.
#[derive(Default)]
struct Tally {
    kills: u32,
    tried: u32,
    stuck: u32,
    seen: HashSet<String>,
    faults: Vec<String>,
}

/// Kills at every `stride`th sync, in these ways. Gives the figures, and whether all that has to hold does.
pub(super) fn kill_at_every_sync(
    folder: &Path,
    ways: &[&str],
    stride: u32,
) -> anyhow::Result<(String, bool)> {
    let folder = folder.join("sync");
    fs::create_dir_all(&folder)?;
    let library = library(&folder)?;
    let base = shop_ports()?;
    let _shop = shop(&folder, base)?;
    wait_for(base + 3)?;
    let port = free_port()?;
    write_config(&folder, base, port)?;
    let books = Books::new(base);
    let before = books.reserved()?;
    let mut tally = Tally::default();
    for way in ways {
        for (wanted, refused) in ENDS {
            let mut n = 1;
            while !tally.saga(&folder, port, &library, (way, n), (wanted, refused))? {
                n += stride;
                if n > MOST {
                    bail!("a saga is not through after {MOST} syncs");
                }
            }
        }
    }
    let gateway = start(&folder, port)?;
    let report = books.check(before, tally.tried, &settle(port)?)?;
    drop(gateway);
    tally.faults.extend(report.faults);
    if report.twice > 0 {
        tally.faults.push(format!("{} effects were done twice under one key", report.twice));
    }
    for fault in &tally.faults {
        println!("FAULT {fault}");
    }
    let figures = format!(
        "crash at the Nth fdatasync ({}): {} kills, {} sagas: {} done, {} undone, {} failed before anything was done, \
         {} stuck, {} open; {} effects done twice under one key",
        ways.join(", "),
        tally.kills,
        report.sagas,
        report.done,
        report.undone,
        report.faulted,
        report.stuck,
        report.open,
        report.twice,
    );
    println!("{figures}");
    Ok((figures, tally.faults.is_empty() && report.open == 0))
}

impl Tally {
    /// One saga under a gateway that is killed at its Nth sync and started again. Whether it was through before that.
    fn saga(
        &mut self,
        folder: &Path,
        port: u16,
        library: &Path,
        (way, n): (&str, u32),
        (wanted, refused): (&str, bool),
    ) -> anyhow::Result<bool> {
        let mut child = Killed(
            gateway(folder)?.env("LD_PRELOAD", library).env("SYNC_KILL", format!("{n}:{way}")).spawn()?,
        );
        let mut through = false;
        if up(&mut child.0, port)? {
            self.tried += 1;
            // The answer may be lost with the gateway.
            let sent = send(port, self.tried - 1, refused).is_ok();
            through = sent && ended(&mut child.0, port)?;
        }
        drop(child);
        self.kills += u32::from(!through);
        let restarted = start(folder, port)?;
        for row in settle(port)? {
            let id = row["id"].as_str().unwrap_or_default().to_owned();
            if !self.seen.insert(id) {
                continue;
            }
            // A saga that lost its first answers may have failed before it did anything.
            let status = row["status"].as_str().unwrap_or_default().to_owned();
            self.stuck += u32::from(status == "stuck");
            if status != wanted && !matches!(&*status, "stuck" | "undone" | "faulted") {
                self.faults.push(format!("killed {way} sync {n}: a saga is {status}, not {wanted}: {row}"));
            }
        }
        drop(restarted);
        Ok(through)
    }
}

/// Waits until the gateway answers, or has been killed.
fn up(child: &mut Child, port: u16) -> anyhow::Result<bool> {
    while http::get(port, "/healthz").is_err() {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// Waits until no saga runs, or the gateway has been killed.
fn ended(child: &mut Child, port: u16) -> anyhow::Result<bool> {
    let limit = Instant::now() + super::SETTLE;
    loop {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if let Ok(answer) = http::get(port, "/v1/instances?limit=1000") {
            let rows = answer["instances"].as_array().cloned().unwrap_or_default();
            if !rows.iter().any(is_open) {
                return Ok(true);
            }
        }
        if Instant::now() > limit {
            bail!("a saga does not come to its end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compiles the library.
fn library(folder: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (folder.join("sync.c"), folder.join("sync.so"));
    fs::write(&source, include_str!("sync.c"))?;
    command::run(
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-pthread", "-o"]).arg(&library).arg(&source),
    )?;
    Ok(library)
}

/// Whether a row is of an instance that goes on by itself.
pub(super) fn is_open(row: &Value) -> bool {
    matches!(row["status"].as_str(), Some("queued" | "running" | "waiting" | "compensating"))
}
