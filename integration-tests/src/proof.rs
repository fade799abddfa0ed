//! Proofs of control rows, made from `docs/format.md` and the root key: for tests that need a row of another day.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::server::Store;

fn derive(key: &[u8], purpose: &str, context: &[u8]) -> Vec<u8> {
    const SUITE: [u8; 2] = [1, 1];
    let parts: [&[u8]; 7] =
        [&1_u32.to_be_bytes(), b"GTGN", &SUITE, purpose.as_bytes(), &[0], context, &256_u32.to_be_bytes()];
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
}

impl Store {
    /// The platform's key, from its row: a wrapped key under the root key.
    fn platform_key(&self, row: &[u8]) -> Vec<u8> {
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(self.root_key()).unwrap()).unwrap();
        let root = hex::decode(file["key"].as_str().unwrap()).unwrap();
        let (wrapping, salt, sealed) = (&row[2..22], &row[22..54], &row[54..102]);
        let context = [b"GTGN\x01\x01", [0; 32].as_slice(), b"gotgan-platform\0", wrapping].concat();
        let key = UnboundKey::new(&AES_256_GCM, &derive(&root, "wrap", salt)).unwrap();
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        LessSafeKey::new(key).open_in_place(nonce, Aad::from(context), &mut sealed).unwrap().to_vec()
    }

    /// A control row as it is stored under `key`, kind and id, with a proof that holds; `platform` is the row of the platform's
    /// key.
    #[must_use]
    pub fn proven(&self, platform: &[u8], key: &[u8], content: &[u8]) -> Vec<u8> {
        let root = self.platform_key(platform);
        let (kind, id) = key.split_at(1);
        let length = u32::try_from(id.len()).unwrap().to_be_bytes();
        let proof = derive(&derive(&root, "control", &[]), "control-row", &[kind, &length, id, content].concat());
        [&proof, content].concat()
    }
}
