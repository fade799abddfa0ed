//! The engine of every processor: bit-sliced in 64-bit words, 64 blocks at once. Constant-time: no table, no
//! branch and no address depends on a secret.
//!
//! Inversion is done in GF((2^4)^2), where it takes a hundred-odd gates. The way there and back is linear, so it
//! is part of the affine maps of the S-boxes.

use super::sbox::{Affine, IDENTITY, S1, S1_INVERSE, S2, S2_INVERSE};
use super::sliced::{BLOCK, Engine, Job};

/// 64 bytes by their bits: word `i` is bit `i` of each.
type Planes = [u64; 8];
/// The same of GF(2^4), of polynomial z^4 + z + 1.
type Nibbles = [u64; 4];

/// From the field of the S-boxes to GF(2^4)[Y] / (Y^2 + Y + z^3 + z^2): Y's coefficient is the high nibble.
const TO_TOWER: Affine = Affine { matrix: 0x05e6_08ca_a20c_d2a0, constant: 0 };
/// And back.
const FROM_TOWER: Affine = Affine { matrix: 0x2590_2404_4c2a_36aa, constant: 0 };

/// Needs nothing of the processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Engine for Portable {
    type Lanes = Planes;
    const BLOCKS: usize = 64;

    fn perform<J: Job>(self, job: J) -> J::Output {
        job.run(self)
    }

    #[inline]
    fn splat(self, byte: u32) -> Planes {
        std::array::from_fn(|bit| 0_u64.wrapping_sub(u64::from(byte >> bit & 1)))
    }

    fn count(self, low: u8) -> Planes {
        // Bit `i` of the numbers 0 to 63, as a word over those numbers.
        const NUMBERS: [u64; 6] = [
            0xaaaa_aaaa_aaaa_aaaa,
            0xcccc_cccc_cccc_cccc,
            0xf0f0_f0f0_f0f0_f0f0,
            0xff00_ff00_ff00_ff00,
            0xffff_0000_ffff_0000,
            0xffff_ffff_0000_0000,
        ];
        let mut planes = self.splat(u32::from(low));
        for (plane, number) in planes.iter_mut().zip(NUMBERS) {
            *plane |= number;
        }
        planes
    }

    fn first(self, lanes: Planes) -> u8 {
        (0..8).fold(0, |byte, bit| byte | ((lanes[bit] & 1) as u8) << bit)
    }

    fn add_to(self, state: [Planes; BLOCK], data: &mut [u8]) {
        let (blocks, _) = data.as_chunks_mut::<BLOCK>();
        for (at, planes) in state.iter().enumerate() {
            for (eighth, blocks) in blocks.chunks_mut(8).enumerate() {
                let bytes = transpose(std::array::from_fn(|bit| planes[bit].to_le_bytes()[eighth]));
                for (block, byte) in blocks.iter_mut().zip(bytes) {
                    block[at] ^= byte;
                }
            }
        }
    }

    #[inline]
    fn xor(self, a: Planes, b: Planes) -> Planes {
        std::array::from_fn(|bit| a[bit] ^ b[bit])
    }

    fn s1(self, x: Planes) -> Planes {
        const AFTER: Affine = S1.after(FROM_TOWER);
        substitute::<{ TO_TOWER.matrix }, 0, { AFTER.matrix }, { AFTER.constant }>(x)
    }

    fn s2(self, x: Planes) -> Planes {
        const AFTER: Affine = S2.after(FROM_TOWER);
        substitute::<{ TO_TOWER.matrix }, 0, { AFTER.matrix }, { AFTER.constant }>(x)
    }

    fn s1_inverse(self, x: Planes) -> Planes {
        const BEFORE: Affine = TO_TOWER.after(S1_INVERSE);
        substitute::<{ BEFORE.matrix }, { BEFORE.constant }, { FROM_TOWER.matrix }, 0>(x)
    }

    fn s2_inverse(self, x: Planes) -> Planes {
        const BEFORE: Affine = TO_TOWER.after(S2_INVERSE);
        substitute::<{ BEFORE.matrix }, { BEFORE.constant }, { FROM_TOWER.matrix }, 0>(x)
    }
}

const _: () = assert!(FROM_TOWER.after(TO_TOWER).matrix == IDENTITY.matrix, "there and back");

/// Inversion in the tower between two affine maps. Their numbers are constants, so that only the xors are left.
fn substitute<const IN: u64, const IN_CONSTANT: u8, const OUT: u64, const OUT_CONSTANT: u8>(x: Planes) -> Planes {
    affine::<OUT, OUT_CONSTANT>(invert(affine::<IN, IN_CONSTANT>(x)))
}

#[inline(always)]
fn affine<const MATRIX: u64, const CONSTANT: u8>(x: Planes) -> Planes {
    let rows = MATRIX.to_be_bytes();
    let mut y = [0; 8];
    for (bit, y) in y.iter_mut().enumerate() {
        *y = if CONSTANT >> bit & 1 == 1 { u64::MAX } else { 0 };
        for (column, x) in x.iter().enumerate() {
            if rows[bit] >> column & 1 == 1 {
                *y ^= x;
            }
        }
    }
    y
}

/// 1 / (hY + l) = (hY + h + l) / norm, where norm = (z^3 + z^2)h^2 + l(h + l) lies in GF(2^4).
#[inline(always)]
fn invert([l0, l1, l2, l3, h0, h1, h2, h3]: Planes) -> Planes {
    let (low, high) = ([l0, l1, l2, l3], [h0, h1, h2, h3]);
    let sum = add(low, high);
    let scaled_square = [h1 ^ h2 ^ h3, h2 ^ h3, h0 ^ h1 ^ h2 ^ h3, h0 ^ h3];
    let norm = invert_nibbles(add(scaled_square, multiply(low, sum)));
    let ([h0, h1, h2, h3], [l0, l1, l2, l3]) = (multiply(high, norm), multiply(sum, norm));
    [l0, l1, l2, l3, h0, h1, h2, h3]
}

#[inline(always)]
fn add(a: Nibbles, b: Nibbles) -> Nibbles {
    [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]]
}

#[inline(always)]
fn multiply([a0, a1, a2, a3]: Nibbles, [b0, b1, b2, b3]: Nibbles) -> Nibbles {
    // The terms of z^4 = z + 1, of z^5 = z^2 + z and of z^6 = z^3 + z^2.
    let fourth = (a1 & b3) ^ (a2 & b2) ^ (a3 & b1);
    let fifth = (a2 & b3) ^ (a3 & b2);
    let sixth = a3 & b3;
    [
        (a0 & b0) ^ fourth,
        (a0 & b1) ^ (a1 & b0) ^ fourth ^ fifth,
        (a0 & b2) ^ (a1 & b1) ^ (a2 & b0) ^ fifth ^ sixth,
        (a0 & b3) ^ (a1 & b2) ^ (a2 & b1) ^ (a3 & b0) ^ sixth,
    ]
}

/// Inversion in GF(2^4) by the algebraic normal form of each bit.
#[inline(always)]
fn invert_nibbles([x0, x1, x2, x3]: Nibbles) -> Nibbles {
    let (x01, x02, x03, x12, x13, x23) = (x0 & x1, x0 & x2, x0 & x3, x1 & x2, x1 & x3, x2 & x3);
    let x123 = x12 & x3;
    [
        x0 ^ x1 ^ x2 ^ x3 ^ x02 ^ x12 ^ (x01 & x2) ^ x123,
        x01 ^ x02 ^ x12 ^ x3 ^ x13 ^ (x01 & x3),
        x01 ^ x2 ^ x02 ^ x3 ^ x03 ^ (x02 & x3),
        x1 ^ x2 ^ x3 ^ x03 ^ x13 ^ x23 ^ x123,
    ]
}

/// An 8x8 matrix of bits, a byte a row, turned over its diagonal: blocks of 1, 2 and 4 bits change places.
fn transpose(rows: [u8; 8]) -> [u8; 8] {
    let mut x = u64::from_le_bytes(rows);
    for (shift, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)] {
        let changed = (x ^ (x >> shift)) & mask;
        x ^= changed ^ (changed << shift);
    }
    x.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutes_and_counts_as_the_rfc_says() {
        crate::seal::aria::sliced::tests::check(Portable);
    }
}
