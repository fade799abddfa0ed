//! The key schedule of ARIA-256: RFC 5794, section 2.2.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::sliced::{self, BLOCK, Engine, Job, ROUND_KEYS, RoundKey};

/// The fraction of 1/pi: CK1, CK2 and CK3 of a 256-bit key are C3, C1 and C2.
const CK: [u128; 3] = [
    0xdb92_371d_2126_e970_0324_9775_04e8_c90e,
    0x517c_c1b7_2722_0a94_fe13_abe8_fa9a_6ee0,
    0x6db1_4acc_9e21_c820_ff28_b1d5_ef5d_e2b0,
];

/// How far right W is turned in each of the four sets of round keys, and in the seventeenth; the RFC says the last
/// three as turns to the left by 61, 31 and 19.
const TURNS: [u32; 5] = [19, 31, 128 - 61, 128 - 31, 128 - 19];

/// The round keys for encryption; counter mode needs no others. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct RoundKeys(pub [RoundKey; ROUND_KEYS]);

/// Fills round keys in their place, so that no copy of them is left on the stack.
pub(super) struct Expand<'a> {
    pub key: &'a [u8; 32],
    pub into: &'a mut RoundKeys,
}

impl Job for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn run<E: Engine>(self, engine: E) {
        let (halves, _) = self.key.as_chunks::<BLOCK>();
        let [left, right] = [halves[0], halves[1]].map(u128::from_be_bytes);
        let mut w = Zeroizing::new([left, 0, 0, 0]);
        w[1] = round(engine, w[0] ^ CK[0], true) ^ right;
        w[2] = round(engine, w[1] ^ CK[1], false) ^ w[0];
        w[3] = round(engine, w[2] ^ CK[2], true) ^ w[1];
        for (at, key) in self.into.0.iter_mut().enumerate() {
            // ek1 = W0 + turned W1, ek2 = W1 + turned W2, ek3 = W2 + turned W3, ek4 = W3 + turned W0, and again.
            let word = w[at % 4] ^ w[(at + 1) % 4].rotate_right(TURNS[at / 4]);
            *key = word.to_be_bytes().map(|byte| u32::from_ne_bytes([byte; 4]));
        }
    }
}

/// FO or FE on one block, without the addition of the round key (RFC 5794, section 2.4.1): a round of a batch whose
/// blocks are all the same.
#[inline(always)]
fn round<E: Engine>(engine: E, block: u128, odd: bool) -> u128 {
    let mut state = block.to_be_bytes().map(|byte| engine.splat(u32::from_ne_bytes([byte; 4])));
    if odd {
        sliced::substitute_odd(engine, &mut state);
    } else {
        sliced::substitute_even(engine, &mut state);
    }
    let state = sliced::diffuse(engine, &state, &[0; BLOCK]);
    u128::from_be_bytes(state.map(|lanes| engine.first(lanes)))
}
