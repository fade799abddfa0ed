//! Who asks on the admin API: signature, clock and nonce.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use http::request::Parts;
use policy::time::UtcMillis;
use subtle::ConstantTimeEq;

use super::signing::{self, NONCE, Signed};
use super::{Admin, Failure};
use crate::clock;
use crate::context::RequestContext;
use crate::identity::Account;

/// Clocks may differ by this, and no more.
const SKEW_MS: u64 = 15 * 60 * 1000;
/// Nonces that are remembered; more requests in half an hour are refused, not let through.
const NONCES_MAX: usize = 200_000;

/// Nonces that were seen, until their request would be too old anyway.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<HashMap<String, u64>>);

impl Nonces {
    fn first_time(&self, nonce: &str, now: UtcMillis) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= NONCES_MAX {
            seen.retain(|_, until| *until > now.0);
        }
        seen.len() < NONCES_MAX && seen.insert(nonce.to_owned(), now.0 + 2 * SKEW_MS).is_none()
    }
}

/// Verifies a request.
pub(super) async fn authenticate(
    admin: &Admin,
    parts: &Parts,
    body: &[u8],
    context: &RequestContext,
) -> Result<Arc<Account>, Failure> {
    let refuse = |why: &str| Failure::new(StatusCode::FORBIDDEN, why);
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let claim =
        signing::parse(header("authorization")).ok_or_else(|| refuse("the request is not signed for the admin API"))?;
    context.claimed(claim.access_key);
    let account = admin
        .gateway
        .identities
        .account(claim.access_key)
        .await?
        .ok_or_else(|| refuse("the access key is not known"))?;
    let digest = signing::sha256_hex(body);
    let signed = Signed {
        method: parts.method.as_str(),
        uri: &parts.uri,
        host: header("host"),
        date: header("x-amz-date"),
        nonce: header(NONCE),
        body: &digest,
    };
    let wanted = signed.signature(&account.secret, claim.region);
    if !bool::from(wanted.as_bytes().ct_eq(claim.signature.as_bytes())) {
        return Err(refuse("the signature does not match"));
    }
    let now = clock::now();
    let date = signing::parse_date(signed.date).ok_or_else(|| refuse("x-amz-date is no time"))?;
    if now.0.abs_diff(date.0) > SKEW_MS {
        return Err(refuse("the request's time differs from the server's by more than 15 minutes"));
    }
    if date.0 < admin.opened.0 {
        // Nonces of the session before are forgotten: what it accepted must not be accepted again.
        return Err(refuse("the request was signed before the server started: sign it again"));
    }
    if signed.nonce.len() < 16 || signed.nonce.len() > 64 || !admin.nonces.first_time(signed.nonce, now) {
        return Err(refuse("the nonce was used before, or is none"));
    }
    context.authenticated(&account);
    if !admin.first_secret.serves(&admin.gateway, claim.access_key, now).await? {
        return Err(refuse(
            "the administrator's secret of bootstrap.json was used first more than 24 hours ago and serves no longer: use another credential, or start the server once with --replace-administrator-secret",
        ));
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once() {
        let nonces = Nonces::default();
        assert!(nonces.first_time("a", UtcMillis(1)));
        assert!(!nonces.first_time("a", UtcMillis(2)));
        assert!(nonces.first_time("b", UtcMillis(2)));
    }
}
