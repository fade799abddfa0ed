//! Takes `aws-chunked` framing off, piece by piece: content passes as it arrives, and only lines are held.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::chain::Chain;

/// Longest line: a chunk header, or one trailer.
const LINE_MAX: usize = 1024;
const TRAILERS_MAX: usize = 16;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// The framing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// It is no framing.
    #[error("FormatError: aws-chunked framing: {0}")]
    Format(&'static str),
    /// It ends before its last chunk.
    #[error("Incomplete: the aws-chunked framing has no end")]
    Incomplete,
    /// A chunk or the trailers are not what was signed.
    #[error("SignatureMismatch: of a chunk")]
    SignatureMismatch,
}

use FramingError::Format;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What the frames of a body must be.
#[derive(Debug)]
enum Signed {
    No,
    /// Each chunk; trailers only where they were announced.
    Chunks {
        chain: Box<Chain>,
        trailers: bool,
    },
}

/// Takes framing off a body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: BytesMut,
    trailers: HeaderMap,
    signed: Signed,
    /// What the chunk in hand claims, or the trailers.
    signature: String,
}

impl Default for Decoder {
    fn default() -> Self {
        let (line, trailers) = (BytesMut::new(), HeaderMap::new());
        Self { state: State::Size, line, trailers, signed: Signed::No, signature: String::new() }
    }
}

impl Decoder {
    /// A decoder of frames that are signed, with signed trailers or without any.
    #[must_use]
    pub fn signed(chain: Chain, trailers: bool) -> Self {
        Self { signed: Signed::Chunks { chain: Box::new(chain), trailers }, ..Self::default() }
    }

    /// Takes the next content off the front of `input`; none when all of it is used up.
    ///
    /// # Errors
    /// [`FramingError`]. Content that came before is not to be used then.
    pub fn piece(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FramingError> {
        while !input.is_empty() {
            match self.state {
                State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let content = input.split_to(take);
                    self.pass(&content, left - u64::try_from(take).unwrap_or(left))?;
                    return Ok(Some(content));
                }
                State::Done => return Err(Format("bytes behind the end")),
                State::Size | State::DataEnd | State::Trailers => {
                    if let Some(line) = self.line(input)? {
                        self.take_line(&line)?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// The trailers, when the body is complete.
    ///
    /// # Errors
    /// [`FramingError`] when it is not.
    pub fn finish(self) -> Result<HeaderMap, FramingError> {
        match self.state {
            State::Done => {}
            // Some clients leave out the empty line behind the last chunk.
            State::Trailers if self.line.is_empty() => {}
            _ => return Err(FramingError::Incomplete),
        }
        if let Signed::Chunks { chain, .. } = &self.signed
            && !self.trailers.is_empty()
        {
            chain.end_trailers(&self.trailers, &self.signature)?;
        }
        Ok(self.trailers)
    }

    /// Content passes; `left` bytes of its chunk are to come.
    fn pass(&mut self, content: &[u8], left: u64) -> Result<(), FramingError> {
        self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        if let Signed::Chunks { chain, .. } = &mut self.signed {
            chain.update(content);
            if left == 0 {
                chain.end_chunk(&self.signature)?;
            }
        }
        Ok(())
    }

    /// A whole line without its end, once there is one.
    fn line(&mut self, input: &mut Bytes) -> Result<Option<BytesMut>, FramingError> {
        let end = input.iter().position(|b| *b == b'\n');
        let piece = input.split_to(end.unwrap_or(input.len()));
        if self.line.len() + piece.len() > LINE_MAX {
            return Err(Format("a line is too long"));
        }
        self.line.extend_from_slice(&piece);
        if end.is_none() {
            return Ok(None);
        }
        input.advance(1);
        let mut line = std::mem::take(&mut self.line);
        match line.last() {
            Some(b'\r') => line.truncate(line.len() - 1),
            _ => return Err(Format("a line does not end in CR LF")),
        }
        Ok(Some(line))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), FramingError> {
        match self.state {
            State::DataEnd if line.is_empty() => self.state = State::Size,
            State::DataEnd => return Err(Format("a chunk is longer than its header says")),
            State::Trailers if line.is_empty() => self.state = State::Done,
            State::Trailers => self.trailer(line)?,
            _ => self.chunk_header(line)?,
        }
        Ok(())
    }

    fn chunk_header(&mut self, line: &[u8]) -> Result<(), FramingError> {
        let text = std::str::from_utf8(line).map_err(|_| Format("a chunk header is no text"))?;
        let (digits, extension) = text.split_once(';').unwrap_or((text, ""));
        let digits = Some(digits).filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit()));
        let size = digits.and_then(|t| u64::from_str_radix(t, 16).ok()).ok_or(Format("a chunk header is no size"))?;
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        if let Signed::Chunks { chain, .. } = &mut self.signed {
            let signature = extension.strip_prefix("chunk-signature=").ok_or(Format("a chunk is not signed"))?;
            if size == 0 {
                chain.end_chunk(signature)?;
            } else {
                signature.clone_into(&mut self.signature);
            }
        }
        Ok(())
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), FramingError> {
        const SHAPE: FramingError = Format("a trailer is no header");
        if matches!(self.signed, Signed::Chunks { trailers: false, .. }) {
            return Err(Format("a trailer that was not announced"));
        }
        let text = std::str::from_utf8(line).map_err(|_| SHAPE)?;
        let (name, value) = text.split_once(':').ok_or(SHAPE)?;
        let name: HeaderName = name.trim().to_ascii_lowercase().parse().map_err(|_| SHAPE)?;
        let value: HeaderValue = value.trim().parse().map_err(|_| SHAPE)?;
        if self.trailers.len() >= TRAILERS_MAX {
            return Err(Format("too many trailers"));
        }
        if name == TRAILER_SIGNATURE && matches!(self.signed, Signed::Chunks { .. }) {
            self.signature = value.to_str().map_err(|_| SHAPE)?.to_owned();
        } else if self.trailers.insert(name, value).is_some() {
            return Err(Format("a trailer comes twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(framed: &[u8], cuts: usize) -> Result<(Vec<u8>, HeaderMap), FramingError> {
        run(Decoder::default(), framed, cuts)
    }

    fn run(mut decoder: Decoder, framed: &[u8], cuts: usize) -> Result<(Vec<u8>, HeaderMap), FramingError> {
        let mut out = Vec::new();
        for piece in framed.chunks(cuts.max(1)) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(content) = decoder.piece(&mut piece)? {
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
            "0\r\na:1\r\na:1\r\n\r\n",
        ] {
            assert!(decode(bad.as_bytes(), 4).is_err(), "{bad:?}");
        }
        assert!(decode(&[b'1'; 5000], 100).is_err());
        assert!(decode(&[&b"0\r\n"[..], &b"a:1\r\n".repeat(2)].concat(), 100).is_err());
        assert_eq!(decode(b"3\r\nabc\r\n0\r\n", 2).unwrap().0, b"abc");
    }

    /// No chunk is held, however long it says it is.
    #[test]
    fn content_passes_before_its_chunk_ends() {
        let mut decoder = Decoder::default();
        let mut input = Bytes::from_static(b"ffffffff\r\nabc");
        assert_eq!(decoder.piece(&mut input).unwrap().as_deref(), Some(&b"abc"[..]));
        assert_eq!(decoder.piece(&mut input).unwrap(), None);
    }

    #[test]
    fn trailers_have_bounds() {
        let trailers = |count: usize| (0..count).map(|n| format!("x-{n}:1\r\n")).collect::<String>();
        assert!(decode(format!("0\r\n{}\r\n", trailers(16)).as_bytes(), 9).is_ok());
        assert!(decode(format!("0\r\n{}\r\n", trailers(17)).as_bytes(), 9).is_err());
        assert!(decode(format!("0\r\nx:{}\r\n\r\n", "1".repeat(1100)).as_bytes(), 9).is_err());
        assert!(decode(format!("3;{}\r\nabc\r\n0\r\n\r\n", "1".repeat(1100)).as_bytes(), 9).is_err());
    }

    #[test]
    fn signed_frames_are_what_was_signed() {
        let signed = |trailers| {
            let authorization =
                "AWS4-HMAC-SHA256 Credential=A/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=00";
            Decoder::signed(Chain::begin("secret", "20130524T000000Z", authorization).unwrap(), trailers)
        };
        assert_eq!(run(signed(false), b"3\r\nabc\r\n0\r\n\r\n", 9), Err(Format("a chunk is not signed")));
        let wrong = format!("3;chunk-signature={}\r\nabc\r\n", "0".repeat(64));
        assert_eq!(run(signed(true), wrong.as_bytes(), 9), Err(FramingError::SignatureMismatch));
        let wrong = format!("0;chunk-signature={}\r\n\r\n", "0".repeat(64));
        assert_eq!(run(signed(true), wrong.as_bytes(), 9), Err(FramingError::SignatureMismatch));
    }
}
