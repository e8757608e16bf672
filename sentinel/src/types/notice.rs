//! What is told to people, by which way, and what became of it.

use super::{AlertId, Detector, MessageId, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// A way to people, or to the programs of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// SMTP.
    Email,
    /// An incoming webhook of Slack, or of what speaks like it.
    Slack,
    /// JSON by HTTP.
    Webhook,
    /// JSON lines.
    File,
    /// RFC 5424.
    Syslog,
}

impl ChannelKind {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Email, Self::Slack, Self::Webhook, Self::File, Self::Syslog];

    /// The name used in configuration, metrics and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::File => "file",
            Self::Syslog => "syslog",
        }
    }

    /// By that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why an alert was not told at once, but is in the next digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Folded {
    /// The same was told a moment ago.
    Duplicate,
    /// The minute has had its messages.
    Throttled,
    /// It is quiet time.
    Quiet,
    /// Too much waits for the channel already.
    Full,
}

impl Folded {
    /// The name used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Throttled => "throttled",
            Self::Quiet => "quiet",
            Self::Full => "full",
        }
    }
}

/// Alerts of one detector about one source, told in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DigestLine {
    /// Who spoke.
    pub detector: Detector,
    /// About whom.
    #[schema(value_type = Option<super::Address>)]
    pub source: Option<IpAddr>,
    /// The worst.
    pub severity: Severity,
    /// How many.
    pub alerts: u64,
    /// The first of them.
    pub first: AlertId,
    /// When it was.
    pub first_at: Timestamp,
    /// When the latest was.
    pub last_at: Timestamp,
    /// What the latest said.
    pub summary: String,
}

/// Alerts told together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Digest {
    /// When the first of them was folded.
    pub since: Timestamp,
    /// How many there are.
    pub alerts: u64,
    /// The worst.
    pub severity: Severity,
    /// Why they were folded, and how many for that.
    pub folded: BTreeMap<Folded, u64>,
    /// Each once, those with the worst and the most first.
    pub lines: Vec<DigestLine>,
    /// Alerts that have no line, because there are too many.
    pub beyond: u64,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// One alert; what is known of it is looked up when it is sent.
    Alert {
        /// Which.
        alert: AlertId,
        /// How bad.
        severity: Severity,
    },
    /// Alerts told together.
    Digest(Digest),
    /// A report of a period.
    Report {
        /// What it is called.
        title: String,
        /// The documents.
        #[schema(value_type = Vec<String>)]
        files: Vec<PathBuf>,
    },
    /// Somebody wants to see whether it comes through.
    Test {
        /// Who.
        by: String,
    },
}

impl Content {
    /// The name used in the API.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Alert { .. } => "alert",
            Self::Digest(_) => "digest",
            Self::Report { .. } => "report",
            Self::Test { .. } => "test",
        }
    }

    /// The worst it tells of.
    pub const fn severity(&self) -> Option<Severity> {
        match self {
            Self::Alert { severity, .. } => Some(*severity),
            Self::Digest(digest) => Some(digest.severity),
            Self::Report { .. } | Self::Test { .. } => None,
        }
    }
}

/// A message for one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its name; stays the same however often it is tried.
    pub id: MessageId,
    /// By which way.
    pub channel: ChannelKind,
    /// When it was put down.
    pub at: Timestamp,
    /// Not before this.
    pub due: Timestamp,
    /// What it says.
    pub content: Content,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It waits for its channel.
    Waiting,
    /// The channel took it.
    Sent,
    /// The other side does not want this message, however often it is asked.
    Refused,
}

impl MessageState {
    /// The name used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Refused => "refused",
        }
    }
}

/// A message with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageRow {
    /// What was to be told.
    #[serde(flatten)]
    pub message: Message,
    /// How far it got.
    pub state: MessageState,
    /// When that was.
    pub state_at: Timestamp,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What the router of alerts has done, durable as a whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// The last alert, by order of arrival, that it has taken.
    pub cursor: i64,
    /// Its books, as it wrote them; opaque to the store.
    pub books: String,
    /// Messages that came of it.
    pub messages: Vec<Message>,
}

/// How it stands with one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelStatus {
    /// Whether the configuration says where it leads.
    pub configured: bool,
    /// Whether repeats and what is too much are folded into digests.
    pub folds: bool,
    /// Messages that wait.
    pub waiting: u64,
    /// Alerts in the digest that is being put together.
    pub digest: u64,
    /// When something was last taken by it, since the start.
    pub sent_at: Option<Timestamp>,
    /// What is wrong, where the last try failed.
    pub trouble: Option<ChannelTrouble>,
}

/// Why a channel does not take messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelTrouble {
    /// Since when.
    pub since: Timestamp,
    /// Tries since then.
    pub tries: u32,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub mend: String,
    /// When it is tried again.
    pub next: Timestamp,
}

/// How it stands with every channel.
pub type Channels = BTreeMap<ChannelKind, ChannelStatus>;

/// Somebody wants to see whether a channel works.
#[derive(Debug)]
pub struct TestWish {
    /// Which; `None` for all that are configured.
    pub channel: Option<ChannelKind>,
    /// Who wants it.
    pub actor: String,
    /// What came of it, by channel.
    pub reply: oneshot::Sender<Vec<TestOutcome>>,
}

/// What came of a test message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestOutcome {
    /// Which channel.
    pub channel: ChannelKind,
    /// Whether the other side took it.
    pub taken: bool,
    /// What it was, in words.
    pub detail: String,
    /// What to do about it, where it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}
