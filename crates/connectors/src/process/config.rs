//! What is configured of commands.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_model::{Capability, Effects};

use trunkline_model::Secret;

/// A set of commands of this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The commands, by tool name.
    pub tools: IndexMap<String, ProcessTool>,
    /// The commands' environment, beside `PATH`, `HOME`, `USER`, `LANG` and `TMPDIR`.
    pub env: IndexMap<String, Secret>,
    /// Names of variables that the commands inherit from Trunkline.
    pub inherit_env: Vec<String>,
    /// The commands' working directory, relative to the configuration file.
    pub cwd: Option<PathBuf>,
}

/// A command as a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessTool {
    /// What it does, for models and people.
    pub description: String,
    /// Program and arguments. `{name}` within an argument is replaced by that parameter; where the parameter is absent
    /// and has no `default`, the argument is left out. An argument that is only `{name}` becomes one argument for each
    /// item of a list. An argument that is only `{name?--flag}` becomes `--flag` where the parameter is true. There is
    /// no shell. An argument that begins with a parameter may not come to begin with `-`, or a value could be an
    /// option: put `--` before it, or list the options that are allowed in the parameter's `enum`.
    pub argv: Vec<String>,
    /// The JSON Schema of the parameters; made from the placeholders (all text, all required) where left out.
    pub input: Option<Value>,
    /// The JSON Schema of the output, where it is JSON.
    pub output: Option<Value>,
    /// What is written to standard input: a parameter's name, or `*` for all parameters as a JSON object.
    pub stdin: Option<String>,
    /// The form of standard output.
    pub format: Format,
    /// What the command does to the world.
    pub effects: Effects,
    /// What the tool can do, as dotted terms.
    pub capabilities: Vec<Capability>,
    /// Exit codes that are not an error.
    pub ok_exit_codes: Vec<i32>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
    /// The most it may write, in bytes; the rest is cut off and said to be.
    pub max_output_bytes: usize,
}

impl Default for ProcessTool {
    fn default() -> Self {
        Self {
            description: String::new(),
            argv: Vec::new(),
            input: None,
            output: None,
            stdin: None,
            format: Format::Text,
            effects: Effects::default(),
            capabilities: Vec::new(),
            ok_exit_codes: vec![0],
            timeout_ms: 60_000,
            max_output_bytes: 1 << 20,
        }
    }
}

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text, with bytes that are not UTF-8 replaced.
    #[default]
    Text,
    /// One JSON value.
    Json,
    /// One JSON value a line. The result is an object with the values as `items`.
    JsonLines,
}
