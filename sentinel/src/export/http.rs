//! A POST to a server, bounded in time and size, whose failures tell no secret.

use super::outlet::Trouble;
use crate::config::ServerConfig;
use crate::time;
use crate::types::Secret;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::error::Error as StdError;
use std::io::Write;
use std::time::Duration;

/// Bytes of an answer that are read, after decompression: two kilobytes for each of the 10,000 events of a batch at most.
const ANSWER: usize = 20 << 20;
/// Longest file of certificates.
const CA: u64 = 1 << 20;

/// A server and how it is spoken to.
pub(super) struct Server {
    config: ServerConfig,
    client: Option<reqwest::Client>,
}

/// What it answered.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// Trouble with a mend.
pub(super) fn trouble(cause: impl Into<String>, mend: impl Into<String>) -> Trouble {
    Trouble {
        cause: cause.into(),
        mend: mend.into(),
        ..Trouble::default()
    }
}

/// What an `Authorization` header says; marked so that nothing prints it.
pub(super) fn authorization(scheme: &str, secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {}", secret.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Server {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            config: config.clone(),
            client: None,
        }
    }

    /// Sends a body to a path, within the timeout from the first packet to the last byte of the answer.
    ///
    /// # Errors
    /// [`Trouble`] in our own words: what the library says holds the URL, and what a server sent.
    pub(super) async fn post(
        &mut self,
        path: &str,
        kind: &'static str,
        key: Option<&HeaderValue>,
        body: Vec<u8>,
    ) -> Result<Reply, Trouble> {
        let limit = self.config.timeout;
        let asked = tokio::time::timeout(limit, self.exchange(path, kind, key, body));
        asked.await.unwrap_or_else(|_| {
            Err(trouble(
                format!("no answer within {} s", limit.as_secs_f64()),
                "see whether the server is up and reachable from here, or raise `timeout`",
            ))
        })
    }

    async fn exchange(
        &mut self,
        path: &str,
        kind: &'static str,
        key: Option<&HeaderValue>,
        body: Vec<u8>,
    ) -> Result<Reply, Trouble> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(self.build()?).clone(),
        };
        let mut request = client
            .post(format!("{}{path}", self.config.url))
            .header(CONTENT_TYPE, kind);
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        request = if self.config.gzip {
            request.header(CONTENT_ENCODING, "gzip").body(gzip(&body)?)
        } else {
            request.body(body)
        };
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let mut reply = Reply {
            status: response.status().as_u16(),
            after: retry_after(response.headers()),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if reply.body.len() + chunk.len() > ANSWER {
                return Err(trouble(
                    "an answer that is too long",
                    "see whether `url` leads to the right server",
                ));
            }
            reply.body.extend_from_slice(&chunk);
        }
        Ok(reply)
    }

    /// Redirects are not followed. A proxy of the environment is used for `https` URLs to other machines only.
    fn build(&self) -> Result<reqwest::Client, Trouble> {
        crate::tls::install();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .http1_max_headers(64)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
            .connect_timeout(self.config.timeout);
        if self.config.url.starts_with("http://") {
            // Nobody to trust, so it works on a machine without certificates.
            builder = builder.tls_certs_only([]).no_proxy();
        } else if let Some(file) = &self.config.ca_file {
            let unusable = |why: String| trouble(format!("`ca_file`: {why}"), "name a PEM file of certificates");
            let bytes = crate::files::read(file, CA).map_err(|error| unusable(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&bytes)
                .map_err(|_| unusable(format!("{}: no certificates in PEM", file.display())))?;
            if certificates.is_empty() {
                return Err(unusable(format!("{}: no certificates in PEM", file.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().map_err(|_| {
            trouble(
                "no certificates to trust",
                "install your system's `ca-certificates`, or name who signed the server's in `ca_file`",
            )
        })
    }
}

fn gzip(body: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .map_err(|_| trouble("a batch cannot be compressed", "set `gzip: false`"))
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let nanos = at.as_nanosecond().saturating_sub(i128::from(time::wall_now().0)).max(0);
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// Why there was no answer.
fn failed(error: &reqwest::Error) -> Trouble {
    let reach = "see whether the server is up, and `url` is right";
    let (cause, mend) = if error.is_timeout() {
        ("no answer in time", reach)
    } else if error.is_dns() {
        ("DNS: its name does not resolve", reach)
    } else if let Some(tls) = find::<rustls::Error>(error) {
        tls_cause(tls)
    } else if find::<std::io::Error>(error).is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
        ("connection refused", reach)
    } else if error.is_connect() {
        ("no connection", reach)
    } else {
        ("the connection broke off", reach)
    };
    trouble(cause, mend)
}

/// In fixed words: rustls repeats names the server sent.
fn tls_cause(error: &rustls::Error) -> (&'static str, &'static str) {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => (
            "TLS: its certificate has expired",
            "renew it, or check this machine's clock",
        ),
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => (
            "TLS: its certificate is for another name",
            "write the name it is for into `url`",
        ),
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => (
            "TLS: its certificate is signed by nobody this machine trusts",
            "name who signed it in `ca_file`",
        ),
        rustls::Error::InvalidCertificate(_) => ("TLS: its certificate is not valid", "give the server another one"),
        _ => ("TLS: no handshake", "see whether the server speaks TLS on that port"),
    }
}

/// The first error of a kind among the causes; io errors hide theirs from `source`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}
