//! Digests and checksums of the client's side. The CRCs go bit by bit from their polynomials, so
//! that a mistake in a fast library cannot hide on both sides.

use base64::prelude::{BASE64_STANDARD, Engine};
use md5::{Digest, Md5};
use ring::digest;

/// MD5.
#[must_use]
pub fn md5(data: &[u8]) -> [u8; 16] {
    Md5::digest(data).into()
}

/// MD5 in hex: the ETag of a body that was sent in one piece.
#[must_use]
pub fn md5_hex(data: &[u8]) -> String {
    hex::encode(md5(data))
}

/// SHA-256.
#[must_use]
pub fn sha256(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, data).as_ref().to_vec()
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256_hex(data: &[u8]) -> String {
    hex::encode(sha256(data))
}

/// Base64 with padding.
#[must_use]
pub fn base64(data: &[u8]) -> String {
    BASE64_STANDARD.encode(data)
}

/// The ETag of a multipart object: MD5 over the parts' MD5s, and their number.
#[must_use]
pub fn multipart_etag(parts: &[&[u8]]) -> String {
    let joined: Vec<u8> = parts.iter().flat_map(|p| md5(p)).collect();
    format!("{}-{}", md5_hex(&joined), parts.len())
}

/// The five checksum algorithms of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// CRC-32 (IEEE).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Sum {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As `x-amz-checksum-algorithm` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header that carries its value.
    #[must_use]
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    /// The XML element that carries its value.
    #[must_use]
    pub fn element(self) -> String {
        format!("Checksum{}", self.name())
    }

    /// The raw value for `data`.
    #[must_use]
    pub fn raw(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => crc32(0xedb8_8320, data).to_be_bytes().to_vec(),
            Self::Crc32c => crc32(0x82f6_3b78, data).to_be_bytes().to_vec(),
            Self::Crc64Nvme => crc64(data).to_be_bytes().to_vec(),
            Self::Sha1 => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref().to_vec(),
            Self::Sha256 => sha256(data),
        }
    }

    /// The value as headers carry it.
    #[must_use]
    pub fn of(self, data: &[u8]) -> String {
        base64(&self.raw(data))
    }

    /// The composite value of a multipart object.
    #[must_use]
    pub fn composite(self, parts: &[&[u8]]) -> String {
        let joined: Vec<u8> = parts.iter().flat_map(|p| self.raw(p)).collect();
        format!("{}-{}", self.of(&joined), parts.len())
    }
}

fn crc32(reflected_polynomial: u32, data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (reflected_polynomial & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn crc64(data: &[u8]) -> u64 {
    const NVME_REFLECTED: u64 = 0x9a6c_9329_ac4b_c9b5;
    let mut crc = !0_u64;
    for byte in data {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (NVME_REFLECTED & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogue_check_values() {
        let check = b"123456789";
        assert_eq!(hex::encode(Sum::Crc32.raw(check)), "cbf43926");
        assert_eq!(hex::encode(Sum::Crc32c.raw(check)), "e3069283");
        assert_eq!(hex::encode(Sum::Crc64Nvme.raw(check)), "ae8b14860a799888");
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
