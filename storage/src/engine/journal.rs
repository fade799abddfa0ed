//! The tail of RocksDB's journals (`*.log`, and the `MANIFEST` that `CURRENT` names) after a loss of power.
//!
//! Every batch is synced before the next is written, so only the last record of the last journal may be
//! torn, in any of its pages: nobody was told that it is there, and it is cut off. A broken record that a
//! whole one follows was acknowledged and is damaged since: that is told and nothing is changed. RocksDB
//! makes neither distinction (`docs/decisions/0003`).
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

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Cuts off what a loss of power left of an unacknowledged batch. To be called by the one process that may
/// open the database.
///
/// # Errors
/// `Damaged` when something acknowledged is broken, `Io` when a file cannot be read or cut.
pub(super) fn mend(dir: &Path) -> Result<(), OpenError> {
    if let Some(manifest) = manifest(dir)? {
        mend_all(&[manifest])?;
    }
    mend_all(&logs(dir)?)
}

/// Journals that continue each other, oldest first.
fn mend_all(journals: &[PathBuf]) -> Result<(), OpenError> {
    let mut torn: Option<(&Path, u64)> = None;
    for path in journals {
        let found = scan(path).map_err(|source| OpenError::io(path, source))?;
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
        Ok(name) => Ok(Some(dir.join(name.trim_end()))),
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
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Bytes up to the end of the last whole record before the first break.
    whole: u64,
    /// A record begins, intact, behind the break.
    later: bool,
    /// Bytes of the file.
    length: u64,
    unfinished: bool,
    broken: bool,
}

fn scan(path: &Path) -> io::Result<Found> {
    let file = File::open(path)?;
    let mut found = Found { length: file.metadata()?.len(), ..Found::default() };
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
    /// Looks at one block, which begins at `base`.
    fn take(&mut self, block: &[u8], base: u64) {
        let mut rest = block;
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let Some((kind, size)) = fragment(header, rest) else {
                // Its length cannot be trusted either: what follows is looked for at every byte.
                self.broken = true;
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            rest = rest.get(size..).unwrap_or_default();
            self.fragment(kind, base + (block.len() - rest.len()) as u64);
            if self.later {
                return;
            }
        }
    }

    /// Takes note of an intact fragment that ends at `end`. Pieces of a torn record may be intact too: only
    /// what begins a record shows that the break was once behind a sync.
    fn fragment(&mut self, kind: u8, end: u64) {
        let begins = matches!(kind, FULL | FIRST);
        let continues = matches!(kind, MIDDLE | LAST);
        if self.broken || (begins && self.unfinished) {
            self.broken = true;
            self.later |= begins;
        } else if continues && !self.unfinished {
            self.broken = true;
        } else {
            self.unfinished = matches!(kind, FIRST | MIDDLE);
            if !self.unfinished {
                self.whole = end;
            }
        }
    }
}

/// Kind and size, header included, of the fragment at the front, if it is one.
fn fragment(header: &[u8; HEADER], bytes: &[u8]) -> Option<(u8, usize)> {
    let [a, b, c, d, low, high, kind] = *header;
    let size = HEADER + usize::from(u16::from_le_bytes([low, high]));
    let covered = bytes.get(HEADER - 1..size)?;
    (kind != 0 && mask(crc32c::crc32c(covered)) == u32::from_le_bytes([a, b, c, d])).then_some((kind, size))
}

/// As RocksDB stores sums, so that the sum of a journal inside a journal is no sum.
const fn mask(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
