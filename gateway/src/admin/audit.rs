//! The access log as people read it: opened, filtered, one page at a time, each request with its
//! closing record where there is one nearby.

use std::collections::HashMap;

use http::StatusCode;
use policy::reason::Reason;
use policy::time::UtcMillis;
use serde_json::{Value, json};
use storage::catalog::{LogItem, RecordQuery};
use storage::log::{LogEntry, LogPosition, RecordKind};

pub(super) mod chain;
mod names;

pub(super) use names::Names;

use super::{Admin, Call, Failure, Outcome};
use crate::clock::rfc3339;
use crate::control::TenantRow;
use crate::error::Error;
use crate::record::{Access, Closing, Content};

/// Entries read for one page.
pub(super) const PAGE: usize = 1000;
/// Entries behind a page in which closing records are looked for.
const AHEAD: usize = 4000;
/// What filters match exactly.
const FIELDS: [&str; 11] = [
    "tenant",
    "principal",
    "credential",
    "operation",
    "bucket",
    "key",
    "decision",
    "status",
    "request_id",
    "reason",
    "access",
];

struct Filter {
    wanted: Vec<(&'static str, String)>,
    from: Option<String>,
    until: Option<String>,
    /// S3 requests, unless all kinds are asked for.
    everything: bool,
}

/// One page: `lines`, and `next` when there may be more.
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let filter = filter(call);
    let after = call.query("after").map(|text| position(&text)).transpose()?;
    let items = page(admin, after, PAGE).await?;
    let next = items.last().filter(|_| items.len() == PAGE).map(|item| item.position().to_string());
    let mut lines = Vec::new();
    let mut closings = HashMap::new();
    let mut names = Names::default();
    let mut chain = admin.chains.resume(after);
    for item in &items {
        let entry = match item {
            LogItem::Entry(entry) => entry,
            LogItem::Damaged(position) => {
                chain.pass(*position);
                lines.push(damage(*position, None, "unreadable", "the bytes that lie here are no record"));
                continue;
            }
        };
        let broken = chain.follow(entry);
        // A tenant's officer reads its records, and learns nothing of those of others.
        if call.tenant.is_some_and(|tenant| entry.tenant != Some(tenant)) {
            continue;
        }
        if let Some(why) = broken {
            lines.push(damage(entry.position, Some(entry.time), "broken-chain", why));
        }
        match admin.gateway.recorder.open(entry).await {
            Ok(Content::Opening(access)) => {
                let tenant = match access.tenant.as_deref() {
                    Some(id) => Some(names.of::<TenantRow>(admin, id).await?),
                    None => None,
                };
                lines.push(opening(entry, &access, tenant));
            }
            Ok(Content::Closing(closing)) => drop(closings.insert(closing.request.clone(), closing)),
            Ok(Content::Control(control)) => {
                let tenant = match entry.tenant {
                    Some(id) => Some(names.of::<TenantRow>(admin, &id.to_string()).await?),
                    None => None,
                };
                lines.push(json!({
                    "sequence": entry.position.to_string(), "time": rfc3339(entry.time), "operation": "control",
                    "tenant": tenant, "event": control.event, "detail": control.detail,
                }));
            }
            Ok(Content::Folded(folded)) => lines.push(json!({
                "sequence": entry.position.to_string(), "time": rfc3339(entry.time), "operation": folded.kind,
                "source": folded.source, "count": folded.count, "first": rfc3339(folded.first),
                "last": rfc3339(folded.last), "digest": hex::encode(folded.digest),
            })),
            // A record that does not open is shown, not skipped: it is evidence of damage.
            Err(error) => lines.push(damage(entry.position, Some(entry.time), "unreadable", &error.to_string())),
        }
    }
    if next.is_some() {
        admin.chains.keep(chain);
    }
    lines.retain(|line| filter.admits(line));
    if let Some(last) = items.last().filter(|_| !lines.is_empty()) {
        look_ahead(admin, last.position(), &mut closings).await?;
    }
    for line in &mut lines {
        close(line, &closings);
    }
    Ok(Outcome::answer(json!({ "lines": lines, "next": next })))
}

pub(super) async fn page(admin: &Admin, after: Option<LogPosition>, limit: usize) -> Result<Vec<LogItem>, Failure> {
    Ok(admin.gateway.catalog.records(&RecordQuery { after, limit }).await.map_err(Error::from)?)
}

async fn look_ahead(admin: &Admin, after: LogPosition, closings: &mut HashMap<String, Closing>) -> Result<(), Failure> {
    for entry in page(admin, Some(after), AHEAD).await?.into_iter().filter_map(LogItem::entry) {
        if entry.kind == RecordKind::Closing
            && let Ok(Content::Closing(closing)) = admin.gateway.recorder.open(&entry).await
        {
            closings.insert(closing.request.clone(), closing);
        }
    }
    Ok(())
}

/// Evidence that somebody had hands on the log.
fn damage(position: LogPosition, time: Option<UtcMillis>, operation: &str, why: &str) -> Value {
    tracing::error!(%position, operation, why, "the access log is damaged");
    metrics::counter!("gotgan_log_damage_total").increment(1);
    let (sequence, time) = (position.to_string(), time.map(rfc3339));
    json!({ "sequence": sequence, "time": time, "operation": operation, "damage": true, "error": why })
}

fn opening(entry: &LogEntry, access: &Access, tenant: Option<String>) -> Value {
    json!({
        "sequence": entry.position.to_string(),
        "time": rfc3339(entry.time),
        "request_id": access.request,
        "tenant": tenant,
        "tenant_id": access.tenant,
        "principal": access.principal,
        "credential": access.credential,
        "source": access.source,
        "user_agent": access.user_agent,
        "operation": access.operation,
        "bucket": access.bucket,
        "key": access.key,
        "keys": access.keys,
        "version": access.version,
        "bytes": access.bytes,
        "offset": access.offset,
        "status": access.status,
        "error": access.error,
        "decision": access.decision,
        "rules": access.rules,
        "citation": access.citation,
        "key_id": access.key_id,
        "key_version": access.key_version,
        "reason": access.reason.map(Reason::code),
        "access": access.access,
        "duration_ms": milliseconds(access.duration_us),
    })
}

fn close(line: &mut Value, closings: &HashMap<String, Closing>) {
    let closing = line.get("request_id").and_then(Value::as_str).and_then(|id| closings.get(id));
    if let (Some(closing), Some(fields)) = (closing, line.as_object_mut()) {
        let closing = json!({
            "status": closing.status,
            "bytes_sent": closing.bytes_sent,
            "duration_ms": milliseconds(closing.duration_us),
            "outcome": closing.outcome,
        });
        fields.insert("closing".to_owned(), closing);
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 microseconds")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

pub(super) fn position(text: &str) -> Result<LogPosition, Failure> {
    let parsed = text.split_once('.').and_then(|(stream, sequence)| {
        Some(LogPosition { stream: stream.parse().ok()?, sequence: sequence.parse().ok()? })
    });
    parsed.ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, "after is a sequence such as 1.42"))
}

fn filter(call: &Call<'_>) -> Filter {
    let wanted = FIELDS.into_iter().filter_map(|field| Some((field, call.query(field)?))).collect();
    Filter { wanted, from: call.query("from"), until: call.query("until"), everything: call.query("all").is_some() }
}

/// One of the keys of a request that names many.
fn names(line: &Value, key: &str) -> bool {
    line.get("keys").and_then(Value::as_array).is_some_and(|keys| keys.iter().any(|k| k == key))
}

impl Filter {
    fn admits(&self, line: &Value) -> bool {
        let text = |field: &str| match line.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let operation = text("operation");
        let kind =
            self.everything || !(operation.starts_with("admin:") || matches!(operation.as_str(), "control" | "health"));
        let time = text("time");
        let damage = line.get("damage").is_some();
        // Bytes that are no record have no time.
        let timed = !time.is_empty() || !damage;
        kind && (!timed || self.from.as_ref().is_none_or(|from| time >= *from))
            && (!timed || self.until.as_ref().is_none_or(|until| time < *until))
            && self.wanted.iter().all(|(field, value)| match *field {
                // Whose records it hides is not known, so every reader is told.
                _ if damage => true,
                "tenant" => text("tenant") == *value || text("tenant_id") == *value,
                "key" => text("key") == *value || names(line, value),
                field => text(field) == *value,
            })
    }
}
