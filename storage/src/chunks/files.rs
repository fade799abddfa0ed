//! Segment files: numbered, append-only, written with direct I/O at block-aligned offsets. A restart
//! begins a new file, so bytes behind the last synced row are never written again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{FallocateFlags, OFlags};

use super::index::{FileRow, Index};
use crate::error::StoreError;

/// A file takes no more chunks behind this.
const FILE_MAX: u64 = 1 << 30;
/// Space is allocated in such steps, so that most writes do not extend the file.
const STEP: u64 = 64 << 20;

/// One segment file.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub number: u64,
    path: PathBuf,
    write: Option<File>,
    read: File,
}

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    open: RwLock<BTreeMap<u64, Arc<SegmentFile>>>,
    active: Mutex<Active>,
    rows: Mutex<BTreeMap<u64, FileRow>>,
}

#[derive(Debug)]
struct Active {
    file: Option<Arc<SegmentFile>>,
    next: u64,
    allocated: u64,
    next_number: u64,
}

/// Room for one chunk.
#[derive(Debug)]
pub(super) struct Room {
    pub file: Arc<SegmentFile>,
    pub offset: u64,
}

impl Files {
    /// Files without a row hold nothing that exists, and go.
    pub fn open(dir: &Path, index: &Index) -> Result<Self, StoreError> {
        let rows: BTreeMap<u64, FileRow> = index.files()?.into_iter().collect();
        let mut next_number = rows.keys().next_back().map_or(1, |n| n + 1);
        for entry in std::fs::read_dir(dir).map_err(|e| StoreError::io("list segment files", e))? {
            let path = entry.map_err(|e| StoreError::io("list segment files", e))?.path();
            let Some(number) = number_of(&path) else { continue };
            next_number = next_number.max(number + 1);
            match rows.get(&number) {
                None => std::fs::remove_file(&path).map_err(|e| StoreError::io("remove an empty segment file", e))?,
                Some(row) => trim(&path, row.size)?,
            }
        }
        let active = Active { file: None, next: 0, allocated: 0, next_number };
        Ok(Self { dir: dir.to_owned(), open: RwLock::default(), active: Mutex::new(active), rows: Mutex::new(rows) })
    }

    /// Reserves room at the end of the active file; makes the next file when it is full.
    pub fn reserve(&self, length: u64) -> Result<Room, StoreError> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.file.is_none() || active.next + length > FILE_MAX {
            let number = active.next_number;
            let file = Arc::new(SegmentFile::create(&self.dir, number)?);
            self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&file));
            *active = Active { file: Some(file), next: 0, allocated: 0, next_number: number + 1 };
        }
        let Some(file) = active.file.clone() else { return Err(StoreError::Stopped) };
        if active.next + length > active.allocated {
            file.allocate(active.allocated, STEP)?;
            active.allocated += STEP;
        }
        let offset = active.next;
        active.next += length;
        Ok(Room { file, offset })
    }

    /// A file to read from.
    pub fn get(&self, number: u64) -> Result<Arc<SegmentFile>, StoreError> {
        if let Some(file) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(SegmentFile::open(&self.dir, number)?);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(open.entry(number).or_insert(file)))
    }

    /// Notes chunks that came (positive) and went (negative); returns the row to be written.
    pub fn account(&self, number: u64, end: u64, change: i64) -> FileRow {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(number).or_default();
        row.size = row.size.max(end);
        row.live = row.live.saturating_add_signed(change);
        *row
    }

    /// Whether a file holds nothing that exists and takes nothing more.
    pub fn is_dead(&self, number: u64) -> bool {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(&number).is_some_and(|row| row.live == 0) && !self.is_active(number)
    }

    fn is_active(&self, number: u64) -> bool {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.file.as_ref().is_some_and(|file| file.number == number)
    }

    /// Removes a file whose last chunk is gone. Reads in flight keep their descriptor.
    pub fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        match std::fs::remove_file(path_of(&self.dir, number)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove a segment file", e)),
            _ => Ok(()),
        }
    }

    /// The file with the smallest share of live bytes, if that is under `percent`.
    pub fn emptiest(&self, percent: u64) -> Option<u64> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let share = |row: &FileRow| row.live.saturating_mul(100) / row.size.max(1);
        let (number, row) = rows.iter().filter(|(n, _)| !self.is_active(**n)).min_by_key(|(_, row)| share(row))?;
        (share(row) < percent).then_some(*number)
    }

    /// Bytes of segment files and of the chunks in them.
    pub fn usage(&self) -> FileRow {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.values()
            .fold(FileRow::default(), |sum, row| FileRow { size: sum.size + row.size, live: sum.live + row.live })
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
        Ok(Self { number, path, write: Some(write), read })
    }

    fn open(dir: &Path, number: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, number);
        let read = File::open(&path).map_err(|e| StoreError::io("open a segment file", e))?;
        Ok(Self { number, path, write: None, read })
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
