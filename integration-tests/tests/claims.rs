//! Documents claim no validation that nobody gave (of a cryptographic module, of the product).

use std::path::{Path, PathBuf};

/// Words of schemes that validate or certify.
const SCHEMES: [&str; 8] =
    ["KCMVP", "FIPS 140", "검증필", "Common Criteria", "CSAP", "보안인증", "국정원", "ISO/IEC 19790"];
/// A line that names one says in itself that it is no claim, or speaks of others' modules.
const DISCLAIMERS: [&str; 6] = [" not ", "neither ", "No ", "아닙니다", "would ", "않"];

fn documents(under: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            documents(&path, out);
        } else if path.extension().is_some_and(|end| end == "md") {
            out.push(path);
        }
    }
}

fn claims(text: &str) -> Vec<&str> {
    let named = |line: &&str| SCHEMES.iter().any(|scheme| line.contains(scheme));
    text.lines().filter(named).filter(|line| !DISCLAIMERS.iter().any(|word| line.contains(word))).collect()
}

#[test]
fn no_document_claims_a_validation() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = vec![project.join("README.md"), project.join("README.ko.md"), project.join("CHANGELOG.md")];
    documents(&project.join("docs"), &mut all);
    let mut named = 0;
    for path in all.iter().filter(|path| path.exists()) {
        let text = std::fs::read_to_string(path).unwrap();
        named += usize::from(text.contains("KCMVP"));
        let found = claims(&text);
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
    assert!(named > 0, "the page on ciphers says what is not claimed");
    assert_eq!(claims("Our module is KCMVP validated").len(), 1);
}
