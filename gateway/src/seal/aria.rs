//! ARIA-256-GCM: the block cipher of RFC 5794 in the mode of NIST SP 800-38D, as the suites of RFC 6209 have it.
//!
//! The cipher is computed on many counter blocks at once (`sliced`), by whichever engine the processor has
//! (`engine`): `x86`, or `portable` everywhere. All are constant-time.

mod counter;
mod engine;
mod hash;
mod portable;
mod sbox;
mod schedule;
mod sliced;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

use subtle::ConstantTimeEq as _;

pub use engine::Path;

use counter::{MAX_BATCH, Stream};
use engine::Chosen;
use hash::{Hash, HashKey};
use schedule::{Expand, RoundKeys};
use sliced::{BLOCK, ROUND_KEYS};

/// Bytes of a tag.
pub const TAG: usize = 16;
/// Bytes of data that one nonce serves: 2^36 - 32 (NIST SP 800-38D, section 5.2.1.1). More repeats the key stream.
pub const MAX_DATA: u64 = (1 << 36) - 32;

/// Data is hashed while it is still in the first cache.
const STRETCH: usize = 8 << 10;

/// One key of ARIA-256-GCM (RFC 6209), ready. The caller answers for the nonces: none twice.
pub struct AriaGcm {
    chosen: Chosen,
    // Boxed: a move of the whole leaves no secrets behind.
    keys: Box<RoundKeys>,
    hash: HashKey,
}

impl std::fmt::Debug for AriaGcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AriaGcm(..)")
    }
}

impl AriaGcm {
    /// Expands a key (RFC 5794, section 2.2), for the fastest path of this processor.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self::of(Chosen::best(), key)
    }

    /// The same for one path, where the processor has it.
    #[must_use]
    pub fn with_path(path: Path, key: &[u8; 32]) -> Option<Self> {
        Chosen::of(path).map(|chosen| Self::of(chosen, key))
    }

    fn of(chosen: Chosen, key: &[u8; 32]) -> Self {
        let mut keys = Box::new(RoundKeys([[0; BLOCK]; ROUND_KEYS]));
        chosen.perform(Expand { key, into: &mut keys });
        // The key stream of nonce 0 and counter 0 is the cipher of the zero block.
        let mut zero = [0; BLOCK];
        chosen.perform(Stream { keys: &keys, nonce: &[0; 12], counter: 0, data: &mut zero });
        let hash = chosen.hash_key(&zero);
        zeroize::zeroize_bytes(&mut zero);
        Self { chosen, keys, hash }
    }

    /// Encrypts `data` in place and returns the tag over it and `aad` (NIST SP 800-38D, algorithm 4).
    ///
    /// `data` is at most `MAX_DATA` bytes.
    #[must_use]
    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAG] {
        debug_assert!(data.len() as u64 <= MAX_DATA, "the counter would come round");
        let head = Head::new(self, nonce);
        let (lengths, mut hash) = ((aad.len(), data.len()), self.hash.start());
        hash.update(aad);
        let (first, rest) = data.split_at_mut(head.stream().len().min(data.len()));
        counter::add(first, head.stream());
        hash.update(first);
        let mut counter = head.next_counter();
        for stretch in rest.chunks_mut(STRETCH) {
            self.stream(nonce, counter, stretch);
            hash.update(stretch);
            counter = counter.wrapping_add((STRETCH / BLOCK) as u32);
        }
        head.tag(hash, lengths)
    }

    /// Decrypts `data` in place if `tag` is that of it and `aad`; otherwise leaves it as it is and returns false
    /// (NIST SP 800-38D, algorithm 5).
    #[must_use]
    pub fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; TAG]) -> bool {
        if data.len() as u64 > MAX_DATA {
            return false;
        }
        let head = Head::new(self, nonce);
        let mut hash = self.hash.start();
        hash.update(aad);
        hash.update(data);
        if !bool::from(head.tag(hash, (aad.len(), data.len())).ct_eq(tag)) {
            return false;
        }
        let (first, rest) = data.split_at_mut(head.stream().len().min(data.len()));
        counter::add(first, head.stream());
        self.stream(nonce, head.next_counter(), rest);
        true
    }

    fn stream(&self, nonce: &[u8; 12], counter: u32, data: &mut [u8]) {
        self.chosen.perform(Stream { keys: &self.keys, nonce, counter, data });
    }
}

/// The first batch of a nonce: block 0 is no part of GCM, block 1 masks the tag, data begins at block 2. So every
/// batch begins at a multiple of its blocks, and a short message needs no second one.
struct Head {
    bytes: [u8; MAX_BATCH],
    batch: usize,
}

impl Head {
    fn new(gcm: &AriaGcm, nonce: &[u8; 12]) -> Self {
        let mut head = Self { bytes: [0; MAX_BATCH], batch: gcm.chosen.batch() };
        gcm.stream(nonce, 0, &mut head.bytes[..head.batch]);
        head
    }

    /// The key stream for the first of the data.
    fn stream(&self) -> &[u8] {
        &self.bytes[2 * BLOCK..self.batch]
    }

    const fn next_counter(&self) -> u32 {
        (self.batch / BLOCK) as u32
    }

    fn tag(&self, hash: Hash<'_>, (aad, data): (usize, usize)) -> [u8; TAG] {
        let mut tag = hash.finish(aad, data);
        counter::add(&mut tag, &self.bytes[BLOCK..2 * BLOCK]);
        tag
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        zeroize::zeroize_bytes(&mut self.bytes);
    }
}
