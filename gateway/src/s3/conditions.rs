//! Conditional headers. Those of reads answer 304 or 412; those of writes become a precondition that
//! the catalog's writer checks in the same batch, so that of many writers one wins.

use std::time::Duration;

use http::Method;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use policy::id::VersionId;
use policy::name::ObjectKey;
use policy::time::UtcMillis;
use s3s::dto::{ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result};
use storage::catalog::{CommitError, CurrentRow, Precondition, Refusal};

use super::Call;
use super::checks::StoredETag;
use super::metadata::ListValues;
use super::put::decode;
use crate::control::Bucket;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::{BucketKey, list_version};
use crate::seal::SealError;
use crate::seal::value::Owner;

/// Conditions of a read, of a copy source too.
#[derive(Debug, Default)]
pub(super) struct ReadConditions<'a> {
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
    pub if_modified_since: Option<&'a Timestamp>,
    pub if_unmodified_since: Option<&'a Timestamp>,
}

impl ReadConditions<'_> {
    /// RFC 9110 section 13.2.2, as S3 applies it. `copy` turns every refusal into 412.
    pub(super) fn check(&self, etag: &StoredETag, modified: UtcMillis, copy: bool) -> S3Result<()> {
        let matches = |condition: &ETagCondition| {
            condition.is_any() || condition.as_etag().is_some_and(|e| e.value() == etag.text())
        };
        let failed =
            || s3s::s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
        match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition) => return Err(failed()),
            (None, Some(since)) if seconds(modified) > of(since) => return Err(failed()),
            _ => {}
        }
        let unchanged = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => matches(condition),
            (None, Some(since)) => seconds(modified) <= of(since),
            (None, None) => false,
        };
        match (unchanged, copy) {
            (false, _) => Ok(()),
            (true, true) => Err(failed()),
            (true, false) => Err(not_modified(etag, modified)),
        }
    }
}

/// Whether a Range is meant for the object as it is: by its ETag, or by exactly its date (RFC 9110 section 13.1.5).
pub(super) fn if_range(headers: &HeaderMap, etag: &StoredETag, modified: UtcMillis) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    match Timestamp::parse(TimestampFormat::HttpDate, text) {
        Ok(at) => of(&at) == seconds(modified),
        Err(_) => text.trim_matches('"') == etag.text(),
    }
}

/// Dates are no conditions of S3's writes, and ETags are those of few: refused, never ignored (S3.md trap 21).
pub(super) fn refuse_on_writes(operation: &str, method: &Method, headers: &HeaderMap) -> S3Result<()> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let mut refused = vec![IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    match operation {
        "PutObject" | "CopyObject" | "CompleteMultipartUpload" => {}
        // AWS's common runtime sends If-Match with every request of an upload in parts; the last of them obeys it.
        "DeleteObject" | "CreateMultipartUpload" | "UploadPart" | "AbortMultipartUpload" => refused.push(IF_NONE_MATCH),
        _ => refused.extend([IF_MATCH, IF_NONE_MATCH]),
    }
    match refused.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(super::unsupported(&format!("The header {name} on this operation"))),
        None => Ok(()),
    }
}

/// 304 has no body, but tells the ETag.
fn not_modified(etag: &StoredETag, modified: UtcMillis) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(http::StatusCode::NOT_MODIFIED);
    let mut headers = HeaderMap::new();
    if let Ok(value) = format!("\"{}\"", etag.text()).parse() {
        headers.insert(http::header::ETAG, value);
    }
    let at = std::time::UNIX_EPOCH + Duration::from_millis(modified.0);
    let mut text = Vec::new();
    if Timestamp::from(at).format(TimestampFormat::HttpDate, &mut text).is_ok()
        && let Ok(value) = http::HeaderValue::from_bytes(&text)
    {
        headers.insert(http::header::LAST_MODIFIED, value);
    }
    error.set_headers(headers);
    error
}

/// Conditions on the destination of a copy, which `s3s` leaves among the headers.
#[derive(Debug)]
pub(super) struct WriteConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    pub(super) fn read(headers: &HeaderMap) -> S3Result<Self> {
        let read = |name: &HeaderName| {
            let Some(value) = headers.get(name) else { return Ok(None) };
            ETagCondition::parse_http_header(value.as_bytes())
                .map(Some)
                .map_err(|_| s3s::s3_error!(InvalidArgument, "{name} is neither * nor an ETag"))
        };
        Ok(Self { if_match: read(&IF_MATCH)?, if_none_match: read(&IF_NONE_MATCH)? })
    }
}

/// The precondition of a write. `If-Match` compares the opened ETag here and is committed by
/// compare-and-swap on the version id.
pub(super) async fn of_write(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    name: &ObjectKey,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Precondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (Some(_), Some(_)) => Err(super::unsupported("If-Match together with If-None-Match")),
        (None, Some(condition)) if condition.is_any() => {
            // The commit decides; looking first spares a body that could not win.
            match gateway.catalog.current(bucket.id, name).await.map_err(Error::from)? {
                Some(_) => Err(refused(Refusal::PreconditionFailed)),
                None => Ok(Precondition::Absent),
            }
        }
        (None, Some(_)) => Err(super::unsupported("If-None-Match with an ETag on a write")),
        (Some(condition), None) => {
            let row = gateway.catalog.current(bucket.id, name).await.map_err(Error::from)?;
            let row = row.ok_or_else(|| refused(Refusal::NotFound))?;
            let version = list_version(&row.list_values);
            let key = gateway.keys.bucket_key_for(bucket, version, call.purpose(gateway)).await?;
            let values = open_values(bucket, &key, name.as_bytes(), &row)?;
            let holds = condition.is_any() || condition.as_etag().is_some_and(|e| e.value() == values.etag.text());
            if holds { Ok(Precondition::Version(row.version)) } else { Err(refused(Refusal::PreconditionFailed)) }
        }
    }
}

/// If-Match held when the request began and no longer at the commit: another writer came between, and
/// S3 answers 409, which clients retry (S3.md trap 20). What If-None-Match lost is plainly there: 412.
pub(super) fn lost_race(error: Error, if_match: bool) -> S3Error {
    match error {
        Error::Commit(CommitError::Refused(Refusal::PreconditionFailed | Refusal::NotFound)) if if_match => {
            s3s::s3_error!(
                ConditionalRequestConflict,
                "The conditional request cannot succeed due to a conflicting operation against this resource."
            )
        }
        other => S3Error::from(other),
    }
}

/// Opens the list values of a current row.
pub(super) fn open_values(
    bucket: &Bucket,
    key: &BucketKey,
    name: &[u8],
    row: &CurrentRow,
) -> Result<ListValues, Error> {
    let owner = Owner { tenant: bucket.tenant, bucket: bucket.id, name, version: row.version };
    let opened = key.open_list(&owner, row.size, row.modified.0, &row.list_values);
    decode(&opened.inspect_err(|error| report(bucket, row.version, error))?)
}

/// Counts and reports a listed row that does not open.
pub(super) fn report(bucket: &Bucket, version: VersionId, error: &SealError) {
    metrics::counter!("gotgan_rows_refused_total").increment(1);
    tracing::error!(bucket = %bucket.id, %version, %error, "a listed row does not open");
}

fn refused(refusal: Refusal) -> S3Error {
    Error::Commit(CommitError::Refused(refusal)).into()
}

/// HTTP dates have whole seconds.
fn seconds(at: UtcMillis) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}

fn of(at: &Timestamp) -> i64 {
    let at: time::OffsetDateTime = at.clone().into();
    at.unix_timestamp()
}

#[cfg(test)]
mod tests {
    use s3s::dto::ETag;

    use super::*;

    fn tag(text: &str) -> ETagCondition {
        ETagCondition::ETag(ETag::Strong(text.to_owned()))
    }

    fn at(seconds: i64) -> Timestamp {
        time::OffsetDateTime::from_unix_timestamp(seconds).unwrap().into()
    }

    #[test]
    fn reads_follow_rfc_9110() {
        let etag = StoredETag { md5: [0xab; 16], parts: None };
        let modified = UtcMillis(1_000_500);
        let same = tag(&etag.text());
        let other = tag("0");
        let code = |c: ReadConditions<'_>, copy| c.check(&etag, modified, copy).err().map(|e| e.code().clone());
        assert_eq!(code(ReadConditions { if_match: Some(&same), ..Default::default() }, false), None);
        assert_eq!(
            code(ReadConditions { if_match: Some(&other), ..Default::default() }, false),
            Some(S3ErrorCode::PreconditionFailed)
        );
        assert_eq!(
            code(ReadConditions { if_none_match: Some(&same), ..Default::default() }, false),
            Some(S3ErrorCode::NotModified)
        );
        assert_eq!(
            code(ReadConditions { if_none_match: Some(&same), ..Default::default() }, true),
            Some(S3ErrorCode::PreconditionFailed)
        );
        assert_eq!(
            code(ReadConditions { if_modified_since: Some(&at(1000)), ..Default::default() }, false),
            Some(S3ErrorCode::NotModified)
        );
        assert_eq!(
            code(ReadConditions { if_unmodified_since: Some(&at(999)), ..Default::default() }, false),
            Some(S3ErrorCode::PreconditionFailed)
        );
        // If-Match holds: If-Unmodified-Since is not looked at.
        let both = ReadConditions { if_match: Some(&same), if_unmodified_since: Some(&at(0)), ..Default::default() };
        assert_eq!(code(both, false), None);
        // If-None-Match does not match: If-Modified-Since is not looked at.
        let both =
            ReadConditions { if_none_match: Some(&other), if_modified_since: Some(&at(9999)), ..Default::default() };
        assert_eq!(code(both, false), None);
    }

    /// RFC 9110 section 13.2.2, step by step, over every combination of headers.
    #[test]
    fn every_combination_of_conditions_follows_the_steps() {
        let etag = StoredETag { md5: [0xab; 16], parts: Some(3) };
        let modified = UtcMillis(1_000_500);
        let tags = [None, Some((ETagCondition::Any, true)), Some((tag(&etag.text()), true)), Some((tag("0"), false))];
        let times = [None, Some((at(999), true)), Some((at(1000), false)), Some((at(1001), false))];
        for (if_match, if_none_match) in tags.iter().flat_map(|a| tags.iter().map(move |b| (a, b))) {
            for (modified_since, unmodified_since) in times.iter().flat_map(|a| times.iter().map(move |b| (a, b))) {
                let conditions = ReadConditions {
                    if_match: if_match.as_ref().map(|(condition, _)| condition),
                    if_none_match: if_none_match.as_ref().map(|(condition, _)| condition),
                    if_modified_since: modified_since.as_ref().map(|(time, _)| time),
                    if_unmodified_since: unmodified_since.as_ref().map(|(time, _)| time),
                };
                let was_later = |time: &Option<(Timestamp, bool)>| time.as_ref().map(|(_, later)| *later);
                let matches = |tag: &Option<(ETagCondition, bool)>| tag.as_ref().map(|(_, matches)| *matches);
                let lost = matches(if_match).map(|m| !m).or(was_later(unmodified_since)) == Some(true);
                let same = matches(if_none_match).or(was_later(modified_since).map(|later| !later)) == Some(true);
                for copy in [false, true] {
                    let code = conditions.check(&etag, modified, copy).err().map(|e| e.code().clone());
                    let wanted = match (lost, same, copy) {
                        (false, false, _) => None,
                        (false, true, false) => Some(S3ErrorCode::NotModified),
                        _ => Some(S3ErrorCode::PreconditionFailed),
                    };
                    assert_eq!(code, wanted, "{conditions:?}, copy: {copy}");
                }
            }
        }
    }
}
