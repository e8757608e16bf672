//! Settings of `bettercap:`: where a Bettercap is, what is heard from it and what it may be told to do.

use super::export::TextKind;
use super::hosts;
use super::keys::{Key, MIB, key, millis, secs};
use super::value::Slot;
use crate::types::Secret;
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;

/// `bettercap:`.
#[derive(Clone, Debug, PartialEq)]
pub struct BettercapConfig {
    /// Scheme, host and port of its `api.rest`; empty: there is none.
    pub url: String,
    /// Who logs in (`api.rest.username`).
    pub username: String,
    /// With which password: of the environment (`BETTERCAP_PASSWORD`) or of `password_file`.
    pub password: Option<Secret>,
    /// File that holds it.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long connecting, and one request, may take.
    pub timeout: Duration,
    /// Whether its events are listened to.
    pub sensor: bool,
    /// What is on our side of it, beside the addresses of the machine it runs on.
    pub inside: Vec<IpNet>,
    /// Events that may wait to be judged; beyond that the newest are dropped and counted.
    pub queue: usize,
    /// The longest event that is read, bytes; a longer one ends the connection.
    pub max_event: u32,
    /// Whether a block of a neighbour is also carried out by `arp.ban`.
    pub arp_ban: bool,
}

impl Default for BettercapConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: String::new(),
            password: None,
            password_file: None,
            ca_file: None,
            timeout: secs(5),
            sensor: true,
            inside: Vec::new(),
            queue: 65_536,
            max_event: MIB as u32,
            arp_ban: false,
        }
    }
}

impl BettercapConfig {
    /// Where its events are: a WebSocket. `None` where nobody listens.
    pub fn events(&self) -> Option<String> {
        let (secure, rest) = self.sensor.then(|| scheme(&self.url))??;
        Some(format!("{}://{rest}/api/events", if secure { "wss" } else { "ws" }))
    }

    /// Where its session is asked and told: HTTP. `None` where there is no Bettercap.
    pub fn session(&self) -> Option<String> {
        let (secure, rest) = scheme(&self.url)?;
        Some(format!(
            "{}://{rest}/api/session",
            if secure { "https" } else { "http" }
        ))
    }
}

impl BettercapConfig {
    /// Whether it is spoken to over loopback.
    pub fn is_here(&self) -> bool {
        self.host().is_some_and(|host| hosts::is_here(&host))
    }

    /// The host it is on; `None` where there is no Bettercap.
    pub fn host(&self) -> Option<String> {
        let (_, rest) = scheme(&self.url)?;
        let host = rest.split('/').next()?;
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => host,
        };
        Some(host.trim_matches(['[', ']']).to_owned())
    }
}

/// Whether it is spoken to over TLS, and what follows the scheme.
fn scheme(url: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme {
        "https" | "wss" => true,
        "http" | "ws" => false,
        _ => return None,
    };
    // Whoever copies the address of the events means the same server.
    let rest = rest.trim_end_matches('/');
    Some((secure, rest.strip_suffix("/api/events").unwrap_or(rest)))
}

static URL: TextKind = TextKind {
    wants: "where `api.rest` listens, such as `ws://127.0.0.1:8081` or `wss://…`, without a password, or nothing",
    pattern: "^((ws|http)s?://[^@?#/\\s][^@?#\\s]*)?$",
    good: |text| {
        let plain = |c: char| c.is_ascii_graphic() && !"@?#\\\"<>{}|^`".contains(c);
        let good = |rest: &str| !rest.is_empty() && !rest.starts_with(['/', ':']) && rest.chars().all(plain);
        text.is_empty() || text.len() <= 512 && scheme(text).is_some_and(|(_, rest)| good(rest))
    },
};

static USER: TextKind = TextKind {
    wants: "up to 200 signs without a colon, or nothing",
    pattern: "^[^:\\u0000-\\u001f]{0,200}$",
    good: |text| text.len() <= 200 && !text.chars().any(|c| c == ':' || c.is_control()),
};

pub(super) const KEYS: &[Key] = &[
    key("bettercap.url", "Where its `api.rest` listens", |d| {
        Slot::Text(&mut d.config.bettercap.url, &URL)
    }),
    key("bettercap.username", "Who logs in there", |d| {
        Slot::Text(&mut d.config.bettercap.username, &USER)
    }),
    key("bettercap.password_file", "File that holds the password", |d| {
        Slot::File(&mut d.config.bettercap.password_file)
    }),
    key(
        "bettercap.ca_file",
        "Certificates (PEM) to trust in place of the system's",
        |d| Slot::File(&mut d.config.bettercap.ca_file),
    ),
    key(
        "bettercap.timeout",
        "How long connecting, and one request, may take",
        |d| Slot::Time(&mut d.config.bettercap.timeout, millis(100)..=secs(60)),
    ),
    key("bettercap.sensor", "Whether its events are listened to", |d| {
        Slot::Bool(&mut d.config.bettercap.sensor)
    }),
    key(
        "bettercap.inside",
        "What is on our side of it, beside the addresses of the machine it runs on",
        |d| Slot::Prefixes(&mut d.config.bettercap.inside),
    ),
    key("bettercap.queue", "Events that may wait to be judged", |d| {
        Slot::Usize(&mut d.config.bettercap.queue, 1024..=1_048_576)
    }),
    key("bettercap.max_event", "The longest event that is read", |d| {
        Slot::Size32(&mut d.config.bettercap.max_event, 4096..=16 * MIB)
    }),
    key(
        "bettercap.arp_ban",
        "Whether a block of a neighbour is also carried out by `arp.ban`",
        |d| Slot::Bool(&mut d.config.bettercap.arp_ban),
    ),
];

/// What is asked for and cannot come of it.
pub(super) fn check(bettercap: &BettercapConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    if bettercap.url.is_empty() {
        if bettercap.arp_ban {
            say(
                "bettercap.arp_ban",
                "is on, and `bettercap.url` names no Bettercap".into(),
                "name one, or leave it off",
            );
        }
        return;
    }
    let clear = scheme(&bettercap.url).is_some_and(|(secure, _)| !secure);
    if clear && bettercap.password.is_some() && !bettercap.is_here() {
        say(
            "bettercap.url",
            "is on another machine and without TLS, so that whoever listens in learns the password".into(),
            "use `wss://` (docs/bettercap.md), or forward its port, such as with `ssh -L`",
        );
    }
    // The other way round it may be in the environment of the agent, and not in that of whoever asks it something.
    if bettercap.username.is_empty() && bettercap.password.is_some() {
        say(
            "bettercap.username",
            "is empty, and there is a password".into(),
            "name who logs in, as `api.rest.username` has it",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> BettercapConfig {
        BettercapConfig {
            url: url.to_owned(),
            ..BettercapConfig::default()
        }
    }

    #[test]
    fn one_address_leads_to_events_and_session() {
        for url in [
            "ws://127.0.0.1:8081",
            "http://127.0.0.1:8081/",
            "ws://127.0.0.1:8081/api/events",
        ] {
            assert!((URL.good)(url), "{url}");
            let config = at(url);
            assert_eq!(config.events().unwrap(), "ws://127.0.0.1:8081/api/events");
            assert_eq!(config.session().unwrap(), "http://127.0.0.1:8081/api/session");
        }
        assert_eq!(
            at("wss://b.example").session().unwrap(),
            "https://b.example/api/session"
        );
        assert_eq!((at("").events(), at("").session()), (None, None));
        let deaf = BettercapConfig {
            sensor: false,
            ..at("ws://b")
        };
        assert_eq!(deaf.events(), None);
        let Err(fault) = URL.read("ws://joe:s3cret@b.example") else {
            panic!("a password in a URL")
        };
        assert!(fault.message.starts_with("`ws://***@b.example`"), "{}", fault.message);
        for bad in [
            "ftp://a",
            "ws://",
            "ws://u:p@h",
            "ws:///x",
            "ws://a b",
            "127.0.0.1:8081",
        ] {
            assert!(!(URL.good)(bad), "{bad}");
        }
    }

    #[test]
    fn half_a_login_and_a_ban_without_a_bettercap_are_told() {
        let said = |config: BettercapConfig| {
            let mut said = 0;
            check(&config, &mut |_, _, _| said += 1);
            said
        };
        let named = |url: &str, name: &str| BettercapConfig {
            username: name.to_owned(),
            ..at(url)
        };
        let with_password = |name: &str| BettercapConfig {
            password: Some(Secret::new("x")),
            ..named("ws://localhost", name)
        };
        let at_place = |url: &str| BettercapConfig {
            url: url.to_owned(),
            ..with_password("joe")
        };
        let told = [
            "ws://127.0.0.1:8081",
            "ws://[::1]:1",
            "wss://b.example",
            "ws://b.example",
        ]
        .map(|url| said(at_place(url)));
        assert_eq!(told, [0, 0, 0, 1]);
        assert_eq!(said(named("ws://b", "joe")), 0);
        assert_eq!((said(with_password("joe")), said(with_password(""))), (0, 1));
        let banning = BettercapConfig {
            arp_ban: true,
            ..at("")
        };
        assert_eq!(said(banning), 1);
    }
}
