//! Approval keys and what is signed with them: each of two persons has one, in a file that never leaves it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::client::Client;
use super::key::confirmed;
use super::table::render;
use super::{CommandError, Reach, print, say};
use crate::admin::signing::escape;
use crate::approval::{digest_of, is_plain, to_sign};

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

pub(super) fn failed(path: &Path) -> impl Fn(std::io::Error) -> CommandError {
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

/// What whoever approves gives.
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The request's id.
    id: String,
    /// Your approval key.
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// The id once more, instead of typing it when asked.
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

impl Approve {
    /// Shows a request of this kind to whoever approves it, with what follows, and signs it.
    pub(super) fn run<R: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        consequence: &str,
        columns: &[(&str, &str)],
    ) -> Result<(), CommandError> {
        let (client, pair) = (Client::new(&self.reach)?, pair(&self.sign_with)?);
        let path = format!("/v1/{kind}/{}", escape(&self.id));
        let shown = client.get(&path, &[])?;
        let document = text(&shown, "document")?;
        let request: R = serde_json::from_str(document).map_err(CommandError::new)?;
        let pretty = serde_json::to_string_pretty(&request).map_err(CommandError::new)?;
        if !is_plain(document) {
            return Err(CommandError("not signed: the request holds characters that hide or turn others".to_owned()));
        }
        say(&format!("{pretty}\nSHA-256 {}", digest_of(document)));
        confirmed(&self.id, self.confirm.as_deref(), "to approve it", consequence)?;
        sign(&self.reach, &client, (&path, document), (&pair, columns))
    }
}

/// Asks for something of this kind, and signs what the server wrote down, if that is what was asked for.
pub(super) fn request<R: DeserializeOwned>(
    reach: &Reach,
    (kind, body): (&str, &Value),
    (key, columns): (&Path, &[(&str, &str)]),
    is_same: impl FnOnce(&R) -> bool,
) -> Result<(), CommandError> {
    // Nothing is asked for that cannot be signed.
    let (client, pair) = (Client::new(reach)?, pair(key)?);
    let asked = client.send("POST", &format!("/v1/{kind}"), body)?;
    sign_written(reach, &client, (kind, text(&asked, "id")?), (&pair, columns), is_same)
}

/// Signs what was asked for before, if it is that.
pub(super) fn sign_asked<R: DeserializeOwned>(
    reach: &Reach,
    asked: (&str, &str),
    (key, columns): (&Path, &[(&str, &str)]),
    is_same: impl FnOnce(&R) -> bool,
) -> Result<(), CommandError> {
    let (client, pair) = (Client::new(reach)?, pair(key)?);
    sign_written(reach, &client, asked, (&pair, columns), is_same)
}

/// Signs what the server wrote down, if that is what was asked for.
fn sign_written<R: DeserializeOwned>(
    reach: &Reach,
    client: &Client,
    (kind, id): (&str, &str),
    (pair, columns): (&Ed25519KeyPair, &[(&str, &str)]),
    is_same: impl FnOnce(&R) -> bool,
) -> Result<(), CommandError> {
    let path = format!("/v1/{kind}/{}", escape(id));
    let shown = client.get(&path, &[])?;
    let document = text(&shown, "document")?;
    if !is_same(&serde_json::from_str(document).map_err(CommandError::new)?) {
        return Err(CommandError(format!(
            "not signed: the server wrote down another request than was asked for: {document}"
        )));
    }
    sign(reach, client, (&path, document), (pair, columns))
}

/// Signs a request, and shows what it is then.
fn sign(
    reach: &Reach,
    client: &Client,
    (path, document): (&str, &str),
    (pair, columns): (&Ed25519KeyPair, &[(&str, &str)]),
) -> Result<(), CommandError> {
    let signature = hex::encode(pair.sign(&to_sign(document)));
    let answer = client.send("POST", &format!("{path}/sign"), &json!({ "signature": signature }))?;
    if reach.json { print(&answer.to_string()) } else { print(&render(columns, &[answer])) }
}

/// A text of an answer.
pub(super) fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, CommandError> {
    let value = answer.get(field).and_then(Value::as_str);
    value.ok_or_else(|| CommandError(format!("the server's answer has no {field}")))
}
