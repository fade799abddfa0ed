//! `gotgan root`: the root key, for the platform's administrators.

use clap::Subcommand;
use serde_json::Value;

use super::admin::change;
use super::{CommandError, Reach};

#[derive(Debug, Subcommand)]
pub(super) enum Root {
    /// Put another root key in the place of the one in use. All that it wraps is wrapped by the new one; tenant keys and
    /// objects stay as they are. Copies of the data that were made before then open only with a copy of the root key
    /// of then: make a new backup of both.
    Replace {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) fn root(command: &Root) -> Result<(), CommandError> {
    let Root::Replace { reach } = command;
    let columns = [("ROOT KEY BEFORE", "before"), ("ROOT KEY NOW", "after"), ("AT", "at")];
    change(reach, "POST", "/v1/root/replace", &Value::Null, &columns)
}
