//! GHASH (NIST SP 800-38D, section 6.4): `x86::clmul` where the processor has it, otherwise the crate `ghash`, which
//! has the carry-less multiplication of other processors, and constant-time code for the rest.

use std::marker::PhantomData;

use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;

use super::sliced::BLOCK;
#[cfg(target_arch = "x86_64")]
use super::x86::clmul::{self, Element, Powers};

/// The hash key, wiped on drop.
pub(super) enum HashKey {
    #[cfg(target_arch = "x86_64")]
    Wide(Box<Powers>),
    Any(Box<GHash>),
}

/// A hash under way.
pub(super) enum Hash<'a> {
    #[cfg(target_arch = "x86_64")]
    Wide(&'a Powers, Element),
    Any(GHash, PhantomData<&'a ()>),
}

impl HashKey {
    /// For processors with the widest registers; what they lack, the crate makes up for.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn wide(key: &[u8; BLOCK]) -> Self {
        Powers::new(key).map_or_else(|| Self::any(key), Self::Wide)
    }

    /// For every processor.
    pub(super) fn any(key: &[u8; BLOCK]) -> Self {
        Self::Any(Box::new(GHash::new(&(*key).into())))
    }

    /// A hash of nothing yet.
    pub(super) fn start(&self) -> Hash<'_> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Wide(powers) => Hash::Wide(powers, [0; 2]),
            Self::Any(hash) => Hash::Any(GHash::clone(hash), PhantomData),
        }
    }
}

impl Hash<'_> {
    /// Takes bytes in, filled up with zeros to whole blocks.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Wide(powers, sum) => {
                let (blocks, rest) = bytes.as_chunks::<BLOCK>();
                *sum = powers.absorb(*sum, blocks);
                if !rest.is_empty() {
                    let mut block = [0; BLOCK];
                    block[..rest.len()].copy_from_slice(rest);
                    *sum = powers.absorb(*sum, &[block]);
                }
            }
            Self::Any(hash, _) => hash.update_padded(bytes),
        }
    }

    /// Takes in the lengths, and gives the hash.
    pub(super) fn finish(mut self, aad: usize, data: usize) -> [u8; BLOCK] {
        let bits = |bytes: usize| (bytes as u64).wrapping_mul(8).to_be_bytes();
        let mut lengths = [0; BLOCK];
        lengths[..8].copy_from_slice(&bits(aad));
        lengths[8..].copy_from_slice(&bits(data));
        self.update(&lengths);
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Wide(_, sum) => clmul::block(sum),
            Self::Any(hash, _) => hash.finalize().into(),
        }
    }
}
