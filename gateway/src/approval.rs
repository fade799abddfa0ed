//! What takes two persons (SECURITY.md rule 20): a document that one asks for and signs, and another approves and signs, each
//! with a key that never leaves its holder. A signature is good for its document alone, and is verified again beside what it
//! permits.

use std::collections::BTreeSet;

use policy::id::{PrincipalId, TenantId};
use policy::time::UtcMillis;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::control::PrincipalRow;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 3600 * 1000;
/// What nobody approved by then is void; and who approves, its key and its credential are at least as old.
pub const WEEK_MS: u64 = 7 * DAY_MS;
/// Persons that sign: whoever asks, and whoever approves.
const PERSONS: usize = 2;
/// What every signature begins with: it is good for nothing else.
const PURPOSE: &[u8] = b"gotgan-approval/1\0";

/// A row that has an id and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A document that two persons must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What is asked for, as it is signed: JSON, byte for byte.
    pub document: String,
    /// Who asked.
    pub requester: PrincipalId,
    /// When.
    pub created: UtcMillis,
    /// Who signed it: whoever asked, then whoever approved.
    pub approvals: Vec<Approval>,
}

/// A signature under a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who signed.
    pub principal: PrincipalId,
    /// Its name.
    pub name: String,
    /// Its key (Ed25519, hex).
    pub public_key: String,
    /// The signature (hex).
    pub signature: String,
    /// When it arrived.
    pub at: UtcMillis,
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

/// Everybody who made a principal or had a secret made for it, and those behind them.
fn origins(of: &PrincipalRow, known: &impl Fn(PrincipalId) -> Option<PrincipalRow>) -> BTreeSet<PrincipalId> {
    let (mut out, mut left) = (BTreeSet::new(), vec![of.clone()]);
    while let Some(row) = left.pop() {
        for origin in row.made_by.into_iter().chain(row.secret_by.iter().map(|(by, _)| *by)) {
            if out.insert(origin) {
                left.extend(known(origin));
            }
        }
    }
    out
}

/// Whether a principal, its approval key and each secret that others had made for it have been there for a week.
fn is_settled(row: &PrincipalRow, now: UtcMillis) -> bool {
    let old = |at: UtcMillis| at.0.saturating_add(WEEK_MS) <= now.0;
    old(row.created)
        && row.approval_key.as_ref().is_some_and(|key| old(key.enrolled))
        && row.secret_by.iter().all(|(_, at)| old(*at))
}

impl Asked {
    /// Asked for now, and not signed yet.
    #[must_use]
    pub const fn new(document: String, requester: PrincipalId, now: UtcMillis) -> Self {
        Self { document, requester, created: now, approvals: Vec::new() }
    }

    /// The next signature, if this principal may give it now. `known` are the rows of all that it and whoever asked descend from.
    /// In a trial nobody must have been there for a week.
    ///
    /// # Errors
    /// Why it may not.
    pub fn next_approval(
        &self,
        principal: &PrincipalRow,
        signature: &str,
        known: impl Fn(PrincipalId) -> Option<PrincipalRow>,
        (trial, now): (bool, UtcMillis),
    ) -> Result<Approval, String> {
        if self.is_void(now) {
            return Err("nobody approved it within a week: it is void, ask anew".to_owned());
        }
        let key = principal.approval_key.as_ref().ok_or("enrol an approval key first: gotgan key approver")?;
        match self.approvals.as_slice() {
            [] if principal.id != self.requester => {
                return Err("whoever asked for it signs first".to_owned());
            }
            [] => {}
            [first, ..] => self.may_approve(principal, first, known, (trial, now))?,
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
        known: impl Fn(PrincipalId) -> Option<PrincipalRow>,
        (trial, now): (bool, UtcMillis),
    ) -> Result<(), String> {
        let key = principal.approval_key.as_ref();
        if principal.id == self.requester || key.is_some_and(|key| key.public_key == first.public_key) {
            return Err("whoever asks does not approve: it takes two persons".to_owned());
        }
        let asker = known(self.requester).ok_or("whoever asked is not there any more")?;
        // Whoever makes somebody, or has a secret made for it, may be it: directly or by others.
        if origins(principal, &known).contains(&self.requester) || origins(&asker, &known).contains(&principal.id) {
            return Err("one of the two was made, or given a secret, by the other: it takes two persons".to_owned());
        }
        if !(trial || is_settled(principal, now) && is_settled(&asker, now)) {
            return Err(
                "who asks and who approves, their keys and credentials must have been there for a week".to_owned()
            );
        }
        Ok(())
    }

    /// Whether it is too late to sign it.
    #[must_use]
    pub const fn is_void(&self, now: UtcMillis) -> bool {
        now.0 >= self.created.0.saturating_add(WEEK_MS)
    }

    /// Whether all have signed that must.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.approvals.len() >= PERSONS
    }

    /// Verifies all signatures once more, by the keys that their principals, of this tenant or the platform's, have enrolled
    /// now: asked beside what cannot be undone.
    ///
    /// # Errors
    /// Which does not hold.
    pub fn verify(
        &self,
        tenant: Option<TenantId>,
        known: impl Fn(PrincipalId) -> Option<PrincipalRow>,
    ) -> Result<(), String> {
        let mut persons = Vec::new();
        for approval in &self.approvals {
            let holds = known(approval.principal).is_some_and(|row| {
                row.active
                    && row.tenant == tenant
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

    /// Who signed, by name.
    #[must_use]
    pub fn signed_by(&self) -> String {
        self.approvals.iter().map(|approval| approval.name.as_str()).collect::<Vec<_>>().join(", ")
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
            made_by: None,
            secret_by: Vec::new(),
        };
        (row, pair)
    }

    fn sign(pair: &Ed25519KeyPair, document: &str) -> String {
        hex::encode(pair.sign(&to_sign(document)))
    }

    fn asked(requester: &PrincipalRow) -> Asked {
        Asked::new("{\"what\":\"it\"}".to_owned(), requester.id, NOW)
    }

    #[test]
    fn it_takes_two_persons_who_have_been_there_for_a_week() {
        let old = UtcMillis(NOW.0 - WEEK_MS);
        let ((one, by_one), (two, by_two)) = (person(1, old), person(2, old));
        let mut row = asked(&one);
        let [first, second] = [&by_one, &by_two].map(|pair| sign(pair, &row.document));
        let of = |asker: PrincipalRow| move |id: PrincipalId| (id == asker.id).then(|| asker.clone());
        let next = |row: &Asked, who: &PrincipalRow, signature: &str| {
            row.next_approval(who, signature, of(one.clone()), (false, NOW))
        };
        assert!(next(&row, &two, &second).unwrap_err().contains("signs first"));
        assert!(next(&row, &one, &second).unwrap_err().contains("not one of this request"));
        row.approvals.push(next(&row, &one, &first).unwrap());
        assert!(!row.is_approved());
        assert!(next(&row, &one, &first).unwrap_err().contains("two persons"));
        let (fresh, by_fresh) = person(3, UtcMillis(old.0 + 1));
        let by_fresh = sign(&by_fresh, &row.document);
        assert!(next(&row, &fresh, &by_fresh).unwrap_err().contains("for a week"));
        let trial = row.next_approval(&fresh, &by_fresh, of(one.clone()), (true, NOW));
        assert!(trial.is_ok(), "in a trial nobody waits");
        let same_key = PrincipalRow { approval_key: one.approval_key.clone(), ..two.clone() };
        assert!(next(&row, &same_key, &first).unwrap_err().contains("two persons"), "of one hand");
        let none = PrincipalRow { approval_key: None, ..two.clone() };
        assert!(next(&row, &none, &second).unwrap_err().contains("enrol"));
        let late = (false, UtcMillis(NOW.0 + WEEK_MS));
        assert!(row.next_approval(&two, &second, of(one.clone()), late).unwrap_err().contains("void"));
        let asker = PrincipalRow { created: NOW, ..one.clone() };
        let young = row.next_approval(&two, &second, of(asker), (false, NOW));
        assert!(young.unwrap_err().contains("for a week"), "who asks, too");
        row.approvals.push(next(&row, &two, &second).unwrap());
        assert!(row.is_approved());
    }

    #[test]
    fn one_person_with_two_names_is_one() {
        let old = UtcMillis(NOW.0 - WEEK_MS);
        let ((one, by_one), (two, by_two), (three, _)) = (person(1, old), person(2, old), person(3, old));
        let mut row = asked(&one);
        let [first, second] = [&by_one, &by_two].map(|pair| sign(pair, &row.document));
        row.approvals.push(row.next_approval(&one, &first, |_| None, (false, NOW)).unwrap());
        let try_with = |rows: [PrincipalRow; 3]| {
            let known = |id: PrincipalId| rows.iter().find(|row| row.id == id).cloned();
            row.next_approval(&rows[1], &second, known, (true, NOW)).map(|_| ())
        };
        let made = |row: &PrincipalRow, by: &PrincipalRow| PrincipalRow { made_by: Some(by.id), ..row.clone() };
        let given = |row: &PrincipalRow, by: &PrincipalRow| row.clone().given_secret(by.id, old);
        assert_eq!(try_with([one.clone(), two.clone(), three.clone()]), Ok(()));
        assert_eq!(try_with([made(&one, &three), made(&two, &three), three.clone()]), Ok(()), "of a third hand");
        assert_eq!(try_with([one.clone(), given(&two, &two), three.clone()]), Ok(()), "its own");
        for puppets in [
            [one.clone(), made(&two, &one), three.clone()],
            [made(&one, &two), two.clone(), three.clone()],
            [one.clone(), given(&two, &one), three.clone()],
            [given(&one, &two), two.clone(), three.clone()],
            [one.clone(), made(&two, &three), made(&three, &one)],
            [made(&one, &three), two.clone(), given(&three, &two)],
            [one.clone(), given(&given(&two, &one), &two), three.clone()],
        ] {
            assert!(try_with(puppets).unwrap_err().contains("by the other"));
        }
        let reset = given(&two, &three);
        let reset = PrincipalRow { secret_by: vec![(three.id, NOW)], ..reset };
        let known = |id: PrincipalId| [&one, &three].into_iter().find(|row| row.id == id).cloned();
        let signed = row.next_approval(&reset, &second, known, (false, NOW));
        assert!(signed.unwrap_err().contains("for a week"), "a secret of yesterday");
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
            let known = |_| Some(one.clone());
            row.approvals.push(row.next_approval(who, &signature, known, (true, NOW)).unwrap());
        }
        let known = |rows: [PrincipalRow; 2]| move |id| rows.iter().find(|row| row.id == id).cloned();
        assert_eq!(row.verify(Some(TENANT), known([one.clone(), two.clone()])), Ok(()));
        let gone = PrincipalRow { active: false, ..two.clone() };
        assert!(row.verify(Some(TENANT), known([one.clone(), gone])).is_err());
        let (other, _) = person(2, UtcMillis(0));
        assert!(row.verify(Some(TENANT), known([one.clone(), other])).is_err(), "another key was enrolled since");
        let changed = Asked { document: row.document.replace("it", "all"), ..row.clone() };
        assert!(changed.verify(Some(TENANT), known([one.clone(), two.clone()])).is_err());
        let alone = Asked { approvals: vec![row.approvals[0].clone(); 2], ..row.clone() };
        assert!(alone.verify(Some(TENANT), known([one.clone(), two.clone()])).is_err(), "one person twice");
        assert!(row.verify(None, known([one, two])).is_err(), "persons of the platform must be its own");
    }
}
