//! New tenants, principals and credentials: the rows and the one moment at which a secret is seen.

use policy::id::{AccessKeyId, PrincipalId, TenantId};
use policy::principal::Role;
use policy::time::UtcMillis;
use storage::catalog::{Before, ControlKind, ControlPut};
use zeroize::Zeroizing;

use crate::approval::WEEK_MS;
use crate::control::{ControlState, CredentialRow, PrincipalRow, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::keys::KeyRing;
use crate::seal::key::{random, secret};

const NAME_MAX: usize = 63;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A credential with its secret half, shown once.
#[derive(Debug)]
pub struct NewCredential {
    /// The row.
    pub row: CredentialRow,
    /// The secret half.
    pub secret: Zeroizing<String>,
}

/// Whether a name may be given to a tenant or principal: 1 to 63 of `a-z 0-9 . _ @ -`, beginning with a letter or digit.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@-".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    // One that reads as an id would stand for whatever has that id.
    let is_id = name.parse::<TenantId>().is_ok();
    first && name.len() <= NAME_MAX && name.bytes().all(allowed) && !is_id
}

/// A tenant with its keys, and the rows to be stored together.
///
/// # Errors
/// `Seal` without randomness.
pub fn new_tenant(
    control: &ControlState,
    keys: &KeyRing,
    name: &str,
    now: UtcMillis,
) -> Result<(TenantRow, Vec<ControlPut>), Error> {
    let id = TenantId::time_ordered(now.0, random()?);
    let (tenant, key) = keys.new_tenant(name, id, now)?;
    let name = control.put_content(ControlKind::TenantName, name.as_bytes().to_vec(), id.as_bytes(), Before::Absent);
    let mut rows = vec![name, control.create(&tenant)?];
    rows.extend(new_key(control, &key, Before::Absent)?);
    Ok((tenant, rows))
}

/// The rows of a new tenant key, whose name is as `before` says.
///
/// # Errors
/// `Corrupt` when it cannot be encoded.
pub fn new_key(control: &ControlState, key: &TenantKeyRow, before: Before) -> Result<[ControlPut; 2], Error> {
    let name_id = TenantKeyRow::name_id(key.tenant, &key.name);
    let name = control.put_content(ControlKind::KeyName, name_id, key.id.as_bytes(), before);
    Ok([name, control.create(key)?])
}

/// A principal.
///
/// # Errors
/// `Seal` without randomness.
pub fn new_principal(
    tenant: Option<TenantId>,
    name: &str,
    role: Role,
    made_by: Option<PrincipalId>,
    now: UtcMillis,
) -> Result<PrincipalRow, Error> {
    let id = PrincipalId::time_ordered(now.0, random()?);
    let (name, approval_key, secret_by) = (name.to_owned(), None, Vec::new());
    Ok(PrincipalRow { id, tenant, name, role, active: true, created: now, approval_key, made_by, secret_by })
}

/// A credential of a principal.
///
/// # Errors
/// `Seal` without randomness.
pub fn new_credential(keys: &KeyRing, principal: &PrincipalRow, now: UtcMillis) -> Result<NewCredential, Error> {
    let access_key = format!("GTGN{}", *letters::<16>()?);
    let access_key: AccessKeyId = access_key.parse().map_err(|_| Error::Missing("access key"))?;
    let secret = letters::<40>()?;
    let sealed = keys.seal_secret(access_key.as_str().as_bytes(), secret.as_bytes())?;
    let row = CredentialRow {
        access_key,
        principal: principal.id,
        tenant: principal.tenant,
        secret: sealed,
        active: true,
        created: now,
        invited_until: None,
    };
    Ok(NewCredential { row, secret })
}

/// An invitation for a principal: a credential that is good, for a week, for being exchanged for another.
///
/// # Errors
/// `Seal` without randomness.
pub fn new_invitation(keys: &KeyRing, principal: &PrincipalRow, now: UtcMillis) -> Result<NewCredential, Error> {
    let made = new_credential(keys, principal, now)?;
    let invited_until = Some(UtcMillis(now.0.saturating_add(WEEK_MS)));
    Ok(NewCredential { row: CredentialRow { invited_until, ..made.row }, secret: made.secret })
}

/// Random letters and digits, 5 bits each. Nothing else: a secret that begins with `-` is an option to command
/// lines, and one with `/` or `+` is not what it was in a URL.
fn letters<const N: usize>() -> Result<Zeroizing<String>, Error> {
    let bytes = Zeroizing::new(secret::<N>()?);
    let letters = bytes.iter().filter_map(|b| ALPHABET.get(usize::from(b & 31))).map(|b| char::from(*b));
    // As long as it will be from the start: a string that grew would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(N));
    text.extend(letters);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_letters_and_digits() {
        let [one, other] = [letters::<40>().unwrap(), letters::<40>().unwrap()];
        assert!(one.len() == 40 && one.bytes().all(|b| b.is_ascii_alphanumeric()), "{}", *one);
        assert_ne!(*one, *other);
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "demo", "kim.minji@hospital-1", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["0123456789abcdef0123456789abcdef", "", "-a", "A", "a b", "a/b", &"x".repeat(64), "곳간"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
