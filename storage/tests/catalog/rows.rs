//! Rows and ids to try with.

use bytes::Bytes;
use policy::id::{BodyId, BucketId, KeyId, PrincipalId, TenantId, UploadId, VersionId};
use policy::name::ObjectKey;
use policy::residency::Residency;
use policy::time::UtcMillis;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use storage::catalog::{
    BucketRow, Catalog, Change, Commit, CommitError, Committed, CurrentRow, ListItem, ListPage, ListedObject, Location,
    ManifestBody, NewBody, NewUpload, PartRow, Precondition, PutVersion, Refusal, UploadRow, VersionRow, WrappedKey,
};
use storage::log::{Record, RecordKind};

/// Bodies in chunks lie here.
pub const CHUNKS: Location = Location::Chunks { pool: 0 };

/// A line of a list, on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Object { name: String, version: VersionId, size: u64, modified: UtcMillis, list_values: Vec<u8> },
    Prefix(String),
}

impl Listed {
    pub fn of(name: &str, row: &CurrentRow) -> Self {
        let CurrentRow { version, size, modified, list_values, .. } = row.clone();
        Self::Object { name: name.to_owned(), version, size, modified, list_values }
    }

    pub fn all(page: &ListPage) -> Vec<Self> {
        let lines = page.items().map(|item| match item {
            ListItem::Prefix(prefix) => Self::Prefix(prefix.to_owned()),
            ListItem::Object(ListedObject { name, version, size, modified, list_values }) => {
                Self::Object { name: name.to_owned(), version, size, modified, list_values: list_values.to_vec() }
            }
        });
        lines.collect()
    }
}

/// The version of the key of each bucket here.
pub const UNDER: u32 = 3;

pub fn wrapped_key(number: u128, version: u32) -> WrappedKey {
    WrappedKey { id: KeyId::from_bytes(id(number)), version, wrapped: id(number).to_vec() }
}

/// An upload begins under the current key.
pub const fn begin(row: UploadRow) -> Change {
    Change::CreateUpload(NewUpload { row, under: UNDER })
}

pub const fn id(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

pub fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes(id(u128::from(number) + 1))
}

pub fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

pub fn bucket(number: u128, name: &str, tenant: TenantId) -> BucketRow {
    BucketRow {
        id: BucketId::from_bytes(id(number)),
        name: name.parse().unwrap(),
        tenant,
        owner: PrincipalId::from_bytes(id(number)),
        created: UtcMillis(5),
        residency: Residency::korea(),
        keys: vec![wrapped_key(number, UNDER)],
        hung_on: Vec::new(),
        closed: false,
        proof: [7; 32],
    }
}

pub fn body(number: u128, location: Location) -> NewBody {
    new_body(BodyId::from_bytes(id(number)), location)
}

/// A body that a commit brings; its sealed bytes, when inline, are its id.
pub fn new_body(id: BodyId, location: Location) -> NewBody {
    let inline = (location == Location::Inline).then(|| Bytes::copy_from_slice(id.as_bytes()));
    NewBody { id, location, sealed_bytes: 16, digest: [0; 32], inline }
}

pub fn manifest(number: u32, body: BodyId, location: Location) -> ManifestBody {
    ManifestBody { number, body, length: 10, location, envelope: body.as_bytes().to_vec() }
}

pub fn version(number: u128, bodies: Vec<ManifestBody>) -> VersionRow {
    VersionRow {
        version: VersionId::from_bytes(id(number)),
        modified: UtcMillis(u64::try_from(number).unwrap()),
        size: bodies.iter().map(|b| b.length).sum(),
        envelope: id(number).to_vec(),
        bodies,
        manifest: vec![1, 2, 3],
        metadata: vec![4],
        list_values: id(number).to_vec(),
    }
}

/// A version with one new body in chunks, both of this number.
pub fn put(bucket: BucketId, name: &str, number: u128, precondition: Precondition) -> Change {
    let body = body(number, CHUNKS);
    Change::PutVersion(Box::new(PutVersion {
        bucket,
        key: key(name),
        precondition,
        row: version(number, vec![manifest(1, body.id, body.location)]),
        new_bodies: vec![body],
        completes: None,
        under: UNDER,
    }))
}

/// A version whose only body is there already.
pub fn share(bucket: BucketId, name: &str, number: u128, body: BodyId) -> Change {
    Change::PutVersion(Box::new(PutVersion {
        bucket,
        key: key(name),
        precondition: Precondition::None,
        row: version(number, vec![manifest(1, body, CHUNKS)]),
        new_bodies: Vec::new(),
        completes: None,
        under: UNDER,
    }))
}

pub fn delete(bucket: BucketId, name: &str) -> Change {
    Change::DeleteVersion { bucket, key: key(name), precondition: Precondition::None }
}

pub fn upload(bucket: BucketId, name: &str, number: u128) -> UploadRow {
    UploadRow {
        id: UploadId::from_bytes(id(number)),
        bucket,
        key: key(name),
        initiated: UtcMillis(7),
        initiator: PrincipalId::from_bytes(id(number)),
        envelope: vec![8],
        metadata: vec![9],
        checksum: vec![10],
    }
}

pub fn part(number: u32, body: &NewBody) -> PartRow {
    let body = manifest(number, body.id, body.location);
    PartRow { number, modified: UtcMillis(11), size: body.length, body, values: vec![12] }
}

pub fn record(tenant: Option<TenantId>, sealed: u128) -> Record {
    let salt = id(sealed + (1 << 64));
    Record { tenant, kind: RecordKind::Opening, time: UtcMillis(13), salt, sealed: id(sealed).to_vec() }
}

/// SHA-256 of a row as it is stored: a version byte, then postcard.
pub fn digest_of<T: Serialize>(row: &T) -> [u8; 32] {
    let bytes = postcard::to_extend(row, vec![1]).unwrap();
    digest(&SHA256, &bytes).as_ref().try_into().unwrap()
}

/// Commits without a record.
pub async fn commit(catalog: &impl Catalog, change: Change) -> Result<Committed, Refusal> {
    refused(catalog.commit(Commit { change, record: None }).await)
}

/// What was refused; any other failure fails the test.
pub fn refused(outcome: Result<Committed, CommitError>) -> Result<Committed, Refusal> {
    match outcome {
        Ok(committed) => Ok(committed),
        Err(CommitError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

/// Commits all at once, each from a task of its own; outcomes in the order of the changes.
pub async fn race<C: Catalog>(catalog: &std::sync::Arc<C>, commits: Vec<Commit>) -> Vec<Result<Committed, Refusal>> {
    let tasks: Vec<_> = commits
        .into_iter()
        .map(|commit| {
            let catalog = std::sync::Arc::clone(catalog);
            tokio::spawn(async move { catalog.commit(commit).await })
        })
        .collect();
    let mut out = Vec::with_capacity(tasks.len());
    for task in tasks {
        out.push(refused(task.await.unwrap()));
    }
    out
}

pub fn without_record(change: Change) -> Commit {
    Commit { change, record: None }
}
