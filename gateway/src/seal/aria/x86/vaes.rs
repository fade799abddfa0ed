//! VAES on AVX2 registers, 32 blocks at once: for processors without GFNI or AVX-512.
#![expect(unsafe_code, reason = "the instructions of this processor")]

use std::arch::x86_64::{
    __m256i, _mm256_aesdeclast_epi128, _mm256_aesenclast_epi128, _mm256_and_si256, _mm256_extract_epi8,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8, _mm256_xor_si256,
};

use super::{Rows, S1_TO_S2, TO_S2_INVERSE, nibbles, numbers, transpose, unshift};
use crate::seal::aria::sliced::{BLOCK, Engine, Job};

/// Proof that the processor has VAES and AVX2, and the system their registers.
#[derive(Clone, Copy)]
pub(in crate::seal::aria) struct Vaes(());

impl Vaes {
    pub(in crate::seal::aria) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx2");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "vaes,avx2")]
fn perform<J: Job>(engine: Vaes, job: J) -> J::Output {
    job.run(engine)
}

static NUMBERS: [u8; 32] = numbers();
static UNSHIFT: [u8; 32] = unshift(false);
static UNSHIFT_INVERSE: [u8; 32] = unshift(true);
static S1_TO_S2_NIBBLES: [[u8; 32]; 2] = [nibbles(S1_TO_S2, false), nibbles(S1_TO_S2, true)];
static TO_S2_INVERSE_NIBBLES: [[u8; 32]; 2] = [nibbles(TO_S2_INVERSE, false), nibbles(TO_S2_INVERSE, true)];

impl Engine for Vaes {
    type Lanes = __m256i;
    const BLOCKS: usize = 32;

    fn perform<J: Job>(self, job: J) -> J::Output {
        // SAFETY: `self` proves that the processor has what `perform` enables.
        unsafe { perform(self, job) }
    }

    #[inline(always)]
    fn splat(self, byte: u32) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_set1_epi32(byte.cast_signed()) }
    }

    #[inline(always)]
    fn count(self, low: u8) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_xor_si256(_mm256_set1_epi8(low.cast_signed()), load(self, &NUMBERS)) }
    }

    #[inline(always)]
    fn first(self, lanes: __m256i) -> u8 {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_extract_epi8::<0>(lanes) as u8 }
    }

    #[inline(always)]
    fn add_to(self, state: [__m256i; BLOCK], data: &mut [u8]) {
        let (rows, _) = data.as_chunks_mut::<32>();
        for (row, lanes) in rows.iter_mut().zip(transpose(self, state)) {
            let sum = self.xor(load(self, row), lanes);
            // SAFETY: `self` proves that the processor has AVX2; a row is 32 bytes.
            unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), sum) };
        }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn s1(self, x: __m256i) -> __m256i {
        // SAFETY: `self` proves that the processor has VAES and AVX2.
        unsafe { _mm256_shuffle_epi8(_mm256_aesenclast_epi128(x, _mm256_setzero_si256()), load(self, &UNSHIFT)) }
    }

    #[inline(always)]
    fn s2(self, x: __m256i) -> __m256i {
        affine(self, &S1_TO_S2_NIBBLES, self.s1(x))
    }

    #[inline(always)]
    fn s1_inverse(self, x: __m256i) -> __m256i {
        // SAFETY: `self` proves that the processor has VAES and AVX2.
        unsafe {
            _mm256_shuffle_epi8(_mm256_aesdeclast_epi128(x, _mm256_setzero_si256()), load(self, &UNSHIFT_INVERSE))
        }
    }

    #[inline(always)]
    fn s2_inverse(self, x: __m256i) -> __m256i {
        self.s1_inverse(affine(self, &TO_S2_INVERSE_NIBBLES, x))
    }
}

impl Rows for Vaes {
    #[inline(always)]
    fn interleave_low(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_unpacklo_epi8(a, b) }
    }

    #[inline(always)]
    fn interleave_high(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_unpackhi_epi8(a, b) }
    }
}

#[inline(always)]
fn load(_proof: Vaes, bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the engine proves that the processor has AVX2; 32 bytes are read of 32.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline(always)]
fn affine(proof: Vaes, [low, high]: &[[u8; 32]; 2], x: __m256i) -> __m256i {
    // SAFETY: the engine proves that the processor has AVX2.
    unsafe {
        let nibble = _mm256_set1_epi8(0x0f);
        let low = _mm256_shuffle_epi8(load(proof, low), _mm256_and_si256(x, nibble));
        let high = _mm256_shuffle_epi8(load(proof, high), _mm256_and_si256(_mm256_srli_epi16::<4>(x), nibble));
        _mm256_xor_si256(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutes_and_counts_as_the_rfc_says() {
        if let Some(engine) = Vaes::detect() {
            crate::seal::aria::sliced::tests::check(engine);
        }
    }
}
