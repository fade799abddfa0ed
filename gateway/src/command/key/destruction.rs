//! Destructions of keys: approval keys, signatures, certificates.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::command::client::Client;
use crate::command::table::render;
use crate::command::{CommandError, Reach, print};
use crate::destruction::certificate::{Certificate, SignedCertificate};
use crate::destruction::{Request, digest_of, is_plain, pdf, to_sign};

pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("KEYS", "keys"),
    ("STATE", "state"),
    ("DUE", "due"),
    ("DAYS", "waiting_days"),
    ("REQUESTED", "requested"),
    ("SIGNED BY", "signed_by"),
];

/// An approval key as it lies in its holder's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: String,
    public_key: String,
    private_key: String,
}

const FORMAT: &str = "gotgan-approval-key/1";

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CommandError {
    let path = path.display().to_string();
    move |e| CommandError(format!("{path}: {e}"))
}

/// Makes a key in a file that is not there yet, and enrols its public half.
pub(super) fn enrol(reach: &Reach, path: &Path) -> Result<(), CommandError> {
    let none = |_| CommandError("no random bytes from the system".to_owned());
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(none)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(CommandError::new)?;
    let public_key = hex::encode(pair.public_key());
    let file =
        KeyFile { format: FORMAT.to_owned(), public_key: public_key.clone(), private_key: hex::encode(pkcs8.as_ref()) };
    // As long as it will be from the start: one that grew would leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(1024));
    serde_json::to_writer_pretty(&mut *text, &file).map_err(CommandError::new)?;
    let client = Client::new(reach)?;
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(failed(path))?;
    let answer = client.send("PUT", "/v1/approver", &json!({ "public_key": public_key }))?;
    let columns = [("NAME", "name"), ("APPROVAL KEY", "public_key")];
    if reach.json { print(&answer.to_string()) } else { print(&render(&columns, &[answer])) }
}

fn pair(path: &Path) -> Result<Ed25519KeyPair, CommandError> {
    let mode = fs::metadata(path).map_err(failed(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CommandError(format!("{} has mode {mode:o}; it must be 0600", path.display())));
    }
    let text = Zeroizing::new(fs::read(path).map_err(failed(path))?);
    let none = || CommandError(format!("{} is no approval key", path.display()));
    let file: KeyFile = serde_json::from_slice(&text).map_err(|_| none())?;
    let pkcs8 = Zeroizing::new(hex::decode(&file.private_key).map_err(|_| none())?);
    Ed25519KeyPair::from_pkcs8(&pkcs8).ok().filter(|_| file.format == FORMAT).ok_or_else(none)
}

/// Signs what the server wrote down, if it says what was asked for.
pub(super) fn request(reach: &Reach, body: &Value, key: &Path) -> Result<(), CommandError> {
    let (client, pair) = (Client::new(reach)?, pair(key)?);
    let asked = client.send("POST", "/v1/destructions", body)?;
    let id = text(&asked, "id")?;
    let shown = client.get(&format!("/v1/destructions/{id}"), &[])?;
    let document = text(&shown, "document")?;
    let request: Request = serde_json::from_str(document).map_err(CommandError::new)?;
    let said = |field: &str| body.get(field).and_then(Value::as_str);
    let named = match said("key") {
        Some(named) => request.keys.len() == 1 && request.keys.iter().all(|key| key.name == named || key.id == named),
        None => true,
    };
    let same = named
        && said("reason").map(str::trim) == Some(request.reason.as_str())
        && said("legal_basis").map(str::trim) == Some(request.legal_basis.as_str())
        && body.get("waiting_days") == Some(&json!(request.waiting_days));
    if !same {
        return Err(CommandError(format!(
            "not signed: the server wrote down another request than was asked for: {document}"
        )));
    }
    sign(reach, &client, id, document, &pair)
}

/// Shows a request to whoever approves it, and signs it.
pub(super) fn approve(
    reach: &Reach,
    id: &str,
    key: &Path,
    confirmed: impl FnOnce(&str) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let (client, pair) = (Client::new(reach)?, pair(key)?);
    let shown = client.get(&format!("/v1/destructions/{id}"), &[])?;
    let document = text(&shown, "document")?;
    let request: Request = serde_json::from_str(document).map_err(CommandError::new)?;
    let pretty = serde_json::to_string_pretty(&request).map_err(CommandError::new)?;
    if !is_plain(document) {
        return Err(CommandError("not signed: the request holds characters that hide or turn others".to_owned()));
    }
    confirmed(&format!("{pretty}\nSHA-256 {}", digest_of(document)))?;
    sign(reach, &client, id, document, &pair)
}

fn sign(reach: &Reach, client: &Client, id: &str, document: &str, pair: &Ed25519KeyPair) -> Result<(), CommandError> {
    let signature = hex::encode(pair.sign(&to_sign(document)));
    let answer = client.send("POST", &format!("/v1/destructions/{id}/sign"), &json!({ "signature": signature }))?;
    if reach.json { print(&answer.to_string()) } else { print(&render(COLUMNS, &[answer])) }
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, CommandError> {
    let value = answer.get(field).and_then(Value::as_str);
    value.ok_or_else(|| CommandError(format!("the server's answer has no {field}")))
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
