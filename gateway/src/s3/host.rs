//! Virtual-host addressing: `bucket.domain` for the configured domains; every other host is path style.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Domains whose subdomains are bucket names.
#[derive(Debug, Clone)]
pub struct Domains(Vec<String>);

impl Domains {
    /// Domains, separated by commas.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(
            text.split(',')
                .map(|d| d.trim().trim_matches('.').to_ascii_lowercase())
                .filter(|d| !d.is_empty())
                .collect(),
        )
    }

    pub(super) fn bucket<'a>(&self, host: &'a str) -> Option<&'a str> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.0.iter().find_map(|domain| {
            let front = name.len().checked_sub(domain.len())?;
            let (bucket, rest) = (name.get(..front)?, name.get(front..)?);
            if rest.eq_ignore_ascii_case(domain) { bucket.strip_suffix('.') } else { None }
        })
    }
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let style = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => style.with_bucket(bucket),
            None => style,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_subdomains_of_known_domains_are_buckets() {
        let domains = Domains::parse("localhost, s3.example.kr");
        for (host, bucket) in [
            ("photos.localhost:9000", Some("photos")),
            ("a.b.s3.EXAMPLE.kr", Some("a.b")),
            ("localhost:9000", None),
            ("s3.example.kr", None),
            ("node7.dc.internal", None),
            ("xs3.example.kr", None),
            ("127.0.0.1:9000", None),
        ] {
            assert_eq!(domains.bucket(host), bucket, "{host}");
        }
    }
}
