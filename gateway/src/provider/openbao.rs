//! OpenBao, or Vault: tenant keys of its Transit engine never leave it
//! (<https://openbao.org/api-docs/secret/transit/>).
//!
//! A key is named by its id. Transit takes the context of what it wraps as associated data; what is stored is as
//! [`at_provider`] says.

use std::path::PathBuf;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use policy::id::KeyId;
use policy::place::VerifiedPlace;
use policy::reason::Reason;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::guard::Guard;
use super::{Brought, FINGERPRINT, KeyProvider, NewKey, NewVersion, ProviderError, ProviderKind, Wrapped, secret_file};
use crate::control::TenantKeyRow;
use crate::https;
use crate::seal::wrap::{WrapContext, at_provider};
use crate::seal::{SealError, SecretKey, Suite};

const KIND: ProviderKind = ProviderKind::Openbao;
/// Bucket keys of one request.
const BATCH: usize = 256;
const ANSWER_MAX: usize = 1 << 20;
/// Header that says why a key is unwrapped: for its audit log, or for whoever decides in front of it.
const REASON: &str = "x-gotgan-reason";

/// Where the server is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBaoOptions {
    /// URL, `https://` unless on this machine.
    pub address: String,
    /// Mount of the Transit engine.
    pub mount: String,
    /// File that holds the token, mode 0600. It is read for each request, so an agent may renew it.
    pub token_file: PathBuf,
    /// Certificate of the CA that signed the server's.
    pub ca: Option<PathBuf>,
    /// Where the server stands, as whoever configured it says.
    pub place: VerifiedPlace,
}

/// The provider.
#[derive(Debug)]
pub struct OpenBao {
    options: OpenBaoOptions,
    guard: Guard,
}

/// What the server says of a key.
#[derive(Debug, Deserialize)]
struct KeyInfo {
    latest_version: u32,
    /// Versions that are there, by number.
    #[serde(default)]
    keys: std::collections::HashMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Reply<T> {
    data: T,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

#[derive(Deserialize)]
struct Batch<T> {
    batch_results: Vec<T>,
}

#[derive(Deserialize)]
struct Encrypted {
    #[serde(default)]
    error: String,
    #[serde(default)]
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted<'a> {
    #[serde(default)]
    error: String,
    /// Borrowed: it is wiped with the answer.
    #[serde(borrow, default)]
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Failed {
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct WrappingKey {
    public_key: String,
}

#[derive(Deserialize)]
struct Hmac {
    hmac: String,
}

fn strange() -> ProviderError {
    KIND.unavailable("its answer is not what the API of Transit promises")
}

impl OpenBao {
    /// A provider, which is not asked before it is needed.
    #[must_use]
    pub const fn new(options: OpenBaoOptions) -> Self {
        Self::of(KIND, options)
    }

    /// The same, counted as another kind.
    pub(super) const fn of(kind: ProviderKind, options: OpenBaoOptions) -> Self {
        Self { options, guard: Guard::new(kind) }
    }

    /// One request; the answer is wiped when it is dropped.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
        reason: Option<Reason>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), ProviderError> {
        let OpenBaoOptions { address, mount, ca, .. } = &self.options;
        let host = address.split("://").nth(1).unwrap_or(address).trim_end_matches('/');
        let path_of_token = self.options.token_file.clone();
        let token = tokio::task::spawn_blocking(move || secret_file(&path_of_token)).await;
        let token = token.map_err(|e| e.to_string()).flatten().map_err(|why| KIND.unavailable(why))?;
        let mut request = Request::builder();
        if let Some(reason) = reason {
            request = request.header(REASON, reason.code());
        }
        let request = request
            .method(method)
            .uri(format!("/v1/{mount}/{path}"))
            .header("host", host)
            .header("x-vault-token", token.as_str())
            .header("x-vault-request", "true")
            .header("content-type", "application/json")
            .body(Full::from(Bytes::from_owner(body)))
            .map_err(|e| KIND.unavailable(e.to_string()))?;
        let answer = https::send(address, ca.as_deref(), request, ANSWER_MAX).await;
        let (status, bytes) = answer.map_err(|e| KIND.unavailable(e.to_string()))?;
        let kept = Zeroizing::new(bytes.to_vec());
        if let Ok(mut bytes) = bytes.try_into_mut() {
            bytes.zeroize();
        }
        Ok((status, kept))
    }

    /// A request that changes or does something and answers with data.
    async fn data<T>(
        &self,
        path: &str,
        body: Zeroizing<Vec<u8>>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, ProviderError> {
        self.data_for(path, body, None, read).await
    }

    /// As [`Self::data`], for a reason.
    async fn data_for<T>(
        &self,
        path: &str,
        body: Zeroizing<Vec<u8>>,
        reason: Option<Reason>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, ProviderError> {
        let (status, answer) = self.ask(Method::POST, path, body, reason).await?;
        judge(status, &answer)?;
        read(&answer).ok_or_else(strange)
    }

    async fn info(&self, key: KeyId) -> Result<Option<KeyInfo>, ProviderError> {
        let (status, answer) = self.ask(Method::GET, &format!("keys/{key}"), Zeroizing::default(), None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        judge(status, &answer)?;
        data_of(&answer).map(Some).ok_or_else(strange)
    }

    async fn fingerprint(&self, key: KeyId, version: u32) -> Result<String, ProviderError> {
        let body = json!({ "input": BASE64_STANDARD.encode(FINGERPRINT), "key_version": version });
        let hmac: Hmac = self.data(&format!("hmac/{key}"), written(body, 1)?, data_of).await?;
        let proof = hmac.hmac.strip_prefix(&format!("vault:v{version}:")).ok_or_else(strange)?;
        let mut proof = BASE64_STANDARD.decode(proof).map_err(|_| strange())?;
        proof.truncate(16);
        Ok(hex::encode(proof))
    }

    async fn version(&self, key: KeyId) -> Result<NewVersion, ProviderError> {
        let info = self.info(key).await?.ok_or_else(strange)?;
        let fingerprint = self.fingerprint(key, info.latest_version).await?;
        Ok(NewVersion { number: info.latest_version, fingerprint, wrapped: Vec::new() })
    }

    /// Deletes a key, which Transit permits for one that is configured so, and looks for it.
    async fn delete(&self, key: KeyId) -> Result<String, ProviderError> {
        if self.info(key).await?.is_none() {
            return Ok(format!("transit/keys/{key} is not there any more (404)"));
        }
        let body = written(json!({ "deletion_allowed": true }), 1)?;
        let (status, answer) = self.ask(Method::POST, &format!("keys/{key}/config"), body, None).await?;
        judge(status, &answer)?;
        let (status, answer) = self.ask(Method::DELETE, &format!("keys/{key}"), Zeroizing::default(), None).await?;
        judge(status, &answer)?;
        match self.info(key).await? {
            None => Ok(format!("DELETE transit/keys/{key} answered {status}; GET then answered 404")),
            Some(_) => Err(KIND.refused("it deleted the key and has it still")),
        }
    }

    /// Trims a key to a version and those after it, and looks which there are.
    async fn trim(&self, key: KeyId, version: u32) -> Result<String, ProviderError> {
        let floor = json!({ "min_decryption_version": version, "min_encryption_version": version });
        for (path, body) in [("config", floor), ("trim", json!({ "min_available_version": version }))] {
            let body = written(body, 1)?;
            let (status, answer) = self.ask(Method::POST, &format!("keys/{key}/{path}"), body, None).await?;
            judge(status, &answer)?;
        }
        let info = self.info(key).await?.ok_or_else(strange)?;
        let older = info.keys.keys().filter(|number| number.parse::<u32>().is_ok_and(|number| number < version));
        match older.count() {
            0 if info.keys.contains_key(&version.to_string()) => {
                Ok(format!("transit/keys/{key}/trim to version {version}; GET then showed none before it"))
            }
            _ => Err(KIND.refused("it trimmed the key and shows older versions still")),
        }
    }

    /// Nothing is wrapped by a key that somebody else made under the name of one of ours.
    async fn ours(&self, row: &TenantKeyRow) -> Result<(), ProviderError> {
        let current = row.current()?;
        match self.fingerprint(row.id, current.number).await? == current.fingerprint {
            true => Ok(()),
            false => Err(KIND.refused("it holds another key under the name of this one")),
        }
    }

    async fn encrypt(
        &self,
        key: KeyId,
        suite: Suite,
        items: &[(WrapContext, SecretKey)],
    ) -> Result<Vec<Vec<u8>>, ProviderError> {
        let inputs = items.iter().map(|(context, key)| {
            let plaintext = Zeroizing::new(BASE64_STANDARD.encode(key.expose()));
            json!({
                "plaintext": plaintext.as_str(),
                "associated_data": BASE64_STANDARD.encode(context.bytes(suite)),
                "key_version": context.wrapping_version,
            })
        });
        let body = written(json!({ "batch_input": inputs.collect::<Vec<_>>() }), items.len())?;
        let results: Batch<Encrypted> = self.data(&format!("encrypt/{key}"), body, data_of).await?;
        let results = results.batch_results;
        if results.len() != items.len() {
            return Err(strange());
        }
        let mut out = Vec::with_capacity(items.len());
        for (result, (context, key)) in results.into_iter().zip(items) {
            if !result.error.is_empty() {
                return Err(KIND.refused(result.error));
            }
            if !result.ciphertext.starts_with(&format!("vault:v{}:", context.wrapping_version)) {
                return Err(strange());
            }
            out.push(at_provider::stored(suite, context, key, result.ciphertext.as_bytes()));
        }
        Ok(out)
    }

    async fn decrypt(
        &self,
        row: &TenantKeyRow,
        items: &[Wrapped<'_>],
        reason: Reason,
    ) -> Result<Vec<SecretKey>, ProviderError> {
        let mut inputs = Vec::with_capacity(items.len());
        for (context, wrapped) in items {
            let text = std::str::from_utf8(at_provider::content(wrapped, context)?);
            inputs.push(json!({
                "ciphertext": text.map_err(|_| SealError::Malformed("bucket key"))?,
                "associated_data": BASE64_STANDARD.encode(context.bytes(row.suite)),
            }));
        }
        let body = json!({ "batch_input": inputs });
        let read = |answer: &[u8]| {
            let reply: Reply<Batch<Decrypted<'_>>> = serde_json::from_slice(answer).ok()?;
            Some(reply.data.batch_results.into_iter().map(|result| key_of(&result)).collect::<Vec<_>>())
        };
        let (path, body) = (format!("decrypt/{}", row.id), written(body, items.len())?);
        let keys = self.data_for(&path, body, Some(reason), read).await?;
        if keys.len() != items.len() {
            return Err(strange());
        }
        let mut out = Vec::with_capacity(items.len());
        for (key, (context, wrapped)) in keys.into_iter().zip(items) {
            out.push(at_provider::proved(key?, context, wrapped)?);
        }
        Ok(out)
    }
}

fn key_of(result: &Decrypted<'_>) -> Result<SecretKey, ProviderError> {
    if !result.error.is_empty() {
        return Err(KIND.refused(result.error.as_str()));
    }
    let mut key = Zeroizing::new([0; 32]);
    // Two bytes more than a key has: the decoder wants room for whole groups.
    let mut bytes = Zeroizing::new([0; 34]);
    match BASE64_STANDARD.decode_slice(result.plaintext, bytes.as_mut_slice()) {
        Ok(32) => key.copy_from_slice(&bytes[..32]),
        _ => return Err(strange()),
    }
    Ok(SecretKey::from_bytes(*key))
}

fn data_of<T: for<'a> Deserialize<'a>>(answer: &[u8]) -> Option<T> {
    serde_json::from_slice::<Reply<T>>(answer).ok().map(|reply| reply.data)
}

/// What the first item of a batch that failed is said to be.
fn failed_item(answer: &[u8]) -> Result<String, serde_json::Error> {
    let reply: Reply<Batch<Failed>> = serde_json::from_slice(answer)?;
    let mut failed = reply.data.batch_results.into_iter().map(|item| item.error).filter(|error| !error.is_empty());
    Ok(failed.next().unwrap_or_default())
}

/// What a status means: above 499, and 429, it may be otherwise later.
fn judge(status: StatusCode, answer: &[u8]) -> Result<(), ProviderError> {
    if status.is_success() {
        return Ok(());
    }
    let reply = serde_json::from_slice::<Errors>(answer);
    let said = reply.map(|reply| reply.errors.join("; ")).or_else(|_| failed_item(answer)).unwrap_or_default();
    let said = if said.is_empty() { status.to_string() } else { format!("{said} ({status})") };
    match status {
        StatusCode::TOO_MANY_REQUESTS => Err(KIND.unavailable(said)),
        _ if status.is_server_error() => Err(KIND.unavailable(said)),
        _ => Err(KIND.refused(said)),
    }
}

/// A document of so many items as text, which may hold keys: neither it nor the document stays behind in memory. It
/// is as long as it will be from the start, for one that grew would leave a copy.
fn written(mut body: Value, items: usize) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let mut text = Zeroizing::new(Vec::with_capacity(512 * (items + 1)));
    let done = serde_json::to_writer(&mut *text, &body);
    wipe(&mut body);
    done.map(|()| text).map_err(|_| strange())
}

/// Wipes the texts of a document that held keys.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[async_trait]
impl KeyProvider for OpenBao {
    fn kind(&self) -> ProviderKind {
        KIND
    }

    fn place(&self) -> Option<VerifiedPlace> {
        Some(self.options.place.clone())
    }

    async fn create(&self, key: NewKey) -> Result<NewVersion, ProviderError> {
        let make = || async {
            if self.info(key.id).await?.is_some() {
                // Transit would answer as if it had made it.
                return Err(KIND.refused(format!("a key {} is there already", key.id)));
            }
            let body = json!({ "type": "aes256-gcm96", "exportable": false });
            self.data(&format!("keys/{}", key.id), written(body, 1)?, |_| Some(())).await
        };
        // Asked once: of a second try it would not be known whose key it found.
        self.guard.once("create", make).await?;
        self.guard.call("read", || self.version(key.id)).await
    }

    /// <https://openbao.org/api-docs/secret/transit/#get-wrapping-key>
    async fn transport(&self) -> Result<Option<String>, ProviderError> {
        let read = || async {
            let (status, answer) = self.ask(Method::GET, "wrapping_key", Zeroizing::default(), None).await?;
            judge(status, &answer)?;
            data_of::<WrappingKey>(&answer).map(|key| Some(key.public_key)).ok_or_else(strange)
        };
        self.guard.call("read", read).await
    }

    /// <https://openbao.org/api-docs/secret/transit/#import-key>
    async fn import(&self, key: NewKey, brought: Brought<'_>) -> Result<NewVersion, ProviderError> {
        let Brought::Wrapped(wrapped) = brought else {
            return Err(KIND.refused("it wants keys wrapped to its own transport key"));
        };
        let make = || async {
            if self.info(key.id).await?.is_some() {
                return Err(KIND.refused(format!("a key {} is there already", key.id)));
            }
            let body = json!({ "ciphertext": BASE64_STANDARD.encode(wrapped), "hash_function": "SHA256",
                "type": "aes256-gcm96", "exportable": false, "allow_rotation": true });
            self.data(&format!("keys/{}/import", key.id), written(body, 4)?, |_| Some(())).await
        };
        self.guard.once("create", make).await?;
        self.guard.call("read", || self.version(key.id)).await
    }

    async fn rotate(&self, row: &TenantKeyRow) -> Result<NewVersion, ProviderError> {
        self.guard.call("read", || self.ours(row)).await?;
        let path = format!("keys/{}/rotate", row.id);
        self.guard.once("rotate", || self.data(&path, Zeroizing::default(), |_| Some(()))).await?;
        let version = self.guard.call("read", || self.version(row.id)).await?;
        if version.number <= row.current()?.number {
            return Err(KIND.refused("it has fewer versions of the key than were made"));
        }
        Ok(version)
    }

    async fn wrap(
        &self,
        row: &TenantKeyRow,
        bucket_keys: &[(WrapContext, SecretKey)],
    ) -> Result<Vec<Vec<u8>>, ProviderError> {
        self.guard.call("read", || self.ours(row)).await?;
        let mut out = Vec::with_capacity(bucket_keys.len());
        for batch in bucket_keys.chunks(BATCH) {
            out.extend(self.guard.call("wrap", || self.encrypt(row.id, row.suite, batch)).await?);
        }
        Ok(out)
    }

    async fn unwrap(
        &self,
        row: &TenantKeyRow,
        wrapped: &[Wrapped<'_>],
        reason: Reason,
    ) -> Result<Vec<SecretKey>, ProviderError> {
        let mut out = Vec::with_capacity(wrapped.len());
        for batch in wrapped.chunks(BATCH) {
            out.extend(self.guard.call("unwrap", || self.decrypt(row, batch, reason)).await?);
        }
        Ok(out)
    }

    async fn holds(&self, row: &TenantKeyRow) -> Result<(), ProviderError> {
        self.guard.call("read", || self.ours(row)).await
    }

    async fn destroy(&self, row: &TenantKeyRow) -> Result<String, ProviderError> {
        self.guard.call("destroy", || self.delete(row.id)).await
    }

    async fn destroy_before(&self, row: &TenantKeyRow, version: u32) -> Result<String, ProviderError> {
        self.guard.call("destroy", || self.trim(row.id, version)).await
    }
}
