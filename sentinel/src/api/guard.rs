//! Who may talk to us while there is no login: programs of this host, and our own page in a browser of this host.
//!
//! A page of another site can make the browser send requests to loopback (CSRF), and DNS rebinding can make its origin
//! look like ours; both are told apart by `Host`, `Origin` and `Sec-Fetch-Site`, which pages cannot forge.

use super::error::Problem;
use super::query::short;
use axum::extract::{Extension, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Which way a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Loopback TCP.
    Tcp,
    /// The unix socket, which only its owner and root can open.
    Unix,
}

/// Who asks, for the audit.
#[derive(Clone, Debug)]
pub(super) struct Actor(pub(super) String);

/// Lets a request through, or says why not.
pub(super) async fn guard(Extension(door): Extension<Door>, mut request: Request, next: Next) -> Response {
    match check(request.method(), request.uri(), request.headers()) {
        Ok(()) => {
            let actor = actor(door, request.headers());
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => {
            tracing::warn!(status = problem.status().as_u16(), detail = ?problem.detail(), "request refused");
            problem.into_response()
        }
    }
}

fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    for name in [header::HOST, header::ORIGIN] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(Problem::forbidden(format!("the request has more than one `{name}`")));
        }
    }
    let host = text(headers, &header::HOST).unwrap_or_default();
    for name in [Some(host), uri.authority().map(Authority::as_str)]
        .into_iter()
        .flatten()
    {
        if !is_loopback(name) {
            return Err(Problem::forbidden(format!(
                "the host `{}` is not this machine's loopback; use http://127.0.0.1 or http://localhost",
                short(name)
            )));
        }
    }
    if !method.is_safe() || headers.contains_key(header::UPGRADE) || !followed_link(uri, headers) {
        same_origin(headers, host)?;
    }
    if method == Method::POST && !is_json(headers) && !(uri.path() == "/decisions/import" && is(headers, "text/csv")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "The body must be JSON",
            "send `content-type: application/json`",
        ));
    }
    Ok(())
}

/// Whether this is a person who follows a link to the page or types its address, or no browser at all. What else another
/// origin's page has a browser fetch it cannot read, but it could keep us busy with it.
fn followed_link(uri: &Uri, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    match headers.get("sec-fetch-site") {
        None => true,
        Some(_) if is("sec-fetch-site", "none") => true,
        Some(_) => is("sec-fetch-mode", "navigate") && uri.path() == "/",
    }
}

/// Refuses what a page of another origin sends; programs send neither header.
fn same_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let foreign = match text(headers, &header::ORIGIN) {
        Some(origin) => origin
            .strip_prefix("http://")
            .is_none_or(|o| !o.eq_ignore_ascii_case(host)),
        None => headers.contains_key(header::ORIGIN),
    };
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if foreign || site.is_some_and(|site| site != b"same-origin") {
        return Err(Problem::forbidden(
            "only Sentinel's own page may do this from a browser; a page of another origin asked",
        ));
    }
    Ok(())
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_json(headers: &HeaderMap) -> bool {
    is(headers, "application/json")
}

/// Whether the body is said to be of a type; of those asked for none can be sent by a page of another origin unasked.
fn is(headers: &HeaderMap, media: &str) -> bool {
    text(headers, &header::CONTENT_TYPE)
        .and_then(|value| value.split(';').next())
        .is_some_and(|said| said.trim().eq_ignore_ascii_case(media))
}

/// Whether a `Host` value (name or address, port or none) is this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let (name, rest) = match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some(parts) => parts,
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if !port {
        return false;
    }
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn actor(door: Door, headers: &HeaderMap) -> Actor {
    // Only the socket's owner can open it, so only there a name is taken on trust.
    let named = headers
        .get("x-sentinel-actor")
        .filter(|_| door == Door::Unix)
        .and_then(|value| value.to_str().ok())
        .map(short)
        .filter(|name| !name.is_empty());
    let page = headers.get("sec-fetch-site").is_some();
    Actor(named.unwrap_or_else(|| if page { "dashboard" } else { "api" }.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]",
            "[::1]:8000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        let hosts = [
            "",
            "sentinel.example",
            "localhost.example",
            "127.0.0.1.example:80",
            "192.0.2.1",
            "0.0.0.0",
            "[::2]:80",
            "[::1].evil.example",
            "[::1]:80.evil.example",
            "127.0.0.1:80.evil.example",
            "localhost:80@evil.example",
        ];
        for host in hosts {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn what_another_page_may_have_fetched() {
        let ask = |path: &'static str, pairs: &[(&'static str, &'static str)]| {
            let mut headers: HeaderMap = pairs
                .iter()
                .map(|(k, v)| (header::HeaderName::from_static(k), HeaderValue::from_static(v)))
                .collect();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8000"));
            check(&Method::GET, &Uri::from_static(path), &headers).is_ok()
        };
        let site = "sec-fetch-site";
        let navigate = ("sec-fetch-mode", "navigate");
        assert!(ask("/audit/verify", &[]));
        assert!(ask("/audit/verify", &[(site, "same-origin")]));
        assert!(ask("/audit/verify", &[(site, "none"), navigate]));
        assert!(ask("/", &[(site, "cross-site"), navigate]));
        for from in ["cross-site", "same-site"] {
            assert!(!ask("/audit/verify", &[(site, from), ("sec-fetch-mode", "no-cors")]));
            assert!(!ask("/audit/verify", &[(site, from), navigate]));
            assert!(!ask("/", &[(site, from), ("sec-fetch-mode", "no-cors")]));
        }
    }

    #[test]
    fn a_host_or_an_origin_is_named_once() {
        for name in [header::HOST, header::ORIGIN] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8000"));
            headers.insert(header::ORIGIN, HeaderValue::from_static("http://127.0.0.1:8000"));
            assert!(check(&Method::DELETE, &Uri::from_static("/decisions"), &headers).is_ok());
            let again = headers[&name].clone();
            headers.append(&name, again);
            assert!(
                check(&Method::DELETE, &Uri::from_static("/decisions"), &headers).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn origins() {
        let check = |pairs: &[(&'static str, &'static str)], expected: bool| {
            let headers: HeaderMap = pairs
                .iter()
                .map(|(k, v)| (header::HeaderName::from_static(k), HeaderValue::from_static(v)))
                .collect();
            assert_eq!(same_origin(&headers, "127.0.0.1:8000").is_ok(), expected, "{pairs:?}");
        };
        check(&[], true);
        check(&[("origin", "http://127.0.0.1:8000")], true);
        check(
            &[("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "same-origin")],
            true,
        );
        check(&[("origin", "http://127.0.0.1:9000")], false);
        check(&[("origin", "https://evil.example")], false);
        check(&[("origin", "null")], false);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "none")], false);
    }
}
