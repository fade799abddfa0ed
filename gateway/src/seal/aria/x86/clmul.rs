//! GHASH on AVX-512 registers (VPCLMULQDQ): 32 blocks to a reduction. Constant-time.
//!
//! As POLYVAL (RFC 8452, section 3 and appendix A): on reversed blocks, with the key times x, a product needs no
//! shift, and its reduction is two multiplications by one constant.
#![expect(unsafe_code, reason = "the instructions of this processor")]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_loadu_si128, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_srli_si128, _mm_storeu_si128, _mm_xor_si128, _mm512_broadcast_i32x4, _mm512_castsi512_si128,
    _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi64,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_ternarylogic_epi32, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// An element of GF(2^128), as POLYVAL writes it: little-endian.
pub(in crate::seal::aria) type Element = [u64; 2];

/// Blocks to a reduction.
const AT_ONCE: usize = 32;
/// Blocks of a register.
const ROW: usize = 4;

/// The powers of the hash key, the highest first; wiped on drop. Proof, too, that the processor has VPCLMULQDQ,
/// PCLMULQDQ and AVX-512 F and BW, and the system their registers.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(in crate::seal::aria) struct Powers([Element; AT_ONCE]);

impl Powers {
    /// Those of a hash key, where the processor can use them.
    pub(in crate::seal::aria) fn new(key: &[u8; 16]) -> Option<Box<Self>> {
        let found = is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        if !found {
            return None;
        }
        let mut powers = Box::new(Self([[0; 2]; AT_ONCE]));
        powers.0[AT_ONCE - 1] = times_x(u128::from_be_bytes(*key));
        // SAFETY: the processor was found to have what `raise` enables.
        unsafe { raise(&mut powers.0) };
        Some(powers)
    }

    /// Takes whole blocks into a sum.
    pub(in crate::seal::aria) fn absorb(&self, mut sum: Element, blocks: &[[u8; 16]]) -> Element {
        for blocks in blocks.chunks(AT_ONCE) {
            // SAFETY: `self` proves that the processor has what `absorb` enables.
            unsafe { absorb(&self.0[AT_ONCE - blocks.len()..], &mut sum, blocks) };
        }
        sum
    }
}

/// The bytes of an element reversed: a block of GHASH.
pub(in crate::seal::aria) fn block(element: Element) -> [u8; 16] {
    let [low, high] = element.map(u128::from);
    ((high << 64) | low).to_be_bytes()
}

/// mulX_POLYVAL of RFC 8452, appendix A.
const fn times_x(x: u128) -> Element {
    let carry = 0_u128.wrapping_sub(x >> 127);
    let x = (x << 1) ^ (carry & 0xc200_0000_0000_0000_0000_0000_0000_0001);
    [x as u64, (x >> 64) as u64]
}

/// Adds the blocks, the first one with what is there already, each times its power.
#[target_feature(enable = "vpclmulqdq,pclmulqdq,avx512f,avx512bw")]
fn absorb(powers: &[Element], into: &mut Element, blocks: &[[u8; 16]]) {
    let mut sum = _mm512_zextsi128_si512(load(into));
    let mut product = [_mm512_setzero_si512(); 3];
    let (rows, rest) = blocks.as_chunks::<ROW>();
    let (factors, last) = powers.as_chunks::<ROW>();
    for (row, factors) in rows.iter().zip(factors) {
        // SAFETY: 64 bytes are read of the 64 of each.
        let (row, factors) =
            unsafe { (_mm512_loadu_si512(row.as_ptr().cast()), _mm512_loadu_si512(factors.as_ptr().cast())) };
        add_product(&mut product, _mm512_xor_si512(reverse(row), sum), factors);
        sum = _mm512_setzero_si512();
    }
    if !rest.is_empty() {
        // Two words of 64 bits a block.
        let words = (1_u8 << (2 * rest.len().min(last.len()))) - 1;
        // SAFETY: what the mask leaves out is not read, and it lets in no more than either slice has.
        let (row, factors) = unsafe {
            (
                _mm512_maskz_loadu_epi64(words, rest.as_ptr().cast()),
                _mm512_maskz_loadu_epi64(words, last.as_ptr().cast()),
            )
        };
        add_product(&mut product, _mm512_xor_si512(reverse(row), sum), factors);
    }
    let [low, middle, high] = product;
    store(into, reduce([fold(low), fold(middle), fold(high)]));
}

/// Adds the low, the middle and the high part of products, lane by lane.
#[target_feature(enable = "vpclmulqdq,avx512f")]
fn add_product([low, middle, high]: &mut [__m512i; 3], a: __m512i, b: __m512i) {
    *low = _mm512_xor_si512(*low, _mm512_clmulepi64_epi128::<0x00>(a, b));
    *high = _mm512_xor_si512(*high, _mm512_clmulepi64_epi128::<0x11>(a, b));
    let (one, other) = (_mm512_clmulepi64_epi128::<0x01>(a, b), _mm512_clmulepi64_epi128::<0x10>(a, b));
    // 0x96 is the truth table of the sum of three bits.
    *middle = _mm512_ternarylogic_epi32::<0x96>(*middle, one, other);
}

/// The bytes of each block in reverse.
#[target_feature(enable = "avx512f,avx512bw")]
fn reverse(row: __m512i) -> __m512i {
    const ORDER: Element = [0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607];
    _mm512_shuffle_epi8(row, _mm512_broadcast_i32x4(load(&ORDER)))
}

/// The sum of the lanes.
#[target_feature(enable = "avx512f")]
fn fold(row: __m512i) -> __m128i {
    let low = _mm_xor_si128(_mm512_castsi512_si128(row), _mm512_extracti32x4_epi32::<1>(row));
    let high = _mm_xor_si128(_mm512_extracti32x4_epi32::<2>(row), _mm512_extracti32x4_epi32::<3>(row));
    _mm_xor_si128(low, high)
}

/// Fills in the powers from the second on. A product is divided by x^128, as every product of POLYVAL is.
#[target_feature(enable = "pclmulqdq")]
fn raise(powers: &mut [Element]) {
    for exponent in 2..=AT_ONCE {
        let [a, b] = [exponent / 2, exponent.div_ceil(2)].map(|part| load(&powers[AT_ONCE - part]));
        let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
        let product = [_mm_clmulepi64_si128::<0x00>(a, b), middle, _mm_clmulepi64_si128::<0x11>(a, b)];
        store(&mut powers[AT_ONCE - exponent], reduce(product));
    }
}

/// Divides by x^128 modulo x^128 + x^127 + x^126 + x^121 + 1: twice adds that multiple of the modulus which makes the
/// low 64 bits zero.
#[target_feature(enable = "pclmulqdq")]
fn reduce([low, middle, high]: [__m128i; 3]) -> __m128i {
    let modulus = _mm_cvtsi64_si128(0xc200_0000_0000_0000_u64.cast_signed());
    let mut low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    for _ in 0..2 {
        let multiple = _mm_clmulepi64_si128::<0x00>(low, modulus);
        // 0x4e exchanges the halves.
        low = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), multiple);
    }
    _mm_xor_si128(low, high)
}

fn load(element: &Element) -> __m128i {
    // SAFETY: 16 bytes are read of 16, and every x86-64 processor can.
    unsafe { _mm_loadu_si128(element.as_ptr().cast()) }
}

fn store(element: &mut Element, value: __m128i) {
    // SAFETY: 16 bytes are written of 16, and every x86-64 processor can.
    unsafe { _mm_storeu_si128(element.as_mut_ptr().cast(), value) };
}

#[cfg(test)]
mod tests {
    use ghash::GHash;
    use ghash::universal_hash::UniversalHash as _;

    use super::*;

    #[test]
    fn every_number_of_blocks_is_hashed_as_the_crate_hashes_it() {
        for first in [0, 0x01, 0x80, 0xff] {
            let key: [u8; 16] = std::array::from_fn(|at| first ^ (at * 37) as u8);
            let Some(powers) = Powers::new(&key) else { return };
            let blocks: Vec<[u8; 16]> = (0..200_u128).map(|n| (n.pow(9) << 57 ^ !n).to_be_bytes()).collect();
            for length in 0..=blocks.len() {
                let (one, other) = blocks[..length].split_at(length / 3);
                let mut hash = GHash::new(&key.into());
                hash.update_padded(blocks[..length].as_flattened());
                let sum = powers.absorb(powers.absorb([0; 2], one), other);
                assert_eq!(block(sum), <[u8; 16]>::from(hash.finalize()), "{length} blocks");
            }
        }
    }
}
