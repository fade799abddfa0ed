//! Keys of the RocksDB catalog. Order in the database is byte order of these.
//!
//! | family | key |
//! |---|---|
//! | `current` | range u32be, bucket 16, name |
//! | `versions` | range u32be, bucket 16, name escaped and ended, !sequence u64be |
//! | `uploads` | range u32be, bucket 16, name escaped and ended, upload 16 |
//! | `parts` | upload 16, number u32be |
//! | `bodies`, `inline` | body 16 |
//! | `garbage` | retired u64be, body 16; no value |
//! | `log` | stream u64be, sequence u64be |
//! | `control` | kind u8, id |
//! | `buckets` | bucket 16 |
//!
//! An escaped name has 0x00 0xFF for each 0x00 and ends in 0x00 0x00, so that order stays that of
//! the names whatever follows.

use policy::id::{BodyId, BucketId, UploadId};

use super::{ControlKind, GarbageRow};
use crate::log::LogPosition;

/// The only range until ranges split.
const RANGE: u32 = 0;

pub(super) fn bucket_prefix(bucket: BucketId) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&RANGE.to_be_bytes());
    out.extend_from_slice(bucket.as_bytes());
    out
}

/// Length of [`bucket_prefix`].
pub(super) const BUCKET_PREFIX: usize = 20;

pub(super) fn current(bucket: BucketId, name: &[u8]) -> Vec<u8> {
    let mut out = bucket_prefix(bucket);
    out.extend_from_slice(name);
    out
}

pub(super) fn version(bucket: BucketId, name: &[u8], sequence: u64) -> Vec<u8> {
    let mut out = escaped(bucket, name);
    out.extend_from_slice(&(!sequence).to_be_bytes());
    out
}

pub(super) fn upload(bucket: BucketId, name: &[u8], id: UploadId) -> Vec<u8> {
    let mut out = escaped(bucket, name);
    out.extend_from_slice(id.as_bytes());
    out
}

pub(super) fn escaped(bucket: BucketId, name: &[u8]) -> Vec<u8> {
    let mut out = bucket_prefix(bucket);
    escape(name, &mut out);
    out.extend_from_slice(&[0, 0]);
    out
}

/// A name escaped without its end: the front of every key whose name begins so.
pub(super) fn escape(name: &[u8], out: &mut Vec<u8>) {
    for byte in name {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
}

pub(super) fn part(upload: UploadId, number: u32) -> Vec<u8> {
    let mut out = upload.as_bytes().to_vec();
    out.extend_from_slice(&number.to_be_bytes());
    out
}

pub(super) fn garbage(retired: u64, body: BodyId) -> Vec<u8> {
    let mut out = retired.to_be_bytes().to_vec();
    out.extend_from_slice(body.as_bytes());
    out
}

pub(super) fn read_garbage(key: &[u8]) -> Option<GarbageRow> {
    let (retired, body) = key.split_first_chunk::<8>()?;
    Some(GarbageRow { retired: u64::from_be_bytes(*retired), body: BodyId::from_bytes(body.try_into().ok()?) })
}

pub(super) fn log(position: LogPosition) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&position.stream.to_be_bytes());
    out[8..].copy_from_slice(&position.sequence.to_be_bytes());
    out
}

pub(super) fn read_log(key: &[u8]) -> Option<LogPosition> {
    let (stream, sequence) = key.split_first_chunk::<8>()?;
    Some(LogPosition { stream: u64::from_be_bytes(*stream), sequence: u64::from_be_bytes(sequence.try_into().ok()?) })
}

pub(super) fn control(kind: ControlKind, id: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + id.len());
    out.push(kind.id());
    out.extend_from_slice(id);
    out
}

/// The first key behind every key that begins with `prefix`; none when there is no such key.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < 0xff {
            out.push(last + 1);
            return Some(out);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const B: BucketId = BucketId::from_bytes([1; 16]);

    proptest! {
        #[test]
        fn escaped_names_keep_their_order(a in proptest::collection::vec(0..4_u8, 0..6), b in proptest::collection::vec(0..4_u8, 0..6), s: u64, t: u64) {
            if a != b {
                prop_assert_eq!(version(B, &a, s).cmp(&version(B, &b, t)), a.cmp(&b));
            } else {
                prop_assert_eq!(version(B, &a, s).cmp(&version(B, &b, t)), t.cmp(&s), "newest first");
            }
        }

        #[test]
        fn behind_is_behind(prefix in proptest::collection::vec(any::<u8>(), 1..6), rest in proptest::collection::vec(any::<u8>(), 0..6)) {
            let mut longer = prefix.clone();
            longer.extend(rest);
            match behind(&prefix) {
                Some(end) => prop_assert!(longer < end && prefix < end),
                None => prop_assert!(prefix.iter().all(|b| *b == 0xff)),
            }
        }
    }
}
