//! What is known of the request in hand. The record layer opens it before anything is parsed, each
//! station adds its facts, and the access record is made from it whatever happens.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use policy::decide::{Denial, Permit, still_rests};
use policy::id::{AccessId, KeyId, TenantId};
use policy::name::BucketName;
use policy::operation::AdminOperation;
use policy::place::VerifiedPlace;
use policy::reason::Reason;
use policy::residency::Residency;
use policy::time::UtcMillis;

use crate::control::Bucket;
use crate::error::Error;
use crate::fold::{Folds, Kind};
use crate::identity::Account;
use crate::keys::Gate;
use crate::record::{Access, Content, Recorder};
use crate::s3::signing::Refusal;

/// Characters of a User-Agent that a record keeps: anybody may send one, signed or not.
const AGENT_MAX: usize = 256;

tokio::task_local! {
    /// The context of the request that this task serves.
    pub static CONTEXT: Arc<RequestContext>;
}

/// One request.
#[derive(Debug)]
pub struct RequestContext {
    /// Its id, told to the client in `x-amz-request-id`.
    pub id: String,
    /// When it arrived.
    pub time: UtcMillis,
    /// For its duration.
    pub started: Instant,
    source: IpAddr,
    user_agent: Option<String>,
    /// Microseconds from its arrival to the last sign of life.
    moved: AtomicU64,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    operation: Option<&'static str>,
    account: Option<Arc<Account>>,
    claimed: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
    keys: Vec<String>,
    version: Option<String>,
    bytes: u64,
    offset: Option<u64>,
    decision: Option<bool>,
    rules: Vec<String>,
    citation: Option<String>,
    key_used: Option<(KeyId, u32)>,
    reason: Option<Reason>,
    /// The tenant in whose log it is, where that is not of whoever asks.
    log: Option<TenantId>,
    access: Option<LetIn>,
    of_a_tenant: bool,
    admitted: Option<Admitted>,
    /// Where what it stores must rest.
    residency: Option<Residency>,
    recorded: Option<u16>,
    body: Vec<u8>,
    answer: Option<Bytes>,
    body_failure: Option<Refusal>,
    signed: bool,
    recording: bool,
    folded: bool,
}

impl Facts {
    fn log_tenant(&self) -> Option<TenantId> {
        self.log.or_else(|| self.account.as_ref().and_then(|account| account.actor.tenant))
    }
}

/// An access that two persons of the platform approved.
#[derive(Debug, Clone)]
pub struct LetIn {
    /// Its id.
    pub id: AccessId,
    /// Until when.
    pub until: UtcMillis,
    /// It is closed when the access is ended before.
    pub gate: Arc<Gate>,
}

/// A request that policy permitted: what a handler needs, and takes exactly once.
#[derive(Debug)]
pub struct Admitted {
    /// The decision; consumed by placement and by the commit.
    pub permit: Permit,
    /// Who asks.
    pub account: Arc<Account>,
    /// The bucket that the request names.
    pub bucket: Option<Bucket>,
    /// The bucket that a copy reads.
    pub source: Option<Bucket>,
}

impl RequestContext {
    /// A context for a request that just arrived.
    #[must_use]
    pub fn new(id: String, time: UtcMillis, source: IpAddr, agent: Option<&HeaderValue>) -> Self {
        let user_agent = agent.map(|v| beginning(&String::from_utf8_lossy(v.as_bytes()), AGENT_MAX).to_owned());
        let (started, moved) = (Instant::now(), AtomicU64::new(0));
        Self { id, time, started, source, user_agent, moved, facts: Mutex::default() }
    }

    /// Something of it was done: it does not stall.
    pub fn moves(&self) {
        self.moved.store(self.elapsed_us(), Ordering::Relaxed);
    }

    /// Returns when nothing of it was done for so long.
    pub async fn stalls(&self, patience: Duration) {
        loop {
            let due = self.started + Duration::from_micros(self.moved.load(Ordering::Relaxed)) + patience;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// The context of the request that this task serves.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CONTEXT.try_with(Arc::clone).ok()
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The access key that the request claims, before its signature is checked.
    pub fn claimed(&self, access_key: &str) {
        self.facts().claimed = Some(beginning(access_key, 128).to_owned());
    }

    /// The account whose signature was verified.
    pub fn authenticated(&self, account: &Arc<Account>) {
        self.facts().account = Some(Arc::clone(account));
    }

    /// The operation and what it names.
    pub fn named(&self, operation: &'static str, bucket: Option<&str>, key: Option<&str>) {
        let mut facts = self.facts();
        facts.operation = Some(operation);
        facts.bucket = bucket.map(str::to_owned);
        facts.key = key.map(str::to_owned);
    }

    /// The operation of the admin API, which decides whose log it is in.
    pub fn administers(&self, operation: AdminOperation) {
        self.facts().of_a_tenant = operation.is_of_tenants();
    }

    /// The tenant in whose log a request of the admin API is; the platform's, unless it is a tenant's matter.
    #[must_use]
    pub fn administered(&self) -> Option<TenantId> {
        let facts = self.facts();
        let own = facts.account.as_ref().filter(|_| facts.of_a_tenant).and_then(|account| account.actor.tenant);
        facts.log.or(own)
    }

    /// The objects of a request that names many.
    pub fn names_many(&self, keys: Vec<String>) {
        self.facts().keys = keys;
    }

    /// Policy permitted it.
    pub fn permitted(&self, admitted: Admitted) {
        let mut facts = self.facts();
        facts.decision = Some(true);
        facts.rules = admitted.permit.rules().iter().map(ToString::to_string).collect();
        let stores = admitted.permit.operation().stores_bytes();
        facts.residency = stores.then(|| admitted.permit.residency().clone());
        facts.reason = Some(admitted.permit.reason());
        facts.admitted = Some(admitted);
    }

    /// Why keys are used for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.facts().reason.unwrap_or(Reason::CustomerRequest)
    }

    /// Policy denied it.
    pub fn denied(&self, denial: &Denial) {
        let mut facts = self.facts();
        facts.decision = Some(false);
        facts.rules = vec![denial.rule().to_string()];
        facts.citation = denial.citation().map(|c| c.to_string());
    }

    /// Asks once more, before the commit, whether what it stores may rest in this place.
    ///
    /// # Errors
    /// `Denied`, which its record then tells.
    pub fn rests_in(&self, place: VerifiedPlace) -> Result<(), Error> {
        let Some(residency) = self.facts().residency.clone() else { return Ok(()) };
        still_rests(&residency, &[place]).map_err(|denial| {
            self.denied(&denial);
            Error::Denied(denial)
        })
    }

    /// Takes what admission left for the handler; there is nothing a second time.
    #[must_use]
    pub fn take_admitted(&self) -> Option<Admitted> {
        self.facts().admitted.take()
    }

    /// The version touched and the key that opened or sealed it.
    pub fn touched(&self, version: &str, key: KeyId, key_version: u32) {
        let mut facts = self.facts();
        facts.version = Some(version.to_owned());
        facts.key_used = Some((key, key_version));
    }

    /// What an administrator's request is about: a key, a bucket, and what else it names.
    pub fn manages(&self, key: Option<(KeyId, u32)>, bucket: Option<&BucketName>, subject: Option<&str>) {
        let mut facts = self.facts();
        facts.key_used = key;
        facts.bucket = bucket.map(ToString::to_string);
        facts.key = subject.map(str::to_owned);
    }

    /// A request of the platform that is on record with this tenant.
    pub fn concerns(&self, tenant: TenantId) {
        self.facts().log = Some(tenant);
    }

    /// A read of the platform, which two of its persons approved: it is on record with the tenant.
    pub fn let_in(&self, access: LetIn, tenant: TenantId) {
        let mut facts = self.facts();
        (facts.log, facts.access) = (Some(tenant), Some(access));
    }

    /// What a read of the platform was let in by.
    #[must_use]
    pub fn access(&self) -> Option<LetIn> {
        self.facts().access.clone()
    }

    /// The body bytes that the decision permitted.
    pub fn bytes(&self, bytes: u64, offset: Option<u64>) {
        let mut facts = self.facts();
        facts.bytes = bytes;
        facts.offset = offset;
    }

    /// Appends the opening record, or counts the request into one for many when nobody was authenticated; returns
    /// when it is durable. Once it is queued it gets there, whoever waits.
    ///
    /// # Errors
    /// When the log cannot be written: the request then fails.
    pub async fn record(&self, recorder: &Arc<Recorder>, status: u16, error: Option<String>) -> Result<(), Error> {
        let opening = self.opening(status, error);
        let Some(mut written) = self.fold(recorder, &opening)? else {
            return self.record_alone(recorder, status, &opening).await;
        };
        if !written.wait_for(Option::is_some).await.is_ok_and(|written| *written == Some(true)) {
            return Err(Error::Folded);
        }
        self.recorded(status);
        Ok(())
    }

    /// Appends the opening record as one of its own; returns when it is durable.
    pub(crate) async fn record_alone(
        &self,
        recorder: &Arc<Recorder>,
        status: u16,
        opening: &Content,
    ) -> Result<(), Error> {
        let record = recorder.seal(self.tenant(), self.time, opening).await?;
        self.facts().recording = true;
        recorder.append_sealed(record).await?;
        self.recorded(status);
        Ok(())
    }

    /// Counts a request that nobody waits for into one record for many, and says whether it did. When others are
    /// `crowded` out already, it does so whoever asked.
    pub(crate) fn fold_left(&self, recorder: &Arc<Recorder>, opening: &Content, crowded: bool) -> Result<bool, Error> {
        if !crowded {
            return Ok(self.fold(recorder, opening)?.is_some());
        }
        let content = postcard::to_stdvec(opening).map_err(|e| Error::Corrupt(e.to_string()))?;
        let _written = Folds::count(recorder, (Kind::Refusals, self.source), self.time, &content);
        self.folded();
        Ok(true)
    }

    fn folded(&self) {
        let mut facts = self.facts();
        (facts.recording, facts.folded) = (true, true);
    }

    fn fold(&self, recorder: &Arc<Recorder>, opening: &Content) -> Result<Option<crate::fold::Written>, Error> {
        if self.account().is_some() {
            return Ok(None);
        }
        let content = postcard::to_stdvec(opening).map_err(|e| Error::Corrupt(e.to_string()))?;
        let written = Folds::take(recorder, (Kind::Refusals, self.source), self.time, &content);
        if written.is_some() {
            self.folded();
        }
        Ok(written)
    }

    /// Whether the request has no record of its own, and so no closing one.
    #[must_use]
    pub fn is_folded(&self) -> bool {
        self.facts().folded
    }

    /// Whether an opening record is on its way or there.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        let facts = self.facts();
        facts.recording || facts.recorded.is_some()
    }

    /// An opening record with this status is durable, or travels in a commit that was accepted.
    pub fn recorded(&self, status: u16) {
        self.facts().recorded = Some(status);
    }

    /// The status of the durable opening record, if there is one.
    #[must_use]
    pub fn recorded_status(&self) -> Option<u16> {
        self.facts().recorded
    }

    /// The request is signed, and what must be covered by its signature was looked at.
    pub fn is_signed(&self) {
        self.facts().signed = true;
    }

    /// Whether [`Self::is_signed`] was said: credentials that appear in any other request are not to be believed.
    #[must_use]
    pub fn was_signed(&self) -> bool {
        self.facts().signed
    }

    /// The account whose signature was verified, if one was.
    #[must_use]
    pub fn account(&self) -> Option<Arc<Account>> {
        self.facts().account.clone()
    }

    /// Keeps bytes of a small body whose digest the handler must check.
    pub fn keep_body(&self, bytes: &[u8]) {
        self.facts().body.extend_from_slice(bytes);
    }

    /// Takes what [`Self::keep_body`] kept.
    #[must_use]
    pub fn take_body(&self) -> Vec<u8> {
        std::mem::take(&mut self.facts().body)
    }

    /// The document that the handler wrote itself, to stand in the place of what `s3s` makes of its output.
    pub fn answer_with(&self, document: Bytes) {
        self.facts().answer = Some(document);
    }

    /// Takes what [`Self::answer_with`] left.
    #[must_use]
    pub fn take_answer(&self) -> Option<Bytes> {
        self.facts().answer.take()
    }

    /// The body did not come as it should have.
    pub(crate) fn body_failed(&self, refusal: Refusal) {
        self.facts().body_failure = Some(refusal);
    }

    /// How the body failed, if it did.
    pub(crate) fn body_failure(&self) -> Option<Refusal> {
        self.facts().body_failure
    }

    /// The operation's name as far as it is known.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.facts().operation.unwrap_or("Unparsed")
    }

    /// The tenant whose log the record belongs to.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        self.facts().log_tenant()
    }

    /// The opening record as the facts stand now.
    #[must_use]
    pub fn opening(&self, status: u16, error: Option<String>) -> Content {
        let facts = self.facts();
        Content::Opening(Box::new(Access {
            request: self.id.clone(),
            tenant: facts.log_tenant().map(|t| t.to_string()),
            principal: facts.account.as_ref().map(|a| a.actor.principal.to_string()),
            credential: facts.account.as_ref().map(|a| a.access_key.to_string()).or_else(|| facts.claimed.clone()),
            source: self.source.to_string(),
            user_agent: self.user_agent.clone(),
            operation: facts.operation.unwrap_or("Unparsed").to_owned(),
            bucket: facts.bucket.clone(),
            key: facts.key.clone(),
            keys: facts.keys.clone(),
            version: facts.version.clone(),
            bytes: facts.bytes,
            offset: facts.offset,
            status,
            error,
            decision: match facts.decision {
                Some(true) => "allow",
                Some(false) => "deny",
                None => "none",
            }
            .to_owned(),
            rules: facts.rules.clone(),
            citation: facts.citation.clone(),
            key_id: facts.key_used.map(|(id, _)| id.to_string()),
            key_version: facts.key_used.map(|(_, version)| version),
            reason: facts.reason.filter(|_| facts.key_used.is_some() || facts.access.is_some()),
            access: facts.access.as_ref().map(|access| access.id.to_string()),
            duration_us: self.elapsed_us(),
        }))
    }

    /// Microseconds since the request arrived.
    #[must_use]
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The first so many characters.
fn beginning(text: &str, characters: usize) -> &str {
    if text.len() <= characters {
        return text;
    }
    let end = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use storage::catalog::rocks::{CatalogOptions, RocksCatalog};
    use storage::catalog::{Catalog, RecordQuery};
    use storage::engine::Engine;

    use super::*;
    use crate::clock;
    use crate::control::ControlState;
    use crate::keys::KeyRing;
    use crate::platform::PlatformKey;
    use crate::root::{RootInUse, RootKey};

    /// Also where it would have had a record of its own.
    #[tokio::test]
    async fn who_is_crowded_out_is_counted_all_the_same() {
        let (dir, now) = (tempfile::tempdir().unwrap(), clock::now());
        let session = policy::id::SessionId::from_bytes([1; 16]);
        let options = CatalogOptions { engine: Engine::new(), session, now, crew: Arc::default() };
        let catalog = RocksCatalog::open(&dir.path().join("meta"), &options).unwrap();
        let shared: Arc<dyn Catalog> = Arc::<RocksCatalog>::clone(&catalog);
        let (root, platform) = (RootInUse::new(RootKey::random().unwrap()), PlatformKey::random().unwrap());
        let control = Arc::new(ControlState::new(&platform, Arc::clone(&shared)));
        let keys = Arc::new(KeyRing::new(root, platform, control));
        let recorder = Arc::new(Recorder::new(shared, keys, session, Duration::from_secs(60)));
        let context = RequestContext::new("x".to_owned(), now, IpAddr::from([127, 0, 0, 1]), None);
        let opening = context.opening(499, None);
        assert!(!context.fold_left(&recorder, &opening, false).unwrap() && !context.is_recording());
        assert!(context.fold_left(&recorder, &opening, true).unwrap());
        assert!(context.is_recording() && context.is_folded(), "it is not recorded twice");
        recorder.folds.close().await;
        let records = catalog.records(&RecordQuery { after: None, limit: 10 }).await.unwrap();
        assert_eq!(records.len(), 1);
        let content = recorder.open(&records[0].clone().entry().unwrap()).await.unwrap();
        assert!(matches!(&content, Content::Folded(fold) if fold.count == 1), "{content:?}");
        catalog.shutdown(now).await.unwrap();
    }
}
