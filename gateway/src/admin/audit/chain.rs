//! Whether the entries of a page follow each other: numbers without gaps, and each tenant's chain of leaf
//! hashes. What they do not show, the end of a stream that is cut off and the order between neighbours of two
//! tenants, a checkpoint must.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use policy::id::TenantId;
use storage::log::{LogEntry, LogPosition};

/// Count and leaf hash of a tenant's last entry.
type Head = (u64, [u8; 32]);

/// Lists under way whose chain is kept from page to page.
const CHAINS_MAX: usize = 8;

/// Chains of lists under way: the next page goes on where the one before it ended.
#[derive(Debug, Default)]
pub(in crate::admin) struct Chains(Mutex<VecDeque<Chain>>);

impl Chains {
    /// The chain behind a position: as it was left there, or with nothing known of what came before.
    pub(super) fn resume(&self, after: Option<LogPosition>) -> Chain {
        let chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = after.and_then(|_| chains.iter().find(|chain| chain.last == after));
        left.cloned().unwrap_or_else(|| Chain::after(after))
    }

    /// Keeps a chain for the page behind it, unless one that knows more is kept: of a list that began earlier.
    pub(super) fn keep(&self, chain: Chain) {
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.iter().any(|other| other.last == chain.last && other.whole.is_some() && chain.whole.is_none()) {
            return;
        }
        chains.retain(|other| other.last != chain.last);
        if chains.len() >= CHAINS_MAX {
            chains.pop_front();
        }
        chains.push_back(chain);
    }
}

/// What was seen of the streams so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Chain {
    last: Option<LogPosition>,
    /// The stream that was read from its first entry on.
    whole: Option<u64>,
    /// Of the stream in hand.
    heads: HashMap<Option<TenantId>, Head>,
}

impl Chain {
    /// Behind a position, or from the first stream on.
    fn after(last: Option<LogPosition>) -> Self {
        Self { last, ..Self::default() }
    }

    /// Passes over bytes that are no entry.
    pub(super) fn pass(&mut self, position: LogPosition) {
        self.last = Some(position);
    }

    /// Takes the next entry; says what is wrong between it and those before.
    pub(super) fn follow(&mut self, entry: &LogEntry) -> Option<&'static str> {
        let LogPosition { stream, sequence } = entry.position;
        let before = self.last.filter(|last| last.stream == stream).map_or(0, |last| last.sequence);
        if before == 0 {
            self.heads.clear();
        }
        self.last = Some(entry.position);
        if sequence == 1 {
            self.whole = Some(stream);
        }
        let first = (self.whole == Some(stream)).then_some((0, [0; 32]));
        let known = self.heads.insert(entry.tenant, (entry.tenant_count, entry.leaf)).or(first);
        if sequence != before + 1 {
            Some("records are missing before this one")
        } else if known.is_some_and(|(count, leaf)| (entry.tenant_count, entry.tenant_prev) != (count + 1, leaf)) {
            Some("this record, or the one before it of the same tenant, was moved, removed or changed")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use policy::time::UtcMillis;
    use storage::log::RecordKind;

    use super::*;

    /// Entries of one stream, of two tenants by turns.
    fn stream(stream: u64, entries: u8) -> Vec<LogEntry> {
        let mut heads = [(0, [0; 32]); 2];
        (1..=entries)
            .map(|n| {
                let head = &mut heads[usize::from(n % 2)];
                let entry = LogEntry {
                    position: LogPosition { stream, sequence: u64::from(n) },
                    leaf: [n; 32],
                    salt: [0; 16],
                    time: UtcMillis(1),
                    tenant: (n % 2 == 0).then_some(TenantId::from_bytes([1; 16])),
                    kind: RecordKind::Opening,
                    tenant_count: head.0 + 1,
                    tenant_prev: head.1,
                    row_digest: None,
                    sealed: Vec::new(),
                };
                *head = (entry.tenant_count, entry.leaf);
                entry
            })
            .collect()
    }

    fn breaks(after: Option<LogPosition>, entries: &[LogEntry]) -> Vec<u64> {
        let mut chain = Chain::after(after);
        let broken = entries.iter().filter(|entry| chain.follow(entry).is_some());
        broken.map(|entry| entry.position.sequence).collect()
    }

    #[test]
    fn whole_streams_follow_in_one_page_or_in_many() {
        let all = [stream(1, 9), stream(2, 4)].concat();
        assert!(breaks(None, &all).is_empty());
        // A page at a time, as a list is read: what is cut out between two pages shows, also when the rest moved up.
        let chains = Chains::default();
        let page = |after, entries: &[LogEntry]| {
            let mut chain = chains.resume(after);
            let broken = entries.iter().filter(|entry| chain.follow(entry).is_some()).count();
            chains.keep(chain);
            broken
        };
        assert_eq!((page(None, &all[..4]), page(Some(all[3].position), &all[4..])), (0, 0));
        let mut moved = all[6..9].to_vec();
        for (entry, sequence) in moved.iter_mut().zip(5..) {
            entry.position.sequence = sequence;
        }
        assert!(page(Some(all[3].position), &moved) > 0);
        // A list that begins in the middle does not make the one from the beginning forget.
        assert_eq!(page(Some(all[2].position), &all[3..4]), 0);
        assert!(page(Some(all[3].position), &moved) > 0);
        for cut in 1..all.len() {
            assert!(breaks(Some(all[cut - 1].position), &all[cut..]).is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_missing_exchanged_or_changed_shows() {
        let all = stream(1, 9);
        for gone in 0..8 {
            let mut left = all.clone();
            left.remove(gone);
            assert!(!breaks(None, &left).is_empty(), "{gone} is gone");
        }
        for (a, b) in [(0, 2), (1, 3), (0, 5), (3, 8)] {
            let mut moved = all.clone();
            moved.swap(a, b);
            let (x, y) = (moved[a].position, moved[b].position);
            (moved[a].position, moved[b].position) = (y, x);
            assert!(!breaks(None, &moved).is_empty(), "{a} and {b} are exchanged");
        }
        let mut changed = all.clone();
        changed[4].leaf = [99; 32];
        assert_eq!(breaks(None, &changed), [7], "the next one of the tenant does not follow");
    }
}
