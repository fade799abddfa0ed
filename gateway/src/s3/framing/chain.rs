//! The chain of signatures in a signed streaming body: each chunk signs its content and the signature before
//! it, the first that of the headers (AWS: "Signature calculations for the authorization header: transferring
//! payload in multiple chunks").

use http::HeaderMap;
use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::decoder::FramingError;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Checks the chunks of one body in order. Content is hashed as it passes, so that no chunk is held.
pub struct Chain {
    key: hmac::Key,
    /// Time and scope, as every text to sign has them.
    context: String,
    before: String,
    hash: digest::Context,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chain(..)")
    }
}

impl Chain {
    /// The chain that begins with a verified Authorization header; none when the header is not such.
    #[must_use]
    pub fn begin(secret: &str, amz_date: &str, authorization: &str) -> Option<Self> {
        let (_, credential) = authorization.split_once("Credential=")?;
        let (_, scope) = credential.split(',').next()?.split_once('/')?;
        let (_, seed) = authorization.rsplit_once("Signature=")?;
        // Long enough from the start: a string that grew would leave a copy of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(4 + secret.len()));
        text.push_str("AWS4");
        text.push_str(secret);
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        for step in scope.split('/') {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref());
        }
        Some(Self {
            key,
            context: format!("{amz_date}\n{scope}"),
            before: seed.trim().to_owned(),
            hash: digest::Context::new(&digest::SHA256),
        })
    }

    /// Content of the chunk in hand.
    pub(super) fn update(&mut self, content: &[u8]) {
        self.hash.update(content);
    }

    /// The chunk in hand ends, and claims this signature.
    pub(super) fn end_chunk(&mut self, claimed: &str) -> Result<(), FramingError> {
        let hash = std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256)).finish();
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{EMPTY}\n{}",
            self.context,
            self.before,
            hex::encode(hash.as_ref())
        );
        self.verify(&text, claimed)?;
        claimed.clone_into(&mut self.before);
        Ok(())
    }

    /// The trailers, whose signature follows that of the last chunk.
    pub(super) fn end_trailers(&self, trailers: &HeaderMap, claimed: &str) -> Result<(), FramingError> {
        let mut lines: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        lines.sort_unstable();
        let canonical: Vec<u8> =
            lines.iter().flat_map(|(name, value)| [name.as_bytes(), b":", value, b"\n"].concat()).collect();
        let hash = digest::digest(&digest::SHA256, &canonical);
        let text =
            format!("AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}", self.context, self.before, hex::encode(hash.as_ref()));
        self.verify(&text, claimed)
    }

    fn verify(&self, text: &str, claimed: &str) -> Result<(), FramingError> {
        let claimed = hex::decode(claimed).map_err(|_| FramingError::SignatureMismatch)?;
        hmac::verify(&self.key, text.as_bytes(), &claimed).map_err(|_| FramingError::SignatureMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that AWS publishes.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

    fn begin() -> Chain {
        Chain::begin(SECRET, "20130524T000000Z", AUTHORIZATION).unwrap()
    }

    #[test]
    fn example_of_aws() {
        let mut chain = begin();
        for (length, signature) in [
            (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            // In two pieces: where the network cuts means nothing.
            chain.update(&vec![b'a'; length / 3]);
            chain.update(&vec![b'a'; length - length / 3]);
            chain.end_chunk(signature).unwrap();
        }
    }

    #[test]
    fn another_content_order_or_key_does_not_verify() {
        let first = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";
        let second = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
        let ends = |mut chain: Chain, content: &[u8], claimed: &str| {
            chain.update(content);
            chain.end_chunk(claimed)
        };
        let content = vec![b'a'; 65_536];
        assert_eq!(ends(begin(), &content, first), Ok(()));
        assert_eq!(ends(begin(), &content[1..], first), Err(FramingError::SignatureMismatch));
        assert_eq!(ends(begin(), &content[..1024], second), Err(FramingError::SignatureMismatch));
        assert_eq!(ends(begin(), &content, &first[2..]), Err(FramingError::SignatureMismatch));
        let other = Chain::begin("other", "20130524T000000Z", AUTHORIZATION).unwrap();
        assert_eq!(ends(other, &content, first), Err(FramingError::SignatureMismatch));
        assert!(Chain::begin(SECRET, "20130524T000000Z", "Bearer abc").is_none());
    }
}
