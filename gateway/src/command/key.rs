//! `gotgan key`: tenant keys, for their key administrators.

use std::io::{BufRead, IsTerminal, Write};

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{change, list};
use super::client::Client;
use super::table::{csv, render};
use super::{CommandError, Reach, print};

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key. Buckets hang on it once it is the default.
    Create {
        /// Its name, unique in the tenant.
        name: String,
        /// `AES-256-GCM` or `CHACHA20-POLY1305`: the cipher of all that hangs on it.
        #[arg(long, default_value = "AES-256-GCM")]
        algorithm: String,
        /// Who holds it: `sealed-file`, or `openbao` or `pkcs11` where the server is set up for it.
        #[arg(long, default_value = "sealed-file")]
        provider: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the keys of the tenant.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a key with its versions and the buckets that hang on it.
    Show {
        /// Its name or id.
        key: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a key another version, and wrap the keys of its buckets by it. Objects stay as they are.
    Rotate {
        /// Its name or id.
        key: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Suspend a key: nothing that hangs on it is read or written until it is resumed.
    Suspend {
        /// Its name or id.
        key: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// The key's name or id once more, instead of typing it when asked.
        #[arg(long, value_name = "KEY")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let a suspended key be used again.
    Resume {
        /// Its name or id.
        key: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// The ledger of the tenant's keys (암호키 관리대장): what was done with them, when, by whom.
    Ledger {
        /// As CSV, for a spreadsheet.
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let new buckets hang on a key.
    Default {
        /// Its name or id.
        key: String,
        #[command(flatten)]
        reach: Reach,
    },
}

const KEYS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("DEFAULT", "default"),
    ("VERSION", "version"),
    ("ROTATED", "rotated"),
    ("ALGORITHM", "algorithm"),
    ("PROVIDER", "provider"),
    ("FINGERPRINT", "fingerprint"),
    ("ID", "id"),
];
const CHANGED: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("VERSION", "version"),
    ("FINGERPRINT", "fingerprint"),
    ("REASON", "reason"),
    ("ID", "id"),
];
const ROTATED: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("VERSION", "version"),
    ("BUCKETS WRAPPED ANEW", "buckets_wrapped_anew"),
    ("FINGERPRINT", "fingerprint"),
    ("ID", "id"),
];
/// What stands in the ledger, with the words of ISMS-P for who files it.
const LEDGER: &[(&str, &str)] = &[
    ("TIME (일시)", "time"),
    ("ACT (구분)", "act"),
    ("KEY (암호키)", "key"),
    ("VERSION (버전)", "version"),
    ("BY (담당자)", "by"),
    ("SOURCE (접속지)", "source"),
    ("STATUS (결과)", "status"),
    ("KEY ID", "key_id"),
    ("RECORD (기록)", "sequence"),
];
const VERSIONS: &[(&str, &str)] = &[("VERSION", "version"), ("CREATED", "created"), ("FINGERPRINT", "fingerprint")];

pub(super) fn key(command: &Key) -> Result<(), CommandError> {
    match command {
        Key::Create { name, algorithm, provider, reach } => {
            let body = json!({ "name": name, "algorithm": algorithm, "provider": provider });
            change(reach, "POST", "/v1/keys", &body, KEYS)
        }
        Key::List { reach } => list(reach, "/v1/keys", &[], "keys", KEYS),
        Key::Show { key, reach } => show(reach, key),
        Key::Rotate { key, reach } => act(reach, key, "rotate", &Value::Null, ROTATED),
        Key::Suspend { key, reason, confirm, reach } => {
            confirmed(key, confirm.as_deref())?;
            act(reach, key, "suspend", &json!({ "reason": reason }), CHANGED)
        }
        Key::Resume { key, reach } => act(reach, key, "resume", &Value::Null, CHANGED),
        Key::Ledger { csv, reach } => ledger(reach, *csv),
        Key::Default { key, reach } => act(reach, key, "default", &Value::Null, KEYS),
    }
}

fn act(reach: &Reach, key: &str, verb: &str, body: &Value, columns: &[(&str, &str)]) -> Result<(), CommandError> {
    change(reach, "POST", &format!("/v1/keys/{key}/{verb}"), body, columns)
}

fn show(reach: &Reach, key: &str) -> Result<(), CommandError> {
    let answer = Client::new(reach)?.get(&format!("/v1/keys/{key}"), &[])?;
    if reach.json {
        return print(&answer.to_string());
    }
    print(&render(KEYS, std::slice::from_ref(&answer)))?;
    let rows = |field: &str| answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    print(&format!("\n{}", render(VERSIONS, &rows("versions"))))?;
    let buckets: Vec<Value> = rows("buckets").into_iter().map(|name| json!({ "bucket": name })).collect();
    print(&format!("\n{}", render(&[("BUCKETS", "bucket")], &buckets)))
}

fn ledger(reach: &Reach, as_csv: bool) -> Result<(), CommandError> {
    let client = Client::new(reach)?;
    let (mut lines, mut after) = (Vec::new(), None::<String>);
    loop {
        let query: Vec<_> = after.iter().map(|after| ("after", after.clone())).collect();
        let page = client.get("/v1/ledger", &query)?;
        lines.extend(page.get("lines").and_then(Value::as_array).cloned().unwrap_or_default());
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    match (reach.json, as_csv) {
        (true, _) => print(&Value::Array(lines).to_string()),
        (false, true) => print(&csv(LEDGER, &lines)),
        (false, false) => print(&render(LEDGER, &lines)),
    }
}

/// What stops a tenant's reads and writes is asked for twice.
fn confirmed(key: &str, given: Option<&str>) -> Result<(), CommandError> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => ask(key)?,
        None => return Err(CommandError(format!("to suspend {key} stops reads and writes: add --confirm {key}"))),
    };
    if typed.trim() == key { Ok(()) } else { Err(CommandError(format!("not suspended: {typed:?} is not {key:?}"))) }
}

fn ask(key: &str) -> Result<String, CommandError> {
    let mut out = std::io::stderr();
    write!(out, "Nothing that hangs on {key} will be read or written until it is resumed. Type its name: ")
        .and_then(|()| out.flush())
        .map_err(CommandError::new)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CommandError::new)?;
    Ok(line)
}
