//! The one way to a provider: a GET, bounded in time and size, whose failures tell no secret.

use super::body::{self, Body};
use super::{IntelError, QuotaHint, Reply};
use crate::config::SourceConfig;
use crate::types::{Indicator, Secret, Timestamp};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::time::Duration;

/// Bytes of an answer that are read, after decompression.
pub(super) const BODY_LIMIT: usize = 256 * 1024;
/// Headers of an answer at most; hyper bounds their bytes.
const HEADERS: usize = 64;
/// Patience asked for beyond this is not believed: no provider has a longer period.
const LONGEST_WAIT: Duration = Duration::from_hours(31 * 24);
/// A reset above this many seconds is a date since 1970, below it a time from now.
const EPOCH: u64 = 1_000_000_000;

/// Asks one provider. HTTP/1.1 only: a request a few seconds apart gains nothing from HTTP/2.
pub(super) struct Transport {
    client: reqwest::Client,
    base: Url,
    timeout: Duration,
    limit: usize,
}

/// What a provider said, with status 200 or 404.
pub(super) struct Answer {
    status: StatusCode,
    hint: QuotaHint,
    body: Body,
}

impl Transport {
    /// For the provider at `config.url`. Redirects are not followed, cookies not kept. A proxy of the environment
    /// (`HTTPS_PROXY`, `ALL_PROXY`, but for `NO_PROXY`) is used for `https` URLs, as `curl` and package managers do:
    /// hosts worth defending often have no other way out, and it sees ciphertext only. For `http` URLs and this machine's
    /// loopback it is not.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: the URL or the machine's certificates cannot be used.
    pub(super) fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Self::built(config, |builder| builder)
    }

    /// The same, that trusts one certificate only.
    #[cfg(test)]
    pub(super) fn trusting(config: &SourceConfig, certificate: &[u8]) -> Self {
        let certificate = reqwest::Certificate::from_der(certificate).unwrap();
        Self::built(config, |builder| builder.tls_certs_only([certificate])).unwrap()
    }

    fn built(
        config: &SourceConfig,
        trust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, IntelError> {
        crate::tls::install();
        let unusable = || IntelError::Unavailable("its `url` is not the URL of a server".to_owned());
        let base: Url = config.url.parse().map_err(|_| unusable())?;
        if !matches!(base.scheme(), "https" | "http") || base.host_str().is_none() {
            return Err(unusable());
        }
        let builder = reqwest::Client::builder()
            .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .http1_max_headers(HEADERS)
            .pool_max_idle_per_host(2)
            .pool_idle_timeout(Duration::from_secs(30))
            .connect_timeout(config.timeout);
        let builder = match base.scheme() {
            "https" => trust(builder),
            // Nobody to trust, so it works on a machine without certificates.
            _ => builder.tls_certs_only([]),
        };
        let builder = if base.scheme() == "http" || is_here(&base) {
            builder.no_proxy()
        } else {
            builder
        };
        let client = builder.build().map_err(|_| {
            IntelError::Unavailable("no certificates to trust; install your system's `ca-certificates`".to_owned())
        })?;
        Ok(Self {
            client,
            base,
            timeout: config.timeout,
            limit: BODY_LIMIT,
        })
    }

    /// Reads `limit` bytes of an answer instead of [`BODY_LIMIT`].
    pub(super) fn reading(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The URL with these path segments, each percent-encoded where it must be.
    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Asks, within the source's timeout from the first packet to the last byte.
    ///
    /// # Errors
    /// By status: 401 and 403 [`IntelError::Unauthorised`], 429 [`IntelError::RateLimited`], all but 200 and 404
    /// [`IntelError::Status`]. [`IntelError::Timeout`], and [`IntelError::Transport`] by kind: DNS, connection, TLS,
    /// broken off.
    pub(super) async fn get(&self, url: Url, key: Option<&Key>) -> Result<Answer, IntelError> {
        let mut request = self.client.get(url).header(ACCEPT, "application/json");
        if let Some(key) = key {
            request = request.header(key.name.clone(), key.value.clone());
        }
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(IntelError::Timeout(self.timeout)),
        }
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Answer, IntelError> {
        let mut response = request.send().await.map_err(|e| self.failed(e))?;
        let status = response.status();
        let now = crate::time::wall_now();
        let hint = hint(response.headers(), now);
        match status {
            StatusCode::OK | StatusCode::NOT_FOUND => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(IntelError::Unauthorised {
                    status: status.as_u16(),
                });
            }
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(IntelError::RateLimited {
                    retry_after: retry_after(response.headers(), now),
                    hint,
                });
            }
            other => return Err(IntelError::Status(other.as_u16())),
        }
        let mut body = Body::new(self.limit);
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(e))? {
            if !body.push(&chunk) {
                break;
            }
        }
        Ok(Answer { status, hint, body })
    }

    /// Why a request failed, in our own words: what the library says holds the URL, and what a server sent.
    fn failed(&self, error: reqwest::Error) -> IntelError {
        if error.is_timeout() {
            return IntelError::Timeout(self.timeout);
        }
        let error = error.without_url();
        let why = if error.is_dns() {
            "DNS: its name does not resolve"
        } else if let Some(why) = cause(&error) {
            why
        } else if error.is_connect() {
            "no connection"
        } else if error.is_decode() {
            return IntelError::Malformed("a compressed body that is damaged".to_owned());
        } else {
            "the connection broke off"
        };
        IntelError::Transport(why.to_owned())
    }
}

impl Answer {
    /// Whether the provider says that there is no such thing.
    pub(super) fn not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The answer of a provider that has one about every address: there 404 is a wrong URL, no unknown address.
    ///
    /// # Errors
    /// [`IntelError::Status`] for it.
    pub(super) fn found(self) -> Result<Self, IntelError> {
        if self.not_found() {
            return Err(IntelError::Status(StatusCode::NOT_FOUND.as_u16()));
        }
        Ok(self)
    }

    /// The answer in its documented form.
    ///
    /// # Errors
    /// [`IntelError::TooLarge`]; [`IntelError::Malformed`], with the field's path.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, IntelError> {
        body::parse(self.body.whole()?)
    }

    /// The same, but of an answer that was too long what was read of it: its lists may lack their end.
    ///
    /// # Errors
    /// As [`json`](Self::json); too large is one that says what is needed only behind what was read.
    pub(super) fn json_or_beginning<T: DeserializeOwned>(&self) -> Result<T, IntelError> {
        self.body.whole().and_then(body::parse).or_else(|error| match error {
            IntelError::TooLarge(_) => body::parse(&self.body.closed().ok_or(error.clone())?).map_err(|_| error),
            error => Err(error),
        })
    }

    /// What it comes to.
    pub(super) fn reply(&self, indicator: Indicator) -> Reply {
        Reply {
            indicator,
            cached: false,
            hint: self.hint,
        }
    }
}

/// A key as a header of every request.
pub(super) struct Key {
    name: HeaderName,
    value: HeaderValue,
}

impl Key {
    /// The source's key under that name; `None` where it has none.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: no header can carry it.
    pub(super) fn of(config: &SourceConfig, name: &'static str) -> Result<Option<Self>, IntelError> {
        let Some(key) = &config.key else { return Ok(None) };
        let mut value = HeaderValue::from_str(key.expose())
            .map_err(|_| IntelError::Unavailable("its key holds characters no key has; check `key_file`".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(Self {
            name: HeaderName::from_static(name),
            value,
        }))
    }

    /// The source's key, where it does not answer without.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: there is none.
    pub(super) fn required(config: &SourceConfig, name: &'static str) -> Result<Self, IntelError> {
        Self::of(config, name)?.ok_or_else(no_key)
    }
}

/// Whether a server is on this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The source's key, for a provider that takes it elsewhere than in a header.
///
/// # Errors
/// [`IntelError::Unavailable`]: there is none.
pub(super) fn required_key(config: &SourceConfig) -> Result<Secret, IntelError> {
    config.key.clone().ok_or_else(no_key)
}

fn no_key() -> IntelError {
    IntelError::Unavailable("has no key; put it into its environment variable or `key_file`".to_owned())
}

/// The cause of a failure as far as it is known; io errors hide theirs from `source`.
fn cause(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(crate::tls::words(tls));
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            found = io_cause(io.kind()).or(found);
            if let Some(why) = io.get_ref().and_then(|inner| cause(inner)) {
                return Some(why);
            }
        }
        next = error.source();
    }
    found
}

fn io_cause(kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind as Kind;
    match kind {
        Kind::ConnectionRefused => Some("connection refused"),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => Some("no route to it"),
        Kind::PermissionDenied => Some("this machine forbids the connection"),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            Some("the connection broke off")
        }
        _ => None,
    }
}

/// A header's number; what stands behind it, such as `;w=60`, is left out.
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, whose reset is a time from now or a date, in seconds.
fn hint(headers: &HeaderMap, now: Timestamp) -> QuotaHint {
    let reset = number(headers, "x-ratelimit-reset").map(|reset| {
        let since = if reset >= EPOCH {
            reset.saturating_sub(now.unix_millis() / 1000)
        } else {
            reset
        };
        Duration::from_secs(since).min(LONGEST_WAIT)
    });
    QuotaHint {
        limit: number(headers, "x-ratelimit-limit"),
        remaining: number(headers, "x-ratelimit-remaining"),
        reset,
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        let nanos = at.as_nanosecond().saturating_sub(i128::from(now.0)).max(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_this_machine_are_known() {
        for (url, here) in [
            ("https://127.0.0.1:8443", true),
            ("https://127.9.9.9/x", true),
            ("https://[::1]:8443", true),
            ("https://localhost", true),
            ("https://localhost.example", false),
            ("https://192.0.2.1", false),
            ("https://[2001:db8::1]", false),
        ] {
            assert_eq!(is_here(&url.parse().unwrap()), here, "{url}");
        }
    }

    #[test]
    fn numbers_of_headers_are_hostile() {
        let now = Timestamp(1_700_000_000_000_000_000);
        for (reset, told) in [
            ("60", Some(60)),
            ("1700000060", Some(60)),
            ("1699999999", Some(0)),
            ("1700000060000", Some(31 * 86_400)),
            ("18446744073709551615", Some(31 * 86_400)),
            ("18446744073709551616", None),
            ("60, 60;w=60", Some(60)),
            ("-60", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-reset", HeaderValue::from_static(reset));
            headers.insert("x-ratelimit-limit", HeaderValue::from_bytes(b"\xff1").unwrap());
            let hint = hint(&headers, now);
            assert_eq!(hint.reset, told.map(Duration::from_secs), "{reset}");
            assert_eq!((hint.limit, hint.remaining), (None, None));
        }
    }
}
