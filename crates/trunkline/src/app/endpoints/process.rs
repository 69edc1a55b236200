//! Calls of kind `shell` and `script`: commands of this machine.
//!
//! A shell command that is words and quotes only is run as it stands, without a shell: then it is its program that has
//! to be allowed. What needs a shell (pipes, variables, more than one command) is given to `sh -c`, and `sh` has to be
//! allowed. A script needs its interpreter: `node` or `python3`. Allowing a program allows it with any arguments.

use std::process::ExitStatus;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_connectors::process::{Finished, Place, Run};
use trunkline_model::{EffectState, Failure, Secret};
use trunkline_orchestrator::Fault;
use trunkline_orchestrator::outside::EndpointCall;

use super::access::Access;
use super::{Failed, read, refused, text_of};

/// The most that is taken of standard output, in bytes. It goes into the journal.
const MAX_OUTPUT: usize = 1 << 20;

/// The longest script, in bytes: it is an argument, and Linux takes none that is longer than 128 KiB.
const MAX_CODE: usize = 100 << 10;

/// What of a process is the task's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Return {
    #[default]
    Stdout,
    Stderr,
    Code,
    All,
    None,
}

#[derive(Deserialize)]
#[serde(default)]
struct With {
    command: Value,
    language: String,
    code: Option<String>,
    source: Option<String>,
    arguments: Vec<Value>,
    environment: Map<String, Value>,
    stdin: Value,
    #[serde(rename = "return")]
    return_: Return,
}

impl Default for With {
    fn default() -> Self {
        Self {
            command: Value::Null,
            language: String::new(),
            code: None,
            source: None,
            arguments: Vec::new(),
            environment: Map::new(),
            stdin: Value::Null,
            return_: Return::Stdout,
        }
    }
}

pub(super) async fn call(place: &Place, access: &Access, mut call: EndpointCall) -> Result<Value, Failed> {
    let with: With = read(call.with.take())?;
    let given = with.arguments.iter().map(text_of);
    let argv =
        if call.kind == "script" { script(&with, given)? } else { shell(&text_of(&with.command), given)? };
    let Some((program, arguments)) = argv.split_first() else {
        return Err(refused(Fault::configuration("the command is empty")));
    };
    access.command(program)?;
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(refused(Fault::configuration("an argument has a NUL character in it")));
    }
    let place = Place { env: environment(&with.environment)?, ..place.clone() };
    let run = Run {
        program,
        arguments: arguments.to_vec(),
        stdin: (!with.stdin.is_null()).then(|| Bytes::from(text_of(&with.stdin))),
        max_output: MAX_OUTPUT,
        deadline: call.deadline,
    };
    let finished = place.run(run).await.map_err(|error| {
        let failure = Failure::from(error);
        (Fault::from(&failure), failure.effect)
    })?;
    output(program, with.return_, &finished)
}

/// The arguments of a shell command, its program first.
fn shell(command: &str, given: impl Iterator<Item = String>) -> Result<Vec<String>, Failed> {
    if command.trim().is_empty() {
        return Err(refused(Fault::configuration("the command is empty")));
    }
    let mut argv = match plain_words(command) {
        Some(words) => words,
        // Within the command, the arguments are $1, $2 and so on.
        None => ["sh", "-c", command, "sh"].map(str::to_owned).to_vec(),
    };
    argv.extend(given);
    Ok(argv)
}

/// Words that mean something else to a shell than a program of that name.
const SHELL_WORDS: [&str; 38] = [
    "!", ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "elif", "else",
    "esac", "eval", "exec", "exit", "export", "fg", "fi", "for", "if", "in", "read", "readonly", "return",
    "set", "shift", "then", "times", "trap", "ulimit", "umask", "unset", "until", "wait", "while",
];

/// The words of a command that any shell would take as they stand; `None` where it takes a shell to read it.
fn plain_words(command: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in command.trim().chars() {
        match (quote, character) {
            (Some(open), character) if character == open => quote = None,
            (Some('"'), '$' | '`' | '\\' | '!') => return None,
            (Some(_), character) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, character) if character.is_alphanumeric() || "-_./:,@%+^".contains(character) => {
                word.get_or_insert_default().push(character);
            }
            // An assignment before the program, or a plain character within an argument.
            (None, '=') if !words.is_empty() => word.get_or_insert_default().push('='),
            _ => return None,
        }
    }
    words.extend(word);
    let plain = quote.is_none() && words.first().is_some_and(|first| !SHELL_WORDS.contains(&first.as_str()));
    plain.then_some(words)
}

/// The arguments of a script's interpreter, the interpreter first.
fn script(with: &With, given: impl Iterator<Item = String>) -> Result<Vec<String>, Failed> {
    let wrong = |what: String| Err(refused(Fault::configuration(what)));
    let Some(code) = &with.code else {
        let source = with.source.as_deref().unwrap_or_default();
        return wrong(format!("the script {source:?} can't be fetched: write it into `code`"));
    };
    if code.len() > MAX_CODE {
        return wrong(format!("the script has {} bytes, at most {MAX_CODE} are allowed", code.len()));
    }
    let before: &[&str] = match &*with.language {
        // The name in place of the script's file: the arguments begin at process.argv[2], as they do with a file.
        "js" | "javascript" => &["node", "--input-type=module", "-e", code, "--", "script"],
        "python" => &["python3", "-c", code],
        other => {
            return wrong(format!(
                "there is no interpreter for scripts in {other:?}: js and python are known"
            ));
        }
    };
    Ok(before.iter().map(|&text| text.to_owned()).chain(given).collect())
}

/// The environment that a workflow gives to a command. What decides which program runs is not its to set.
pub(super) fn environment(given: &Map<String, Value>) -> Result<Vec<(String, Secret)>, Failed> {
    let mut out = Vec::with_capacity(given.len());
    for (name, value) in given {
        let loader = name == "PATH" || name.starts_with("LD_") || name.starts_with("DYLD_");
        let value = text_of(value);
        if loader || name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(refused(Fault::configuration(format!(
                "the variable {name:?} can't be set by a workflow"
            ))));
        }
        out.push((name.clone(), Secret::new(value)));
    }
    Ok(out)
}

fn output(program: &str, return_: Return, finished: &Finished) -> Result<Value, Failed> {
    let Finished { status, stdout, cut, stderr } = finished;
    let code = status.code().unwrap_or(-1);
    let failed =
        |what: String, effect| Err((Fault::standard("runtime", 500, "Command Failed", what), effect));
    if *cut > 0 && matches!(return_, Return::Stdout | Return::All) {
        let what = format!("{program} wrote more than {MAX_OUTPUT} bytes; it did run");
        return failed(what, EffectState::Unknown);
    }
    // Who asks for the code looks at it. A command that says it has failed has refused, as a tool's does.
    if !ExitStatus::success(status) && !matches!(return_, Return::Code | Return::All) {
        let said: String = stderr.trim().chars().take(500).collect();
        return failed(format!("{program} ended with code {code}: {said}"), EffectState::None);
    }
    let stdout = || String::from_utf8_lossy(stdout).into_owned();
    Ok(match return_ {
        Return::Stdout => json!(stdout()),
        Return::Stderr => json!(stderr),
        Return::Code => json!(code),
        Return::All => json!({"code": code, "stdout": stdout(), "stderr": stderr}),
        Return::None => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_go_without_a_shell() {
        let words = |command: &str| plain_words(command).map(|words| words.join("|"));
        assert_eq!(words("git log -n 1\n").as_deref(), Some("git|log|-n|1"));
        assert_eq!(words("echo 'a $b;' \"c d\"").as_deref(), Some("echo|a $b;|c d"));
        assert_eq!(words("printf '' --x=1").as_deref(), Some("printf||--x=1"));
        for needs_a_shell in [
            "git log; rm -rf /",
            "a | b",
            "a && b",
            "a > f",
            "echo $HOME",
            "echo `id`",
            "echo $(id)",
            "echo \"$HOME\"",
            "a\nb",
            "X=1 a",
            "echo *",
            "echo ~",
            "echo a\\ b",
            "exit 3",
            "echo 'open",
            "{ a; }",
            "echo #x",
            "a &",
            "echo a?b",
            "echo [a]",
        ] {
            assert_eq!(words(needs_a_shell), None, "{needs_a_shell}");
        }
    }

    #[test]
    fn a_workflow_does_not_choose_what_a_name_means() {
        for name in ["PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "A=B", ""] {
            let given = Map::from_iter([(name.to_owned(), json!("x"))]);
            assert!(environment(&given).is_err(), "{name}");
        }
    }
}
