//! The engines of x86-64: GFNI with AVX-512, VAES with AVX2, AES-NI with AVX. Constant-time: the S-boxes are
//! instructions and shuffles within registers.
//!
//! The method is that of J. Kivilinna's and T. Yoo's ARIA of the Linux kernel; the code is not.

mod aes_ni;
pub(super) mod clmul;
mod gfni;
mod vaes;

pub(super) use aes_ni::AesNi;
pub(super) use gfni::Gfni;
pub(super) use vaes::Vaes;

use super::sbox::{Affine, S1, S1_INVERSE, S2, S2_INVERSE};
use super::sliced::{BLOCK, Engine};

/// What makes S2 of S1, which `aesenclast` gives.
const S1_TO_S2: Affine = S2.after(S1_INVERSE);
/// What S1^-1, which `aesdeclast` gives, makes S2^-1 of.
const TO_S2_INVERSE: Affine = S1.after(S2_INVERSE);

/// An engine whose registers are 128-bit rows of 16 bytes, each row treated alike.
trait Rows: Engine {
    /// Bytes of the low half of each row of `a` and `b` in turn.
    fn interleave_low(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The same of the high halves.
    fn interleave_high(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
}

/// Turns byte-sliced lanes into blocks: a transposition of 16 by 16 bytes in each row.
///
/// Take register and byte as one 8-bit address: each step turns all addresses by one bit, and four exchange the halves.
#[inline(always)]
fn transpose<E: Rows>(engine: E, state: [E::Lanes; BLOCK]) -> [E::Lanes; BLOCK] {
    interleave(engine, interleave(engine, interleave(engine, interleave(engine, state))))
}

/// One step, in a form that stays in registers.
#[inline(always)]
fn interleave<E: Rows>(engine: E, x: [E::Lanes; BLOCK]) -> [E::Lanes; BLOCK] {
    let [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15] = x;
    let pair = |a, b| (engine.interleave_low(a, b), engine.interleave_high(a, b));
    let (y0, y1) = pair(x0, x8);
    let (y2, y3) = pair(x1, x9);
    let (y4, y5) = pair(x2, x10);
    let (y6, y7) = pair(x3, x11);
    let (y8, y9) = pair(x4, x12);
    let (y10, y11) = pair(x5, x13);
    let (y12, y13) = pair(x6, x14);
    let (y14, y15) = pair(x7, x15);
    [y0, y1, y2, y3, y4, y5, y6, y7, y8, y9, y10, y11, y12, y13, y14, y15]
}

/// The number of the block in each lane, for registers of `N` bytes: so that transposed registers, one behind the
/// other, are the blocks in order.
const fn numbers<const N: usize>() -> [u8; N] {
    let rows = N / BLOCK;
    let mut numbers = [0; N];
    let mut at = 0;
    while at < N {
        numbers[at] = (at % BLOCK * rows + at / BLOCK) as u8;
        at += 1;
    }
    numbers
}

/// An affine map as two tables of sixteen, for the low and the high nibble: their entries add up to the image. `N`
/// bytes hold the table once in each row.
const fn nibbles<const N: usize>(map: Affine, high: bool) -> [u8; N] {
    let mut table = [0; N];
    let mut at = 0;
    while at < N {
        let nibble = (at % 16) as u8;
        table[at] = if high { map.of(nibble << 4) ^ map.constant } else { map.of(nibble) };
        at += 1;
    }
    table
}

/// The shuffle that undoes ShiftRows of `aesenclast`, or its inverse of `aesdeclast`: byte 4c + r was moved from
/// column c + r, or c - r.
const fn unshift<const N: usize>(inverse: bool) -> [u8; N] {
    let mut shuffle = [0; N];
    let mut at = 0;
    while at < N {
        let (column, row) = (at % 16 / 4, at % 4);
        let from = if inverse { column + row } else { column + 4 - row };
        shuffle[at] = (from % 4 * 4 + row) as u8;
        at += 1;
    }
    shuffle
}
