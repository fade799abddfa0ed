//! The access log as storage sees it: sealed records in streams, numbered inside the batch that
//! makes them durable, chained per tenant.
//!
//! A stream is one session. Its numbers start at 1 and have no gaps. Each entry names its tenant's
//! previous entry in the stream by leaf hash, so that a missing one shows. The leaf hash covers a random
//! salt, so that it tells nothing of the entry to whoever guesses what that says.

use std::fmt;

use policy::id::TenantId;
use policy::time::UtcMillis;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// What kind of record it is; also an index in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecordKind {
    /// A request, durable before anything that depends on its decision leaves.
    Opening,
    /// How a request ended, when its opening record could not know.
    Closing,
    /// An event of the process or of control state.
    Control,
}

/// A record to be appended.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose log it belongs to; none for the platform's.
    pub tenant: Option<TenantId>,
    /// Its kind.
    pub kind: RecordKind,
    /// When it was made.
    pub time: UtcMillis,
    /// Random, for this record only.
    pub salt: [u8; 16],
    /// Its sealed content.
    pub sealed: Vec<u8>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// The session's stream.
    pub stream: u64,
    /// Number in the stream, from 1.
    pub sequence: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stream, self.sequence)
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub position: LogPosition,
    /// Its leaf hash, which its tenant's next entry names.
    pub leaf: [u8; 32],
    /// Salt of that.
    pub salt: [u8; 16],
    /// When its record was made.
    pub time: UtcMillis,
    /// Whose log.
    pub tenant: Option<TenantId>,
    /// Its kind.
    pub kind: RecordKind,
    /// Count of this tenant's entries in the stream, this one included.
    pub tenant_count: u64,
    /// Leaf hash of the tenant's previous entry in the stream; zero for its first.
    pub tenant_prev: [u8; 32],
    /// SHA-256 of the row that the commit wrote or removed, if there was one; over the digests of all, in the
    /// order of the request, where a request removes many.
    pub row_digest: Option<[u8; 32]>,
    /// The sealed content.
    pub sealed: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    salt: [u8; 16],
    time: UtcMillis,
    tenant: Option<TenantId>,
    kind: RecordKind,
    tenant_count: u64,
    tenant_prev: [u8; 32],
    row_digest: Option<[u8; 32]>,
    #[serde(with = "serde_bytes")]
    sealed: Vec<u8>,
}

/// What a session remembers of one tenant's chain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head {
    pub count: u64,
    pub hash: [u8; 32],
}

/// Encodes an entry and moves the tenant's head on.
pub(crate) fn encode(
    record: Record,
    row_digest: Option<[u8; 32]>,
    head: &mut Head,
) -> Result<Vec<u8>, postcard::Error> {
    let stored = Stored {
        salt: record.salt,
        time: record.time,
        tenant: record.tenant,
        kind: record.kind,
        tenant_count: head.count + 1,
        tenant_prev: head.hash,
        row_digest,
        sealed: record.sealed,
    };
    let mut bytes = Vec::with_capacity(ROOM + stored.sealed.len());
    bytes.push(VERSION);
    let bytes = postcard::to_extend(&stored, bytes)?;
    *head = Head { count: stored.tenant_count, hash: leaf_hash(&bytes) };
    Ok(bytes)
}

/// Decodes an entry.
pub(crate) fn decode(position: LogPosition, bytes: &[u8]) -> Option<LogEntry> {
    let body = bytes.strip_prefix(&[VERSION])?;
    let (s, []) = postcard::take_from_bytes::<Stored>(body).ok()? else { return None };
    Some(LogEntry {
        position,
        leaf: leaf_hash(bytes),
        salt: s.salt,
        time: s.time,
        tenant: s.tenant,
        kind: s.kind,
        tenant_count: s.tenant_count,
        tenant_prev: s.tenant_prev,
        row_digest: s.row_digest,
        sealed: s.sealed,
    })
}

/// The leaf hash of RFC 9162 section 2.1.1: SHA-256 over 0x00 and the entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(entry);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

const VERSION: u8 = 1;
/// More than an entry takes beside its sealed content.
const ROOM: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_chain() {
        let record = |n: u8| Record {
            tenant: Some(TenantId::from_bytes([1; 16])),
            kind: RecordKind::Opening,
            time: UtcMillis(5),
            salt: [n; 16],
            sealed: vec![n; 40],
        };
        let mut head = Head::default();
        let first = encode(record(1), None, &mut head).unwrap();
        let second = encode(record(2), Some([9; 32]), &mut head).unwrap();
        let position = LogPosition { stream: 1, sequence: 2 };
        let entry = decode(position, &second).unwrap();
        assert_eq!((entry.tenant_count, entry.tenant_prev), (2, leaf_hash(&first)));
        assert_eq!((entry.row_digest, entry.sealed.len()), (Some([9; 32]), 40));
        assert_eq!(entry.salt, [2; 16]);
        assert!(decode(position, &second[1..]).is_none());
        assert!(decode(position, &[]).is_none());
    }

    #[test]
    fn equal_records_have_leaves_that_differ_by_their_salt() {
        let leaf = |salt| {
            let time = UtcMillis(5);
            let record = Record { tenant: None, kind: RecordKind::Opening, time, salt, sealed: vec![1; 40] };
            leaf_hash(&encode(record, None, &mut Head::default()).unwrap())
        };
        assert_eq!(leaf([1; 16]), leaf([1; 16]));
        assert_ne!(leaf([1; 16]), leaf([2; 16]));
    }
}
