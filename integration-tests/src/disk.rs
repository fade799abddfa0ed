//! What lies under a directory: listings with digests, pieces of plaintext, entropy.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sums::sha256_hex;

/// All files under a directory, sorted.
#[must_use]
pub fn files(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![under.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Each file and folder with mode, size, time of change and digest: equal listings mean that
/// nothing was touched.
#[must_use]
pub fn listing(under: &Path) -> BTreeMap<PathBuf, String> {
    let mut listing = BTreeMap::new();
    let mut folders = vec![under.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            let digest = if facts.is_dir() {
                folders.push(path.clone());
                String::new()
            } else {
                sha256_hex(&fs::read(&path).unwrap())
            };
            let times = (facts.mtime(), facts.mtime_nsec());
            let text = format!("{:o} {} {times:?} {digest}", facts.mode(), facts.len());
            listing.insert(path, text);
        }
    }
    listing
}

/// Looks for any 16-byte piece of a text in files.
#[derive(Debug)]
pub struct Needles {
    pieces: HashSet<u128>,
    starts: Vec<bool>,
}

const PIECE: usize = 16;

impl Needles {
    /// All pieces of these texts; one that wraps around its own end must be given twice over.
    #[must_use]
    pub fn of(texts: &[&[u8]]) -> Self {
        let mut needles = Self { pieces: HashSet::new(), starts: vec![false; 1 << 24] };
        for window in texts.iter().flat_map(|t| t.windows(PIECE)) {
            needles.pieces.insert(number(window));
            needles.starts[start(window)] = true;
        }
        needles
    }

    /// The offset of the first piece in these bytes.
    #[must_use]
    pub fn first_in(&self, haystack: &[u8]) -> Option<usize> {
        haystack.windows(PIECE).position(|w| self.starts[start(w)] && self.pieces.contains(&number(w)))
    }

    /// Every file under a directory that holds a piece, with the offset of the first one.
    #[must_use]
    pub fn found_under(&self, under: &Path) -> Vec<(PathBuf, usize)> {
        files(under)
            .into_iter()
            .filter_map(|path| {
                let offset = self.first_in(&fs::read(&path).unwrap_or_default())?;
                Some((path, offset))
            })
            .collect()
    }
}

fn number(window: &[u8]) -> u128 {
    window.iter().fold(0, |n, byte| (n << 8) | u128::from(*byte))
}

fn start(window: &[u8]) -> usize {
    window.iter().take(3).fold(0, |n, byte| (n << 8) | usize::from(*byte))
}

/// Shannon entropy in bits per byte.
#[must_use]
pub fn entropy(data: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in data {
        counts[usize::from(*byte)] += 1;
    }
    let total = f64::from(u32::try_from(data.len()).unwrap());
    counts
        .iter()
        .filter(|c| **c > 0)
        .map(|c| {
            let p = f64::from(*c) / total;
            -p * p.log2()
        })
        .sum()
}

/// Bytes of a file in blocks of 64 KiB that look random, and the blocks that neither do nor are
/// mostly unwritten zeros.
#[must_use]
pub fn random_bytes(path: &Path) -> (usize, Vec<usize>) {
    const BLOCK: usize = 64 * 1024;
    let data = fs::read(path).unwrap();
    let (mut random, mut other) = (0, Vec::new());
    for (index, block) in data.chunks(BLOCK).enumerate() {
        let written = block.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        if written < BLOCK / 2 {
            continue;
        }
        if entropy(&block[..written]) > 7.95 {
            random += written;
        } else {
            other.push(index);
        }
    }
    (random, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_entropy() {
        let page = crate::noise::page();
        let needles = Needles::of(&[&page]);
        let mut haystack = crate::noise::body(1, 100_000).to_vec();
        assert_eq!(needles.first_in(&haystack), None);
        assert!(entropy(&haystack) > 7.95);
        assert!(entropy(&crate::noise::known(100_000)) < 6.0);
        haystack[5000..5016].copy_from_slice(&page[100..116]);
        assert_eq!(needles.first_in(&haystack), Some(5000));
    }
}
