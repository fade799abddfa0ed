//! Requests that are built step by step, signed, and sent on a connection of their own.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::clock::Moment;
use crate::sign::{self, Signed, Signer};
use crate::stream::Payload;
use crate::wire::{Answer, Head, Wire};
use crate::xml;

/// A client with one credential.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where it sends.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Who signs.
    pub signer: Signer,
}

/// A request that is being built.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    client: &'a Client,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    raw_query: Option<String>,
    headers: Vec<(String, String)>,
    unsigned_headers: Vec<(String, String)>,
    body: Bytes,
    payload: Payload,
    at: Moment,
    anonymous: bool,
    dated: bool,
    sent_path: Option<String>,
    declared: Option<u64>,
    mangle: Option<fn(Vec<u8>) -> Vec<u8>>,
}

impl Client {
    /// A request on an object.
    #[must_use]
    pub fn object(&self, method: &str, bucket: &str, key: &str) -> Outgoing<'_> {
        self.raw(method, &format!("/{bucket}/{}", sign::encode(key, true)))
    }

    /// A request on a bucket, or on the service when `bucket` is empty.
    #[must_use]
    pub fn bucket(&self, method: &str, bucket: &str) -> Outgoing<'_> {
        self.raw(method, &format!("/{bucket}"))
    }

    /// A request on a path that is encoded already.
    #[must_use]
    pub fn raw(&self, method: &str, path: &str) -> Outgoing<'_> {
        Outgoing {
            client: self,
            method: method.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            raw_query: None,
            headers: Vec::new(),
            unsigned_headers: Vec::new(),
            body: Bytes::new(),
            payload: Payload::Whole,
            at: Moment::now(),
            anonymous: false,
            dated: false,
            sent_path: None,
            declared: None,
            mangle: None,
        }
    }

    /// Makes a bucket; it must succeed.
    pub fn make_bucket(&self, bucket: &str) {
        self.bucket("PUT", bucket).send().status(200).done();
    }

    /// Puts an object; it must succeed.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> Answer {
        self.object("PUT", bucket, key).body(body).send().status(200)
    }

    /// Gets an object.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Answer {
        self.object("GET", bucket, key).send()
    }

    /// Heads an object.
    #[must_use]
    pub fn head(&self, bucket: &str, key: &str) -> Answer {
        self.object("HEAD", bucket, key).send()
    }

    /// Gets an object, which must be there and be exactly `body`.
    pub fn must_hold(&self, bucket: &str, key: &str, body: &[u8]) {
        let answer = self.get(bucket, key).status(200);
        assert!(
            answer.body == body,
            "{key}: {} bytes came back, not the {} that went in",
            answer.body.len(),
            body.len()
        );
    }

    /// Begins a multipart upload.
    #[must_use]
    pub fn begin(&self, bucket: &str, key: &str) -> String {
        self.object("POST", bucket, key).query("uploads", "").send().status(200).xml("UploadId")
    }

    /// A request that uploads a part.
    #[must_use]
    pub fn part(&self, bucket: &str, key: &str, upload: &str, number: u32) -> Outgoing<'_> {
        self.object("PUT", bucket, key).query("partNumber", &number.to_string()).query("uploadId", upload)
    }

    /// A request that completes an upload from numbers and ETags.
    #[must_use]
    pub fn complete(&self, bucket: &str, key: &str, upload: &str, parts: &[(u32, String)]) -> Outgoing<'_> {
        let parts: String = parts
            .iter()
            .map(|(n, etag)| {
                let etag = xml::escape(&format!("\"{etag}\""));
                format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let body = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
        );
        self.object("POST", bucket, key).query("uploadId", upload).body(body)
    }

    /// A whole multipart upload; it must succeed.
    pub fn put_parts(&self, bucket: &str, key: &str, parts: &[Bytes]) -> Answer {
        let upload = self.begin(bucket, key);
        let tags: Vec<(u32, String)> = (1..)
            .zip(parts)
            .map(|(n, part)| {
                let answer = self.part(bucket, key, &upload, n).body(part.clone()).send();
                (n, answer.status(200).etag())
            })
            .collect();
        let answer = self.complete(bucket, key, &upload, &tags).send().status(200);
        assert!(answer.text().contains("<CompleteMultipartUploadResult"), "{}", answer.text());
        answer
    }

    /// Path and query of a presigned URL.
    #[must_use]
    pub fn presign(&self, method: &str, path: &str, extra: &[(&str, &str)], valid: (Moment, u32)) -> String {
        format!("{path}?{}", self.signer.presign((method, path, &self.host), extra, valid))
    }

    /// Sends a request target as it is, without signature: presigned URLs, browsers, strangers.
    #[must_use]
    pub fn visit(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let mut wire = Wire::connect(self.address).unwrap();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.host, body.len());
        wire.send(head.as_bytes()).unwrap();
        wire.send(body).unwrap();
        wire.answer(method).unwrap()
    }

    /// The same client under another credential.
    #[must_use]
    pub fn with(&self, access: &str, secret: &str) -> Self {
        let mut other = self.clone();
        other.signer.access = access.to_owned();
        other.signer.secret = secret.to_owned();
        other
    }
}

impl Outgoing<'_> {
    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts this query string on the wire, whose canonical form is that of the parameters added.
    #[must_use]
    pub fn raw_query(mut self, text: &str) -> Self {
        self.raw_query = Some(text.to_owned());
        self
    }

    /// Adds a signed header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header that the signature does not cover.
    #[must_use]
    pub fn loose_header(mut self, name: &str, value: &str) -> Self {
        self.unsigned_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how the body is signed.
    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Signs as if at another time.
    #[must_use]
    pub const fn at(mut self, at: Moment) -> Self {
        self.at = at;
        self
    }

    /// When it is signed.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        self.at
    }

    /// Leaves the signature out.
    #[must_use]
    pub const fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Tells the time in a Date header instead of `x-amz-date`.
    #[must_use]
    pub const fn dated(mut self) -> Self {
        self.dated = true;
        self
    }

    /// Puts this path on the wire, while the signature covers the one that the request was made with.
    #[must_use]
    pub fn sent_path(mut self, path: &str) -> Self {
        self.sent_path = Some(path.to_owned());
        self
    }

    /// Declares another Content-Length than the body has.
    #[must_use]
    pub const fn declare(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    /// Changes the encoded body after it was signed.
    #[must_use]
    pub fn mangle(mut self, by: fn(Vec<u8>) -> Vec<u8>) -> Self {
        self.mangle = Some(by);
        self
    }

    /// Head and body as they go over the wire.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Bytes) {
        let query = sign::query(&self.query);
        let name = self.payload.name(&self.body);
        let mut signed = vec![("host".to_owned(), self.client.host.clone())];
        if !self.anonymous {
            signed.push(match self.dated {
                true => ("date".to_owned(), self.at.http()),
                false => ("x-amz-date".to_owned(), self.at.amz()),
            });
            signed.push(("x-amz-content-sha256".to_owned(), name.clone()));
        }
        signed.extend(self.payload.headers(self.body.len()));
        signed.extend(self.headers.iter().cloned());
        let request = Signed {
            method: &self.method,
            path: &self.path,
            query: &query,
            headers: &signed,
            payload: &name,
            at: self.at,
        };
        let seed = self.client.signer.signature(&request);
        let mut body = self.payload.encode(&self.body, &self.client.signer, self.at, &seed);
        if let Some(mangle) = self.mangle {
            body = mangle(body.to_vec()).into();
        }
        let shown = self.raw_query.as_ref().unwrap_or(&query);
        let mark = if shown.is_empty() { "" } else { "?" };
        let path = self.sent_path.as_ref().unwrap_or(&self.path);
        let mut head = format!("{} {path}{mark}{shown} HTTP/1.1\r\n", self.method);
        let authorization = ("authorization".to_owned(), self.client.signer.authorization(&request));
        let authorization = Some(&authorization).filter(|_| !self.anonymous);
        for (name, value) in signed.iter().chain(authorization).chain(&self.unsigned_headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let transfer = self.unsigned_headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("transfer-encoding"));
        let bodied = !body.is_empty() || matches!(self.method.as_str(), "PUT" | "POST");
        if (bodied || self.declared.is_some()) && !transfer {
            let length = self.declared.unwrap_or(body.len() as u64);
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        head.push_str("\r\n");
        (head.into_bytes(), body)
    }

    /// Sends it and reads the whole answer.
    #[must_use = "look at the answer, or end with `.done()`"]
    pub fn send(&self) -> Answer {
        self.try_send().unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.path))
    }

    /// Sends it and reads the whole answer, if there is one.
    ///
    /// # Errors
    /// When the server does not answer or breaks off.
    pub fn try_send(&self) -> io::Result<Answer> {
        let (mut wire, sent) = self.start()?;
        wire.answer(&self.method).map_err(|e| sent.err().unwrap_or(e))
    }

    /// Sends it and stops after the head of the answer.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn open(&self) -> io::Result<(Wire, Head)> {
        let (mut wire, _) = self.start()?;
        let head = wire.head()?;
        Ok((wire, head))
    }

    /// Connects and sends. A server may answer and close before it has read a body that it does
    /// not want, so a failure to send is only told when no answer can be read either.
    fn start(&self) -> io::Result<(Wire, io::Result<()>)> {
        let (head, body) = self.encode();
        let mut wire = Wire::connect(self.client.address)?;
        let sent = wire.send(&head).and_then(|()| wire.send(&body));
        Ok((wire, sent))
    }
}
