//! Sizes of format 1 (SECURITY.md rule 3, STORAGE.md rule 11), pinned by assertions.

/// Plaintext bytes of a whole segment.
pub const SEGMENT_PLAIN: usize = 65_536;
/// Bytes that sealing adds to a segment.
pub const TAG: usize = 16;
/// Sealed bytes of a whole segment.
pub const SEGMENT_SEALED: usize = SEGMENT_PLAIN + TAG;
/// Distance between stored segments: sealed and padded to a multiple of 64.
pub const STRIDE: usize = 65_600;
/// Segments of a whole chunk.
pub const SEGMENTS_PER_CHUNK: u32 = 64;
/// Plaintext bytes of a whole chunk: 4 MiB.
pub const CHUNK_PLAIN: usize = 64 * SEGMENT_PLAIN;
/// Stored bytes of a whole chunk.
pub const CHUNK_STORED: usize = 64 * STRIDE;
/// Largest body, in plaintext bytes, that the embedded catalog keeps inline.
pub const INLINE_MAX: usize = 65_536;
/// What direct I/O aligns to.
pub const BLOCK: usize = 4096;

const _: () = assert!(STRIDE.is_multiple_of(64) && STRIDE >= SEGMENT_SEALED && STRIDE - SEGMENT_SEALED < 64);
const _: () = assert!(CHUNK_STORED.is_multiple_of(BLOCK) && CHUNK_STORED == 1025 * BLOCK);
const _: () = assert!(CHUNK_PLAIN == 4 << 20);
