//! The test kit of the Open Workflow Specification and our own scenarios, which the tests of `trunkline` play.

use std::process::Command;

use anyhow::bail;

use crate::command::watch;
use crate::report::Outcome;
use crate::workspace::root;

/// How many scenarios the kit has, as of version 1.0.3.
const KIT: usize = 21;

/// The `ctk` task: its last line is `ctk: 21/21, own: n/n`.
pub(crate) fn run() -> anyhow::Result<bool> {
    let Outcome { failed, note, .. } = leg()?;
    println!("{note}");
    Ok(failed == 0)
}

/// Plays both.
pub(crate) fn leg() -> anyhow::Result<Outcome> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args([
        "test",
        "-p",
        "trunkline",
        "--test",
        "it",
        "ctk::",
        "--",
        "--nocapture",
    ]);
    let (lines, succeeded) = watch(&mut command)?;
    if let Some(why) = lines.iter().find_map(|line| line.strip_prefix("skipped: ")) {
        return Ok(Outcome::missing(why));
    }
    let score = |name: &str| lines.iter().find_map(|line| score(line, name));
    let (Some(kit), Some(own)) = (score("ctk"), score("own")) else {
        bail!("the tests printed no score");
    };
    let missing = (KIT - kit.0.min(KIT)) + (own.1 - own.0.min(own.1));
    let note = format!("ctk: {}/{KIT}, own: {}/{}", kit.0, own.0, own.1);
    Ok(Outcome { passed: kit.0 + own.0, failed: missing.max(usize::from(!succeeded)), note })
}

/// The numbers in `own: 75/76`. Where tests run at once, the line may begin with the name of another.
fn score(line: &str, name: &str) -> Option<(usize, usize)> {
    let (_, score) = line.rsplit_once(&format!("{name}: "))?;
    let (passed, all) = score.split_once('/')?;
    Some((passed.parse().ok()?, all.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_read_wherever_it_stands() {
        assert_eq!(score("ctk: 21/21", "ctk"), Some((21, 21)));
        assert_eq!(score("test ctk::our_own_scenarios_pass ... own: 75/76", "own"), Some((75, 76)));
        assert_eq!(score("ctk, resumed: 64 times", "ctk"), None);
    }
}
