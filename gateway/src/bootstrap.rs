//! The first accounts of an installation, and the file that tells them to the first person.

use serde::{Deserialize, Serialize};
use storage::catalog::{Change, Commit, ControlKind, ControlPut};

use crate::accounts::{new_credential, new_principal, new_tenant};
use crate::clock;
use crate::control::ControlRow;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::home::{Home, HomeError, write_private};
use crate::record::{Content, Control};
use policy::principal::Role;

/// Marks in the catalog that the first accounts were made.
const DONE: &[u8] = b"bootstrap";
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

/// Makes the first accounts if there are none, and writes the file. Returns it when accounts were made.
///
/// An administrator who deleted the file does not get the secrets back: only the addresses are written.
///
/// # Errors
/// [`BootstrapError`].
pub async fn run(gateway: &Gateway, home: &Home, s3: &str, admin: &str) -> Result<Option<Bootstrap>, BootstrapError> {
    let path = home.bootstrap();
    let known = gateway.catalog.control(ControlKind::Platform, DONE).await.map_err(Error::from)?.is_some();
    let before = if known && path.exists() {
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
    if known {
        write_private(&path, &serde_json::to_vec_pretty(&file)?)?;
        return Ok(None);
    }
    let rows = first_accounts(gateway, &mut file)?;
    // The file first: a crash between the two makes new accounts, never secrets that nobody has seen.
    write_private(&path, &serde_json::to_vec_pretty(&file)?)?;
    let content = Content::Control(Control {
        event: "bootstrap".to_owned(),
        detail: format!(
            "platform administrator {}, tenant {TENANT}, engineer {}",
            file.admin_access_key_id, file.access_key_id
        ),
    });
    let record = gateway.recorder.seal(None, clock::now(), &content).await?;
    gateway
        .catalog
        .commit(Commit { change: Change::PutControl(rows), record: Some(record) })
        .await
        .map_err(Error::from)?;
    Ok(Some(file))
}

fn first_accounts(gateway: &Gateway, file: &mut Bootstrap) -> Result<Vec<ControlPut>, Error> {
    let now = clock::now();
    let (tenant, mut rows) = new_tenant(&gateway.keys, TENANT, now)?;
    let engineer = new_principal(Some(tenant.id), "engineer", Role::Engineer, now)?;
    let administrator = new_principal(None, "administrator", Role::PlatformAdministrator, now)?;
    let of_engineer = new_credential(&gateway.keys, &engineer, now)?;
    let of_administrator = new_credential(&gateway.keys, &administrator, now)?;
    for row in
        [engineer.put(true)?, administrator.put(true)?, of_engineer.row.put(true)?, of_administrator.row.put(true)?]
    {
        rows.push(row);
    }
    rows.push(ControlPut { kind: ControlKind::Platform, id: DONE.to_vec(), value: vec![1], only_if_absent: true });
    TENANT.clone_into(&mut file.tenant);
    file.access_key_id = of_engineer.row.access_key.to_string();
    file.secret_access_key = of_engineer.secret.to_string();
    file.admin_access_key_id = of_administrator.row.access_key.to_string();
    file.admin_secret_access_key = of_administrator.secret.to_string();
    Ok(rows)
}
