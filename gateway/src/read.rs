//! The read pipeline: runs of sealed segments from the store, opened in place, handed to the network
//! without a copy. Only the segments that a range needs are fetched and opened.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt};
use policy::id::{BodyId, BucketId, TenantId};
use s3s::StdError;
use storage::buffer::PooledBuffer;
use storage::catalog::{Location, ManifestBody};
use storage::chunk::ChunkId;
use storage::chunks::ChunkStore;
use storage::geometry::{SEGMENT_PLAIN, SEGMENTS_PER_CHUNK};
use storage::reads::ReadGuard;

use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::Passage;
use crate::opened::{InlineBodies, OpenedVersion};
use crate::patient::Patient;
use crate::seal::SealError;
use crate::seal::body::{BodyOpener, segments_of};

/// Segments fetched at once: 512 KiB of plaintext.
const RUN: u64 = 8;
/// Runs under way at once: the next is fetched while one is sent.
const AHEAD: usize = 2;

/// What a read of one version needs.
#[derive(Debug)]
pub struct Source {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its rows and its key.
    pub version: Arc<OpenedVersion>,
    /// Sealed inline bodies.
    pub inline: InlineBodies,
    /// Holds back deletion while the read runs.
    pub guard: Option<ReadGuard>,
    /// Leave to read it.
    pub passage: Passage,
}

/// One fetch: consecutive segments of one chunk of one body.
#[derive(Debug, Clone)]
struct Step {
    body: usize,
    first: u64,
    count: u64,
    /// Plaintext bytes to skip at the front of the run.
    skip: usize,
    /// Plaintext bytes to give from there.
    give: usize,
}

struct Opened {
    body: BodyId,
    length: u64,
    opener: BodyOpener,
    inline: Option<Bytes>,
}

/// Streams the plaintext bytes `range` of a version.
///
/// # Errors
/// `Seal` when a data key does not open, `Missing` when an inline body is gone.
pub fn stream(
    chunks: &Arc<ChunkStore>,
    source: Source,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static, Error> {
    let steps = plan(&source.version.row.bodies, &range);
    let bodies: Arc<[Option<Opened>]> = open_bodies(&source, &steps)?.into();
    let chunks = Arc::clone(chunks);
    let (guard, passage) = (source.guard, Arc::new(source.passage));
    Ok(stream::iter(steps)
        .map(move |step| {
            let _holds = &guard;
            let (chunks, bodies, passage) = (Arc::clone(&chunks), Arc::clone(&bodies), Arc::clone(&passage));
            async move {
                passage.pass().await?;
                fetch(chunks, bodies, step).await
            }
        })
        .buffered(AHEAD)
        .flat_map(|run| match run {
            Ok(pieces) => stream::iter(pieces.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        }))
}

/// As [`stream()`], for a copy: it ends as failed when the disk brings nothing of it for as long as the gateway waits.
///
/// # Errors
/// Those of [`stream()`].
pub fn patiently(
    gateway: &Gateway,
    source: Source,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, StdError>> + Unpin + Send + 'static, Error> {
    let pieces = Box::pin(stream(&gateway.chunks, source, range)?);
    Ok(Patient::new(pieces, gateway.patience).map(|piece| piece.map_err(StdError::from)))
}

/// Cuts a range into fetches that stay within one chunk.
fn plan(bodies: &[ManifestBody], range: &Range<u64>) -> Vec<Step> {
    const SEGMENT: u64 = SEGMENT_PLAIN as u64;
    let mut steps = Vec::new();
    let mut start = 0;
    for (index, body) in bodies.iter().enumerate() {
        let end = start + body.length;
        let from = range.start.max(start);
        let to = range.end.min(end);
        let mut at = from.saturating_sub(start);
        let stop = to.saturating_sub(start);
        while from < to && at < stop {
            let first = at / SEGMENT;
            let chunk_end = (first / u64::from(SEGMENTS_PER_CHUNK) + 1) * u64::from(SEGMENTS_PER_CHUNK);
            let last = (first + RUN).min(chunk_end).min(stop.div_ceil(SEGMENT));
            let until = (last * SEGMENT).min(stop);
            steps.push(Step {
                body: index,
                first,
                count: last - first,
                skip: usize::try_from(at - first * SEGMENT).unwrap_or(0),
                give: usize::try_from(until - at).unwrap_or(0),
            });
            at = until;
        }
        start = end;
    }
    steps
}

/// Opens the data keys of the bodies that the steps touch; the others stay shut.
fn open_bodies(source: &Source, steps: &[Step]) -> Result<Vec<Option<Opened>>, Error> {
    let needed: std::collections::BTreeSet<usize> = steps.iter().map(|s| s.body).collect();
    let bodies = &source.version.row.bodies;
    let mut out = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.iter().enumerate() {
        if !needed.contains(&index) {
            out.push(None);
            continue;
        }
        let opener = source.version.opener(source.tenant, source.bucket, body)?;
        let inline = match body.location {
            Location::Chunks { .. } => None,
            Location::Inline => {
                let found = source.inline.iter().find(|(id, _)| *id == body.body);
                Some(found.ok_or(Error::Missing("inline body"))?.1.clone())
            }
        };
        out.push(Some(Opened { body: body.body, length: body.length, opener, inline }));
    }
    Ok(out)
}

/// The plaintext bytes `range` of a version whose only body is inline, opened where its sealed bytes lie.
///
/// # Errors
/// `Seal` when it does not open, `Missing` when its bytes are gone.
pub fn inline(source: &mut Source, range: &Range<u64>) -> Result<Option<Bytes>, Error> {
    let Some(body) = source.version.only_body().filter(|body| body.location == Location::Inline) else {
        return Ok(None);
    };
    let opener = source.version.opener(source.tenant, source.bucket, body)?;
    let (_, sealed) = source.inline.pop().filter(|(id, _)| *id == body.body).ok_or(Error::Missing("inline body"))?;
    let opened = Opened { body: body.body, length: body.length, opener, inline: None };
    let plain = open_inline(&opened, sealed)?;
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(plain.len());
    Ok(Some(plain.slice(at(range.start)..at(range.end))))
}

async fn fetch(chunks: Arc<ChunkStore>, bodies: Arc<[Option<Opened>]>, step: Step) -> Result<Vec<Bytes>, Error> {
    let body = bodies.get(step.body).and_then(Option::as_ref).ok_or(Error::Missing("body"))?;
    if let Some(sealed) = &body.inline {
        let plain = open_inline(body, sealed.clone())?;
        let end = (step.skip + step.give).min(plain.len());
        return Ok(vec![plain.slice(step.skip.min(end)..end)]);
    }
    let per_chunk = u64::from(SEGMENTS_PER_CHUNK);
    let number = u32::try_from(step.first / per_chunk).map_err(|_| Error::Missing("chunk"))?;
    let from = u32::try_from(step.first % per_chunk).unwrap_or(0);
    let count = u32::try_from(step.count).unwrap_or(0);
    let id = ChunkId { body: body.body, number };
    let mut run = chunks.read(id, from..from + count).await?;
    if u64::try_from(run.count()).unwrap_or(0) != step.count {
        return Err(SealError::Refused("chunk with missing segments").into());
    }
    for (index, segment) in (0..run.count()).zip(step.first..) {
        let sealed = run.segment_mut(index).ok_or(SealError::Refused("segment"))?;
        body.opener.open(segment, sealed).inspect_err(|error| report(body, segment, error))?;
    }
    let (buffer, ranges) = run.into_parts();
    Ok(pieces(buffer, ranges, &step))
}

/// Slices the plaintext out of an opened run: each segment's bytes before its tag, cut to the step.
fn pieces(buffer: PooledBuffer, ranges: Vec<Range<usize>>, step: &Step) -> Vec<Bytes> {
    let whole = Bytes::from_owner(buffer);
    let (mut skip, mut give) = (step.skip, step.give);
    let mut out = Vec::with_capacity(ranges.len());
    for range in ranges {
        let plain = range.len().saturating_sub(storage::geometry::TAG);
        let from = skip.min(plain);
        let take = (plain - from).min(give);
        skip -= from;
        give -= take;
        if take > 0 {
            out.push(whole.slice(range.start + from..range.start + from + take));
        }
    }
    out
}

fn open_inline(body: &Opened, sealed: Bytes) -> Result<Bytes, Error> {
    if segments_of(body.length) != 1 {
        return Err(SealError::Refused("inline body").into());
    }
    let mut data = sealed.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    let plain = body.opener.open(0, &mut data).inspect_err(|error| report(body, 0, error))?.len();
    data.truncate(plain);
    Ok(data.freeze())
}

fn report(body: &Opened, segment: u64, error: &SealError) {
    metrics::counter!("gotgan_segments_refused_total").increment(1);
    tracing::error!(body = %body.body, segment, %error, "a segment does not open: not served");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies(lengths: &[u64]) -> Vec<ManifestBody> {
        lengths
            .iter()
            .zip(1..)
            .map(|(length, number)| ManifestBody {
                number,
                body: BodyId::from_bytes([7; 16]),
                length: *length,
                location: Location::Inline,
                envelope: Vec::new(),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_plan_covers_its_range_once(lengths in proptest::collection::vec(0..9_000_000_u64, 1..5), a in 0..30_000_000_u64, b in 0..30_000_000_u64) {
            let total: u64 = lengths.iter().sum();
            let range = a.min(b).min(total)..a.max(b).min(total);
            let steps = plan(&bodies(&lengths), &range);
            let given: u64 = steps.iter().map(|s| s.give as u64).sum();
            prop_assert_eq!(given, range.end - range.start);
            for step in &steps {
                prop_assert!(step.count >= 1 && step.count <= RUN && step.skip < SEGMENT_PLAIN);
                prop_assert_eq!(step.first / 64, (step.first + step.count - 1) / 64, "one chunk");
                prop_assert!(step.skip as u64 + step.give as u64 <= step.count * SEGMENT_PLAIN as u64);
            }
        }
    }
}
