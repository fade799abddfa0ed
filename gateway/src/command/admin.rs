//! `gotgan tenant|principal|credential|bucket|audit`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::reseat::{Reseat, reseat};
use super::table::render;
use super::{CommandError, Reach, print};
use crate::admin::signing::escape;

#[derive(Debug, Subcommand)]
pub(super) enum Tenant {
    /// Make a tenant with keys of its own.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Invite the first administrator of a tenant, who enrols with it and from then on alone makes principals there.
    Invite {
        /// The tenant, by name or id.
        tenant: String,
        /// Name of the administrator.
        #[arg(long, default_value = "administrator")]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a tenant that lost its administrators another, by two persons and after three days.
    #[command(subcommand)]
    Reseat(Reseat),
    /// List tenants.
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Principal {
    /// Make a principal. An administrator of a tenant is shown an invitation for it, to be handed on.
    Create {
        /// Its name.
        name: String,
        /// Its tenant; none for a platform administrator, and yours where you administer one.
        #[arg(long)]
        tenant: Option<String>,
        /// `engineer`, `key-administrator`, `compliance-officer`, `auditor`, `tenant-administrator` or `platform-administrator`.
        #[arg(long, default_value = "engineer")]
        role: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List principals.
    List {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Disable a principal: none of its credentials is accepted any more.
    Disable {
        /// Its id.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Credential {
    /// Make a credential. Its secret is shown once. An administrator of a tenant is shown an invitation to one.
    Create {
        /// Id of the principal.
        #[arg(long)]
        principal: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List credentials, without their secrets.
    List {
        /// Of this principal only.
        #[arg(long)]
        principal: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Revoke a credential.
    Revoke {
        /// Its access key id. Not called so here: `Reach` has one of that name, which would be taken for it.
        #[arg(value_name = "ACCESS_KEY_ID")]
        credential: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Exchanges an invitation, which is given as the access key and secret of whoever asks.
#[derive(Debug, Args)]
pub(super) struct Enrol {
    /// Of the first administrator of a tenant: the credentials that the platform made in it before go on serving.
    #[arg(long)]
    keep_credentials: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(super) enum Bucket {
    /// Narrow where a bucket's data may rest. It can never be widened.
    Narrow {
        /// Its name.
        name: String,
        /// Only in this subdivision (ISO 3166-2, such as KR-41); may be given more than once.
        #[arg(long)]
        subdivision: Vec<String>,
        /// Only in this building; may be given more than once.
        #[arg(long)]
        site: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List requests, oldest first.
    List(Box<AuditList>),
}

#[derive(Debug, Args)]
pub(super) struct AuditList {
    /// Of this tenant, by name or id.
    #[arg(long)]
    tenant: Option<String>,
    /// Of this principal, by id.
    #[arg(long)]
    principal: Option<String>,
    /// By this access key id.
    #[arg(long)]
    credential: Option<String>,
    /// This operation, such as `GetObject`.
    #[arg(long)]
    operation: Option<String>,
    /// On this bucket.
    #[arg(long)]
    bucket: Option<String>,
    /// On this object.
    #[arg(long)]
    key: Option<String>,
    /// `allow`, `deny` or `none`.
    #[arg(long)]
    decision: Option<String>,
    /// HTTP status.
    #[arg(long)]
    status: Option<u16>,
    /// For this reason, such as `customer-request` or `emergency`.
    #[arg(long)]
    reason: Option<String>,
    /// Under this access of the platform.
    #[arg(long)]
    access: Option<String>,
    /// This request.
    #[arg(long)]
    request_id: Option<String>,
    /// From this time on (RFC 3339 in UTC, or the front of it, such as 2026-11-24).
    #[arg(long)]
    from: Option<String>,
    /// Until before this time.
    #[arg(long)]
    until: Option<String>,
    /// Behind this sequence.
    #[arg(long)]
    after: Option<String>,
    /// At most so many lines.
    #[arg(long)]
    limit: Option<usize>,
    /// Requests of the admin API and events of the server too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

const TENANTS: &[(&str, &str)] = &[("NAME", "name"), ("ID", "id"), ("CREATED", "created")];
const PRINCIPALS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("ID", "id"),
    ("ROLE", "role"),
    ("ACTIVE", "active"),
    ("TENANT", "tenant"),
    ("CREATED", "created"),
];
const CREDENTIALS: &[(&str, &str)] =
    &[("ACCESS KEY ID", "access_key_id"), ("PRINCIPAL", "principal"), ("ACTIVE", "active"), ("CREATED", "created")];
const NEW_CREDENTIAL: &[(&str, &str)] =
    &[("ACCESS KEY ID", "access_key_id"), ("SECRET ACCESS KEY", "secret_access_key"), ("PRINCIPAL", "principal")];
const BUCKETS: &[(&str, &str)] = &[("BUCKET", "bucket"), ("RESIDENCY", "residency")];
const REQUESTS: &[(&str, &str)] = &[
    ("SEQUENCE", "sequence"),
    ("TIME", "time"),
    ("TENANT", "tenant"),
    ("CREDENTIAL", "credential"),
    ("SOURCE", "source"),
    ("OPERATION", "operation"),
    ("BUCKET", "bucket"),
    ("KEY", "key"),
    ("BYTES", "bytes"),
    ("STATUS", "status"),
    ("DECISION", "decision"),
    ("RULES", "rules"),
];

pub(super) fn tenant(command: &Tenant) -> Result<(), CommandError> {
    match command {
        Tenant::Create { name, reach } => change(reach, "POST", "/v1/tenants", &json!({ "name": name }), TENANTS),
        Tenant::Invite { tenant, name, reach } => {
            let path = format!("/v1/tenants/{}/invite", escape(tenant));
            invitation(reach, &path, &json!({ "name": name }))
        }
        Tenant::Reseat(command) => reseat(command),
        Tenant::List { reach } => list(reach, "/v1/tenants", &[], "tenants", TENANTS),
    }
}

pub(super) fn principal(command: &Principal) -> Result<(), CommandError> {
    match command {
        Principal::Create { name, tenant, role, reach } => {
            let mut body = json!({ "name": name, "role": role });
            if let (Some(tenant), Some(fields)) = (tenant, body.as_object_mut()) {
                fields.insert("tenant".to_owned(), Value::String(tenant.clone()));
            }
            invitation(reach, "/v1/principals", &body)
        }
        Principal::List { tenant, reach } => {
            let query: Vec<_> = tenant.iter().map(|t| ("tenant", t.clone())).collect();
            list(reach, "/v1/principals", &query, "principals", PRINCIPALS)
        }
        Principal::Disable { id, reach } => {
            change(reach, "POST", &format!("/v1/principals/{}/disable", escape(id)), &Value::Null, PRINCIPALS)
        }
    }
}

const INVITATION: &[(&str, &str)] =
    &[("INVITATION", "access_key_id"), ("SECRET", "secret_access_key"), ("UNTIL", "invited_until")];

/// Makes a principal, and shows its invitation when there is one.
pub(super) fn invitation(reach: &Reach, path: &str, body: &Value) -> Result<(), CommandError> {
    let answer = Client::new(reach)?.send("POST", path, body)?;
    if reach.json {
        return print(&answer.to_string());
    }
    print(&render(PRINCIPALS, std::slice::from_ref(&answer)))?;
    match answer.get("invitation") {
        Some(invitation) => print(&format!("\n{}", render(INVITATION, std::slice::from_ref(invitation)))),
        None => Ok(()),
    }
}

pub(super) fn enrol(command: &Enrol) -> Result<(), CommandError> {
    let answer = Client::new(&command.reach)?.send(
        "POST",
        "/v1/enrol",
        &json!({ "keep_credentials": command.keep_credentials }),
    )?;
    if command.reach.json {
        return print(&answer.to_string());
    }
    print(&render(NEW_CREDENTIAL, std::slice::from_ref(&answer)))?;
    match answer.get("principals").and_then(Value::as_array) {
        Some(others) if !others.is_empty() => {
            let why = "\nThese were made in the tenant before, by the platform: disable those that are not yours, and give the others credentials.\n";
            print(&format!("{why}{}", render(PRINCIPALS, others)))
        }
        _ => Ok(()),
    }
}

pub(super) fn credential(command: &Credential) -> Result<(), CommandError> {
    match command {
        Credential::Create { principal, reach } => {
            change(reach, "POST", "/v1/credentials", &json!({ "principal": principal }), NEW_CREDENTIAL)
        }
        Credential::List { principal, reach } => {
            let query: Vec<_> = principal.iter().map(|p| ("principal", p.clone())).collect();
            list(reach, "/v1/credentials", &query, "credentials", CREDENTIALS)
        }
        Credential::Revoke { credential, reach } => {
            change(reach, "POST", &format!("/v1/credentials/{}/revoke", escape(credential)), &Value::Null, CREDENTIALS)
        }
    }
}

pub(super) fn bucket(command: &Bucket) -> Result<(), CommandError> {
    let Bucket::Narrow { name, subdivision, site, reach } = command;
    let body = json!({ "subdivisions": subdivision, "sites": site });
    change(reach, "PUT", &format!("/v1/buckets/{}/residency", escape(name)), &body, BUCKETS)
}

pub(super) fn audit(command: &Audit) -> Result<(), CommandError> {
    let Audit::List(wanted) = command;
    let client = Client::new(&wanted.reach)?;
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let mut after = wanted.after.clone();
    let mut shown = Vec::new();
    // Page by page: JSON is printed as it comes, a table needs its widest cell first.
    loop {
        let mut query = wanted.query();
        query.extend(after.iter().map(|a| ("after", a.clone())));
        let page = client.get("/v1/audit", &query)?;
        let lines = page.get("lines").and_then(Value::as_array).cloned().unwrap_or_default();
        for line in lines.into_iter().take(left) {
            left -= 1;
            if wanted.reach.json {
                print(&line.to_string())?;
            } else {
                shown.push(line);
            }
        }
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() || left == 0 {
            break;
        }
    }
    if wanted.reach.json { Ok(()) } else { print(&render(REQUESTS, &shown)) }
}

impl AuditList {
    fn query(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("tenant", &self.tenant),
            ("principal", &self.principal),
            ("credential", &self.credential),
            ("operation", &self.operation),
            ("bucket", &self.bucket),
            ("key", &self.key),
            ("decision", &self.decision),
            ("request_id", &self.request_id),
            ("reason", &self.reason),
            ("access", &self.access),
            ("from", &self.from),
            ("until", &self.until),
        ];
        let mut out: Vec<_> = texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        out.extend(self.status.map(|s| ("status", s.to_string())));
        out.extend(self.all.then(|| ("all", "1".to_owned())));
        out
    }
}

pub(super) fn change(
    reach: &Reach,
    method: &str,
    path: &str,
    body: &Value,
    columns: &[(&str, &str)],
) -> Result<(), CommandError> {
    let answer = Client::new(reach)?.send(method, path, body)?;
    if reach.json { print(&answer.to_string()) } else { print(&render(columns, &[answer])) }
}

pub(super) fn list(
    reach: &Reach,
    path: &str,
    query: &[(&str, String)],
    field: &str,
    columns: &[(&str, &str)],
) -> Result<(), CommandError> {
    let answer = Client::new(reach)?.get(path, query)?;
    let rows = answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    if reach.json { print(&Value::Array(rows).to_string()) } else { print(&render(columns, &rows)) }
}
