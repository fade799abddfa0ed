//! AES-NI on AVX's encoding of 128-bit registers, 16 blocks at once: for processors without VAES.
#![expect(unsafe_code, reason = "the instructions of this processor")]

use std::arch::x86_64::{
    __m128i, _mm_aesdeclast_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_extract_epi8, _mm_loadu_si128,
    _mm_set1_epi8, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_epi8, _mm_srli_epi16, _mm_storeu_si128,
    _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm_xor_si128,
};

use super::{Rows, S1_TO_S2, TO_S2_INVERSE, nibbles, numbers, transpose, unshift};
use crate::seal::aria::sliced::{BLOCK, Engine, Job};

/// Proof that the processor has AES-NI and AVX, and the system their registers.
#[derive(Clone, Copy)]
pub(in crate::seal::aria) struct AesNi(());

impl AesNi {
    pub(in crate::seal::aria) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "aes,avx")]
fn perform<J: Job>(engine: AesNi, job: J) -> J::Output {
    job.run(engine)
}

static NUMBERS: [u8; 16] = numbers();
static UNSHIFT: [u8; 16] = unshift(false);
static UNSHIFT_INVERSE: [u8; 16] = unshift(true);
static S1_TO_S2_NIBBLES: [[u8; 16]; 2] = [nibbles(S1_TO_S2, false), nibbles(S1_TO_S2, true)];
static TO_S2_INVERSE_NIBBLES: [[u8; 16]; 2] = [nibbles(TO_S2_INVERSE, false), nibbles(TO_S2_INVERSE, true)];

impl Engine for AesNi {
    type Lanes = __m128i;
    const BLOCKS: usize = 16;

    fn perform<J: Job>(self, job: J) -> J::Output {
        // SAFETY: `self` proves that the processor has what `perform` enables.
        unsafe { perform(self, job) }
    }

    #[inline(always)]
    fn splat(self, byte: u32) -> __m128i {
        // SAFETY: `self` proves that the processor has AVX.
        unsafe { _mm_set1_epi32(byte.cast_signed()) }
    }

    #[inline(always)]
    fn count(self, low: u8) -> __m128i {
        // SAFETY: `self` proves that the processor has AVX.
        unsafe { _mm_xor_si128(_mm_set1_epi8(low.cast_signed()), load(self, &NUMBERS)) }
    }

    #[inline(always)]
    fn first(self, lanes: __m128i) -> u8 {
        // SAFETY: `self` proves that the processor has AVX.
        unsafe { _mm_extract_epi8::<0>(lanes) as u8 }
    }

    #[inline(always)]
    fn add_to(self, state: [__m128i; BLOCK], data: &mut [u8]) {
        let (rows, _) = data.as_chunks_mut::<16>();
        for (row, lanes) in rows.iter_mut().zip(transpose(self, state)) {
            let sum = self.xor(load(self, row), lanes);
            // SAFETY: `self` proves that the processor has AVX; a row is 16 bytes.
            unsafe { _mm_storeu_si128(row.as_mut_ptr().cast(), sum) };
        }
    }

    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves that the processor has AVX.
        unsafe { _mm_xor_si128(a, b) }
    }

    #[inline(always)]
    fn s1(self, x: __m128i) -> __m128i {
        // SAFETY: `self` proves that the processor has AES-NI and AVX.
        unsafe { _mm_shuffle_epi8(_mm_aesenclast_si128(x, _mm_setzero_si128()), load(self, &UNSHIFT)) }
    }

    #[inline(always)]
    fn s2(self, x: __m128i) -> __m128i {
        affine(self, &S1_TO_S2_NIBBLES, self.s1(x))
    }

    #[inline(always)]
    fn s1_inverse(self, x: __m128i) -> __m128i {
        // SAFETY: `self` proves that the processor has AES-NI and AVX.
        unsafe { _mm_shuffle_epi8(_mm_aesdeclast_si128(x, _mm_setzero_si128()), load(self, &UNSHIFT_INVERSE)) }
    }

    #[inline(always)]
    fn s2_inverse(self, x: __m128i) -> __m128i {
        self.s1_inverse(affine(self, &TO_S2_INVERSE_NIBBLES, x))
    }
}

impl Rows for AesNi {
    #[inline(always)]
    fn interleave_low(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves that the processor has AVX.
        unsafe { _mm_unpacklo_epi8(a, b) }
    }

    #[inline(always)]
    fn interleave_high(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves that the processor has AVX.
        unsafe { _mm_unpackhi_epi8(a, b) }
    }
}

#[inline(always)]
fn load(_proof: AesNi, bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the engine proves that the processor has AVX; 16 bytes are read of 16.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline(always)]
fn affine(proof: AesNi, [low, high]: &[[u8; 16]; 2], x: __m128i) -> __m128i {
    // SAFETY: the engine proves that the processor has AVX.
    unsafe {
        let nibble = _mm_set1_epi8(0x0f);
        let low = _mm_shuffle_epi8(load(proof, low), _mm_and_si128(x, nibble));
        let high = _mm_shuffle_epi8(load(proof, high), _mm_and_si128(_mm_srli_epi16::<4>(x), nibble));
        _mm_xor_si128(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutes_and_counts_as_the_rfc_says() {
        if let Some(engine) = AesNi::detect() {
            crate::seal::aria::sliced::tests::check(engine);
        }
    }
}
