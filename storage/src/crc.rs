//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), which RocksDB's journals carry and segments are looked at by first.

use crc_fast::CrcAlgorithm::Crc32Iscsi;

/// The CRC-32C of some bytes.
pub(crate) fn crc32c(data: &[u8]) -> u32 {
    // `crc-fast` gives every width as 64 bits; of this one the upper half is zero.
    u32::try_from(crc_fast::checksum(Crc32Iscsi, data)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[]), 0);
    }
}
