//! `gotgan config`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{CommandError, print};
use crate::config::{Config, variables};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a configuration is good.
    Check {
        /// Configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the configuration that file and environment give.
    Print {
        /// Configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print the names of all environment variables instead.
        #[arg(long)]
        variables: bool,
    },
}

pub(super) fn run(command: &ConfigCommand) -> Result<(), CommandError> {
    let load = |file: &Option<PathBuf>| Config::load(file.as_deref(), std::env::vars()).map_err(CommandError::new);
    match command {
        ConfigCommand::Check { config } => {
            load(config)?;
            print("the configuration is good")
        }
        ConfigCommand::Print { variables: true, .. } => print(&variables().join("\n")),
        ConfigCommand::Print { config, .. } => print(load(config)?.print().map_err(CommandError::new)?.trim_end()),
    }
}
