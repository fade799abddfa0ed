//! `gotgan tenant reseat...`: two persons of the platform give a tenant that lost its administrators another.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{change, invitation, list};
use super::{CommandError, Reach, approval};
use crate::admin::reseatings::Request;
use crate::admin::signing::escape;

#[derive(Debug, Subcommand)]
pub(super) enum Reseat {
    /// Ask for it, and sign. Another platform administrator approves; then three days pass.
    Request {
        /// The tenant, by name or id.
        tenant: String,
        /// Name of the administrator that is to be invited.
        #[arg(long)]
        name: String,
        /// The law, order or contract that asks for it.
        #[arg(long, value_name = "TEXT")]
        legal_basis: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Your approval key.
        #[arg(long, value_name = "FILE")]
        sign_with: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Approve what somebody else asked for.
    Approve(approval::Approve),
    /// Fetch the invitation, when it is due.
    Invite {
        /// Its id.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Call it off; the tenant may, too.
    Cancel {
        /// Its id.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// List them.
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("TENANT", "tenant"),
    ("ADMINISTRATOR", "administrator"),
    ("BASIS", "legal_basis"),
    ("DUE", "due"),
    ("ASKED BY", "requested_by"),
    ("SIGNED BY", "signed_by"),
];

pub(super) fn reseat(command: &Reseat) -> Result<(), CommandError> {
    match command {
        Reseat::Request { tenant, name, legal_basis, reason, sign_with, reach } => {
            let body = json!({ "tenant": tenant, "name": name, "legal_basis": legal_basis, "reason": reason });
            request(reach, &body, sign_with)
        }
        Reseat::Approve(approve) => approve.run::<Request>(
            "reseatings",
            "Whoever is invited then makes and ends all persons of the tenant",
            COLUMNS,
        ),
        Reseat::Invite { id, reach } => {
            invitation(reach, &format!("/v1/reseatings/{}/invite", escape(id)), &Value::Null)
        }
        Reseat::Cancel { id, reach } => {
            change(reach, "POST", &format!("/v1/reseatings/{}/cancel", escape(id)), &Value::Null, COLUMNS)
        }
        Reseat::List { reach } => list(reach, "/v1/reseatings", &[], "reseatings", COLUMNS),
    }
}

/// Signs what the server wrote down, if it says what was asked for.
fn request(reach: &Reach, body: &Value, key: &Path) -> Result<(), CommandError> {
    let said = |field: &str| body.get(field).and_then(Value::as_str).map(str::trim);
    approval::request(reach, ("reseatings", body), (key, COLUMNS), |request: &Request| {
        [&request.tenant.name, &request.tenant.id].into_iter().any(|name| said("tenant") == Some(name.as_str()))
            && said("name") == Some(request.administrator.as_str())
            && said("reason") == Some(request.reason.as_str())
            && said("legal_basis") == Some(request.legal_basis.as_str())
    })
}
