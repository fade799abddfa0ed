//! How a body is sent and signed: whole, unsigned, or in `aws-chunked` frames with signatures,
//! trailers or both.

use bytes::Bytes;

use crate::clock::Moment;
use crate::sign::Signer;

/// How the payload takes part in the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// SHA-256 of the whole body.
    Whole,
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// `UNSIGNED-PAYLOAD` with the body in unsigned `aws-chunked` frames (as one SDK does).
    UnsignedFrames,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    SignedFrames,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER` with this trailing header.
    SignedTrailer(String, String),
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER` with this trailing header.
    UnsignedTrailer(String, String),
    /// A value of `x-amz-content-sha256` of the test's own making; the body goes as it is.
    Claimed(String),
}

/// Bytes of one frame, as the SDKs choose it.
pub const FRAME: usize = 64 * 1024;

impl Payload {
    /// The value of `x-amz-content-sha256`.
    #[must_use]
    pub fn name(&self, body: &[u8]) -> String {
        match self {
            Self::Whole => crate::sums::sha256_hex(body),
            Self::Unsigned | Self::UnsignedFrames => "UNSIGNED-PAYLOAD".to_owned(),
            Self::SignedFrames => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            Self::SignedTrailer(..) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
            Self::UnsignedTrailer(..) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
            Self::Claimed(text) => text.clone(),
        }
    }

    /// True when the body goes in frames.
    #[must_use]
    pub const fn framed(&self) -> bool {
        !matches!(self, Self::Whole | Self::Unsigned | Self::Claimed(_))
    }

    /// Headers that announce the frames.
    #[must_use]
    pub fn headers(&self, decoded: usize) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        if self.framed() {
            headers.push(("content-encoding".to_owned(), "aws-chunked".to_owned()));
            headers.push(("x-amz-decoded-content-length".to_owned(), decoded.to_string()));
        }
        if let Self::SignedTrailer(name, _) | Self::UnsignedTrailer(name, _) = self {
            headers.push(("x-amz-trailer".to_owned(), name.clone()));
        }
        headers
    }

    /// The body as it goes over the wire, given the signature of the headers.
    #[must_use]
    pub fn encode(&self, body: &Bytes, signer: &Signer, at: Moment, seed: &str) -> Bytes {
        match self {
            Self::Whole | Self::Unsigned | Self::Claimed(_) => body.clone(),
            Self::UnsignedFrames => unsigned(body, None),
            Self::UnsignedTrailer(name, value) => unsigned(body, Some((name, value))),
            Self::SignedFrames => signed(body, signer, (at, seed), None),
            Self::SignedTrailer(name, value) => signed(body, signer, (at, seed), Some((name, value))),
        }
    }
}

type Trailer<'a> = Option<(&'a String, &'a String)>;

fn unsigned(body: &[u8], trailer: Trailer<'_>) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + body.len() / 1000 + 200);
    for piece in body.chunks(FRAME) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    if let Some((name, value)) = trailer {
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

fn signed(body: &[u8], signer: &Signer, seed: (Moment, &str), trailer: Trailer<'_>) -> Bytes {
    let (at, mut before) = (seed.0, seed.1.to_owned());
    let mut out = Vec::with_capacity(body.len() + body.len() / 400 + 600);
    for piece in body.chunks(FRAME).chain(std::iter::once(&[][..])) {
        before = signer.chunk(at, &before, piece);
        out.extend_from_slice(format!("{:x};chunk-signature={before}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        if !piece.is_empty() || trailer.is_none() {
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some((name, value)) = trailer {
        let signature = signer.trailer(at, &before, &format!("{name}:{value}\n"));
        let text = format!("{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n\r\n");
        out.extend_from_slice(text.as_bytes());
    }
    out.into()
}
