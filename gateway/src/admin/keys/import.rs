//! Keys that a tenant brings (BYOK): it wraps them to a public key that is published here, once for each key.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::StatusCode;
use policy::id::TransportId;
use policy::time::UtcMillis;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::catalog::ControlPut;

use super::tenant;
use crate::admin::accounts::bad;
use crate::admin::approvals::conflict;
use crate::admin::{Admin, Call, Failure, Outcome, named};
use crate::approval::DAY_MS;
use crate::clock::{now, rfc3339};
use crate::control::{TenantKeyRow, TransportRow};
use crate::error::Error;
use crate::provider::{Brought, ProviderKind};
use crate::seal::key::random;
use crate::seal::{SecretKey, Suite};
use crate::transport::{TransportError, TransportKey, TransportMethod};

/// Transport keys of one tenant that wait for a key.
const WAITING_MAX: usize = 10;
/// Binds a sealed private half to what it is.
const PURPOSE: &[u8] = b"transport";

/// What a tenant brings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    /// The transport key; the provider's own where there is none.
    transport: Option<String>,
    method: TransportMethod,
    /// The wrapped key, in base64.
    wrapped: String,
}

/// A public key to wrap one key to: one of ours for the sealed file, the provider's own where it has one.
pub(in crate::admin) async fn begin(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (tenant, provider) = (tenant(call)?, provider_of(call)?);
    if let Some(public) = admin.gateway.keys.transport(tenant, provider).await? {
        let answer = json!({ "transport": null, "public_key": public, "fingerprint": null, "until": null,
            "methods": [TransportMethod::RsaAesKwp], "provider": provider.name() });
        return Ok(Outcome::answer(answer));
    }
    let turn = Arc::clone(&admin.importing).try_lock_owned();
    let turn = turn.map_err(|_| conflict("another transport key is being made: try again in a second"))?;
    let now = now();
    let waits = |row: &TransportRow| row.tenant == tenant && !row.sealed.is_empty() && now < row.until;
    if admin.gateway.control.rows(WAITING_MAX, waits).await?.len() >= WAITING_MAX {
        return Err(conflict(format!("{WAITING_MAX} transport keys wait for a key: use one of them, or try tomorrow")));
    }
    let made = tokio::task::spawn_blocking(|| {
        let private = TransportKey::generate()?;
        TransportKey::from_pkcs8(&private).map(|key| (private, key))
    });
    let (private, key) = made.await.map_err(|_| Error::Missing("a transport key"))?.map_err(failed)?;
    let id = TransportId::time_ordered(now.0, random().map_err(Error::from)?);
    let sealed = admin.gateway.keys.seal_secret(&own(id), &private).map_err(Error::from)?;
    let row = TransportRow { id, tenant, created: now, until: UtcMillis(now.0 + DAY_MS), sealed };
    let answer = json!({ "transport": id.to_string(), "public_key": key.public_pem(), "fingerprint": key.fingerprint(),
        "until": rfc3339(row.until), "methods": [TransportMethod::RsaOaep, TransportMethod::RsaAesKwp],
        "provider": provider.name() });
    Ok(Outcome {
        subject: Some(format!("transport key {id}")),
        turn: Some(turn),
        ..Outcome::rows(vec![admin.gateway.control.create(&row)?], answer)
    })
}

/// A new key of what the call brings, with the rows that use up the transport key.
pub(super) async fn brought(
    admin: &Admin,
    call: &Call<'_>,
    name: &str,
    (provider, suite): (ProviderKind, Suite),
    import: &Value,
) -> Result<(TenantKeyRow, Vec<ControlPut>), Failure> {
    let tenant = tenant(call)?;
    let shape = "import has transport, method and wrapped";
    if !import.is_object() || !import.get("method").is_some_and(Value::is_string) {
        return Err(bad(shape));
    }
    let import: Import = serde_json::from_value(import.clone()).map_err(|e| bad(&format!("{shape}: {e}")))?;
    let wrapped = BASE64_STANDARD.decode(&import.wrapped).map_err(|_| bad("wrapped is no base64"))?;
    let Some(transport) = import.transport else {
        if import.method != TransportMethod::RsaAesKwp {
            return Err(bad("a provider's own transport key takes RSA-AES-KWP-SHA256"));
        }
        let brought = Brought::Wrapped(&wrapped);
        return Ok((admin.gateway.keys.imported((tenant, name), provider, suite, brought, now()).await?, Vec::new()));
    };
    let id: TransportId = transport.parse().map_err(|_| bad("transport is the id of a transport key"))?;
    let missing = || Failure::new(StatusCode::NOT_FOUND, "the tenant has no such transport key, or it is over");
    let known = admin.gateway.control.standing::<TransportRow>(id.as_bytes()).await?;
    let known = known.filter(|known| known.row.tenant == tenant && now() < known.row.until).ok_or_else(missing)?;
    if known.row.sealed.is_empty() {
        return Err(conflict("the transport key was used: each is for one key"));
    }
    let private = admin.gateway.keys.open_secret(&own(id), &known.row.sealed).map_err(Error::from)?;
    let opened = tokio::task::spawn_blocking(move || {
        TransportKey::from_pkcs8(&private)?.unwrap(import.method, &wrapped).map(|key| SecretKey::from_bytes(*key))
    });
    let key = opened.await.map_err(|_| Error::Missing("a transport key"))?.map_err(failed)?;
    let brought = Brought::Opened(key);
    let row = admin.gateway.keys.imported((tenant, name), provider, suite, brought, now()).await?;
    let used = TransportRow { sealed: Vec::new(), ..known.row.clone() };
    Ok((row, vec![admin.gateway.control.replace(&known, &used)?]))
}

fn own(id: TransportId) -> Vec<u8> {
    [PURPOSE, id.as_bytes()].concat()
}

pub(super) fn provider_of(call: &Call<'_>) -> Result<ProviderKind, Failure> {
    match call.body.get("provider") {
        None => Ok(ProviderKind::SealedFile),
        Some(name) => named(name).ok_or_else(|| bad("the provider is sealed-file, openbao, pkcs11 or hyok")),
    }
}

fn failed(error: TransportError) -> Failure {
    match error {
        TransportError::Malformed(_) | TransportError::Refused => bad(&error.to_string()),
        TransportError::PrivateKey | TransportError::Generate => {
            tracing::error!(%error, "a transport key");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its log says why")
        }
    }
}
