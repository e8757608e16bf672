//! ThreatCrowd v2: votes on an address, and malware and names seen with it. The service is gone: its name no longer
//! resolves. Off by default; for a mirror with the same API, whose URL is configured.
//!
//! Asked: `GET /searchApi/v2/ip/report/?ip={ip}`, without a key (<https://github.com/AlienVault-OTX/ApiV2>).

use super::evidence::{DAY, date, voices};
use super::http::Transport;
use super::source::group;
use super::{IntelError, IntelSource, Profile, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// What is fixed about it. What a mirror holds does not change.
pub const PROFILE: Profile = Profile {
    name: "threatcrowd",
    group: group::AGGREGATORS,
    ttl: Ttl {
        bad: DAY.saturating_mul(7),
        benign: DAY.saturating_mul(7),
        unknown: DAY.saturating_mul(7),
    },
    docs: "https://github.com/AlienVault-OTX/ApiV2",
    spares: false,
};

/// The client.
pub struct ThreatCrowd {
    http: Transport,
}

impl ThreatCrowd {
    /// A client of the API at `config.url`; there are no keys.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: a URL that is none.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?,
        })
    }
}

impl IntelSource for ThreatCrowd {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let mut url = self.http.url(&["searchApi", "v2", "ip", "report", ""]);
            url.query_pairs_mut().append_pair("ip", &ip.to_string());
            let answer = self
                .http
                .get(url, None)
                .await
                .map_err(|error| match error {
                    IntelError::Transport(why) => {
                        IntelError::Unavailable(format!("the service was shut down; set the url of a mirror ({why})"))
                    }
                    error => error,
                })?
                .found()?;
            let indicator = indicator(&answer.json()?, ip, crate::time::wall_now());
            Ok(answer.reply(indicator))
        })
    }
}

/// An answer (<https://github.com/AlienVault-OTX/ApiV2>, IP report). Numbers come as text, too.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// 1: known; 0: not.
    #[serde(deserialize_with = "number")]
    response_code: i64,
    /// Of its users: below nought malicious, above it not.
    #[serde(default, deserialize_with = "number")]
    votes: i64,
    /// Names that pointed to it.
    #[serde(default)]
    resolutions: Vec<Resolution>,
    /// MD5 of malware that spoke to it.
    #[serde(default)]
    hashes: Vec<String>,
}

/// A name (IP report, `resolutions`).
#[derive(Debug, Deserialize)]
struct Resolution {
    /// A day.
    #[serde(default)]
    last_resolved: Option<String>,
}

/// A number, or the text of one.
fn number<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(d)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text
            .parse()
            .map_err(|_| D::Error::invalid_value(Unexpected::Other("text"), &"a number")),
    }
}

/// Votes of people nobody knows: suspicious at 0.6 at most, benign at 0.4, with little confidence. Malware that spoke to it
/// makes it suspicious without votes, more by the number of samples; confidence 0.3 · n / (n + 5).
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let mut out = Indicator::new(PROFILE.name, ip, now);
    if answer.response_code == 0 {
        return out;
    }
    out.fact("votes", &answer.votes);
    out.fact("hashes", &answer.hashes.len());
    out.fact("resolutions", &answer.resolutions.len());
    let seen = answer
        .resolutions
        .iter()
        .filter_map(|r| date(r.last_resolved.as_deref()?, now));
    out.last_seen = seen.max();
    let samples = answer.hashes.len() as f64;
    if !answer.hashes.is_empty() {
        out.category("contacted by malware");
    }
    if answer.votes < 0 {
        out.category("voted malicious");
        out.judge(IntelVerdict::Suspicious, 0.6, 0.2 + 0.2 * voices(samples, 5.0));
    } else if answer.votes > 0 {
        out.category("voted harmless");
        out.judge(IntelVerdict::Benign, 0.4, 0.2);
    } else if !answer.hashes.is_empty() {
        out.judge(IntelVerdict::Suspicious, 0.55, 0.3 * voices(samples, 5.0));
    }
    out
}
