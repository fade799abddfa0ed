//! What must hold of any bytes that reach the gateway: each check is run by a property test on random
//! bytes and by a fuzz target on guided ones (`integration-tests/fuzz`).

use policy::id::{BucketId, TenantId, VersionId};
use serde::Serialize;

use crate::admin::signing::{Claim, Signed, date, escape, parse, parse_date, query_pairs, unescape};
use crate::config::Config;
use crate::control::state::decode;
use crate::control::{ControlRow, CredentialRow, PrincipalRow, TenantKeyRow, TenantRow};
use crate::seal::value::{ListKey, ManifestFacts, Owner};
use crate::seal::wrap::{WRAPPED_LEN, WrapContext, at_provider, commitment, unwrap, wrapped_by};
use crate::seal::{SecretKey, Suite, VersionKey};

/// A check of any bytes.
pub type Check = fn(&[u8]);

/// Every check of this crate but those of the S3 front, [`crate::s3::fuzz::CHECKS`].
pub const CHECKS: &[(&str, Check)] =
    &[("admin_signature", admin_signature), ("config", config), ("control_rows", control_rows), ("sealed", sealed)];

/// An `Authorization` header that is read names who wrote it; dates and queries come back.
pub fn admin_signature(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(Claim { access_key, region, .. }) = parse(text) {
        let uri = http::Uri::from_static("/v1/tenants?a=b");
        let signed = Signed { method: "GET", uri: &uri, host: "h", date: "20261124T000000Z", nonce: "n", body: "b" };
        let header = signed.authorization(access_key, "secret", region);
        let signature = signed.signature("secret", region);
        assert_eq!(parse(&header), Some(Claim { access_key, region, signature: &signature }));
    }
    if let Some(at) = parse_date(text) {
        assert_eq!(parse_date(&date(at)), Some(at));
    }
    assert_eq!(unescape(&escape(text)), text);
    let pairs = query_pairs(text);
    let query: Vec<String> = pairs.iter().map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
    // Pairs without a name and a value are dropped by nobody: `&=&` is one.
    assert_eq!(query_pairs(&query.join("&")), pairs);
}

/// A configuration that is accepted prints as one that is accepted and says the same.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = Config::parse(text, "fuzz", std::iter::empty()) else { return };
    let printed = config.print().unwrap_or_default();
    assert_eq!(Config::parse(&printed, "printed", std::iter::empty()).ok(), Some(config));
}

/// Rows that decode are written again as ones that decode as the same.
pub fn control_rows(data: &[u8]) {
    control_row::<TenantRow>(data);
    control_row::<TenantKeyRow>(data);
    control_row::<PrincipalRow>(data);
    control_row::<CredentialRow>(data);
}

fn control_row<R: ControlRow + Serialize>(data: &[u8]) {
    let Ok(row) = decode::<R>(data) else { return };
    let written = serde_json::to_vec(&row).unwrap_or_default();
    let again = decode::<R>(&written).ok();
    assert_eq!(again.and_then(|row| serde_json::to_vec(&row).ok()), Some(written));
}

/// Bytes that nobody sealed open nowhere.
pub fn sealed(data: &[u8]) {
    let (tenant, bucket) = (TenantId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]));
    let key = SecretKey::from_bytes([3; 32]);
    let named = wrapped_by(data);
    // What a provider wrapped has another shape and no commitment of this one.
    if data.first() != Some(&2) {
        assert_eq!(named.is_ok(), commitment(data).is_ok());
        assert!(named.is_err() || data.len() == WRAPPED_LEN);
    }
    let (_, wrapping, wrapping_version) = named.unwrap_or((Suite::Aes256Gcm, [4; 16], 1));
    let context = WrapContext { tenant, bucket, own: [5; 16], wrapping, wrapping_version };
    assert!(unwrap(&key, &context, data).is_err());
    assert!(at_provider::proved(key.clone(), &context, data).is_err());
    let _given = at_provider::content(data, &context).is_ok();
    let owner = Owner { tenant, bucket, name: data, version: VersionId::from_bytes([6; 16]) };
    let facts = ManifestFacts { owner, bodies: &[], length: 0, modified: 0, residency_epoch: 0, list_values: data };
    assert!(ListKey::of(Suite::Aes256Gcm, &key).open(&owner, 1, 2, data).is_err());
    let key = VersionKey::of_platform(key);
    assert!(key.open_manifest(&facts, data).is_err());
    assert!(key.open_metadata(&owner, data).is_err());
    assert!(key.open_value("part", data, data).is_err());
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_pass_every_check(data in vec(any::<u8>(), 0..300)) {
            for (_, check) in CHECKS {
                check(&data);
            }
        }

        #[test]
        fn any_text_passes(text in ".{0,200}", query in "[a-z%=&+0-9]{0,60}") {
            admin_signature(text.as_bytes());
            admin_signature(query.as_bytes());
            config(text.as_bytes());
        }

        #[test]
        fn signatures_name_their_signer(access_key in "[A-Za-z0-9_-]{3,128}", region in "[a-z0-9-]{1,20}", other in "[a-z0-9-]{1,20}") {
            let uri = http::Uri::from_static("/v1/audit");
            let signed = Signed { method: "GET", uri: &uri, host: "h", date: "20261124T000000Z", nonce: "n", body: "b" };
            let header = signed.authorization(&access_key, "secret", &region);
            let claim = parse(&header).unwrap();
            prop_assert_eq!((claim.access_key, claim.region), (access_key.as_str(), region.as_str()));
            prop_assert_eq!(claim.signature == signed.signature("secret", &other), region == other);
            prop_assert_ne!(claim.signature, signed.signature("secreu", &region));
            for cut in 0..header.len() {
                let claim = parse(&header[..cut]);
                prop_assert!(claim.is_none_or(|claim| claim.signature.len() < 64), "cut at {cut}");
            }
        }

        #[test]
        fn configurations_come_back_from_text_and_from_the_environment(
            region in "[a-z0-9-]{1,20}", port in 1..65_535_u16, site in "[^\0]{0,20}", connections in 1..99_999_usize, plain: bool,
        ) {
            let mut made = Config { region, ..Config::default() };
            made.listen.s3 = format!("127.0.0.1:{port}");
            made.node.site = site;
            made.limits.connections = connections;
            made.danger.plain_http = plain;
            let printed = made.print().unwrap();
            config(printed.as_bytes());
            prop_assert_eq!(&Config::parse(&printed, "printed", std::iter::empty()).unwrap(), &made);
            let environment = [
                ("GOTGAN_REGION", made.region.clone()),
                ("GOTGAN_LISTEN_S3", made.listen.s3.clone()),
                ("GOTGAN_NODE_SITE", made.node.site.clone()),
                ("GOTGAN_LIMITS_CONNECTIONS", connections.to_string()),
                ("GOTGAN_DANGER_PLAIN_HTTP", plain.to_string()),
            ];
            let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value));
            prop_assert_eq!(Config::parse("", "nothing", environment).unwrap(), made);
        }
    }
}
