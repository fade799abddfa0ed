//! What a tenant key is for: the reasons for which it opens nothing, and the other names that it goes by.

use std::collections::BTreeMap;

use http::StatusCode;
use policy::id::{KeyId, TenantId};
use policy::reason::{Reason, Reasons};
use serde_json::{Value, json};
use storage::catalog::{Before, ControlKind, ControlPut};

use super::{about, destroyed, key_json, named_key, tenant};
use crate::accounts::is_name;
use crate::admin::accounts::bad;
use crate::admin::approvals::conflict;
use crate::admin::{Admin, Call, Failure, Outcome, Then, named};
use crate::control::{Standing, TenantKeyRow};

/// Other names of the keys of one tenant.
const ALIASES_MAX: usize = 1000;

/// The reasons for which it opens nothing, from its commit on.
pub(in crate::admin) async fn refuse(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    if known.row.state.is_destroyed() {
        return Err(destroyed());
    }
    let codes = || Reason::ALL.map(Reason::code).join(", ");
    let refuses = call.body.get("refuses").and_then(Value::as_array);
    let refuses = refuses.and_then(|list| list.iter().map(named).collect::<Option<Reasons>>());
    let refuses = refuses.ok_or_else(|| bad(&format!("refuses is a list of reasons, each one of {}", codes())))?;
    let row = TenantKeyRow { refuses, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    let outcome = Outcome::rows(rows, key_json(&row, None));
    let said: Vec<_> = refuses.iter().map(Reason::code).collect();
    let subject =
        Some(if said.is_empty() { "refuses nothing".to_owned() } else { format!("refuses {}", said.join(", ")) });
    Ok(about(&row, Outcome { subject, then: Then::Refuse(row.id, refuses), ..outcome })?)
}

/// Another name of a key; one that was another's before is this one's from then on.
pub(in crate::admin) async fn alias(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    let alias = alias_of(call)?;
    if known.row.state.is_destroyed() {
        return Err(destroyed());
    }
    let before = standing(admin, known.row.tenant, alias).await?;
    let before = match before {
        None => {
            if aliases(admin, known.row.tenant).await?.values().map(Vec::len).sum::<usize>() >= ALIASES_MAX {
                let why = format!("the keys of the tenant have {ALIASES_MAX} other names, and may not have more");
                return Err(conflict(why));
            }
            Before::Absent
        }
        Some((_, before)) => before,
    };
    let row = name_row(admin, known.row.tenant, alias, known.row.id.as_bytes(), before);
    outcome(admin, &known, (alias, true), row).await
}

/// Takes a name away from a key; the one that it was made with stays.
pub(in crate::admin) async fn unalias(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    let alias = alias_of(call)?;
    let Some((Some(id), before)) = standing(admin, known.row.tenant, alias).await? else {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("there is no other name {alias}")));
    };
    if id != known.row.id {
        return Err(conflict(format!("{alias} is another key's name")));
    }
    let row = name_row(admin, known.row.tenant, alias, &[], before);
    outcome(admin, &known, (alias, false), row).await
}

async fn outcome(
    admin: &Admin,
    known: &Standing<TenantKeyRow>,
    (alias, given): (&str, bool),
    row: ControlPut,
) -> Result<Outcome, Failure> {
    let mut aliases = aliases(admin, known.row.tenant).await?.remove(&known.row.id).unwrap_or_default();
    aliases.retain(|name| name != alias);
    if given {
        aliases.push(alias.to_owned());
    }
    let mut answer = key_json(&known.row, None);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("aliases".to_owned(), json!(aliases));
    }
    let subject = Some(format!("name {alias}"));
    Ok(about(&known.row, Outcome { subject, ..Outcome::rows(vec![row], answer) })?)
}

fn alias_of<'a>(call: &'a Call<'_>) -> Result<&'a str, Failure> {
    match call.path.get(3) {
        Some(name) if is_name(name) => Ok(name),
        _ => Err(bad("a name has 1 to 63 of a-z 0-9 . _ @ - and begins with a letter or digit")),
    }
}

fn name_row(admin: &Admin, tenant: TenantId, name: &str, content: &[u8], before: Before) -> ControlPut {
    admin.gateway.control.put_content(ControlKind::KeyName, TenantKeyRow::name_id(tenant, name), content, before)
}

/// Whose a name is now, if anybody's, and what stands there; none when there never was one.
async fn standing(admin: &Admin, tenant: TenantId, name: &str) -> Result<Option<(Option<KeyId>, Before)>, Failure> {
    let id = TenantKeyRow::name_id(tenant, name);
    let known = admin.gateway.control.content_standing(ControlKind::KeyName, &id).await?;
    let Some((content, before)) = known else { return Ok(None) };
    let key = key_id(&content);
    if let Some(key) = key {
        let row = admin.gateway.control.row::<TenantKeyRow>(key.as_bytes()).await?;
        if row.is_some_and(|row| row.name == name) {
            return Err(conflict(format!("a key was made as {name}, and keeps that name")));
        }
    }
    Ok(Some((key, before)))
}

/// What stands under a name that a new key may have.
///
/// # Errors
/// 409 when a key has it or goes by it.
pub(super) async fn free_name(admin: &Admin, tenant: TenantId, name: &str) -> Result<Before, Failure> {
    let id = TenantKeyRow::name_id(tenant, name);
    match admin.gateway.control.content_standing(ControlKind::KeyName, &id).await? {
        None => Ok(Before::Absent),
        Some((content, before)) if content.is_empty() => Ok(before),
        Some(_) => Err(conflict(format!("a key {name} exists already, or goes by that name"))),
    }
}

fn key_id(content: &[u8]) -> Option<KeyId> {
    <[u8; 16]>::try_from(content).ok().map(KeyId::from_bytes)
}

/// The other names of the keys of a tenant.
pub(super) async fn aliases(admin: &Admin, of: TenantId) -> Result<BTreeMap<KeyId, Vec<String>>, Failure> {
    let mut out: BTreeMap<KeyId, Vec<String>> = BTreeMap::new();
    let mut after = of.as_bytes().to_vec();
    loop {
        let page = admin.gateway.control.contents(ControlKind::KeyName, of.as_bytes(), &after).await?;
        let Some((last, _)) = page.last() else { return Ok(out) };
        after.clone_from(last);
        for (id, content) in page {
            let name = id.strip_prefix(of.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
            let (Some(key), Some(name)) = (key_id(&content), name) else { continue };
            let made_as = admin.gateway.control.row::<TenantKeyRow>(key.as_bytes()).await?;
            if made_as.is_some_and(|row| row.name != name) {
                out.entry(key).or_default().push(name.to_owned());
            }
        }
    }
}

/// Every other name of a key of the tenant, with the key.
pub(in crate::admin) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut out: Vec<Value> = Vec::new();
    for (key, names) in aliases(admin, tenant(call)?).await? {
        let row = admin.gateway.control.row::<TenantKeyRow>(key.as_bytes()).await?;
        let key_name = row.map(|row| row.name);
        out.extend(names.into_iter().map(|name| json!({ "alias": name, "key": key_name, "key_id": key.to_string() })));
    }
    Ok(Outcome::answer(json!({ "aliases": out })))
}
