//! The tail of RocksDB's journals (`*.log`, and the `MANIFEST` that `CURRENT` names) after a loss of power.
//!
//! Every batch is synced before the next is written, so only the last record of the last journal may be
//! torn, in any of its pages: nobody was told that it is there, and it is cut off. A broken record that a
//! whole one follows was acknowledged and is damaged since: that is told and nothing is changed. RocksDB
//! makes neither distinction (`docs/decisions/0003`). What is in a batch was chosen by a tenant in part, who
//! may have put something there that looks like a record: see `Found::believes`.
//!
//! Framing (<https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format>): blocks of 32 KiB, in
//! which a record, or a fragment of one, is
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 4 | masked CRC32C of what begins at offset 6, little-endian |
//! | 4 | 2 | length of the payload, little-endian |
//! | 6 | 1 | kind: 1 full, 2 first, 3 middle, 4 last |
//! | 7 | length | payload |
//!
//! Fewer than 7 bytes at the end of a block are padding.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::crc::crc32c;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// A batch begins with its sequence, `u64`, and a count, `u32`, both little-endian: each change takes one
/// sequence.
const BATCH: usize = 12;
/// RocksDB has no higher sequence.
const SEQUENCES: u64 = 1 << 56;

/// Whose records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    /// Of a log.
    Batches,
    /// Of a manifest.
    Edits,
}

/// Cuts off what a loss of power left of an unacknowledged batch. To be called by the one process that may
/// open the database.
///
/// # Errors
/// `Damaged` when something acknowledged is broken, `Io` when a file cannot be read or cut.
pub(super) fn mend(dir: &Path) -> Result<(), OpenError> {
    if let Some(manifest) = manifest(dir)? {
        mend_all(&[manifest], Records::Edits)?;
    }
    mend_all(&logs(dir)?, Records::Batches)
}

/// Journals that continue each other, oldest first.
fn mend_all(journals: &[PathBuf], records: Records) -> Result<(), OpenError> {
    let mut torn: Option<(&Path, u64)> = None;
    for path in journals {
        let found = scan(path, records).map_err(|source| OpenError::io(path, source))?;
        match torn {
            // The next journal is begun when all of this one is synced.
            Some((path, at)) if found.length > 0 => return Err(OpenError::Damaged { path: path.to_owned(), at }),
            _ if found.later => return Err(OpenError::Damaged { path: path.clone(), at: found.whole }),
            None if found.whole < found.length => torn = Some((path, found.whole)),
            _ => {}
        }
    }
    let Some((path, at)) = torn else { return Ok(()) };
    tracing::warn!(path = %path.display(), at, "the journal ends in a batch that was never acknowledged: cut off");
    cut(path, at).map_err(|source| OpenError::io(path, source))
}

fn cut(path: &Path, at: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

/// The manifest in use; a database that was never made has none.
fn manifest(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    let current = dir.join("CURRENT");
    match std::fs::read_to_string(&current) {
        Ok(name) if name.starts_with("MANIFEST-") => Ok(Some(dir.join(name.trim_end()))),
        Ok(_) => {
            let why = "it names no MANIFEST: it was changed or cut; restore the database from a backup";
            Err(OpenError::io(&current, io::Error::new(ErrorKind::InvalidData, why)))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::io(&current, source)),
    }
}

fn logs(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| OpenError::io(dir, source))? {
        let path = entry.map_err(|source| OpenError::io(dir, source))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|e| e == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// What a journal holds.
#[derive(Debug)]
struct Found {
    records: Records,
    /// Bytes up to the end of the last whole record before the first break.
    whole: u64,
    /// A record begins, intact, behind the break.
    later: bool,
    /// Bytes of the file.
    length: u64,
    unfinished: bool,
    broken: bool,
    /// How the record begins that is being read.
    head: Vec<u8>,
    /// The sequence behind the last whole batch.
    next: Option<u64>,
    /// What may begin a batch behind the break, at the very end of a block.
    held: Option<Vec<u8>>,
}

fn scan(path: &Path, records: Records) -> io::Result<Found> {
    let file = File::open(path)?;
    let mut found = Found::new(records, file.metadata()?.len());
    let mut buffer = vec![0; BLOCK];
    let mut at = 0;
    while at < found.length && !found.later {
        let size = usize::try_from(found.length - at).map_or(BLOCK, |left| left.min(BLOCK));
        let block = buffer.get_mut(..size).unwrap_or_default();
        file.read_exact_at(block, at)?;
        found.take(block, at);
        at += BLOCK as u64;
    }
    Ok(found)
}

impl Found {
    fn new(records: Records, length: u64) -> Self {
        let (whole, head, next, held) = (0, Vec::new(), None, None);
        Self { records, whole, later: false, length, unfinished: false, broken: false, head, next, held }
    }

    /// Looks at one block, which begins at `base`.
    fn take(&mut self, block: &[u8], base: u64) {
        let mut rest = block;
        if let Some(head) = self.held.take() {
            self.later |= self.goes_on(head, block, base);
        }
        while let Some(header) = rest.first_chunk::<HEADER>().filter(|_| !self.later) {
            let at = base + (block.len() - rest.len()) as u64;
            let found = fragment(header, rest, self.broken);
            if let Some((kind, size)) = found.filter(|(kind, _)| !self.broken && self.follows(*kind)) {
                self.append(kind, rest.get(HEADER..size).unwrap_or_default(), at + size as u64);
                rest = rest.get(size..).unwrap_or_default();
                continue;
            }
            // Its length cannot be trusted either: what follows is looked for at every byte.
            self.broken = true;
            if let Some((kind, size)) = found {
                let (fragment, behind) = rest.split_at_checked(size).unwrap_or_default();
                let payload = fragment.get(HEADER..).unwrap_or_default();
                self.later |= self.believes(kind, payload, at, behind, block.len() == BLOCK);
            }
            rest = rest.get(1..).unwrap_or_default();
        }
    }

    const fn follows(&self, kind: u8) -> bool {
        matches!(kind, MIDDLE | LAST) == self.unfinished
    }

    /// Takes note of the next intact fragment, which ends at `end`.
    fn append(&mut self, kind: u8, payload: &[u8], end: u64) {
        if !self.unfinished {
            self.head.clear();
        }
        self.head.extend(payload.iter().take(BATCH - self.head.len()));
        self.unfinished = matches!(kind, FIRST | MIDDLE);
        if !self.unfinished {
            self.whole = end;
            if let Some((sequence, count)) = batch(&self.head).filter(|_| matches!(kind, FULL | LAST)) {
                self.next = Some(sequence.saturating_add(count.into()));
            }
        }
    }

    /// Whether an intact fragment behind the break shows that the break was once behind a sync. Pieces of a
    /// torn record may be intact too, so it must begin a record. And names are in a batch as they were given:
    /// one may hold bytes that are such a fragment. But whoever chose it did not know which sequence it would
    /// have, nor, for a manifest, what follows it to the end of the block.
    fn believes(&mut self, kind: u8, payload: &[u8], at: u64, behind: &[u8], full: bool) -> bool {
        if !matches!(kind, FULL | FIRST) {
            return false;
        }
        match (self.records, batch(payload)) {
            (Records::Edits, _) => chained(kind, behind, full),
            (Records::Batches, Some((sequence, _))) => self.later_sequence(sequence, at, chained(kind, behind, full)),
            (Records::Batches, None) => {
                if kind == FIRST && behind.is_empty() && full {
                    self.held = Some(payload.to_vec());
                }
                false
            }
        }
    }

    /// Whether the batch that began at the end of the block before goes on in this one, and is believed.
    fn goes_on(&self, mut head: Vec<u8>, block: &[u8], base: u64) -> bool {
        let next = block.first_chunk::<HEADER>().and_then(|header| fragment(header, block, false));
        let Some((MIDDLE | LAST, size)) = next else { return false };
        head.extend(block.get(HEADER..size).unwrap_or_default());
        batch(&head).is_some_and(|(sequence, _)| self.later_sequence(sequence, base, true))
    }

    /// Whether a batch behind the break may have this sequence.
    fn later_sequence(&self, sequence: u64, at: u64, chained: bool) -> bool {
        match self.next {
            // Each change in between took a byte at least.
            Some(next) => (next..=next.saturating_add(at - self.whole)).contains(&sequence),
            None => (1..SEQUENCES).contains(&sequence) && chained,
        }
    }
}

/// Sequence and count of the batch that begins so.
fn batch(payload: &[u8]) -> Option<(u64, u32)> {
    let (sequence, rest) = payload.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*sequence), u32::from_le_bytes(*rest.first_chunk::<4>()?)))
}

/// Whether records follow each other from here to the end of the block, or of the file when it is not full.
fn chained(mut kind: u8, mut bytes: &[u8], full: bool) -> bool {
    loop {
        match (kind, bytes.first_chunk::<HEADER>()) {
            (FULL, Some(header)) => match fragment(header, bytes, true) {
                Some((next, size)) => (kind, bytes) = (next, bytes.get(size..).unwrap_or_default()),
                None => return false,
            },
            // As much of a record as the block has room for.
            (FIRST, _) => return bytes.is_empty() && full,
            (FULL, None) => return bytes.is_empty() || (full && bytes.iter().all(|byte| *byte == 0)),
            _ => return false,
        }
    }
}

/// Kind and size, header included, of the fragment at the front, if it is one; of one that `begins` a record,
/// if only such count.
fn fragment(header: &[u8; HEADER], bytes: &[u8], begins: bool) -> Option<(u8, usize)> {
    let [a, b, c, d, low, high, kind] = *header;
    if kind == 0 || (begins && !matches!(kind, FULL | FIRST)) {
        return None;
    }
    let size = HEADER + usize::from(u16::from_le_bytes([low, high]));
    let covered = bytes.get(HEADER - 1..size)?;
    (mask(crc32c(covered)) == u32::from_le_bytes([a, b, c, d])).then_some((kind, size))
}

/// As RocksDB stores sums, so that the sum of a journal inside a journal is no sum.
const fn mask(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
