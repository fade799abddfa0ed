//! What is asked of a signed request before `s3s` verifies its signature.
//!
//! `host` and every `x-amz-*` header must be signed, as AWS asks: whoever holds a presigned upload could
//! otherwise add `x-amz-copy-source` and have any object of the signer copied.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;

use super::query::parameters;

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_DATE_FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// A presigned URL lives at most a week.
const EXPIRES_MAX: u64 = 7 * 24 * 3600;

/// Status, code and message of a refusal.
pub type Refusal = (StatusCode, &'static str, &'static str);

/// Refuses what AWS refuses and `s3s` does not, and reads the time of a request that has only a Date.
/// Tells whether the request is signed: one that is not, as it was read here, must not turn out to be.
///
/// # Errors
/// The refusal.
pub fn prepare<B>(request: &mut Request<B>) -> Result<bool, Refusal> {
    if !well_escaped(request.uri().path()) {
        return Err((StatusCode::BAD_REQUEST, "InvalidURI", "Couldn't parse the specified URI."));
    }
    if is_form(request) {
        // `s3s` would hold the whole form in memory before it asks who sends it.
        return Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented", "PostObject is not implemented"));
    }
    if request.headers().get(AUTHORIZATION).is_some_and(HeaderValue::is_empty) {
        request.headers_mut().remove(AUTHORIZATION);
    }
    let query = Parameters::read(request.uri().query().unwrap_or_default());
    let header = request.headers().get(AUTHORIZATION).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    if query.version_2 || header.as_ref().is_some_and(|h| h.starts_with("AWS ")) {
        // It proves nothing about the request's age or body.
        return Err((
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    }
    let signed = match (&header, query.presigned) {
        (None, false) => return Ok(false),
        (Some(_), true) => {
            return Err((
                StatusCode::BAD_REQUEST,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified",
            ));
        }
        (None, true) => {
            check_expiry(&query.expires)?;
            check_scope(&query.credential, &query.date, "AuthorizationQueryParametersError")?;
            query.signed_headers.to_ascii_lowercase()
        }
        (Some(header), false) => {
            let signed = names_in(header)?;
            date_as_amz_date(request);
            let date = request.headers().get(AMZ_DATE).and_then(|v| v.to_str().ok()).unwrap_or_default();
            check_scope(value_in(header, "Credential="), date, "AuthorizationHeaderMalformed")?;
            signed
        }
    };
    all_signed(request, &signed)?;
    Ok(true)
}

/// An upload by HTML form.
#[must_use]
pub fn is_form<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    request.method() == Method::POST && kind.to_ascii_lowercase().starts_with("multipart/form-data")
}

/// What of a query concerns signatures.
#[derive(Default)]
struct Parameters<'a> {
    presigned: bool,
    signed_headers: Cow<'a, str>,
    credential: Cow<'a, str>,
    date: Cow<'a, str>,
    expires: Cow<'a, str>,
    version_2: bool,
}

impl<'a> Parameters<'a> {
    fn read(query: &'a str) -> Self {
        let mut found = Self::default();
        let (mut signature, mut access_key) = (false, false);
        for parameter in parameters(query) {
            match &*parameter.name() {
                "X-Amz-Signature" => found.presigned = true,
                "X-Amz-SignedHeaders" => found.signed_headers = parameter.value(),
                "X-Amz-Credential" => found.credential = parameter.value(),
                "X-Amz-Date" => found.date = parameter.value(),
                "X-Amz-Expires" => found.expires = parameter.value(),
                "Signature" => signature = true,
                "AWSAccessKeyId" => access_key = true,
                _ => {}
            }
        }
        found.version_2 = signature && access_key;
        found
    }
}

fn check_expiry(expires: &str) -> Result<(), Refusal> {
    let refuse = |message| Err((StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError", message));
    match expires {
        "" => Ok(()), // `s3s` names all parameters that are missing.
        text if text.starts_with('-') => refuse("X-Amz-Expires must be non-negative"),
        text => match text.parse::<u64>() {
            Err(_) => refuse("X-Amz-Expires should be a number"),
            Ok(seconds) if seconds > EXPIRES_MAX => refuse(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
            ),
            Ok(_) => Ok(()),
        },
    }
}

/// The value of SignedHeaders; empty when there is none, which `s3s` refuses.
fn names_in(header: &str) -> Result<String, Refusal> {
    match header.split_ascii_whitespace().next() {
        Some("AWS4-HMAC-SHA256") => {}
        Some(other) if other.starts_with("AWS4-") => {
            return Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented", "Only AWS4-HMAC-SHA256 is implemented"));
        }
        _ => return Err((StatusCode::BAD_REQUEST, "InvalidArgument", "Unsupported Authorization Type")),
    }
    Ok(value_in(header, "SignedHeaders=").to_ascii_lowercase())
}

fn value_in<'a>(header: &'a str, name: &str) -> &'a str {
    let value = header.split_once(name).map_or("", |(_, rest)| rest);
    value.split([',', ' ']).next().unwrap_or_default()
}

/// `key/date/region/service/aws4_request`: service and date must fit; the region may be any (S3.md trap 33).
/// What has another shape is left to `s3s`.
fn check_scope(credential: &str, date: &str, code: &'static str) -> Result<(), Refusal> {
    let parts: Vec<&str> = credential.rsplitn(5, '/').collect();
    let [_, service, _, day, _] = parts[..] else { return Ok(()) };
    let refuse = |message| Err((StatusCode::BAD_REQUEST, code, message));
    if service != "s3" {
        return refuse("The credential names an incorrect service. This endpoint belongs to \"s3\".");
    }
    if !date.is_empty() && day.len() == 8 && !date.starts_with(day) {
        return refuse("The credential has an invalid date. It is not the same as X-Amz-Date.");
    }
    Ok(())
}

/// Whether each percent sign begins an escaped byte.
fn well_escaped(path: &str) -> bool {
    let escaped = |rest: &str| matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    path.split('%').skip(1).all(escaped)
}

/// The time of a request is `x-amz-date`, else Date (S3.md trap 24); `s3s` knows the first only.
fn date_as_amz_date<B>(request: &mut Request<B>) {
    if request.headers().contains_key(AMZ_DATE) {
        return;
    }
    let Some(text) = request.headers().get(DATE).and_then(|v| v.to_str().ok()) else { return };
    let parsed = OffsetDateTime::parse(text, &Rfc2822).ok();
    let amz = parsed.and_then(|at| at.to_offset(time::UtcOffset::UTC).format(AMZ_DATE_FORMAT).ok());
    // Some clients write the short form into Date.
    let amz = amz.unwrap_or_else(|| text.to_owned());
    if let Ok(value) = HeaderValue::from_str(&amz) {
        request.headers_mut().insert(AMZ_DATE, value);
    }
}

fn all_signed<B>(request: &Request<B>, signed: &str) -> Result<(), Refusal> {
    let signed: Vec<&str> = signed.split(';').collect();
    if signed == [""] {
        return Ok(()); // Not well-formed, which `s3s` says.
    }
    // Digest and time are part of what is signed without being named.
    let must = |name: &HeaderName| {
        name.as_str().starts_with("x-amz-") && !matches!(name.as_str(), "x-amz-content-sha256" | "x-amz-date")
    };
    let unsigned = request.headers().keys().any(|name| must(name) && !signed.contains(&name.as_str()));
    if unsigned || !signed.contains(&HOST.as_str()) {
        return Err((
            StatusCode::FORBIDDEN,
            "AccessDenied",
            "There were headers present in the request which were not signed",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let builder = headers.iter().fold(Request::builder().uri(uri), |b, (k, v)| b.header(*k, *v));
        builder.body(()).unwrap()
    }

    fn code(uri: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        prepare(&mut request(uri, headers)).err().map(|(_, code, _)| code)
    }

    #[test]
    fn headers_that_nobody_signed_are_refused() {
        let signed = "/b/k?X-Amz-SignedHeaders=host%3Bx-amz-meta-a&X-Amz-Expires=60&X-Amz-Signature=0";
        assert_eq!(code(signed, &[("x-amz-meta-a", "1")]), None);
        assert_eq!(code(signed, &[("x-amz-copy-source", "/b/other")]), Some("AccessDenied"));
        let escaped = "/b/k?X-Amz-SignedHeaders=host&X-Amz-Expires=60&X-Amz-%53ignature=0";
        assert_eq!(code(escaped, &[("x-amz-copy-source", "/b/other")]), Some("AccessDenied"), "an escaped name");
        let header = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=x-amz-date, Signature=0";
        assert_eq!(code("/", &[("authorization", header), ("x-amz-date", "x")]), Some("AccessDenied"), "host");
        assert_eq!(code("/", &[("x-amz-meta-a", "nobody signs, nobody is asked")]), None);
    }

    #[test]
    fn a_date_is_as_good_as_an_amz_date() {
        let header = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=date;host, Signature=0";
        let mut request =
            request("/", &[("authorization", header), ("date", "Fri, 24 May 2013 00:00:00 GMT"), ("host", "h")]);
        prepare(&mut request).unwrap();
        assert_eq!(request.headers()[AMZ_DATE], "20130524T000000Z");
    }

    #[test]
    fn expiry_has_bounds() {
        let with = |expires: &str| {
            code(&format!("/b/k?X-Amz-SignedHeaders=host&X-Amz-Expires={expires}&X-Amz-Signature=0"), &[])
        };
        assert_eq!((with("0"), with("604800")), (None, None));
        for bad in ["604801", "-1", "soon", "99999999999999999999"] {
            assert_eq!(with(bad), Some("AuthorizationQueryParametersError"), "{bad}");
        }
    }

    #[test]
    fn other_ways_to_authenticate_are_refused() {
        assert_eq!(code("/", &[("authorization", "AWS AKIA:abc")]), Some("InvalidRequest"));
        assert_eq!(code("/", &[("authorization", "Bearer abc")]), Some("InvalidArgument"));
        assert_eq!(code("/?X-Amz-Signature=0", &[("authorization", "AWS4-HMAC-SHA256 x")]), Some("InvalidArgument"));
        assert_eq!(code("/b/k?AWSAccessKeyId=a&Signature=b", &[]), Some("InvalidRequest"));
        assert_eq!(code("/b/k?AWSAccessKey%49d=a&Signatur%65=b", &[]), Some("InvalidRequest"));
        let mut empty = request("/", &[("authorization", "")]);
        assert!(prepare(&mut empty).is_ok() && !empty.headers().contains_key(AUTHORIZATION));
    }
}
