//! The access record of a request: what it says, and that it is written once.

use std::sync::Arc;

use super::RequestContext;
use crate::error::Error;
use crate::fold::{Folds, Kind, Written};
use crate::record::{Access, Content, Recorder};

impl RequestContext {
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

    fn fold(&self, recorder: &Arc<Recorder>, opening: &Content) -> Result<Option<Written>, Error> {
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
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

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
