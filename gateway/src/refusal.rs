//! Error documents as AWS writes them: code, message, resource, request id. `s3s` leaves out most
//! messages and names headers that do not parse in its own way; both are mended here and nowhere else.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode};

/// An answer that refuses, made before `s3s` sees the request or after it gave up.
pub(crate) fn plain(status: StatusCode, code: &str, message: &str) -> Response<s3s::Body> {
    let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let mut response = Response::new(s3s::Body::from(text));
    *response.status_mut() = status;
    response
}

/// Writes the document of a refusal anew, with everything that belongs into one, and gives the error's code.
pub(crate) fn complete(id: &str, path: &str, head: bool, parts: &mut Parts, body: &mut s3s::Body) -> Option<String> {
    if !(parts.status.is_client_error() || parts.status.is_server_error()) {
        return None;
    }
    let text = body.take_bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
    let status = parts.status;
    let code = element(&text, "Code").unwrap_or(status.as_str());
    let message = element(&text, "Message").filter(|m| !m.is_empty());
    let (code, message) = match as_aws(code, message.unwrap_or_default()) {
        Some((status, code, message)) => {
            parts.status = status;
            (code, message)
        }
        None => (code, message.unwrap_or_else(|| usual_message(code))),
    };
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <Resource>{}</Resource><RequestId>{id}</RequestId></Error>",
        escape(path)
    );
    let code = code.to_owned();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    // An error of HEAD is its status.
    *body = if head { s3s::Body::empty() } else { s3s::Body::from(document) };
    Some(code)
}

/// The text of an element, as written.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What AWS says where `s3s` says something of its own about signatures.
fn as_aws(code: &str, message: &str) -> Option<(StatusCode, &'static str, &'static str)> {
    let said = match (code, message) {
        ("InvalidRequest", "invalid header: authorization") => (
            StatusCode::BAD_REQUEST,
            "AuthorizationHeaderMalformed",
            "The authorization header that you provided is not valid.",
        ),
        ("InvalidRequest", "missing presigned url v4 fields") => (
            StatusCode::BAD_REQUEST,
            "AuthorizationQueryParametersError",
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, each once and well-formed.",
        ),
        ("InvalidRequest", "missing header: x-amz-date" | "invalid header: x-amz-date" | "invalid amz date") => {
            (StatusCode::FORBIDDEN, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        }
        ("RequestTimeTooSkewed", "request date is later than server time too much") => {
            (StatusCode::FORBIDDEN, "AccessDenied", "Request is not yet valid")
        }
        ("SignatureDoesNotMatch", "invalid header: x-amz-content-sha256") => (
            StatusCode::BAD_REQUEST,
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, one of the STREAMING- names, or a valid sha256 value.",
        ),
        _ => return None,
    };
    Some(said)
}

/// The message that AWS gives with a code.
fn usual_message(code: &str) -> &'static str {
    match code {
        "AccessDenied" => "Access Denied",
        "IncompleteBody" => "You did not provide the number of bytes specified by the Content-Length HTTP header",
        "InternalError" => "We encountered an internal error. Please try again.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => "The XML you provided was not well-formed or did not validate against our published schema",
        "MaxMessageLengthExceeded" => "Your request was too big.",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "MissingRequestBodyError" => "Request body is empty.",
        "NotImplemented" => "This functionality is not implemented.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        _ => "The request was refused.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(status: u16, text: &str) -> (u16, String, Option<String>) {
        let (mut parts, mut body) = Response::new(s3s::Body::from(text.to_owned())).into_parts();
        parts.status = StatusCode::from_u16(status).unwrap();
        let code = complete("ID", "/b/a&b", false, &mut parts, &mut body);
        let text = String::from_utf8(body.take_bytes().unwrap().to_vec()).unwrap();
        (parts.status.as_u16(), text, code)
    }

    #[test]
    fn documents_become_whole() {
        let (status, text, code) = whole(400, "<Error><Code>InvalidBucketName</Code></Error>");
        assert_eq!((status, code.as_deref()), (400, Some("InvalidBucketName")));
        assert!(text.ends_with(
            "<Error><Code>InvalidBucketName</Code><Message>The specified bucket is not valid.</Message>\
             <Resource>/b/a&amp;b</Resource><RequestId>ID</RequestId></Error>"
        ));
        let (_, text, _) = whole(404, "<Error><Code>NoSuchKey</Code><Message>a &lt; b</Message></Error>");
        assert!(text.contains("<Message>a &lt; b</Message>"));
        let (_, text, code) = whole(500, "");
        assert!(text.contains("<Code>500</Code>") && code.as_deref() == Some("500"));
        assert_eq!(whole(200, "untouched").1, "untouched");
    }

    #[test]
    fn refusals_of_signatures_are_those_of_aws() {
        let text = "<Error><Code>InvalidRequest</Code><Message>missing header: x-amz-date</Message></Error>";
        let (status, text, code) = whole(400, text);
        assert_eq!((status, code.as_deref()), (403, Some("AccessDenied")));
        assert!(text.contains("Date or x-amz-date"));
    }
}
