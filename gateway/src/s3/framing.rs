//! `aws-chunked` framing without signatures (AWS: "Transferring payload in multiple chunks"). `s3s`
//! decodes what `x-amz-content-sha256` announces; some clients frame the body and announce
//! UNSIGNED-PAYLOAD (S3.md trap 3). Stored bytes never contain framing.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::StreamingBlob;
use s3s::{S3Result, StdError, TrailingHeaders};

use super::put::length_of;

/// Longest line: a chunk header, or one trailer.
const LINE_MAX: usize = 1024;
const TRAILERS_MAX: usize = 16;

/// The framing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("FormatError: aws-chunked framing: {0}")]
pub struct FramingError(&'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// Takes framing off a body, piece by piece.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: BytesMut,
    trailers: HeaderMap,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size, line: BytesMut::new(), trailers: HeaderMap::new() }
    }
}

impl Decoder {
    /// Takes the next bytes and gives the content in them.
    ///
    /// # Errors
    /// [`FramingError`].
    pub fn feed(&mut self, mut input: Bytes) -> Result<Vec<Bytes>, FramingError> {
        let mut out = Vec::new();
        while !input.is_empty() {
            match self.state {
                State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    out.push(input.split_to(take));
                    let left = left - u64::try_from(take).unwrap_or(left);
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                }
                State::Done => return Err(FramingError("bytes behind the end")),
                State::Size | State::DataEnd | State::Trailers => {
                    if let Some(line) = self.line(&mut input)? {
                        self.take_line(&line)?;
                    }
                }
            }
        }
        Ok(out)
    }

    /// The trailers, when the body is complete.
    ///
    /// # Errors
    /// [`FramingError`] when it is not.
    pub fn finish(self) -> Result<HeaderMap, FramingError> {
        match self.state {
            State::Done => Ok(self.trailers),
            // Some clients leave out the empty line behind the last chunk.
            State::Trailers if self.line.is_empty() => Ok(self.trailers),
            _ => Err(FramingError("it ends too early")),
        }
    }

    /// A whole line without its end, once there is one.
    fn line(&mut self, input: &mut Bytes) -> Result<Option<BytesMut>, FramingError> {
        let end = input.iter().position(|b| *b == b'\n');
        let piece = input.split_to(end.unwrap_or(input.len()));
        if self.line.len() + piece.len() > LINE_MAX {
            return Err(FramingError("a line is too long"));
        }
        self.line.extend_from_slice(&piece);
        if end.is_none() {
            return Ok(None);
        }
        input.advance(1);
        let mut line = std::mem::take(&mut self.line);
        match line.last() {
            Some(b'\r') => line.truncate(line.len() - 1),
            _ => return Err(FramingError("a line does not end in CR LF")),
        }
        Ok(Some(line))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), FramingError> {
        match self.state {
            State::DataEnd if line.is_empty() => self.state = State::Size,
            State::DataEnd => return Err(FramingError("a chunk is longer than its header says")),
            State::Trailers if line.is_empty() => self.state = State::Done,
            State::Trailers => self.trailer(line)?,
            _ => {
                let digits = line.split(|b| *b == b';').next().unwrap_or_default();
                let text = std::str::from_utf8(digits)
                    .ok()
                    .filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit()));
                let size = text
                    .and_then(|t| u64::from_str_radix(t, 16).ok())
                    .ok_or(FramingError("a chunk header is no size"))?;
                self.state = if size == 0 { State::Trailers } else { State::Data(size) };
            }
        }
        Ok(())
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), FramingError> {
        const SHAPE: FramingError = FramingError("a trailer is no header");
        let text = std::str::from_utf8(line).map_err(|_| SHAPE)?;
        let (name, value) = text.split_once(':').ok_or(SHAPE)?;
        let name: HeaderName = name.trim().to_ascii_lowercase().parse().map_err(|_| SHAPE)?;
        let value: HeaderValue = value.trim().parse().map_err(|_| SHAPE)?;
        if self.trailers.len() >= TRAILERS_MAX {
            return Err(FramingError("too many trailers"));
        }
        self.trailers.insert(name, value);
        Ok(())
    }
}

/// A body as the pipeline wants it: content without framing, its length, its trailers afterwards.
pub(super) struct Content {
    pub stream: BoxStream<'static, Result<Bytes, StdError>>,
    pub length: u64,
    trailers: Trailers,
}

enum Trailers {
    None,
    Decoded(TrailingHeaders),
    Own(Arc<Mutex<Option<HeaderMap>>>),
}

impl Content {
    pub(super) fn of(
        headers: &HeaderMap,
        body: Option<StreamingBlob>,
        length: Option<i64>,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let decoded = headers.get("x-amz-decoded-content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        if !is_framed(headers) {
            let trailers = trailers.map_or(Trailers::None, Trailers::Decoded);
            // Over HTTP chunks there is no Content-Length, only that of the content (S3.md trap 32).
            return Ok(Self { stream: body.boxed(), length: length_of(length.or(decoded))?, trailers });
        }
        let found = Arc::new(Mutex::new(None));
        Ok(Self {
            stream: unframed(body, Arc::clone(&found)),
            length: length_of(decoded)?,
            trailers: Trailers::Own(found),
        })
    }

    /// Trailers, once the stream has ended.
    pub(super) fn into_trailers(self) -> Option<HeaderMap> {
        match self.trailers {
            Trailers::None => None,
            Trailers::Decoded(trailers) => trailers.take(),
            Trailers::Own(found) => found.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

/// Framed, and not announced in a way that `s3s` decodes.
fn is_framed(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let announced = text("x-amz-content-sha256").starts_with("STREAMING-");
    let framed = text("content-encoding").split(',').any(|c| c.trim().eq_ignore_ascii_case("aws-chunked"));
    !announced && framed && headers.contains_key("x-amz-decoded-content-length")
}

fn unframed(body: StreamingBlob, found: Arc<Mutex<Option<HeaderMap>>>) -> BoxStream<'static, Result<Bytes, StdError>> {
    let start = Some((body, Decoder::default()));
    futures::stream::unfold(start, move |state| {
        let found = Arc::clone(&found);
        async move {
            let (mut body, mut decoder) = state?;
            match body.next().await {
                Some(Err(error)) => Some((vec![Err(error)], None)),
                Some(Ok(bytes)) => match decoder.feed(bytes) {
                    Ok(pieces) => Some((pieces.into_iter().map(Ok).collect(), Some((body, decoder)))),
                    Err(error) => Some((vec![Err(error.into())], None)),
                },
                None => match decoder.finish() {
                    Ok(trailers) => {
                        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(trailers);
                        None
                    }
                    Err(error) => Some((vec![Err(error.into())], None)),
                },
            }
        }
    })
    .flat_map(futures::stream::iter)
    .boxed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(framed: &[u8], cuts: usize) -> Result<(Vec<u8>, HeaderMap), FramingError> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for piece in framed.chunks(cuts.max(1)) {
            for content in decoder.feed(Bytes::copy_from_slice(piece))? {
                out.extend_from_slice(&content);
            }
        }
        Ok((out, decoder.finish()?))
    }

    proptest! {
        #[test]
        fn content_comes_back_however_it_is_cut(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..8), cuts in 1..300_usize) {
            let mut framed = Vec::new();
            for chunk in &chunks {
                framed.extend_from_slice(format!("{:x};chunk-signature=abc\r\n", chunk.len()).as_bytes());
                framed.extend_from_slice(chunk);
                framed.extend_from_slice(b"\r\n");
            }
            framed.extend_from_slice(b"0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n");
            let (content, trailers) = decode(&framed, cuts).unwrap();
            prop_assert_eq!(content, chunks.concat());
            prop_assert_eq!(&trailers["x-amz-checksum-crc32"], "AAAAAA==");
        }

        #[test]
        fn any_bytes_are_no_panic(bytes: Vec<u8>, cuts in 1..50_usize) {
            let _decoded = decode(&bytes, cuts);
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for bad in [
            "5\r\nabc",
            "zz\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\nabc\r\n",
            "0\r\n\r\nmore",
            "3\r\nabc\r\n",
            "",
            "-1\r\n",
            "fffffffffffffffff\r\n",
        ] {
            assert!(decode(bad.as_bytes(), 4).is_err(), "{bad:?}");
        }
        assert!(decode(&[b'1'; 5000], 100).is_err());
        assert_eq!(decode(b"3\r\nabc\r\n0\r\n", 2).unwrap().0, b"abc");
    }
}
