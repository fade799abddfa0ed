//! Space on a database's disk that only records, removals and control changes may use (SECURITY.md rule 15).
//!
//! Changes that add something are refused while less than a margin is free. Others may fill the disk all the
//! same, so some blocks are kept in a file and given up when it comes to that: what must go on, goes on.
//! Space is looked at by whoever is about to write, at most every `MOMENT`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Free space that changes which add something leave alone: this, or an eighth of a small disk.
const MARGIN: u64 = 256 << 20;
/// Blocks that are kept: about 90,000 records; or an eighth of a small disk.
const KEPT: u64 = 64 << 20;
/// Files that a start may make; or an eighth of a small disk's.
const FILES: u64 = 256;
/// Less, and a flush or a compaction may be what took the rest: what it wrote is gone before anybody looks.
const NEAR: u64 = 1 << 30;
const MOMENT: Duration = Duration::from_millis(100);
const FILE: &str = "reserve";
/// Written to see whether that goes; more than file systems put off or keep elsewhere.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 4 << 20;

/// What is left of a disk, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Enough for everything.
    Room,
    /// Too little for changes that add something.
    Little,
    /// What was kept, or less: for records of those who have an account, removals and control changes.
    Last,
}

/// The reserve of one directory.
#[derive(Debug)]
pub struct Reserve {
    dir: PathBuf,
    begun: Instant,
    /// When the disk was looked at, in milliseconds since `begun`, and one more.
    looked: AtomicU64,
    space: AtomicU8,
    short: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
    /// The file system cannot keep blocks.
    Never,
}

#[derive(Debug, Clone, Copy)]
struct Disk {
    size: u64,
    free: u64,
    /// Files that may still be made, and how many there may be in all; none where that has no bound.
    files: Option<(u64, u64)>,
}

impl Reserve {
    /// The reserve of a directory, made or given up as the disk is now.
    ///
    /// # Errors
    /// What the system says when it is asked about the disk.
    pub fn open(dir: &Path) -> io::Result<Self> {
        crate::dirs::make(dir)?;
        Ok(Self::open_on(dir, disk(dir)?))
    }

    fn open_on(dir: &Path, disk: Disk) -> Self {
        let there = std::fs::metadata(dir.join(FILE)).is_ok_and(|file| file.len() > 0);
        let kept = Mutex::new(if there { Kept::Yes } else { Kept::No });
        let (looked, space, short) = (AtomicU64::new(0), AtomicU8::new(Space::Room.code()), AtomicBool::new(false));
        let reserve = Self { dir: dir.to_owned(), begun: Instant::now(), looked, space, short, kept };
        // Whatever its length says: after a loss of power its blocks may not be there. Those that are take
        // no space again.
        if there && disk.free >= disk.margin() / 2 {
            reserve.keep(disk.kept());
        }
        reserve.look_at(disk);
        reserve
    }

    /// What is left. To be asked before each write, whatever it is.
    pub fn look(&self) -> Space {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let moment = u64::try_from(MOMENT.as_millis()).unwrap_or(0);
        let looked = self.looked.load(Ordering::Acquire);
        let due = looked == 0 || now >= looked - 1 + moment;
        // One looks, the others go by what was seen before.
        if due && self.looked.compare_exchange(looked, now + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            match disk(&self.dir) {
                Ok(disk) => self.look_at(disk),
                // Unknown is room: the write itself will tell.
                Err(error) => tracing::warn!(%error, "free space is unknown"),
            }
        }
        self.space()
    }

    fn space(&self) -> Space {
        Space::of(self.space.load(Ordering::Acquire))
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether so little was free, now or at any look before, that the database itself may have found too little.
    #[must_use]
    pub fn was_short(&self) -> bool {
        self.short.load(Ordering::Acquire) || disk(&self.dir).is_ok_and(Disk::is_short)
    }

    /// Whether a compaction could fill the disk between two looks that are far apart.
    #[must_use]
    pub fn is_near(&self) -> bool {
        disk(&self.dir).is_ok_and(|disk| disk.free < 2 * disk.near())
    }

    /// Whether the disk says that there is space now for what a database does when it is opened.
    #[must_use]
    pub fn has_space_again(&self) -> bool {
        disk(&self.dir).is_ok_and(|disk| disk.free > disk.margin() && disk.has_files())
    }

    /// Writes and syncs a file: a disk may have free blocks, and no space for what describes them.
    ///
    /// # Errors
    /// What the system said.
    pub fn probe(&self) -> io::Result<()> {
        let path = self.dir.join(PROBE);
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            let mut bytes = vec![0; PROBE_BYTES];
            // Nothing that a file system could make small.
            blake3::Hasher::new().finalize_xof().fill(&mut bytes);
            file.write_all(&bytes)?;
            file.sync_all()
        })();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
            _ => written,
        }
    }

    fn look_at(&self, disk: Disk) {
        let margin = disk.margin();
        let kept = self.kept();
        if disk.is_short() {
            self.short.store(true, Ordering::Release);
        }
        if kept == Kept::Yes && disk.free < margin / 2 {
            self.give_up();
        } else if kept == Kept::No && disk.free > margin + disk.kept() {
            self.keep(disk.kept());
        }
        let space = disk.space(self.kept());
        if self.space.swap(space.code(), Ordering::AcqRel) != space.code() {
            let (dir, free) = (self.dir.display(), disk.free);
            match space {
                Space::Room => tracing::info!(%dir, free, "there is room again"),
                Space::Little => tracing::error!(%dir, free, "the disk is nearly full: only reads and deletes go on"),
                Space::Last => tracing::error!(%dir, free, "the disk is full but for what was kept for records"),
            }
        }
    }

    fn kept(&self) -> Kept {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    fn file(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.dir.join(FILE))
    }

    fn keep(&self, size: u64) {
        let done = self.file().and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, size)?));
        match done {
            Ok(()) => self.settle(Kept::Yes),
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                tracing::warn!(dir = %self.dir.display(), "no blocks can be kept here: a full disk stops records too");
                self.settle(Kept::Never);
            }
            // Others took the space meanwhile.
            Err(error) => {
                tracing::warn!(%error, "no space is kept for records");
                self.give_up();
            }
        }
    }

    fn give_up(&self) {
        match self.file().and_then(|file| file.set_len(0)) {
            Ok(()) => tracing::warn!(dir = %self.dir.display(), "space that was kept is given up for records"),
            Err(error) => tracing::error!(%error, "space that was kept could not be given up"),
        }
        self.settle(Kept::No);
    }
}

impl Space {
    const fn code(self) -> u8 {
        match self {
            Self::Room => 0,
            Self::Little => 1,
            Self::Last => 2,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Room,
            1 => Self::Little,
            _ => Self::Last,
        }
    }
}

impl Disk {
    fn space(self, kept: Kept) -> Space {
        match kept {
            Kept::Yes | Kept::Never if self.free > self.margin() => Space::Room,
            Kept::Never if self.free < self.margin() / 2 => Space::Last,
            Kept::No if self.free <= self.margin() => Space::Last,
            _ => Space::Little,
        }
    }

    /// Whether that may be why a flush or a compaction failed.
    fn is_short(self) -> bool {
        self.free < self.near() || !self.has_files()
    }

    const fn near(self) -> u64 {
        if self.size / 8 < NEAR { self.size / 8 } else { NEAR }
    }

    fn has_files(self) -> bool {
        self.files.is_none_or(|(left, all)| left > FILES.min(all / 8))
    }

    const fn margin(self) -> u64 {
        if self.size / 8 < MARGIN { self.size / 8 } else { MARGIN }
    }

    const fn kept(self) -> u64 {
        if self.size / 8 < KEPT { self.size / 8 } else { KEPT }
    }
}

fn disk(dir: &Path) -> io::Result<Disk> {
    let disk = statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let files = (disk.f_files > 0).then_some((disk.f_favail, disk.f_files));
    Ok(Disk { size: bytes(disk.f_blocks), free: bytes(disk.f_bavail), files })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn kept(dir: &Path) -> u64 {
        std::fs::metadata(dir.join(FILE)).map_or(0, |file| file.len())
    }

    #[test]
    fn blocks_are_kept_while_there_is_room_and_given_up_before_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(dir.path()).unwrap();
        let look = |free: u64| {
            reserve.look_at(Disk { size: 100 * GIB, free, files: None });
            (reserve.space(), kept(dir.path()))
        };
        assert_eq!(look(GIB), (Space::Room, KEPT));
        assert_eq!(look(MARGIN - 1), (Space::Little, KEPT), "the margin is not for what adds something");
        assert_eq!(look(MARGIN / 2 - 1), (Space::Last, 0), "others fill the disk: it is for records");
        assert_eq!(look(MARGIN / 2 + KEPT), (Space::Last, 0), "what was given up is for those it was kept for");
        assert_eq!(look(MARGIN + 1), (Space::Little, 0), "its own blocks are not room");
        assert_eq!(look(MARGIN + KEPT + 1), (Space::Room, KEPT));
        drop(reserve);
        assert_eq!(kept(dir.path()), KEPT);
    }

    #[test]
    fn what_is_kept_stays_so_when_a_fairly_full_disk_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = |free: u64| Disk { size: 100 * GIB, free, files: None };
        drop(Reserve::open_on(dir.path(), disk(GIB)));
        for free in [MARGIN / 2, MARGIN, MARGIN + 1, MARGIN + KEPT / 2, MARGIN + KEPT] {
            let reserve = Reserve::open_on(dir.path(), disk(free));
            let space = if free > MARGIN { Space::Room } else { Space::Little };
            assert_eq!((reserve.space(), kept(dir.path())), (space, KEPT), "{free} bytes free");
            assert_eq!(reserve.kept(), Kept::Yes, "{free} bytes free");
        }
        let reserve = Reserve::open_on(dir.path(), disk(MARGIN + KEPT / 2));
        reserve.look_at(disk(MARGIN / 2 - 1));
        assert_eq!((reserve.kept(), kept(dir.path())), (Kept::No, 0), "records need it");
        let reserve = Reserve::open_on(dir.path(), disk(MARGIN + KEPT / 2));
        assert_eq!(reserve.space(), Space::Little, "what was given up is not taken back before there is space");
    }

    #[test]
    fn blocks_that_a_loss_of_power_took_are_kept_again() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join(FILE)).unwrap().set_len(KEPT).unwrap();
        let blocks = || std::fs::metadata(dir.path().join(FILE)).unwrap().blocks() * 512;
        assert!(blocks() < KEPT, "the file has holes");
        let reserve = Reserve::open_on(dir.path(), Disk { size: 100 * GIB, free: MARGIN, files: None });
        assert_eq!(reserve.kept(), Kept::Yes);
        assert!(blocks() >= KEPT);
    }

    #[test]
    fn where_no_blocks_can_be_kept_half_of_the_margin_is_the_last() {
        let space = |free: u64| Disk { size: 100 * GIB, free, files: None }.space(Kept::Never);
        let expected = [Space::Room, Space::Little, Space::Last];
        assert_eq!([MARGIN + 1, MARGIN / 2, MARGIN / 2 - 1].map(space), expected);
    }

    #[test]
    fn a_small_disk_keeps_a_share() {
        let small = Disk { size: 80 << 20, free: 0, files: None };
        assert_eq!((small.margin(), small.kept()), (10 << 20, 10 << 20));
    }

    #[test]
    fn a_disk_without_files_to_make_has_no_space() {
        let short = |left: u64, all: u64| Disk { size: 100 * GIB, free: 50 * GIB, files: Some((left, all)) }.is_short();
        assert_eq!([short(FILES, 1 << 20), short(FILES + 1, 1 << 20)], [true, false]);
        assert_eq!([short(10, 80), short(11, 80)], [true, false], "a small one");
        let near = |free: u64| Disk { size: 100 * GIB, free, files: None }.is_short();
        assert_eq!([near(GIB - 1), near(GIB)], [true, false]);
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::open_on(dir.path(), Disk { size: 100 * GIB, free: 0, files: None });
        // Of a kill.
        std::fs::write(dir.path().join(PROBE), "left").unwrap();
        reserve.probe().unwrap();
        assert!(!dir.path().join(PROBE).exists());
        std::fs::create_dir(dir.path().join(PROBE)).unwrap();
        assert!(reserve.probe().is_err());
    }
}
