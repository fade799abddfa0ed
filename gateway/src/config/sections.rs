//! The sections of the configuration, with their defaults.

use serde::{Deserialize, Serialize};

/// Addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// S3, `ADDR:PORT`.
    pub s3: String,
    /// Admin API, health and metrics, `ADDR:PORT`.
    pub admin: String,
    /// Domains whose subdomains are bucket names (virtual-host style), separated by commas.
    pub domain: String,
}

/// PEM files; read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificate chain.
    pub certificate: String,
    /// Private key.
    pub key: String,
    /// Names and addresses for the certificate that the own CA signs, separated by commas.
    pub names: String,
}

impl Tls {
    /// Whether listeners speak TLS: a certificate is given, or the own CA signs one.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.names.is_empty() || !(self.certificate.is_empty() || self.key.is_empty())
    }
}

/// Where this node stands. Set once, at the first start, or to issue another identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// ISO 3166-1 alpha-2, or `none` for an identity without a place. KR at the first start.
    pub country: String,
    /// ISO 3166-2. KR-41 (Gyeonggi) at the first start in KR.
    pub subdivision: String,
    /// Building.
    pub site: String,
    /// Rack.
    pub rack: String,
    /// Who runs the machine.
    pub operator: String,
}

/// The root key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Root {
    /// Directory of the key file; beside the data directory as `DATA.root` when not set.
    pub dir: String,
    /// File that holds the passphrase which seals it.
    pub passphrase_file: String,
}

/// Tenant keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Seconds that an unwrapped bucket key is used before its provider is asked again, 1 to 300. What a provider
    /// refuses binds after as long at most.
    pub cache_seconds: u64,
    /// Envelopes that are wrapped anew in a second at most, when the key of a bucket is rotated.
    pub rewrap_per_second: u32,
}

/// The Transit engine of an OpenBao or Vault server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Openbao {
    /// Its URL; `https://` unless it is on this machine. There is no such provider when not set.
    pub address: String,
    /// Where the Transit engine is mounted.
    pub mount: String,
    /// File that holds the token, mode 0600; read for each request, so that an agent may renew it.
    pub token_file: String,
    /// Certificate of the CA that signed the server's (PEM).
    pub ca: String,
    /// Where the server stands, ISO 3166-1 alpha-2. Without it no tenant's residency admits it.
    pub country: String,
    /// ISO 3166-2.
    pub subdivision: String,
}

/// A token of a hardware security module, by its PKCS#11 module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pkcs11 {
    /// The module, a shared library; it runs inside the server. There is no such provider when not set.
    pub module: String,
    /// Label of the token.
    pub token: String,
    /// File that holds the user PIN, mode 0600.
    pub pin_file: String,
    /// Where the token stands, ISO 3166-1 alpha-2. Without it no tenant's residency admits it.
    pub country: String,
    /// ISO 3166-2.
    pub subdivision: String,
}

/// Key providers of tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hyok {
    /// Directory of their files: `TENANT.toml` names a tenant's own server, by the keys of the section `openbao`. No tenant has
    /// one when not set.
    pub directory: String,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once, of each address that is listened on.
    pub connections: usize,
    /// Those of one source, which is an IPv4 address or an IPv6 /64; half of `connections` when 0. Behind a proxy, which
    /// is one source, as many as `connections`.
    pub connections_per_source: usize,
    /// Seconds in which a new connection must have sent the head of its first request.
    pub first_request_seconds: u64,
    /// Seconds in which the next must have come on a connection where nothing is under way.
    pub idle_seconds: u64,
    /// Seconds without progress after which a request is told to come back: the disk does not answer. Above the 30
    /// that a client has for the next 128 KiB, else clients are turned away for being slow.
    pub stall_seconds: u64,
}

/// What the server says on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Filter such as `info` or `gateway=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: String,
}

/// Switches that weaken a promise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Danger {
    /// Plain HTTP on addresses that are not loopback.
    pub plain_http: bool,
    /// The root key inside the data directory.
    pub root_key_inside_data: bool,
    /// Destructions of keys without waiting and without a week of age of whoever approves: for trials of the procedure.
    pub trial_destruction: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self { s3: "127.0.0.1:9000".to_owned(), admin: "127.0.0.1:9001".to_owned(), domain: "localhost".to_owned() }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self { cache_seconds: 300, rewrap_per_second: crate::rewrap::PER_SECOND }
    }
}

impl Default for Openbao {
    fn default() -> Self {
        let not_set = String::new;
        Self {
            address: not_set(),
            mount: "transit".to_owned(),
            token_file: not_set(),
            ca: not_set(),
            country: not_set(),
            subdivision: not_set(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_source: 0,
            first_request_seconds: 20,
            idle_seconds: 75,
            stall_seconds: 45,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: "text".to_owned() }
    }
}
