//! The rounds of ARIA over many blocks at once, byte-sliced: one register holds the same byte of every block, so
//! the diffusion layer is xors of whole registers and an S-box needs no table.
//!
//! Written once for every `Engine`, which knows what a register is and how to substitute in it.

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;
/// Round keys of ARIA-256: sixteen rounds and the last addition.
pub(super) const ROUND_KEYS: usize = 17;

/// One round key: each byte four times over, as processors broadcast it from memory most cheaply.
pub(super) type RoundKey = [u32; BLOCK];

/// A way to compute on registers of lanes, one lane a block. A value of an engine proves that this processor has
/// what it needs.
pub(super) trait Engine: Copy {
    /// One byte of each of `BLOCKS` blocks.
    type Lanes: Copy;
    /// Blocks in a batch; divides 256.
    const BLOCKS: usize;

    /// Does a job with all the instructions that this engine may use.
    fn perform<J: Job>(self, job: J) -> J::Output;

    /// The same byte, here four times over, in every lane.
    fn splat(self, byte: u32) -> Self::Lanes;
    /// `low` plus the number of the block, in every lane; `low` is a multiple of `BLOCKS`.
    fn count(self, low: u8) -> Self::Lanes;
    /// The byte of the first block.
    fn first(self, lanes: Self::Lanes) -> u8;
    /// Adds the state, block by block, to `data`, which is a batch long.
    fn add_to(self, state: [Self::Lanes; BLOCK], data: &mut [u8]);

    fn xor(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    #[inline(always)]
    fn xor3(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        self.xor(self.xor(a, b), c)
    }

    fn s1(self, x: Self::Lanes) -> Self::Lanes;
    fn s2(self, x: Self::Lanes) -> Self::Lanes;
    fn s1_inverse(self, x: Self::Lanes) -> Self::Lanes;
    fn s2_inverse(self, x: Self::Lanes) -> Self::Lanes;
}

/// Something to do on whichever engine there is.
pub(super) trait Job {
    type Output;
    /// Must be inlined, or the engine's instructions are not.
    fn run<E: Engine>(self, engine: E) -> Self::Output;
}

/// The cipher on a batch: RFC 5794, section 2.3.
#[inline(always)]
pub(super) fn encrypt<E: Engine>(
    engine: E,
    keys: &[RoundKey; ROUND_KEYS],
    mut state: [E::Lanes; BLOCK],
) -> [E::Lanes; BLOCK] {
    add(engine, &mut state, &keys[0]);
    let (middle, _) = keys[1..ROUND_KEYS - 2].as_chunks::<2>();
    for [odd, even] in middle {
        substitute_odd(engine, &mut state);
        state = diffuse(engine, &state, odd);
        substitute_even(engine, &mut state);
        state = diffuse(engine, &state, even);
    }
    substitute_odd(engine, &mut state);
    state = diffuse(engine, &state, &keys[ROUND_KEYS - 2]);
    substitute_even(engine, &mut state);
    add(engine, &mut state, &keys[ROUND_KEYS - 1]);
    state
}

#[inline(always)]
fn add<E: Engine>(engine: E, state: &mut [E::Lanes; BLOCK], key: &RoundKey) {
    for (lanes, byte) in state.iter_mut().zip(key) {
        *lanes = engine.xor(*lanes, engine.splat(*byte));
    }
}

/// Substitution layer SL1, of the odd rounds: RFC 5794, section 2.4.2.
#[inline(always)]
pub(super) fn substitute_odd<E: Engine>(engine: E, state: &mut [E::Lanes; BLOCK]) {
    let (words, _) = state.as_chunks_mut::<4>();
    for [a, b, c, d] in words {
        (*a, *b) = (engine.s1(*a), engine.s2(*b));
        (*c, *d) = (engine.s1_inverse(*c), engine.s2_inverse(*d));
    }
}

/// Substitution layer SL2, of the even rounds: the inverse of SL1.
#[inline(always)]
pub(super) fn substitute_even<E: Engine>(engine: E, state: &mut [E::Lanes; BLOCK]) {
    let (words, _) = state.as_chunks_mut::<4>();
    for [a, b, c, d] in words {
        (*a, *b) = (engine.s1_inverse(*a), engine.s2_inverse(*b));
        (*c, *d) = (engine.s1(*c), engine.s2(*d));
    }
}

/// Diffusion layer A (RFC 5794, section 2.4.3), and the addition of the next round key.
///
/// Its sixteen rows of seven terms fall into four groups that have four terms in common.
#[inline(always)]
pub(super) fn diffuse<E: Engine>(engine: E, x: &[E::Lanes; BLOCK], key: &RoundKey) -> [E::Lanes; BLOCK] {
    let mut y = *x;
    for (common, rows) in &GROUPS {
        let [a, b, c, d] = common.map(|term| x[term]);
        let sum = engine.xor(engine.xor3(a, b, c), d);
        for (row, [a, b, c]) in rows {
            let part = engine.xor3(sum, x[*a], x[*b]);
            y[*row] = engine.xor3(part, x[*c], engine.splat(key[*row]));
        }
    }
    y
}

/// Four terms, and the rows that have them with the three terms that each adds.
type Group = ([usize; 4], [(usize, [usize; 3]); 4]);

const GROUPS: [Group; 4] = [
    ([3, 6, 8, 13], [(0, [4, 9, 14]), (7, [1, 11, 12]), (10, [2, 5, 15]), (13, [0, 7, 10])]),
    ([2, 7, 9, 12], [(1, [5, 8, 15]), (6, [0, 10, 13]), (11, [3, 4, 14]), (12, [1, 6, 11])]),
    ([1, 4, 10, 15], [(2, [6, 11, 12]), (5, [3, 9, 14]), (8, [0, 7, 13]), (15, [2, 5, 8])]),
    ([0, 5, 11, 14], [(3, [7, 10, 13]), (4, [2, 8, 15]), (9, [1, 6, 12]), (14, [3, 4, 9])]),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::seal::aria::sbox;

    /// Every S-box of an engine, at every byte, against the tables of the RFC.
    struct Boxes;

    impl Job for Boxes {
        type Output = [[u8; 256]; 4];
        fn run<E: Engine>(self, engine: E) -> Self::Output {
            let boxes = [E::s1, E::s2, E::s1_inverse, E::s2_inverse];
            boxes.map(|substitute| {
                std::array::from_fn(|x| engine.first(substitute(engine, engine.splat(x as u32 * 0x0101_0101))))
            })
        }
    }

    /// That the lanes are counted and laid out block by block.
    struct Count;

    impl Job for Count {
        type Output = ();
        fn run<E: Engine>(self, engine: E) {
            let low = 256 - E::BLOCKS;
            let state = std::array::from_fn(|at| match at {
                15 => engine.count(low as u8),
                _ => engine.splat(at as u32 * 0x0101_0101),
            });
            let mut data = vec![0x80; BLOCK * E::BLOCKS];
            engine.add_to(state, &mut data);
            for (block, number) in data.as_chunks::<BLOCK>().0.iter().zip(low..) {
                let expected: [u8; BLOCK] = std::array::from_fn(|at| 0x80 ^ if at == 15 { number } else { at } as u8);
                assert_eq!(*block, expected);
            }
        }
    }

    pub(in crate::seal::aria) fn check<E: Engine>(engine: E) {
        assert_eq!(engine.perform(Boxes), sbox::tests::tables());
        engine.perform(Count);
    }

    #[test]
    fn the_groups_are_an_involution_of_seven_terms() {
        // The layer is its own inverse (RFC 5794, section 2.4.3); a slip in a row would undo that.
        let mut rows = [0_u16; BLOCK];
        for (common, group) in &GROUPS {
            for (row, own) in group {
                rows[*row] = common.iter().chain(own).map(|term| 1 << term).sum();
            }
        }
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row.count_ones(), 7);
            let twice = (0..BLOCK).filter(|term| row >> term & 1 == 1).fold(0, |sum, term| sum ^ rows[term]);
            assert_eq!(twice, 1 << at);
        }
    }
}
