//! Values that S3 ignores, or takes as they are, where `s3s` refuses the request: a Range that is none or counts
//! further than there are numbers, the date of a read's condition that is none (RFC 9110 sections 13.1.3, 13.1.4 and
//! 14.1.2), an Expires that is any text. A signature covers them, so `s3s` verifies the request as it came; then it is asked
//! once more with what it means, for the account whose signature that was.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, EXPIRES, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, RANGE};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use s3s::auth::Credentials;
use s3s::dto::{Range, Timestamp, TimestampFormat};
use s3s::route::S3Route;
use s3s::service::S3Service;
use s3s::{Body, S3Request, S3Response, S3Result};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::query::parameters;

/// Headers whose date is a condition of a read.
const OF_READS: [HeaderName; 2] = [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
/// The same of a copy, on its source.
const OF_COPIES: [HeaderName; 2] = [
    HeaderName::from_static("x-amz-copy-source-if-modified-since"),
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
];
/// The Expires that a presigned request wants of the answer.
const RESPONSE_EXPIRES: &str = "response-expires";
/// The last position that `s3s` reads, and no object has.
const FAR: u64 = i64::MAX.unsigned_abs();
/// RFC 9110 section 5.6.7, as C writes it.
const ASCTIME: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]");

/// Who signed a request that is asked once more. Nothing that comes over the network is an extension.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub credentials: Credentials,
    /// Its Authorization header, which frames of the body build upon.
    pub authorization: Option<HeaderValue>,
}

/// An Expires that is no date, as it was given.
#[derive(Debug, Clone)]
pub(super) struct GivenExpires(pub String);

/// Requests that mean something else than `s3s` reads in them.
#[derive(Debug)]
pub struct Lenient {
    /// Answers them, and nobody else.
    again: S3Service,
}

impl Lenient {
    /// Over the service that is asked once more.
    #[must_use]
    pub const fn new(again: S3Service) -> Self {
        Self { again }
    }
}

#[async_trait::async_trait]
impl S3Route for Lenient {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _extensions: &mut Extensions) -> bool {
        !meant(method, headers).is_empty() || given_expires(method, uri, headers).is_some()
    }

    /// Admission follows when it is asked once more.
    async fn check_access(&self, _request: &mut S3Request<Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let S3Request { input, method, uri, mut headers, mut extensions, credentials, .. } = request;
        if let Some(given) = given_expires(&method, &uri, &headers) {
            extensions.insert(given);
            if !reads(&method) {
                headers.remove(EXPIRES);
            }
        }
        for (name, value) in meant(&method, &headers) {
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
        let authorization = headers.remove(AUTHORIZATION);
        if let Some(credentials) = credentials {
            extensions.insert(Verified { credentials, authorization });
        }
        let mut again = Request::new(input);
        *again.uri_mut() = unsigned(uri)?;
        (*again.method_mut(), *again.headers_mut(), *again.extensions_mut()) = (method, headers, extensions);
        let answer = self.again.call(again).await.map_err(|error| {
            tracing::error!(?error, "the S3 service failed");
            s3s::s3_error!(InternalError)
        })?;
        let (parts, output) = answer.into_parts();
        let mut response = S3Response::with_headers(output, parts.headers);
        (response.status, response.extensions) = (Some(parts.status), parts.extensions);
        Ok(response)
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Headers to replace, or to take away.
fn meant(method: &Method, headers: &HeaderMap) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let mut changes = Vec::new();
    if let Some(range) = headers.get(RANGE).filter(|_| reads(method))
        && !range.to_str().is_ok_and(|text| Range::parse(text).is_ok())
    {
        changes.push((RANGE, range.to_str().ok().and_then(range_meant)));
    }
    for name in if reads(method) { OF_READS } else { OF_COPIES } {
        let Some(date) = headers.get(&name).filter(|date| !date.is_empty()) else { continue };
        if date.to_str().is_ok_and(is_date) {
            continue;
        }
        let date = date.to_str().ok().and_then(date_meant);
        // A copy must not lose its condition: `s3s` refuses a date that is none, and two of them.
        if reads(method) || (date.is_some() && headers.get_all(&name).iter().count() == 1) {
            changes.push((name, date));
        }
    }
    changes
}

/// The bytes that a Range names with more digits than a number has.
pub(super) fn range_meant(text: &str) -> Option<HeaderValue> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let position = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
        true if !digits.is_empty() => Some(digits.parse().unwrap_or(FAR).min(FAR)),
        _ => None,
    };
    let meant = match (position(first), position(last)) {
        (Some(first), Some(last)) if first <= last => format!("bytes={first}-{last}"),
        (Some(first), None) if last.is_empty() => format!("bytes={first}-"),
        (None, Some(length)) if first.is_empty() => format!("bytes=-{length}"),
        _ => return None,
    };
    meant.parse().ok()
}

fn is_date(text: &str) -> bool {
    Timestamp::parse(TimestampFormat::HttpDate, text).is_ok()
}

/// The date in a form that HTTP has and `s3s` does not read, or with a day of one digit, which SDKs write.
fn date_meant(text: &str) -> Option<HeaderValue> {
    let mail = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let at = mail(text)
        .or_else(|| mail(&text.split_once("day, ")?.1.replace('-', " ")))
        .or_else(|| Some(PrimitiveDateTime::parse(text, ASCTIME).ok()?.assume_utc()))?;
    let mut written = Vec::new();
    Timestamp::from(at.to_offset(time::UtcOffset::UTC)).format(TimestampFormat::HttpDate, &mut written).ok()?;
    HeaderValue::from_bytes(&written).ok()
}

/// S3 gives back whatever a client calls Expires. What cannot stand in a header is left to `s3s`, which refuses it.
fn given_expires(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<GivenExpires> {
    let given: Cow<'_, str> = match reads(method) {
        true => parameters(uri.query()?).find(|parameter| parameter.is(RESPONSE_EXPIRES))?.value(),
        false => std::str::from_utf8(headers.get(EXPIRES)?.as_bytes()).ok()?.into(),
    };
    let sound = !given.is_empty() && !is_date(&given) && HeaderValue::from_str(&given).is_ok();
    sound.then(|| GivenExpires(given.into_owned()))
}

/// The URI without what signed it, and without an Expires that is no date.
fn unsigned(uri: Uri) -> S3Result<Uri> {
    let kept = |pair: &&str| {
        let Some(parameter) = parameters(pair).next() else { return true };
        let name = parameter.name();
        let signs = name.get(..6).is_some_and(|p| p.eq_ignore_ascii_case("x-amz-"));
        !signs && (name != RESPONSE_EXPIRES || is_date(&parameter.value()))
    };
    let Some(query) = uri.query() else { return Ok(uri) };
    let query: Vec<&str> = query.split('&').filter(kept).collect();
    let target = PathAndQuery::try_from(format!("{}?{}", uri.path(), query.join("&")));
    let mut parts = uri.into_parts();
    // Over HTTP/2 the authority is the Host, and so names the bucket.
    parts.path_and_query = Some(target.map_err(|_| s3s::s3_error!(InvalidURI))?);
    Uri::from_parts(parts).map_err(|_| s3s::s3_error!(InvalidURI))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three dates of RFC 9110 section 5.6.7 are one.
    #[test]
    fn dates_have_more_forms_than_one() {
        let meant = |text: &str| date_meant(text).map(|value| value.to_str().unwrap().to_owned());
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(meant(text).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"), "{text}");
        }
        for text in ["", "soon", "1994-11-06T08:49:37Z", "784111777", "Sun, 36 Nov 1994 08:49:37 GMT", "Someday, "] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    /// Only a read goes on without a condition that is none.
    #[test]
    fn writes_keep_their_conditions() {
        let late = "Sun Nov  6 08:49:37 1994";
        let changes = |method: Method, name: &HeaderName, dates: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for date in dates {
                headers.append(name.clone(), HeaderValue::from_static(date));
            }
            meant(&method, &headers).into_iter().map(|(_, date)| date.is_some()).collect::<Vec<_>>()
        };
        for name in &OF_READS {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(changes(method.clone(), name, &["soon"]), [false]);
                assert_eq!(changes(method, name, &[late]), [true]);
            }
            for method in [Method::PUT, Method::POST, Method::DELETE] {
                assert!(changes(method.clone(), name, &["soon"]).is_empty());
                assert!(changes(method, name, &[late]).is_empty());
            }
        }
        for name in &OF_COPIES {
            assert_eq!(changes(Method::PUT, name, &[late]), [true]);
            assert!(changes(Method::PUT, name, &["soon"]).is_empty());
            assert!(changes(Method::PUT, name, &[late, "soon"]).is_empty());
        }
    }

    #[test]
    fn ranges_may_count_far() {
        let meant = |text: &str| range_meant(text).map(|value| value.to_str().unwrap().to_owned());
        let far = format!("bytes=7-{FAR}");
        assert_eq!(meant("bytes=7-99999999999999999999999").as_deref(), Some(&*far));
        assert_eq!(meant("bytes=99999999999999999999999-").as_deref(), Some(&*format!("bytes={FAR}-")));
        assert_eq!(meant("bytes=-99999999999999999999999").as_deref(), Some(&*format!("bytes=-{FAR}")));
        for text in ["bytes=5-3", "bytes=-", "bytes=a-b", "bytes=+1-3", "bytes=0-1,3-4", "items=0-1", "bytes=1"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn what_signed_a_request_is_taken_away() {
        let uri = Uri::from_static("/b/k?partNumber=1&X-Amz-%53ignature=0&x-amz-date=1&response-expires=soon&a");
        assert_eq!(unsigned(uri).unwrap(), "/b/k?partNumber=1&a");
        assert_eq!(unsigned(Uri::from_static("/b/k")).unwrap(), "/b/k");
    }
}
