//! Making lost shards, or rows of them, of what is left.

use std::ops::Range;

use crate::chunk::{ChunkId, Shape};
use crate::crc::crc32c;
use crate::shard::ShardId;
use crate::shard::code::{Code, zeros};
use crate::shard::error::{Damage, ShardError};
use crate::shard::spread::{Spread, within};

/// Rows of a shard that is there, as its store gives them.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The shard.
    pub id: ShardId,
    /// Its shape, as its store knows it.
    pub shape: Shape,
    /// Bytes of the asked rows that it has: [`Spread::bytes_of`].
    pub bytes: &'a [u8],
    /// CRC32C of each of those rows, as its store knows them.
    pub crcs: &'a [u32],
}

/// A shard whose rows are wanted.
#[derive(Debug)]
pub struct Lost<'a> {
    /// Its number.
    pub number: u8,
    /// CRC32C of each of the rows, where they are known: of a data shard from the chunk's sums.
    pub crcs: Option<&'a [u32]>,
    /// Where the rows go, as long as [`Spread::bytes_of`] says; of no meaning after an error.
    pub out: &'a mut [u8],
}

/// Makes rows of lost shards of the same rows of others. Each segment is looked at by its CRC before it is used, and
/// one that fails counts as lost in its row: more pieces than the layout needs are of use. Each segment that is made
/// is looked at too where its CRC is known. Gives what was found damaged.
///
/// # Errors
/// [`ShardError::TooFew`] and [`ShardError::Mismatch`]; others when pieces do not fit the spread.
pub fn rebuild(
    spread: Spread,
    chunk: ChunkId,
    rows: &Range<u32>,
    pieces: &[Piece<'_>],
    lost: &mut [Lost<'_>],
) -> Result<Vec<Damage>, ShardError> {
    within(rows, spread.rows())?;
    fits(spread, chunk, rows, (pieces, lost))?;
    let mut code = Code::new(spread.layout())?;
    let mut damaged = Vec::new();
    for row in rows.clone() {
        let sound = sound(spread, (rows, row), pieces, &mut damaged)?;
        for cut in spread.cuts(row) {
            let pieces: Vec<Option<&[u8]>> = sound
                .iter()
                .map(|sealed| sealed.map(|sealed| sealed.get(cut.clone()).unwrap_or_else(|| zeros(cut.len()))))
                .collect();
            let (wanted, mut out): (Vec<usize>, Vec<&mut [u8]>) = lost
                .iter_mut()
                .filter(|lost| cut.end <= spread.length(lost.number, row))
                .filter_map(|lost| {
                    let start = place(spread, lost.number, rows, row).start;
                    let piece = lost.out.get_mut(start + cut.start..start + cut.end)?;
                    Some((usize::from(lost.number), piece))
                })
                .unzip();
            if !wanted.is_empty() {
                code.restore(&pieces, &wanted, &mut out)?;
            }
        }
        for lost in lost.iter_mut() {
            finish(spread, rows, row, lost)?;
        }
    }
    Ok(damaged)
}

/// As many sound segments of a row as are needed, by the number of their shard; an empty one is zeros.
fn sound<'a>(
    spread: Spread,
    (rows, row): (&Range<u32>, u32),
    pieces: &[Piece<'a>],
    damaged: &mut Vec<Damage>,
) -> Result<Vec<Option<&'a [u8]>>, ShardError> {
    let layout = spread.layout();
    let needed = usize::from(layout.data());
    let mut found = vec![None; usize::from(layout.stores())];
    let mut count = 0;
    for (number, slot) in (0..layout.stores()).zip(&mut found) {
        if count == needed {
            break;
        }
        if spread.length(number, row) == 0 {
            *slot = Some(&[][..]);
            count += 1;
            continue;
        }
        let Some(piece) = pieces.iter().find(|piece| piece.id.number == number) else { continue };
        let sealed = piece.bytes.get(place(spread, number, rows, row)).unwrap_or_default();
        if crc_of(piece.crcs, spread, number, (rows, row)) == Some(crc32c(sealed)) {
            *slot = Some(sealed);
            count += 1;
        } else {
            damaged.push(Damage { shard: number, row });
        }
    }
    if count == needed {
        return Ok(found);
    }
    let damaged = std::mem::take(damaged);
    Err(ShardError::TooFew { row, needed: layout.data(), sound: u8::try_from(count).unwrap_or(u8::MAX), damaged })
}

/// Wipes what lies before a segment that was made, and looks at its CRC.
fn finish(spread: Spread, rows: &Range<u32>, row: u32, lost: &mut Lost<'_>) -> Result<(), ShardError> {
    let number = lost.number;
    if spread.length(number, row) == 0 {
        return Ok(());
    }
    let sealed = place(spread, number, rows, row);
    if row > rows.start
        && let Some(padding) = lost.out.get_mut(place(spread, number, rows, row - 1).end..sealed.start)
    {
        padding.fill(0);
    }
    let made = lost.out.get(sealed).map(crc32c);
    match lost.crcs {
        Some(crcs) if crc_of(crcs, spread, number, (rows, row)) != made => {
            Err(ShardError::Mismatch { shard: number, row })
        }
        _ => Ok(()),
    }
}

/// Where a row lies in the bytes of the asked rows of a shard.
fn place(spread: Spread, number: u8, rows: &Range<u32>, row: u32) -> Range<usize> {
    let base = spread.bytes_of(number, rows).start;
    let sealed = spread.bytes_of(number, &(row..row + 1));
    sealed.start.saturating_sub(base)..sealed.end.saturating_sub(base)
}

fn crc_of(crcs: &[u32], spread: Spread, number: u8, (rows, row): (&Range<u32>, u32)) -> Option<u32> {
    let first = spread.rows_of(number, rows).start;
    crcs.get(usize::try_from(row.checked_sub(first)?).ok()?).copied()
}

/// Whether pieces and lost shards are of this spread, each named once and of the right length.
fn fits(
    spread: Spread,
    chunk: ChunkId,
    rows: &Range<u32>,
    (pieces, lost): (&[Piece<'_>], &[Lost<'_>]),
) -> Result<(), ShardError> {
    let mut seen = Vec::new();
    for piece in pieces {
        if piece.id.chunk != chunk {
            return Err(ShardError::Foreign { shard: piece.id, chunk });
        }
        let number = piece.id.number;
        if named(spread, number, &mut seen)? != piece.shape {
            return Err(ShardError::Unlike { shard: number });
        }
        measured(spread, number, rows, (piece.bytes.len(), Some(piece.crcs)))?;
    }
    for lost in lost {
        named(spread, lost.number, &mut seen)?;
        measured(spread, lost.number, rows, (lost.out.len(), lost.crcs))?;
    }
    Ok(())
}

/// The shape of a shard that was not named before.
fn named(spread: Spread, number: u8, seen: &mut Vec<u8>) -> Result<Shape, ShardError> {
    let shape = spread.shard(number).ok_or(ShardError::Number { layout: spread.layout(), number })?;
    if seen.contains(&number) {
        return Err(ShardError::Twice(number));
    }
    seen.push(number);
    Ok(shape)
}

fn measured(
    spread: Spread,
    shard: u8,
    rows: &Range<u32>,
    (length, crcs): (usize, Option<&[u32]>),
) -> Result<(), ShardError> {
    let expected = spread.bytes_of(shard, rows).len();
    if length != expected {
        return Err(ShardError::Length { shard, expected, length });
    }
    let rows = spread.rows_of(shard, rows).len();
    match crcs {
        Some(crcs) if crcs.len() != rows => Err(ShardError::Crcs { shard, expected: rows, count: crcs.len() }),
        _ => Ok(()),
    }
}
