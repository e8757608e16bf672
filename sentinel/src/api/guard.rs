//! Whose pages may talk to us: our own, under a name that is ours.
//!
//! A page of another site can make the browser send requests to loopback (CSRF), and DNS rebinding can make its origin
//! look like ours; both are told apart by `Host`, `Origin` and `Sec-Fetch-Site`, which pages cannot forge.

use super::error::Problem;
use super::query::short;
use crate::config::ApiConfig;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Which way a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// TCP on loopback.
    Tcp,
    /// TLS, on loopback or elsewhere.
    Tls,
    /// The unix socket, which only its owner and root can open.
    Unix,
}

/// Lets a request through, or says why not.
pub(super) async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    match check(&names, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::warn!(status = problem.status().as_u16(), detail = ?problem.detail(), "request refused");
            problem.into_response()
        }
    }
}

fn check(names: &Names, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
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
        if !names.are_ours(name) {
            return Err(Problem::forbidden(format!(
                "the host `{}` is neither this machine's loopback nor listed in `api.hosts`; use 127.0.0.1 or localhost, \
                 or put it there",
                short(name)
            )));
        }
    }
    if !method.is_safe() || headers.contains_key(header::UPGRADE) || !followed_link(uri, headers) {
        same_origin(names.scheme, headers, host)?;
    }
    Ok(())
}

/// Lets an order through whose body is said to be of a type that no page of another origin can send unasked. Asked where a
/// path takes the method, so that where it does not that is told.
pub(super) async fn media(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let list = request.uri().path() == "/decisions/import" && is(headers, "text/csv");
    if request.method() != Method::POST || is_json(headers) || list {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "The body must be JSON",
        "send `content-type: application/json`",
    )
    .into_response()
}

/// Whether this is a person who follows a link to the page or types its address, or no browser at all. What else another
/// origin's page has a browser fetch it cannot read, but it could keep us busy with it.
fn followed_link(uri: &Uri, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    match headers.get("sec-fetch-site") {
        None => true,
        Some(_) if is("sec-fetch-site", "none") => true,
        Some(_) => is("sec-fetch-mode", "navigate") && ["/", "/login"].contains(&uri.path()),
    }
}

/// Refuses what a page of another origin sends; programs send neither header.
fn same_origin(scheme: &str, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let foreign = match text(headers, &header::ORIGIN) {
        Some(origin) => origin
            .strip_prefix(scheme)
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

/// The names by which we may be asked.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// `http://` or `https://`.
    scheme: &'static str,
    hosts: Arc<[String]>,
    /// The address we listen on, where it is one.
    address: Option<IpAddr>,
}

impl Names {
    pub(super) fn new(config: &ApiConfig, door: Door) -> Self {
        let address = config.listen.ip();
        Self {
            scheme: if door == Door::Tls { "https://" } else { "http://" },
            hosts: config.hosts.clone().into(),
            address: (!address.is_unspecified()).then_some(address),
        }
    }

    /// Whether a `Host` value (name or address, port or none) is this machine's loopback, its address or listed.
    fn are_ours(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else {
            return false;
        };
        let address = name.parse::<IpAddr>().ok();
        let ours =
            |known: &String| known.eq_ignore_ascii_case(name) || address.is_some_and(|ip| known.parse() == Ok(ip));
        name.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|ip| ip.is_loopback() || self.address == Some(ip))
            || self.hosts.iter().any(ours)
    }
}

/// The name of a `Host` value; `None` where it is not spelled as one.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some(parts) => parts,
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    port.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &[&str], listen: &str, door: Door) -> Names {
        let config = ApiConfig {
            listen: listen.parse().unwrap(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..crate::config::Config::default().api
        };
        Names::new(&config, door)
    }

    fn local() -> Names {
        names(&[], "127.0.0.1:8000", Door::Tcp)
    }

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
            assert!(local().are_ours(host), "{host}");
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
            assert!(!local().are_ours(host), "{host}");
        }
    }

    #[test]
    fn names_from_elsewhere() {
        let names = names(&["sentinel.example", "2001:db8::5"], "192.0.2.1:443", Door::Tls);
        for host in [
            "sentinel.example",
            "SENTINEL.example:8443",
            "[2001:db8::5]:443",
            "192.0.2.1:443",
            "localhost",
        ] {
            assert!(names.are_ours(host), "{host}");
        }
        for host in [
            "evil.example",
            "sentinel.example.evil",
            "192.0.2.2",
            "[2001:db8::6]",
            "sentinel.example:x",
        ] {
            assert!(!names.are_ours(host), "{host}");
        }
        let with = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("sentinel.example"));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            check(&names, &Method::DELETE, &Uri::from_static("/decisions"), &headers).is_ok()
        };
        assert!(with("https://sentinel.example"));
        assert!(
            !with("http://sentinel.example"),
            "a page that was not secret may be anybody's"
        );
    }

    #[test]
    fn what_another_page_may_have_fetched() {
        let ask = |path: &'static str, pairs: &[(&'static str, &'static str)]| {
            let mut headers: HeaderMap = pairs
                .iter()
                .map(|(k, v)| (header::HeaderName::from_static(k), HeaderValue::from_static(v)))
                .collect();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8000"));
            check(&local(), &Method::GET, &Uri::from_static(path), &headers).is_ok()
        };
        let site = "sec-fetch-site";
        let navigate = ("sec-fetch-mode", "navigate");
        assert!(ask("/audit/verify", &[]));
        assert!(ask("/audit/verify", &[(site, "same-origin")]));
        assert!(ask("/audit/verify", &[(site, "none"), navigate]));
        assert!(ask("/", &[(site, "cross-site"), navigate]));
        assert!(
            ask("/login", &[(site, "cross-site"), navigate]),
            "where that leads who is not logged in"
        );
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
            assert!(check(&local(), &Method::DELETE, &Uri::from_static("/decisions"), &headers).is_ok());
            let again = headers[&name].clone();
            headers.append(&name, again);
            assert!(
                check(&local(), &Method::DELETE, &Uri::from_static("/decisions"), &headers).is_err(),
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
            assert_eq!(
                same_origin("http://", &headers, "127.0.0.1:8000").is_ok(),
                expected,
                "{pairs:?}"
            );
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
