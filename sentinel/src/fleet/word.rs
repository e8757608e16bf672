//! What a node says, and how it is known that a node of this fleet said it.
//!
//! One word is about one subject: the decision on a target, or an entry of the allowlist. Of all words on a subject the one
//! with the greatest version holds, on every node, in whatever order they come (a last-writer-wins register; Shapiro et
//! al., 2011, "A comprehensive study of convergent and commutative replicated data types", 3.2.1). The version is the wall
//! clock's, or one more than that of the word it answers, whichever is later; so an answer wins although clocks differ.

use crate::types::{
    ActionKind, DecisionId, FleetWord, Origin, Rate, Secret, Severity, Timestamp, canonical, hex, is_unseen,
};
use hmac::{Hmac, Mac};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::time::Duration;

/// The form of words that this release writes and reads.
const FORM: u32 = 1;
/// Longest word, bytes.
pub(super) const LONGEST: usize = 8 * 1024;
/// Longest text in it that is taken over, characters.
const TEXT: usize = 300;
/// In front of what is signed: no other use of the key gives the same.
const PURPOSE: &[u8] = b"sentinel fleet 1\0";
/// So far ahead of our clock another's may be.
pub(super) const AHEAD: Duration = Duration::from_mins(10);
/// So long a word that ends something is kept, where nobody says how long what it ended would have lasted.
const KEEP: Duration = Duration::from_hours(30 * 24);

/// What one node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    /// [`FORM`].
    pub(super) form: u32,
    /// Who says it.
    pub(super) node: String,
    /// ns since 1970, wall clock; greater than of any word on the subject that it knew.
    pub(super) version: i64,
    /// When nobody needs it any more: neither what it says nor what it answers holds then.
    pub(super) ends: Timestamp,
    /// What.
    #[serde(flatten)]
    pub(super) what: What,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum What {
    /// A decision is in force.
    Decided(Decided),
    /// What was in force is not any more.
    Released {
        target: IpNet,
        actor: String,
        by_person: bool,
        /// When it would have ended by itself.
        until: Option<Timestamp>,
    },
    /// Somebody is on the allowlist.
    Allowed {
        target: IpNet,
        actor: String,
        comment: String,
        until: Option<Timestamp>,
    },
    /// No longer.
    Disallowed { target: IpNet, actor: String },
}

/// A decision, as it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) id: DecisionId,
    pub(super) target: IpNet,
    pub(super) action: ActionKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<Rate>,
    #[serde(default)]
    pub(super) egress: bool,
    pub(super) until: Timestamp,
    pub(super) by: Origin,
    pub(super) actor: String,
    pub(super) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) severity: Option<Severity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) risk: Option<Severity>,
    /// How sure the investigation behind it was, 0 to 1; a person is.
    pub(super) confidence: f64,
}

impl What {
    /// What it is about: words on the same subject replace each other.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Decided(decided) => format!("d{}", canonical(decided.target)),
            Self::Released { target, .. } => format!("d{}", canonical(*target)),
            Self::Allowed { target, .. } | Self::Disallowed { target, .. } => format!("a{}", canonical(*target)),
        }
    }

    /// When nobody needs it any more.
    fn ends(&self, version: i64) -> Timestamp {
        let end = match self {
            Self::Decided(decided) => Some(decided.until),
            Self::Released { until, .. } => *until,
            // What holds for good is known for good.
            Self::Allowed { until, .. } => Some(until.unwrap_or(Timestamp(i64::MAX))),
            Self::Disallowed { .. } => None,
        };
        end.unwrap_or_else(|| Timestamp(version).after(KEEP))
    }
}

impl Said {
    /// A word of this node; `known` is what it answers.
    pub(super) fn new(node: &str, version: i64, what: What, known: Option<&Self>) -> Self {
        let ends = what.ends(version).max(known.map_or(Timestamp(0), |known| known.ends));
        Self {
            form: FORM,
            node: node.to_owned(),
            version,
            ends,
            what,
        }
    }

    /// A version that is later than what it answers, and no earlier than now.
    pub(super) fn next(known: Option<&Self>, now: Timestamp) -> i64 {
        known.map_or(now.0, |known| now.0.max(known.version.saturating_add(1)))
    }

    /// Greater as text where it is later; of two at the same instant the node's name decides.
    fn version_text(&self) -> String {
        format!("{:020}:{}", self.version, self.node)
    }
}

/// Why a word is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Deaf {
    /// It is not signed with our key.
    Unsigned,
    /// It is not what a word looks like.
    Malformed,
    /// It has another form than this release knows.
    Newer,
    /// It comes from the future.
    Ahead,
}

impl Deaf {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Malformed => "malformed",
            Self::Newer => "newer",
            Self::Ahead => "ahead",
        }
    }

    /// What is wrong, and the mend.
    pub(super) const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Unsigned => (
                "words in the Redis are not signed with this node's key: a node has another, or somebody else writes there",
                "give every node the same `fleet.key_file`, and let nobody else write there (`requirepass`, ACLs)",
            ),
            Self::Malformed => (
                "words in the Redis are not what this release writes",
                "run the same release everywhere, and let nothing else use the keys of `fleet.prefix`",
            ),
            Self::Newer => (
                "words in the Redis were written by a newer release",
                "upgrade this node; what is in force here stays",
            ),
            Self::Ahead => (
                "words in the Redis come from more than ten minutes ahead of this clock",
                "have every node keep time (NTP): the latest word holds",
            ),
        }
    }
}

/// Signs words, and knows those that were signed with the same key.
#[derive(Clone)]
pub(super) struct Signer(Hmac<Sha256>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// HMAC takes a key of any length (RFC 2104).
    pub(super) fn new(key: &Secret) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).ok()?;
        mac.update(PURPOSE);
        Some(Self(mac))
    }

    /// HMAC-SHA256 of a body, lower-case hex.
    pub(super) fn sign(&self, body: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(body.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// Whether the body was signed with this key; in constant time.
    pub(super) fn knows(&self, body: &str, mac: &str) -> bool {
        let Some(theirs) = unhex(mac) else { return false };
        let mut ours = self.0.clone();
        ours.update(body.as_bytes());
        ours.verify_slice(&theirs).is_ok()
    }

    /// The word, ready to be told.
    pub(super) fn word(&self, said: &Said, at: Timestamp) -> FleetWord {
        let body = serde_json::to_string(said).unwrap_or_default();
        FleetWord {
            subject: said.what.subject(),
            version: said.version_text(),
            mac: self.sign(&body),
            at,
            ends_at: said.ends,
            body,
            sent: false,
        }
    }

    /// What a stranger's text says, if a node of this fleet said it; `now` by the wall clock, `at` by the desk's.
    pub(super) fn hear(&self, body: &str, mac: &str, now: Timestamp, at: Timestamp) -> Result<(Said, FleetWord), Deaf> {
        if body.len() > LONGEST || !self.knows(body, mac) {
            return Err(Deaf::Unsigned);
        }
        let said = read(body)?;
        if said.version > now.after(AHEAD).0 {
            return Err(Deaf::Ahead);
        }
        let word = FleetWord {
            subject: said.what.subject(),
            version: said.version_text(),
            body: body.to_owned(),
            mac: mac.to_owned(),
            at,
            ends_at: said.ends,
            sent: true,
        };
        Ok((said, word))
    }
}

/// What a body says that is known to be a node's.
pub(super) fn read(body: &str) -> Result<Said, Deaf> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    match serde_json::from_str::<Form>(body) {
        Ok(Form { form: FORM }) => {}
        Ok(_) => return Err(Deaf::Newer),
        Err(_) => return Err(Deaf::Malformed),
    }
    let said: Said = serde_json::from_str(body).map_err(|_| Deaf::Malformed)?;
    let name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let named = !said.node.is_empty() && said.node.len() <= 64 && said.node.chars().all(name);
    let sure = match &said.what {
        What::Decided(decided) => (0.0..=1.0).contains(&decided.confidence),
        _ => true,
    };
    if named && sure && said.version >= 0 {
        Ok(said)
    } else {
        Err(Deaf::Malformed)
    }
}

/// A text of another node for people here: its signs, not its tricks, and not all day.
pub(super) fn clean(text: &str) -> String {
    let seen = text.chars().filter(|c| !c.is_control() && !is_unseen(*c));
    seen.take(TEXT).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
