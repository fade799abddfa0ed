//! Counter mode over batches of blocks: GCTR of NIST SP 800-38D, section 6.5.

use super::schedule::RoundKeys;
use super::sliced::{self, BLOCK, Engine, Job};

/// Bytes of the largest batch of any engine.
pub(super) const MAX_BATCH: usize = 64 * BLOCK;

/// Adds the key stream from a counter on to `data`.
pub(super) struct Stream<'a> {
    pub keys: &'a RoundKeys,
    pub nonce: &'a [u8; 12],
    /// Of the first block of `data`; a multiple of the blocks of a batch, so that none carries out of its low byte.
    pub counter: u32,
    pub data: &'a mut [u8],
}

impl Job for Stream<'_> {
    type Output = ();

    #[inline(always)]
    fn run<E: Engine>(self, engine: E) {
        const { assert!(256 % E::BLOCKS == 0 && BLOCK * E::BLOCKS <= MAX_BATCH) };
        debug_assert!((self.counter as usize).is_multiple_of(E::BLOCKS), "counted without a carry");
        let mut counter = self.counter;
        let mut batches = self.data.chunks_exact_mut(BLOCK * E::BLOCKS);
        for batch in &mut batches {
            add_batch(engine, self.keys, self.nonce, counter, batch);
            counter = counter.wrapping_add(E::BLOCKS as u32);
        }
        let rest = batches.into_remainder();
        if !rest.is_empty() {
            let mut batch = [0; MAX_BATCH];
            add_batch(engine, self.keys, self.nonce, counter, &mut batch[..BLOCK * E::BLOCKS]);
            add(rest, &batch);
            zeroize::zeroize_bytes(&mut batch);
        }
    }
}

#[inline(always)]
fn add_batch<E: Engine>(engine: E, keys: &RoundKeys, nonce: &[u8; 12], counter: u32, batch: &mut [u8]) {
    let [c0, c1, c2, low] = counter.to_be_bytes();
    let splat = |byte: u8| engine.splat(u32::from_ne_bytes([byte; 4]));
    let state = std::array::from_fn(|at| match at {
        0..12 => splat(nonce[at]),
        12 => splat(c0),
        13 => splat(c1),
        14 => splat(c2),
        _ => engine.count(low),
    });
    engine.add_to(sliced::encrypt(engine, &keys.0, state), batch);
}

/// Adds the key stream to `data`, which is no longer.
pub(super) fn add(data: &mut [u8], stream: &[u8]) {
    for (byte, stream) in data.iter_mut().zip(stream) {
        *byte ^= stream;
    }
}
