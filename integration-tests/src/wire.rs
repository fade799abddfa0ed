//! HTTP/1.1 on a bare socket: what is sent is exactly what the test wrote, and what comes back is
//! read as it comes, so that a test can stop in the middle.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::xml;

/// A server that says nothing for so long has failed the test.
const SILENCE: Duration = Duration::from_secs(120);

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<TcpStream>,
}

/// Status line and headers of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(to)?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self { stream: BufReader::with_capacity(256 * 1024, stream) })
    }

    /// Connects from an address of this machine.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::new(from, 0))?;
        connect(&socket, &to)?;
        Self::over(TcpStream::from(socket))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the system says; a server that has answered early may have closed its side.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The way out alone, for another thread to send on while this one reads.
    ///
    /// # Errors
    /// What the system says.
    pub fn sender(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// Reads the head of the next answer, `100 Continue` included.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server closed instead, `InvalidData` when it is not HTTP.
    pub fn head(&mut self) -> io::Result<Head> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.clone()))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the body that belongs to `head` and gives it to `sink` piece by piece; returns how
    /// many bytes came.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection broke before the promised end.
    pub fn body(&mut self, head: &Head, mut sink: impl FnMut(&[u8])) -> io::Result<u64> {
        if head.header("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
            return self.chunked(&mut sink);
        }
        match head.header("content-length").and_then(|l| l.parse().ok()) {
            Some(length) => self.exactly(length, &mut sink),
            None => self.read_to_end(&mut sink),
        }
    }

    fn chunked(&mut self, sink: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, line))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(total);
            }
            total += self.exactly(size, sink)?;
            self.line()?;
        }
    }

    fn exactly(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let mut left = length;
        while left > 0 {
            let buffer = self.stream.fill_buf()?;
            if buffer.is_empty() {
                let text = format!("{left} of {length} bytes never came");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            let take = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&buffer[..take]);
            self.stream.consume(take);
            left -= take as u64;
        }
        Ok(length)
    }

    fn read_to_end(&mut self, sink: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let buffer = self.stream.fill_buf()?;
            if buffer.is_empty() {
                return Ok(total);
            }
            let take = buffer.len();
            sink(buffer);
            self.stream.consume(take);
            total += take as u64;
        }
    }

    /// Reads an answer to a request of this method, passing over `100 Continue`.
    ///
    /// # Errors
    /// Those of [`Self::head`] and [`Self::body`].
    pub fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let head = loop {
            let head = self.head()?;
            if head.status != 100 {
                break head;
            }
        };
        let mut body = Vec::new();
        if method != "HEAD" && head.status != 204 && head.status != 304 {
            self.body(&head, |piece| body.extend_from_slice(piece))?;
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Waits no longer than this for the server, from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn patience(&self, at_most: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(at_most))
    }

    /// True when the server has closed its side; waits for it.
    #[must_use]
    pub fn closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.read(&mut byte), Ok(1))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

impl Head {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a header that must be there.
    #[must_use]
    pub fn must(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no header {name} in {self:?}"))
    }

    /// The ETag without its quotation marks.
    #[must_use]
    pub fn etag(&self) -> String {
        self.must("etag").trim_matches('"').to_owned()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first XML element of this name, empty when there is none.
    #[must_use]
    pub fn xml(&self, tag: &str) -> String {
        xml::first(&self.text(), tag).unwrap_or_default()
    }

    /// The texts of all XML elements of this name.
    #[must_use]
    pub fn xml_all(&self, tag: &str) -> Vec<String> {
        xml::all(&self.text(), tag)
    }

    /// Fails the test unless the status is this one.
    #[must_use = "look at the answer, or end with `.done()`"]
    pub fn status(self, wanted: u16) -> Self {
        let shown: String = self.text().chars().take(600).collect();
        assert_eq!(self.status, wanted, "headers {:?}, body {shown}", self.headers);
        self
    }

    /// Fails the test unless status and S3 error code are these.
    #[must_use = "look at the answer, or end with `.done()`"]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.status(status);
        let found = answer.xml("Code");
        assert_eq!(found, code, "body {}", answer.text());
        answer
    }

    /// Nothing more is asked of this answer.
    pub fn done(self) {}
}
