//! Segment files: numbered, append-only, written with direct I/O at block-aligned offsets. A restart
//! begins a new file, so bytes behind the last synced row are never written again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{FallocateFlags, OFlags};

use super::index::{FileRow, Index};
use crate::error::StoreError;

/// Space is allocated in such steps, so that most writes do not extend the file.
const STEP: u64 = 64 << 20;

/// One segment file.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub number: u64,
    path: PathBuf,
    write: Option<File>,
    read: File,
    /// Holds on it: chunks that were given room and have no row yet.
    holds: AtomicUsize,
}

/// Keeps a file from being removed while a chunk in it waits for its row.
#[derive(Debug)]
pub(super) struct Hold(Arc<SegmentFile>);

impl Hold {
    fn new(file: Arc<SegmentFile>) -> Self {
        file.holds.fetch_add(1, Ordering::AcqRel);
        Self(file)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Deref for Hold {
    type Target = SegmentFile;

    fn deref(&self) -> &SegmentFile {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// A file takes no more chunks behind this.
    max: u64,
    open: RwLock<BTreeMap<u64, Arc<SegmentFile>>>,
    active: Mutex<Active>,
    known: Mutex<BTreeMap<u64, Known>>,
}

/// A file as memory knows it.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    row: FileRow,
    /// The reclaimer has given up on chunks that begin before this.
    stuck: u64,
}

/// What a batch does to one file, once it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// End of the last chunk that came.
    pub end: u64,
    /// Bytes of chunks that came.
    pub came: u64,
    /// Bytes of chunks that went.
    pub went: u64,
}

impl Change {
    fn of(self, row: FileRow) -> FileRow {
        FileRow { size: row.size.max(self.end), live: (row.live + self.came).saturating_sub(self.went) }
    }
}

#[derive(Debug)]
struct Active {
    file: Option<Arc<SegmentFile>>,
    next: u64,
    allocated: u64,
    next_number: u64,
}

/// A file that is worth rewriting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Emptiest {
    pub number: u64,
    /// Chunks that begin before this were tried, in vain.
    pub behind: u64,
    /// It may just go.
    pub empty: bool,
}

/// Room for one chunk.
#[derive(Debug)]
pub(super) struct Room {
    pub file: Hold,
    pub offset: u64,
}

impl Files {
    /// Files without a row hold nothing that exists, and go; `max` is the size of those to be made.
    pub fn open(dir: &Path, index: &Index, max: u64) -> Result<Self, StoreError> {
        let rows: BTreeMap<u64, FileRow> = index.files()?.into_iter().collect();
        let mut next_number = rows.keys().next_back().map_or(1, |n| n + 1);
        for (number, path) in list(dir)? {
            next_number = next_number.max(number + 1);
            match rows.get(&number) {
                Some(row) => trim(&path, row.size)?,
                None if index.in_file(number, 0, 1)?.is_empty() => {
                    std::fs::remove_file(&path).map_err(|e| StoreError::io("remove an empty segment file", e))?;
                }
                None => return Err(StoreError::Malformed("index: a file that holds chunks has no row")),
            }
        }
        let known = rows.into_iter().map(|(number, row)| (number, Known { row, stuck: 0 })).collect();
        let active = Active { file: None, next: 0, allocated: 0, next_number };
        Ok(Self {
            dir: dir.to_owned(),
            max,
            open: RwLock::default(),
            active: Mutex::new(active),
            known: Mutex::new(known),
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves room at the end of the active file; makes the next file when it is full.
    pub fn reserve(&self, length: u64) -> Result<Room, StoreError> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &active.file {
            Some(file) if active.next + length <= self.max => Arc::clone(file),
            _ => self.roll(&mut active)?,
        };
        while active.next + length > active.allocated {
            active.allocated += match file.allocate(active.allocated, STEP) {
                Ok(()) => STEP,
                // The disk is nearly full: the chunk may fit all the same.
                Err(StoreError::Full { .. }) => {
                    let missing = active.next + length - active.allocated;
                    file.allocate(active.allocated, missing)?;
                    missing
                }
                Err(other) => return Err(other),
            };
        }
        let offset = active.next;
        active.next += length;
        Ok(Room { file: Hold::new(file), offset })
    }

    /// Makes the next file. It is known from now on, so that its space is reclaimed even if no chunk in it ever
    /// gets a row; so is what lies behind the last chunk of the file before.
    fn roll(&self, active: &mut Active) -> Result<Arc<SegmentFile>, StoreError> {
        let number = active.next_number;
        // First: what a failure leaves behind must not be in the way of the next attempt.
        active.next_number += 1;
        let file = Arc::new(SegmentFile::create(&self.dir, number)?);
        let mut known = self.known();
        if let Some(full) = active.file.as_ref().and_then(|full| known.get_mut(&full.number)) {
            full.row.size = full.row.size.max(active.next);
        }
        known.insert(number, Known::default());
        drop(known);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&file));
        *active = Active { file: Some(Arc::clone(&file)), next: 0, allocated: 0, next_number: active.next_number };
        Ok(file)
    }

    /// A file to read from.
    pub fn get(&self, number: u64) -> Result<Arc<SegmentFile>, StoreError> {
        if let Some(file) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(SegmentFile::open(&self.dir, number)?);
        Ok(self.adopt(file))
    }

    /// Keeps a descriptor for the next reader, unless the file was removed meanwhile: it would hold the
    /// space of a file that has no name any more.
    fn adopt(&self, file: Arc<SegmentFile>) -> Arc<SegmentFile> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if !self.known().contains_key(&file.number) {
            return file;
        }
        Arc::clone(open.entry(file.number).or_insert(file))
    }

    /// The row of a file as it will be after a change.
    pub fn after(&self, number: u64, change: Change) -> FileRow {
        change.of(self.known().get(&number).map(|known| known.row).unwrap_or_default())
    }

    /// Notes a change whose rows are written.
    pub fn apply(&self, number: u64, change: Change) {
        let mut known = self.known();
        let file = known.entry(number).or_default();
        file.row = change.of(file.row);
    }

    /// Whether a file holds nothing that exists or is about to, and takes nothing more. Only the committer
    /// asks, which alone gives chunks their rows.
    pub fn is_dead(&self, number: u64) -> bool {
        // In this order: a file that is no longer active is given no further holds.
        !self.is_active(number)
            && !self.is_held(number)
            && self.known().get(&number).is_some_and(|known| known.row.live == 0)
    }

    fn is_active(&self, number: u64) -> bool {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.file.as_ref().is_some_and(|file| file.number == number)
    }

    fn is_held(&self, number: u64) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&number).is_some_and(|file| file.holds.load(Ordering::Acquire) > 0)
    }

    /// Removes a file whose last chunk is gone. Reads in flight keep their descriptor.
    pub fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.known().remove(&number);
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        match std::fs::remove_file(path_of(&self.dir, number)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove a segment file", e)),
            _ => Ok(()),
        }
    }

    /// The file with the smallest share of live bytes, if that is under `percent` and something can be done
    /// about it.
    pub fn emptiest(&self, percent: u64) -> Option<Emptiest> {
        let known = self.known().clone();
        let share = |row: &FileRow| row.live.saturating_mul(100) / row.size.max(1);
        let candidates = known.iter().filter(|(number, file)| {
            let useful = if file.row.live == 0 { !self.is_held(**number) } else { file.stuck < file.row.size };
            useful && share(&file.row) < percent && !self.is_active(**number)
        });
        let (number, file) = candidates.min_by_key(|(_, file)| share(&file.row))?;
        Some(Emptiest { number: *number, behind: file.stuck, empty: file.row.live == 0 })
    }

    /// Notes that chunks of a file that begin before `offset` cannot be moved.
    pub fn stick(&self, number: u64, offset: u64) {
        if let Some(file) = self.known().get_mut(&number) {
            file.stuck = file.stuck.max(offset);
        }
    }

    /// Bytes of segment files and of the chunks in them.
    pub fn usage(&self) -> FileRow {
        self.known().values().fold(FileRow::default(), |sum, file| FileRow {
            size: sum.size + file.row.size,
            live: sum.live + file.row.live,
        })
    }

    /// Gives back what was allocated ahead.
    pub fn trim(&self) -> Result<(), StoreError> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        match &active.file {
            Some(file) => trim(&file.path, active.next),
            None => Ok(()),
        }
    }
}

impl SegmentFile {
    fn create(dir: &Path, number: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, number);
        let write = match options().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&path) {
            Ok(file) => file,
            // Some file systems (tmpfs before Linux 6.6, some network ones) refuse direct I/O.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => {
                tracing::warn!(path = %path.display(), "no direct I/O here: segment files are written through the page cache");
                options()
                    .create_new(false)
                    .create(true)
                    .open(&path)
                    .map_err(|e| StoreError::io("create a segment file", e))?
            }
            Err(e) => return Err(StoreError::io("create a segment file", e)),
        };
        let read = File::open(&path).map_err(|e| StoreError::io("open a segment file", e))?;
        let directory = File::open(dir).map_err(|e| StoreError::io("open the segment directory", e))?;
        directory.sync_all().map_err(|e| StoreError::io("sync the segment directory", e))?;
        Ok(Self { number, path, write: Some(write), read, holds: AtomicUsize::new(0) })
    }

    fn open(dir: &Path, number: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, number);
        let read = File::open(&path).map_err(|e| StoreError::io("open a segment file", e))?;
        Ok(Self { number, path, write: None, read, holds: AtomicUsize::new(0) })
    }

    fn allocate(&self, from: u64, length: u64) -> Result<(), StoreError> {
        let Some(file) = &self.write else { return Err(StoreError::Stopped) };
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, length) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(StoreError::io("allocate a segment file", e.into())),
        }
    }

    /// Writes whole blocks at an aligned offset.
    pub fn write(&self, blocks: &[u8], offset: u64) -> Result<(), StoreError> {
        let Some(file) = &self.write else { return Err(StoreError::Stopped) };
        file.write_all_at(blocks, offset).map_err(|e| StoreError::io("write a segment file", e))
    }

    /// Writes whole blocks one behind the other, beginning at an aligned offset.
    pub fn write_run(&self, run: &[&[u8]], offset: u64) -> Result<(), StoreError> {
        let Some(file) = &self.write else { return Err(StoreError::Stopped) };
        let slices: Vec<IoSlice<'_>> = run.iter().map(|blocks| IoSlice::new(blocks)).collect();
        let done = rustix::io::pwritev(file, &slices, offset);
        let mut done = done.map_err(|e| StoreError::io("write a segment file", e.into()))?;
        let mut at = offset;
        for blocks in run {
            // What one call did not take, for instance on a disk that is nearly full.
            if let Some(left) = blocks.get(done..).filter(|left| !left.is_empty()) {
                self.write(left, at + u64::try_from(done).unwrap_or(0))?;
            }
            done = done.saturating_sub(blocks.len());
            at += u64::try_from(blocks.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        let Some(file) = &self.write else { return Ok(()) };
        file.sync_data().map_err(|e| StoreError::io("sync a segment file", e))
    }

    /// The descriptor for reads.
    pub const fn reader(&self) -> &File {
        &self.read
    }
}

fn options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// Segment files by number.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = std::fs::read_dir(dir).map_err(|e| StoreError::io("list segment files", e))?;
    let mut out = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| StoreError::io("list segment files", e))?.path();
        out.extend(number_of(&path).map(|number| (number, path)));
    }
    Ok(out)
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok()
}

fn trim(path: &Path, size: u64) -> Result<(), StoreError> {
    let file =
        std::fs::OpenOptions::new().write(true).open(path).map_err(|e| StoreError::io("trim a segment file", e))?;
    let length = file.metadata().map_err(|e| StoreError::io("trim a segment file", e))?.len();
    if length > size {
        file.set_len(size).map_err(|e| StoreError::io("trim a segment file", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    fn files(dir: &Path) -> Files {
        Files::open(dir, &Index::open(&dir.join("index"), &Engine::new()).unwrap(), 8192).unwrap()
    }

    #[test]
    fn a_reader_that_is_late_does_not_keep_a_removed_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        drop(files.reserve(4096).unwrap());
        let late = Arc::new(SegmentFile::open(dir.path(), 1).unwrap());
        files.remove(1).unwrap();
        let late = files.adopt(late);
        assert!(files.open.read().unwrap().is_empty(), "only the reader itself holds it");
        assert_eq!(Arc::strong_count(&late), 1);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_not_in_the_way_of_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        // As a failure after its creation leaves it, for instance when there are no descriptors.
        std::fs::write(dir.path().join("00000001.seg"), "").unwrap();
        assert!(files.reserve(4096).is_err());
        assert_eq!(files.reserve(4096).unwrap().file.number, 2);
    }
}
