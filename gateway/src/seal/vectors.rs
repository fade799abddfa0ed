//! Golden vectors: what format 1 writes for fixed keys may never change.

use policy::id::BodyId;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use storage::geometry::{SEGMENT_PLAIN, STRIDE, TAG};

use super::body::BodySealer;
use super::{SecretKey, Suite};

fn body(suite: Suite, length: usize) -> Value {
    let (key, id) = ([0x42; 32], BodyId::from_bytes([7; 16]));
    let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let mut sealer = BodySealer::new(suite, &SecretKey::from_bytes(key), id, length as u64).unwrap();
    let pieces: Vec<&[u8]> = if plain.is_empty() { vec![&[]] } else { plain.chunks(SEGMENT_PLAIN).collect() };
    let mut stored = Vec::new();
    for piece in pieces {
        stored.resize(stored.len().next_multiple_of(STRIDE), 0);
        let at = stored.len();
        stored.extend_from_slice(piece);
        stored.resize(at + piece.len() + TAG, 0);
        sealer.seal_next(&mut stored[at..], piece.len()).unwrap();
    }
    json!({
        "suite": suite.id(),
        "data_key": hex::encode(key),
        "body_id": id.to_string(),
        "length": length,
        "plain_sha256": hex::encode(digest(&SHA256, &plain)),
        "stored": hex::encode(stored),
    })
}

#[test]
fn format_1_never_changes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors.json");
    let bodies: Vec<Value> = Suite::ALL.into_iter().flat_map(|s| [0, 100, 66_000].map(|n| body(s, n))).collect();
    let key = [0x24; 32];
    let parts: [&[u8]; 4] = [&[5], &2_u32.to_be_bytes(), b"id", b"content"];
    let proof = Suite::Aes256Gcm.prove(&SecretKey::from_bytes(key), "control-row", &parts);
    let proofs = json!([{
        "control_key": hex::encode(key), "kind": 5, "id": "id", "content": "content", "proof": hex::encode(proof),
    }]);
    let now = json!({ "format": 1, "bodies": bodies, "proofs": proofs });
    if std::env::var_os("GOTGAN_WRITE_DOCS").is_some() {
        std::fs::write(path, serde_json::to_string_pretty(&now).unwrap()).unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(kept == now, "sealed bytes differ from docs/vectors.json: that is a new format, not a new vector");
}
