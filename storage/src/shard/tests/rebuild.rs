//! Every loss that a layout survives, damage that CRCs find, and wrong use.

use super::*;

/// What stores give of some rows of the shards that are not lost.
fn pieces<'a>(shards: &'a Shards, rows: &Range<u32>, lost: &[u8]) -> Vec<Piece<'a>> {
    let there = shards.iter().filter(|shard| !lost.contains(&shard.id().number));
    there
        .map(|shard| {
            let number = shard.id().number;
            let held = shards.spread().rows_of(number, rows);
            Piece {
                id: shard.id(),
                shape: shard.shape(),
                bytes: &shard.bytes()[shards.spread().bytes_of(number, rows)],
                crcs: &shard.crcs()[usize::try_from(held.start).unwrap()..usize::try_from(held.end).unwrap()],
            }
        })
        .collect()
}

/// Rebuilds rows of lost shards into dirty buffers.
fn restored(
    shards: &Shards,
    rows: &Range<u32>,
    pieces: &[Piece<'_>],
    numbers: &[u8],
) -> Result<(Vec<Vec<u8>>, Vec<Damage>), ShardError> {
    let spread = shards.spread();
    let mut bytes: Vec<Vec<u8>> = numbers.iter().map(|n| vec![0x5A; spread.bytes_of(*n, rows).len()]).collect();
    let mut lost: Vec<Lost<'_>> = numbers
        .iter()
        .zip(&mut bytes)
        .map(|(number, out)| {
            let held = spread.rows_of(*number, rows);
            let held = usize::try_from(held.start).unwrap()..usize::try_from(held.end).unwrap();
            let crcs = shards.shard(*number).and_then(|shard| shard.crcs().get(held));
            Lost { number: *number, crcs: crcs.filter(|_| number % 2 == 0), out }
        })
        .collect();
    let damaged = rebuild(spread, ID, rows, pieces, &mut lost)?;
    Ok((bytes, damaged))
}

fn same(shards: &Shards, rows: &Range<u32>, numbers: &[u8], bytes: &[Vec<u8>]) -> bool {
    numbers.iter().zip(bytes).all(|(number, bytes)| {
        shards.shard(*number).unwrap().bytes()[shards.spread().bytes_of(*number, rows)] == bytes[..]
    })
}

/// Numbers of the shards that hold something, in an order that the seed chooses.
fn shuffled(shards: &Shards, seed: u64) -> Vec<u8> {
    let mut numbers: Vec<u8> = shards.iter().map(|shard| shard.id().number).collect();
    numbers.sort_by_key(|number| *blake3::hash(&[&seed.to_be_bytes()[..], &[*number]].concat()).as_bytes());
    numbers
}

/// All ways to choose up to `most` of the numbers.
fn choices(numbers: &[u8], most: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for number in numbers {
        let more: Vec<Vec<u8>> =
            all.iter().filter(|chosen| chosen.len() < most).map(|chosen| [&chosen[..], &[*number]].concat()).collect();
        all.extend(more);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_lost_comes_back(layout in layouts(), shape in shapes(), seed: u64, many in 1_u8..=5, from: u32, count: u32) {
        let (_, shards) = made(Spread::new(layout, shape).unwrap(), noise(seed));
        let all = shards.spread().rows();
        let start = from % all;
        let rows = start..start + 1 + count % (all - start);
        let order = shuffled(&shards, seed);
        let lost = &order[..usize::from(many.min(layout.parity()))];
        let (bytes, damaged) = restored(&shards, &rows, &pieces(&shards, &rows, lost), lost).unwrap();
        prop_assert!(same(&shards, &rows, lost, &bytes));
        prop_assert_eq!(damaged, Vec::new());

        let beyond = &order[..usize::from(layout.parity() + 1)];
        let refused = restored(&shards, &(0..1), &pieces(&shards, &(0..1), beyond), beyond);
        prop_assert!(matches!(refused, Err(ShardError::TooFew { row: 0, .. })), "row 0 has a segment of each shard");
    }

    #[test]
    fn damage_is_found_and_counts_as_loss(layout in layouts(), shape in shapes(), seed: u64, at: prop::sample::Index) {
        let (_, shards) = made(Spread::new(layout, shape).unwrap(), noise(seed));
        let rows = 0..shards.spread().rows();
        let order = shuffled(&shards, seed);
        let (lost, bad) = (&order[..usize::from(layout.parity())], order[usize::from(layout.parity())]);
        let shard = shards.shard(bad).unwrap();
        let row = u32::try_from(at.index(usize::try_from(shard.shape().segments).unwrap())).unwrap();
        let sealed = shard.shape().segment(row);
        let mut bytes = shard.bytes().to_vec();
        bytes[sealed.start + at.index(sealed.len())] ^= 1;
        let hurt = |lost: &[u8]| {
            let mut pieces = pieces(&shards, &rows, lost);
            for piece in &mut pieces {
                if piece.id.number == bad {
                    piece.bytes = &bytes;
                }
            }
            restored(&shards, &rows, &pieces, lost)
        };
        // With one more to spare it is passed over in its row; it may not even be needed.
        let (made, damaged) = hurt(&lost[1..]).unwrap();
        prop_assert!(same(&shards, &rows, &lost[1..], &made));
        prop_assert!(damaged.iter().all(|damage| (damage.shard, damage.row) == (bad, row)));
        match hurt(lost) {
            Err(ShardError::TooFew { row: at, needed, sound, damaged }) => {
                prop_assert_eq!((at, needed, sound), (row, layout.data(), layout.data() - 1));
                prop_assert_eq!(damaged, vec![Damage { shard: bad, row }]);
            }
            // Rows that a lost shard does not reach ask less of the others.
            other => {
                let (made, damaged) = other.unwrap();
                prop_assert!(same(&shards, &rows, lost, &made) && row > 0);
                prop_assert!(damaged.iter().all(|damage| (damage.shard, damage.row) == (bad, row)));
            }
        }
    }

    #[test]
    fn wrong_use_is_refused_and_never_panics(
        layout in layouts(),
        claim in layouts(),
        shape in shapes(),
        rows in (0_u32..70, 0_u32..70),
        given in prop::collection::vec((any::<u8>(), 0_usize..200, 0_usize..70), 0..8),
        wanted in prop::collection::vec((0_u8..24, 0_usize..200), 0..4),
    ) {
        let spread = Spread::new(layout, shape).unwrap();
        let other = Spread::new(claim, shape).unwrap();
        let bytes = [1; 200];
        let crcs = [0; 70];
        let pieces: Vec<Piece<'_>> = given.iter().map(|(number, length, count)| {
            let shape = other.shard(number % 24).unwrap_or(Shape { segments: 0, last: 0 });
            Piece { id: ShardId { chunk: ID, number: number % 24 }, shape, bytes: &bytes[..*length], crcs: &crcs[..*count] }
        }).collect();
        let mut out: Vec<Vec<u8>> = wanted.iter().map(|(_, length)| vec![0; *length]).collect();
        let mut lost: Vec<Lost<'_>> = wanted.iter().zip(&mut out).map(|((number, _), out)| Lost { number: *number, crcs: None, out }).collect();
        if let Err(refused) = rebuild(spread, ID, &(rows.0..rows.1), &pieces, &mut lost) {
            prop_assert!(!matches!(refused, ShardError::Code(_)), "checked before the library sees it: {}", refused);
        }
    }
}

#[test]
fn every_loss_pattern_comes_back() {
    for (name, segments, last) in [
        ("replica-2", 1, 17),
        ("replica-5", 2, 100),
        ("ec-2-1", 3, 900),
        ("ec-3-4", 4, 17),
        ("ec-4-2", 7, 1000),
        ("ec-4-2", 3, 500),
        ("ec-8-3", 13, 65_552),
        ("ec-8-3", 5, 64),
        ("ec-16-4", 5, 33),
    ] {
        let (_, shards) = made(spread(name, segments, last), noise(u64::from(segments)));
        let rows = 0..shards.spread().rows();
        let numbers: Vec<u8> = shards.iter().map(|shard| shard.id().number).collect();
        for lost in choices(&numbers, usize::from(shards.spread().layout().parity())) {
            let (bytes, damaged) = restored(&shards, &rows, &pieces(&shards, &rows, &lost), &lost).unwrap();
            assert!(same(&shards, &rows, &lost, &bytes) && damaged.is_empty(), "{name} {lost:?}");
        }
    }
}

/// All patterns of the widest code, one row of it, of which only parity and short data are made.
#[test]
fn every_loss_pattern_of_the_widest_code_comes_back() {
    let (_, shards) = made(spread("ec-16-4", 16, 40), noise(3));
    let numbers: Vec<u8> = (0..20).collect();
    for lost in choices(&numbers, 4).into_iter().step_by(7) {
        let (bytes, _) = restored(&shards, &(0..1), &pieces(&shards, &(0..1), &lost), &lost).unwrap();
        assert!(same(&shards, &(0..1), &lost, &bytes), "{lost:?}");
    }
}

#[test]
fn each_wrong_use_has_its_error() {
    let (_, shards) = made(spread("ec-4-2", 7, 1000), noise(9));
    let rows = 0..2;
    let good = pieces(&shards, &rows, &[1]);
    let length = shards.spread().bytes_of(1, &rows).len();
    let with = |change: &dyn Fn(&mut Vec<Piece<'_>>), number: u8, length: usize, rows: Range<u32>| {
        let mut pieces = good.clone();
        change(&mut pieces);
        let mut out = vec![0; length];
        rebuild(shards.spread(), ID, &rows, &pieces, &mut [Lost { number, crcs: None, out: &mut out }])
    };
    let as_is = |_: &mut Vec<Piece<'_>>| {};
    assert_eq!(with(&as_is, 1, length, rows.clone()), Ok(Vec::new()));
    let foreign = ChunkId { number: 6, ..ID };
    assert!(matches!(with(&|p| p[0].id.chunk = foreign, 1, length, 0..2), Err(ShardError::Foreign { .. })));
    assert!(matches!(with(&|p| p[0].id.number = 6, 1, length, 0..2), Err(ShardError::Number { number: 6, .. })));
    assert!(matches!(with(&|p| p[0].shape.last = 9, 1, length, 0..2), Err(ShardError::Unlike { shard: 0 })));
    assert!(matches!(with(&|p| p.push(p[0]), 1, length, 0..2), Err(ShardError::Twice(0))));
    assert!(matches!(with(&as_is, 0, length, 0..2), Err(ShardError::Twice(0))));
    assert!(matches!(with(&as_is, 6, length, 0..2), Err(ShardError::Number { number: 6, .. })));
    assert!(matches!(
        with(&|p| p[0].bytes = &p[0].bytes[1..], 1, length, 0..2),
        Err(ShardError::Length { shard: 0, .. })
    ));
    assert!(matches!(with(&|p| p[0].crcs = &p[0].crcs[1..], 1, length, 0..2), Err(ShardError::Crcs { shard: 0, .. })));
    assert!(matches!(with(&as_is, 1, length - 1, 0..2), Err(ShardError::Length { shard: 1, .. })));
    assert!(matches!(
        with(&|p| p.truncate(3), 1, length, 0..2),
        Err(ShardError::TooFew { row: 0, needed: 4, sound: 3, .. })
    ));
    for rows in [0..0, 0..3, 2..3, Range { start: 2, end: 1 }] {
        assert!(matches!(with(&as_is, 1, length, rows), Err(ShardError::Range { count: 2, .. })));
    }
    let empty = made(spread("ec-4-2", 2, 50), noise(1)).1;
    let refused = restored(&empty, &(0..1), &pieces(&empty, &(0..1), &[]), &[3]);
    assert!(matches!(refused, Err(ShardError::Number { number: 3, .. })), "what holds nothing cannot be lost");
}

/// A shard of an earlier write under the same id, sound by its own CRCs, must not pass for the bytes that were stored.
#[test]
fn what_is_rebuilt_wrongly_is_not_given_out() {
    let (_, shards) = made(spread("ec-4-2", 7, 1000), noise(9));
    let (_, others) = made(spread("ec-4-2", 7, 1000), noise(10));
    let mut given = pieces(&shards, &(0..1), &[2]);
    given[0] = pieces(&others, &(0..1), &[2])[0];
    let mut out = vec![0; SEGMENT_SEALED];
    let crcs = &shards.shard(2).unwrap().crcs()[..1];
    let refused =
        rebuild(shards.spread(), ID, &(0..1), &given, &mut [Lost { number: 2, crcs: Some(crcs), out: &mut out }]);
    assert_eq!(refused, Err(ShardError::Mismatch { shard: 2, row: 0 }));
    assert!(!refused.unwrap_err().retryable());
}
