//! Providers that belong to tenants (hold your own key): each tenant's own OpenBao or Vault server. When it refuses, or does
//! not answer, nothing of the tenant opens once half a minute is over (SECURITY.md rule 19).
//!
//! A directory holds one file for each such tenant, `NAME.toml`, with the keys of the configuration's section `openbao`. It is
//! read at each use, so that tenants come and go without a restart.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use policy::id::TenantId;
use policy::place::VerifiedPlace;
use policy::reason::Reason;

use super::openbao::{OpenBao, OpenBaoOptions};
use super::{Brought, KeyProvider, NewKey, NewVersion, ProviderError, ProviderKind, Wrapped};
use crate::config::Openbao;
use crate::control::{TenantKeyRow, TenantRow};
use crate::seal::SecretKey;
use crate::seal::wrap::WrapContext;

const KIND: ProviderKind = ProviderKind::Hyok;
/// How long an unwrapped bucket key is kept.
const KEEPS: Duration = Duration::from_secs(30);

/// How long its file is waited for.
const READ_TIME: Duration = Duration::from_secs(4);

/// A provider and what it was made from.
type Known = (OpenBaoOptions, Arc<dyn KeyProvider>);

/// The providers of all tenants that have one of their own.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Each keeps what it knows of its server, as long as its file says the same.
    known: Mutex<HashMap<TenantId, Known>>,
}

impl Directory {
    /// Those of a directory.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// The provider of a tenant.
    ///
    /// # Errors
    /// `Unknown` when there is no file for it, `Unavailable` when it says nothing that can be used.
    pub async fn of(&self, tenant: &TenantRow) -> Result<Arc<dyn KeyProvider>, ProviderError> {
        // A name of a tenant is a name of a file: it has no separators and begins with a letter or digit.
        let path = self.path.join(format!("{}.toml", tenant.name));
        let read = tokio::time::timeout(READ_TIME, tokio::task::spawn_blocking(move || read(&path))).await;
        let read = read.map_err(|_| KIND.unavailable("the disk of its file does not answer"))?;
        let options = read.map_err(|error| KIND.unavailable(error.to_string()))??;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, provider)) = known.get(&tenant.id).filter(|(same, _)| *same == options) {
            return Ok(Arc::clone(provider));
        }
        let provider: Arc<dyn KeyProvider> = Arc::new(OfTenant(OpenBao::of(KIND, options.clone())));
        known.insert(tenant.id, (options, Arc::clone(&provider)));
        Ok(provider)
    }
}

fn read(path: &std::path::Path) -> Result<OpenBaoOptions, ProviderError> {
    let told = |why: String| KIND.unavailable(format!("the file {}: {why}", path.display()));
    // Whoever writes it names a file whose content is sent as a token.
    for place in [Some(path), path.parent()].into_iter().flatten() {
        let mode = std::fs::metadata(place).map_or(0, |known| known.permissions().mode());
        if mode & 0o022 != 0 {
            return Err(told(format!("{} may be written by others than its owner", place.display())));
        }
    }
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ProviderError::Unknown(KIND)),
        other => other.map_err(|error| told(error.to_string()))?,
    };
    let section: Openbao = toml::from_str(&text).map_err(|error| told(error.message().to_owned()))?;
    section.options().map_err(told)?.ok_or_else(|| told("it names no address".to_owned()))
}

/// A tenant's own server.
#[derive(Debug)]
struct OfTenant(OpenBao);

#[async_trait]
impl KeyProvider for OfTenant {
    fn kind(&self) -> ProviderKind {
        KIND
    }

    fn place(&self) -> Option<VerifiedPlace> {
        self.0.place()
    }

    fn keeps(&self) -> Duration {
        KEEPS
    }

    async fn create(&self, key: NewKey) -> Result<NewVersion, ProviderError> {
        self.0.create(key).await.map_err(of_tenant)
    }

    async fn transport(&self) -> Result<Option<String>, ProviderError> {
        self.0.transport().await.map_err(of_tenant)
    }

    async fn import(&self, key: NewKey, brought: Brought<'_>) -> Result<NewVersion, ProviderError> {
        self.0.import(key, brought).await.map_err(of_tenant)
    }

    async fn rotate(&self, key: &TenantKeyRow) -> Result<NewVersion, ProviderError> {
        self.0.rotate(key).await.map_err(of_tenant)
    }

    async fn wrap(
        &self,
        key: &TenantKeyRow,
        bucket_keys: &[(WrapContext, SecretKey)],
    ) -> Result<Vec<Vec<u8>>, ProviderError> {
        self.0.wrap(key, bucket_keys).await.map_err(of_tenant)
    }

    async fn unwrap(
        &self,
        key: &TenantKeyRow,
        wrapped: &[Wrapped<'_>],
        reason: Reason,
    ) -> Result<Vec<SecretKey>, ProviderError> {
        self.0.unwrap(key, wrapped, reason).await.map_err(of_tenant)
    }

    async fn holds(&self, key: &TenantKeyRow) -> Result<(), ProviderError> {
        self.0.holds(key).await.map_err(of_tenant)
    }

    async fn destroy(&self, key: &TenantKeyRow) -> Result<String, ProviderError> {
        self.0.destroy(key).await.map_err(of_tenant)
    }

    async fn destroy_before(&self, key: &TenantKeyRow, version: u32) -> Result<String, ProviderError> {
        self.0.destroy_before(key, version).await.map_err(of_tenant)
    }
}

/// Whose server it was that failed.
fn of_tenant(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Unavailable { why, asked, .. } => ProviderError::Unavailable { provider: KIND, why, asked },
        ProviderError::Refused { why, .. } => KIND.refused(why),
        ProviderError::Unknown(_) => ProviderError::Unknown(KIND),
        ProviderError::Seal(error) => ProviderError::Seal(error),
    }
}

#[cfg(test)]
mod tests {
    use policy::id::KeyId;
    use policy::residency::Residency;
    use policy::time::UtcMillis;

    use super::*;

    const FILE: &str = "address = \"http://127.0.0.1:8200\"\ntoken_file = \"/t\"\ncountry = \"KR\"\n";

    #[tokio::test]
    async fn a_tenant_has_what_its_file_says_as_long_as_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (id, key) = (TenantId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        let (created, residency) = (UtcMillis(1), Residency::korea());
        let (name, log_key) = ("acme".to_owned(), Vec::new());
        let tenant = TenantRow { id, name, created, residency, key, log_key, seated: false };
        let directory = Directory::new(dir.path().to_owned());
        assert!(matches!(directory.of(&tenant).await, Err(ProviderError::Unknown(KIND))));
        let file = dir.path().join("acme.toml");
        for bad in ["adress = 1", "", "address = \"http://10.0.0.1:8200\"\ntoken_file = \"/t\"\ncountry = \"KR\""] {
            std::fs::write(&file, bad).unwrap();
            assert!(matches!(directory.of(&tenant).await, Err(ProviderError::Unavailable { .. })), "{bad}");
        }
        std::fs::write(&file, FILE).unwrap();
        let first = directory.of(&tenant).await.unwrap();
        assert!(first.kind() == KIND && first.keeps() == Duration::from_secs(30) && first.place().is_some());
        assert!(Arc::ptr_eq(&first, &directory.of(&tenant).await.unwrap()), "with what it knows of its server");
        std::fs::write(&file, FILE.replace("/t", "/u")).unwrap();
        assert!(!Arc::ptr_eq(&first, &directory.of(&tenant).await.unwrap()));
        let other = TenantRow { name: "other".to_owned(), ..tenant };
        assert!(directory.of(&other).await.is_err());
    }
}
