//! AbuseIPDB v2: what administrators reported of an address.
//!
//! Asked: `GET /api/v2/check?ipAddress={ip}&maxAgeInDays=90&verbose` with `Key`
//! (<https://docs.abuseipdb.com/#check-endpoint>). `verbose` adds the reports, whose categories stand nowhere else; of a
//! busy attacker's thousands the first 256 KiB are read.

use super::evidence::{DAY, date, freshness, voices};
use super::http::{Key, Transport};
use super::source::group;
use super::{IntelError, IntelSource, Profile, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What is fixed about it. Reports of an attack under way come in by the hour.
pub const PROFILE: Profile = Profile {
    name: "abuseipdb",
    group: group::ABUSE_REPORTS,
    ttl: Ttl {
        bad: Duration::from_hours(12),
        benign: DAY,
        unknown: Duration::from_hours(6),
    },
    docs: "https://docs.abuseipdb.com/#check-endpoint",
    spares: true,
};

/// Reports older than this are not asked for.
const MAX_AGE_DAYS: &str = "90";

/// The client.
pub struct AbuseIpDb {
    http: Transport,
    key: Key,
}

impl AbuseIpDb {
    /// A client of the API at `config.url`; needs a key.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: no key, or a URL that is none.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?,
            key: Key::required(config, "key")?,
        })
    }
}

impl IntelSource for AbuseIpDb {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let mut url = self.http.url(&["api", "v2", "check"]);
            url.query_pairs_mut()
                .append_pair("ipAddress", &ip.to_string())
                .append_pair("maxAgeInDays", MAX_AGE_DAYS)
                .append_key_only("verbose");
            let answer = self.http.get(url, Some(&self.key)).await?.found()?;
            let indicator = indicator(&answer.json_or_beginning()?, ip, crate::time::wall_now());
            Ok(answer.reply(indicator))
        })
    }
}

/// An answer (<https://docs.abuseipdb.com/#check-endpoint>).
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// What is known of the address.
    data: Data,
}

/// An address (<https://docs.abuseipdb.com/#check-endpoint>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    /// Whether it is on one of AbuseIPDB's whitelists; null where none was looked at.
    #[serde(default)]
    is_whitelisted: Option<bool>,
    /// How sure AbuseIPDB is that the address is malicious, 0 to 100.
    abuse_confidence_score: u32,
    /// Such as `Data Center/Web Hosting/Transit`.
    #[serde(default)]
    usage_type: Option<String>,
    /// Whether it is a Tor exit.
    #[serde(default)]
    is_tor: Option<bool>,
    /// Reports within the time asked for.
    total_reports: u64,
    /// Who reported.
    num_distinct_users: u64,
    /// The last report, RFC 3339.
    #[serde(default)]
    last_reported_at: Option<String>,
    /// The reports, the newest first.
    #[serde(default)]
    reports: Vec<Report>,
}

/// A report (<https://docs.abuseipdb.com/#check-endpoint>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// RFC 3339.
    reported_at: String,
    /// Numbers of [`CATEGORIES`].
    categories: Vec<u32>,
}

/// Categories by number (<https://www.abuseipdb.com/categories>).
const CATEGORIES: [(u32, &str); 23] = [
    (1, "dns compromise"),
    (2, "dns poisoning"),
    (3, "fraud orders"),
    (4, "ddos attack"),
    (5, "ftp brute force"),
    (6, "ping of death"),
    (7, "phishing"),
    (8, "voip fraud"),
    (9, "open proxy"),
    (10, "web spam"),
    (11, "email spam"),
    (12, "blog spam"),
    (13, "vpn address"),
    (14, "port scan"),
    (15, "hacking"),
    (16, "sql injection"),
    (17, "spoofing"),
    (18, "brute force"),
    (19, "bad web bot"),
    (20, "exploited host"),
    (21, "web application attack"),
    (22, "ssh"),
    (23, "iot targeted"),
];

/// Verdict by AbuseIPDB's own score: malicious from 75, suspicious from 1; without a report unknown, whatever else is
/// said. Score: 0.5 + abuseConfidenceScore / 200, so that a score of nought says nothing. Confidence: n / (n + 3) of n
/// reporters, less by the age of the last report (half each 30 days). On a whitelist it is benign and spared.
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let told = &answer.data;
    let mut out = Indicator::new(PROFILE.name, ip, now);
    out.fact("abuseConfidenceScore", &told.abuse_confidence_score);
    out.fact("totalReports", &told.total_reports);
    out.fact("numDistinctUsers", &told.num_distinct_users);
    out.fact("reports read", &told.reports.len());
    if let Some(usage) = &told.usage_type {
        out.fact("usageType", usage);
    }
    if let Some(listed) = told.is_whitelisted {
        out.fact("isWhitelisted", &listed);
    }
    out.last_seen = told.last_reported_at.as_deref().and_then(|at| date(at, now));
    out.first_seen = told.reports.iter().filter_map(|r| date(&r.reported_at, now)).min();
    for name in categories(&told.reports) {
        out.category(name);
    }
    if told.is_tor == Some(true) {
        out.category("tor exit");
    }

    let score = told.abuse_confidence_score.min(100);
    let confidence = voices(told.num_distinct_users as f64, 3.0) * freshness(out.last_seen, now, DAY * 30);
    if told.is_whitelisted == Some(true) {
        out.spare = true;
        out.category("on the provider's allowlist");
        out.judge(IntelVerdict::Benign, 0.2, 0.6);
    } else if told.total_reports > 0 {
        let verdict = match score {
            75.. => IntelVerdict::Malicious,
            1.. => IntelVerdict::Suspicious,
            0 => IntelVerdict::Unknown,
        };
        out.judge(verdict, 0.5 + f64::from(score) / 200.0, confidence);
    }
    out
}

/// What was reported, the most frequent first, in words.
fn categories(reports: &[Report]) -> Vec<&'static str> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for number in reports.iter().flat_map(|report| &report.categories) {
        if CATEGORIES.iter().any(|(known, _)| known == number) {
            *counts.entry(*number).or_default() += 1;
        }
    }
    let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(number, count)| (std::cmp::Reverse(count), number));
    counts
        .iter()
        .filter_map(|(number, _)| CATEGORIES.iter().find(|(known, _)| known == number))
        .map(|(_, name)| *name)
        .collect()
}
