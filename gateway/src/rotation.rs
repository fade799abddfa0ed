//! Rotation of tenant keys: a version more, and the keys of its buckets wrapped by it, in one commit; by hand, or when it is due.

use policy::name::BucketName;
use policy::reason::Reason;
use policy::time::UtcMillis;
use storage::catalog::{BucketUpdate, Change, Commit};

use crate::approval::DAY_MS;
use crate::clock::now;
use crate::control::{KeyState, Standing, TenantKeyRow};
use crate::destruction::contents::doomed;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::record::{Content, Control};

/// Buckets that are read at once.
const PAGE: usize = 256;

/// A rotation that is not committed yet.
#[derive(Debug)]
pub struct Rotation {
    /// The key with its new version.
    pub row: TenantKeyRow,
    /// Its buckets, their keys wrapped by it.
    pub buckets: Vec<BucketUpdate>,
}

/// A new version of a key, and every bucket key that hangs on it wrapped by it. Objects stay as they are.
///
/// # Errors
/// `Provider` when a key is not made, unwrapped or wrapped.
pub async fn rotate(gateway: &Gateway, known: &TenantKeyRow) -> Result<Rotation, Error> {
    let row = gateway.keys.rotated(known, now()).await?;
    let buckets = wrapped_by_last(gateway, &row).await?;
    Ok(Rotation { row, buckets })
}

/// The buckets whose keys hang on an older version of a tenant key, wrapped by its last one, to be committed. Those that are
/// being destroyed are left behind.
///
/// # Errors
/// `Provider` when a key is not unwrapped or wrapped.
pub async fn wrapped_by_last(gateway: &Gateway, row: &TenantKeyRow) -> Result<Vec<BucketUpdate>, Error> {
    let doomed = doomed(gateway, row.tenant).await?;
    let mut buckets = Vec::new();
    let mut after: Option<BucketName> = None;
    loop {
        let mut page = gateway.control.buckets(row.tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(buckets) };
        after = Some(last.name.clone());
        page.retain(|bucket| !doomed.contains(&bucket.id));
        for (bucket, changed) in gateway.keys.rewrapped(&page, row, gateway.own_purpose(Reason::Rewrap)).await? {
            buckets.push(gateway.control.update(bucket, changed)?);
        }
        // A page takes milliseconds: others have their turn.
        tokio::task::yield_now().await;
    }
}

/// Rotates the keys whose time has come; says whether all of them were.
///
/// # Errors
/// `Catalog` when they cannot be read.
pub async fn rotate_due(gateway: &Gateway) -> Result<bool, Error> {
    let now = now();
    let due = |row: &TenantKeyRow| row.state == KeyState::Active && row.rotation_due().is_some_and(|due| due <= now);
    let mut all = true;
    for known in gateway.control.all_standing(due).await? {
        let name = known.row.name.clone();
        // One whose provider does not answer holds up no other.
        if let Err(error) = rotate_now(gateway, known).await {
            tracing::error!(key = name, %error, "a rotation that is due is not done yet: it is tried again");
            all = false;
        }
    }
    Ok(all)
}

async fn rotate_now(gateway: &Gateway, known: Standing<TenantKeyRow>) -> Result<(), Error> {
    let _administering = gateway.keys.administering().await;
    let Rotation { row, buckets } = rotate(gateway, &known.row).await?;
    let rows = vec![gateway.control.replace(&known, &row)?];
    let (version, count) = (row.current()?.number, buckets.len());
    let detail =
        format!("tenant key {} ({}) has version {version}; {count} bucket keys were wrapped by it", row.name, row.id);
    let content = Content::Control(Control { event: "tenant-key-rotated".to_owned(), detail });
    let record = gateway.recorder.seal(Some(row.tenant), now(), &content).await?;
    gateway.catalog.commit(Commit { change: Change::PutControl { rows, buckets }, record: Some(record) }).await?;
    tracing::info!(key = row.name, version, "rotated as scheduled");
    Ok(())
}

impl TenantKeyRow {
    /// When it is rotated next, if it is by schedule.
    #[must_use]
    pub fn rotation_due(&self) -> Option<UtcMillis> {
        let days = self.rotate_days?;
        let last = self.versions.last()?.created;
        Some(UtcMillis(last.0.saturating_add(u64::from(days) * DAY_MS)))
    }
}
