//! Random steps. A step names things by number, so that it shrinks; what the number means is looked up
//! in the model when its turn comes: mostly something that exists, sometimes something that does not.

use policy::id::{BodyId, BucketId, UploadId, VersionId};
use policy::name::ObjectKey;
use proptest::collection::vec;
use proptest::prelude::*;
use storage::catalog::{
    After, Before, BucketUpdate, Change, Commit, ControlKind, ControlPut, GarbageRow, ListQuery, Location, NewBody,
    Precondition, PutVersion, UploadQuery,
};

use crate::model::{Held, Model};
use crate::rows::{
    CHUNKS, UNDER, begin, body, bucket, id, key, manifest, new_body, part, record, tenant, upload, version,
};

const BUCKETS: [&str; 3] = ["alpha", "beta", "gamma"];
/// Names that meet prefixes, delimiters, zero bytes and the ends of UTF-8.
const KEYS: [&str; 14] = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/\u{10ffff}",
    "a\0",
    "a\0b",
    "a\0\u{1}",
    "a0",
    "b",
    "b/c",
    "가/",
    "가/나",
    "\u{10ffff}",
];
const PREFIXES: [&str; 7] = ["", "a", "a/", "a\0", "b", "가", "zz"];
const DELIMITERS: [Option<&str>; 5] = [None, Some("/"), Some("\0"), Some("b"), Some("/b")];
const KINDS: [ControlKind; 3] = [ControlKind::Platform, ControlKind::Tenant, ControlKind::Credential];

#[derive(Debug, Clone)]
pub enum Step {
    Alone(Ask, Option<u8>),
    Together(Vec<(Ask, u8)>),
    List { bucket: u8, prefix: u8, delimiter: u8, after: Option<(u8, bool)>, limit: usize },
    Uploads { bucket: u8, prefix: u8, delimiter: u8, marker: Option<(u8, Option<u8>)>, limit: usize },
    Reopen { in_order: bool },
}

/// A change to come.
#[derive(Debug, Clone)]
pub enum Ask {
    Nothing,
    CreateBucket { name: u8, tenant: u8 },
    UpdateBucket { bucket: u8, name: u8, stale: bool },
    DeleteBucket { bucket: u8 },
    Put { bucket: u8, key: u8, when: When, inline: Vec<bool>, shared: Option<u8>, taken: Option<u8> },
    Complete { upload: u8, when: When, kept: u8, shared: Option<u8> },
    Delete { bucket: u8, key: u8, when: When },
    DeleteMany { bucket: u8, objects: Vec<(u8, When)> },
    CreateUpload { bucket: u8, key: u8 },
    PutPart { upload: u8, number: u8, inline: bool, taken: Option<u8> },
    Abort { upload: u8 },
    Control { rows: Vec<(u8, u8, When)> },
    Condemn { body: u8 },
    Forget { garbage: u8, condemned: u8 },
}

/// What must hold of the visible version.
#[derive(Debug, Clone, Copy)]
pub enum When {
    Always,
    Absent,
    Unchanged,
    Other,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (ask(), proptest::option::of(0..3_u8)).prop_map(|(ask, tenant)| Step::Alone(ask, tenant)),
        3 => vec((ask(), 0..3_u8), 2..8).prop_map(Step::Together),
        2 => (any::<u8>(), any::<u8>(), any::<u8>(), proptest::option::of(any::<(u8, bool)>()), 0..6_usize).prop_map(
            |(bucket, prefix, delimiter, after, limit)| Step::List { bucket, prefix, delimiter, after, limit }
        ),
        1 => (any::<u8>(), any::<u8>(), any::<u8>(), proptest::option::of(any::<(u8, Option<u8>)>()), 0..4_usize)
            .prop_map(|(bucket, prefix, delimiter, marker, limit)| Step::Uploads {
                bucket,
                prefix,
                delimiter,
                marker,
                limit
            }),
        1 => any::<bool>().prop_map(|in_order| Step::Reopen { in_order }),
    ];
    vec(step, 1..60)
}

/// Two buckets and an upload, so that most steps find something.
pub fn beginning() -> [Step; 3] {
    let bucket = |name| Step::Alone(Ask::CreateBucket { name, tenant: name }, Some(0));
    [bucket(0), bucket(1), Step::Alone(Ask::CreateUpload { bucket: 0, key: 2 }, None)]
}

fn ask() -> impl Strategy<Value = Ask> {
    let (n, some) = (any::<u8>, || proptest::option::weighted(0.2, any::<u8>()));
    prop_oneof![
        1 => Just(Ask::Nothing),
        2 => (n(), n()).prop_map(|(name, tenant)| Ask::CreateBucket { name, tenant }),
        2 => (n(), n(), any::<bool>()).prop_map(|(bucket, name, stale)| Ask::UpdateBucket { bucket, name, stale }),
        2 => n().prop_map(|bucket| Ask::DeleteBucket { bucket }),
        10 => (n(), n(), when(), vec(any::<bool>(), 0..3), some(), some()).prop_map(
            |(bucket, key, when, inline, shared, taken)| Ask::Put { bucket, key, when, inline, shared, taken }
        ),
        3 => (n(), when(), n(), some())
            .prop_map(|(upload, when, kept, shared)| Ask::Complete { upload, when, kept, shared }),
        3 => (n(), n(), when()).prop_map(|(bucket, key, when)| Ask::Delete { bucket, key, when }),
        2 => (n(), vec((n(), when()), 0..5)).prop_map(|(bucket, objects)| Ask::DeleteMany { bucket, objects }),
        3 => (n(), n()).prop_map(|(bucket, key)| Ask::CreateUpload { bucket, key }),
        5 => (n(), 1..5_u8, any::<bool>(), some())
            .prop_map(|(upload, number, inline, taken)| Ask::PutPart { upload, number, inline, taken }),
        1 => n().prop_map(|upload| Ask::Abort { upload }),
        2 => vec((n(), 0..4_u8, when()), 1..4).prop_map(|rows| Ask::Control { rows }),
        2 => n().prop_map(|body| Ask::Condemn { body }),
        2 => (0..4_u8, 0..4_u8).prop_map(|(garbage, condemned)| Ask::Forget { garbage, condemned }),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Always),
        1 => Just(When::Absent),
        2 => Just(When::Unchanged),
        1 => Just(When::Other)
    ]
}

fn pick<T: Clone>(among: &[T], number: u8) -> T {
    among[usize::from(number) % among.len()].clone()
}

/// Turns numbers into rows; every new row and id is another.
#[derive(Debug)]
pub struct Resolver {
    fresh: u128,
}

impl Resolver {
    pub const fn new() -> Self {
        Self { fresh: 1_000 }
    }

    pub fn commit(&mut self, model: &Model, ask: &Ask, of: Option<u8>) -> Commit {
        let record = of.map(|n| record((n > 0).then(|| tenant(n)), self.next()));
        Commit { change: self.change(model, ask), record }
    }

    pub fn list(model: &Model, step: &Step) -> Option<ListQuery> {
        let Step::List { bucket, prefix, delimiter, after, limit } = step else { return None };
        let after = after.map(|(n, prefix)| match prefix {
            true => After::Prefix(pick(&PREFIXES[1..], n).to_owned()),
            false => After::Key(pick(&KEYS, n).to_owned()),
        });
        let (prefix, delimiter) = (pick(&PREFIXES, *prefix).to_owned(), pick(&DELIMITERS, *delimiter));
        let bucket = known_bucket(model, *bucket);
        Some(ListQuery { bucket, prefix, delimiter: delimiter.map(str::to_owned), after, limit: *limit })
    }

    pub fn uploads(model: &Model, step: &Step) -> Option<UploadQuery> {
        let Step::Uploads { bucket, prefix, delimiter, marker, limit } = step else { return None };
        Some(UploadQuery {
            bucket: known_bucket(model, *bucket),
            prefix: pick(&PREFIXES, *prefix).to_owned(),
            delimiter: pick(&DELIMITERS, *delimiter).map(str::to_owned),
            key_marker: marker.map(|(key, _)| pick(&KEYS, key).to_owned()),
            upload_id_marker: marker.and_then(|(_, id)| id).map(|id| known_upload(model, id).2),
            limit: *limit,
        })
    }

    fn next(&mut self) -> u128 {
        self.fresh += 1;
        self.fresh
    }

    fn change(&mut self, model: &Model, ask: &Ask) -> Change {
        match ask {
            Ask::Nothing => Change::None,
            Ask::CreateBucket { name, tenant: of } => {
                Change::CreateBucket(bucket(self.next(), pick(&BUCKETS, *name), tenant(of % 2)))
            }
            Ask::UpdateBucket { bucket: which, name, stale } => {
                let mut row = bucket(self.next(), pick(&BUCKETS, *name), tenant(0));
                let was = model.buckets.get(&row.name).map_or([0; 32], |known| known.proof);
                row.id = known_bucket(model, *which);
                row.proof[..16].copy_from_slice(&self.next().to_be_bytes());
                let was = if *stale { [9; 32] } else { was };
                Change::PutControl { rows: Vec::new(), buckets: vec![BucketUpdate { row, was }] }
            }
            Ask::DeleteBucket { bucket } => Change::DeleteBucket { bucket: known_bucket(model, *bucket) },
            Ask::Put { .. } | Ask::Complete { .. } => self.put(model, ask),
            Ask::Delete { bucket, key: name, when } => {
                let (bucket, key) = (known_bucket(model, *bucket), key(pick(&KEYS, *name)));
                Change::DeleteVersion { bucket, precondition: precondition(model, bucket, &key, *when), key }
            }
            Ask::DeleteMany { bucket, objects } => {
                let bucket = known_bucket(model, *bucket);
                let one = |(name, when): &(u8, When)| {
                    let key = key(pick(&KEYS, *name));
                    let precondition = precondition(model, bucket, &key, *when);
                    (key, precondition)
                };
                Change::DeleteVersions { bucket, objects: objects.iter().map(one).collect() }
            }
            Ask::CreateUpload { bucket, key } => {
                begin(upload(known_bucket(model, *bucket), pick(&KEYS, *key), self.next()))
            }
            Ask::PutPart { upload, number, inline, taken } => {
                let (bucket, key, upload) = known_upload(model, *upload);
                let new_body = self.body(model, *inline, *taken);
                let part = part(u32::from(*number), &new_body);
                Change::PutPart { bucket, key, upload, part, new_body }
            }
            Ask::Abort { upload } => {
                let (bucket, key, upload) = known_upload(model, *upload);
                Change::AbortUpload { bucket, key, upload }
            }
            Ask::Control { rows } => Change::PutControl {
                rows: rows.iter().map(|row| self.control(model, *row)).collect(),
                buckets: Vec::new(),
            },
            Ask::Condemn { body } => Change::Condemn(any_body(model, *body)),
            Ask::Forget { garbage, condemned } => forget(model, *garbage, *condemned),
        }
    }

    /// A new body, or one that is wrongly called new.
    fn body(&mut self, model: &Model, inline: bool, taken: Option<u8>) -> NewBody {
        let fresh = body(self.next(), if inline { Location::Inline } else { CHUNKS });
        let taken = taken.and_then(|number| held_body(model, number));
        taken.map_or(fresh, |id| new_body(id, location(model, id)))
    }

    fn control(&mut self, model: &Model, (kind, id, when): (u8, u8, When)) -> ControlPut {
        let (kind, id) = (pick(&KINDS, kind), vec![id; usize::from(id)]);
        let before = match (when, model.controls.get(&(kind as u8, id.clone()))) {
            (When::Always, _) => Before::Any,
            (When::Absent, _) | (When::Unchanged, None) => Before::Absent,
            (When::Unchanged, Some(known)) => Before::Is(known.clone()),
            (When::Other, _) => Before::Is(vec![0]),
        };
        ControlPut { kind, id, value: self.next().to_be_bytes().to_vec(), before }
    }

    /// A version of new bodies, shared ones and parts.
    fn put(&mut self, model: &Model, ask: &Ask) -> Change {
        let mut new_bodies = Vec::new();
        let mut bodies = Vec::new();
        let (bucket, key, when, shared, completes) = match ask {
            Ask::Put { bucket, key: name, when, inline, shared, taken } => {
                for inline in inline {
                    let new = self.body(model, *inline, taken.filter(|_| new_bodies.is_empty()));
                    bodies.push((new.id, new.location));
                    new_bodies.push(new);
                }
                (known_bucket(model, *bucket), key(pick(&KEYS, *name)), when, shared, None)
            }
            Ask::Complete { upload, when, kept, shared } => {
                let (bucket, key, upload) = known_upload(model, *upload);
                let parts = model.parts.iter().filter(|((id, _), _)| *id == upload);
                let parts = parts.filter(|((_, number), _)| kept >> number & 1 == 0);
                bodies.extend(parts.map(|(_, part)| (part.body.body, part.body.location)));
                (bucket, key, when, shared, Some(upload))
            }
            _ => panic!("not a version: {ask:?}"),
        };
        if let Some(shared) = shared {
            let shared = a_body(model, bucket, &key, *shared);
            if bodies.iter().all(|(id, _)| *id != shared) {
                bodies.push((shared, location(model, shared)));
            }
        }
        let bodies = (1..).zip(bodies).map(|(number, (body, location))| manifest(number, body, location)).collect();
        let precondition = precondition(model, bucket, &key, *when);
        let row = version(self.next(), bodies);
        Change::PutVersion(Box::new(PutVersion { bucket, key, precondition, row, new_bodies, completes, under: UNDER }))
    }
}

fn precondition(model: &Model, bucket: BucketId, key: &ObjectKey, when: When) -> Precondition {
    let nobody = VersionId::from_bytes(id(1));
    match when {
        When::Always => Precondition::None,
        When::Absent => Precondition::Absent,
        When::Unchanged => Precondition::Version(model.current(bucket, key).map_or(nobody, |row| row.version)),
        When::Other => Precondition::Version(nobody),
    }
}

fn known_bucket(model: &Model, number: u8) -> BucketId {
    let mut among: Vec<BucketId> = model.buckets.values().map(|row| row.id).collect();
    if among.is_empty() || number > 240 {
        among = vec![BucketId::from_bytes(id(2))];
    }
    pick(&among, number)
}

fn known_upload(model: &Model, number: u8) -> (BucketId, ObjectKey, UploadId) {
    let mut among: Vec<_> = model.uploads.keys().cloned().collect();
    if among.is_empty() || number > 240 {
        among = vec![(known_bucket(model, 0), key("a"), UploadId::from_bytes(id(3)))];
    }
    pick(&among, number)
}

fn held_body(model: &Model, number: u8) -> Option<BodyId> {
    let among: Vec<BodyId> = model.bodies.keys().copied().collect();
    (!among.is_empty()).then(|| pick(&among, number))
}

/// As often as not one of this object, else any.
fn a_body(model: &Model, bucket: BucketId, key: &ObjectKey, number: u8) -> BodyId {
    let own = model.objects.get(&(bucket, key.clone())).map(|object| &object.row.bodies);
    match own.filter(|own| number.is_multiple_of(2) && !own.is_empty()) {
        Some(own) => own[usize::from(number) / 2 % own.len()].body,
        None => any_body(model, number),
    }
}

/// One that is held, released, or was never there.
fn any_body(model: &Model, number: u8) -> BodyId {
    let released = model.garbage.iter().map(|(_, body)| *body);
    let among: Vec<BodyId> = model.bodies.keys().copied().chain(released).chain([BodyId::from_bytes(id(4))]).collect();
    pick(&among, number)
}

fn location(model: &Model, body: BodyId) -> Location {
    match model.bodies.get(&body) {
        Some(Held::Live { location, .. }) => *location,
        _ => CHUNKS,
    }
}

fn forget(model: &Model, garbage: u8, condemned: u8) -> Change {
    let rows = model.garbage.iter().map(|(retired, body)| GarbageRow { retired: *retired, body: *body });
    let claimed = model.bodies.keys().map(|body| GarbageRow { retired: 0, body: *body });
    let never = GarbageRow { retired: u64::MAX, body: BodyId::from_bytes(id(5)) };
    let rows = rows.take(garbage.into()).chain(claimed.take(condemned.into())).chain([never]);
    Change::Forget(rows.collect())
}
