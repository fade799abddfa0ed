//! The write pipeline of one body: stream -> checksums beside sealing -> chunks -> durable.
//!
//! Plaintext lives in a `PlainBuffer` until [`BodySealer`] has been over it; what leaves this file
//! is sealed bytes and digests. A body that breaks off leaves no row anywhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::checksum::{Algorithm, Checksum, Hasher};
use crate::digest::md5::{Announced, Md5Stream, md5_now};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use policy::id::{BodyId, BucketId, TenantId};
use s3s::{S3ErrorCode, StdError};
use storage::buffer::PooledBuffer;
use storage::catalog::{Location, ManifestBody, NewBody};
use storage::chunk::{ChunkId, SealedChunk};
use storage::chunks::{BodyWriter, Claim, Receipts};
use storage::error::StoreError;
use storage::geometry::{INLINE_MAX, SEGMENT_PLAIN, SEGMENTS_PER_CHUNK, STRIDE, TAG};
use storage::placement::{Placement, PlacementError};

use crate::clock;
use crate::context::RequestContext;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::seal::body::{BodySealer, segments_of};
use crate::seal::key::random;
use crate::seal::{SecretKey, VersionKey};

/// A body must bring [`WINDOW_BYTES`] in each window, or end: else a few clients that drip bytes would
/// hold every buffer (slow loris).
const WINDOW: Duration = Duration::from_secs(30);
/// About 4 KiB per second.
const WINDOW_BYTES: usize = 128 * 1024;
/// Below this, MD5 is done at once: a hop would cost more than the hash.
const MD5_INLINE_MAX: u64 = 16 * 1024;
/// Pool of embedded mode; more come with storage classes.
pub const POOL: u16 = 0;

/// Where a body goes and under which key.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its bucket.
    pub bucket: BucketId,
    /// The version key that wraps its data key.
    pub key: &'a VersionKey,
    /// Part number, 1 for a single body.
    pub number: u32,
    /// The stores that policy admits.
    pub placement: &'a Placement,
}

/// What arrived and is durable, or travels with the commit (inline).
#[derive(Debug)]
pub struct Received {
    /// Its row.
    pub body: NewBody,
    /// Its place in the manifest.
    pub manifest: ManifestBody,
    /// MD5 of the plaintext.
    pub md5: [u8; 16],
    /// The checksum that was asked for.
    pub checksum: Option<Checksum>,
    /// Of a body in chunks: to be settled by the commit, else the collector takes the body.
    pub claim: Option<Claim>,
    /// Until the request is answered.
    pub announced: Option<Announced>,
}

/// Receives a body of exactly `length` bytes.
///
/// # Errors
/// `Client` when the client sends more, less or nothing; `Store` when chunks cannot be kept.
pub async fn receive<S>(
    gateway: &Gateway,
    target: &Target<'_>,
    arriving: Arriving<'_, S>,
    length: u64,
    algorithm: Option<Algorithm>,
) -> Result<Received, Error>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    let announced = (length > MD5_INLINE_MAX).then(|| gateway.md5.body());
    let body = BodyId::time_ordered(clock::now().0, random()?);
    let data_key = SecretKey::random()?;
    let envelope = target.key.wrap_data_key(target.tenant, target.bucket, *body.as_bytes(), &data_key)?;
    let sealer = BodySealer::new(target.key.suite(), &data_key, body, length)?;
    let hashing = Hashing::new(gateway, length, algorithm);
    let inline = usize::try_from(length).is_ok_and(|n| n <= INLINE_MAX);
    let Done { new_body, md5, checksum, claim } = if inline {
        receive_inline(body, sealer, arriving, length, hashing).await?
    } else {
        receive_chunks(gateway, target.placement, body, sealer, arriving, length, hashing).await?
    };
    let location = new_body.location;
    let manifest = ManifestBody { number: target.number, body, length, location, envelope };
    Ok(Received { body: new_body, manifest, md5, checksum, claim, announced })
}

/// A body that arrived whole.
struct Done {
    new_body: NewBody,
    md5: [u8; 16],
    checksum: Option<Checksum>,
    claim: Option<Claim>,
}

async fn receive_inline<S>(
    body: BodyId,
    mut sealer: BodySealer,
    mut arriving: Arriving<'_, S>,
    length: u64,
    mut hashing: Hashing,
) -> Result<Done, Error>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    let mut plain = PlainBuffer::new(Vec::with_capacity(size + TAG));
    while let Some(bytes) = arriving.next().await? {
        if plain.0.len() + bytes.len() > size {
            return Err(too_long());
        }
        plain.0.extend_from_slice(&bytes);
        hashing.update(bytes).await;
    }
    if plain.0.len() != size {
        return Err(too_short());
    }
    plain.0.resize(size + TAG, 0);
    sealer.seal_next(&mut plain.0, size)?;
    let sealed = plain.sealed();
    let (md5, checksum) = hashing.finish().await?;
    let sealed_bytes = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
    let new_body = NewBody {
        id: body,
        location: Location::Inline,
        sealed_bytes,
        digest: [0; 32],
        inline: Some(Bytes::from(sealed)),
    };
    Ok(Done { new_body, md5, checksum, claim: None })
}

async fn receive_chunks<S>(
    gateway: &Gateway,
    placement: &Placement,
    body: BodyId,
    sealer: BodySealer,
    mut arriving: Arriving<'_, S>,
    length: u64,
    mut hashing: Hashing,
) -> Result<Done, Error>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    let writer = gateway.chunks.begin(placement, body)?;
    let mut filler = Filler {
        gateway,
        writer,
        sealer,
        body,
        left: length,
        number: 0,
        buffer: None,
        segment: 0,
        filled: 0,
        sealed_bytes: 0,
    };
    while let Some(bytes) = arriving.next().await? {
        filler.take(&bytes).await?;
        hashing.update(bytes).await;
    }
    let (receipts, hashes) = futures::join!(filler.finish(), hashing.finish());
    let ((receipts, claim, sealed_bytes), (md5, checksum)) = (receipts?, hashes?);
    let digest = receipts.digest;
    let new_body = NewBody { id: body, location: Location::Chunks { pool: POOL }, sealed_bytes, digest, inline: None };
    Ok(Done { new_body, md5, checksum, claim: Some(claim) })
}

/// Fills pooled buffers with plaintext, seals each segment where it lies, ships full chunks.
struct Filler<'a> {
    gateway: &'a Gateway,
    writer: BodyWriter,
    sealer: BodySealer,
    body: BodyId,
    left: u64,
    number: u32,
    buffer: Option<PooledBuffer>,
    segment: u32,
    filled: usize,
    sealed_bytes: u64,
}

impl Filler<'_> {
    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > self.left {
            return Err(too_long());
        }
        while !bytes.is_empty() {
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => self.gateway.pool.chunk(self.segments_left()).await.map_err(StoreError::from)?,
            };
            let room = (SEGMENT_PLAIN - self.filled).min(bytes.len());
            let (piece, rest) = bytes.split_at(room);
            let at = self.offset() + self.filled;
            buffer[at..at + room].copy_from_slice(piece);
            bytes = rest;
            self.filled += room;
            self.left -= u64::try_from(room).unwrap_or(self.left);
            self.buffer = Some(buffer);
            if self.filled == SEGMENT_PLAIN || self.left == 0 {
                self.seal_segment().await?;
            }
        }
        Ok(())
    }

    /// Segments of the chunk that begins now.
    fn segments_left(&self) -> u32 {
        u32::try_from(segments_of(self.left)).map_or(SEGMENTS_PER_CHUNK, |n| n.min(SEGMENTS_PER_CHUNK))
    }

    fn offset(&self) -> usize {
        usize::try_from(self.segment).unwrap_or(0) * STRIDE
    }

    async fn seal_segment(&mut self) -> Result<(), Error> {
        let at = self.offset();
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let sealed = self.sealer.seal_next(&mut buffer[at..at + SEGMENT_PLAIN + TAG], self.filled)?;
        self.segment += 1;
        self.filled = 0;
        if self.segment == SEGMENTS_PER_CHUNK || self.left == 0 {
            let id = ChunkId { body: self.body, number: self.number };
            let last = u32::try_from(sealed).unwrap_or(u32::MAX);
            let chunk = SealedChunk::from_sealed(id, buffer, self.segment, last);
            self.sealed_bytes += u64::from(self.segment - 1) * (SEGMENT_PLAIN + TAG) as u64 + u64::from(last);
            self.writer.write(chunk).await?;
            self.number += 1;
            self.segment = 0;
        } else {
            self.buffer = Some(buffer);
        }
        Ok(())
    }

    async fn finish(self) -> Result<(Receipts, Claim, u64), Error> {
        if self.left != 0 || !self.sealer.is_complete() {
            return Err(too_short());
        }
        let (receipts, claim) = self.writer.finish().await?;
        Ok((receipts, claim, self.sealed_bytes))
    }
}

/// Plaintext of a small body; wiped unless it was sealed in place.
struct PlainBuffer(Vec<u8>);

impl PlainBuffer {
    fn new(buffer: Vec<u8>) -> Self {
        Self(buffer)
    }

    /// To be called after the sealer has been over all of it.
    fn sealed(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for PlainBuffer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// MD5 and one checksum of the same bytes.
struct Hashing {
    md5: Md5Of,
    checksum: Option<Hasher>,
}

enum Md5Of {
    Small(Vec<Bytes>),
    Stream(Md5Stream),
}

impl Hashing {
    fn new(gateway: &Gateway, length: u64, algorithm: Option<Algorithm>) -> Self {
        let md5 = if length <= MD5_INLINE_MAX { Md5Of::Small(Vec::new()) } else { Md5Of::Stream(gateway.md5.stream()) };
        Self { md5, checksum: algorithm.map(Hasher::new) }
    }

    async fn update(&mut self, bytes: Bytes) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&bytes);
        }
        match &mut self.md5 {
            Md5Of::Small(pieces) => pieces.push(bytes),
            Md5Of::Stream(stream) => stream.update(bytes).await,
        }
    }

    async fn finish(self) -> Result<([u8; 16], Option<Checksum>), Error> {
        let md5 = match self.md5 {
            Md5Of::Small(pieces) => match pieces.as_slice() {
                [one] => md5_now(one),
                many => md5_now(&many.concat()),
            },
            Md5Of::Stream(stream) => stream.finish().await.ok_or(StoreError::Stopped)?,
        };
        Ok((md5, self.checksum.map(Hasher::finish)))
    }
}

/// A body as it arrives, no slower than it may. Only time spent waiting for the client counts.
#[derive(Debug)]
pub struct Arriving<'a, S> {
    stream: &'a mut S,
    /// None for what the store itself brings, which has deadlines of its own.
    patience: Option<Duration>,
    bytes: usize,
}

impl<'a, S> Arriving<'a, S>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    /// From a client.
    pub const fn of_client(stream: &'a mut S) -> Self {
        Self { stream, patience: Some(WINDOW), bytes: 0 }
    }

    /// From another object.
    pub const fn of_store(stream: &'a mut S) -> Self {
        Self { stream, patience: None, bytes: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let asked = Instant::now();
        let next = match self.patience {
            Some(patience) => tokio::time::timeout(patience, self.stream.next()).await,
            None => Ok(self.stream.next().await),
        };
        match next {
            Err(_) => Err(Error::client(
                S3ErrorCode::RequestTimeout,
                "Your socket connection to the server was not read from or written to within the timeout period.",
            )),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(broken(error)),
            Ok(Some(Ok(bytes))) => {
                if let Some(context) = RequestContext::current() {
                    context.moves();
                }
                if let Some(patience) = &mut self.patience {
                    *patience = patience.saturating_sub(asked.elapsed());
                    self.bytes += bytes.len();
                    if self.bytes >= WINDOW_BYTES {
                        (self.bytes, *patience) = (0, WINDOW);
                    }
                }
                Ok(Some(bytes))
            }
        }
    }
}

/// `s3s` keeps the types of its stream errors private; their texts name the case.
fn broken(error: StdError) -> Error {
    // What the store says of an object that is copied is not the client's fault.
    let error = match error.downcast::<Error>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    let text = error.to_string();
    let (code, message) = if text.contains("SignatureMismatch") {
        (
            S3ErrorCode::SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided.",
        )
    } else if text.contains("Sha256Mismatch") {
        (
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if text.contains("LengthMismatch")
        || text.contains("FormatError")
        || text.contains("TooLarge")
        || text.contains("TooMany")
    {
        (S3ErrorCode::InvalidRequest, "The body does not match the chunk framing that the headers announce")
    } else {
        return too_short();
    };
    Error::client(code, message)
}

fn too_long() -> Error {
    Error::client(S3ErrorCode::InvalidRequest, "The request body is longer than its headers announce")
}

fn too_short() -> Error {
    Error::client(
        S3ErrorCode::IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

/// The placement of new bodies: the stores that the permit's residency admits.
///
/// # Errors
/// `Placement` when no store may keep them, or there is no room for their rows.
pub fn place(gateway: &Arc<Gateway>, permit: &policy::decide::Permit) -> Result<Placement, Error> {
    if !gateway.catalog.has_room() {
        return Err(PlacementError::Full.into());
    }
    Ok(Placement::decide(permit, &[gateway.chunks.facts()], POOL.into())?)
}
