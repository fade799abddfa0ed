//! Objects under a tenant key that a provider holds, and what must become of them with it.

use crate::client::Client;
use crate::clock::until;
use crate::keeper::Keeper;
use crate::noise::body;
use crate::server::Store;

/// The answer while a provider does not.
pub const SILENT: (u16, &str) = (503, "KMS.DependencyTimeoutException");
/// The answer when a provider refuses.
pub const REFUSED: (u16, &str) = (409, "KMS.InvalidStateException");

/// A key administrator with a key at a provider that new buckets hang on, the bucket `theirs` that does, and `here`,
/// which hangs on the sealed file.
#[must_use]
pub fn keeper(store: &Store, provider: &str) -> Keeper {
    let keeper = Keeper::new(store.start(), "demo");
    keeper.s3().make_bucket("here");
    keeper.s3().put("here", "k", "here").done();
    let made = keeper.key(&["create", "held", "--provider", provider]);
    assert_eq!((made["provider"].as_str(), made["version"].as_u64()), (Some(provider), Some(1)));
    keeper.key(&["default", "held"]);
    let s3 = keeper.s3();
    s3.make_bucket("theirs");
    s3.put("theirs", "small", "small").done();
    s3.put("theirs", "large", body(1, 5 << 20)).done();
    keeper
}

/// What [`keeper`] put there is read.
pub fn opens(s3: &Client) {
    s3.must_hold("theirs", "small", b"small");
    s3.must_hold("theirs", "large", &body(1, 5 << 20));
}

/// Waits until the key is forgotten, and then everything is refused so.
pub fn until_refused(s3: &Client, (status, code): (u16, &str)) {
    until("the bucket key is forgotten", || (s3.get("theirs", "small").status == status).then_some(()));
    s3.get("theirs", "large").refused(status, code).done();
    s3.head("theirs", "small").status(status).done();
    s3.bucket("GET", "theirs").query("list-type", "2").send().refused(status, code).done();
    for size in [1, 300_000] {
        s3.object("PUT", "theirs", "new").body(vec![7; size]).send().refused(status, code).done();
    }
    s3.bucket("PUT", "another").send().refused(status, code).done();
    // What hangs on another provider goes on.
    s3.must_hold("here", "k", b"here");
    s3.put("here", "again", "v").done();
}

/// Waits until it is read again.
pub fn opens_again(s3: &Client) {
    until("it opens again", || (s3.get("theirs", "small").status == 200).then_some(()));
    opens(s3);
    s3.get("theirs", "new").refused(404, "NoSuchKey").done();
}
