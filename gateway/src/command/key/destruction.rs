//! Destructions of keys: approval keys, signatures, certificates.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::command::approval::{self, failed, text};
use crate::command::client::Client;
use crate::command::{CommandError, Reach, print};
use crate::destruction::certificate::{Certificate, SignedCertificate};
use crate::destruction::{Request, Scope, pdf};

pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("KEYS", "keys"),
    ("BUCKET", "bucket"),
    ("STATE", "state"),
    ("DUE", "due"),
    ("DAYS", "waiting_days"),
    ("REQUESTED", "requested"),
    ("SIGNED BY", "signed_by"),
];

/// Signs what the server wrote down, if it says what was asked for.
pub(super) fn request(reach: &Reach, body: &Value, key: &Path) -> Result<(), CommandError> {
    let said = |field: &str| body.get(field).and_then(Value::as_str);
    approval::request(reach, ("destructions", body), (key, COLUMNS), |request: &Request| {
        let named = match (said("key"), said("bucket")) {
            (_, Some(bucket)) => request.scope == Scope::Bucket && request.buckets == [bucket],
            // Not by another name that it goes by: what is signed shows its own.
            (Some(named), None) => {
                request.scope == Scope::Key
                    && request.keys.len() == 1
                    && request.keys.iter().all(|key| key.name == named || key.id == named)
            }
            (None, None) => request.scope == Scope::Tenant,
        };
        named
            && said("reason").map(str::trim) == Some(request.reason.as_str())
            && said("legal_basis").map(str::trim) == Some(request.legal_basis.as_str())
            && body.get("waiting_days") == Some(&json!(request.waiting_days))
    })
}

/// Fetches a certificate, verifies it, and writes it down.
pub(super) fn certificate(
    reach: &Reach,
    id: &str,
    out: Option<&Path>,
    paper: Option<&Path>,
) -> Result<(), CommandError> {
    let shown = Client::new(reach)?.get(&format!("/v1/destructions/{id}"), &[])?;
    let Some(signed) = shown.get("certificate").and_then(Value::as_str) else {
        let state = text(&shown, "state")?;
        return Err(CommandError(format!("there is no certificate yet: the destruction is {state}")));
    };
    let (signed, certificate, request) = verified(reach, signed.as_bytes())?;
    let json = serde_json::to_string(&signed).map_err(CommandError::new)?;
    if let Some(path) = out {
        fs::write(path, &json).map_err(failed(path))?;
    }
    if let Some(path) = paper {
        let page = pdf::page(&signed, &certificate, &request).map_err(CommandError::new)?;
        fs::write(path, page).map_err(failed(path))?;
    }
    if out.is_none() && paper.is_none() { print(&json) } else { said(reach, &certificate, &request) }
}

/// Verifies a certificate that lies in a file. No server is asked.
pub(super) fn verify(reach: &Reach, path: &Path) -> Result<(), CommandError> {
    let (_, certificate, request) = verified(reach, &fs::read(path).map_err(failed(path))?)?;
    said(reach, &certificate, &request)
}

fn verified(reach: &Reach, signed: &[u8]) -> Result<(SignedCertificate, Certificate, Request), CommandError> {
    let beside = reach.data.as_ref().map(|data| data.join("certs/ca.pem"));
    let ca = reach.ca.clone().or(beside);
    let ca = ca.ok_or_else(|| CommandError("give the CA's certificate: --ca FILE, or --data DIR".to_owned()))?;
    let ca = fs::read(&ca).map_err(failed(&ca))?;
    let signed: SignedCertificate = serde_json::from_slice(signed)
        .map_err(|e| CommandError(format!("not a valid certificate of destruction: {e}")))?;
    let (certificate, request) = signed.verify(&ca).map_err(CommandError::new)?;
    Ok((signed, certificate, request))
}

fn said(reach: &Reach, certificate: &Certificate, request: &Request) -> Result<(), CommandError> {
    if reach.json {
        return print(&json!({ "valid": true, "request": request, "certificate": certificate }).to_string());
    }
    let names = request.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
    let persons = certificate.approvals.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(" and ");
    let trial = if request.trial { " (a TRIAL: nobody was made to wait)" } else { "" };
    let removed = &certificate.removed;
    let objects: u64 = removed.iter().map(|one| one.objects).sum();
    print(&format!(
        "valid{trial}: {names} of {} destroyed, certified {}; asked for and approved by {persons}; {}\n{} bucket keys were tried after, none opened; {} buckets were removed, with {objects} objects",
        request.tenant.name,
        certificate.issued_at,
        request.legal_basis,
        certificate.checked,
        removed.len(),
    ))?;
    for survivor in &certificate.survives {
        print(&format!("survives: {}, until {}", survivor.what, survivor.until))?;
    }
    Ok(())
}
