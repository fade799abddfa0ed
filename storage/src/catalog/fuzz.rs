//! What must hold of any bytes: each check is run by a property test on random ones and by a fuzz
//! target on guided ones (`integration-tests/fuzz`).

use std::fmt::Debug;

use policy::id::{BucketId, UploadId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::{ListedRow, decode, encode};
use super::{BodyRow, BucketRow, CurrentRow, PartRow, UploadRow, VersionRow, keys};
use crate::log::{self, Head, LogEntry, LogPosition, Record};

/// A check of any bytes.
pub type Check = fn(&[u8]);

/// Every check of this module.
pub const CHECKS: &[(&str, Check)] =
    &[("catalog_rows", catalog_rows), ("catalog_keys", catalog_keys), ("log_entry", log_entry)];

/// Bytes that decode as a row are that row: written again they decode as the same.
pub fn catalog_rows(data: &[u8]) {
    row::<BucketRow>(data);
    row::<CurrentRow>(data);
    row::<VersionRow>(data);
    row::<BodyRow>(data);
    row::<UploadRow>(data);
    row::<PartRow>(data);
    if let Ok(listed) = ListedRow::decode(data) {
        let row = decode::<CurrentRow>("row", data).ok();
        let facts = row.as_ref().map(|row| (row.version, row.size, row.modified, row.list_values.as_slice()));
        assert_eq!(facts, Some((listed.version, listed.size, listed.modified, listed.list_values)));
    }
}

fn row<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(row) = decode::<T>("row", data) {
        let again = encode(&row).ok().and_then(|bytes| decode::<T>("row", &bytes).ok());
        assert_eq!(again.as_ref(), Some(&row));
    }
}

/// Keys keep the order of names, and a key begins like another only when its name does.
pub fn catalog_keys(data: &[u8]) {
    let (a, b) = data.split_at(data.iter().position(|byte| *byte == b'|').unwrap_or(data.len()));
    let b = b.get(1..).unwrap_or_default();
    let (bucket, id) = (BucketId::from_bytes([1; 16]), UploadId::from_bytes([2; 16]));
    assert_eq!(keys::current(bucket, a).cmp(&keys::current(bucket, b)), a.cmp(b));
    assert_eq!(keys::upload(bucket, a, id).cmp(&keys::upload(bucket, b, id)), a.cmp(b));
    let mut front = keys::bucket_prefix(bucket);
    keys::escape(a, &mut front);
    assert_eq!(keys::upload(bucket, b, id).starts_with(&front), b.starts_with(a), "names that begin with a prefix");
    if let Some(behind) = keys::behind(a) {
        assert!(a < behind.as_slice());
        assert_eq!(b >= behind.as_slice(), b > a && !b.starts_with(a));
    } else {
        assert!(a.iter().all(|byte| *byte == 0xff));
    }
    if let Some(row) = keys::read_garbage(data) {
        assert_eq!(keys::garbage(row.retired, row.body), data);
    }
    if let Some(position) = keys::read_log(data) {
        assert_eq!(keys::log(position), data);
    }
}

/// An entry that decodes is written again as one that decodes as the same, and moves the head on.
pub fn log_entry(data: &[u8]) {
    let position = LogPosition { stream: 1, sequence: 2 };
    let Some(entry) = log::decode(position, data) else { return };
    let Some(before) = entry.tenant_count.checked_sub(1) else { return };
    let mut head = Head { count: before, hash: entry.tenant_prev };
    let LogEntry { tenant, kind, time, salt, sealed, .. } = entry.clone();
    let record = Record { tenant, kind, time, salt, sealed };
    let written = log::encode(record, entry.row_digest, &mut head).unwrap_or_default();
    // Numbers may be written at more length than they need: that is another leaf of the same entry.
    let leaf = log::leaf_hash(&written);
    assert_eq!(log::decode(position, &written), Some(LogEntry { leaf, ..entry.clone() }));
    assert_eq!((head.count, head.hash), (entry.tenant_count, leaf));
}

#[cfg(test)]
mod tests {
    use policy::id::{BodyId, KeyId, PrincipalId, SessionId, TenantId, VersionId};
    use policy::residency::Residency;
    use policy::time::UtcMillis;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::WrappedKey;
    use crate::catalog::{BodyState, Location, ManifestBody, ObjectMark};
    use crate::log::RecordKind;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..80)
    }

    fn location() -> impl Strategy<Value = Location> {
        prop_oneof![Just(Location::Inline), any::<u16>().prop_map(|pool| Location::Chunks { pool })]
    }

    fn manifest_body() -> impl Strategy<Value = ManifestBody> {
        (any::<u32>(), any::<[u8; 16]>(), any::<u64>(), location(), bytes()).prop_map(
            |(number, body, length, location, envelope)| ManifestBody {
                number,
                body: BodyId::from_bytes(body),
                length,
                location,
                envelope,
            },
        )
    }

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(row: &T) {
        let written = encode(row).unwrap();
        assert_eq!(decode::<T>("row", &written).unwrap(), *row);
        assert!(decode::<T>("row", &written[..written.len() - 1]).is_err(), "cut short");
        assert!(decode::<T>("row", &[written.as_slice(), &[0]].concat()).is_err(), "longer than it is");
        assert!(decode::<T>("row", &[&[9], &written[1..]].concat()).is_err(), "another version");
    }

    proptest! {
        #[test]
        fn any_bytes_pass_every_check(data in vec(any::<u8>(), 0..300), versioned: bool) {
            let data = if versioned { [&[1], data.as_slice()].concat() } else { data };
            for (_, check) in CHECKS {
                check(&data);
            }
        }

        #[test]
        fn names_keep_their_order(a in vec(0..3_u8, 0..6), b in vec(0..3_u8, 0..6)) {
            catalog_keys(&[a.as_slice(), b"|", b.as_slice()].concat());
        }

        #[test]
        fn versions_come_back(ids: ([u8; 16], u64, u64), bodies in vec(manifest_body(), 0..4), parts in vec(bytes(), 4)) {
            let [envelope, manifest, metadata, list_values] = parts.try_into().unwrap();
            let (version, modified, size) = (VersionId::from_bytes(ids.0), UtcMillis(ids.1), ids.2);
            comes_back(&VersionRow { version, modified, size, envelope, bodies, manifest, metadata, list_values });
        }

        #[test]
        fn parts_and_uploads_come_back(number: u32, times: (u64, u64), body in manifest_body(), key in ".{1,100}", parts in vec(bytes(), 4)) {
            let [values, envelope, metadata, checksum] = parts.try_into().unwrap();
            comes_back(&PartRow { number, modified: UtcMillis(times.0), size: times.1, body, values });
            comes_back(&UploadRow {
                id: UploadId::from_bytes([1; 16]),
                bucket: BucketId::from_bytes([2; 16]),
                key: key.parse().unwrap(),
                initiated: UtcMillis(times.0),
                initiator: PrincipalId::from_bytes([3; 16]),
                envelope,
                metadata,
                checksum,
            });
        }

        #[test]
        fn bodies_and_buckets_come_back(refs: Option<u32>, location in location(), sealed_bytes: u64, digest: [u8; 32], keys in vec(bytes(), 0..3)) {
            let state = refs.map_or(BodyState::Condemned, |refs| BodyState::Live { refs });
            let object = ObjectMark::of(BucketId::from_bytes([6; 16]), &digest);
            comes_back(&BodyRow { state, object, location, sealed_bytes, digest, session: SessionId::from_bytes([4; 16]) });
            comes_back(&BucketRow {
                id: BucketId::from_bytes([6; 16]),
                name: "lake".parse().unwrap(),
                tenant: TenantId::from_bytes([7; 16]),
                owner: PrincipalId::from_bytes([8; 16]),
                created: UtcMillis(sealed_bytes),
                residency: Residency::korea(),
                keys: keys.into_iter().zip(1..).map(|(wrapped, version)| WrappedKey { id: KeyId::from_bytes([9; 16]), version, wrapped }).collect(),
                hung_on: vec![KeyId::from_bytes([5; 16])],
                closed: refs.is_some(),
                proof: digest,
            });
        }

        #[test]
        fn records_come_back(tenant: Option<[u8; 16]>, kind in 0..3_usize, time: u64, salt: [u8; 16], sealed in bytes(), digest: Option<[u8; 32]>, count in 0..u64::MAX, hash: [u8; 32]) {
            let kind = [RecordKind::Opening, RecordKind::Closing, RecordKind::Control][kind];
            let record = Record { tenant: tenant.map(TenantId::from_bytes), kind, time: UtcMillis(time), salt, sealed };
            let mut head = Head { count, hash };
            let written = log::encode(record.clone(), digest, &mut head).unwrap();
            let position = LogPosition { stream: 3, sequence: 4 };
            let entry = log::decode(position, &written).unwrap();
            prop_assert_eq!((entry.tenant, entry.kind, entry.time, entry.salt, &entry.sealed), (record.tenant, kind, record.time, salt, &record.sealed));
            prop_assert_eq!((entry.position, entry.row_digest, entry.tenant_prev), (position, digest, hash));
            prop_assert_eq!((entry.tenant_count, head.count, head.hash), (count + 1, count + 1, log::leaf_hash(&written)));
            log_entry(&written);
        }
    }
}
