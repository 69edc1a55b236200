//! Other programs, run to their end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// How a command reads on a command line.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command that has to succeed; what it writes goes where ours goes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("$ {}", shown(command));
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("can't run {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command that has to succeed and gives what it writes to standard output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("can't run {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, shows the lines of its standard output as they come, and gives them with whether it succeeded.
pub(crate) fn watch(command: &mut Command) -> anyhow::Result<(Vec<String>, bool)> {
    eprintln!("$ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't run {}", shown(command)))?;
    let stdout = child.stdout.take().map(|stdout| Box::new(stdout) as Box<dyn Read>);
    let mut lines = Vec::new();
    for line in BufReader::new(stdout.unwrap_or_else(|| Box::new(std::io::empty()))).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        lines.push(line);
    }
    Ok((lines, child.wait()?.success()))
}
