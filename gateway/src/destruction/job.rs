//! Destructions that are due: the keys go first, then what hung on them, then it is certified. Each step is committed, so
//! that a server that is killed goes on where it was.

use certs::evidence;
use certs::identity::IdentityFiles;
use policy::id::{DestructionId, UploadId};
use storage::catalog::{Change, Commit, CommitError, Precondition, Refusal, UploadItem, UploadQuery};

use super::certificate::{CERTIFICATE, Certificate, Destroyed, Round, SignedCertificate, Survivor, at};
use super::digest_of;
use crate::clock::now;
use crate::control::{
    Bucket, DestructionRow, DestructionState, KeyAnswer, PrincipalRow, Removed, Standing, TenantKeyRow,
};
use crate::erasure::replace_root;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::node;
use crate::provider::ProviderKind;
use crate::record::{Content, Control};

/// Objects that are removed in one commit.
const PAGE: usize = 256;

/// Looks for destructions that are due, or under way, and does what is next; says whether all of them went on.
///
/// # Errors
/// `Catalog` when they cannot be read.
pub async fn look(gateway: &Gateway, identity: &IdentityFiles) -> Result<bool, Error> {
    let mut all = true;
    let now = now();
    let wanted = |row: &DestructionRow| match row.state {
        DestructionState::Scheduled { due } => due <= now,
        DestructionState::Removing { .. } => true,
        DestructionState::Requested | DestructionState::Done { .. } | DestructionState::Cancelled { .. } => false,
    };
    for known in gateway.control.all_standing(wanted).await? {
        let id = known.row.id;
        // One whose provider does not answer holds up no other.
        if let Err(error) = step(gateway, identity, known).await {
            tracing::error!(destruction = %id, %error, "a destruction that is due is not done yet: it is tried again");
            all = false;
        }
    }
    Ok(all)
}

async fn step(gateway: &Gateway, identity: &IdentityFiles, known: Standing<DestructionRow>) -> Result<(), Error> {
    match &known.row.state {
        DestructionState::Scheduled { .. } => destroy(gateway, known).await,
        DestructionState::Removing { .. } => remove(gateway, identity, known).await,
        DestructionState::Requested | DestructionState::Done { .. } | DestructionState::Cancelled { .. } => Ok(()),
    }
}

/// The approvals are verified once more, beside the calls that cannot be undone.
async fn verify(gateway: &Gateway, row: &DestructionRow) -> Result<(), Error> {
    let mut persons = Vec::new();
    for approval in &row.approvals {
        persons.extend(gateway.control.row::<PrincipalRow>(approval.principal.as_bytes()).await?);
    }
    row.verify(|id| persons.iter().find(|person| person.id == id).cloned()).map_err(Error::NotApproved)
}

async fn destroy(gateway: &Gateway, known: Standing<DestructionRow>) -> Result<(), Error> {
    verify(gateway, &known.row).await?;
    let mut keys = Vec::new();
    for id in &known.row.keys {
        keys.push(gateway.control.row::<TenantKeyRow>(id.as_bytes()).await?.ok_or(Error::Missing("tenant key"))?);
    }
    let buckets = buckets_of(gateway, &known.row).await?;
    let removed = count(gateway, &buckets).await?;
    let mut answers = Vec::new();
    for key in keys.iter().filter(|key| key.provider != ProviderKind::SealedFile) {
        let answer = gateway.keys.destroy(key).await?;
        answers.push(KeyAnswer { key: key.id, answer, at: now() });
        forget(gateway, key).await?;
    }
    let mut checked = 0;
    for key in keys.iter().filter(|key| key.provider != ProviderKind::SealedFile) {
        checked += gateway.keys.opens_nothing(key, &buckets).await?;
    }
    let sealed: Vec<&TenantKeyRow> =
        keys.iter().filter(|key| key.provider == ProviderKind::SealedFile && !key.state.is_destroyed()).collect();
    let removing = |answers: Vec<KeyAnswer>, round| {
        let state = DestructionState::Removing { at: now(), answers, round, checked, removed };
        gateway.control.replace(&known, &DestructionRow { state, ..known.row.clone() })
    };
    if sealed.is_empty() {
        let rows = vec![removing(answers, None)?];
        return commit(gateway, Change::PutControl { rows, buckets: Vec::new() }).await;
    }
    let gone: Vec<_> = sealed.iter().map(|key| key.id).collect();
    replace_root(gateway, &gone, |round| {
        let word = format!(
            "its versions were wrapped by the root key {}, which {} replaced; the file of the one before was overwritten",
            round.before, round.after
        );
        answers.extend(gone.iter().map(|key| KeyAnswer { key: *key, answer: word.clone(), at: round.at }));
        Ok(vec![removing(answers, Some((round.before, round.after)))?])
    })
    .await?;
    // As they were: with all that was stored of them, nothing opens under the root key that there is now.
    let mut tried = 0;
    for key in sealed {
        tried += gateway.keys.opens_nothing(key, &buckets).await?;
    }
    found(gateway, known.row.id, tried).await
}

/// So many keys more were tried.
async fn found(gateway: &Gateway, id: DestructionId, tried: u64) -> Result<(), Error> {
    let known = gateway.control.standing::<DestructionRow>(id.as_bytes()).await?;
    let known = known.ok_or(Error::Missing("destruction"))?;
    let mut row = known.row.clone();
    if let DestructionState::Removing { checked, .. } = &mut row.state {
        *checked += tried;
    }
    let rows = vec![gateway.control.replace(&known, &row)?];
    commit(gateway, Change::PutControl { rows, buckets: Vec::new() }).await
}

/// A key that its provider destroyed is so here, too.
async fn forget(gateway: &Gateway, key: &TenantKeyRow) -> Result<(), Error> {
    let known = gateway.control.standing::<TenantKeyRow>(key.id.as_bytes()).await?;
    let known = known.ok_or(Error::Missing("tenant key"))?;
    if known.row.state.is_destroyed() {
        return Ok(());
    }
    let mut row = known.row.clone();
    row.destroy(now());
    let rows = vec![gateway.control.replace(&known, &row)?];
    let detail = format!("tenant key {} ({}) was destroyed at {}", row.name, row.id, row.provider.name());
    let content = Content::Control(Control { event: "tenant-key-destroyed".to_owned(), detail });
    let record = gateway.recorder.seal(Some(row.tenant), now(), &content).await?;
    let change = Change::PutControl { rows, buckets: Vec::new() };
    gateway.catalog.commit(Commit { change, record: Some(record) }).await?;
    Ok(())
}

async fn buckets_of(gateway: &Gateway, row: &DestructionRow) -> Result<Vec<Bucket>, Error> {
    let (mut out, mut after) = (Vec::new(), None);
    loop {
        let page = gateway.control.buckets(row.tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(out) };
        after = Some(last.name.clone());
        for bucket in page {
            let mut hangs = false;
            for key in &row.keys {
                hangs |= gateway.keys.hangs_on(&bucket, *key)?;
            }
            if hangs {
                out.push(bucket);
            }
        }
    }
}

/// Nothing is added any more: the keys are pending.
async fn count(gateway: &Gateway, buckets: &[Bucket]) -> Result<Removed, Error> {
    let mut removed = Removed::default();
    for bucket in buckets {
        removed.buckets += 1;
        let mut after = None;
        loop {
            let page = gateway.catalog.versions(bucket.id, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            removed.objects += u64::try_from(page.len()).unwrap_or(0);
            removed.bytes += page.iter().filter_map(|one| one.row.as_ref().ok()).map(|row| row.size).sum::<u64>();
        }
        let mut uploads = Uploads::default();
        while let Some(page) = uploads.next(gateway, bucket).await? {
            removed.uploads += u64::try_from(page.len()).unwrap_or(0);
        }
    }
    Ok(removed)
}

async fn commit(gateway: &Gateway, change: Change) -> Result<(), Error> {
    gateway.catalog.commit(Commit { change, record: None }).await?;
    Ok(())
}

/// Removes what hung on the keys, and certifies.
async fn remove(gateway: &Gateway, identity: &IdentityFiles, known: Standing<DestructionRow>) -> Result<(), Error> {
    let mut stays = Vec::new();
    for bucket in buckets_of(gateway, &known.row).await? {
        if !empty(gateway, &bucket).await? {
            stays.push(bucket.name.to_string());
        }
    }
    let row = &known.row;
    let (files, mut certificate) = (identity.clone(), certificate(gateway, row, &stays)?);
    let sign = move || {
        evidence::sign(&files, |signer| {
            certificate.signer = signer;
            serde_json::to_string(&certificate).map_err(|e| e.to_string())
        })
    };
    let signed = tokio::task::spawn_blocking(sign).await;
    let signed = signed.map_err(|_| Error::Missing("the signature of a certificate"))?.map_err(Error::Unsigned)?;
    let signed = serde_json::to_string(&SignedCertificate::new(signed));
    let signed = signed.map_err(|e| Error::Corrupt(e.to_string()))?;
    let detail = format!("destruction {}: certificate with SHA-256 {}", row.id, digest_of(&signed));
    let state = DestructionState::Done { at: now(), certificate: signed };
    let rows = vec![gateway.control.replace(&known, &DestructionRow { state, ..row.clone() })?];
    let content = Content::Control(Control { event: "destruction-certified".to_owned(), detail });
    let record = gateway.recorder.seal(Some(row.tenant), now(), &content).await?;
    let change = Change::PutControl { rows, buckets: Vec::new() };
    gateway.catalog.commit(Commit { change, record: Some(record) }).await?;
    tracing::info!(destruction = %row.id, "certified");
    Ok(())
}

/// Empties and removes a bucket; false when rows of it cannot be removed.
async fn empty(gateway: &Gateway, bucket: &Bucket) -> Result<bool, Error> {
    let (mut after, mut whole) = (None, true);
    loop {
        let page = gateway.catalog.versions(bucket.id, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        let objects = page.into_iter().map(|one| (one.key, Precondition::None)).collect();
        let change = Change::DeleteVersions { bucket: bucket.id, objects };
        let done = gateway.catalog.commit(Commit { change, record: None }).await?;
        whole &= done.stayed.is_empty();
    }
    let mut uploads = Uploads::default();
    while let Some(page) = uploads.next(gateway, bucket).await? {
        for (key, upload) in page {
            let change = Change::AbortUpload { bucket: bucket.id, key, upload };
            match gateway.catalog.commit(Commit { change, record: None }).await {
                Ok(_) | Err(CommitError::Refused(Refusal::UploadGone)) => {}
                Err(CommitError::Failed(_)) => whole = false,
                Err(other) => return Err(other.into()),
            }
        }
    }
    if !whole {
        return Ok(false);
    }
    match gateway.catalog.commit(Commit { change: Change::DeleteBucket { bucket: bucket.id }, record: None }).await {
        Ok(_) | Err(CommitError::Refused(Refusal::BucketGone)) => Ok(true),
        Err(CommitError::Refused(Refusal::BucketNotEmpty)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Pages of the uploads of a bucket.
#[derive(Debug, Default)]
struct Uploads(Option<(String, UploadId)>);

impl Uploads {
    async fn next(
        &mut self,
        gateway: &Gateway,
        bucket: &Bucket,
    ) -> Result<Option<Vec<(policy::name::ObjectKey, UploadId)>>, Error> {
        let query = UploadQuery {
            bucket: bucket.id,
            prefix: String::new(),
            delimiter: None,
            key_marker: self.0.as_ref().map(|(key, _)| key.clone()),
            upload_id_marker: self.0.as_ref().map(|(_, id)| *id),
            limit: PAGE,
        };
        let page = gateway.catalog.uploads(&query).await?;
        let rows: Vec<_> = page
            .items
            .into_iter()
            .filter_map(|item| match item {
                UploadItem::Upload(row) => Some((row.key, row.id)),
                UploadItem::Prefix(_) => None,
            })
            .collect();
        self.0 = rows.last().map(|(key, id)| (key.as_str().to_owned(), *id));
        Ok((!rows.is_empty()).then_some(rows))
    }
}

fn certificate(gateway: &Gateway, row: &DestructionRow, stays: &[String]) -> Result<Certificate, Error> {
    let DestructionState::Removing { answers, round, checked, removed, .. } = &row.state else {
        return Err(Error::Missing("what was destroyed"));
    };
    let destroyed =
        |one: &KeyAnswer| Destroyed { key: one.key.to_string(), answer: one.answer.clone(), at: at(one.at) };
    Ok(Certificate {
        format: CERTIFICATE.to_owned(),
        issued_at: at(now()),
        place: node::describe(&gateway.identity.load()),
        signer: String::new(),
        request: row.document.clone(),
        request_sha256: digest_of(&row.document),
        approvals: row.approvals.iter().map(Into::into).collect(),
        destroyed: answers.iter().map(destroyed).collect(),
        round: round
            .map(|(before, after)| Round { root_key_before: before.to_string(), root_key_after: after.to_string() }),
        checked: *checked,
        removed: *removed,
        survives: survivors(round.is_some(), round.is_none() || answers.len() > 1, stays),
    })
}

/// What is still there, said as it is.
fn survivors(root_key: bool, elsewhere: bool, stays: &[String]) -> Vec<Survivor> {
    let one = |what: &str, until: &str| Survivor { what: what.to_owned(), until: until.to_owned() };
    let mut out = vec![
        one(
            "sealed bytes of the removed objects in the chunk store, which open under no key that there is",
            "they are collected and their segments reclaimed, which begins at once",
        ),
        one(
            "sealed rows of them in older files of the catalog, which open under no key that there is",
            "these files are compacted",
        ),
        one(
            "copies and backups of the data directory that were made before, of which nothing that hung on these keys opens",
            "their holders delete them",
        ),
        one("records of the access log, which name objects and no content", "the end of their retention"),
    ];
    if root_key {
        out.push(one(
            "copies of the root key's directory that were made before the round: with one of them, and a copy of the data of then, the keys open",
            "their holders destroy them, which is theirs to do at once",
        ));
    }
    if elsewhere {
        out.push(one(
            "backups and replicas of the key provider that were made before, if there are any",
            "the provider's operator destroys them, which is theirs to do at once",
        ));
    }
    out.extend(stays.iter().map(|name| {
        one(
            &format!("rows of the bucket {name} that cannot be read and so not be removed"),
            "somebody looks after the damage",
        )
    }));
    out
}
