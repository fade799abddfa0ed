//! Shards of every layout and shape against a slow code of the tests' own, and bytes that must never change.

use std::ops::Range;
use std::sync::Arc;

use policy::id::BodyId;
use proptest::prelude::*;

use super::*;
use crate::buffer::{BufferPool, PooledBuffer};
use crate::chunk::{SealedChunk, Shape};
use crate::crc::crc32c;
use crate::geometry::{SEGMENT_SEALED, STRIDE};
use crate::layout::Layout;
use crate::layout::tests::layouts;

mod golden;
mod rebuild;

const ID: ChunkId = ChunkId { body: BodyId::from_bytes([7; 16]), number: 5 };

/// Any shape; short chunks as often as long ones.
fn shapes() -> impl Strategy<Value = Shape> {
    let segments = prop_oneof![1_u32..=4, 1_u32..=64];
    let last = prop_oneof![17_u32..=65_552, Just(65_552), Just(16), 17_u32..200];
    (segments, last).prop_map(|(segments, last)| Shape { segments, last })
}

fn layout(name: &str) -> Layout {
    name.parse().unwrap()
}

fn spread(name: &str, segments: u32, last: u32) -> Spread {
    Spread::new(layout(name), Shape { segments, last }).unwrap()
}

/// A pool, and buffers of it in which earlier chunks left their bytes.
fn buffers(pool: &Arc<BufferPool>, sizes: &[u32]) -> Vec<PooledBuffer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut buffers = runtime.block_on(pool.chunks(sizes)).unwrap();
    buffers.iter_mut().for_each(|buffer| buffer.fill(0xA5));
    buffers
}

/// A chunk whose segments `fill` writes, and its shards.
fn made(spread: Spread, fill: impl Fn(u32, &mut [u8])) -> (Vec<u8>, Shards) {
    let pool = BufferPool::new(8);
    let shape = spread.shape();
    let (count, rows) = spread.parity_buffers();
    let mut parity = buffers(&pool, &[&[shape.segments][..], &vec![rows; usize::from(count)]].concat());
    let mut buffer = parity.remove(0);
    for number in 0..shape.segments {
        fill(number, &mut buffer[shape.segment(number)]);
    }
    let chunk = SealedChunk::from_sealed(ID, buffer, shape.segments, shape.last);
    let stored = chunk.blocks()[..shape.stored()].to_vec();
    (stored, encode(spread.layout(), chunk, parity).unwrap())
}

fn noise(seed: u64) -> impl Fn(u32, &mut [u8]) {
    move |number, out| {
        let mut hash = blake3::Hasher::new();
        hash.update(&seed.to_be_bytes()).update(&number.to_be_bytes()).finalize_xof().fill(out);
    }
}

/// Product in GF(2^8) modulo 0x11D, bit by bit.
fn times(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (u16::from(a), b, 0_u16);
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 0x100 != 0 {
            a ^= 0x11D;
        }
        b >>= 1;
    }
    u8::try_from(product).unwrap()
}

/// c(p, i) of the format.
fn factor(data: u8, parity: u8, number: u8) -> u8 {
    let inverse_of = (data + parity) ^ number;
    (1..=255).find(|candidate| times(inverse_of, *candidate) == 1).unwrap()
}

/// Places in a segment where something may go wrong: ends, the end of a shorter one, and some between.
fn places(length: usize, short: usize, seed: usize) -> Vec<usize> {
    let some = (0..40).map(|n| (seed % 7919 + n * 1637) % length);
    [0, 1, 15, 16, 31, 63, 64, short.saturating_sub(1), short, short + 1, length - 1]
        .into_iter()
        .chain(some)
        .filter(|at| *at < length)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_spread_keeps_each_segment_once(layout in layouts(), shape in shapes()) {
        let spread = Spread::new(layout, shape).unwrap();
        let mut next = 0;
        for number in 0..layout.data() {
            let held = spread.segments(number);
            prop_assert_eq!(held.start, next, "in order");
            next = held.end;
            let lengths = |shape: Shape, range: Range<u32>| range.map(|n| shape.segment(n).len()).collect::<Vec<_>>();
            let own = spread.shard(number).map_or_else(Vec::new, |own| lengths(own, 0..own.segments));
            prop_assert_eq!(own, lengths(shape, held.clone()));
            prop_assert!(spread.rows() - (held.end - held.start) <= 1, "evenly");
        }
        prop_assert_eq!(next, shape.segments);
        let mut bytes = 0;
        for number in layout.data()..layout.stores() {
            let parity = spread.shard(number).unwrap();
            prop_assert_eq!(parity.segments, spread.rows());
            for row in 0..parity.segments {
                let longest = (0..layout.data()).map(|number| spread.length(number, row)).max().unwrap();
                prop_assert_eq!(parity.segment(row).len(), longest);
            }
            bytes += parity.stored();
        }
        bytes += (0..layout.data()).filter_map(|number| spread.shard(number)).map(Shape::stored).sum::<usize>();
        prop_assert_eq!(spread.stored(), bytes);
        prop_assert_eq!(spread.shard(layout.stores()), None);
        let stored = (0..layout.stores()).filter(|number| spread.shard(*number).is_some()).count();
        prop_assert_eq!(stored, usize::from(spread.stored_shards()));
        prop_assert!(spread.quorum() > spread.stored_shards() - layout.parity());
        prop_assert!(spread.quorum() <= spread.stored_shards());
    }

    #[test]
    fn a_range_is_located_whole(layout in layouts(), shape in shapes(), a in 0_u32..64, b in 0_u32..64) {
        let spread = Spread::new(layout, shape).unwrap();
        let wanted = a.min(b)..a.max(b) + 1;
        let found = spread.locate(&wanted);
        if wanted.end > shape.segments {
            prop_assert!(matches!(found, Err(ShardError::Range { .. })), "{:?}", found);
        } else {
            let segments: Vec<u32> = found.unwrap().into_iter().flat_map(|located| {
                let start = spread.segments(located.shard).start;
                located.rows.map(move |row| start + row)
            }).collect();
            prop_assert_eq!(segments, wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn shards_are_what_the_format_says(layout in layouts(), shape in shapes(), seed: u64) {
        let spread = Spread::new(layout, shape).unwrap();
        let (chunk, shards) = made(spread, noise(seed));
        prop_assert_eq!(shards.iter().count(), usize::from(spread.stored_shards()));
        for shard in shards.iter() {
            let number = shard.id().number;
            prop_assert_eq!(Some(shard.shape()), spread.shard(number));
            prop_assert_eq!(shard.bytes().len(), shard.shape().stored());
            let crcs: Vec<u32> = (0..shard.shape().segments).map(|row| crc32c(&shard.bytes()[shard.shape().segment(row)])).collect();
            prop_assert_eq!(shard.crcs(), &crcs[..]);
            prop_assert_eq!(shard.sums().crcs, crcs);
            for row in 1..shard.shape().segments {
                let padding = &shard.bytes()[shard.shape().segment(row - 1).end..shard.shape().segment(row).start];
                prop_assert!(padding.iter().all(|byte| *byte == 0), "nothing of an earlier chunk");
            }
            let held = spread.segments(number);
            if !held.is_empty() {
                let start = shape.segment(held.start).start;
                prop_assert!(shard.bytes()[..] == chunk[start..start + shard.shape().stored()]);
                continue;
            }
            let factors: Vec<u8> = (0..layout.data()).map(|data| factor(layout.data(), number - layout.data(), data)).collect();
            for row in 0..shard.shape().segments {
                let parity = &shard.bytes()[shard.shape().segment(row)];
                for at in places(parity.len(), usize::try_from(shape.last).unwrap(), usize::try_from(seed >> 8).unwrap()) {
                    let mut sum = 0;
                    for data in 0..layout.data() {
                        let held = spread.segments(data);
                        if at < spread.length(data, row) {
                            sum ^= times(factors[usize::from(data)], chunk[shape.segment(held.start + row).start + at]);
                        }
                    }
                    prop_assert_eq!(parity[at], sum, "row {} byte {}", row, at);
                }
            }
        }
    }
}

#[test]
fn what_is_short_stays_short() {
    let tiny = spread("ec-8-3", 1, 100);
    assert_eq!((tiny.stored(), tiny.stored_shards(), tiny.quorum()), (400, 4, 2));
    assert_eq!(tiny.parity_buffers(), (3, 1));
    let whole = spread("ec-4-2", 64, 65_552);
    assert_eq!(whole.stored(), 6 * (15 * STRIDE + SEGMENT_SEALED));
    assert_eq!((whole.stored_shards(), whole.quorum()), (6, 5));
    assert_eq!(
        whole.locate(&(15..17)).unwrap(),
        [Located { shard: 0, rows: 15..16 }, Located { shard: 1, rows: 0..1 }]
    );
    assert_eq!(spread("replica-3", 2, 50).stored(), 3 * (STRIDE + 50));
    assert_eq!(whole.bytes_of(5, &(2..4)), 2 * STRIDE..3 * STRIDE + SEGMENT_SEALED);
}

#[test]
fn data_is_not_copied_and_buffers_go_back() {
    let pool = BufferPool::new(2);
    let mut all = buffers(&pool, &[64, 16, 16]);
    let parity = all.split_off(1);
    let buffer = all.remove(0);
    let at = buffer.as_ptr();
    let chunk = SealedChunk::from_sealed(ID, buffer, 64, 65_552);
    let shards = encode(layout("ec-4-2"), chunk, parity).unwrap();
    let second = shards.shard(1).unwrap().clone();
    assert_eq!(second.bytes().as_ptr(), at.wrapping_add(16 * STRIDE));
    assert_eq!(second.id().to_string(), format!("{ID}/1"));
    let roots: Vec<[u8; 32]> = shards.iter().map(|shard| shard.sums().root).collect();
    assert!(roots.iter().all(|root| roots.iter().filter(|other| *other == root).count() == 1));
    drop(shards);
    drop(second);
    assert_eq!(buffers(&pool, &[64, 64]).len(), 2);
}

#[test]
fn a_replica_is_the_chunk() {
    let (chunk, shards) = made(spread("replica-3", 3, 77), noise(1));
    let sums = crate::chunk::sums(ID, shards.spread().shape(), &chunk);
    assert_eq!(shards.iter().count(), 3);
    for shard in shards.iter() {
        assert!(shard.bytes()[..] == chunk[..]);
        assert_eq!(shard.sums(), sums);
    }
}

#[test]
fn shapes_and_buffers_that_do_not_fit_are_refused() {
    for (segments, last) in [(0, 100), (65, 100), (1, 0), (1, 15), (1, 65_553), (u32::MAX, u32::MAX)] {
        let shape = Shape { segments, last };
        assert_eq!(Spread::new(layout("ec-4-2"), shape), Err(ShardError::Shape(shape)));
    }
    let pool = BufferPool::new(4);
    let chunk = |segments| SealedChunk::from_sealed(ID, buffers(&pool, &[segments]).remove(0), segments, 100);
    for sizes in [&[16][..], &[16, 16, 16], &[16, 8], &[]] {
        let refused = encode(layout("ec-4-2"), chunk(64), buffers(&pool, sizes));
        assert!(matches!(refused, Err(ShardError::Buffers { buffers: 2, .. })), "{sizes:?}");
    }
    assert!(matches!(encode(layout("replica-2"), chunk(1), buffers(&pool, &[1])), Err(ShardError::Buffers { .. })));
    let short = SealedChunk::from_sealed(ID, buffers(&pool, &[1]).remove(0), 9, 100);
    assert!(matches!(encode(layout("replica-2"), short, Vec::new()), Err(ShardError::Length { .. })));
}
