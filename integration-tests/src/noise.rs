//! Bodies and choices that come from a seed, so that a failure can be run again.

use bytes::Bytes;

/// A small generator (splitmix64): the same seed gives the same numbers for ever.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// A generator that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator of a test: `GOTGAN_SEED` or `default`; printed, so that a failure names it.
    #[must_use]
    pub fn of_test(default: u64) -> Self {
        let seed = std::env::var("GOTGAN_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
        println!("GOTGAN_SEED={seed}");
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// One of the given things.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Bytes {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            out.extend_from_slice(&self.bits().to_le_bytes());
        }
        out.truncate(length);
        out.into()
    }
}

/// A body that only its seed can make: every test may compare what comes back with it.
#[must_use]
pub fn body(seed: u64, length: usize) -> Bytes {
    Noise::new(seed).bytes(length)
}

/// The page that the at-rest tests store again and again. Words, so that no sealed byte can be
/// taken for it, and every 16-byte piece of it is unlike all others.
#[must_use]
pub fn page() -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "rice", "barley", "millet", "jar", "lock", "beam", "roof", "clay", "straw", "seed", "store", "harvest",
        "winter", "family", "key", "door",
    ];
    let mut noise = Noise::new(0x0960_7a61);
    let mut page = Vec::new();
    while page.len() < 4096 {
        page.extend_from_slice(noise.pick(&WORDS).as_bytes());
        page.extend_from_slice(format!("-{:04x} ", noise.below(65_536)).as_bytes());
    }
    page.truncate(4096);
    page
}

/// `length` bytes of [`page`] over and over.
#[must_use]
pub fn known(length: usize) -> Bytes {
    page().into_iter().cycle().take(length).collect()
}
