//! Settings of a fleet: `bus` and `fleet:`.

use super::export::TextKind;
use super::keys::{Key, key, secs};
use super::value::{Fault, Slot, fault};
use super::words::Word;
use crate::types::{ActionKind, Origin, Secret};
use std::path::PathBuf;
use std::time::Duration;

/// Shortest key that signs, bytes: what 128 bits look like in hexadecimal.
const KEY_MIN: usize = 32;
/// Longest URL that is taken.
const URL: usize = 512;
/// Port where none is named, and that of a Redis Sentinel.
const PORTS: (u16, u16) = (6379, 26379);
/// Kinds of decisions that can be told of, in words of the settings.
const ACTIONS: &[&str] = &[
    ActionKind::RateLimit.as_str(),
    ActionKind::RedirectToHoneypot.as_str(),
    ActionKind::BlockIp.as_str(),
    ActionKind::IsolateContainer.as_str(),
];
/// Who takes decisions that can be told of.
const BY: &[&str] = &[Origin::Detector.as_str(), Origin::Operator.as_str()];

/// Through what several sentinels hear of each other: `bus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BusBackend {
    /// Not at all.
    #[default]
    Memory,
    /// Through streams of a Redis.
    Redis(RedisPlace),
}

/// What stands behind the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// One server.
    Single,
    /// A Redis Cluster; the hosts are some of its nodes.
    Cluster,
    /// Whatever Redis Sentinels call the master of this name; the hosts are theirs.
    Sentinel(String),
}

/// Where a Redis is, and who logs in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPlace {
    /// What stands behind the address.
    pub kind: RedisKind,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// Who logs in; its default user where not said.
    pub user: Option<String>,
    /// With which password, where the URL has it.
    pub password: Option<Secret>,
    /// Host and port, one or more.
    pub hosts: Vec<(String, u16)>,
    /// Number of its database; 0 in a cluster.
    pub database: u32,
}

/// `fleet:`.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfig {
    /// This node's name; empty for that of the host.
    pub name: String,
    /// What words are signed by.
    pub key: Option<Secret>,
    /// File that holds it.
    pub key_file: Option<PathBuf>,
    /// The Redis' password, where the URL has none.
    pub password: Option<Secret>,
    /// File that holds it.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What its keys begin with, in braces.
    pub prefix: String,
    /// Entries its streams keep.
    pub keep: usize,
    /// Whether a private address is the same host for every node.
    pub private: bool,
    /// What is told to others.
    pub share: ShareConfig,
    /// What is followed of what others tell.
    pub accept: AcceptConfig,
}

/// `fleet.share:`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareConfig {
    /// Kinds of decisions.
    pub actions: Vec<String>,
    /// Whose.
    pub by: Vec<String>,
    /// How sure the investigation behind a detector's must be, 0 to 1.
    pub min_confidence: f64,
    /// Changes of the allowlist by command.
    pub allowlist: bool,
    /// Alerts, for dashboards.
    pub alerts: bool,
}

/// `fleet.accept:`.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptConfig {
    /// Kinds of decisions.
    pub actions: Vec<String>,
    /// Whose.
    pub by: Vec<String>,
    /// How sure the investigation behind a detector's must be, 0 to 1.
    pub min_confidence: f64,
    /// Decisions about prefixes, too.
    pub prefixes: bool,
    /// Changes of the allowlist.
    pub allowlist: bool,
    /// How long a decision lasts here at most.
    pub max_duration: Duration,
    /// Decisions of others that are in force here at most.
    pub max_entries: usize,
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            key: None,
            key_file: None,
            password: None,
            password_file: None,
            ca_file: None,
            prefix: "sentinel".to_owned(),
            keep: 100_000,
            private: false,
            share: ShareConfig {
                actions: words(ACTIONS),
                by: words(BY),
                min_confidence: 0.0,
                allowlist: true,
                alerts: true,
            },
            accept: AcceptConfig {
                actions: words(ACTIONS),
                by: words(BY),
                min_confidence: 0.0,
                prefixes: true,
                allowlist: true,
                max_duration: secs(86_400),
                max_entries: 50_000,
            },
        }
    }
}

impl BusBackend {
    /// The Redis, where there is one.
    pub const fn redis(&self) -> Option<&RedisPlace> {
        match self {
            Self::Memory => None,
            Self::Redis(place) => Some(place),
        }
    }

    /// Its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        let hosts = self.redis().map(|place| place.hosts.clone()).unwrap_or_default();
        hosts.into_iter().map(|(host, _)| host)
    }
}

impl Word for BusBackend {
    fn wants() -> String {
        "`memory`, or the URL of a Redis: `redis://HOST:PORT/DB`, `rediss://…` for TLS, `redis+cluster://HOST:PORT,HOST:PORT`, \
         `redis+sentinel://HOST:PORT,HOST:PORT/MASTER`"
            .to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        // The text may hold a password, and is not repeated.
        place(text)
            .map(Self::Redis)
            .map_err(|why| fault(why, format!("write {}", Self::wants())))
    }

    fn show(&self, mask: &str) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Redis(_) => format!("redis {mask}"),
        }
    }
}

fn place(text: &str) -> Result<RedisPlace, &'static str> {
    let unknown = "is neither `memory` nor the URL of a Redis";
    let (scheme, rest) = text.split_once("://").ok_or(unknown)?;
    if text.len() > URL || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(unknown);
    }
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, "single"));
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return Err(unknown),
    };
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (Some(login), rest),
        None => (None, rest),
    };
    let (user, password) = match login {
        None => (None, None),
        Some(login) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            (said(user), said(password).map(Secret::new))
        }
    };
    let mut parts = rest.split('/');
    let hosts = parts.next().unwrap_or_default();
    let kind = match kind {
        "single" => RedisKind::Single,
        "cluster" => RedisKind::Cluster,
        "sentinel" => {
            let master = parts.next().filter(|name| !name.is_empty());
            RedisKind::Sentinel(master.ok_or("names no master of its Redis Sentinels")?.to_owned())
        }
        _ => return Err(unknown),
    };
    let database = match parts.next() {
        None | Some("") => 0,
        Some(number) => number.parse().map_err(|_| "has no number for its database")?,
    };
    if parts.next().is_some() || (kind == RedisKind::Cluster && database != 0) {
        return Err("names a database where there is none, or more than one");
    }
    let port = if matches!(kind, RedisKind::Sentinel(_)) {
        PORTS.1
    } else {
        PORTS.0
    };
    let hosts: Vec<_> = hosts
        .split(',')
        .map(|host| host_and_port(host, port))
        .collect::<Option<_>>()
        .ok_or("names a host or port that is none")?;
    if kind == RedisKind::Single && hosts.len() != 1 {
        return Err("names several servers; say whether it is a `redis+cluster` or they are a `redis+sentinel`");
    }
    Ok(RedisPlace {
        kind,
        tls,
        user,
        password,
        hosts,
        database,
    })
}

/// `name`, `192.0.2.1:6379`, `[2001:db8::1]:6379`.
fn host_and_port(text: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() {
        usual
    } else {
        port.parse().ok().filter(|port| *port > 0)?
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    (!host.is_empty() && host.len() <= 253 && host.chars().all(plain)).then(|| (host.to_owned(), port))
}

/// What a node or a prefix of keys may be called.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

static NAME: TextKind = TextKind {
    wants: "up to 64 letters, digits, `-`, `.` and `_`, or nothing for the name of the host",
    pattern: "^[A-Za-z0-9._-]{0,64}$",
    good: is_name,
};

static PREFIX: TextKind = TextKind {
    wants: "up to 64 letters, digits, `-`, `.` and `_`",
    pattern: "^[A-Za-z0-9._-]{1,64}$",
    good: |text| !text.is_empty() && is_name(text),
};

pub(super) const KEYS: &[Key] = &[
    key("bus", "Through what several sentinels hear of each other", |d| {
        Slot::Words(&mut d.config.bus)
    }),
    key("fleet.name", "This node's name there, unlike any other's", |d| {
        Slot::Text(&mut d.config.fleet.name, &NAME)
    }),
    key("fleet.key_file", "File that holds the key that signs", |d| {
        Slot::File(&mut d.config.fleet.key_file)
    }),
    key("fleet.password_file", "File that holds the Redis' password", |d| {
        Slot::File(&mut d.config.fleet.password_file)
    }),
    key(
        "fleet.ca_file",
        "Certificates (PEM) to trust in place of the system's",
        |d| Slot::File(&mut d.config.fleet.ca_file),
    ),
    key("fleet.prefix", "What its keys begin with, in braces", |d| {
        Slot::Text(&mut d.config.fleet.prefix, &PREFIX)
    }),
    key("fleet.keep", "Entries its streams keep", |d| {
        Slot::Usize(&mut d.config.fleet.keep, 1_000..=10_000_000)
    }),
    key(
        "fleet.private",
        "Whether a private address is the same host for every node: only then decisions about it are told and followed",
        |d| Slot::Bool(&mut d.config.fleet.private),
    ),
    key(
        "fleet.share.actions",
        "Decisions of which kinds are told to others",
        |d| Slot::Names(&mut d.config.fleet.share.actions, ACTIONS),
    ),
    key("fleet.share.by", "Whose decisions are told to others", |d| {
        Slot::Names(&mut d.config.fleet.share.by, BY)
    }),
    key(
        "fleet.share.min_confidence",
        "How sure the investigation behind a detector's decision must be to be told",
        |d| Slot::Real(&mut d.config.fleet.share.min_confidence, 0.0..=1.0),
    ),
    key(
        "fleet.share.allowlist",
        "Whether changes of the allowlist by command are told",
        |d| Slot::Bool(&mut d.config.fleet.share.allowlist),
    ),
    key("fleet.share.alerts", "Whether alerts are told, for dashboards", |d| {
        Slot::Bool(&mut d.config.fleet.share.alerts)
    }),
    key("fleet.accept.actions", "Decisions of which kinds are followed", |d| {
        Slot::Names(&mut d.config.fleet.accept.actions, ACTIONS)
    }),
    key("fleet.accept.by", "Whose decisions are followed", |d| {
        Slot::Names(&mut d.config.fleet.accept.by, BY)
    }),
    key(
        "fleet.accept.min_confidence",
        "How sure the investigation behind a detector's decision must be to be followed",
        |d| Slot::Real(&mut d.config.fleet.accept.min_confidence, 0.0..=1.0),
    ),
    key(
        "fleet.accept.prefixes",
        "Whether decisions about prefixes are followed",
        |d| Slot::Bool(&mut d.config.fleet.accept.prefixes),
    ),
    key(
        "fleet.accept.allowlist",
        "Whether changes of the allowlist are followed",
        |d| Slot::Bool(&mut d.config.fleet.accept.allowlist),
    ),
    key(
        "fleet.accept.max_duration",
        "How long a decision of others lasts here at most",
        |d| Slot::Time(&mut d.config.fleet.accept.max_duration, secs(1)..=secs(365 * 86_400)),
    ),
    key(
        "fleet.accept.max_entries",
        "Decisions of others that are in force here at most",
        |d| Slot::Usize(&mut d.config.fleet.accept.max_entries, 1..=1_000_000),
    ),
];

/// What signs must be hard to guess. The message does not repeat it.
pub(super) fn signing_key(text: &str) -> Result<(), (String, String)> {
    let mend = || "make one by `openssl rand -hex 32`, the same for every node".to_owned();
    if text.len() < KEY_MIN {
        return Err((format!("is shorter than {KEY_MIN} characters"), mend()));
    }
    if text.len() > 4096 || text.chars().any(char::is_control) {
        return Err(("is too long, or has more than one line".to_owned(), mend()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> RedisPlace {
        place(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_redis_a_cluster_and_sentinels_are_told_apart() {
        let one = at("redis://127.0.0.1");
        assert_eq!((one.kind, one.tls, one.database), (RedisKind::Single, false, 0));
        assert_eq!(one.hosts, [("127.0.0.1".to_owned(), 6379)]);
        let full = at("rediss://joe:s3cret@redis.example:7000/3");
        assert_eq!((full.tls, full.user.as_deref(), full.database), (true, Some("joe"), 3));
        assert_eq!(full.password.as_ref().map(Secret::expose), Some("s3cret"));
        let cluster = at("redis+cluster://:x@10.0.0.1:7001,[2001:db8::1]:7002");
        assert_eq!(cluster.kind, RedisKind::Cluster);
        assert_eq!(cluster.hosts[1], ("2001:db8::1".to_owned(), 7002));
        let watched = at("rediss+sentinel://a,b:1/mymaster/2");
        assert_eq!(watched.kind, RedisKind::Sentinel("mymaster".to_owned()));
        assert_eq!(
            (watched.hosts.len(), watched.hosts[0].1, watched.database),
            (2, 26379, 2)
        );
    }

    #[test]
    fn what_is_no_redis_is_refused_without_repeating_it() {
        for bad in [
            "",
            "redis",
            "redis://",
            "http://a",
            "redis://:hunter2@",
            "redis://a:hunter2",
            "redis://a,b",
            "redis://a/hunter2",
            "redis+ring://a",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redis://[::1/0",
            "redis://a b",
            "redis://a/0/1",
        ] {
            let Err(fault) = BusBackend::read(bad) else {
                panic!("{bad}")
            };
            assert!(!fault.message.contains("hunter2"), "{}", fault.message);
        }
        let shown = Word::show(&BusBackend::Redis(at("redis://:hunter2@a")), "***");
        assert_eq!(shown, "redis ***");
    }

    #[test]
    fn a_key_that_can_be_guessed_is_refused() {
        assert!(signing_key("short").is_err() && signing_key(&"a".repeat(31)).is_err());
        assert!(signing_key(&"a".repeat(32)).is_ok() && signing_key(&"a\n".repeat(32)).is_err());
    }
}
