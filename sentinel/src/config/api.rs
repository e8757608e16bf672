//! `api:`.

use super::export::TextKind;
use super::keys::{Key, key, secs};
use super::resolved::Switch;
use super::value::Slot;
use std::path::PathBuf;
use std::time::Duration;

/// A group, as groupadd(8) takes it.
static GROUP: TextKind = TextKind {
    wants: "a group's name, or nothing",
    pattern: "^([a-z_][a-z0-9_-]{0,31})?$",
    good: |text| {
        let mut letters = text.chars();
        let first = letters.next().is_none_or(|c| c.is_ascii_lowercase() || c == '_');
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        first && text.len() <= 32 && letters.all(good)
    },
};

/// `api:`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiConfig {
    /// Address and port; elsewhere than on loopback only with a certificate.
    pub listen: std::net::SocketAddr,
    /// Unix socket for the command line, for root and the agent's user alone unless a group is named.
    pub socket: PathBuf,
    /// Group whose members may do by the socket whatever root may; empty for none.
    pub socket_group: String,
    /// Names by which browsers reach it, beside those of loopback and the address it listens on.
    pub hosts: Vec<String>,
    /// PEM file of the certificate and what it is signed by; TLS where there is one.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub private_key: Option<PathBuf>,
    /// Whether `/metrics` answers without a token; `auto`: on loopback.
    pub metrics_open: Switch,
    /// How long a browser stays logged in without being used.
    pub session: Duration,
    /// Whether CrowdSec's bouncers are answered under `/v1/`.
    pub crowdsec: bool,
}

impl ApiConfig {
    /// Where a browser finds it, with the port in use.
    pub fn url(&self, listening: std::net::SocketAddr) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        match self.hosts.first() {
            Some(host) if host.contains(':') => format!("{scheme}://[{host}]:{}", listening.port()),
            Some(host) => format!("{scheme}://{host}:{}", listening.port()),
            None => format!("{scheme}://{listening}"),
        }
    }

    /// Whether `/metrics` answers without a token.
    pub fn metrics_open(&self) -> bool {
        match self.metrics_open {
            Switch::Auto => self.listen.ip().is_loopback(),
            Switch::On => true,
            Switch::Off => false,
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8000)),
            socket: "data/sentinel.sock".into(),
            socket_group: String::new(),
            hosts: Vec::new(),
            certificate: None,
            private_key: None,
            metrics_open: Switch::Auto,
            session: Duration::from_hours(12),
            crowdsec: false,
        }
    }
}

pub(super) const KEYS: &[Key] = &[
    key(
        "api.listen",
        "Address and port of dashboard and API; elsewhere than on loopback only with a certificate",
        |d| Slot::Listen(&mut d.config.api.listen),
    ),
    key("api.socket", "Unix socket for the command line", |d| {
        Slot::Path(&mut d.config.api.socket)
    }),
    key(
        "api.socket_group",
        "Group whose members may do by the socket whatever root may; empty: nobody beside root and the agent's user",
        |d| Slot::Text(&mut d.config.api.socket_group, &GROUP),
    ),
    key(
        "api.hosts",
        "Names by which browsers reach it, beside those of loopback and its address",
        |d| Slot::Hosts(&mut d.config.api.hosts),
    ),
    key(
        "api.tls.certificate",
        "PEM file of the certificate, those that signed it behind it; nothing for plain HTTP",
        |d| Slot::File(&mut d.config.api.certificate),
    ),
    key("api.tls.key", "PEM file of its private key", |d| {
        Slot::File(&mut d.config.api.private_key)
    }),
    key(
        "api.metrics_open",
        "Whether /metrics answers without a token; auto: on loopback",
        |d| Slot::Switch(&mut d.config.api.metrics_open),
    ),
    key(
        "api.session",
        "How long a browser stays logged in without being used",
        |d| Slot::Time(&mut d.config.api.session, secs(60)..=secs(30 * 86_400)),
    ),
    key(
        "api.crowdsec",
        "Whether CrowdSec's bouncers are answered under /v1/, each with a token of the role bouncer",
        |d| Slot::Bool(&mut d.config.api.crowdsec),
    ),
];
