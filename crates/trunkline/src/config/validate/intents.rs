//! Intents: what each means, its command, and how many there are.

use std::collections::HashSet;

use super::{ConfigPath, Validator};

/// The most examples of all intents together, each intent's name counting as one.
const EXAMPLES: usize = 5_000;

/// The most intents.
const INTENTS: usize = 2_000;

/// The longest example, in bytes.
const LONGEST: usize = 2_000;

impl Validator<'_> {
    pub(super) fn intents(&mut self) {
        let intents = &self.config.intents;
        let all = ConfigPath::new(["intents"]);
        let examples: usize = intents.values().map(|intent| 1 + intent.examples.len()).sum();
        if intents.len() > INTENTS || examples > EXAMPLES {
            let fix = format!("Keep {INTENTS} intents and {EXAMPLES} examples; 10 to 20 of each are enough.");
            self.invalid(
                format!("{} intents with {examples} examples are too many", intents.len()),
                &fix,
                &all,
            );
        }
        let mut commands = HashSet::new();
        for (name, intent) in intents {
            let path = all.join(name);
            if intent.tool.is_some() == intent.flow.is_some() {
                let fix = "Give exactly one of tool and flow.";
                self.invalid("it is not said what is meant by it", fix, &path);
            }
            if intent.examples.iter().any(|example| example.len() > LONGEST || example.trim().is_empty()) {
                let fix = "Write a sentence as people say it.";
                self.invalid(
                    format!("an example is empty or longer than {LONGEST} bytes"),
                    fix,
                    &path.join("examples"),
                );
            }
            let Some(command) = &intent.command else { continue };
            let plain = command.strip_prefix('/').is_some_and(|name| {
                let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
                !name.is_empty() && name.chars().all(fits)
            });
            if !plain {
                let fix = "Write / and a word: /task.";
                self.invalid("this is no command", fix, &path.join("command"));
            } else if !commands.insert(command) {
                let fix = "Give each intent a command of its own.";
                self.invalid(format!("{command} is there twice"), fix, &path.join("command"));
            }
        }
    }
}
