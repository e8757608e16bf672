//! Settings of `intel.feeds.crowdsec:`: a local API of CrowdSec whose decisions are a feed.

use super::export::TextKind;
use super::hosts;
use super::keys::{Key, key, secs};
use super::value::Slot;
use crate::types::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// The name of the feed.
pub const LAPI_FEED: &str = "crowdsec";

/// `intel.feeds.crowdsec:`.
#[derive(Clone, Debug, PartialEq)]
pub struct LapiConfig {
    /// Scheme, host and port; empty: there is none.
    pub url: String,
    /// The bouncer's key: of the environment (`CROWDSEC_BOUNCER_KEY`) or of `key_file`.
    pub key: Option<Secret>,
    /// File that holds it.
    pub key_file: Option<PathBuf>,
    /// Certificates (PEM) to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How often it is asked what changed.
    pub interval: Duration,
}

impl Default for LapiConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            key: None,
            key_file: None,
            ca_file: None,
            interval: secs(30),
        }
    }
}

impl LapiConfig {
    /// Whether it is spoken to without TLS and over the network.
    fn is_overheard(&self) -> bool {
        let Some(rest) = self.url.strip_prefix("http://") else {
            return false;
        };
        let host = rest.split('/').next().unwrap_or_default();
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => host,
        };
        !hosts::is_here(host.trim_matches(['[', ']']))
    }
}

static URL: TextKind = TextKind {
    wants: "where CrowdSec's local API listens, such as `http://127.0.0.1:8080` or `https://…`, or nothing",
    pattern: "^(https?://[^@?#/\\s][^@?#\\s]*)?$",
    good: |text| text.is_empty() || super::url::base_url(text).is_ok(),
};

pub(super) const KEYS: &[Key] = &[
    key(
        "intel.feeds.crowdsec.url",
        "Where a local API of CrowdSec listens whose bans are a feed",
        |d| Slot::Text(&mut d.config.intel.feeds.crowdsec.url, &URL),
    ),
    key(
        "intel.feeds.crowdsec.key_file",
        "File that holds the bouncer's key",
        |d| Slot::File(&mut d.config.intel.feeds.crowdsec.key_file),
    ),
    key(
        "intel.feeds.crowdsec.ca_file",
        "Certificates (PEM) to trust in place of the system's",
        |d| Slot::File(&mut d.config.intel.feeds.crowdsec.ca_file),
    ),
    key(
        "intel.feeds.crowdsec.interval",
        "How often it is asked what changed",
        |d| Slot::Time(&mut d.config.intel.feeds.crowdsec.interval, secs(1)..=secs(3600)),
    ),
];

/// What is asked for and cannot come of it.
pub(super) fn check(lapi: &LapiConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    if lapi.is_overheard() {
        say(
            "intel.feeds.crowdsec.url",
            "is on another machine and without TLS, so that whoever listens in learns the key and can change the bans"
                .into(),
            "use `https://`, or forward its port, such as with `ssh -L`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_to_nobody_in_clear() {
        let said = |url: &str| {
            let mut said = 0;
            let config = LapiConfig {
                url: url.to_owned(),
                ..LapiConfig::default()
            };
            check(&config, &mut |_, _, _| said += 1);
            said
        };
        for (url, complaints) in [
            ("", 0),
            ("http://127.0.0.1:8080", 0),
            ("http://[::1]:8080", 0),
            ("http://localhost:8080", 0),
            ("https://lapi.example", 0),
            ("http://192.0.2.1:8080", 1),
            ("http://lapi.example", 1),
        ] {
            assert_eq!(said(url), complaints, "{url}");
            assert!((URL.good)(url), "{url}");
        }
        for bad in ["ftp://x", "https://joe:secret@x", "https://x?key=1", "x"] {
            assert!(!(URL.good)(bad), "{bad}");
        }
    }
}
