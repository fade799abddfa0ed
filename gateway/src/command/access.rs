//! `gotgan access`: two persons of the platform, for hours, into one bucket of a tenant; and the tenant, which sees and ends it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{change, list};
use super::{CommandError, Reach, approval};
use crate::access::Request;
use crate::admin::signing::escape;

#[derive(Debug, Subcommand)]
pub(super) enum Access {
    /// Make an approval key in a file of yours, mode 0600, and enrol its public half: what you sign is signed by it.
    Approver {
        /// The file, which is not there yet.
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Ask to be let into a bucket of a tenant, to read it, and sign it. Another platform administrator approves. The tenant's own
    /// log has it from the request on.
    Request {
        /// The tenant, by name or id.
        #[arg(long)]
        tenant: String,
        /// The bucket.
        #[arg(long)]
        bucket: String,
        /// `legal-request` or `emergency`: the tenant's key may refuse either.
        #[arg(long, value_name = "CODE")]
        reason_code: String,
        /// The law, order or contract that asks for it.
        #[arg(long, value_name = "TEXT")]
        legal_basis: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Hours from the approval until it is over, 1 to 72.
        #[arg(long, value_name = "N", default_value = "4")]
        hours: u32,
        /// Your approval key.
        #[arg(long, value_name = "FILE")]
        sign_with: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Approve an access that somebody else asked for: it is open from then on.
    Approve(approval::Approve),
    /// End an access, or call it off. Reads under way break off.
    End {
        /// Its id.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List accesses: those to the tenant's buckets, or all for the platform.
    List {
        /// To buckets of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("TENANT", "tenant"),
    ("BUCKET", "bucket"),
    ("REASON", "reason_code"),
    ("BASIS", "legal_basis"),
    ("UNTIL", "until"),
    ("ASKED BY", "requested_by"),
    ("SIGNED BY", "signed_by"),
];

pub(super) fn access(command: &Access) -> Result<(), CommandError> {
    match command {
        Access::Approver { file, reach } => approval::enrol(reach, file),
        Access::Request { tenant, bucket, reason_code, legal_basis, reason, hours, sign_with, reach } => {
            let body = json!({ "tenant": tenant, "bucket": bucket, "reason_code": reason_code,
                "legal_basis": legal_basis, "reason": reason, "hours": hours });
            request(reach, &body, sign_with)
        }
        Access::Approve(approve) => {
            approve.run::<Request>("accesses", "The platform will read what is in the bucket", COLUMNS)
        }
        Access::End { id, reach } => {
            change(reach, "POST", &format!("/v1/accesses/{}/end", escape(id)), &Value::Null, COLUMNS)
        }
        Access::List { tenant, reach } => {
            let query: Vec<_> = tenant.iter().map(|tenant| ("tenant", tenant.clone())).collect();
            list(reach, "/v1/accesses", &query, "accesses", COLUMNS)
        }
    }
}

/// Signs what the server wrote down, if it says what was asked for.
fn request(reach: &Reach, body: &Value, key: &Path) -> Result<(), CommandError> {
    let said = |field: &str| body.get(field).and_then(Value::as_str).map(str::trim);
    approval::request(reach, ("accesses", body), (key, COLUMNS), |request: &Request| {
        said("bucket") == Some(request.bucket.name.as_str())
            && [&request.tenant.name, &request.tenant.id].into_iter().any(|name| said("tenant") == Some(name.as_str()))
            && said("reason_code") == Some(request.reason_code.code())
            && said("reason") == Some(request.reason.as_str())
            && said("legal_basis") == Some(request.legal_basis.as_str())
            && body.get("hours") == Some(&json!(request.hours))
    })
}
