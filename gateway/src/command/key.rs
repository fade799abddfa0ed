//! `gotgan key`: tenant keys, for their key administrators.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{change, list};
use super::client::Client;
use super::table::render;
use super::{CommandError, Reach, print, say};

mod destruction;
mod ledger;
mod rotation;

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key. Buckets hang on it once it is the default.
    Create {
        /// Its name, unique in the tenant.
        name: String,
        /// `AES-256-GCM`, `CHACHA20-POLY1305` or `ARIA-256-GCM`: the cipher of all that hangs on it.
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
    /// Rotate a key by itself, every so many days.
    Schedule {
        /// Its name or id.
        key: String,
        /// Days from one rotation to the next, 1 to 3650.
        #[arg(long, value_name = "N", required_unless_present = "never")]
        days: Option<u32>,
        /// No more.
        #[arg(long, conflicts_with = "days")]
        never: bool,
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
    /// Rotate the key of a bucket: its envelopes are wrapped by a new version while requests go on, and when none hangs
    /// on an older one any more, that one goes. Bodies stay as they are.
    RotateBucket {
        /// The bucket's name.
        bucket: String,
        /// Envelopes a second at most; what the server is configured for when not given.
        #[arg(long, value_name = "N")]
        rate: Option<u32>,
        /// Return when it is done, and show how far it is.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// The last rotation of each bucket, with its progress or its proof.
    Rotations {
        /// Of this bucket only.
        #[arg(long)]
        bucket: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Make an approval key in a file of yours, mode 0600, and enrol its public half: what you sign is signed by it.
    Approver {
        /// The file, which is not there yet.
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Ask for the destruction of a key, or of all keys of the tenant, and sign it. Another key administrator approves.
    Destroy {
        /// Its name or id; `--all` for every key of the tenant.
        #[arg(required_unless_present = "all")]
        key: Option<String>,
        /// Every key of the tenant.
        #[arg(long, conflicts_with = "key")]
        all: bool,
        /// The law or contract that asks for it, for the certificate.
        #[arg(long, value_name = "TEXT")]
        legal_basis: String,
        /// Why, for the certificate.
        #[arg(long)]
        reason: String,
        /// Days from the approval until it is done, 7 to 30.
        #[arg(long, value_name = "N", default_value = "7", conflicts_with = "due_now")]
        days: u32,
        /// Without waiting: the law says now.
        #[arg(long)]
        due_now: bool,
        /// Your approval key.
        #[arg(long, value_name = "FILE")]
        sign_with: PathBuf,
        /// The key's name or id once more (`all` with `--all`), instead of typing it when asked.
        #[arg(long, value_name = "KEY")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Approve a destruction that somebody else asked for. From then on nothing that hangs on its keys opens.
    Approve {
        /// The destruction's id.
        id: String,
        /// Your approval key.
        #[arg(long, value_name = "FILE")]
        sign_with: PathBuf,
        /// The id once more, instead of typing it when asked.
        #[arg(long, value_name = "ID")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Call a destruction off before it is due.
    CancelDestruction {
        /// Its id.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List destructions, with how far they are.
    Destructions {
        #[command(flatten)]
        reach: Reach,
    },
    /// Fetch the certificate of a destruction, verify it and write it down.
    Certificate {
        /// The destruction's id.
        id: String,
        /// Write the signed JSON here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Write it as a PDF for people here, with the JSON attached.
        #[arg(long, value_name = "FILE")]
        pdf: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Verify a certificate of destruction, without any server: by the CA's certificate, `--ca FILE`.
    Verify {
        /// The signed JSON.
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// The ledger of the tenant's keys (암호키 관리대장): what was done with them, when, by whom.
    Ledger {
        /// As CSV, for a spreadsheet.
        #[arg(long)]
        csv: bool,
        /// Write it as a PDF here.
        #[arg(long, value_name = "FILE", conflicts_with = "csv")]
        pdf: Option<PathBuf>,
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
const SCHEDULED: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("EVERY (DAYS)", "rotate_days"),
    ("NEXT", "rotation_due"),
    ("VERSION", "version"),
    ("ID", "id"),
];
const ROTATED: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("VERSION", "version"),
    ("BUCKETS WRAPPED ANEW", "buckets_wrapped_anew"),
    ("FINGERPRINT", "fingerprint"),
    ("ID", "id"),
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
        Key::Schedule { key, days, never: _, reach } => {
            act(reach, key, "schedule", &json!({ "days": days }), SCHEDULED)
        }
        Key::Suspend { key, reason, confirm, reach } => {
            confirmed(key, confirm.as_deref(), "to suspend")?;
            act(reach, key, "suspend", &json!({ "reason": reason }), CHANGED)
        }
        Key::Resume { key, reach } => act(reach, key, "resume", &Value::Null, CHANGED),
        Key::RotateBucket { bucket, rate, wait, reach } => {
            let path = format!("/v1/buckets/{bucket}/rotate");
            if !wait {
                return change(reach, "POST", &path, &json!({ "per_second": rate }), rotation::COLUMNS);
            }
            rotation::run(reach, bucket, &path, *rate)
        }
        Key::Rotations { bucket, reach } => {
            let query: Vec<_> = bucket.iter().map(|bucket| ("bucket", bucket.clone())).collect();
            list(reach, "/v1/rotations", &query, "rotations", rotation::COLUMNS)
        }
        Key::Approver { file, reach } => destruction::enrol(reach, file),
        Key::Destroy { key, all: _, legal_basis, reason, days, due_now, sign_with, confirm, reach } => {
            let what = key.as_deref().unwrap_or("all");
            confirmed(what, confirm.as_deref(), "to ask for the destruction of")?;
            if *days == 0 {
                return Err(CommandError(
                    "--days is 7 to 30; --due-now is for what the law wants destroyed now".to_owned(),
                ));
            }
            let days = if *due_now { 0 } else { *days };
            let body = json!({ "key": key, "legal_basis": legal_basis, "reason": reason, "waiting_days": days });
            destruction::request(reach, &body, sign_with)
        }
        Key::Approve { id, sign_with, confirm, reach } => destruction::approve(reach, id, sign_with, |shown| {
            say(shown);
            confirmed(id, confirm.as_deref(), "to approve the destruction")
        }),
        Key::CancelDestruction { id, reach } => {
            change(reach, "POST", &format!("/v1/destructions/{id}/cancel"), &Value::Null, destruction::COLUMNS)
        }
        Key::Destructions { reach } => list(reach, "/v1/destructions", &[], "destructions", destruction::COLUMNS),
        Key::Certificate { id, out, pdf, reach } => destruction::certificate(reach, id, out.as_deref(), pdf.as_deref()),
        Key::Verify { file, reach } => destruction::verify(reach, file),
        Key::Ledger { csv, pdf, reach } => ledger::ledger(reach, *csv, pdf.as_deref()),
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

/// What stops a tenant's reads and writes, or ends them, is asked for twice.
fn confirmed(key: &str, given: Option<&str>, act: &str) -> Result<(), CommandError> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => ask(key, act)?,
        None => return Err(CommandError(format!("{act} {key} stops reads and writes: add --confirm {key}"))),
    };
    if typed.trim() == key { Ok(()) } else { Err(CommandError(format!("nothing was done: {typed:?} is not {key:?}"))) }
}

fn ask(key: &str, act: &str) -> Result<String, CommandError> {
    let mut out = std::io::stderr();
    write!(out, "Nothing that hangs on {key} will be read or written then. {act} it, type {key}: ")
        .and_then(|()| out.flush())
        .map_err(CommandError::new)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CommandError::new)?;
    Ok(line)
}
