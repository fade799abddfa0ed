//! The admin API does what its document says: schemathesis asks it whatever `docs/openapi.json` allows, and much that it does not.

use std::path::Path;
use std::process::Command;

use integration_tests::server::{binary, venv};

#[test]
fn the_admin_api_does_what_its_document_says() {
    let home = tempfile::Builder::new().prefix("gotgan-schema-").tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/run.sh");
    let output = Command::new("bash")
        .arg(script)
        .arg(binary())
        .env("PYTHON", venv().join("bin/python"))
        .env("EXAMPLES", "60")
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
