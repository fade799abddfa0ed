//! A real database whose journals lose pages, as a loss of power leaves them, and as a failing disk does.

use std::collections::BTreeSet;

use rocksdb::WriteBatch;

use super::*;
use crate::engine::tests::{logs, open, synced};

const PAGE: usize = 4096;

/// Bytes of a database that was killed right after its last write.
struct Image {
    files: Vec<(String, Vec<u8>)>,
    journal: String,
    /// Where the last batch begins.
    last: usize,
}

/// So many acknowledged batches of one row, then one of `large` bytes.
fn image(acknowledged: u32, large: usize) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path()).unwrap();
    let family = db.cf_handle("one").unwrap();
    for key in 0..acknowledged {
        db.put_cf_opt(family, key.to_be_bytes(), noise(key, 700), &synced()).unwrap();
    }
    let path = logs(dir.path()).pop().unwrap();
    let last = std::fs::metadata(&path).unwrap().len();
    let mut batch = WriteBatch::default();
    for key in 0..8 {
        batch.put_cf(db.cf_handle("two").unwrap(), [key], noise(u32::from(key), large / 8));
    }
    db.write_opt(batch, &synced()).unwrap();
    Image::of(dir.path(), &path, last)
}

/// Bytes that are no journal.
fn noise(seed: u32, size: usize) -> Vec<u8> {
    let mut out = vec![0; size];
    blake3::Hasher::new_derive_key("noise").update(&seed.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

impl Image {
    fn of(dir: &Path, journal: &Path, last: u64) -> Self {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file()).map(|path| (name(&path), std::fs::read(&path).unwrap()));
        Self { files: files.collect(), journal: name(journal), last: last.try_into().unwrap() }
    }

    fn journal(&self) -> Vec<u8> {
        self.files.iter().find(|(name, _)| *name == self.journal).unwrap().1.clone()
    }

    /// A directory in which the journal has these bytes.
    fn with(&self, journal: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            let bytes = if *name == self.journal { journal } else { bytes };
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    /// Pages that the last batch alone touches, and the one that it shares with what was there.
    fn pages(&self) -> Vec<usize> {
        (self.last / PAGE..self.journal().len().div_ceil(PAGE)).collect()
    }

    /// The journal when these pages of the last batch did not reach the disk. What was synced stays.
    fn without(&self, pages: &BTreeSet<usize>) -> Vec<u8> {
        let mut journal = self.journal();
        for page in pages {
            let end = ((page + 1) * PAGE).min(journal.len());
            journal[(page * PAGE).max(self.last)..end].fill(0);
        }
        journal
    }
}

/// Opens twice: what was mended stays so. Gives how many rows of the last batch are there.
fn rows(dir: &Path, acknowledged: u32, what: &str) -> usize {
    let mut found = BTreeSet::new();
    for _ in 0..2 {
        let db = open(dir).unwrap_or_else(|e| panic!("{what}: {e}"));
        for key in 0..acknowledged {
            let row = db.get_cf(db.cf_handle("one").unwrap(), key.to_be_bytes()).unwrap();
            assert!(row == Some(noise(key, 700)), "{what}: row {key} was acknowledged");
        }
        found
            .insert((0..8_u8).filter(|key| db.get_cf(db.cf_handle("two").unwrap(), [*key]).unwrap().is_some()).count());
    }
    assert_eq!(found.len(), 1, "{what}");
    found.pop_first().unwrap()
}

/// The acknowledged rows are there, and the last batch is there as a whole or not at all.
fn survives(image: &Image, journal: &[u8], whole: bool, what: &str) {
    let dir = image.with(journal);
    assert_eq!(rows(dir.path(), 40, what), if whole { 8 } else { 0 }, "{what}");
}

#[test]
fn a_batch_that_was_torn_by_a_loss_of_power_is_cut_off() {
    let image = image(40, 300_000);
    let pages = image.pages();
    assert!(pages.len() > 70, "the batch has {} pages", pages.len());
    let mut lost: Vec<BTreeSet<usize>> = pages.iter().map(|page| BTreeSet::from([*page])).collect();
    lost.push(pages[..5].iter().copied().collect());
    lost.push(pages[1..].iter().copied().collect());
    lost.push(pages.iter().copied().collect());
    for seed in 0..40 {
        let fate = noise(seed, pages.len());
        lost.push(pages.iter().zip(fate).filter(|(_, fate)| fate & 1 == 1).map(|(page, _)| *page).collect());
    }
    for pages in lost.iter().filter(|pages| !pages.is_empty()) {
        survives(&image, &image.without(pages), false, &format!("without pages {pages:?}"));
    }
}

#[test]
fn a_journal_of_another_length_than_its_batches_opens() {
    let image = image(40, 100_000);
    let whole = image.journal();
    survives(&image, &whole, true, "whole");
    for zeros in [1, 6, 7, 100, PAGE, BLOCK, 3 * BLOCK + 11] {
        let mut longer = whole.clone();
        longer.resize(whole.len() + zeros, 0);
        survives(&image, &longer, true, &format!("{zeros} zeros behind it"));
        let mut longer = whole[..image.last].to_vec();
        longer.resize(image.last + zeros, 0);
        survives(&image, &longer, false, &format!("{zeros} zeros instead of the batch"));
        let mut longer = whole.clone();
        longer.extend(noise(1, zeros));
        survives(&image, &longer, true, &format!("{zeros} bytes of something behind it"));
    }
    let blocks = (image.last.div_ceil(BLOCK)..whole.len() / BLOCK).map(|block| block * BLOCK);
    let places = blocks.flat_map(|edge| [edge - 1, edge, edge + 1, edge + 7, edge + 8]);
    for at in places.chain([image.last, image.last + 1, image.last + 7, image.last + 20, whole.len() - 1]) {
        survives(&image, &whole[..at], false, &format!("cut at {at}"));
    }
}

/// What was acknowledged and is followed by a whole batch cannot be the trace of a loss of power.
#[test]
fn damage_before_a_whole_batch_is_told_and_nothing_is_changed() {
    for large in [1_000, 100_000] {
        let image = image(60, large);
        let whole = image.journal();
        let mut damaged = Vec::new();
        for page in 0..image.last / PAGE {
            let mut journal = whole.clone();
            journal[page * PAGE..(page + 1) * PAGE].fill(0);
            damaged.push(journal);
        }
        // Of records of about 750 bytes, each part of the header and the payload.
        for at in (0..image.last - 750).step_by(83) {
            let mut journal = whole.clone();
            journal[at] ^= 0x10;
            damaged.push(journal);
        }
        for journal in damaged {
            let dir = image.with(&journal);
            assert!(matches!(open(dir.path()), Err(OpenError::Damaged { .. })), "it must not open");
            assert_eq!(std::fs::read(dir.path().join(&image.journal)).unwrap(), journal, "nothing was changed");
        }
    }
}

/// A fragment as RocksDB writes it.
fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let sum = mask(crc32c(&[&[kind], payload].concat()));
    let size = u16::try_from(payload.len()).unwrap();
    [&sum.to_le_bytes()[..], &size.to_le_bytes(), &[kind], payload].concat()
}

/// What a batch begins with.
fn headed(sequence: u64) -> Vec<u8> {
    [&sequence.to_le_bytes()[..], &1_u32.to_le_bytes(), b"and more"].concat()
}

/// Names that a tenant may choose lie in a batch as they are.
#[test]
fn a_name_that_looks_like_a_record_does_not_make_a_torn_batch_a_damaged_one() {
    const NAME: [u8; 9] = [0x17, 0x2e, 0x1f, 0x05, 0x02, 0x00, 0x01, 0x61, 0x56];
    assert_eq!(fragment(NAME.first_chunk().unwrap(), &NAME, true), Some((FULL, NAME.len())));
    assert!(std::str::from_utf8(&NAME).is_ok());
    let far = [0, 1, 20, 1 << 40, u64::from_le_bytes(*b"aaaaaaaa"), u64::MAX].map(|at| framed(FULL, &headed(at)));
    for name in [NAME.repeat(113), NAME.to_vec(), framed(FIRST, b"a"), framed(FULL, b"")].into_iter().chain(far) {
        // Names in the middle of a batch, and as its last bytes; with an acknowledged row before it, and without.
        for (acknowledged, last) in [(40, false), (40, true), (0, false)] {
            let dir = tempfile::tempdir().unwrap();
            let db = open(dir.path()).unwrap();
            let (one, two) = (db.cf_handle("one").unwrap(), db.cf_handle("two").unwrap());
            for key in 0..acknowledged {
                db.put_cf_opt(one, u32::to_be_bytes(key), noise(key, 700), &synced()).unwrap();
            }
            let path = logs(dir.path()).pop().unwrap();
            let begin = std::fs::metadata(&path).unwrap().len();
            let mut batch = WriteBatch::default();
            batch.put_cf(two, [0], noise(0, 2 * PAGE));
            for n in 0..40 {
                let key = [&[n, 0][..], &name].concat();
                if last { batch.delete_cf(two, key) } else { batch.put_cf(two, key, noise(n.into(), 900)) }
            }
            db.write_opt(batch, &synced()).unwrap();
            let image = Image::of(dir.path(), &path, begin);
            let what = format!("{name:02x?}, {acknowledged} rows, last: {last}");
            for page in [image.pages()[0], image.pages()[1]] {
                let dir = image.with(&image.without(&BTreeSet::from([page])));
                assert_eq!(rows(dir.path(), acknowledged, &what), 0, "{what}");
            }
        }
    }
}

/// A journal of a batch of 100 bytes and of batches of these sizes, in blocks as RocksDB writes them.
fn batches(sizes: &[usize]) -> Vec<u8> {
    let mut journal = framed(FULL, &[headed(1), noise(1, 100)].concat());
    for (sequence, size) in (2..).zip(sizes) {
        let payload = [headed(sequence), noise(2, *size)].concat();
        let (mut left, mut begun) = (&payload[..], false);
        while !left.is_empty() {
            let room = BLOCK - journal.len() % BLOCK;
            if room < HEADER {
                journal.resize(journal.len() + room, 0);
                continue;
            }
            let (now, then) = left.split_at(left.len().min(room - HEADER));
            let kind = match (begun, then.is_empty()) {
                (false, true) => FULL,
                (false, false) => FIRST,
                (true, false) => MIDDLE,
                (true, true) => LAST,
            };
            journal.extend(framed(kind, now));
            (left, begun) = (then, true);
        }
    }
    journal
}

fn found(journal: &[u8]) -> Found {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), journal).unwrap();
    scan(file.path(), Records::Batches).unwrap()
}

#[test]
fn a_batch_behind_the_break_is_known_wherever_a_block_divides_it() {
    let first = batches(&[]).len();
    for short in 0..50 {
        let size = BLOCK - first - HEADER - headed(0).len() - short;
        // The second is broken: the third alone shows it, which begins so near the end of the block.
        let mut journal = batches(&[size, 1000]);
        assert!(found(&journal).whole == journal.len() as u64 && !found(&journal).later, "whole, {short}");
        journal[first + HEADER + 100] ^= 1;
        let found = found(&journal);
        assert!(found.later && found.whole == first as u64, "{short} bytes before the end of a block");
    }
}

/// A disk that failed, and a loss of power.
#[test]
fn damage_is_told_when_the_last_batch_is_torn_as_well() {
    let mut journal = batches(&[300, 300, 300, 300]);
    let first = batches(&[]).len();
    journal[first + HEADER + 100] ^= 1;
    for cut in 1..300 {
        assert!(found(&journal[..journal.len() - cut]).later, "the third is whole");
    }
}

#[test]
fn a_torn_edit_of_the_manifest_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path()).unwrap();
    let path = manifest(dir.path()).unwrap().unwrap();
    db.put_cf_opt(db.cf_handle("one").unwrap(), "key", noise(1, 700), &synced()).unwrap();
    let mut image = Image::of(dir.path(), &path, std::fs::metadata(&path).unwrap().len());
    db.flush_cf(db.cf_handle("one").unwrap()).unwrap();
    // What an edit names is there before it, what it gives up goes after it.
    image.files.extend(Image::of(dir.path(), &path, 0).files);
    let flushed = std::fs::read(&path).unwrap();
    let fill = |from: usize, to: usize| {
        let mut journal = flushed.clone();
        journal[from..to].fill(0);
        journal
    };
    std::fs::write(dir.path().join("all but the last"), &flushed[..flushed.len() - 1]).unwrap();
    let last = usize::try_from(scan(&dir.path().join("all but the last"), Records::Edits).unwrap().whole).unwrap();
    let end = flushed.len();
    assert!(last >= image.last && end > last + HEADER, "the flush is an edit");
    let middle = last + (end - last) / 2;
    for journal in [fill(last, end), fill(middle, end), fill(last, middle), flushed[..middle].to_vec()] {
        let dir = image.with(&journal);
        let db = open(dir.path()).unwrap();
        assert_eq!(db.get_cf(db.cf_handle("one").unwrap(), "key").unwrap(), Some(noise(1, 700)));
    }
    let dir = image.with(&fill(20, 40));
    assert!(matches!(open(dir.path()), Err(OpenError::Damaged { .. })));
}
