//! Settings of `export:`: what is written for other tools, and sent to them.

use super::hosts;
use super::keys::{Key, MIB, key, millis, secs};
use super::value::{Fault, Slot, fault, quote};
use crate::types::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// What can be exported.
pub const EVENT_TYPES: [&str; 4] = ["alert", "flow", "drop", "stats"];

/// A text that must look in some way.
pub(super) struct TextKind {
    /// What it is, for messages.
    pub(super) wants: &'static str,
    /// The same as a regular expression, for the schema.
    pub(super) pattern: &'static str,
    pub(super) good: fn(&str) -> bool,
}

impl TextKind {
    /// The text, if it is of this kind.
    pub(super) fn read(&self, text: &str) -> Result<String, Fault> {
        if (self.good)(text) {
            return Ok(text.to_owned());
        }
        Err(fault(
            format!("{} is not {}", quote(text), self.wants),
            format!("write {}", self.wants),
        ))
    }
}

static FORMAT: TextKind = TextKind {
    wants: "`eve`, `ecs` or `ocsf`",
    pattern: "^(eve|ecs|ocsf)$",
    good: |text| Format::named(text).is_some(),
};

/// Elasticsearch refuses capitals, some signs, and names that begin with one of `-`, `_`, `+`.
static INDEX: TextKind = TextKind {
    wants: "the name of an index or data stream: small letters, digits, `-`, `_` and `.`, a letter or digit first",
    pattern: "^[a-z0-9][a-z0-9._-]{0,199}$",
    good: |text| {
        text.len() <= 200
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
    },
};

static WORD: TextKind = TextKind {
    wants: "up to 200 letters, digits and `-_.:`, or nothing",
    pattern: "^[A-Za-z0-9._:-]{0,200}$",
    good: |text| text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)),
};

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Suricata's EVE JSON.
    Eve,
    /// Elastic Common Schema 8.
    Ecs,
    /// Open Cybersecurity Schema Framework 1.
    Ocsf,
}

impl Format {
    fn named(text: &str) -> Option<Self> {
        match text {
            "eve" => Some(Self::Eve),
            "ecs" => Some(Self::Ecs),
            "ocsf" => Some(Self::Ocsf),
            _ => None,
        }
    }
}

/// What goes to a sink, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Some of [`EVENT_TYPES`].
    pub types: Vec<String>,
    format: String,
}

impl SinkConfig {
    fn new(enabled: bool, format: &str, types: &[&str]) -> Self {
        Self {
            enabled,
            types: types.iter().map(|&name| name.to_owned()).collect(),
            format: format.to_owned(),
        }
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        Format::named(&self.format).unwrap_or(Format::Eve)
    }

    /// Whether it wants events of that type.
    pub fn wants(&self, kind: &str) -> bool {
        self.enabled && self.types.iter().any(|wanted| wanted == kind)
    }
}

/// `export.eve:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EveConfig {
    /// What and how.
    pub sink: SinkConfig,
    /// Where.
    pub file: PathBuf,
    /// Size at which it is moved aside, bytes.
    pub max_bytes: u64,
    /// Files kept beside it.
    pub keep: u32,
}

/// How a server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Scheme, host and port, and a path where a proxy wants one.
    pub url: String,
    /// PEM file of who signed its certificate; the machine's own where there is none.
    pub ca_file: Option<PathBuf>,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Events of one request at most.
    pub batch: usize,
    /// How long events wait for more of them.
    pub flush: Duration,
    /// How long one request may take.
    pub timeout: Duration,
}

impl ServerConfig {
    fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ca_file: None,
            gzip: true,
            batch: 500,
            flush: secs(1),
            timeout: secs(10),
        }
    }
}

/// `export.elasticsearch:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElasticConfig {
    /// What and how.
    pub sink: SinkConfig,
    /// Where.
    pub server: ServerConfig,
    /// Index or data stream.
    pub index: String,
    /// From `ELASTICSEARCH_API_KEY` or `api_key_file`.
    pub api_key: Option<Secret>,
    /// File with the API key.
    pub api_key_file: Option<PathBuf>,
    /// User, where there is no API key.
    pub user: String,
    /// From `ELASTICSEARCH_PASSWORD` or `password_file`.
    pub password: Option<Secret>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
}

/// `export.splunk:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplunkConfig {
    /// What and how.
    pub sink: SinkConfig,
    /// Where.
    pub server: ServerConfig,
    /// From `SPLUNK_HEC_TOKEN` or `token_file`.
    pub token: Option<Secret>,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Index; empty for the token's own.
    pub index: String,
    /// Source type.
    pub sourcetype: String,
}

/// `export:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// How often totals are told.
    pub stats_interval: Duration,
    /// The file.
    pub eve: EveConfig,
    /// Elasticsearch or OpenSearch.
    pub elasticsearch: ElasticConfig,
    /// Splunk's HTTP Event Collector.
    pub splunk: SplunkConfig,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            stats_interval: secs(60),
            eve: EveConfig {
                sink: SinkConfig::new(true, "eve", &["alert", "drop", "stats"]),
                file: "data/eve.json".into(),
                max_bytes: 64 * MIB,
                keep: 5,
            },
            elasticsearch: ElasticConfig {
                sink: SinkConfig::new(false, "ecs", &["alert", "drop"]),
                server: ServerConfig::at("https://localhost:9200"),
                index: "logs-sentinel-default".to_owned(),
                api_key: None,
                api_key_file: None,
                user: String::new(),
                password: None,
                password_file: None,
            },
            splunk: SplunkConfig {
                sink: SinkConfig::new(false, "eve", &["alert", "drop"]),
                server: ServerConfig::at("https://localhost:8088"),
                token: None,
                token_file: None,
                index: String::new(),
                sourcetype: "suricata".to_owned(),
            },
        }
    }
}

impl ExportConfig {
    /// Whether any sink wants events of that type.
    pub fn wants(&self, kind: &str) -> bool {
        [&self.eve.sink, &self.elasticsearch.sink, &self.splunk.sink]
            .into_iter()
            .any(|sink| sink.wants(kind))
    }

    /// What does not go together.
    pub(super) fn check(&self, say: &mut impl FnMut(&'static str, String, &str)) {
        let elastic = &self.elasticsearch;
        if elastic.sink.enabled && elastic.user.is_empty() && elastic.password.is_some() && elastic.api_key.is_none() {
            say(
                "export.elasticsearch.user",
                "is empty, and there is a password".into(),
                "name the user, or use an API key",
            );
        }
        if elastic.sink.enabled && !elastic.user.is_empty() && elastic.password.is_none() {
            say(
                "export.elasticsearch.user",
                "is set, and there is no password".into(),
                "set ELASTICSEARCH_PASSWORD or `password_file`, or empty it",
            );
        }
        if self.splunk.sink.enabled && self.splunk.token.is_none() {
            say(
                "export.splunk.enabled",
                "is `true`, and the collector takes nothing without a token".into(),
                "set SPLUNK_HEC_TOKEN or `token_file`",
            );
        }
        let plain = |server: &ServerConfig, key, secret: bool, say: &mut dyn FnMut(&'static str, String, &str)| {
            if secret && server.url.starts_with("http://") && !here(&server.url) {
                say(
                    key,
                    "is plain HTTP to another machine, which would show the key to whoever listens".into(),
                    "write `https://`; `ca_file` names who signed its certificate",
                );
            }
        };
        let secret = elastic.sink.enabled && (elastic.api_key.is_some() || elastic.password.is_some());
        plain(&elastic.server, "export.elasticsearch.url", secret, say);
        let secret = self.splunk.sink.enabled && self.splunk.token.is_some();
        plain(&self.splunk.server, "export.splunk.url", secret, say);
    }
}

/// Whether a URL leads to this machine.
fn here(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    hosts::is_here(name.trim_start_matches('[').trim_end_matches(']'))
}

macro_rules! sink_keys {
    ($name:ident) => {
        [
            key(
                concat!("export.", stringify!($name), ".enabled"),
                "Whether anything goes there",
                |d| Slot::Bool(&mut d.config.export.$name.sink.enabled),
            ),
            key(
                concat!("export.", stringify!($name), ".format"),
                "How events are written",
                |d| Slot::Text(&mut d.config.export.$name.sink.format, &FORMAT),
            ),
            key(
                concat!("export.", stringify!($name), ".types"),
                "Which events go there",
                |d| Slot::Names(&mut d.config.export.$name.sink.types, &EVENT_TYPES),
            ),
        ]
    };
}

macro_rules! server_keys {
    ($name:ident) => {
        [
            key(
                concat!("export.", stringify!($name), ".url"),
                "Scheme, host and port of the server",
                |d| Slot::Url(&mut d.config.export.$name.server.url),
            ),
            key(
                concat!("export.", stringify!($name), ".ca_file"),
                "PEM file of who signed its certificate; empty for those the machine trusts",
                |d| Slot::File(&mut d.config.export.$name.server.ca_file),
            ),
            key(
                concat!("export.", stringify!($name), ".gzip"),
                "Whether requests are compressed",
                |d| Slot::Bool(&mut d.config.export.$name.server.gzip),
            ),
            key(
                concat!("export.", stringify!($name), ".batch"),
                "Events of one request at most",
                |d| Slot::Usize(&mut d.config.export.$name.server.batch, 1..=10_000),
            ),
            key(
                concat!("export.", stringify!($name), ".flush"),
                "How long events wait for more of them",
                |d| Slot::Time(&mut d.config.export.$name.server.flush, millis(10)..=secs(60)),
            ),
            key(
                concat!("export.", stringify!($name), ".timeout"),
                "How long one request may take",
                |d| Slot::Time(&mut d.config.export.$name.server.timeout, millis(100)..=secs(120)),
            ),
        ]
    };
}

static SINKS: [[Key; 3]; 3] = [sink_keys!(eve), sink_keys!(elasticsearch), sink_keys!(splunk)];
static SERVERS: [[Key; 6]; 2] = [server_keys!(elasticsearch), server_keys!(splunk)];

static OWN: [Key; 11] = [
    key("export.stats_interval", "How often totals are told", |d| {
        Slot::Time(&mut d.config.export.stats_interval, secs(1)..=secs(3_600))
    }),
    key("export.eve.file", "Where events are written, one a line", |d| {
        Slot::Path(&mut d.config.export.eve.file)
    }),
    key("export.eve.max_bytes", "Size at which the file is moved aside", |d| {
        Slot::Size64(&mut d.config.export.eve.max_bytes, 65_536..=1_024 * 1_024 * MIB)
    }),
    key("export.eve.keep", "Files kept beside it", |d| {
        Slot::U32(&mut d.config.export.eve.keep, 0..=1_000)
    }),
    key("export.elasticsearch.index", "Index or data stream", |d| {
        Slot::Text(&mut d.config.export.elasticsearch.index, &INDEX)
    }),
    key(
        "export.elasticsearch.api_key_file",
        "File that holds the API key and nothing else; empty for none",
        |d| Slot::File(&mut d.config.export.elasticsearch.api_key_file),
    ),
    key(
        "export.elasticsearch.user",
        "User, where there is no API key; empty for none",
        |d| Slot::Text(&mut d.config.export.elasticsearch.user, &WORD),
    ),
    key(
        "export.elasticsearch.password_file",
        "File that holds the user's password and nothing else; empty for none",
        |d| Slot::File(&mut d.config.export.elasticsearch.password_file),
    ),
    key(
        "export.splunk.token_file",
        "File that holds the collector's token and nothing else; empty for none",
        |d| Slot::File(&mut d.config.export.splunk.token_file),
    ),
    key("export.splunk.index", "Index; empty for the token's own", |d| {
        Slot::Text(&mut d.config.export.splunk.index, &WORD)
    }),
    key("export.splunk.sourcetype", "Source type of the events", |d| {
        Slot::Text(&mut d.config.export.splunk.sourcetype, &WORD)
    }),
];

/// Every key of `export`.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SINKS.as_flattened().iter().chain(&OWN).chain(SERVERS.as_flattened())
}

#[cfg(test)]
mod tests {
    use super::super::load;

    /// What is wrong with these settings, as `key: message: mend`.
    fn problems(yaml: &str, env: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.yml");
        std::fs::write(&file, yaml.replace("DIR", &dir.path().display().to_string())).unwrap();
        std::fs::write(dir.path().join("empty"), " ").unwrap();
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match load(&[file], env) {
            Ok(_) => Vec::new(),
            Err(problems) => problems
                .into_iter()
                .map(|problem| format!("{}: {}: {}", problem.key, problem.message, problem.mend))
                .collect(),
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_mend_and_without_the_secret() {
        let token = [("SPLUNK_HEC_TOKEN", "hunter2")];
        for (yaml, env, says) in [
            ("export: { splunk: { enabled: true } }", &[][..], "SPLUNK_HEC_TOKEN"),
            (
                "export: { splunk: { enabled: true, token_file: DIR/empty } }",
                &[],
                "is empty",
            ),
            (
                "export: { splunk: { enabled: true, token_file: DIR/none } }",
                &[],
                "cannot be read",
            ),
            (
                "export: { splunk: { enabled: true, url: 'http://192.0.2.1:8088' } }",
                &token,
                "https://",
            ),
            ("export: { splunk: { url: '192.0.2.1:8088' } }", &[], "URL of a server"),
            ("export: { eve: { format: cef } }", &[], "`ecs` or `ocsf`"),
            ("export: { eve: { types: [alerts] } }", &[], "did you mean `alert`"),
            ("export: { eve: { max_bytes: 1KiB } }", &[], "64KiB"),
            ("export: { elasticsearch: { index: Logs } }", &[], "small letters"),
            (
                "export: { elasticsearch: { enabled: true, user: elastic } }",
                &[],
                "ELASTICSEARCH_PASSWORD",
            ),
            (
                "export: { elasticsearch: { enabled: true } }",
                &[("ELASTICSEARCH_PASSWORD", "hunter2")],
                "name the user",
            ),
            ("export: { elastic: {} }", &[], "elasticsearch"),
        ] {
            let told = problems(yaml, env);
            assert!(
                told.first().is_some_and(|first| first.contains(says)),
                "{yaml}: {told:?}"
            );
            assert!(!told[0].contains("hunter2"), "{told:?}");
        }
        for (yaml, env) in [
            ("export: { splunk: { enabled: true } }", &token[..]),
            (
                "export: { splunk: { enabled: true, url: 'http://127.0.0.1:8088' } }",
                &token,
            ),
            (
                "export: { splunk: { enabled: true, url: 'http://[::1]:8088/x' } }",
                &token,
            ),
            ("export: { elasticsearch: { enabled: true } }", &[]),
            ("export: { eve: { enabled: false } }", &[]),
        ] {
            assert_eq!(problems(yaml, env), Vec::<String>::new(), "{yaml}");
        }
    }
}
