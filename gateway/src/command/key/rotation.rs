//! A rotation that is waited for, with its progress.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::client::Client;
use crate::command::table::render;
use crate::command::{CommandError, Reach, print};

pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("BUCKET", "bucket"),
    ("VERSION", "version"),
    ("STATE", "state"),
    ("BEGAN", "began"),
    ("ENDED", "ended"),
    ("OBJECTS", "objects"),
    ("WRAPPED ANEW", "rewrapped"),
    ("PROOF", "proof"),
];
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Characters of the bar.
const BAR: usize = 30;

/// Begins a rotation and returns when it is done.
pub(super) fn run(reach: &Reach, bucket: &str, path: &str, body: &Value) -> Result<(), CommandError> {
    let client = Client::new(reach)?;
    let begun = client.send("POST", path, body)?;
    let began = Instant::now();
    loop {
        let answer = client.get("/v1/rotations", &[("bucket", bucket.to_owned())])?;
        let row = answer.get("rotations").and_then(Value::as_array).and_then(|rows| rows.first());
        let row = row.ok_or_else(|| CommandError(format!("the bucket {bucket} is gone")))?;
        if row.get("version") != begun.get("version") {
            return Err(CommandError("the bucket was rotated once more meanwhile".to_owned()));
        }
        show(row, began.elapsed())?;
        match row.get("state").and_then(Value::as_str) {
            Some("running") => std::thread::sleep(LOOK),
            Some("done") => {
                end()?;
                return if reach.json {
                    print(&row.to_string())
                } else {
                    print(&render(COLUMNS, std::slice::from_ref(row)))
                };
            }
            _ => {
                end()?;
                let why = row.get("proof").and_then(Value::as_str).unwrap_or("it is held back");
                return Err(CommandError(format!(
                    "{why}: older versions of the key stay until they are deleted or restored; the server's log names them"
                )));
            }
        }
    }
}

fn show(row: &Value, took: Duration) -> Result<(), CommandError> {
    if !std::io::stderr().is_terminal() {
        return Ok(());
    }
    let number = |field: &str| row.get(field).and_then(Value::as_u64).unwrap_or(0);
    let bar = bar(number("rewrapped"), number("objects"), took);
    write!(std::io::stderr(), "\r{bar}").and_then(|()| std::io::stderr().flush()).map_err(CommandError::new)
}

fn end() -> Result<(), CommandError> {
    if std::io::stderr().is_terminal() { writeln!(std::io::stderr()).map_err(CommandError::new) } else { Ok(()) }
}

fn bar(done: u64, all: u64, took: Duration) -> String {
    let part = |of: u64| (done.min(all) * of).checked_div(all).unwrap_or(of);
    let full = usize::try_from(part(BAR as u64)).unwrap_or(BAR);
    let per_second = u128::from(done) * 1000 / took.as_millis().max(1);
    format!("[{}{}] {:>3} %  {done} of {all}, {per_second}/s ", "#".repeat(full), " ".repeat(BAR - full), part(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_how_far_it_is() {
        let second = Duration::from_secs(1);
        assert!(bar(0, 10, second).starts_with(&format!("[{}]   0 %  0 of 10", " ".repeat(BAR))));
        assert!(bar(5, 10, second).contains("]  50 %  5 of 10, 5/s"));
        assert!(bar(12, 10, second).starts_with(&format!("[{}] 100 %", "#".repeat(BAR))), "more came meanwhile");
        assert!(bar(0, 0, Duration::ZERO).contains("100 %"));
    }
}
