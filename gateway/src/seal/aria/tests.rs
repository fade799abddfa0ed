//! Every path against another implementation, at every length, and against changed bytes.

use ::aria::Aria256;
use ::aria::cipher::{BlockCipherEncrypt, KeyInit};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use proptest::prelude::*;

use super::{AriaGcm, Path};

/// ARIA-256-GCM a block at a time, of the crates `aria` and `ghash`.
struct Reference(Aria256);

impl Reference {
    fn new(key: &[u8; 32]) -> Self {
        Self(Aria256::new(&(*key).into()))
    }

    fn block(&self, nonce: &[u8; 12], counter: u32) -> [u8; 16] {
        let mut block = [0; 16];
        block[..12].copy_from_slice(nonce);
        block[12..].copy_from_slice(&counter.to_be_bytes());
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        for (block, counter) in data.chunks_mut(16).zip(2..) {
            for (byte, stream) in block.iter_mut().zip(self.block(nonce, counter)) {
                *byte ^= stream;
            }
        }
        let mut hash = <GHash as KeyInit>::new(&self.block(&[0; 12], 0).into());
        hash.update_padded(aad);
        hash.update_padded(data);
        let lengths = ((aad.len() as u128 * 8) << 64) | (data.len() as u128 * 8);
        hash.update(&[lengths.to_be_bytes().into()]);
        let hash: [u8; 16] = hash.finalize().into();
        let mask = self.block(nonce, 1);
        std::array::from_fn(|at| hash[at] ^ mask[at])
    }
}

fn every_path(key: &[u8; 32]) -> Vec<(Path, AriaGcm)> {
    Path::ALL.into_iter().filter_map(|path| Some((path, AriaGcm::with_path(path, key)?))).collect()
}

/// Bytes that differ from one another.
fn message(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 256) as u8).collect()
}

/// Seals on every path as the reference does, and opens what was sealed.
fn agree(reference: &Reference, paths: &[(Path, AriaGcm)], nonce: &[u8; 12], aad: &[u8], plain: &[u8]) {
    let mut expected = plain.to_vec();
    let tag = reference.seal(nonce, aad, &mut expected);
    for (path, gcm) in paths {
        let mut data = plain.to_vec();
        assert_eq!(gcm.seal(nonce, aad, &mut data), tag, "{path:?}, {} bytes", plain.len());
        assert!(data == expected, "{path:?}, {} bytes", plain.len());
        assert!(gcm.open(nonce, aad, &mut data, &tag));
        assert!(data == plain, "{path:?}, {} bytes", plain.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_path_agrees_with_another_implementation(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in proptest::collection::vec(any::<u8>(), 0..200),
        plain in proptest::collection::vec(any::<u8>(), 0..5000),
    ) {
        agree(&Reference::new(&key), &every_path(&key), &nonce, &aad, &plain);
    }
}

#[test]
fn every_length_around_the_borders_of_blocks_batches_and_stretches() {
    let key = [0x5a; 32];
    let (reference, paths) = (Reference::new(&key), every_path(&key));
    // The first batch serves two blocks less than the others.
    let borders = [16, 32, 14 * 16, 30 * 16, 62 * 16, 126 * 16, 254 * 16, 62 * 16 + super::STRETCH, 1 << 16];
    let lengths = (0..=70).chain(borders.into_iter().flat_map(|border| border.saturating_sub(17)..=border + 17));
    for length in lengths {
        agree(&reference, &paths, &[9; 12], &message(length % 40), &message(length));
    }
}

#[test]
fn the_counter_carries_into_every_byte_that_it_can_reach() {
    // 2^16 blocks and more: the two low bytes come round.
    let key = [0xc3; 32];
    let plain = message((1 << 20) + 4000);
    agree(&Reference::new(&key), &every_path(&key), &[0xff; 12], b"", &plain);
}

#[test]
fn any_changed_byte_is_refused_and_nothing_is_decrypted() {
    let (nonce, aad) = ([3; 12], message(21));
    for (path, gcm) in every_path(&[1; 32]) {
        let mut sealed = message(1100);
        let tag = gcm.seal(&nonce, &aad, &mut sealed);
        let refuses = |nonce: &[u8; 12], aad: &[u8], data: &[u8], tag: &[u8; 16]| {
            let mut left = data.to_vec();
            !gcm.open(nonce, aad, &mut left, tag) && left == data
        };
        for at in 0..sealed.len() {
            assert!(refuses(&nonce, &aad, &changed(&sealed, at), &tag), "{path:?}, byte {at}");
        }
        for at in 0..aad.len() {
            assert!(refuses(&nonce, &changed(&aad, at), &sealed, &tag), "{path:?}, aad {at}");
        }
        for at in 0..16 {
            assert!(refuses(&nonce, &aad, &sealed, &changed(&tag, at).try_into().unwrap()), "{path:?}, tag {at}");
        }
        for at in 0..12 {
            assert!(refuses(&changed(&nonce, at).try_into().unwrap(), &aad, &sealed, &tag), "{path:?}, nonce {at}");
        }
        assert!(refuses(&nonce, &aad, &sealed[..1099], &tag) && refuses(&nonce, &aad[..20], &sealed, &tag));
        assert!(gcm.open(&nonce, &aad, &mut sealed, &tag));
    }
}

/// With one bit of one byte changed, another at each place.
fn changed(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (at % 8);
    bytes
}

#[test]
fn neither_keys_nor_hash_keys_are_shown() {
    assert_eq!(format!("{:?}", AriaGcm::new(&[0xab; 32])), "AriaGcm(..)");
}
