//! GFNI on AVX-512 registers, 64 blocks at once: every S-box is one or two instructions.
#![expect(unsafe_code, reason = "the instructions of this processor")]

use std::arch::x86_64::{
    __m512i, _mm_cvtsi128_si32, _mm512_castsi512_si128, _mm512_gf2p8affine_epi64_epi8,
    _mm512_gf2p8affineinv_epi64_epi8, _mm512_loadu_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi8, _mm512_unpacklo_epi8, _mm512_xor_si512,
};

use super::{Rows, numbers, transpose};
use crate::seal::aria::sbox::{IDENTITY, S1, S1_INVERSE, S2, S2_INVERSE};
use crate::seal::aria::sliced::{BLOCK, Engine, Job};

/// Proof that the processor has GFNI and AVX-512 F and BW, and the system their registers.
#[derive(Clone, Copy)]
pub(in crate::seal::aria) struct Gfni(());

impl Gfni {
    pub(in crate::seal::aria) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("gfni")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "gfni,avx512f,avx512bw")]
fn perform<J: Job>(engine: Gfni, job: J) -> J::Output {
    job.run(engine)
}

static NUMBERS: [u8; 64] = numbers();

// Inlined into `perform`, each method is its instruction; called from elsewhere it would be right, and slow.
impl Engine for Gfni {
    type Lanes = __m512i;
    const BLOCKS: usize = 64;

    fn perform<J: Job>(self, job: J) -> J::Output {
        // SAFETY: `self` proves that the processor has what `perform` enables.
        unsafe { perform(self, job) }
    }

    #[inline(always)]
    fn splat(self, byte: u32) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512.
        unsafe { _mm512_set1_epi32(byte.cast_signed()) }
    }

    #[inline(always)]
    fn count(self, low: u8) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512; 64 bytes are read of 64.
        unsafe { _mm512_xor_si512(_mm512_set1_epi8(low.cast_signed()), _mm512_loadu_si512(NUMBERS.as_ptr().cast())) }
    }

    #[inline(always)]
    fn first(self, lanes: __m512i) -> u8 {
        // SAFETY: `self` proves that the processor has AVX-512.
        unsafe { _mm_cvtsi128_si32(_mm512_castsi512_si128(lanes)) as u8 }
    }

    #[inline(always)]
    fn add_to(self, state: [__m512i; BLOCK], data: &mut [u8]) {
        let (rows, _) = data.as_chunks_mut::<64>();
        for (row, lanes) in rows.iter_mut().zip(transpose(self, state)) {
            // SAFETY: `self` proves that the processor has AVX-512; a row is 64 bytes.
            unsafe {
                let sum = _mm512_xor_si512(_mm512_loadu_si512(row.as_ptr().cast()), lanes);
                _mm512_storeu_si512(row.as_mut_ptr().cast(), sum);
            }
        }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn xor3(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        // 0x96 is the truth table of the sum of three bits.
        // SAFETY: `self` proves that the processor has AVX-512.
        unsafe { _mm512_ternarylogic_epi32::<0x96>(a, b, c) }
    }

    #[inline(always)]
    fn s1(self, x: __m512i) -> __m512i {
        inverse_then::<{ S1.matrix }, { S1.constant as i32 }>(self, x)
    }

    #[inline(always)]
    fn s2(self, x: __m512i) -> __m512i {
        inverse_then::<{ S2.matrix }, { S2.constant as i32 }>(self, x)
    }

    #[inline(always)]
    fn s1_inverse(self, x: __m512i) -> __m512i {
        inverse_of::<{ S1_INVERSE.matrix }, { S1_INVERSE.constant as i32 }>(self, x)
    }

    #[inline(always)]
    fn s2_inverse(self, x: __m512i) -> __m512i {
        inverse_of::<{ S2_INVERSE.matrix }, { S2_INVERSE.constant as i32 }>(self, x)
    }
}

impl Rows for Gfni {
    #[inline(always)]
    fn interleave_low(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512 BW.
        unsafe { _mm512_unpacklo_epi8(a, b) }
    }

    #[inline(always)]
    fn interleave_high(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512 BW.
        unsafe { _mm512_unpackhi_epi8(a, b) }
    }
}

#[inline(always)]
fn inverse_then<const MATRIX: u64, const CONSTANT: i32>(_proof: Gfni, x: __m512i) -> __m512i {
    // SAFETY: the engine proves that the processor has GFNI and AVX-512.
    unsafe { _mm512_gf2p8affineinv_epi64_epi8::<CONSTANT>(x, _mm512_set1_epi64(MATRIX.cast_signed())) }
}

#[inline(always)]
fn inverse_of<const MATRIX: u64, const CONSTANT: i32>(proof: Gfni, x: __m512i) -> __m512i {
    // SAFETY: the engine proves that the processor has GFNI and AVX-512.
    let x = unsafe { _mm512_gf2p8affine_epi64_epi8::<CONSTANT>(x, _mm512_set1_epi64(MATRIX.cast_signed())) };
    inverse_then::<{ IDENTITY.matrix }, 0>(proof, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutes_and_counts_as_the_rfc_says() {
        if let Some(engine) = Gfni::detect() {
            crate::seal::aria::sliced::tests::check(engine);
        }
    }
}
