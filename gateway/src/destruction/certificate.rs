//! The certificate of a destruction: what, when, by whom, on which basis, what each provider did and what survives. The node
//! signs it with the key of its identity, so that whoever holds the CA's certificate can verify it, offline.

use certs::evidence::{self, Signed};
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{REQUEST, Request, Scope};
use crate::approval::{Approval, DAY_MS, digest_of, is_signed};
use crate::control::{Contents, DestructionRow, DestructionState, KeyAnswer, Origin, TenantKeyRow};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::node;

/// The format of certificates.
pub const CERTIFICATE: &str = "gotgan-destruction-certificate/1";

/// What is certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`CERTIFICATE`].
    pub format: String,
    /// When it was issued, RFC 3339.
    pub issued_at: String,
    /// Where the node that issued it stands.
    pub place: String,
    /// The certificate of the key that signs it (PEM), which this installation's CA signed.
    pub signer: String,
    /// The request, as it was signed: JSON, byte for byte.
    pub request: String,
    /// SHA-256 of it.
    pub request_sha256: String,
    /// Who signed it: whoever asked, then whoever approved.
    pub approvals: Vec<Approved>,
    /// The keys that were destroyed; where a bucket was, their versions before the last one.
    pub destroyed: Vec<Destroyed>,
    /// The round that replaced the root key, when one of the keys was the sealed file's.
    pub round: Option<Round>,
    /// Bucket keys that hung on them and were tried with all that was stored then: none opened.
    pub checked: u64,
    /// What was removed from the catalog, bucket by bucket, as it was when the keys were destroyed.
    pub removed: Vec<Contents>,
    /// What survives, and until when.
    pub survives: Vec<Survivor>,
}

/// A signature under the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// Who: its id.
    pub principal: String,
    /// Its name.
    pub name: String,
    /// Its key (Ed25519, hex).
    pub public_key: String,
    /// The signature (hex), over `gotgan-approval/1`, a zero byte and the SHA-256 of the request.
    pub signature: String,
    /// When, RFC 3339.
    pub at: String,
}

impl From<&Approval> for Approved {
    fn from(approval: &Approval) -> Self {
        Self {
            principal: approval.principal.to_string(),
            name: approval.name.clone(),
            public_key: approval.public_key.clone(),
            signature: approval.signature.clone(),
            at: crate::clock::rfc3339(approval.at),
        }
    }
}

/// A key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroyed {
    /// Its id.
    pub key: String,
    /// What its provider did, and saw then.
    pub answer: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A root key took the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// The one before.
    pub root_key_before: String,
    /// The one that took its place.
    pub root_key_after: String,
    /// What became of the file of the one before.
    pub file: String,
}

/// Something that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// What.
    pub what: String,
    /// Until when, or until what is done by whom.
    pub until: String,
}

/// A certificate with its signature, as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCertificate {
    /// The certificate: JSON, byte for byte.
    pub certificate: String,
    /// How it is signed.
    pub algorithm: String,
    /// The signature over it (hex).
    pub signature: String,
}

/// Why a certificate is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid certificate of destruction: {0}")]
pub struct Disbelieved(pub String);

impl SignedCertificate {
    /// With its signature.
    #[must_use]
    pub fn new(signed: Signed) -> Self {
        let (certificate, algorithm) = (signed.text, evidence::ALGORITHM.to_owned());
        Self { certificate, algorithm, signature: hex::encode(signed.signature) }
    }

    /// Verifies all that it says of itself, by the CA's certificate (PEM) and nothing else.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, ca: &[u8]) -> Result<(Certificate, Request), Disbelieved> {
        let why = |why: &str| Disbelieved(why.to_owned());
        let certificate: Certificate =
            serde_json::from_str(&self.certificate).map_err(|e| Disbelieved(format!("it does not parse: {e}")))?;
        if certificate.format != CERTIFICATE || self.algorithm != evidence::ALGORITHM {
            return Err(why("it has another format"));
        }
        let issued = OffsetDateTime::parse(&certificate.issued_at, &Rfc3339).map_err(|_| why("it has no time"))?;
        let signature = hex::decode(&self.signature).map_err(|_| why("its signature is not hex"))?;
        let signed = Signed { text: self.certificate.clone(), signature };
        evidence::verify(ca, &certificate.signer, &signed, issued.unix_timestamp()).map_err(Disbelieved)?;
        let request: Request =
            serde_json::from_str(&certificate.request).map_err(|e| Disbelieved(format!("its request: {e}")))?;
        if digest_of(&certificate.request) != certificate.request_sha256 {
            return Err(why("the digest of its request is another"));
        }
        if request.format != REQUEST || request.keys.is_empty() {
            return Err(why("its request has another format, or names no key"));
        }
        let signs = |one: &Approved| is_signed(&certificate.request, &one.public_key, &one.signature);
        if !certificate.approvals.iter().all(signs) {
            return Err(why("a signature under its request is not good"));
        }
        let two = match certificate.approvals.as_slice() {
            [first, second] => {
                first.principal == request.requested_by.id
                    && first.principal != second.principal
                    && first.public_key != second.public_key
            }
            _ => false,
        };
        if !two {
            return Err(why("its request was not signed by two persons"));
        }
        let named = |key: &str| certificate.destroyed.iter().any(|one| one.key == key);
        if request.keys.len() != certificate.destroyed.len() || !request.keys.iter().all(|key| named(&key.id)) {
            return Err(why("the keys that were destroyed are not those that were asked for"));
        }
        in_time(&certificate, &request, issued)?;
        Ok((certificate, request))
    }
}

/// Whether nobody was spared the waiting, as the certificate says itself.
fn in_time(certificate: &Certificate, request: &Request, issued: OffsetDateTime) -> Result<(), Disbelieved> {
    let time =
        |text: &str| OffsetDateTime::parse(text, &Rfc3339).map_err(|_| Disbelieved(format!("{text} is no time")));
    let (asked, expires) = (time(&request.requested_at)?, time(&request.expires_at)?);
    let mut approved = asked;
    for approval in &certificate.approvals {
        let at = time(&approval.at)?;
        if at < approved || at >= expires {
            return Err(Disbelieved(format!("{} signed before it was asked, or when it was void", approval.name)));
        }
        approved = at;
    }
    let due = approved + time::Duration::milliseconds(i64::from(request.waiting_days) * DAY_MS.cast_signed());
    for one in &certificate.destroyed {
        let at = time(&one.at)?;
        if at < due || at > issued {
            return Err(Disbelieved(format!(
                "the key {} was destroyed before it was due, or later than this says",
                one.key
            )));
        }
    }
    Ok(())
}

/// As certificates have times.
#[must_use]
pub fn at(time: UtcMillis) -> String {
    crate::clock::rfc3339(time)
}

/// The certificate of a destruction whose keys are gone and whose buckets are removed, but for those that stay; to be signed.
pub(super) async fn issue(gateway: &Gateway, row: &DestructionRow, stays: &[String]) -> Result<Certificate, Error> {
    let DestructionState::Removing { answers, round, checked: Some(checked), contents, .. } = &row.state else {
        return Err(Error::Missing("what was destroyed"));
    };
    let destroyed =
        |one: &KeyAnswer| Destroyed { key: one.key.to_string(), answer: one.answer.clone(), at: at(one.at) };
    let elsewhere = round.is_none() || answers.len() > 1;
    let mut survives = survivors(round.is_some(), gateway.root_inside_data, elsewhere, stays);
    let request: Request = serde_json::from_str(&row.asked.document).map_err(|e| Error::Corrupt(e.to_string()))?;
    if request.scope == Scope::Tenant {
        let others = |key: &TenantKeyRow| key.tenant == row.tenant && !key.state.is_destroyed();
        for key in gateway.control.rows(OTHERS_MAX, others).await? {
            let what =
                format!("the tenant key {} ({}), made after the request, and what hangs on it", key.name, key.id);
            survives.push(Survivor { what, until: "somebody asks for its destruction".to_owned() });
        }
    }
    if request.scope == Scope::Bucket {
        for key in &row.keys {
            let Some(key) = gateway.control.row::<TenantKeyRow>(key.as_bytes()).await? else { continue };
            if key.state.is_destroyed() {
                continue;
            }
            let version = key.current()?.number;
            let what = format!("the tenant key {} ({}) with version {version}, and other buckets", key.name, key.id);
            survives.push(Survivor { what, until: "somebody asks for its destruction".to_owned() });
        }
    }
    survives.extend(copies(gateway, row).await?);
    // Whatever the clock says now: it is issued behind what it certifies.
    let issued = answers.iter().map(|one| one.at).fold(crate::clock::now(), UtcMillis::max);
    Ok(Certificate {
        format: CERTIFICATE.to_owned(),
        issued_at: at(issued),
        place: node::describe(&gateway.identity.load()),
        signer: String::new(),
        request: row.asked.document.clone(),
        request_sha256: digest_of(&row.asked.document),
        approvals: row.asked.approvals.iter().map(Into::into).collect(),
        destroyed: answers.iter().map(destroyed).collect(),
        round: round.map(|(before, after)| Round {
            root_key_before: before.to_string(),
            root_key_after: after.to_string(),
            file: "the file of the one before was overwritten, and replaced by that of the other".to_owned(),
        }),
        checked: *checked,
        removed: contents.iter().filter(|one| !stays.contains(&one.bucket)).cloned().collect(),
        survives,
    })
}

/// Copies that lie where no provider destroys them: keys that the tenant brought, and what buckets hung on before they were moved.
async fn copies(gateway: &Gateway, row: &DestructionRow) -> Result<Vec<Survivor>, Error> {
    let mut out = Vec::new();
    for id in &row.keys {
        let Some(key) = gateway.control.row::<TenantKeyRow>(id.as_bytes()).await? else { continue };
        if key.versions.iter().any(|version| version.origin == Origin::Imported) {
            let what = format!(
                "the tenant's own copies of the key {} ({}), which it brought: with one of them, and a copy of the data of then, what hung on it opens",
                key.name, key.id
            );
            out.push(Survivor { what, until: "the tenant destroys them, which is its to do at once".to_owned() });
        }
    }
    for (bucket, other) in &row.moved {
        let Some(key) = gateway.control.row::<TenantKeyRow>(other.as_bytes()).await? else { continue };
        if key.state.is_destroyed() {
            continue;
        }
        let what = format!(
            "copies and older files of the catalog from when the bucket {bucket} hung on the tenant key {} ({}), WHICH LIVES: with it what was in the bucket then opens",
            key.name, key.id
        );
        out.push(Survivor { what, until: "they are compacted or deleted, or that key is destroyed".to_owned() });
    }
    Ok(out)
}

/// Keys of a tenant at most.
const OTHERS_MAX: usize = 1000;

/// What is still there, said as it is.
fn survivors(root_key: bool, root_inside: bool, elsewhere: bool, stays: &[String]) -> Vec<Survivor> {
    let one = |what: &str, until: &str| Survivor { what: what.to_owned(), until: until.to_owned() };
    let mut out = vec![
        one(
            "sealed bytes of the removed objects in the chunk store, which open under no key that there is but those named below",
            "they are collected and their segments reclaimed, which begins at once",
        ),
        one(
            "sealed rows of them in older files of the catalog, which open under no key that there is but those named below",
            "these files are compacted",
        ),
        one("records of the access log, which name objects and no content", "the end of their retention"),
    ];
    out.push(match root_key && root_inside {
        true => one(
            "copies of the data directory that were made before, WHICH HOLD THE ROOT KEY OF THEN: with one of them the keys open",
            "their holders destroy them, which is theirs to do at once",
        ),
        false => one(
            "copies and backups of the data directory that were made before, of which alone nothing that hung on these keys opens",
            "their holders delete them",
        ),
    });
    if root_key && !root_inside {
        out.push(one(
            "copies of the root key's directory that were made before the round: with one of them, and a copy of the data of then, the keys open",
            "their holders destroy them, which is theirs to do at once",
        ));
    }
    if elsewhere {
        out.push(one(
            "backups and replicas of the key provider that were made before, if there are any",
            "the provider's operator destroys them, which is theirs to do at once",
        ));
    }
    out.extend(stays.iter().map(|name| {
        one(
            &format!("rows of the bucket {name} that cannot be read and so not be removed"),
            "somebody looks after the damage",
        )
    }));
    out
}
