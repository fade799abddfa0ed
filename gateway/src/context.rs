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
use crate::identity::Account;
use crate::keys::Gate;
use crate::s3::signing::Refusal;

mod recording;

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
