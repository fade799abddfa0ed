//! A round of erasure (SECURITY.md rule 16): what shall be destroyed is what a provider destroys. Keys of the sealed file are
//! destroyed by another root key taking the place of the one that wraps them: whatever survives is wrapped by the new one,
//! in one commit, and neither copies of the catalog nor of the disk below it hold what opens the rest.

use policy::id::{KeyId, TenantId};
use policy::time::UtcMillis;
use storage::catalog::{Before, Change, Commit, CommitError, ControlKind, ControlPut};

use crate::clock;
use crate::control::{KeyState, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::platform::{self, PlatformKey};
use crate::provider::ProviderKind;
use crate::record::{Content, Control};
use crate::root::RootKey;
use crate::seal::wrap::{unwrap, wrap};
use crate::seal::{SealError, Suite};

/// A root key took the place of another.
#[derive(Debug, Clone, Copy)]
pub struct Replaced {
    /// The one before, which is gone.
    pub before: KeyId,
    /// The one that took its place.
    pub after: KeyId,
    /// When.
    pub at: UtcMillis,
}

/// What is not taken along to the next root key.
#[derive(Debug, Default)]
pub struct Gone {
    /// Tenant keys.
    pub keys: Vec<KeyId>,
    /// The versions of tenant keys before these.
    pub older: Vec<(KeyId, u32)>,
}

/// Puts another root key in the place of the one in use. Tenant keys and versions that are `gone` are not taken along: nothing
/// opens what hangs on them any more. `also` gives rows for the same commit.
///
/// # Errors
/// `Home` when files cannot be written, `Commit` when the catalog takes nothing: the key before then stays.
pub async fn replace_root(
    gateway: &Gateway,
    gone: &Gone,
    also: impl FnOnce(&Replaced) -> Result<Vec<ControlPut>, Error>,
) -> Result<Replaced, Error> {
    let keys = &gateway.keys;
    let next = RootKey::random()?;
    let _alone = keys.alone().await;
    // What a round before left is finished first: a key that counts, or may, is never written over.
    settle(gateway).await?;
    let (before, now) = (keys.root.now(), clock::now());
    let (count, older) = (gone.keys.len(), gone.older.len());
    let detail = format!(
        "root key {} was replaced by {}; {count} tenant keys were destroyed, and the older versions of {older}",
        before.id, next.id
    );
    let content = Content::Control(Control { event: "root-key-replaced".to_owned(), detail });
    let record = gateway.recorder.seal(None, now, &content).await?;
    let replaced = Replaced { before: before.id, after: next.id, at: now };
    let mut rows = rows_under(gateway, &before, &next, gone, now).await?;
    rows.extend(also(&replaced)?);
    let place = gateway.root_place.clone();
    let announced = next.clone();
    blocking(move || place.announce(&announced)).await?;
    let change = Change::PutControl { rows, buckets: Vec::new() };
    let committed = gateway.catalog.commit(Commit { change, record: Some(record) }).await;
    let counts = match &committed {
        Ok(_) => {
            keys.root.replace(next.clone());
            next.id
        }
        // Refused as a whole: the next one is nothing.
        Err(CommitError::Refused(_)) => before.id,
        // It is not known what the catalog holds: the next start looks, and until then there is no other round.
        Err(error) => {
            keys.close_rounds();
            return Err(error.clone().into());
        }
    };
    let place = gateway.root_place.clone();
    let settled = blocking(move || place.settle(counts)).await;
    committed?;
    settled.inspect_err(|error| tracing::error!(%error, "the file of the root key before is still there"))?;
    Ok(replaced)
}

/// Finishes, or undoes, what a round that was interrupted left on disk, as the catalog says. Nothing else may be replacing the
/// root key meanwhile.
///
/// # Errors
/// `Home` when files cannot be written, or when it is not known which root key counts: another start tells.
pub async fn settle(gateway: &Gateway) -> Result<(), Error> {
    const UNKNOWN: &str = "it is not known which root key the catalog took: start the server again";
    if gateway.keys.rounds_are_closed() || gateway.catalog.health().is_err() {
        return Err(Error::Home(UNKNOWN.to_owned()));
    }
    let stored = gateway.catalog.control(ControlKind::Platform, platform::ROW).await?;
    let counts = PlatformKey::hangs_on(&stored.ok_or(Error::Missing("the row of the platform's key"))?)?;
    if counts != gateway.keys.root.now().id {
        return Err(Error::Home(UNKNOWN.to_owned()));
    }
    let place = gateway.root_place.clone();
    blocking(move || place.settle(counts)).await
}

async fn blocking(work: impl FnOnce() -> Result<(), crate::home::HomeError> + Send + 'static) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Missing("the outcome of writing a key"))?.map_err(|error| Error::Home(error.to_string()))
}

/// All that a root key wraps, wrapped by the next.
async fn rows_under(
    gateway: &Gateway,
    before: &RootKey,
    next: &RootKey,
    gone: &Gone,
    now: UtcMillis,
) -> Result<Vec<ControlPut>, Error> {
    let control = &gateway.control;
    let anew = |tenant: TenantId, own: [u8; 16], wrapped: &[u8]| -> Result<Vec<u8>, SealError> {
        let (suite, key) = unwrap(&before.key, &before.context(tenant, own), wrapped)?;
        debug_assert_eq!(suite, Suite::Aes256Gcm);
        wrap(suite, &next.key, &next.context(tenant, own), &key)
    };
    let mut rows = vec![platform_row(gateway, &gateway.keys.platform, next).await?];
    for known in control.all_standing::<TenantRow>(|_| true).await? {
        let log_key = anew(known.row.id, *known.row.id.as_bytes(), &known.row.log_key)?;
        rows.push(control.replace(&known, &TenantRow { log_key, ..known.row.clone() })?);
    }
    let ours = |row: &TenantKeyRow| row.provider == ProviderKind::SealedFile && !row.state.is_destroyed();
    for known in control.all_standing::<TenantKeyRow>(ours).await? {
        let mut row = known.row.clone();
        if gone.keys.contains(&row.id) {
            row.destroy(now);
        } else {
            if let Some((_, version)) = gone.older.iter().find(|(id, _)| *id == known.row.id) {
                row.destroy_before(*version, now);
            }
            for version in row.versions.iter_mut().filter(|version| version.destroyed.is_none()) {
                version.wrapped = anew(row.tenant, *row.id.as_bytes(), &version.wrapped)?;
            }
        }
        rows.push(control.replace(&known, &row)?);
    }
    Ok(rows)
}

async fn platform_row(gateway: &Gateway, key: &PlatformKey, next: &RootKey) -> Result<ControlPut, Error> {
    let (kind, id) = (ControlKind::Platform, platform::ROW.to_vec());
    let stored = gateway.catalog.control(kind, &id).await?.ok_or(Error::Missing("the row of the platform's key"))?;
    Ok(ControlPut { kind, id, value: key.wrapped(next)?, before: Before::Is(stored) })
}

impl TenantKeyRow {
    /// Nothing is left of it but what it was.
    pub fn destroy(&mut self, now: UtcMillis) {
        self.state = KeyState::Destroyed { at: now };
        for version in &mut self.versions {
            version.wrapped.clear();
        }
    }

    /// Nothing is left of its versions before this one.
    pub fn destroy_before(&mut self, version: u32, now: UtcMillis) {
        for version in self.versions.iter_mut().filter(|older| older.number < version) {
            version.wrapped.clear();
            version.destroyed.get_or_insert(now);
        }
    }
}
