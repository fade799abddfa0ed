//! Which engine this processor runs: chosen at run time, once per key.

use super::hash::HashKey;
use super::portable::Portable;
use super::sliced::{BLOCK, Engine as _, Job};
#[cfg(target_arch = "x86_64")]
use super::x86::{AesNi, Gfni, Vaes};

/// How the cipher is computed, fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// GFNI on 512-bit registers: 64 blocks at once.
    Gfni,
    /// VAES on 256-bit registers: 32 blocks at once.
    Vaes,
    /// AES-NI on 128-bit registers: 16 blocks at once.
    AesNi,
    /// Bit-sliced in 64-bit words, 64 blocks at once; on every processor.
    Portable,
}

impl Path {
    /// Every path, fastest first.
    pub const ALL: [Self; 4] = [Self::Gfni, Self::Vaes, Self::AesNi, Self::Portable];
}

/// An engine that this processor has.
#[derive(Clone, Copy)]
pub(super) enum Chosen {
    #[cfg(target_arch = "x86_64")]
    Gfni(Gfni),
    #[cfg(target_arch = "x86_64")]
    Vaes(Vaes),
    #[cfg(target_arch = "x86_64")]
    AesNi(AesNi),
    Portable(Portable),
}

impl Chosen {
    /// The fastest there is.
    pub(super) fn best() -> Self {
        Path::ALL.into_iter().find_map(Self::of).unwrap_or(Self::Portable(Portable))
    }

    /// That of a path, where the processor has it.
    pub(super) fn of(path: Path) -> Option<Self> {
        match path {
            #[cfg(target_arch = "x86_64")]
            Path::Gfni => Gfni::detect().map(Self::Gfni),
            #[cfg(target_arch = "x86_64")]
            Path::Vaes => Vaes::detect().map(Self::Vaes),
            #[cfg(target_arch = "x86_64")]
            Path::AesNi => AesNi::detect().map(Self::AesNi),
            #[cfg(not(target_arch = "x86_64"))]
            Path::Gfni | Path::Vaes | Path::AesNi => None,
            Path::Portable => Some(Self::Portable(Portable)),
        }
    }

    /// Bytes of a batch.
    pub(super) const fn batch(self) -> usize {
        BLOCK
            * match self {
                #[cfg(target_arch = "x86_64")]
                Self::Gfni(_) => Gfni::BLOCKS,
                #[cfg(target_arch = "x86_64")]
                Self::Vaes(_) => Vaes::BLOCKS,
                #[cfg(target_arch = "x86_64")]
                Self::AesNi(_) => AesNi::BLOCKS,
                Self::Portable(_) => Portable::BLOCKS,
            }
    }

    /// The way to hash that goes with it.
    pub(super) fn hash_key(self, key: &[u8; BLOCK]) -> HashKey {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Gfni(_) => HashKey::wide(key),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(_) | Self::AesNi(_) => HashKey::any(key),
            Self::Portable(_) => HashKey::any(key),
        }
    }

    pub(super) fn perform<J: Job>(self, job: J) -> J::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Gfni(engine) => engine.perform(job),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(engine) => engine.perform(job),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(engine) => engine.perform(job),
            Self::Portable(engine) => engine.perform(job),
        }
    }
}
