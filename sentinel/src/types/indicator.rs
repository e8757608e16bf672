//! What a source outside knows about an address.

use super::{Address, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use utoipa::ToSchema;

/// What a source makes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntelVerdict {
    /// Known to be harmless.
    Benign,
    /// The source has never heard of it, or has nothing to say.
    Unknown,
    /// Reported, though not by enough.
    Suspicious,
    /// Known to attack.
    Malicious,
}

impl IntelVerdict {
    /// The name used in API, metrics and cache.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Unknown => "unknown",
            Self::Suspicious => "suspicious",
            Self::Malicious => "malicious",
        }
    }
}

/// Categories and raw facts kept of one answer at most; whatever is beyond is left out.
pub const INDICATOR_PARTS: usize = 16;
/// Characters kept of each category, name or value at most.
pub const INDICATOR_TEXT: usize = 128;

/// One source's answer about one address, in the same terms for every source. All text in it came from the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Indicator {
    /// Which source or feed: `abuseipdb`, `feed:spamhaus_drop`, …
    pub source: String,
    /// About whom.
    #[schema(value_type = Address)]
    pub ip: IpAddr,
    /// In a word.
    pub verdict: IntelVerdict,
    /// How bad, 0 to 1; 0.5 says nothing either way.
    pub score: f64,
    /// How much the source itself has to go by, 0 to 1: one report is little, a hundred are much.
    pub confidence: f64,
    /// The source says that this address must not be blocked: a shared service (GreyNoise `riot`), or its allowlist.
    #[serde(default)]
    pub spare: bool,
    /// What it is known for, such as `ssh brute force`; at most [`INDICATOR_PARTS`] of at most [`INDICATOR_TEXT`]
    /// characters.
    pub categories: Vec<String>,
    /// When the source first saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When it last saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// When the source said so.
    pub asked_at: Timestamp,
    /// The numbers behind it, by the provider's own names; bounded like the categories.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, String>,
}

impl Indicator {
    /// One that says nothing yet.
    pub fn new(source: &str, ip: IpAddr, asked_at: Timestamp) -> Self {
        Self {
            source: source.to_owned(),
            ip,
            verdict: IntelVerdict::Unknown,
            score: 0.5,
            confidence: 0.0,
            spare: false,
            categories: Vec::new(),
            first_seen: None,
            last_seen: None,
            asked_at,
            raw: BTreeMap::new(),
        }
    }

    /// Sets verdict, score and confidence, each number brought into [0, 1]; what is no number says nothing.
    pub fn judge(&mut self, verdict: IntelVerdict, score: f64, confidence: f64) {
        let unit = |x: f64, other: f64| if x.is_nan() { other } else { x.clamp(0.0, 1.0) };
        self.verdict = verdict;
        self.score = unit(score, 0.5);
        self.confidence = unit(confidence, 0.0);
    }

    /// Adds a category, bounded; one that is empty or there already is left out.
    pub fn category(&mut self, text: &str) {
        let text = bounded(text);
        if !text.is_empty() && self.categories.len() < INDICATOR_PARTS && !self.categories.contains(&text) {
            self.categories.push(text);
        }
    }

    /// Adds a raw fact, bounded.
    pub fn fact(&mut self, name: &str, value: &dyn std::fmt::Display) {
        if self.raw.len() < INDICATOR_PARTS {
            self.raw.insert(bounded(name), bounded(&value.to_string()));
        }
    }
}

/// Hostile text, cut to length, without control characters.
fn bounded(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(INDICATOR_TEXT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_server_says_is_bounded() {
        let mut told = Indicator::new("x", IpAddr::from([192, 0, 2, 1]), Timestamp(0));
        for n in 0..100 {
            told.category(&format!("{n}\u{1b}[31m{}", "a".repeat(1000)));
            told.fact(&format!("{n}{}", "b".repeat(1000)), &("\n".repeat(1000) + "c"));
        }
        told.category("  ");
        assert_eq!(
            (told.categories.len(), told.raw.len()),
            (INDICATOR_PARTS, INDICATOR_PARTS)
        );
        let texts = told.categories.iter().chain(told.raw.iter().flat_map(|(k, v)| [k, v]));
        for text in texts {
            assert!(
                text.chars().count() <= INDICATOR_TEXT && !text.contains(char::is_control),
                "{text:?}"
            );
        }
        told.judge(IntelVerdict::Malicious, f64::NAN, f64::INFINITY);
        assert_eq!((told.score, told.confidence), (0.5, 1.0));
    }
}
