//! The key ledger of a tenant (암호키 관리대장, ISMS-P 2.7.2): what was done with its keys, when, by whom, from where. It is
//! read from the tenant's own log, so it says nothing that is not on record.

use serde_json::json;
use storage::catalog::LogItem;

use super::audit::{Names, PAGE, page, position};
use super::{Admin, Call, Failure, Outcome};
use crate::clock::rfc3339;
use crate::control::{PrincipalRow, TenantKeyRow};
use crate::record::Content;

/// Acts that change no key.
const WATCHING: [&str; 4] = ["List", "Show", "Ledger", "RotationList"];

/// One page of the log: `lines`, and `next` when there may be more.
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let after = call.query("after").map(|text| position(&text)).transpose()?;
    let items = page(admin, after, PAGE).await?;
    let next = items.last().filter(|_| items.len() == PAGE).map(|item| item.position().to_string());
    let mut names = Names::default();
    let mut lines = Vec::new();
    for entry in items.into_iter().filter_map(LogItem::entry).filter(|entry| entry.tenant == call.tenant) {
        let Ok(Content::Opening(access)) = admin.gateway.recorder.open(&entry).await else { continue };
        let act = access.operation.strip_prefix("admin:Key").filter(|act| !WATCHING.contains(act));
        let (Some(act), Some(id), Some(principal)) = (act, &access.key_id, &access.principal) else { continue };
        let key = match &access.bucket {
            Some(bucket) => format!("bucket {bucket}"),
            None => names.of::<TenantKeyRow>(admin, id).await?,
        };
        lines.push(json!({
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
        }));
    }
    Ok(Outcome::answer(json!({ "lines": lines, "next": next })))
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
