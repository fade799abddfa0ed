//! Destruction of tenant keys, with proof: asked for and signed by one person, approved and signed by another (SECURITY.md
//! rule 20), done when it is due, and certified so that anybody can verify it without this server.

use policy::id::{DestructionId, PrincipalId};
use policy::time::UtcMillis;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::control::{Approval, DestructionRow, DestructionState, PrincipalRow};

pub mod certificate;
mod contents;
pub mod job;
pub mod pdf;

/// Days that may pass from the approval until it is due; 0 where the law says now.
pub const WAITING_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
/// A request that nobody approved by then is void; and who approves, and its key, are at least as old.
const WEEK_MS: u64 = 7 * DAY_MS;
/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 3600 * 1000;
/// Persons that sign: whoever asks, and whoever approves.
const PERSONS: usize = 2;
/// The format of requests.
pub const REQUEST: &str = "gotgan-destruction-request/1";
/// What every signature begins with: it is good for nothing else.
const PURPOSE: &[u8] = b"gotgan-approval/1\0";

/// What is to be destroyed and why, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`REQUEST`].
    pub format: String,
    /// Its id: a signature under it is for it alone.
    pub id: DestructionId,
    /// The installation.
    pub installation: String,
    /// Whose keys.
    pub tenant: Named,
    /// One key, or all of the tenant.
    pub scope: Scope,
    /// The keys.
    pub keys: Vec<RequestedKey>,
    /// The buckets that hang on them: all in them goes.
    pub buckets: Vec<String>,
    /// The law or contract that asks for it.
    pub legal_basis: String,
    /// Why, in the words of whoever asks.
    pub reason: String,
    /// Days from the approval until it is due; 0 where the law says now.
    pub waiting_days: u32,
    /// Who asks.
    pub requested_by: Named,
    /// When, RFC 3339.
    pub requested_at: String,
    /// Void without an approval by then, RFC 3339.
    pub expires_at: String,
    /// Made on a server that runs trials of the procedure: nobody was made to wait.
    pub trial: bool,
}

/// How far a destruction reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One key.
    Key,
    /// Every key of the tenant.
    Tenant,
}

/// A row that has an id and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A key that is to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedKey {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub provider: String,
    /// The suite of what hangs on it.
    pub algorithm: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Its versions.
    pub versions: Vec<RequestedVersion>,
}

/// A version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedVersion {
    /// Its number.
    pub version: u32,
    /// What may be shown of it.
    pub fingerprint: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// SHA-256 of a request, in hex.
#[must_use]
pub fn digest_of(document: &str) -> String {
    hex::encode(digest(&SHA256, document.as_bytes()))
}

/// What is signed under a request.
#[must_use]
pub fn to_sign(document: &str) -> Vec<u8> {
    [PURPOSE, digest(&SHA256, document.as_bytes()).as_ref()].concat()
}

/// Keys under which one signature is good for every text: points of small order (RFC 8032, section 8.9, on what verifiers let
/// pass), without the sign.
const WEAK: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Whether text is an Ed25519 public key under which a signature says something.
#[must_use]
pub fn is_approval_key(public_key: &str) -> bool {
    let Ok(mut key) = hex::decode(public_key) else { return false };
    if let Some(last) = key.last_mut() {
        *last &= 0x7f;
    }
    key.len() == 32 && !WEAK.contains(&hex::encode(key).as_str())
}

/// Whether people read it as it is written: no controls, and nothing that turns or hides what stands beside it.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    let turns = |c: char| matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !text.chars().any(|c| c.is_control() || turns(c))
}

/// Whether a signature is that of this key under this request.
#[must_use]
pub fn is_signed(document: &str, public_key: &str, signature: &str) -> bool {
    let (Ok(key), Ok(signature)) = (hex::decode(public_key), hex::decode(signature)) else { return false };
    is_approval_key(public_key) && UnparsedPublicKey::new(&ED25519, key).verify(&to_sign(document), &signature).is_ok()
}

impl DestructionRow {
    /// The next signature, if this principal may give it now.
    ///
    /// # Errors
    /// Why it may not.
    pub fn next_approval(
        &self,
        principal: &PrincipalRow,
        signature: &str,
        trial: bool,
        now: UtcMillis,
    ) -> Result<Approval, String> {
        if self.state != DestructionState::Requested {
            return Err("it is not waiting for a signature".to_owned());
        }
        if now.0 >= self.created.0.saturating_add(WEEK_MS) {
            return Err("nobody approved it within a week: it is void, ask anew".to_owned());
        }
        let key = principal.approval_key.as_ref().ok_or("enrol an approval key first: gotgan key approver")?;
        match self.approvals.as_slice() {
            [] if principal.id != self.requester => {
                return Err("whoever asked for it signs first".to_owned());
            }
            [] => {}
            [first, ..] => self.may_approve(principal, first, trial, now)?,
        }
        if !is_signed(&self.document, &key.public_key, signature) {
            return Err("the signature is not one of this request by the key that you enrolled".to_owned());
        }
        // A clock that was set back makes no signature older than what it is under.
        let before = self.approvals.last().map_or(self.created, |last| last.at);
        Ok(Approval {
            principal: principal.id,
            name: principal.name.clone(),
            public_key: key.public_key.clone(),
            signature: signature.to_owned(),
            at: before.max(now),
        })
    }

    fn may_approve(
        &self,
        principal: &PrincipalRow,
        first: &Approval,
        trial: bool,
        now: UtcMillis,
    ) -> Result<(), String> {
        let key = principal.approval_key.as_ref();
        if principal.id == self.requester || key.is_some_and(|key| key.public_key == first.public_key) {
            return Err("whoever asks does not approve: it takes two persons".to_owned());
        }
        let old = |at: UtcMillis| at.0.saturating_add(WEEK_MS) <= now.0;
        let both_old = old(principal.created) && key.is_some_and(|key| old(key.enrolled));
        if !(trial || both_old) {
            return Err("who approves, and the key, must have been there for a week".to_owned());
        }
        Ok(())
    }

    /// Whether it still waits for signatures.
    #[must_use]
    pub fn is_open(&self, now: UtcMillis) -> bool {
        self.state == DestructionState::Requested && now.0 < self.created.0.saturating_add(WEEK_MS)
    }

    /// Whether all have signed that must.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.approvals.len() >= PERSONS
    }

    /// When it is due, approved now.
    #[must_use]
    pub fn due(&self, now: UtcMillis) -> UtcMillis {
        UtcMillis(now.0.saturating_add(u64::from(self.waiting_days) * DAY_MS))
    }

    /// Verifies all signatures once more, by the keys that their principals have enrolled now: asked beside the call that
    /// cannot be undone.
    ///
    /// # Errors
    /// Which does not hold.
    pub fn verify(&self, known: impl Fn(PrincipalId) -> Option<PrincipalRow>) -> Result<(), String> {
        let mut persons = Vec::new();
        for approval in &self.approvals {
            let holds = known(approval.principal).is_some_and(|row| {
                row.active
                    && row.tenant == Some(self.tenant)
                    && row.approval_key.is_some_and(|key| key.public_key == approval.public_key)
            });
            if !holds || !is_signed(&self.document, &approval.public_key, &approval.signature) {
                return Err(format!("the approval of {} does not hold any more", approval.name));
            }
            if !persons.contains(&approval.principal) {
                persons.push(approval.principal);
            }
        }
        if persons.len() < PERSONS || persons.first() != Some(&self.requester) {
            return Err("two persons must have signed it".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use policy::id::TenantId;
    use policy::principal::Role;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;
    use crate::control::ApprovalKey;

    const NOW: UtcMillis = UtcMillis(100 * DAY_MS);
    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn person(number: u8, since: UtcMillis) -> (PrincipalRow, Ed25519KeyPair) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public_key = hex::encode(pair.public_key());
        let row = PrincipalRow {
            id: PrincipalId::from_bytes([number; 16]),
            tenant: Some(TENANT),
            name: format!("person-{number}"),
            role: Role::KeyAdministrator,
            active: true,
            created: since,
            approval_key: Some(ApprovalKey { public_key, enrolled: since }),
        };
        (row, pair)
    }

    fn sign(pair: &Ed25519KeyPair, document: &str) -> String {
        hex::encode(pair.sign(&to_sign(document)))
    }

    fn asked(requester: &PrincipalRow) -> DestructionRow {
        DestructionRow {
            id: DestructionId::from_bytes([9; 16]),
            tenant: TENANT,
            keys: Vec::new(),
            document: "{\"what\":\"it\"}".to_owned(),
            requester: requester.id,
            created: NOW,
            waiting_days: 7,
            approvals: Vec::new(),
            state: DestructionState::Requested,
        }
    }

    #[test]
    fn it_takes_two_persons_who_have_been_there_for_a_week() {
        let ((one, by_one), (two, by_two)) = (person(1, NOW), person(2, UtcMillis(NOW.0 - WEEK_MS)));
        let mut row = asked(&one);
        let [first, second] = [&by_one, &by_two].map(|pair| sign(pair, &row.document));
        let next =
            |row: &DestructionRow, who: &PrincipalRow, signature: &str| row.next_approval(who, signature, false, NOW);
        assert!(next(&row, &two, &second).unwrap_err().contains("signs first"));
        assert!(next(&row, &one, &second).unwrap_err().contains("not one of this request"));
        row.approvals.push(next(&row, &one, &first).unwrap());
        assert!(!row.is_approved());
        assert!(next(&row, &one, &first).unwrap_err().contains("two persons"));
        let (fresh, by_fresh) = person(3, UtcMillis(NOW.0 - WEEK_MS + 1));
        let by_fresh = sign(&by_fresh, &row.document);
        assert!(next(&row, &fresh, &by_fresh).unwrap_err().contains("for a week"));
        assert!(row.next_approval(&fresh, &by_fresh, true, NOW).is_ok(), "in a trial nobody waits");
        let same_key = PrincipalRow { approval_key: one.approval_key.clone(), ..two.clone() };
        assert!(next(&row, &same_key, &first).unwrap_err().contains("two persons"), "of one hand");
        let none = PrincipalRow { approval_key: None, ..two.clone() };
        assert!(next(&row, &none, &second).unwrap_err().contains("enrol"));
        let late = UtcMillis(NOW.0 + WEEK_MS);
        assert!(row.next_approval(&two, &second, false, late).unwrap_err().contains("void"));
        row.approvals.push(next(&row, &two, &second).unwrap());
        assert!(row.is_approved() && row.due(NOW).0 == NOW.0 + WEEK_MS);
        row.state = DestructionState::Scheduled { due: row.due(NOW) };
        assert!(next(&row, &two, &second).unwrap_err().contains("not waiting"), "once is all that it is good for");
    }

    #[test]
    fn keys_and_words_that_deceive_are_refused() {
        let (row, _) = person(1, NOW);
        assert!(is_approval_key(&row.approval_key.unwrap().public_key));
        for weak in WEAK.into_iter().chain(["", "00", "zz", &"ab".repeat(33)]) {
            assert!(!is_approval_key(weak), "{weak}");
        }
        let signed = |number: &str| WEAK[1].replacen("01", number, 1);
        assert!(!is_approval_key(&signed("01")) && is_approval_key(&signed("02")));
        assert!(is_plain("개인정보 보호법 제21조 (GDPR art. 17)"));
        for bad in ["a\nb", "a\u{202e}b", "a\u{9b}b", "\u{feff}", "a\u{200b}"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn approvals_are_verified_again_when_it_is_due() {
        let ((one, by_one), (two, by_two)) = (person(1, UtcMillis(0)), person(2, UtcMillis(0)));
        let mut row = asked(&one);
        for (who, pair) in [(&one, &by_one), (&two, &by_two)] {
            let signature = sign(pair, &row.document);
            row.approvals.push(row.next_approval(who, &signature, false, NOW).unwrap());
        }
        let known = |rows: [PrincipalRow; 2]| move |id| rows.iter().find(|row| row.id == id).cloned();
        assert_eq!(row.verify(known([one.clone(), two.clone()])), Ok(()));
        let gone = PrincipalRow { active: false, ..two.clone() };
        assert!(row.verify(known([one.clone(), gone])).is_err());
        let (other, _) = person(2, UtcMillis(0));
        assert!(row.verify(known([one.clone(), other])).is_err(), "another key was enrolled since");
        let changed = DestructionRow { document: row.document.replace("it", "all"), ..row.clone() };
        assert!(changed.verify(known([one.clone(), two.clone()])).is_err());
        let alone = DestructionRow { approvals: vec![row.approvals[0].clone(); 2], ..row.clone() };
        assert!(alone.verify(known([one, two])).is_err(), "one person twice");
    }
}
