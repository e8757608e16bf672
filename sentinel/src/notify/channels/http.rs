//! Requests to webhooks: bounded, without redirects, and nowhere they have no business.

use super::{ChannelError, Fault};
use crate::types::{Secret, off_limits};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Patience asked for beyond this is not believed.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Bytes of an answer that are read; it is not told, but some servers wait until it is taken.
const ANSWER: usize = 64 * 1024;
/// How long for.
const READING: Duration = Duration::from_secs(2);

/// One place to send JSON to.
pub(super) struct Post {
    client: reqwest::Client,
    url: Url,
    timeout: Duration,
    /// What names the place in `settings.yml`.
    key: &'static str,
    link_local: bool,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a key.
        f.debug_struct("Post").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    after: Option<Duration>,
}

impl Post {
    /// For a URL. A proxy of the environment is used for `https` as for intelligence sources; for `http` and this machine none.
    ///
    /// # Errors
    /// The URL or the machine's certificates cannot be used.
    pub(super) fn new(
        url: &Secret,
        timeout: Duration,
        key: &'static str,
        link_local: bool,
    ) -> Result<Self, ChannelError> {
        crate::tls::install();
        let wrong = || ChannelError::settings("its URL cannot be used", format!("write all of it in `{key}`"));
        let url: Url = url.expose().parse().map_err(|_| wrong())?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(wrong());
        }
        let builder = reqwest::Client::builder()
            .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .http1_max_headers(64)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
            .connect_timeout(timeout)
            .dns_resolver(Guarded { link_local });
        let builder = match url.scheme() {
            "https" => builder,
            // Nobody to trust, so it works on a machine without certificates.
            _ => builder.tls_certs_only([]),
        };
        let here = literal(&url).is_some_and(|ip| ip.is_loopback()) || url.host_str() == Some("localhost");
        let builder = if url.scheme() == "http" || here {
            builder.no_proxy()
        } else {
            builder
        };
        let client = builder.build().map_err(|_| {
            ChannelError::settings("no certificates to trust", "install your system's `ca-certificates`")
        })?;
        Ok(Self {
            client,
            url,
            timeout,
            key,
            link_local,
        })
    }

    /// Sends a body.
    ///
    /// # Errors
    /// [`ChannelError`] where nothing was answered.
    pub(super) async fn send(&self, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, ChannelError> {
        if let Some(what) = literal(&self.url).and_then(off_limits).filter(|_| !self.link_local) {
            return Err(self.forbidden(what));
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        let Ok(response) = tokio::time::timeout(self.timeout, request.send()).await else {
            return Err(ChannelError::away(
                format!("did not answer within {:?}", self.timeout),
                "is the receiver up? A longer `timeout` is for one that is slow",
            ));
        };
        let mut response = response.map_err(|error| self.failed(&error))?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let mut body = Vec::new();
        // What follows changes nothing: whether it was taken is said.
        let reading = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() >= ANSWER {
                    body.truncate(ANSWER);
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(READING, reading).await;
        Ok(Answer { status, body, after })
    }

    fn forbidden(&self, what: &str) -> ChannelError {
        ChannelError::settings(
            format!("it leads to {what}"),
            format!(
                "mend `{}`; `alerting.allow_link_local: true` if this is meant",
                self.key
            ),
        )
    }

    /// Why a request failed, in our own words: what the library says holds the URL.
    fn failed(&self, error: &reqwest::Error) -> ChannelError {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(inner) = next {
            if let Some(off) = inner.downcast_ref::<OffLimits>() {
                return self.forbidden(off.0);
            }
            if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                return certificate(tls);
            }
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                return certificate(tls);
            }
            next = inner.source();
        }
        if error.is_timeout() {
            return ChannelError::away(
                format!("no connection within {:?}", self.timeout),
                "is the receiver up, and may this host reach it?",
            );
        }
        if error.is_dns() {
            return ChannelError::away("its name does not resolve", format!("check the name in `{}`", self.key));
        }
        if error.is_connect() {
            return ChannelError::away(
                "no connection",
                format!("is the receiver up? Check host and port in `{}`", self.key),
            );
        }
        ChannelError::away(
            "the connection broke off",
            "it is tried again; look at the receiver's log",
        )
    }
}

impl Answer {
    /// Taken, or what the status says.
    ///
    /// # Errors
    /// [`ChannelError`], with whom the fault is.
    pub(super) fn taken(&self, key: &'static str) -> Result<(), ChannelError> {
        let status = self.status.as_u16();
        let cause = format!("answered {status}");
        let mut error = match status {
            200..=299 => return Ok(()),
            300..=399 => ChannelError::settings(
                format!("{cause}, a redirect, which is not followed"),
                format!("write where it leads in `{key}`"),
            ),
            401 | 403 => ChannelError::settings(cause, "check the key or the secret it is told"),
            404 | 405 | 410 => ChannelError::settings(cause, format!("check the URL in `{key}`")),
            408 | 425 => ChannelError::away(cause, "it is tried again"),
            429 => ChannelError::away(
                format!("{cause}: too many messages"),
                "it is tried again when it said; lower `alerting.throttling.max_alerts_per_minute`",
            ),
            413 | 422 => ChannelError::new(
                Fault::Letter,
                cause,
                "it does not take this message; check `body` and the receiver's log",
            ),
            400..=499 => ChannelError::settings(cause, "check the URL and `body`, and look at the receiver's log"),
            _ => ChannelError::away(cause, "it is tried again; look at the receiver"),
        };
        error.after = self.after;
        Err(error)
    }
}

fn certificate(error: &rustls::Error) -> ChannelError {
    ChannelError::settings(
        crate::tls::words(error),
        "give it a certificate this machine trusts, or this machine its issuer",
    )
}

/// The address that a URL names itself.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// `Retry-After` (RFC 9110, section 10.2.3) in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The system's resolver, less what requests have no business with: a name may lead anywhere, and somewhere else the next time.
#[derive(Clone, Copy)]
struct Guarded {
    link_local: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let link_local = self.link_local;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut off = None;
            let good: Vec<_> = found
                .into_iter()
                .filter(|socket| match off_limits(socket.ip()).filter(|_| !link_local) {
                    Some(what) => {
                        off = Some(what);
                        false
                    }
                    None => true,
                })
                .collect();
            match off {
                Some(what) if good.is_empty() => Err(Box::new(OffLimits(what)) as _),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

/// All addresses of a name are off limits.
#[derive(Debug, thiserror::Error)]
#[error("leads to {0}")]
struct OffLimits(&'static str);
