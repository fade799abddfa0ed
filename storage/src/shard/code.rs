//! The code itself: the one file that names its library (docs/decisions/0010).

use rusty_erasure::{Coder, DecodePlan, Matrix, coder};

use crate::geometry::SEGMENT_SEALED;
use crate::layout::Layout;
use crate::shard::error::ShardError;

/// What stands in for a segment that is missing or ended.
static ZEROS: [u8; SEGMENT_SEALED] = [0; SEGMENT_SEALED];

/// So many zeros, of a segment at most.
pub(super) fn zeros(length: usize) -> &'static [u8] {
    ZEROS.get(..length).unwrap_or(&ZEROS)
}

/// The code of a layout, and how the losses met so far are undone.
#[derive(Debug)]
pub(super) struct Code {
    /// None for replicas.
    coder: Option<Coder>,
    plans: Vec<Plan>,
}

#[derive(Debug)]
struct Plan {
    present: Vec<bool>,
    wanted: Vec<usize>,
    plan: DecodePlan,
}

impl Code {
    pub(super) fn new(layout: Layout) -> Result<Self, ShardError> {
        let plans = Vec::new();
        if layout.is_replicated() {
            return Ok(Self { coder: None, plans });
        }
        let matrix = Matrix::cauchy(usize::from(layout.data()), usize::from(layout.parity())).map_err(refused)?;
        Ok(Self { coder: Some(coder(matrix).map_err(refused)?), plans })
    }

    /// Writes parity over pieces of equal length, one of each data shard.
    pub(super) fn parity(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), ShardError> {
        match &self.coder {
            Some(coder) => coder.encode(data, parity).map_err(refused),
            None => Ok(()),
        }
    }

    /// Writes what shards `wanted` hold, of pieces of equal length: as many as the layout has data shards.
    pub(super) fn restore(
        &mut self,
        pieces: &[Option<&[u8]>],
        wanted: &[usize],
        out: &mut [&mut [u8]],
    ) -> Result<(), ShardError> {
        let Some(coder) = &self.coder else { return copy(pieces, out) };
        let present: Vec<bool> = pieces.iter().map(Option::is_some).collect();
        let known = self.plans.iter().position(|known| known.present == present && known.wanted == wanted);
        let at = match known {
            Some(at) => at,
            None => {
                let plan = coder.decode_plan(&present, wanted).map_err(refused)?;
                self.plans.push(Plan { present, wanted: wanted.to_vec(), plan });
                self.plans.len() - 1
            }
        };
        match self.plans.get(at) {
            Some(known) => coder.recover_with(&known.plan, pieces, out).map_err(refused),
            None => Ok(()),
        }
    }
}

/// Of replicas each is every other.
fn copy(pieces: &[Option<&[u8]>], out: &mut [&mut [u8]]) -> Result<(), ShardError> {
    let source = pieces.iter().flatten().next().ok_or_else(|| ShardError::Code("no replica".to_owned()))?;
    for copy in out {
        if copy.len() != source.len() {
            return Err(ShardError::Code("replicas of two lengths".to_owned()));
        }
        copy.copy_from_slice(source);
    }
    Ok(())
}

fn refused(error: impl std::fmt::Display) -> ShardError {
    ShardError::Code(error.to_string())
}
