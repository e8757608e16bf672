//! Settings of each way to people: where it leads and what it says.

mod read;

pub(super) use read::web_url;

use super::body::BodyTemplate;
use super::keys::{Key, MIB, key, millis, secs};
use super::value::Slot;
use crate::types::{Secret, Template};
use std::path::PathBuf;
use std::time::Duration;

/// `alerting.email:`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailConfig {
    /// The server that takes mail; `None`: no e-mail.
    pub host: Option<Host>,
    /// Its port.
    pub port: u32,
    /// How the connection is kept private.
    pub security: MailSecurity,
    /// Who logs in; empty: nobody does.
    pub user: String,
    /// With which password: of the environment (`SMTP_PASSWORD`) or of `password_file`.
    pub password: Option<Secret>,
    /// File that holds it.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// From whom mail comes.
    pub from: Option<Mailbox>,
    /// To whom it goes.
    pub to: Vec<Mailbox>,
    /// What stands in the subject.
    pub subject: Template,
    /// How long one message may take.
    pub timeout: Duration,
}

/// How a connection to a mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS after STARTTLS, or no mail.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all: for a server on this host.
    None,
}

/// `alerting.slack:`.
#[derive(Clone, Debug, PartialEq)]
pub struct SlackConfig {
    /// The incoming webhook's URL, which is a secret: of the environment (`SLACK_WEBHOOK_URL`) or of `url_file`.
    pub url: Option<Secret>,
    /// File that holds it.
    pub url_file: Option<PathBuf>,
    /// How long one message may take.
    pub timeout: Duration,
}

/// `alerting.webhook:`.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    /// Where it leads.
    pub url: Option<WebUrl>,
    /// What the body is signed with: of the environment (`WEBHOOK_SECRET`) or of `secret_file`.
    pub secret: Option<Secret>,
    /// File that holds it.
    pub secret_file: Option<PathBuf>,
    /// Headers that go with it.
    pub headers: Vec<HeaderLine>,
    /// What is sent in place of everything that is known.
    pub body: Option<BodyTemplate>,
    /// How long one message may take.
    pub timeout: Duration,
}

/// `alerting.file:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// The file; `None`: none.
    pub path: Option<PathBuf>,
    /// It is put aside when it is longer, bytes.
    pub max_bytes: u64,
    /// Files put aside that are kept.
    pub keep: u32,
}

/// `alerting.syslog:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogConfig {
    /// Who takes it; `None`: nobody.
    pub address: Option<SyslogAddress>,
    /// What stands in a message.
    pub format: SyslogFormat,
    /// The facility (RFC 5424, 6.2.1).
    pub facility: Facility,
    /// Certificates (PEM) to trust in place of the system's, for `tls://`.
    pub ca_file: Option<PathBuf>,
    /// How long one message may take.
    pub timeout: Duration,
}

/// Where syslog goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A datagram socket of this host.
    Unix(PathBuf),
    /// RFC 5426.
    Udp(String, u16),
    /// RFC 6587, octet counting.
    Tcp(String, u16),
    /// RFC 5425.
    Tls(String, u16),
}

/// What stands in a syslog message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogFormat {
    /// A sentence, with the parts as structured data.
    Rfc5424,
    /// Common Event Format.
    Cef,
}

/// A syslog facility, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(pub u8);

/// A server's name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub String);

/// Whom mail is from or to: `soc@example.org`, or `Sentinel <soc@example.org>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox(pub String);

/// Where a webhook leads. May hold a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUrl(pub Secret);

/// A header of a webhook. May hold a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: Secret,
}

impl Default for EmailConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: 587,
            security: MailSecurity::StartTls,
            user: String::new(),
            password: None,
            password_file: None,
            ca_file: None,
            from: None,
            to: Vec::new(),
            subject: subject(),
            timeout: secs(60),
        }
    }
}

fn subject() -> Template {
    let words = "[Sentinel] {title}";
    Template::parse(words).unwrap_or_else(|_| unreachable!("a test reads it"))
}

impl Default for SlackConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            timeout: secs(10),
        }
    }
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            secret_file: None,
            headers: Vec::new(),
            body: None,
            timeout: secs(10),
        }
    }
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            path: Some("data/alerts.jsonl".into()),
            max_bytes: 64 * MIB,
            keep: 5,
        }
    }
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            address: None,
            format: SyslogFormat::Rfc5424,
            facility: Facility(read::LOCAL0),
            ca_file: None,
            timeout: secs(5),
        }
    }
}

const fn timeout() -> std::ops::RangeInclusive<Duration> {
    millis(100)..=secs(120)
}

/// The keys of the channels.
pub(super) const KEYS: &[Key] = &[
    key("alerting.email.host", "Server that takes mail; empty: no e-mail", |d| {
        Slot::Words(&mut d.config.alerting.email.host)
    }),
    key("alerting.email.port", "Its port", |d| {
        Slot::U32(&mut d.config.alerting.email.port, 1..=65_535)
    }),
    key(
        "alerting.email.security",
        "`starttls`, `tls` (from the first byte), or `none` for a server on this host",
        |d| Slot::Words(&mut d.config.alerting.email.security),
    ),
    key("alerting.email.user", "Who logs in there; empty: nobody", |d| {
        Slot::Words(&mut d.config.alerting.email.user)
    }),
    key(
        "alerting.email.password_file",
        "File that holds the password and nothing else, where `SMTP_PASSWORD` does not",
        |d| Slot::File(&mut d.config.alerting.email.password_file),
    ),
    key(
        "alerting.email.ca_file",
        "Certificates (PEM) to trust in place of the system's",
        |d| Slot::File(&mut d.config.alerting.email.ca_file),
    ),
    key("alerting.email.from", "From whom mail comes", |d| {
        Slot::Words(&mut d.config.alerting.email.from)
    }),
    key("alerting.email.to", "To whom it goes", |d| {
        Slot::Words(&mut d.config.alerting.email.to)
    }),
    key(
        "alerting.email.subject",
        "What stands in the subject; places such as `{severity}` are filled",
        |d| Slot::Words(&mut d.config.alerting.email.subject),
    ),
    key("alerting.email.timeout", "How long one message may take", |d| {
        Slot::Time(&mut d.config.alerting.email.timeout, timeout())
    }),
    key(
        "alerting.slack.url_file",
        "File that holds the URL of an incoming webhook, where `SLACK_WEBHOOK_URL` does not",
        |d| Slot::File(&mut d.config.alerting.slack.url_file),
    ),
    key("alerting.slack.timeout", "How long one message may take", |d| {
        Slot::Time(&mut d.config.alerting.slack.timeout, timeout())
    }),
    key(
        "alerting.webhook.url",
        "Where JSON is sent by POST; empty: nowhere. May hold a key, so it is masked",
        |d| Slot::Words(&mut d.config.alerting.webhook.url),
    ),
    key(
        "alerting.webhook.secret_file",
        "File that holds the secret bodies are signed with, where `WEBHOOK_SECRET` does not",
        |d| Slot::File(&mut d.config.alerting.webhook.secret_file),
    ),
    key(
        "alerting.webhook.headers",
        "Headers that go with it, each `Name: value`",
        |d| Slot::Words(&mut d.config.alerting.webhook.headers),
    ),
    key(
        "alerting.webhook.body",
        "JSON that is sent in place of everything that is known; places in its texts are filled",
        |d| Slot::Words(&mut d.config.alerting.webhook.body),
    ),
    key("alerting.webhook.timeout", "How long one message may take", |d| {
        Slot::Time(&mut d.config.alerting.webhook.timeout, timeout())
    }),
    key("alerting.file.path", "File of JSON lines; empty: none", |d| {
        Slot::File(&mut d.config.alerting.file.path)
    }),
    key("alerting.file.max_bytes", "It is put aside when it is longer", |d| {
        Slot::Size64(&mut d.config.alerting.file.max_bytes, 4_096..=16_384 * MIB)
    }),
    key("alerting.file.keep", "Files put aside that are kept", |d| {
        Slot::U32(&mut d.config.alerting.file.keep, 0..=1_000)
    }),
    key("alerting.syslog.address", "Who takes syslog; empty: nobody", |d| {
        Slot::Words(&mut d.config.alerting.syslog.address)
    }),
    key(
        "alerting.syslog.format",
        "`rfc5424`: a sentence and structured data; `cef`: Common Event Format",
        |d| Slot::Words(&mut d.config.alerting.syslog.format),
    ),
    key("alerting.syslog.facility", "The facility", |d| {
        Slot::Words(&mut d.config.alerting.syslog.facility)
    }),
    key(
        "alerting.syslog.ca_file",
        "Certificates (PEM) to trust in place of the system's, for `tls://`",
        |d| Slot::File(&mut d.config.alerting.syslog.ca_file),
    ),
    key("alerting.syslog.timeout", "How long one message may take", |d| {
        Slot::Time(&mut d.config.alerting.syslog.timeout, timeout())
    }),
];
