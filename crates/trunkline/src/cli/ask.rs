//! `trunkline ask`: what is to be done, in plain words.

use serde_json::{Map, Value};

use super::OutputArgs;
use super::call::call;
use super::client::ServerArgs;
use super::stop::Stop;

/// Do what is asked in plain words: what only reads at once, what changes something with `--do`.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    /// What is to be done.
    #[arg(required = true)]
    request: Vec<String>,
    /// Also do what changes something.
    #[arg(long = "do")]
    act: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Ask {
    pub(super) fn run(self) -> Result<(), Stop> {
        let members = [("request", Value::String(self.request.join(" "))), ("do", Value::Bool(self.act))];
        let arguments: Map<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        call(&self.server.client()?, "ask", arguments, self.output.output)
    }
}
