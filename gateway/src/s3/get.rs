//! GetObject and HeadObject.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use http_body_util::StreamBody;
use s3s::dto::{self, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use storage::catalog::ManifestBody;

use super::checks::{StoredChecksum, put_checksum};
use super::conditions::{ReadConditions, if_range};
use super::lenient::GivenExpires;
use super::object::{OpenObject, open_object};
use super::put::{aes256, object_key};
use super::{Call, signed, timestamp};
use crate::control::Bucket;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::patient::Patient;
use crate::read;

/// What of the object is asked for.
struct Selection {
    range: Range<u64>,
    /// The answer is 206.
    partial: bool,
    parts: Option<i32>,
}

impl OpenObject {
    fn select(&self, range: Option<dto::Range>, part: Option<i32>) -> S3Result<Selection> {
        let size = self.size();
        let parts = self.values.etag.parts.and_then(|n| i32::try_from(n).ok());
        match (range, part) {
            (Some(_), Some(_)) => {
                Err(s3s::s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber query parameter"))
            }
            (None, None) => Ok(Selection { range: 0..size, partial: false, parts: None }),
            (None, Some(number)) => {
                if !(1..=10_000).contains(&number) {
                    return Err(s3s::s3_error!(
                        InvalidArgument,
                        "Part number must be an integer between 1 and 10000, inclusive"
                    ));
                }
                let range = part_range(&self.version.row.bodies, number).ok_or_else(|| {
                    let mut error =
                        super::checks::custom("InvalidPartNumber", "The requested partnumber is not satisfiable");
                    error.set_status_code(http::StatusCode::RANGE_NOT_SATISFIABLE);
                    error
                })?;
                Ok(Selection { range, partial: true, parts })
            }
            (Some(range), None) => match range.check(size) {
                Ok(range) => Ok(Selection { range, partial: true, parts: None }),
                Err(_) => Err(unsatisfiable(size)),
            },
        }
    }

    /// The checksum that an answer tells, of the object or of the part that is asked for, when any is asked for.
    fn checksum_told(
        &self,
        mode: Option<&dto::ChecksumMode>,
        (bucket, key): (&Bucket, &str),
        selection: &Selection,
    ) -> S3Result<Option<StoredChecksum>> {
        match mode.is_some_and(|mode| mode.as_str().eq_ignore_ascii_case("ENABLED")) {
            true if selection.partial => Ok(self.checksum_of(bucket, &object_key(key)?, &selection.range)?),
            true => Ok(self.values.checksum.clone()),
            false => Ok(None),
        }
    }
}

fn part_range(bodies: &[ManifestBody], number: i32) -> Option<Range<u64>> {
    let number = usize::try_from(number).ok()?.checked_sub(1)?;
    let body = bodies.get(number)?;
    let start: u64 = bodies.iter().take(number).map(|b| b.length).sum();
    Some(start..start + body.length)
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
    if let Ok(value) = format!("bytes */{size}").parse() {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::CONTENT_RANGE, value);
        error.set_headers(headers);
    }
    error
}

/// The fields that GET and HEAD share.
macro_rules! fill {
    ($output:ident, $object:expr, $selection:expr, $checksum:expr) => {{
        let object = &$object;
        let selection = &$selection;
        $output.accept_ranges = Some("bytes".to_owned());
        $output.cache_control = object.metadata.cache_control.clone();
        $output.content_disposition = object.metadata.content_disposition.clone();
        $output.content_encoding = object.metadata.content_encoding.clone();
        $output.content_language = object.metadata.content_language.clone();
        $output.content_type =
            Some(object.metadata.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned()));
        $output.expires = object.metadata.expires_dto();
        $output.e_tag = Some(object.values.etag.to_dto());
        $output.last_modified = Some(timestamp(object.modified()));
        $output.metadata =
            (!object.metadata.user.is_empty()).then(|| object.metadata.user.clone().into_iter().collect());
        $output.parts_count = selection.parts;
        $output.server_side_encryption = Some(aes256());
        $output.content_length = Some(signed(selection.range.end - selection.range.start));
        if selection.partial && selection.range.start < selection.range.end {
            $output.content_range =
                Some(format!("bytes {}-{}/{}", selection.range.start, selection.range.end - 1, object.size()));
        }
        if let Some(checksum) = $checksum {
            put_checksum!($output, Some(checksum));
            $output.checksum_type = object.values.checksum.as_ref().map(StoredChecksum::kind);
        }
    }};
}

pub(super) async fn get_object(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = &req.input;
    refuse_customer_key(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
    let bucket = call.bucket()?.clone();
    // Opened before the rows are read: what they name cannot be deleted meanwhile.
    let guard = gateway.reads.open();
    let object = open_object(gateway, call, &bucket, &input.key, input.version_id.as_deref()).await?;
    conditions_of(
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
        input.if_modified_since.as_ref(),
        input.if_unmodified_since.as_ref(),
    )
    .check(&object.values.etag, object.modified(), false)?;
    let range = input.range.filter(|_| if_range(&req.headers, &object.values.etag, object.modified()));
    let selection = object.select(range, input.part_number)?;
    let checksum = object.checksum_told(input.checksum_mode.as_ref(), (&bucket, &input.key), &selection)?;
    let mut output = GetObjectOutput::default();
    fill!(output, object, selection, checksum);
    let given = expires_as_given(&req.extensions, &object);
    let length = selection.range.end - selection.range.start;
    call.context.bytes(length, selection.partial.then_some(selection.range.start));
    let mut source = object.into_source(gateway, &bucket);
    source.guard = Some(guard);
    let status = if output.content_range.is_some() { 206 } else { 200 };
    let record = call.context.record(&gateway.recorder, status, None);
    let body = match read::inline(&mut source, &selection.range)? {
        Some(bytes) => {
            record.await?;
            StreamingBlob::from(s3s::Body::from(bytes))
        }
        None => {
            // The record's sync and the first fetch overlap; neither byte nor status leaves before both.
            let mut stream = Box::pin(read::stream(&gateway.chunks, source, selection.range)?);
            let (first, recorded) = futures::join!(stream.next(), record);
            recorded?;
            body_of(first, Patient::new(stream, gateway.patience), length)?
        }
    };
    output.body = Some(body);
    Ok(with_expires(S3Response::new(output), given, input.response_expires.is_some()))
}

fn body_of<S>(first: Option<Result<bytes::Bytes, Error>>, rest: S, length: u64) -> S3Result<StreamingBlob>
where
    S: futures::Stream<Item = Result<bytes::Bytes, Error>> + Send + 'static,
{
    let first = first.transpose()?;
    if let Some(only) = &first
        && u64::try_from(only.len()).is_ok_and(|n| n == length)
    {
        return Ok(StreamingBlob::from(s3s::Body::from(only.clone())));
    }
    let frames = futures::stream::iter(first.map(Ok)).chain(rest).map(|piece| {
        piece.map(http_body::Frame::data).map_err(|error| {
            tracing::error!(%error, "an answer breaks off");
            error
        })
    });
    Ok(StreamingBlob::from(s3s::Body::http_body_unsync(StreamBody::new(frames))))
}

pub(super) async fn head_object(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = &req.input;
    refuse_customer_key(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
    let bucket = call.bucket()?.clone();
    let object = open_object(gateway, call, &bucket, &input.key, input.version_id.as_deref()).await?;
    conditions_of(
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
        input.if_modified_since.as_ref(),
        input.if_unmodified_since.as_ref(),
    )
    .check(&object.values.etag, object.modified(), false)?;
    let range = input.range.filter(|_| if_range(&req.headers, &object.values.etag, object.modified()));
    let selection = object.select(range, input.part_number)?;
    let checksum = object.checksum_told(input.checksum_mode.as_ref(), (&bucket, &input.key), &selection)?;
    let mut output = HeadObjectOutput::default();
    fill!(output, object, selection, checksum);
    override_headers(input, &mut output)?;
    let given = expires_as_given(&req.extensions, &object);
    let mut response = with_expires(S3Response::new(output), given, input.response_expires.is_some());
    if selection.partial {
        response.status = Some(http::StatusCode::PARTIAL_CONTENT);
    }
    Ok(response)
}

/// An Expires that is no date: what the query asks for, else what is stored.
fn expires_as_given(extensions: &http::Extensions, object: &OpenObject) -> Option<String> {
    extensions.get::<GivenExpires>().map(|given| given.0.clone()).or_else(|| object.metadata.expires_text.clone())
}

/// Adds an Expires that is no date, unless the query asked for one that is.
fn with_expires<T>(mut response: S3Response<T>, given: Option<String>, asked_for_a_date: bool) -> S3Response<T> {
    let value = given.filter(|_| !asked_for_a_date).and_then(|text| text.parse().ok());
    if let Some(value) = value {
        response.headers.insert(http::header::EXPIRES, value);
    }
    response
}

/// What the query says of the answer's headers; of GET, `s3s` does this.
fn override_headers(input: &HeadObjectInput, output: &mut HeadObjectOutput) -> S3Result<()> {
    macro_rules! over {
        ($($field:ident = $wanted:ident;)*) => {$(
            if let Some(wanted) = &input.$wanted {
                // What is no value of a header would else be found out too late, as a failure of the server.
                let _value: http::HeaderValue = wanted.parse().map_err(|_| {
                    s3s::s3_error!(InvalidRequest, "What the query asks of a header cannot stand in one")
                })?;
                output.$field = Some(wanted.clone());
            }
        )*};
    }
    over! {
        cache_control = response_cache_control;
        content_disposition = response_content_disposition;
        content_encoding = response_content_encoding;
        content_language = response_content_language;
        content_type = response_content_type;
    }
    if input.response_expires.is_some() {
        output.expires.clone_from(&input.response_expires);
    }
    Ok(())
}

fn conditions_of<'a>(
    if_match: Option<&'a dto::ETagCondition>,
    if_none_match: Option<&'a dto::ETagCondition>,
    if_modified_since: Option<&'a dto::Timestamp>,
    if_unmodified_since: Option<&'a dto::Timestamp>,
) -> ReadConditions<'a> {
    ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since }
}

fn refuse_customer_key(asked: bool) -> S3Result<()> {
    if asked { Err(super::unsupported("SSE-C")) } else { Ok(()) }
}
