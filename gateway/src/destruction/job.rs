//! Destructions that are due: the signatures are verified once more, the keys go, then what hung on them, then it is certified.
//! Each step is committed before the next, so that a server that is killed goes on where it was.

use certs::evidence;
use certs::identity::IdentityFiles;
use policy::id::KeyId;
use policy::reason::Reason;
use storage::catalog::{BucketUpdate, Change, Commit, ControlPut};

use super::certificate::{SignedCertificate, issue};
use super::contents::{buckets_of, count, empty};
use crate::approval::digest_of;
use crate::clock::now;
use crate::control::{
    DestructionRow, DestructionState, KeyAnswer, KeyState, KeyVersionRow, PrincipalRow, Standing, TenantKeyRow,
};
use crate::erasure::{Gone, replace_root, settle};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::provider::ProviderKind;
use crate::record::{Content, Control};

/// Looks for destructions that are due, or under way, and does what is next; says whether all of them went on.
///
/// # Errors
/// `Catalog` when they cannot be read.
pub async fn look(gateway: &Gateway, identity: &IdentityFiles) -> Result<bool, Error> {
    let (now, mut all) = (now(), true);
    let wanted = |row: &DestructionRow| match row.state {
        DestructionState::Scheduled { due } => due <= now,
        DestructionState::Destroying { .. } | DestructionState::Removing { .. } => true,
        DestructionState::Requested | DestructionState::Done { .. } | DestructionState::Cancelled { .. } => false,
    };
    for known in gateway.control.all_standing(wanted).await? {
        let id = known.row.id;
        // One whose provider does not answer holds up no other.
        if let Err(error) = (Work { gateway, known }).run(identity).await {
            tracing::error!(destruction = %id, %error, "a destruction that is due is not done yet: it is tried again");
            all = false;
        }
    }
    Ok(all)
}

/// Nothing is destroyed that two persons have not shut.
fn condemned(key: &TenantKeyRow) -> Result<(), Error> {
    match key.state {
        KeyState::PendingDestruction { .. } => Ok(()),
        _ => Err(Error::NotApproved(format!("the key {} is not to be destroyed any more", key.name))),
    }
}

/// A destruction at work.
pub(super) struct Work<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) known: Standing<DestructionRow>,
}

impl Work<'_> {
    async fn run(&mut self, identity: &IdentityFiles) -> Result<(), Error> {
        if matches!(self.known.row.state, DestructionState::Scheduled { .. }) {
            self.begin().await?;
        }
        if matches!(self.known.row.state, DestructionState::Destroying { .. }) {
            self.destroy().await?;
        }
        if matches!(self.known.row.state, DestructionState::Removing { .. }) {
            self.check().await?;
            self.remove(identity).await?;
        }
        Ok(())
    }

    /// Commits the next state, with rows and what the tenant's log says of it.
    pub(super) async fn commit(
        &mut self,
        state: DestructionState,
        rows: Vec<ControlPut>,
        said: (&str, String),
    ) -> Result<(), Error> {
        self.commit_with(state, (rows, Vec::new()), said).await
    }

    pub(super) async fn commit_with(
        &mut self,
        state: DestructionState,
        (mut rows, buckets): (Vec<ControlPut>, Vec<BucketUpdate>),
        (event, detail): (&str, String),
    ) -> Result<(), Error> {
        let row = DestructionRow { state, ..self.known.row.clone() };
        let put = self.gateway.control.replace(&self.known, &row)?;
        let stored = put.value.clone();
        rows.push(put);
        let detail = format!("destruction {}: {detail}", row.id);
        let content = Content::Control(Control { event: event.to_owned(), detail });
        let record = self.gateway.recorder.seal(Some(row.tenant), now(), &content).await?;
        let change = Change::PutControl { rows, buckets };
        self.gateway.catalog.commit(Commit { change, record: Some(record) }).await?;
        self.known = Standing::stored(row, stored);
        Ok(())
    }

    /// Beside the calls that cannot be undone the approvals are verified once more.
    async fn begin(&mut self) -> Result<(), Error> {
        let mut persons = Vec::new();
        for approval in &self.known.row.asked.approvals {
            persons.extend(self.gateway.control.row::<PrincipalRow>(approval.principal.as_bytes()).await?);
        }
        let known = |id| persons.iter().find(|person| person.id == id).cloned();
        self.known.row.asked.verify(Some(self.known.row.tenant), known).map_err(Error::NotApproved)?;
        let state = DestructionState::Destroying { asked: Vec::new(), answers: Vec::new(), left: Vec::new() };
        self.commit(state, Vec::new(), ("destruction-begun", "the signatures hold, and it is due".to_owned())).await
    }

    pub(super) async fn keys(&self) -> Result<Vec<Standing<TenantKeyRow>>, Error> {
        let mut keys = Vec::new();
        for id in &self.known.row.keys {
            let key = self.gateway.control.standing::<TenantKeyRow>(id.as_bytes()).await?;
            keys.push(key.ok_or(Error::Missing("tenant key"))?);
        }
        Ok(keys)
    }

    async fn destroy(&mut self) -> Result<(), Error> {
        let gone = match self.known.row.bucket {
            Some(_) => Gone { keys: Vec::new(), older: self.destroy_versions().await? },
            None => self.keys_gone().await?,
        };
        let DestructionState::Destroying { answers, left, .. } = self.known.row.state.clone() else { return Ok(()) };
        let mut answers = answers;
        let contents = count(self.gateway, &buckets_of(self.gateway, &self.known.row).await?).await?;
        let removing =
            |answers, round| DestructionState::Removing { at: now(), answers, round, checked: None, contents, left };
        if gone.keys.is_empty() && gone.older.is_empty() {
            let said = ("destruction-erases", "the keys are destroyed; what hung on them is removed".to_owned());
            return self.commit(removing(answers, None), Vec::new(), said).await;
        }
        let (gateway, known) = (self.gateway, &self.known);
        replace_root(gateway, &gone, |round| {
            let word = format!(
                "its versions were wrapped by the root key {}, and nowhere else; {} took its place and wraps them not",
                round.before, round.after
            );
            let of_older = |version| format!("of the versions before {version}: {word}");
            let answer = |key: &KeyId, answer: &str| KeyAnswer { key: *key, answer: answer.to_owned(), at: round.at };
            answers.extend(gone.keys.iter().map(|key| answer(key, &word)));
            answers.extend(gone.older.iter().map(|(key, version)| answer(key, &of_older(version))));
            let state = removing(answers, Some((round.before, round.after)));
            Ok(vec![gateway.control.replace(known, &DestructionRow { state, ..known.row.clone() })?])
        })
        .await?;
        let id = self.known.row.id;
        let known = self.gateway.control.standing::<DestructionRow>(id.as_bytes()).await?;
        self.known = known.ok_or(Error::Missing("destruction"))?;
        Ok(())
    }

    /// Keys that other providers hold are destroyed there; those of the sealed file are left for the round.
    async fn keys_gone(&mut self) -> Result<Gone, Error> {
        let left = |key: &Standing<TenantKeyRow>| !key.row.state.is_destroyed();
        for key in self.keys().await?.into_iter().filter(left) {
            if key.row.provider != ProviderKind::SealedFile {
                self.destroy_elsewhere(key).await?;
            }
        }
        let mut keys = Vec::new();
        for key in self.keys().await?.into_iter().filter(left) {
            condemned(&key.row)?;
            keys.push(key.row.id);
        }
        Ok(Gone { keys, older: Vec::new() })
    }

    /// A provider is asked to destroy a key that it was seen to hold. That it will be is committed first: a key that is not
    /// there is destroyed only if this server may have done it.
    async fn destroy_elsewhere(&mut self, key: Standing<TenantKeyRow>) -> Result<(), Error> {
        let DestructionState::Destroying { asked, answers, left } = self.known.row.state.clone() else { return Ok(()) };
        condemned(&key.row)?;
        let (id, name, provider) = (key.row.id, key.row.name.clone(), key.row.provider.name());
        let asked = if asked.contains(&id) {
            asked
        } else {
            self.gateway.keys.holds(&key.row).await?;
            let asked = [asked.as_slice(), &[id]].concat();
            let (answers, left) = (answers.clone(), left.clone());
            let state = DestructionState::Destroying { asked: asked.clone(), answers, left };
            let said = format!("{provider} holds tenant key {name} ({id}), and is asked to destroy it");
            self.commit(state, Vec::new(), ("tenant-key-destroying", said)).await?;
            asked
        };
        let answer = self.gateway.keys.destroy(&key.row).await?;
        let mut row = key.row.clone();
        row.destroy(now());
        let rows = vec![self.gateway.control.replace(&key, &row)?];
        let answers = [answers.as_slice(), &[KeyAnswer { key: id, answer: answer.clone(), at: now() }]].concat();
        let said = format!("tenant key {name} ({id}) is destroyed at {provider}: {answer}");
        self.commit(DestructionState::Destroying { asked, answers, left }, rows, ("tenant-key-destroyed", said)).await
    }

    /// With all that is stored now none of the bucket keys may open; and the file of a root key that was replaced is gone.
    async fn check(&mut self) -> Result<(), Error> {
        let DestructionState::Removing { at, answers, round, checked, contents, left } = self.known.row.state.clone()
        else {
            return Ok(());
        };
        if round.is_some() {
            let _alone = self.gateway.keys.alone().await;
            settle(self.gateway).await?;
        }
        if checked.is_some() {
            return Ok(());
        }
        let (keys, buckets) = (self.keys().await?, buckets_of(self.gateway, &self.known.row).await?);
        let (mut tried, mut names) = (0, Vec::new());
        for key in keys {
            if !self.is_gone(&key.row, &left) {
                return Err(Error::StillOpens(key.row.id));
            }
            let purpose = self.gateway.own_purpose(Reason::Rewrap);
            tried += self.gateway.keys.opens_nothing(&key.row, &buckets, purpose).await?;
            names.push(format!("{} ({})", key.row.name, key.row.id));
        }
        let state = DestructionState::Removing { at, answers, round, checked: Some(tried), contents, left };
        let said = format!(
            "tenant keys {} are destroyed, or their older versions; {tried} bucket keys were tried, none opened",
            names.join(", ")
        );
        self.commit(state, Vec::new(), ("tenant-keys-destroyed", said)).await
    }

    /// Whether nothing is stored of a key, or of the versions that survivors left.
    fn is_gone(&self, key: &TenantKeyRow, left: &[(KeyId, u32)]) -> bool {
        let nothing = |version: &KeyVersionRow| version.wrapped.is_empty();
        if key.state.is_destroyed() {
            return key.versions.iter().all(nothing);
        }
        let Some((_, last)) = left.iter().find(|(id, _)| *id == key.id) else { return false };
        let mut older = key.versions.iter().filter(|version| version.number < *last);
        older.all(|version| nothing(version) && version.destroyed.is_some())
    }

    /// Removes what hung on the keys, and certifies.
    async fn remove(&mut self, identity: &IdentityFiles) -> Result<(), Error> {
        let mut stays = Vec::new();
        for bucket in buckets_of(self.gateway, &self.known.row).await? {
            if !empty(self.gateway, self.known.row.id, &bucket).await? {
                stays.push(bucket.name.to_string());
            }
        }
        let (files, mut certificate) = (identity.clone(), issue(self.gateway, &self.known.row, &stays).await?);
        let sign = move || {
            evidence::sign(&files, now(), |signer| {
                certificate.signer = signer;
                serde_json::to_string(&certificate).map_err(|e| e.to_string())
            })
        };
        let signed = tokio::task::spawn_blocking(sign).await;
        let signed = signed.map_err(|_| Error::Missing("the signature of a certificate"))?.map_err(Error::Unsigned)?;
        let signed = serde_json::to_string(&SignedCertificate::new(signed));
        let signed = signed.map_err(|e| Error::Corrupt(e.to_string()))?;
        let said = format!("its certificate has the SHA-256 {}", digest_of(&signed));
        let state = DestructionState::Done { at: now(), certificate: signed };
        self.commit(state, Vec::new(), ("destruction-certified", said)).await?;
        tracing::info!(destruction = %self.known.row.id, "certified");
        Ok(())
    }
}
