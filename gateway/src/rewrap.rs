//! The key of a bucket rotates: its envelopes are wrapped by the new version while requests go on, until none hangs on an
//! older one any more (SECURITY.md rules 1 and 17). Bodies are not touched.
//!
//! A rotation closes the older versions for new envelopes in its own commit. Sweeps then go through all versions and
//! uploads of the bucket; how far one came is committed with what it did, so that another start goes on from there. A
//! sweep of the whole bucket that finds nothing left is the proof, and only then the older versions go.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use policy::id::UploadId;
use policy::name::{BucketName, ObjectKey};
use policy::reason::Reason;
use storage::catalog::{
    BucketRow, Change, Commit, CommitError, Refusal, Rewrap, Rewrapped, UploadItem, UploadQuery, UploadRow, VersionRow,
};
use tokio::sync::{Notify, watch};

use crate::clock;
use crate::control::{Bucket, RewrapRow, RewrapState, Standing};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::BucketKey;
use crate::record::{Content, Control};

mod envelope;

/// Buckets that are looked at at once.
const BUCKETS: usize = 256;
/// Envelopes of one commit at most: requests wait for it a few milliseconds.
const PAGE: usize = 512;
/// Between two looks for something to do that nobody told of.
const LOOK: Duration = Duration::from_secs(60);
/// Until a bucket whose envelopes could not be wrapped is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// As much, where envelopes do not open: somebody has to look after them first.
const AGAIN_DAMAGED: Duration = Duration::from_secs(600);
/// For requests that read a row before the proof, and have yet to ask for the key of it.
const GRACE: Duration = Duration::from_secs(2);
/// Envelopes a second of all rotations together, unless the configuration says otherwise.
pub const PER_SECOND: u32 = 100_000;

/// Buckets that are at work at once: a slow one holds up no other.
const AT_ONCE: usize = 32;

/// Wraps the envelopes of rotated buckets.
#[derive(Debug)]
pub struct Rewrapper {
    all: Pace,
    told: Notify,
    /// What stood in the way may be gone.
    again: Notify,
}

/// What a sweep found.
#[derive(Debug, Default, Clone, Copy)]
struct Sweep {
    /// It began in front: what it did not find is not there.
    whole: bool,
    versions: u64,
    uploads: u64,
    rewrapped: u64,
    damaged: u64,
}

/// A sweep broke off: the server stops.
struct Stopped;

impl Rewrapper {
    /// One that wraps so many a second at most, of all buckets together.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { all: Pace::new(per_second), told: Notify::new(), again: Notify::new() }
    }

    /// A bucket was rotated, or a tenant key may be used again.
    pub fn tell(&self) {
        self.told.notify_one();
        self.again.notify_waiters();
    }

    /// Looks after rotated buckets until the server stops.
    pub async fn run(&self, gateway: &Gateway, mut stop: watch::Receiver<bool>) {
        let (stopped, mut at_work) = (stop.clone(), FuturesUnordered::new());
        let mut names: HashSet<BucketName> = HashSet::new();
        loop {
            match rotated(gateway, AT_ONCE - names.len().min(AT_ONCE), &names).await {
                Ok(more) => {
                    for name in more {
                        names.insert(name.clone());
                        at_work.push(self.bucket_named(gateway, name, &stopped));
                    }
                }
                Err(error) => tracing::warn!(%error, "wrapping keys anew waits for the next round"),
            }
            tokio::select! {
                () = self.told.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                Some(done) = at_work.next(), if !at_work.is_empty() => { names.remove(&done); }
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn bucket_named(&self, gateway: &Gateway, name: BucketName, stop: &watch::Receiver<bool>) -> BucketName {
        if let Err(error) = self.bucket(gateway, &name, stop).await {
            tracing::warn!(bucket = %name, %error, "its envelopes wait for the next round");
            let mut stop = stop.clone();
            // Not at once again: what stands in the way is still there.
            let pause = if matches!(error, Error::Corrupt(_)) { AGAIN_DAMAGED } else { AGAIN };
            tokio::select! {
                () = self.again.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        name
    }

    /// Sweeps one bucket until nothing hangs on an older version of its key.
    async fn bucket(
        &self,
        gateway: &Gateway,
        name: &BucketName,
        stop: &watch::Receiver<bool>,
    ) -> Result<Result<(), Stopped>, Error> {
        loop {
            let Some(bucket) = gateway.control.bucket(name).await?.filter(|bucket| bucket.keys.len() > 1) else {
                return Ok(Ok(()));
            };
            let Some(known) = gateway.control.standing::<RewrapRow>(bucket.id.as_bytes()).await? else {
                return Err(Error::Missing("the row of a rotation"));
            };
            let began = Instant::now();
            let sweep = match self.sweep(gateway, &bucket, known, stop).await {
                // Rotated once more meanwhile.
                Err(Error::Commit(CommitError::Refused(Refusal::Changed))) => continue,
                other => other?,
            };
            let Some(sweep) = sweep else { return Ok(Err(Stopped)) };
            let (took, Sweep { versions, uploads, rewrapped, damaged, whole }) = (began.elapsed(), sweep);
            tracing::info!(bucket = %name, versions, uploads, rewrapped, damaged, ?took, "envelopes were looked at");
            if damaged > 0 {
                held(gateway, &bucket, damaged).await?;
                return Err(Error::Corrupt(format!("{damaged} envelopes do not open")));
            }
            if whole && rewrapped == 0 {
                let mut stop = stop.clone();
                if tokio::time::timeout(GRACE, stop.wait_for(|stop| *stop)).await.is_ok() {
                    return Ok(Err(Stopped));
                }
                match finish(gateway, &bucket, sweep).await {
                    // The bucket was changed meanwhile: it is looked at again.
                    Err(Error::Commit(CommitError::Refused(Refusal::Changed))) => {}
                    other => return other.map(Ok),
                }
            }
        }
    }

    /// Goes through the bucket, from where the row says that the sweep before came to; none when the server stops.
    async fn sweep(
        &self,
        gateway: &Gateway,
        bucket: &Bucket,
        mut known: Standing<RewrapRow>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Option<Sweep>, Error> {
        let mut sweep = Sweep { whole: known.row.after.is_none(), ..Sweep::default() };
        let own = known.row.per_second.map(Pace::new);
        let page_size = own.as_ref().map_or(PAGE, Pace::page);
        let mut after: Option<ObjectKey> = known.row.after.as_deref().and_then(|name| name.parse().ok());
        loop {
            if *stop.borrow() {
                return Ok(None);
            }
            let page = gateway.catalog.versions(bucket.id, after.as_ref(), page_size).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let looked = page.len();
            let key = gateway.keys.bucket_key(bucket, gateway.own_purpose(Reason::Rewrap)).await?;
            // One that may not be used now is no damage: it is waited for.
            key.pass_all(Reason::Rewrap)?;
            let place = (bucket.tenant, bucket.id);
            let with = Arc::clone(&key);
            let outcome = blocking(move || envelope::versions(&with, place, page)).await?;
            sweep.versions += count(looked);
            sweep.damaged += outcome.damaged;
            sweep.rewrapped += keep(gateway, &key, &mut known, after.as_ref(), (outcome.changed, Vec::new())).await?;
            self.all.wait(looked).await;
            if let Some(own) = &own {
                own.wait(looked).await;
            }
        }
        let mut marker: Option<(String, UploadId)> = None;
        loop {
            let query = UploadQuery {
                bucket: bucket.id,
                prefix: String::new(),
                delimiter: None,
                key_marker: marker.as_ref().map(|(key, _)| key.clone()),
                upload_id_marker: marker.as_ref().map(|(_, id)| *id),
                limit: PAGE,
            };
            let page = gateway.catalog.uploads(&query).await?;
            let mut rows = Vec::new();
            for item in page.items {
                match item {
                    UploadItem::Upload(row) => rows.push(*row),
                    UploadItem::Damaged(_) => sweep.damaged += 1,
                    UploadItem::Prefix(_) => {}
                }
            }
            let Some(last) = rows.last() else { break };
            marker = Some((last.key.as_str().to_owned(), last.id));
            sweep.uploads += count(rows.len());
            let key = gateway.keys.bucket_key(bucket, gateway.own_purpose(Reason::Rewrap)).await?;
            // One that may not be used now is no damage: it is waited for.
            key.pass_all(Reason::Rewrap)?;
            let with = Arc::clone(&key);
            let outcome = blocking(move || envelope::uploads(&with, rows)).await?;
            sweep.damaged += outcome.damaged;
            sweep.rewrapped += keep(gateway, &key, &mut known, None, (Vec::new(), outcome.changed)).await?;
        }
        // The next one begins in front.
        if known.row.after.is_some() {
            let row = RewrapRow { after: None, ..known.row.clone() };
            commit(
                gateway,
                Change::PutControl { rows: vec![gateway.control.replace(&known, &row)?], buckets: Vec::new() },
            )
            .await?;
        }
        Ok(Some(sweep))
    }
}

/// Commits what was wrapped, and how far that is; gives how many.
async fn keep(
    gateway: &Gateway,
    key: &BucketKey,
    known: &mut Standing<RewrapRow>,
    after: Option<&ObjectKey>,
    (versions, uploads): (Vec<Rewrapped<VersionRow>>, Vec<Rewrapped<UploadRow>>),
) -> Result<u64, Error> {
    let wrapped = count(versions.len() + uploads.len());
    if wrapped == 0 {
        return Ok(0);
    }
    let after = after.map(|name| name.as_str().to_owned()).or_else(|| known.row.after.clone());
    let row = RewrapRow { after, done: known.row.done + wrapped, ..known.row.clone() };
    let put = gateway.control.replace(known, &row)?;
    let stored = put.value.clone();
    let rewrap = Rewrap { bucket: row.bucket, versions, uploads, rows: vec![put] };
    let _held = key.hold_all(Reason::Rewrap).await?;
    commit(gateway, Change::Rewrap(Box::new(rewrap))).await?;
    *known = Standing::stored(row, stored);
    metrics::counter!("gotgan_rewrapped_envelopes_total").increment(wrapped);
    Ok(wrapped)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

async fn commit(gateway: &Gateway, change: Change) -> Result<(), Error> {
    gateway.catalog.commit(Commit { change, record: None }).await?;
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Missing("the outcome of wrapping"))
}

/// Nothing hangs on the older versions any more: they go, with the proof on record.
async fn finish(gateway: &Gateway, bucket: &Bucket, sweep: Sweep) -> Result<(), Error> {
    let Some(known) = gateway.control.standing::<RewrapRow>(bucket.id.as_bytes()).await? else {
        return Err(Error::Missing("the row of a rotation"));
    };
    let (current, older) = bucket.keys.split_last().ok_or(Error::Missing("bucket key"))?;
    let older: Vec<u32> = older.iter().map(|key| key.version).collect();
    let Sweep { versions, uploads, .. } = sweep;
    let state = RewrapState::Done { at: clock::now(), versions, uploads, older: older.clone() };
    let row = RewrapRow { state, after: None, ..known.row.clone() };
    let left = BucketRow { keys: vec![current.clone()], ..BucketRow::clone(bucket) };
    let change = Change::PutControl {
        rows: vec![gateway.control.replace(&known, &row)?],
        buckets: vec![gateway.control.update(bucket, left)?],
    };
    let detail = format!(
        "bucket {} ({}), key {}: 0 envelopes under versions {older:?}, {versions} versions and {uploads} uploads under version {}; {} were wrapped anew",
        bucket.name, bucket.id, current.id, current.version, row.done
    );
    let content = Content::Control(Control { event: "bucket-key-rewrapped".to_owned(), detail });
    let record = gateway.recorder.seal(Some(bucket.tenant), clock::now(), &content).await?;
    gateway.catalog.commit(Commit { change, record: Some(record) }).await?;
    gateway.keys.forget_bucket(bucket.id);
    tracing::info!(bucket = %bucket.name, version = current.version, "nothing hangs on older versions of its key");
    Ok(())
}

/// Rows that do not open keep the older versions where they are, until they are deleted or restored.
async fn held(gateway: &Gateway, bucket: &Bucket, damaged: u64) -> Result<(), Error> {
    tracing::error!(bucket = %bucket.name, damaged, "envelopes do not open: older versions of the bucket key stay");
    let Some(known) = gateway.control.standing::<RewrapRow>(bucket.id.as_bytes()).await? else { return Ok(()) };
    let state = RewrapState::Held { damaged };
    if known.row.state == state {
        return Ok(());
    }
    let rows = vec![gateway.control.replace(&known, &RewrapRow { state, ..known.row.clone() })?];
    commit(gateway, Change::PutControl { rows, buckets: Vec::new() }).await
}

/// Rotated buckets that are not at work yet, some of them.
async fn rotated(gateway: &Gateway, limit: usize, at_work: &HashSet<BucketName>) -> Result<Vec<BucketName>, Error> {
    let (mut out, mut after) = (Vec::new(), None::<BucketName>);
    while out.len() < limit {
        let page = gateway.catalog.buckets(None, after.as_ref(), BUCKETS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        let more = page.iter().filter(|row| row.keys.len() > 1 && !at_work.contains(&row.name));
        out.extend(more.map(|row| row.name.clone()));
    }
    out.truncate(limit);
    Ok(out)
}

/// Keeps to so many a second, whoever shares it.
#[derive(Debug)]
struct Pace {
    free: Mutex<Instant>,
    per_second: u32,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { free: Mutex::new(Instant::now()), per_second: per_second.max(1) }
    }

    /// A quarter of a second's, so that a slow one is not one in leaps.
    fn page(&self) -> usize {
        usize::try_from(self.per_second / 4).unwrap_or(PAGE).clamp(1, PAGE)
    }

    /// Takes the time of so many, and waits until it is over.
    async fn wait(&self, more: usize) {
        let takes = Duration::from_micros(count(more).saturating_mul(1_000_000) / u64::from(self.per_second));
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + takes;
            *free
        };
        tokio::time::sleep_until(until.into()).await;
    }
}
