//! Fetches a list into a file: only if it changed, in bounded time and size, and from nowhere it should not come from.

use super::sanity::reserved;
use super::schedule::Ended;
use futures_util::FutureExt;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, StatusCode, Url, redirect};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// Redirects that are followed.
const HOPS: usize = 3;
/// Characters kept of `ETag` and `Last-Modified`.
const TAG_MAX: usize = 256;

/// How long a fetch may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    /// Between two pieces of an answer.
    pub(super) idle: Duration,
    pub(super) whole: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        idle: Duration::from_secs(30),
        whole: Duration::from_mins(10),
    };
}

/// What the provider called the version that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The version that is held still holds.
    Unchanged,
    /// Another one, in a file that goes with this value.
    List(Scratch, Version),
    /// The operator's file is not there: a list without entries.
    Gone,
}

/// Why nothing came. No URL in it: one of the operator's own may hold a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("not reached: {0}; check DNS, routes and the firewall for HTTPS to the provider")]
    Unreached(String),
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error("no answer in time: {0}")]
    Timeout(String),
    #[error("answered HTTP {status}{}", mend(*status))]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("answered with a page (`{0}`) in place of a list; a captive portal or a proxy may stand in between")]
    Page(String),
    #[error("the list is longer than {0} bytes; raise `intel.feeds.max_bytes` if that is right")]
    TooLarge(u64),
    #[error("sent elsewhere, which is not followed: {0}")]
    Redirect(&'static str),
    #[error("the list cannot be read or kept: {0}; check the file, or `intel.feeds.directory`")]
    Disk(#[from] std::io::Error),
    #[error("the list cannot be kept: {0}; make room where `intel.feeds.directory` is")]
    Full(std::io::Error),
    #[error(
        "its key is refused; make one (`cscli bouncers add sentinel`, or `sentinel token create NAME --role bouncer`) and give it in `CROWDSEC_BOUNCER_KEY` or `intel.feeds.crowdsec.key_file`"
    )]
    Key,
    #[error("answered HTTP 404; no local API is there, or (a sentinel's) `api.crowdsec` is off")]
    NoLapi,
    #[error("the answer is not what a local API of CrowdSec says ({0}); check `intel.feeds.crowdsec.url`")]
    Malformed(String),
    #[error("more than {0} decisions; they are not taken")]
    TooMany(usize),
    #[error(
        "not asked, since that could not be written down: {0}; make room where `intel.feeds.directory` is, or check it"
    )]
    Unmarked(String),
}

const fn mend(status: u16) -> &'static str {
    match status {
        401 | 403 => "; the provider refuses this host, or this program",
        404 | 410 => "; the list has moved or is gone",
        429 => "; the provider asks for patience",
        _ => "",
    }
}

impl FetchError {
    pub(super) fn status(status: StatusCode, headers: &HeaderMap) -> Self {
        Self::Status {
            status: status.as_u16(),
            retry_after: retry_after(headers),
        }
    }

    /// Whether the provider was asked.
    pub(super) const fn ended(&self) -> Ended {
        match self {
            Self::Unreached(_) | Self::Disk(_) | Self::Unmarked(_) => Ended::Unreached,
            Self::Status { retry_after, .. } => Ended::Asked {
                retry_after: *retry_after,
            },
            _ => Ended::Asked { retry_after: None },
        }
    }
}

/// A file that came, which is removed when it is no longer needed.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// It is the operator's, and stays.
    theirs: bool,
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file beside the lists; what an earlier run left in its place is removed.
    async fn create(path: PathBuf) -> std::io::Result<(Self, File)> {
        let _ = tokio::fs::remove_file(&path).await;
        let file = File::options().write(true).create_new(true).open(&path).await?;
        Ok((Self { path, theirs: false }, file))
    }

    /// One with these bytes in it.
    pub(super) async fn filled(path: PathBuf, bytes: &[u8]) -> Result<Self, FetchError> {
        let (scratch, mut file) = Self::create(path).await?;
        file.write_all(bytes).await.map_err(FetchError::Full)?;
        file.flush().await.map_err(FetchError::Full)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.theirs {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Looks at a file of the operator's: its size and date are its version.
pub(super) async fn local(path: PathBuf, known: &Version, max_bytes: u64) -> Result<Fetched, FetchError> {
    let about = match tokio::fs::metadata(&path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Fetched::Gone),
        about => about?,
    };
    // A pipe would be waited for.
    if !about.is_file() {
        return Err(std::io::Error::other("it is no regular file").into());
    }
    if about.len() > max_bytes {
        return Err(FetchError::TooLarge(max_bytes));
    }
    let since = about
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let version = Version {
        etag: Some(format!("{}-{}", since.as_nanos(), about.len())),
        last_modified: None,
    };
    if version == *known {
        return Ok(Fetched::Unchanged);
    }
    Ok(Fetched::List(Scratch { path, theirs: true }, version))
}

/// A client that follows nobody and waits for nobody too long.
pub(super) fn builder(patience: Patience) -> reqwest::ClientBuilder {
    crate::tls::install();
    Client::builder()
        .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .redirect(redirect::Policy::none())
        .connect_timeout(patience.connect)
        .read_timeout(patience.idle)
        .timeout(patience.whole)
        .pool_max_idle_per_host(0)
}

/// Who fetches.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Client,
    pub(super) max_bytes: u64,
}

impl Fetcher {
    /// `trusted` are the hosts the operator named: they may be anywhere. All others must be on the internet.
    pub(super) fn new(max_bytes: u64, patience: Patience, trusted: BTreeSet<String>) -> Result<Self, reqwest::Error> {
        let client = builder(patience)
            .dns_resolver(Arc::new(Resolver {
                trusted: Arc::new(trusted),
            }))
            .build()?;
        Ok(Self { client, max_bytes })
    }

    /// Fetches `url` into `to`, unless it is still the version `known`.
    pub(super) async fn fetch(&self, url: &Url, known: &Version, to: PathBuf) -> Result<Fetched, FetchError> {
        // Before anybody is asked: a list that cannot be kept is not asked for.
        let mut scratch = Scratch::create(to).await?;
        let mut at = url.clone();
        for _ in 0..=HOPS {
            let mut request = self.client.get(at.clone());
            if let Some(etag) = &known.etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            if let Some(date) = &known.last_modified {
                request = request.header(IF_MODIFIED_SINCE, date);
            }
            let response = request.send().await.map_err(told)?;
            let status = response.status();
            if status == StatusCode::NOT_MODIFIED && *known != Version::default() {
                return Ok(Fetched::Unchanged);
            }
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                at = next(url, &at, response.headers())?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(FetchError::status(status, response.headers()));
            }
            let version = self.save(response, &mut scratch.1).await?;
            return Ok(Fetched::List(scratch.0, version));
        }
        Err(FetchError::Redirect("more than three times"))
    }

    async fn save(&self, mut response: reqwest::Response, file: &mut File) -> Result<Version, FetchError> {
        let kind = header(response.headers(), CONTENT_TYPE).unwrap_or_default();
        if kind.to_ascii_lowercase().contains("html") {
            return Err(FetchError::Page(kind));
        }
        let too_large = Err(FetchError::TooLarge(self.max_bytes));
        if response.content_length().is_some_and(|length| length > self.max_bytes) {
            return too_large;
        }
        let version = Version {
            etag: header(response.headers(), ETAG),
            last_modified: header(response.headers(), LAST_MODIFIED),
        };
        let mut length = 0;
        // What is counted is what comes out of a decompressor: a bomb goes off in front of the bound.
        while let Some(piece) = response.chunk().await.map_err(told)? {
            length += piece.len() as u64;
            if length > self.max_bytes {
                return too_large;
            }
            file.write_all(&piece).await.map_err(FetchError::Full)?;
        }
        file.flush().await.map_err(FetchError::Full)?;
        Ok(version)
    }
}

/// Where a redirect leads, if it is followed: to the same place, or on the internet and encrypted.
fn next(first: &Url, at: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location
        .and_then(|location| at.join(location).ok())
        .ok_or(FetchError::Redirect("it does not say where to"))?;
    if to.origin() == first.origin() {
        return Ok(to);
    }
    if to.scheme() != "https" {
        return Err(FetchError::Redirect("it is not HTTPS"));
    }
    match to
        .host_str()
        .map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>())
    {
        None => Err(FetchError::Redirect("it names no host")),
        Some(Ok(ip)) if !public(ip) => Err(FetchError::Redirect("it is not on the internet")),
        // A name is looked at when it is resolved.
        Some(_) => Ok(to),
    }
}

fn public(ip: IpAddr) -> bool {
    reserved(IpNet::from(ip.to_canonical())).is_none()
}

/// Visible characters of a header, bounded; what cannot be sent back as it is, is not kept.
fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= TAG_MAX).then(|| text.to_owned())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    header(headers, RETRY_AFTER)?.parse().ok().map(Duration::from_secs)
}

pub(super) fn told(error: reqwest::Error) -> FetchError {
    let (connect, timeout) = (error.is_connect(), error.is_timeout());
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    if connect {
        FetchError::Unreached(text)
    } else if timeout {
        FetchError::Timeout(text)
    } else {
        FetchError::Broken(text)
    }
}

/// Resolves names, and knows only what is on the internet, but for the hosts the operator named.
struct Resolver {
    trusted: Arc<BTreeSet<String>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = Arc::clone(&self.trusted);
        async move {
            let host = name.as_str();
            let anywhere = trusted.contains(host);
            let found = tokio::net::lookup_host((host, 0)).await?;
            let usable: Vec<SocketAddr> = found.filter(|at| anywhere || public(at.ip())).collect();
            if usable.is_empty() {
                return Err("its name leads to no address on the internet".into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        }
        .boxed()
    }
}
