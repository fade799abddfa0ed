//! A certificate as a page for people, in English and Korean, with the signed JSON attached.

use super::certificate::{Certificate, SignedCertificate};
use super::{Request, Scope};
use crate::approval::digest_of;
use crate::statement::{Attachment, Bilingual, Column, Fact, Section, Statement, render};

/// The PDF of a certificate that was verified.
///
/// # Errors
/// When the signed form cannot be written down.
pub fn page(
    signed: &SignedCertificate,
    certificate: &Certificate,
    request: &Request,
) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_string(signed)?;
    let mut title = two("Certificate of Key Destruction", "암호키 파기 확인서");
    if request.trial {
        title = two("Trial of a Certificate of Key Destruction", "암호키 파기 확인서 (시험)");
    }
    let statement = Statement {
        title,
        subtitle: format!("{}  {}", request.tenant.name, request.id),
        sections: vec![
            what(certificate, request),
            keys(request),
            approvals(certificate),
            providers(certificate),
            checked(certificate),
            removed(certificate),
            survives(certificate),
            proof(signed, certificate, &json),
        ],
        footer: "Verify: gotgan key verify FILE --ca ca.pem. The attached JSON is what is signed; this page says it for people. 첨부된 JSON이 서명된 원본입니다.".to_owned(),
    };
    let attachment = Attachment { name: "certificate.json", mime: "application/json", bytes: json.as_bytes() };
    Ok(render(&statement, Some(attachment)))
}

fn two(en: &str, ko: &str) -> Bilingual {
    Bilingual::new(en, ko)
}

fn fact(en: &str, ko: &str, value: impl Into<String>) -> Fact {
    Fact::new(en, ko, value)
}

fn what(certificate: &Certificate, request: &Request) -> Section {
    let scope = match request.scope {
        Scope::Key => "one key (암호키 1개)",
        Scope::Bucket => "one bucket, by the key versions that it hung on (버킷 1개)",
        Scope::Tenant => "all keys of the tenant (기관의 모든 암호키)",
    };
    let waited = match request.waiting_days {
        0 => "none: due by law (없음: 법정 파기 기한)".to_owned(),
        days => format!("{days} days (일)"),
    };
    let mut facts = vec![
        fact("Tenant", "기관", format!("{} ({})", request.tenant.name, request.tenant.id)),
        fact("Scope", "범위", scope),
        fact("Buckets", "버킷", request.buckets.join(", ")),
        fact("Legal basis", "법적 근거", &request.legal_basis),
        fact("Reason", "사유", &request.reason),
        fact("Waiting period", "대기 기간", waited),
        fact("Issued", "발급 일시", &certificate.issued_at),
        fact("Issued by", "발급 노드", format!("installation {} in {}", request.installation, certificate.place)),
    ];
    if request.trial {
        facts.insert(0, fact("Trial", "시험", "made on a server that runs trials: nobody was made to wait (시험용)"));
    }
    Section::Facts { heading: two("What was destroyed", "파기 대상"), facts }
}

fn keys(request: &Request) -> Section {
    let mut rows = Vec::new();
    for key in &request.keys {
        for version in &key.versions {
            rows.push(vec![
                format!("{} {}", key.name, key.id),
                version.version.to_string(),
                format!("{} / {}", key.algorithm, key.provider),
                version.created.clone(),
                version.fingerprint.clone(),
            ]);
        }
    }
    let columns = vec![
        Column::new("Key", "암호키", 3.0),
        Column::new("Version", "버전", 0.8),
        Column::new("Algorithm / provider", "알고리즘 / 보관", 2.0),
        Column::new("Made", "생성 일시", 1.8),
        Column::mono("Fingerprint", "지문", 2.6),
    ];
    Section::Table { heading: two("Keys", "암호키"), columns, rows }
}

fn approvals(certificate: &Certificate) -> Section {
    let roles = ["asked for it (요청)", "approved it (승인)"];
    let rows = certificate.approvals.iter().zip(roles).map(|(one, role)| {
        vec![format!("{} {role}", one.name), one.at.clone(), one.public_key.clone(), one.signature.clone()]
    });
    let columns = vec![
        Column::new("Person", "담당자", 1.6),
        Column::new("Signed", "서명 일시", 1.4),
        Column::mono("Ed25519 key", "서명 키", 2.4),
        Column::mono("Signature", "서명", 3.4),
    ];
    Section::Table { heading: two("Approvals", "이중 승인"), columns, rows: rows.collect() }
}

fn providers(certificate: &Certificate) -> Section {
    let rows = certificate.destroyed.iter().map(|one| vec![one.key.clone(), one.at.clone(), one.answer.clone()]);
    let columns = vec![
        Column::mono("Key", "암호키", 2.2),
        Column::new("Destroyed", "파기 일시", 1.6),
        Column::new("What was done, and seen then", "방법과 결과", 4.0),
    ];
    Section::Table { heading: two("Destruction", "파기"), columns, rows: rows.collect() }
}

fn checked(certificate: &Certificate) -> Section {
    let tried = format!("{}, of which 0 opened", certificate.checked);
    let mut facts = vec![fact("Bucket keys tried after", "파기 후 시도한 키", tried)];
    if let Some(round) = &certificate.round {
        facts.push(fact("Root key before", "이전 루트 키", &round.root_key_before));
        facts.push(fact("Root key after", "이후 루트 키", &round.root_key_after));
        facts.push(fact("File of the one before", "이전 루트 키 파일", &round.file));
    }
    Section::Facts { heading: two("What was seen", "확인"), facts }
}

fn removed(certificate: &Certificate) -> Section {
    let rows = certificate
        .removed
        .iter()
        .map(|one| vec![one.bucket.clone(), one.objects.to_string(), one.uploads.to_string(), one.bytes.to_string()]);
    let columns = vec![
        Column::new("Bucket", "버킷", 3.0),
        Column::new("Objects", "객체", 1.2),
        Column::new("Uploads", "업로드", 1.2),
        Column::new("Bytes", "바이트", 1.6),
    ];
    Section::Table { heading: two("What was removed", "삭제된 것"), columns, rows: rows.collect() }
}

fn survives(certificate: &Certificate) -> Section {
    let rows = certificate.survives.iter().map(|one| vec![one.what.clone(), one.until.clone()]);
    let columns = vec![Column::new("What survives", "남는 것", 4.0), Column::new("Until", "언제까지", 2.6)];
    Section::Table {
        heading: two("What survives, and until when", "남는 것과 기한"), columns, rows: rows.collect()
    }
}

fn proof(signed: &SignedCertificate, certificate: &Certificate, json: &str) -> Section {
    let mono = |en: &str, ko: &str, value: &str| Fact::mono(en, ko, value);
    Section::Facts {
        heading: two("Proof", "증명"),
        facts: vec![
            mono("SHA-256 of the request", "요청서 SHA-256", &certificate.request_sha256),
            mono("SHA-256 of the attachment", "첨부 SHA-256", &digest_of(json)),
            fact("Algorithm", "알고리즘", &signed.algorithm),
            mono("Signature of the node", "노드 서명", &signed.signature),
            mono("Certificate of the node", "노드 인증서", &certificate.signer),
        ],
    }
}
