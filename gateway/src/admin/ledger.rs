//! The key ledger of a tenant (암호키 관리대장, ISMS-P 2.7.2): what was done with its keys, when, by whom, from where. It is
//! read from the tenant's own log, so it says nothing that is not on record.

use serde_json::{Value, json};
use storage::catalog::LogItem;
use storage::log::LogEntry;

use super::audit::{Names, PAGE, page, position};
use super::{Admin, Call, Failure, Outcome};
use crate::clock::rfc3339;
use crate::control::{PrincipalRow, TenantKeyRow};
use crate::record::{Access, Content};

/// Acts that change no key.
const WATCHING: [&str; 7] =
    ["List", "Show", "Ledger", "RotationList", "DestructionList", "DestructionShow", "AliasList"];
/// What the server does with keys by itself.
const DONE: [&str; 8] = [
    "tenant-key-versions-destroyed",
    "bucket-key-rewrapped",
    "tenant-key-rotated",
    "destruction-begun",
    "tenant-key-destroyed",
    "tenant-keys-destroyed",
    "bucket-erased",
    "destruction-certified",
];

/// A provider was asked to unwrap something: many a day, so they are listed where they are asked for.
const USED: &str = "tenant-key-used";

/// One page of the log: `lines`, and `next` when there may be more.
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let after = call.query("after").map(|text| position(&text)).transpose()?;
    let items = page(admin, after, PAGE).await?;
    let next = items.last().filter(|_| items.len() == PAGE).map(|item| item.position().to_string());
    let uses = call.query("uses").is_some();
    let mut names = Names::default();
    let mut lines = Vec::new();
    for entry in items.into_iter().filter_map(LogItem::entry).filter(|entry| entry.tenant == call.tenant) {
        match admin.gateway.recorder.open(&entry).await {
            Ok(Content::Opening(access)) => lines.extend(asked(admin, &entry, &access, &mut names).await?),
            Ok(Content::Control(control))
                if DONE.contains(&control.event.as_str()) || (uses && control.event == USED) =>
            {
                lines.push(json!({
                    "sequence": entry.position.to_string(),
                    "time": rfc3339(entry.time),
                    "act": control.event,
                    "by": "the server",
                    "detail": control.detail,
                }))
            }
            _ => {}
        }
    }
    Ok(Outcome::answer(json!({ "lines": lines, "next": next })))
}

/// A line for what somebody asked for.
async fn asked(admin: &Admin, entry: &LogEntry, access: &Access, names: &mut Names) -> Result<Option<Value>, Failure> {
    let act = access.operation.strip_prefix("admin:Key").filter(|act| !WATCHING.contains(act));
    let (Some(act), Some(id), Some(principal)) = (act, &access.key_id, &access.principal) else { return Ok(None) };
    let key = match &access.bucket {
        Some(bucket) => format!("bucket {bucket}"),
        None => names.of::<TenantKeyRow>(admin, id).await?,
    };
    Ok(Some(json!({
        "sequence": entry.position.to_string(),
        "time": rfc3339(entry.time),
        "act": hyphenated(act),
        "key": key,
        "key_id": id,
        "version": access.key_version,
        "by": names.of::<PrincipalRow>(admin, principal).await?,
        "principal": principal,
        "source": access.source,
        "status": access.status,
        "detail": access.key.as_ref().map(|subject| match act.starts_with("Destroy") {
            true => format!("destruction {subject}"),
            false => subject.clone(),
        }),
    })))
}

/// `RotateBucket` as `rotate-bucket`.
fn hyphenated(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
