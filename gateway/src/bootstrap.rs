//! The first accounts of an installation, and the file that tells them to the first person.

use std::path::Path;
use std::sync::OnceLock;

use policy::id::AccessKeyId;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::{Before, Change, Commit, CommitError, ControlKind, ControlPut, Refusal};

use crate::accounts::{new_credential, new_principal, new_tenant};
use crate::clock;
use crate::control::{ControlState, CredentialRow, PrincipalRow};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::home::{Home, HomeError, write_private};
use crate::record::{Content, Control};
use policy::principal::Role;

/// Marks in the catalog that the first accounts were made, with the access key of the first administrator.
const DONE: &[u8] = b"bootstrap";
/// Front of the mark of when that access key was used first.
const USED: &[u8] = b"bootstrap-used ";
/// How long the administrator's secret in `bootstrap.json` serves from its first use on (SECURITY.md rule 8).
const SECRET_LIFE_MS: u64 = 24 * 60 * 60 * 1000;
const TENANT: &str = "demo";

/// `bootstrap.json`: where the server is and, until an administrator deletes it, the first credentials.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Bootstrap {
    /// URL of the S3 interface.
    pub s3_endpoint: String,
    /// Region name for signatures.
    pub region: String,
    /// The engineer's access key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub access_key_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secret_access_key: String,
    /// The engineer's tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// URL of the admin API.
    pub admin_endpoint: String,
    /// The platform administrator's access key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub admin_access_key_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub admin_secret_access_key: String,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrap")
            .field("s3", &self.s3_endpoint)
            .field("admin", &self.admin_endpoint)
            .finish_non_exhaustive()
    }
}

/// The first accounts cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A row or key.
    #[error(transparent)]
    Gateway(#[from] Error),
    /// The file.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The file makes no sense.
    #[error("bootstrap.json: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The administrator's secret that `bootstrap.json` tells. It is for the first day only: a file is read by many.
#[derive(Debug)]
pub struct FirstSecret {
    access_key: String,
    used: OnceLock<UtcMillis>,
}

impl FirstSecret {
    /// What the catalog knows of it.
    ///
    /// # Errors
    /// `Catalog` when rows cannot be read.
    pub async fn load(gateway: &Gateway) -> Result<Self, Error> {
        let access_key = first_administrator(gateway).await?.unwrap_or_default();
        let used = first_use(gateway, &access_key).await?.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self { access_key, used })
    }

    /// Whether an access key is the one that it belongs to.
    #[must_use]
    pub fn is(&self, access_key: &AccessKeyId) -> bool {
        access_key.as_str() == self.access_key
    }

    /// Whether an access key may be used at `now`; the first use of the one in `bootstrap.json` is noted and recorded.
    ///
    /// # Errors
    /// `Commit` when the first use cannot be noted.
    pub async fn serves(&self, gateway: &Gateway, access_key: &str, now: UtcMillis) -> Result<bool, Error> {
        if access_key != self.access_key {
            return Ok(true);
        }
        let first = match self.used.get() {
            Some(first) => *first,
            None => self.note_first_use(gateway, now).await?,
        };
        Ok(now.0.saturating_sub(first.0) < SECRET_LIFE_MS)
    }

    async fn note_first_use(&self, gateway: &Gateway, now: UtcMillis) -> Result<UtcMillis, Error> {
        let id = used(&self.access_key);
        let row = gateway.control.put_content(ControlKind::Platform, id, &now.0.to_be_bytes(), Before::Absent);
        match change(gateway, "bootstrap-secret-used", &self.access_key, vec![row]).await {
            // Another request was first.
            Ok(()) | Err(Error::Commit(CommitError::Refused(Refusal::Exists))) => {}
            Err(error) => return Err(error),
        }
        let first = first_use(gateway, &self.access_key).await?.ok_or(Error::Missing("first use"))?;
        Ok(*self.used.get_or_init(|| first))
    }
}

fn used(access_key: &str) -> Vec<u8> {
    [USED, access_key.as_bytes()].concat()
}

async fn first_use(gateway: &Gateway, access_key: &str) -> Result<Option<UtcMillis>, Error> {
    let row = gateway.control.content(ControlKind::Platform, &used(access_key)).await?;
    Ok(row.and_then(|bytes| bytes.as_slice().try_into().ok()).map(|bytes| UtcMillis(u64::from_be_bytes(bytes))))
}

async fn first_administrator(gateway: &Gateway) -> Result<Option<String>, Error> {
    let row = gateway.control.content(ControlKind::Platform, DONE).await?;
    Ok(row.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Commits control rows with a control record of the platform.
async fn change(gateway: &Gateway, event: &str, detail: &str, rows: Vec<ControlPut>) -> Result<(), Error> {
    let content = Content::Control(Control { event: event.to_owned(), detail: detail.to_owned() });
    let record = gateway.recorder.seal(None, clock::now(), &content).await?;
    gateway
        .catalog
        .commit(Commit { change: Change::PutControl { rows, buckets: Vec::new() }, record: Some(record) })
        .await?;
    Ok(())
}

/// Makes the first accounts if there are none, and writes the file. Returns it when accounts were made.
///
/// An administrator who deleted the file does not get the secrets back: only the addresses are written. Whoever
/// holds the root key and this machine may `replace` the first administrator's secret, which revokes the one before.
///
/// # Errors
/// [`BootstrapError`].
pub async fn run(
    gateway: &Gateway,
    home: &Home,
    (s3, admin): (&str, &str),
    replace: bool,
) -> Result<Option<Bootstrap>, BootstrapError> {
    let path = home.bootstrap();
    let known = first_administrator(gateway).await?;
    let before = if known.is_some() && path.exists() {
        let text = std::fs::read(&path).map_err(|source| HomeError::Io { path: path.clone(), source })?;
        serde_json::from_slice(&text)?
    } else {
        Bootstrap::default()
    };
    let mut file = Bootstrap {
        s3_endpoint: s3.to_owned(),
        admin_endpoint: admin.to_owned(),
        region: gateway.region.clone(),
        ..before
    };
    let (event, rows) = match &known {
        None => ("bootstrap", first_accounts(gateway, &mut file)?),
        Some(access_key) if replace => ("administrator-replaced", new_secret(gateway, access_key, &mut file).await?),
        Some(_) => {
            write_private(&path, &serde_json::to_vec_pretty(&file)?)?;
            warn_of_secrets(&path, &file);
            return Ok(None);
        }
    };
    // The file first: a crash between the two makes new accounts, never secrets that nobody has seen.
    write_private(&path, &serde_json::to_vec_pretty(&file)?)?;
    let detail = format!(
        "platform administrator {}, tenant {TENANT}, engineer {}",
        file.admin_access_key_id, file.access_key_id
    );
    change(gateway, event, &detail, rows).await?;
    warn_of_secrets(&path, &file);
    Ok(known.is_none().then_some(file))
}

fn warn_of_secrets(path: &Path, file: &Bootstrap) {
    if file.secret_access_key.is_empty() && file.admin_secret_access_key.is_empty() {
        return;
    }
    let file = path.display();
    tracing::warn!(%file, "this file holds secrets: keep them elsewhere and delete it; the administrator's serves for 24 hours from its first use");
}

/// Another secret for the first administrator; the one before is revoked.
async fn new_secret(gateway: &Gateway, access_key: &str, file: &mut Bootstrap) -> Result<Vec<ControlPut>, Error> {
    const GONE: Error = Error::Missing("the first administrator");
    let control = &*gateway.control;
    let before = control.standing::<CredentialRow>(access_key.as_bytes()).await?.ok_or(GONE)?;
    let principal = control.row::<PrincipalRow>(before.row.principal.as_bytes()).await?;
    let principal = principal.filter(|p| p.active).ok_or(GONE)?;
    let made = new_credential(&gateway.keys, &principal, clock::now())?;
    let revoked = CredentialRow { active: false, ..before.row.clone() };
    file.admin_access_key_id = made.row.access_key.to_string();
    file.admin_secret_access_key = made.secret.to_string();
    let done = done(control, &file.admin_access_key_id, Before::Any);
    Ok(vec![control.replace(&before, &revoked)?, control.create(&made.row)?, done])
}

fn done(control: &ControlState, access_key: &str, before: Before) -> ControlPut {
    control.put_content(ControlKind::Platform, DONE.to_vec(), access_key.as_bytes(), before)
}

fn first_accounts(gateway: &Gateway, file: &mut Bootstrap) -> Result<Vec<ControlPut>, Error> {
    let now = clock::now();
    let control = &*gateway.control;
    let (tenant, mut rows) = new_tenant(control, &gateway.keys, TENANT, now)?;
    let engineer = new_principal(Some(tenant.id), "engineer", Role::Engineer, None, now)?;
    let administrator = new_principal(None, "administrator", Role::PlatformAdministrator, None, now)?;
    let of_engineer = new_credential(&gateway.keys, &engineer, now)?;
    let of_administrator = new_credential(&gateway.keys, &administrator, now)?;
    for principal in [&engineer, &administrator] {
        rows.push(control.create(principal)?);
    }
    for credential in [&of_engineer.row, &of_administrator.row] {
        rows.push(control.create(credential)?);
    }
    rows.push(done(control, of_administrator.row.access_key.as_str(), Before::Absent));
    TENANT.clone_into(&mut file.tenant);
    file.access_key_id = of_engineer.row.access_key.to_string();
    file.secret_access_key = of_engineer.secret.to_string();
    file.admin_access_key_id = of_administrator.row.access_key.to_string();
    file.admin_secret_access_key = of_administrator.secret.to_string();
    Ok(rows)
}
