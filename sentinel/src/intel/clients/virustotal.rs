//! VirusTotal v3: what some ninety engines and blocklists say of an address.
//!
//! Asked: `GET /api/v3/ip_addresses/{ip}` with `x-apikey` (<https://docs.virustotal.com/reference/ip-info>).

use super::evidence::{DAY, freshness, seconds, voices};
use super::http::{Key, Transport};
use super::source::group;
use super::{IntelError, IntelSource, Profile, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is fixed about it. Engines look again about daily, and 500 requests a day are few.
pub const PROFILE: Profile = Profile {
    name: "virustotal",
    group: group::AGGREGATORS,
    ttl: Ttl {
        bad: DAY,
        benign: DAY,
        unknown: DAY,
    },
    docs: "https://docs.virustotal.com/reference/ip-info",
    spares: false,
};

/// The engine that is a source of ours by itself: counting it here would be hearing one witness twice.
const OURS: &str = "GreyNoise";

/// The client.
pub struct VirusTotal {
    http: Transport,
    key: Key,
}

impl VirusTotal {
    /// A client of the API at `config.url`; needs a key.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: no key, or a URL that is none.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?,
            key: Key::required(config, "x-apikey")?,
        })
    }
}

impl IntelSource for VirusTotal {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let url = self.http.url(&["api", "v3", "ip_addresses", &ip.to_string()]);
            let answer = self.http.get(url, Some(&self.key)).await?;
            let now = crate::time::wall_now();
            let indicator = if answer.not_found() {
                let Missing { error } = answer.json()?;
                if error.code != "NotFoundError" {
                    return Err(IntelError::Malformed("`error.code`".to_owned()));
                }
                Indicator::new(PROFILE.name, ip, now)
            } else {
                indicator(&answer.json()?, ip, now)
            };
            Ok(answer.reply(indicator))
        })
    }
}

/// An answer (<https://docs.virustotal.com/reference/ip-info>).
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// The object.
    data: Object,
}

/// An object (<https://docs.virustotal.com/reference/objects>).
#[derive(Debug, Deserialize)]
struct Object {
    /// What is known of it.
    attributes: Attributes,
}

/// An address (<https://docs.virustotal.com/reference/ip-object>).
#[derive(Debug, Deserialize)]
struct Attributes {
    /// How many engines came to which result. Not there for an address no engine has looked at.
    #[serde(default)]
    last_analysis_stats: Option<Stats>,
    /// What each engine says.
    #[serde(default)]
    last_analysis_results: Engines,
    /// When they last looked, seconds since 1970.
    #[serde(default)]
    last_analysis_date: Option<i64>,
    /// What VirusTotal's community makes of it; negative is bad.
    #[serde(default)]
    reputation: i64,
    /// Such as `tor`, `vpn`, `proxy`.
    #[serde(default)]
    tags: Vec<String>,
}

/// Engines by result (<https://docs.virustotal.com/reference/ip-object>, `last_analysis_stats`).
#[derive(Clone, Copy, Debug, Deserialize)]
struct Stats {
    harmless: u32,
    malicious: u32,
    suspicious: u32,
    undetected: u32,
}

/// One engine (<https://docs.virustotal.com/reference/ip-object>, `last_analysis_results`).
#[derive(Debug, Deserialize)]
struct Engine {
    /// `harmless`, `undetected`, `suspicious`, `malicious` or `timeout`.
    category: String,
    /// Its own word for it, such as `phishing`.
    #[serde(default)]
    result: Option<String>,
}

/// Engines by name. Read by hand, so that an error's path ends here and does not repeat a name of the server's.
#[derive(Debug, Default)]
struct Engines(BTreeMap<String, Engine>);

impl<'de> Deserialize<'de> for Engines {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<String, serde_json::Value>::deserialize(d)?;
        let mut engines = BTreeMap::new();
        for (name, value) in values {
            engines.insert(name, Engine::deserialize(value).map_err(serde::de::Error::custom)?);
        }
        Ok(Self(engines))
    }
}

/// Status 404 (<https://docs.virustotal.com/reference/errors>).
#[derive(Debug, Deserialize)]
struct Missing {
    error: ErrorCode,
}

#[derive(Debug, Deserialize)]
struct ErrorCode {
    code: String,
}

/// Weight w: an engine that says malicious is 1, one that says suspicious a half. One engine of ninety is wrong often
/// enough, so the score is 1 - 2^(-w/3) / 2: 0.60 for one, 0.75 for three, 0.90 for seven; malicious from w = 4.
/// Confidence is w / (w + 3), less by the age of the analysis (half each 90 days). Where no engine objects it is benign at
/// 0.4 (0.3 with a good name in the community), with little confidence: nobody may have looked.
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let told = &answer.data.attributes;
    let mut out = Indicator::new(PROFILE.name, ip, now);
    out.fact("reputation", &told.reputation);
    for tag in &told.tags {
        out.category(tag);
    }
    let Some(stats) = told.last_analysis_stats else {
        return out;
    };
    out.fact("malicious", &stats.malicious);
    out.fact("suspicious", &stats.suspicious);
    out.fact("harmless", &stats.harmless);
    out.fact("undetected", &stats.undetected);
    out.last_seen = told.last_analysis_date.and_then(|at| seconds(at, now));

    let ours = told.last_analysis_results.0.get(OURS).map(|e| e.category.as_str());
    let malicious = stats.malicious.saturating_sub(u32::from(ours == Some("malicious")));
    let suspicious = stats.suspicious.saturating_sub(u32::from(ours == Some("suspicious")));
    let looked = f64::from(stats.harmless) + f64::from(malicious) + f64::from(suspicious) + f64::from(stats.undetected);
    let weight = f64::from(malicious) + f64::from(suspicious) / 2.0;
    let fresh = freshness(out.last_seen, now, DAY * 90);
    for engine in told.last_analysis_results.0.values() {
        if matches!(engine.category.as_str(), "malicious" | "suspicious")
            && let Some(word) = &engine.result
        {
            out.category(&word.to_lowercase());
        }
    }
    if weight > 0.0 {
        let verdict = if weight >= 4.0 {
            IntelVerdict::Malicious
        } else {
            IntelVerdict::Suspicious
        };
        out.judge(verdict, 1.0 - (-weight / 3.0).exp2() / 2.0, voices(weight, 3.0) * fresh);
    } else if looked > 0.0 {
        let score = if told.reputation >= 10 { 0.3 } else { 0.4 };
        out.judge(IntelVerdict::Benign, score, voices(looked, 90.0) * 0.6 * fresh);
    }
    out
}
