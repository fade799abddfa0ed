//! `gotgan key`: tenant keys, for their key administrators.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::Subcommand;
use policy::reason::Reason;
use serde_json::{Value, json};

use super::admin::{change, list};
use super::client::Client;
use super::table::render;
use super::{CommandError, Reach, approval, print};
use crate::admin::signing::escape;
use crate::destruction::Request;

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
        /// Who holds it: `sealed-file`, or `openbao`, `pkcs11` or `hyok` where the server is set up for it.
        #[arg(long, default_value = "sealed-file")]
        provider: String,
        /// Bring a key instead of making one: the file that it is wrapped in, to the public key of `key transport`.
        #[arg(long, value_name = "FILE", requires = "method")]
        import: Option<PathBuf>,
        /// The transport key that it is wrapped to; none for the provider's own.
        #[arg(long, value_name = "ID", requires = "import")]
        transport: Option<String>,
        /// `RSA-OAEP-SHA256` or `RSA-AES-KWP-SHA256`: how it is wrapped.
        #[arg(long, requires = "import")]
        method: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Fetch a public key to wrap a key of yours to, for `key create --import`. It serves for a day, and for one key.
    Transport {
        /// Who is to hold the key.
        #[arg(long, default_value = "sealed-file")]
        provider: String,
        /// Write the public key (PEM) here.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say for which reasons a key opens nothing. What is not named any more is allowed.
    Policy {
        /// Its name or id.
        key: String,
        /// `customer-request`, `lifecycle`, `scrub`, `rewrap`, `legal-request` or `emergency`; may be given more than once.
        #[arg(long, value_name = "REASON", required_unless_present = "refuse_nothing")]
        refuse: Vec<String>,
        /// It opens for every reason.
        #[arg(long, conflicts_with = "refuse")]
        refuse_nothing: bool,
        /// The key's name or id once more, where it refuses its customers, instead of typing it when asked.
        #[arg(long, value_name = "KEY")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a key another name; one that was another key's before is this one's from then on.
    Alias {
        /// Its name or id.
        key: String,
        /// The other name.
        alias: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take such a name away.
    Unalias {
        /// The key's name or id.
        key: String,
        /// The other name.
        alias: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the other names of the tenant's keys.
    Aliases {
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
        /// Let the bucket hang on this tenant key from now on; on the one that it hangs on when not given.
        #[arg(long)]
        key: Option<String>,
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
    /// Ask for the destruction of a key, of all keys of the tenant, or of one bucket, and sign it. Another key administrator
    /// approves.
    Destroy {
        /// Its name or id; `--all` for every key of the tenant, `--bucket` for one bucket.
        #[arg(required_unless_present_any = ["all", "bucket"])]
        key: Option<String>,
        /// Every key of the tenant.
        #[arg(long, conflicts_with = "key")]
        all: bool,
        /// One bucket: the versions of the keys that it hangs on are destroyed, when all else is wrapped by others.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["key", "all"])]
        bucket: Option<String>,
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
        /// The key's name or id once more (`all` with `--all`, the bucket's name with `--bucket`), instead of typing it when asked.
        #[arg(long, value_name = "KEY")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Approve a destruction that somebody else asked for. From then on nothing that hangs on its keys opens.
    Approve(approval::Approve),
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
        /// Each time that a provider was asked to unwrap something, too, with the reason.
        #[arg(long)]
        uses: bool,
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
const POLICY: &[(&str, &str)] = &[("NAME", "name"), ("REFUSES", "refuses"), ("STATE", "state"), ("ID", "id")];
const ALIASED: &[(&str, &str)] = &[("NAME", "name"), ("OTHER NAMES", "aliases"), ("ID", "id")];
const ALIASES: &[(&str, &str)] = &[("OTHER NAME", "alias"), ("KEY", "key"), ("ID", "key_id")];
const TRANSPORT: &[(&str, &str)] = &[
    ("TRANSPORT KEY", "transport"),
    ("PROVIDER", "provider"),
    ("METHODS", "methods"),
    ("UNTIL", "until"),
    ("FINGERPRINT", "fingerprint"),
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
        Key::Create { name, algorithm, provider, import, transport, method, reach } => {
            let mut body = json!({ "name": name, "algorithm": algorithm, "provider": provider });
            if let (Some(file), Some(fields)) = (import, body.as_object_mut()) {
                let wrapped = std::fs::read(file).map_err(|e| CommandError(format!("{}: {e}", file.display())))?;
                let wrapped = BASE64_STANDARD.encode(wrapped);
                let import = json!({ "transport": transport, "method": method, "wrapped": wrapped });
                fields.insert("import".to_owned(), import);
            }
            change(reach, "POST", "/v1/keys", &body, KEYS)
        }
        Key::List { reach } => list(reach, "/v1/keys", &[], "keys", KEYS),
        Key::Show { key, reach } => show(reach, key),
        Key::Rotate { key, reach } => act(reach, key, "rotate", &Value::Null, ROTATED),
        Key::Schedule { key, days, never: _, reach } => {
            act(reach, key, "schedule", &json!({ "days": days }), SCHEDULED)
        }
        Key::Suspend { key, reason, confirm, reach } => {
            confirmed(key, confirm.as_deref(), "to suspend", &nothing_read(key))?;
            act(reach, key, "suspend", &json!({ "reason": reason }), CHANGED)
        }
        Key::Resume { key, reach } => act(reach, key, "resume", &Value::Null, CHANGED),
        Key::Ledger { csv, pdf, uses, reach } => ledger::ledger(reach, (*csv, *uses), pdf.as_deref()),
        Key::Default { key, reach } => act(reach, key, "default", &Value::Null, KEYS),
        other => uses(other),
    }
}

/// What keys are for, their other names, and the buckets below them.
fn uses(command: &Key) -> Result<(), CommandError> {
    match command {
        Key::Transport { provider, out, reach } => fetch_transport(reach, provider, out),
        Key::Policy { key, refuse, refuse_nothing: _, confirm, reach } => {
            if refuse.iter().any(|reason| reason == Reason::CustomerRequest.code()) {
                confirmed(key, confirm.as_deref(), "to refuse customers", &nothing_read(key))?;
            }
            let path = format!("/v1/keys/{}/policy", escape(key));
            change(reach, "PUT", &path, &json!({ "refuses": refuse }), POLICY)
        }
        Key::Alias { key, alias, reach } => {
            let path = format!("/v1/keys/{}/aliases/{}", escape(key), escape(alias));
            change(reach, "PUT", &path, &Value::Null, ALIASED)
        }
        Key::Unalias { key, alias, reach } => {
            let path = format!("/v1/keys/{}/aliases/{}", escape(key), escape(alias));
            change(reach, "DELETE", &path, &Value::Null, ALIASED)
        }
        Key::Aliases { reach } => list(reach, "/v1/aliases", &[], "aliases", ALIASES),
        Key::RotateBucket { bucket, key, rate, wait, reach } => {
            let path = format!("/v1/buckets/{}/rotate", escape(bucket));
            let mut body = json!({ "per_second": rate });
            if let (Some(key), Some(fields)) = (key, body.as_object_mut()) {
                fields.insert("key".to_owned(), json!(key));
            }
            if !wait {
                return change(reach, "POST", &path, &body, rotation::COLUMNS);
            }
            rotation::run(reach, bucket, &path, &body)
        }
        Key::Rotations { bucket, reach } => {
            let query: Vec<_> = bucket.iter().map(|bucket| ("bucket", bucket.clone())).collect();
            list(reach, "/v1/rotations", &query, "rotations", rotation::COLUMNS)
        }
        other => ends(other),
    }
}

/// How keys end, and with what proof.
fn ends(command: &Key) -> Result<(), CommandError> {
    match command {
        Key::Approver { file, reach } => approval::enrol(reach, file),
        Key::Destroy { key, all: _, bucket, legal_basis, reason, days, due_now, sign_with, confirm, reach } => {
            let what = key.as_deref().or(bucket.as_deref()).unwrap_or("all");
            confirmed(what, confirm.as_deref(), "to ask for the destruction of", &nothing_read(what))?;
            if *days == 0 {
                return Err(CommandError(
                    "--days is 7 to 30; --due-now is for what the law wants destroyed now".to_owned(),
                ));
            }
            let days = if *due_now { 0 } else { *days };
            let mut body = json!({ "key": key, "legal_basis": legal_basis, "reason": reason, "waiting_days": days });
            if let (Some(bucket), Some(fields)) = (bucket, body.as_object_mut()) {
                fields.insert("bucket".to_owned(), json!(bucket));
            }
            destruction::request(reach, &body, sign_with)
        }
        Key::Approve(approve) => {
            let consequence = nothing_read("what it names");
            approve.run::<Request>("destructions", &consequence, destruction::COLUMNS)
        }
        Key::CancelDestruction { id, reach } => change(
            reach,
            "POST",
            &format!("/v1/destructions/{}/cancel", escape(id)),
            &Value::Null,
            destruction::COLUMNS,
        ),
        Key::Destructions { reach } => list(reach, "/v1/destructions", &[], "destructions", destruction::COLUMNS),
        Key::Certificate { id, out, pdf, reach } => destruction::certificate(reach, id, out.as_deref(), pdf.as_deref()),
        Key::Verify { file, reach } => destruction::verify(reach, file),
        _ => Err(CommandError("no such command".to_owned())),
    }
}

fn act(reach: &Reach, key: &str, verb: &str, body: &Value, columns: &[(&str, &str)]) -> Result<(), CommandError> {
    change(reach, "POST", &format!("/v1/keys/{}/{verb}", escape(key)), body, columns)
}

fn show(reach: &Reach, key: &str) -> Result<(), CommandError> {
    let answer = Client::new(reach)?.get(&format!("/v1/keys/{}", escape(key)), &[])?;
    if reach.json {
        return print(&answer.to_string());
    }
    print(&render(KEYS, std::slice::from_ref(&answer)))?;
    let rows = |field: &str| answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    print(&format!("\n{}", render(VERSIONS, &rows("versions"))))?;
    let buckets: Vec<Value> = rows("buckets").into_iter().map(|name| json!({ "bucket": name })).collect();
    print(&format!("\n{}", render(&[("BUCKETS", "bucket")], &buckets)))
}

/// Fetches a public key to wrap a key to.
fn fetch_transport(reach: &Reach, provider: &str, out: &Path) -> Result<(), CommandError> {
    let answer = Client::new(reach)?.send("POST", "/v1/import", &json!({ "provider": provider }))?;
    let public = approval::text(&answer, "public_key")?;
    std::fs::write(out, public).map_err(|e| CommandError(format!("{}: {e}", out.display())))?;
    if reach.json { print(&answer.to_string()) } else { print(&render(TRANSPORT, &[answer])) }
}

fn nothing_read(what: &str) -> String {
    format!("Nothing that hangs on {what} will be read or written then")
}

/// What stops a tenant's reads and writes, ends them, or lets others read is asked for twice.
pub(super) fn confirmed(what: &str, given: Option<&str>, act: &str, consequence: &str) -> Result<(), CommandError> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => ask(what, act, consequence)?,
        None => return Err(CommandError(format!("{act} {what}: add --confirm {what}. {consequence}"))),
    };
    if typed.trim() == what {
        Ok(())
    } else {
        Err(CommandError(format!("nothing was done: {typed:?} is not {what:?}")))
    }
}

fn ask(what: &str, act: &str, consequence: &str) -> Result<String, CommandError> {
    let mut out = std::io::stderr();
    write!(out, "{consequence}. {act} it, type {what}: ").and_then(|()| out.flush()).map_err(CommandError::new)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CommandError::new)?;
    Ok(line)
}
