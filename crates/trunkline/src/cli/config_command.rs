//! `trunkline config`: check, show, convert; the schema for editors.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{Format, print, print_data, say, table};
use super::stop::Stop;
use super::{OutputArgs, env};
use crate::config::{self, Config, Flags, Setting};

/// Check, show or convert the configuration.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say everything that is wrong with the configuration.
    Check {
        /// The configuration: a file or a folder.
        path: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the configuration in force. Secrets are hidden.
    Show {
        /// The configuration: a file or a folder.
        path: Option<PathBuf>,
        /// Say for each value where it comes from.
        #[arg(long)]
        origin: bool,
        /// The form of the output.
        #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
        output: Format,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the configuration in another language. Variables stay as they are written.
    Convert {
        /// The configuration: a file or a folder.
        path: Option<PathBuf>,
        /// The language.
        #[arg(long, value_enum)]
        to: config::Format,
    },
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Stop> {
        match self.command {
            Action::Check { path, output } => check(path.as_deref(), output.output),
            Action::Show { path, origin, output } => {
                let loaded = super::load(path.as_deref(), &Flags::default())?;
                if origin {
                    Ok(print_data(output, &loaded.settings(), |s| settings_table(s))?)
                } else {
                    // A table of a tree is its values, each on a line.
                    Ok(print_data(output, &loaded.show(), |_| settings_table(&loaded.settings()))?)
                }
            }
            Action::Schema => Ok(print_data(Format::Json, Config::json_schema(), |_| String::new())?),
            Action::Convert { path, to } => {
                let path = path.unwrap_or_else(|| PathBuf::from("."));
                let (text, notes) = config::convert(&path, to).map_err(Stop::Findings)?;
                for note in notes {
                    say(&format_args!("left out: {note}"));
                }
                Ok(print(&text)?)
            }
        }
    }
}

fn check(path: Option<&Path>, format: Format) -> Result<(), Stop> {
    let here = std::env::current_dir()?;
    let result = config::load_or_default(Some(path.unwrap_or(&here)), &here, &env, &Flags::default());
    let (ok, findings) = match &result {
        Ok(loaded) => (true, &loaded.remarks),
        Err(findings) => (false, findings),
    };
    if format == Format::Table {
        if let Ok(loaded) = &result {
            findings.iter().for_each(say);
            let services = loaded.config.services.len();
            let plural = if services == 1 { "" } else { "s" };
            let file = loaded.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            print(&format!("{file} is good: {services} service{plural}\n"))?;
            return Ok(());
        }
    } else {
        print_data(format, &json!({ "ok": ok, "findings": findings }), Value::to_string)?;
    }
    result.map(|_| ()).map_err(Stop::Findings)
}

fn settings_table(settings: &[Setting]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<_> =
        settings.iter().map(|s| [s.path.clone(), text(&s.value), s.origin.to_string()]).collect();
    table(["SETTING", "VALUE", "ORIGIN"], &rows)
}
