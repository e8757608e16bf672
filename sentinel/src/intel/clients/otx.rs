//! AlienVault OTX: in which pulses (collections of indicators that anybody may publish) an address stands.
//!
//! Asked: `GET /api/v1/indicators/IPv4/{ip}/general`, or `IPv6`, with `X-OTX-API-KEY` where there is one
//! (<https://otx.alienvault.com/assets/static/external_api.html>).

use super::evidence::{DAY, date, freshness, voices};
use super::http::{Key, Transport};
use super::source::group;
use super::{IntelError, IntelSource, Profile, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What is fixed about it. Pulses are written by people, who take days.
pub const PROFILE: Profile = Profile {
    name: "otx",
    group: group::AGGREGATORS,
    ttl: Ttl {
        bad: DAY,
        benign: DAY.saturating_mul(3),
        unknown: DAY,
    },
    docs: "https://otx.alienvault.com/assets/static/external_api.html",
    spares: true,
};

/// Bytes of an answer that are read: fifty pulses with their texts go beyond what the others need.
const LIMIT: usize = 1024 * 1024;
/// Families, tags and names of pulses that are kept of each.
const EACH: usize = 5;

/// The client.
pub struct Otx {
    http: Transport,
    key: Option<Key>,
}

impl Otx {
    /// A client of the API at `config.url`; it answers without a key too.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: a URL that is none, or a key that cannot be one.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?.reading(LIMIT),
            key: Key::of(config, "x-otx-api-key")?,
        })
    }
}

impl IntelSource for Otx {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let kind = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let path = ["api", "v1", "indicators", kind, &ip.to_string(), "general"];
            let answer = self.http.get(self.http.url(&path), self.key.as_ref()).await?.found()?;
            let indicator = indicator(&answer.json()?, ip, crate::time::wall_now());
            Ok(answer.reply(indicator))
        })
    }
}

/// An answer: section `general` of an indicator (<https://otx.alienvault.com/assets/static/external_api.html>).
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// The pulses it stands in.
    pulse_info: PulseInfo,
    /// Why OTX holds it for harmless; empty where it does not.
    #[serde(default)]
    validation: Vec<Validation>,
}

/// Pulses (`general`, `pulse_info`).
#[derive(Debug, Deserialize)]
struct PulseInfo {
    /// How many there are; fifty are told.
    count: u64,
    /// The newest of them.
    pulses: Vec<Pulse>,
}

/// A pulse (`general`, `pulse_info.pulses`).
#[derive(Debug, Deserialize)]
struct Pulse {
    /// Its title.
    name: String,
    /// When it last changed, without an offset: UTC.
    #[serde(default)]
    modified: Option<String>,
    /// When it was made.
    #[serde(default)]
    created: Option<String>,
    /// Words of its author's.
    #[serde(default)]
    tags: Vec<String>,
    /// Malware it is about.
    #[serde(default)]
    malware_families: Vec<Malware>,
    /// Who published it.
    #[serde(default)]
    author: Option<Author>,
}

/// A family of malware (`general`, `pulse_info.pulses.malware_families`).
#[derive(Debug, Deserialize)]
struct Malware {
    /// Its name for people.
    display_name: String,
}

/// An author (`general`, `pulse_info.pulses.author`).
#[derive(Debug, Deserialize)]
struct Author {
    username: String,
}

/// A reason not to worry (`general`, `validation`), such as `whitelist`, `majestic`, `false_positive`.
#[derive(Debug, Deserialize)]
struct Validation {
    #[serde(default)]
    source: String,
    #[serde(default)]
    name: String,
}

/// Authors are the voices, not pulses, of which one author may publish a hundred; authors in no pulse that was told are
/// not known. Anybody may publish anything, so suspicious is most of it: malicious only from five authors. Score:
/// 0.5 + 0.4 · n / (n + 3); confidence: n / (n + 5) of n authors, less by the age of the newest pulse (half each 180
/// days). What OTX holds for harmless is benign at 0.3, and spared where it stands on a whitelist.
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let pulses = &answer.pulse_info.pulses;
    let mut out = Indicator::new(PROFILE.name, ip, now);
    out.fact("pulse_info.count", &answer.pulse_info.count);
    out.first_seen = pulses.iter().filter_map(|p| date(p.created.as_deref()?, now)).min();
    out.last_seen = pulses.iter().filter_map(|p| date(p.modified.as_deref()?, now)).max();
    let families = pulses.iter().flat_map(|p| &p.malware_families);
    for family in frequent(families.map(|family| family.display_name.clone())) {
        out.category(&family);
    }
    for tag in frequent(pulses.iter().flat_map(|p| &p.tags).map(|tag| tag.to_lowercase())) {
        out.category(&tag);
    }
    for pulse in pulses.iter().take(EACH) {
        out.category(&pulse.name);
    }

    let authors: BTreeSet<&str> = pulses
        .iter()
        .map(|p| p.author.as_ref().map_or("", |author| author.username.as_str()))
        .collect();
    let voiced = authors.len() as f64;
    out.fact("authors", &authors.len());
    if !answer.validation.is_empty() {
        let listed = |v: &Validation| {
            [&v.source, &v.name]
                .iter()
                .any(|t| t.to_lowercase().contains("whitelist"))
        };
        out.spare = answer.validation.iter().any(listed);
        for reason in &answer.validation {
            out.category(&format!("validated: {}", reason.source));
        }
        out.judge(IntelVerdict::Benign, 0.3, if out.spare { 0.6 } else { 0.4 });
    } else if !pulses.is_empty() {
        let verdict = if authors.len() >= 5 {
            IntelVerdict::Malicious
        } else {
            IntelVerdict::Suspicious
        };
        let confidence = voices(voiced, 5.0) * freshness(out.last_seen, now, DAY * 180);
        out.judge(verdict, 0.5 + 0.4 * voices(voiced, 3.0), confidence);
    }
    out
}

/// The words that come most often, then by the alphabet.
fn frequent(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    counts.into_iter().take(EACH).map(|(word, _)| word).collect()
}
