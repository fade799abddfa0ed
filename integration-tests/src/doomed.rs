//! What is destroyed and what must not be touched by it, and certificates that are verified without any server.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::Client;
use crate::keeper::Keeper;
use crate::noise::body;
use crate::server::binary;

/// Lets destructions be due at once, for tests and demonstrations.
pub const TRIAL: &str = "--danger-trial-destruction";
/// The answer for what is to be destroyed.
pub const PENDING: (u16, &str) = (400, "KMS.DisabledException");

/// A directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// `gotgan key verify` without any server: whether it believes the certificate, and what it says.
#[must_use]
pub fn verify(file: &Path, ca: &Path) -> (bool, String) {
    let output = Command::new(binary())
        .args(["key", "verify", file.to_str().unwrap(), "--ca", ca.to_str().unwrap(), "--json"])
        .output()
        .unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// What a certificate says that is believed.
#[must_use]
pub fn believed(file: &Path, ca: &Path) -> Value {
    let (valid, said) = verify(file, ca);
    assert!(valid, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// A store with a tenant key of its own for the bucket `theirs`, and what must not be touched.
#[must_use]
pub fn filled(keeper: &Keeper) -> (Client, Client) {
    let others = keeper.server.stranger("others");
    others.make_bucket("neighbour");
    others.put("neighbour", "k", body(5, 300_000)).done();
    let s3 = keeper.s3();
    s3.make_bucket("kept");
    s3.put("kept", "k", body(6, 3 << 20)).done();
    keeper.key(&["create", "held"]);
    keeper.key(&["default", "held"]);
    s3.make_bucket("theirs");
    for n in 0..300 {
        s3.put("theirs", &format!("small/{n}"), "inline").done();
    }
    s3.put("theirs", "large", body(1, 9 << 20)).done();
    s3.put_parts("theirs", "parts", &[body(2, 5 << 20), body(3, 100)]).done();
    let upload = s3.begin("theirs", "begun");
    s3.part("theirs", "begun", &upload, 1).body("part").send().status(200).done();
    keeper.key(&["default", "default"]);
    (s3, others)
}

/// What [`filled`] put beside it is read, and more is written there.
pub fn untouched(s3: &Client, others: &Client) {
    s3.must_hold("kept", "k", &body(6, 3 << 20));
    others.must_hold("neighbour", "k", &body(5, 300_000));
    s3.put("kept", "more", "v").done();
    others.put("neighbour", "more", "v").done();
}
