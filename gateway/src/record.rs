//! Access records: what they say, how they are sealed, and the recorder that makes them durable.
//!
//! Each record is sealed under its tenant's log key: key = derive(log key, "log", session id),
//! nonce = 0 x 4 || counter u64be, which counts up within the session; AAD = kind || time || tenant || stream || salt.
//! Stored: `session 16 || counter 8 || ciphertext || tag`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use policy::id::{SessionId, TenantId};
use policy::reason::Reason;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::{Catalog, Change, Commit};
use storage::log::{LogEntry, LogPosition, Record, RecordKind};
use storage::reserve::Space;

use crate::error::Error;
use crate::fold::Folds;
use crate::keys::KeyRing;
use crate::seal::key::random;
use crate::seal::{SealError, SecretKey, Suite};

/// What a request did: the content of an opening record (SECURITY.md rule 11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The request's id, as the client was told.
    pub request: String,
    /// Tenant that the request belongs to.
    pub tenant: Option<String>,
    /// Principal, when authenticated.
    pub principal: Option<String>,
    /// Access key id, as claimed.
    pub credential: Option<String>,
    /// Address that the request came from.
    pub source: String,
    /// User-Agent header.
    pub user_agent: Option<String>,
    /// Operation name.
    pub operation: String,
    /// Bucket name.
    pub bucket: Option<String>,
    /// Object key.
    pub key: Option<String>,
    /// Object keys of a request that names many.
    pub keys: Vec<String>,
    /// Object version.
    pub version: Option<String>,
    /// Bytes that the decision permitted: body bytes of a read or a write.
    pub bytes: u64,
    /// First permitted byte of a ranged read.
    pub offset: Option<u64>,
    /// HTTP status planned or sent.
    pub status: u16,
    /// S3 error code of a refusal.
    pub error: Option<String>,
    /// `allow`, `deny`, or `none` when refused before any decision.
    pub decision: String,
    /// Rules that decided.
    pub rules: Vec<String>,
    /// Citation of a denial.
    pub citation: Option<String>,
    /// Bucket key used.
    pub key_id: Option<String>,
    /// Its version.
    pub key_version: Option<u32>,
    /// Why keys were used for it.
    pub reason: Option<Reason>,
    /// The emergency access under which the platform did it.
    pub access: Option<String>,
    /// Microseconds from the request's arrival to this record.
    pub duration_us: u64,
}

/// What became of a request whose opening record could not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The request's id.
    pub request: String,
    /// HTTP status sent.
    pub status: u16,
    /// Body bytes handed to the network.
    pub bytes_sent: u64,
    /// Microseconds from arrival to the end.
    pub duration_us: u64,
    /// `complete`, `broken off` or `failed`.
    pub outcome: String,
}

/// A change of control state or of the process itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What happened, for instance `session-opened`.
    pub event: String,
    /// Facts, never secrets.
    pub detail: String,
}

/// Requests that stand on record together (SECURITY.md rule 15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// `refusals` before authentication, or `health`.
    pub kind: String,
    /// Address or network that they came from; `others` when there were too many to tell apart.
    pub source: String,
    /// How many.
    pub count: u64,
    /// When the first arrived.
    pub first: UtcMillis,
    /// When the last arrived.
    pub last: UtcMillis,
    /// SHA-256 over what their own records would have said, in order.
    pub digest: [u8; 32],
}

/// The sealed content of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A request, at the moment that its decision was acted on.
    Opening(Box<Access>),
    /// Its end, when that differs from the plan.
    Closing(Closing),
    /// A control event.
    Control(Control),
    /// Many requests of one source.
    Folded(Folded),
}

impl Content {
    const fn kind(&self) -> RecordKind {
        match self {
            Self::Opening(_) | Self::Folded(_) => RecordKind::Opening,
            Self::Closing(_) => RecordKind::Closing,
            Self::Control(_) => RecordKind::Control,
        }
    }
}

/// Room for the usual record; longer ones grow.
const SEALED_BYTES: usize = 768;

/// Log keys by tenant and session.
type LogKeys = HashMap<(Option<TenantId>, SessionId), Arc<SecretKey>>;

/// Makes, seals and appends records of one session.
pub struct Recorder {
    catalog: Arc<dyn Catalog>,
    keys: Arc<KeyRing>,
    session: SessionId,
    counter: AtomicU64,
    log_keys: RwLock<LogKeys>,
    patience: Duration,
    pub(crate) folds: Folds,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder of this run, which waits for the disk no longer than `patience`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, keys: Arc<KeyRing>, session: SessionId, patience: Duration) -> Self {
        let (counter, log_keys, folds) = (AtomicU64::new(0), RwLock::new(HashMap::new()), Folds::default());
        Self { catalog, keys, session, counter, log_keys, patience, folds }
    }

    /// Seals a record, to be committed with the change that it describes.
    ///
    /// # Errors
    /// `Seal` or `Missing` when the tenant's log key cannot be had: the request then fails.
    pub async fn seal(&self, tenant: Option<TenantId>, time: UtcMillis, content: &Content) -> Result<Record, Error> {
        let kind = content.kind();
        let key = self.session_key(tenant, self.session).await?;
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut sealed = Vec::with_capacity(SEALED_BYTES);
        sealed.extend_from_slice(self.session.as_bytes());
        sealed.extend_from_slice(&counter.to_be_bytes());
        let begin = sealed.len();
        let mut sealed = postcard::to_extend(content, sealed).map_err(|e| Error::Corrupt(e.to_string()))?;
        let data = sealed.get_mut(begin..).unwrap_or_default();
        let salt = random()?;
        let aad = aad(tenant, (kind, time), self.catalog.stream(), &salt);
        let tag = Suite::Aes256Gcm.cipher(&key)?.seal(nonce(counter), &aad, data)?;
        sealed.extend_from_slice(&tag);
        Ok(Record { tenant, kind, time, salt, sealed })
    }

    /// Appends a record of its own and returns when it is durable.
    ///
    /// # Errors
    /// `Commit` when the log cannot be written: the request then fails.
    pub async fn append(
        &self,
        tenant: Option<TenantId>,
        time: UtcMillis,
        content: &Content,
    ) -> Result<LogPosition, Error> {
        let record = self.seal(tenant, time, content).await?;
        self.append_sealed(record).await
    }

    /// Appends a sealed record of its own and returns when it is durable.
    ///
    /// # Errors
    /// `Commit` when the log cannot be written, `Stalled` when it is not in time.
    pub async fn append_sealed(&self, record: Record) -> Result<LogPosition, Error> {
        let commit = self.catalog.commit(Commit { change: Change::None, record: Some(record) });
        let done = tokio::time::timeout(self.patience, commit).await.map_err(|_| Error::Stalled)??;
        done.position.ok_or(Error::Missing("log position"))
    }

    /// What is left of the disk of records.
    pub(crate) fn space(&self) -> Space {
        self.catalog.space()
    }

    /// Opens a stored record.
    ///
    /// # Errors
    /// `Seal` when it does not open under its tenant's log key.
    pub async fn open(&self, entry: &LogEntry) -> Result<Content, Error> {
        const SHAPE: SealError = SealError::Malformed("record");
        let (session, rest) = entry.sealed.split_first_chunk::<16>().ok_or(SHAPE)?;
        let (counter, data) = rest.split_first_chunk::<8>().ok_or(SHAPE)?;
        let key = self.session_key(entry.tenant, SessionId::from_bytes(*session)).await?;
        let mut data = data.to_vec();
        let aad = aad(entry.tenant, (entry.kind, entry.time), entry.position.stream, &entry.salt);
        let nonce = nonce(u64::from_be_bytes(*counter));
        let plain = Suite::Aes256Gcm.cipher(&key)?.open(nonce, &aad, &mut data, "record")?;
        postcard::from_bytes(plain).map_err(|e| Error::Corrupt(format!("record: {e}")))
    }

    async fn session_key(&self, tenant: Option<TenantId>, session: SessionId) -> Result<Arc<SecretKey>, Error> {
        const CACHE_MAX: usize = 4096;
        if let Some(key) = self.log_keys.read().ok().and_then(|c| c.get(&(tenant, session)).cloned()) {
            return Ok(key);
        }
        let log_key = self.keys.log_key(tenant).await?;
        let key = Arc::new(Suite::Aes256Gcm.derive(&log_key, "log", session.as_bytes()));
        if let Ok(mut cache) = self.log_keys.write() {
            if cache.len() >= CACHE_MAX {
                cache.clear();
            }
            cache.insert((tenant, session), Arc::clone(&key));
        }
        Ok(key)
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut out = [0; 12];
    out[4..].copy_from_slice(&counter.to_be_bytes());
    out
}

/// A record belongs to its stream, so that none is moved to another session; its leaf hash hangs on its salt.
fn aad(tenant: Option<TenantId>, (kind, time): (RecordKind, UtcMillis), stream: u64, salt: &[u8; 16]) -> [u8; 49] {
    let mut out = [0; 49];
    out[0] = match kind {
        RecordKind::Opening => 1,
        RecordKind::Closing => 2,
        RecordKind::Control => 3,
    };
    out[1..9].copy_from_slice(&time.0.to_be_bytes());
    if let Some(tenant) = tenant {
        out[9..25].copy_from_slice(tenant.as_bytes());
    }
    out[25..33].copy_from_slice(&stream.to_be_bytes());
    out[33..].copy_from_slice(salt);
    out
}
