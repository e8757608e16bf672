//! Whoever asks again is told only what changed: entity tags and `304 Not Modified` (RFC 9110 §13), over all answers alike.
//!
//! The tag is a hash of the answer before it is compressed, hence weak: all codings of one answer share it.

use super::error::Problem;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use std::convert::Infallible;

/// Bytes of the hash that go into a tag: two answers that are alike in 128 bits are not met by chance.
const TAG: usize = 16;

/// What a browser may keep, and must ask about each time; nobody between may.
const ASK_EACH_TIME: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Tags what `GET` is answered with, and leaves it away where whoever asks has it.
pub(super) async fn conditional(request: Request, next: Next) -> Response {
    let known: Option<Vec<HeaderValue>> =
        (request.method() == Method::GET).then(|| request.headers().get_all(IF_NONE_MATCH).iter().cloned().collect());
    let response = next.run(request).await;
    match known {
        Some(known) if may_be_tagged(&response) => tagged(response, &known).await,
        _ => response,
    }
}

/// Whole answers only: what comes bit by bit has no length, and what nobody may store needs no tag.
fn may_be_tagged(response: &Response) -> bool {
    let headers = response.headers();
    let stored = headers.get(CACHE_CONTROL).is_none_or(|value| value != "no-store");
    response.status() == StatusCode::OK && stored && response.body().size_hint().exact().is_some()
}

async fn tagged(response: Response, known: &[HeaderValue]) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let digest = Sha256::digest(&bytes);
    let tag = crate::types::hex(&digest[..TAG]);
    let Ok(value) = HeaderValue::try_from(format!("W/\"{tag}\"")) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.insert(ETAG, value);
    parts.headers.entry(CACHE_CONTROL).or_insert(ASK_EACH_TIME);
    vary(&mut parts.headers);
    if known.iter().any(|value| names(value, &tag)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(parts, nothing());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// A body of no length: a length would be told of what is not sent (RFC 9110 §8.6).
fn nothing() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
}

/// Whether there is anything to compress.
pub(super) fn has_content(status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    status != StatusCode::NOT_MODIFIED
}

/// What was asked for decides how it is compressed, also where nothing is sent this time.
fn vary(headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
}

/// Whether `If-None-Match` has the tag among its own (weak comparison), or stands for any.
fn names(value: &HeaderValue, tag: &str) -> bool {
    let Ok(text) = value.to_str() else { return false };
    text.trim() == "*"
        || text.split(',').any(|one| {
            let one = one.trim();
            let opaque = one.strip_prefix("W/").unwrap_or(one);
            opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(tag)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly_and_whole() {
        for (said, same) in [
            ("W/\"ab12\"", true),
            ("\"ab12\"", true),
            ("\"x\", W/\"ab12\" , \"y\"", true),
            ("*", true),
            (" * ", true),
            ("ab12", false),
            ("\"ab1\"", false),
            ("\"ab123\"", false),
            ("w/\"ab12\"", false),
            ("\"*\"", false),
            ("", false),
        ] {
            assert_eq!(names(&HeaderValue::from_str(said).unwrap(), "ab12"), same, "{said}");
        }
        assert!(!names(&HeaderValue::from_bytes(b"\"\xff\"").unwrap(), "ab12"));
    }
}
