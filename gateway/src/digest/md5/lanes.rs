//! The compression function over one stream, or over eight or sixteen in the lanes of vector registers.
#![expect(
    unsafe_code,
    reason = "a function that uses vector registers may only be called where the processor has them"
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as arch;
use std::collections::VecDeque;
use std::sync::OnceLock;

use bytes::Bytes;

use super::steps::rounds;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

const INIT: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Whole blocks, to be digested in order.
pub(super) type Blocks = Bytes;

/// The chaining value of a stream, and its bytes behind the last whole block.
#[derive(Debug)]
pub(super) struct State {
    words: [u32; 4],
    tail: Vec<u8>,
    length: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { words: INIT, tail: Vec::new(), length: 0 }
    }
}

impl State {
    /// Cuts a piece into whole blocks; what is left over waits for the next piece.
    pub(super) fn cut(&mut self, mut piece: Bytes, blocks: &mut VecDeque<Blocks>) {
        self.length = self.length.wrapping_add(u64::try_from(piece.len()).unwrap_or(0));
        if !self.tail.is_empty() {
            let missing = (BLOCK - self.tail.len()).min(piece.len());
            self.tail.extend_from_slice(&piece.split_to(missing));
            if self.tail.len() == BLOCK {
                blocks.push_back(Bytes::from(std::mem::take(&mut self.tail)));
            }
        }
        let whole = piece.len() / BLOCK * BLOCK;
        let rest = piece.split_off(whole);
        if !piece.is_empty() {
            blocks.push_back(piece);
        }
        self.tail.extend_from_slice(&rest);
    }

    /// Pads (RFC 1321 section 3.1) and gives the digest.
    pub(super) fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        self.tail.push(0x80);
        let padded = (self.tail.len() + 8).next_multiple_of(BLOCK);
        self.tail.resize(padded - 8, 0);
        self.tail.extend_from_slice(&bits.to_le_bytes());
        for block in self.tail.chunks_exact(BLOCK) {
            one(&mut self.words, block);
        }
        let mut out = [0; 16];
        for (bytes, word) in out.chunks_exact_mut(4).zip(self.words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    One,
    #[cfg(target_arch = "x86_64")]
    Eight,
    #[cfg(target_arch = "x86_64")]
    Sixteen,
}

fn machine() -> Width {
    static WIDTH: OnceLock<Width> = OnceLock::new();
    *WIDTH.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return Width::Sixteen;
            }
            if std::is_x86_feature_detected!("avx2") {
                return Width::Eight;
            }
        }
        Width::One
    })
}

/// Streams that this machine digests side by side.
pub(super) fn width() -> usize {
    match machine() {
        Width::One => 1,
        #[cfg(target_arch = "x86_64")]
        Width::Eight => 8,
        #[cfg(target_arch = "x86_64")]
        Width::Sixteen => 16,
    }
}

/// Digests the blocks of up to [`width`] streams, side by side while more than one has some.
pub(super) fn digest(streams: &mut [(State, VecDeque<Blocks>)]) {
    loop {
        let mut active: Vec<&mut (State, VecDeque<Blocks>)> =
            streams.iter_mut().filter(|(_, blocks)| !blocks.is_empty()).collect();
        let run = active.iter().filter_map(|(_, blocks)| blocks.front().map(Bytes::len)).min().unwrap_or(0);
        match active.as_mut_slice() {
            [] => return,
            [(state, blocks)] => {
                for piece in blocks.drain(..) {
                    piece.chunks_exact(BLOCK).for_each(|block| one(&mut state.words, block));
                }
            }
            several => {
                let pieces: Vec<Bytes> = several.iter_mut().map(|(_, blocks)| front(blocks, run)).collect();
                let mut words: Vec<[u32; 4]> = several.iter().map(|(state, _)| state.words).collect();
                side_by_side(&mut words, &pieces);
                for ((state, _), words) in several.iter_mut().zip(words) {
                    state.words = words;
                }
            }
        }
    }
}

fn front(blocks: &mut VecDeque<Blocks>, run: usize) -> Bytes {
    let Some(first) = blocks.front_mut() else { return Bytes::new() };
    let piece = first.split_to(run.min(first.len()));
    if first.is_empty() {
        blocks.pop_front();
    }
    piece
}

fn side_by_side(words: &mut [[u32; 4]], pieces: &[Bytes]) {
    match machine() {
        Width::One => {
            for (words, piece) in words.iter_mut().zip(pieces) {
                piece.chunks_exact(BLOCK).for_each(|block| one(words, block));
            }
        }
        #[cfg(target_arch = "x86_64")]
        Width::Sixteen => {
            // SAFETY: `machine` found AVX-512F.
            unsafe { sixteen(words, pieces) }
        }
        #[cfg(target_arch = "x86_64")]
        Width::Eight => {
            // SAFETY: `machine` found AVX2.
            unsafe { eight(words, pieces) }
        }
    }
}

fn one(words: &mut [u32; 4], block: &[u8]) {
    let mut message = [0_u32; 16];
    for (word, bytes) in message.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_le_bytes);
    }
    let [mut a, mut b, mut c, mut d] = *words;
    macro_rules! step {
        ($f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $k:expr, $s:literal, $t:expr) => {
            let sum = $a.wrapping_add($f($b, $c, $d)).wrapping_add(message[$k]).wrapping_add(SINES[$t]);
            $a = $b.wrapping_add(sum.rotate_left($s));
        };
    }
    fn f(b: u32, c: u32, d: u32) -> u32 {
        d ^ (b & (c ^ d))
    }
    fn g(b: u32, c: u32, d: u32) -> u32 {
        c ^ (d & (b ^ c))
    }
    fn h(b: u32, c: u32, d: u32) -> u32 {
        b ^ c ^ d
    }
    fn i(b: u32, c: u32, d: u32) -> u32 {
        c ^ (b | !d)
    }
    rounds!(step, f, g, h, i, a, b, c, d);
    *words = [words[0].wrapping_add(a), words[1].wrapping_add(b), words[2].wrapping_add(c), words[3].wrapping_add(d)];
}

/// A function that digests as many streams as a register has lanes. Lanes without a stream repeat the
/// first one; their result is thrown away.
#[cfg(target_arch = "x86_64")]
macro_rules! vectors {
    ($name:ident, $feature:literal, $lanes:literal, $set:ident($($lane:literal)*), $set1:ident, $add:ident, $store:ident, $transpose:ident, $rotate:ident, $f:ident, $g:ident, $h:ident, $i:ident) => {
        #[target_feature(enable = $feature)]
        fn $name(words: &mut [[u32; 4]], pieces: &[Bytes]) {
            let lane = |n: usize| if n < pieces.len() { n } else { 0 };
            let data: [&[[u8; BLOCK]]; $lanes] = std::array::from_fn(|n| pieces[lane(n)].as_chunks().0);
            let first: [[u32; 4]; $lanes] = std::array::from_fn(|n| words[lane(n)]);
            macro_rules! column {
                ($w:literal) => { arch::$set($(first[$lane][$w].cast_signed()),*) };
            }
            let (mut a, mut b, mut c, mut d) = (column!(0), column!(1), column!(2), column!(3));
            for number in 0..data[0].len() {
                let mut blocks = [&[0; BLOCK]; $lanes];
                for (block, blocks_of_lane) in blocks.iter_mut().zip(&data) {
                    *block = &blocks_of_lane[number];
                }
                let message = $transpose(&blocks);
                let before = [a, b, c, d];
                macro_rules! step {
                    ($fun:ident, $x:ident, $y:ident, $z:ident, $w:ident, $k:expr, $s:literal, $t:expr) => {
                        let keyed = arch::$add(message[$k], arch::$set1(SINES[$t].cast_signed()));
                        let sum = arch::$add(arch::$add($x, keyed), $fun!($y, $z, $w));
                        $x = arch::$add($y, $rotate!(sum, $s));
                    };
                }
                rounds!(step, $f, $g, $h, $i, a, b, c, d);
                [a, b, c, d] = [arch::$add(a, before[0]), arch::$add(b, before[1]), arch::$add(c, before[2]), arch::$add(d, before[3])];
            }
            let mut rows = [[0_i32; $lanes]; 4];
            for (row, register) in rows.iter_mut().zip([a, b, c, d]) {
                // SAFETY: a row has exactly the bytes of a register, and the store needs no alignment.
                unsafe { arch::$store(row.as_mut_ptr().cast(), register) };
            }
            for (n, words) in words.iter_mut().enumerate() {
                *words = [rows[0][n].cast_unsigned(), rows[1][n].cast_unsigned(), rows[2][n].cast_unsigned(), rows[3][n].cast_unsigned()];
            }
        }
    };
}

/// Transposes four rows: word 4q + j of all four lies in quarter q of register j.
/// Loops and no closures: those of the standard library's functions do not get the target feature.
#[cfg(target_arch = "x86_64")]
macro_rules! four_rows {
    ($rows:ident, $g:expr, $low32:ident, $high32:ident, $low64:ident, $high64:ident) => {{
        let low = (arch::$low32($rows[$g], $rows[$g + 1]), arch::$high32($rows[$g], $rows[$g + 1]));
        let high = (arch::$low32($rows[$g + 2], $rows[$g + 3]), arch::$high32($rows[$g + 2], $rows[$g + 3]));
        [
            arch::$low64(low.0, high.0),
            arch::$high64(low.0, high.0),
            arch::$low64(low.1, high.1),
            arch::$high64(low.1, high.1),
        ]
    }};
}

/// Word `k` of each of eight blocks, side by side in register `k`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn transpose8(blocks: &[&[u8; BLOCK]; 8]) -> [arch::__m256i; 16] {
    let mut words = [arch::_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let mut rows = [arch::_mm256_setzero_si256(); 8];
        for (row, block) in rows.iter_mut().zip(blocks) {
            // SAFETY: a block has the bytes of two registers, and the load needs no alignment.
            *row = unsafe { arch::_mm256_loadu_si256(block.as_ptr().cast::<arch::__m256i>().add(half)) };
        }
        let quarters = [
            four_rows!(
                rows,
                0,
                _mm256_unpacklo_epi32,
                _mm256_unpackhi_epi32,
                _mm256_unpacklo_epi64,
                _mm256_unpackhi_epi64
            ),
            four_rows!(
                rows,
                4,
                _mm256_unpacklo_epi32,
                _mm256_unpackhi_epi32,
                _mm256_unpacklo_epi64,
                _mm256_unpackhi_epi64
            ),
        ];
        for j in 0..4 {
            let (a, b) = (quarters[0][j], quarters[1][j]);
            words[8 * half + j] = arch::_mm256_permute2x128_si256::<0x20>(a, b);
            words[8 * half + 4 + j] = arch::_mm256_permute2x128_si256::<0x31>(a, b);
        }
    }
    words
}

/// Word `k` of each of sixteen blocks, side by side in register `k`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose16(blocks: &[&[u8; BLOCK]; 16]) -> [arch::__m512i; 16] {
    let mut rows = [arch::_mm512_setzero_si512(); 16];
    for (row, block) in rows.iter_mut().zip(blocks) {
        // SAFETY: a block has exactly the bytes of a register, and the load needs no alignment.
        *row = unsafe { arch::_mm512_loadu_si512(block.as_ptr().cast()) };
    }
    let quarters = [
        four_rows!(rows, 0, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64),
        four_rows!(rows, 4, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64),
        four_rows!(rows, 8, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64),
        four_rows!(
            rows,
            12,
            _mm512_unpacklo_epi32,
            _mm512_unpackhi_epi32,
            _mm512_unpacklo_epi64,
            _mm512_unpackhi_epi64
        ),
    ];
    let mut words = [arch::_mm512_setzero_si512(); 16];
    for j in 0..4 {
        let [a, b, c, d] = [quarters[0][j], quarters[1][j], quarters[2][j], quarters[3][j]];
        let even = (arch::_mm512_shuffle_i32x4::<0x88>(a, b), arch::_mm512_shuffle_i32x4::<0x88>(c, d));
        let odd = (arch::_mm512_shuffle_i32x4::<0xdd>(a, b), arch::_mm512_shuffle_i32x4::<0xdd>(c, d));
        words[j] = arch::_mm512_shuffle_i32x4::<0x88>(even.0, even.1);
        words[4 + j] = arch::_mm512_shuffle_i32x4::<0x88>(odd.0, odd.1);
        words[8 + j] = arch::_mm512_shuffle_i32x4::<0xdd>(even.0, even.1);
        words[12 + j] = arch::_mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1);
    }
    words
}

#[cfg(target_arch = "x86_64")]
macro_rules! rotate8 {
    ($x:expr, $s:literal) => {
        arch::_mm256_or_si256(arch::_mm256_slli_epi32::<$s>($x), arch::_mm256_srli_epi32::<{ 32 - $s }>($x))
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! pick8 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm256_xor_si256($d, arch::_mm256_and_si256($b, arch::_mm256_xor_si256($c, $d)))
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! choose8 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm256_xor_si256($c, arch::_mm256_and_si256($d, arch::_mm256_xor_si256($b, $c)))
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! odd8 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm256_xor_si256($b, arch::_mm256_xor_si256($c, $d))
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! last8 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm256_xor_si256($c, arch::_mm256_or_si256($b, arch::_mm256_xor_si256($d, arch::_mm256_set1_epi32(-1))))
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! rotate16 {
    ($x:expr, $s:literal) => {
        arch::_mm512_rol_epi32::<$s>($x)
    };
}
// Truth tables of three inputs, as the instruction numbers them.
#[cfg(target_arch = "x86_64")]
macro_rules! pick16 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm512_ternarylogic_epi32::<0xca>($b, $c, $d)
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! choose16 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm512_ternarylogic_epi32::<0xe4>($b, $c, $d)
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! odd16 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm512_ternarylogic_epi32::<0x96>($b, $c, $d)
    };
}
#[cfg(target_arch = "x86_64")]
macro_rules! last16 {
    ($b:expr, $c:expr, $d:expr) => {
        arch::_mm512_ternarylogic_epi32::<0x39>($b, $c, $d)
    };
}

#[cfg(target_arch = "x86_64")]
vectors!(eight, "avx2", 8, _mm256_setr_epi32(0 1 2 3 4 5 6 7), _mm256_set1_epi32, _mm256_add_epi32, _mm256_storeu_si256, transpose8, rotate8, pick8, choose8, odd8, last8);
#[cfg(target_arch = "x86_64")]
vectors!(sixteen, "avx512f", 16, _mm512_setr_epi32(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15), _mm512_set1_epi32, _mm512_add_epi32, _mm512_storeu_si512, transpose16, rotate16, pick16, choose16, odd16, last16);

/// floor(2^32 * |sin(i + 1)|).
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];
