//! CrowdSec CTI: what the sensors of its users saw of an address.
//!
//! Asked: `GET /v2/smoke/{ip}` with `x-api-key` (<https://docs.crowdsec.net/u/cti_api/>).

use super::super::evidence::{DAY, date, freshness};
use super::super::http::{Key, Transport};
use super::super::source::group;
use super::super::{IntelError, IntelSource, Profile, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::net::IpAddr;

/// What is fixed about it.
pub const PROFILE: Profile = Profile {
    name: "crowdsec",
    group: group::SCANNER_OBSERVATION,
    ttl: Ttl {
        bad: DAY,
        benign: DAY,
        unknown: DAY,
    },
    docs: "https://docs.crowdsec.net/u/cti_api/",
    spares: false,
};

/// The client.
pub struct CrowdSec {
    http: Transport,
    key: Key,
}

impl CrowdSec {
    /// A client of the API at `config.url`; needs a key.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: no key, or a URL that is none.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?,
            key: Key::required(config, "x-api-key")?,
        })
    }
}

impl IntelSource for CrowdSec {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let url = self.http.url(&["v2", "smoke", &ip.to_string()]);
            let answer = self.http.get(url, Some(&self.key)).await?;
            let now = crate::time::wall_now();
            if answer.not_found() {
                let Missing { message } = answer.json()?;
                if !message.contains("not found") {
                    return Err(IntelError::Malformed("`message`".to_owned()));
                }
                return Ok(answer.reply(Indicator::new(PROFILE.name, ip, now)));
            }
            let indicator = indicator(&answer.json()?, ip, now);
            Ok(answer.reply(indicator))
        })
    }
}

/// Status 404, of an address never seen (<https://docs.crowdsec.net/u/cti_api/api_getting_started/>).
#[derive(Debug, Deserialize)]
struct Missing {
    message: String,
}

/// An answer (<https://docs.crowdsec.net/u/cti_api/taxonomy/cti_object/>).
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// `malicious`, `suspicious`, `known`, `safe` or `unknown`.
    reputation: String,
    /// `none`, `low`, `medium` or `high`.
    confidence: String,
    /// What it was seen to do.
    behaviors: Vec<Behavior>,
    /// When.
    history: History,
}

/// A behaviour (`behaviors`).
#[derive(Debug, Deserialize)]
struct Behavior {
    /// Such as `SSH Bruteforce`.
    label: String,
}

/// Since when and until when (`history`), RFC 3339.
#[derive(Debug, Deserialize)]
struct History {
    #[serde(default)]
    first_seen: Option<String>,
    #[serde(default)]
    last_seen: Option<String>,
}

/// Reputation is the verdict, and confidence is its word as a number, less by age (half each 30 days).
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let mut out = Indicator::new(PROFILE.name, ip, now);
    out.fact("reputation", &answer.reputation);
    for behavior in &answer.behaviors {
        out.category(&behavior.label.to_lowercase());
    }
    out.first_seen = answer.history.first_seen.as_deref().and_then(|at| date(at, now));
    out.last_seen = answer.history.last_seen.as_deref().and_then(|at| date(at, now));
    let (verdict, score) = match answer.reputation.as_str() {
        "malicious" => (IntelVerdict::Malicious, 0.9),
        "suspicious" | "known" => (IntelVerdict::Suspicious, 0.65),
        "safe" => (IntelVerdict::Benign, 0.2),
        _ => return out,
    };
    let confidence = match answer.confidence.as_str() {
        "high" => 0.9,
        "medium" => 0.6,
        _ => 0.3,
    };
    out.judge(verdict, score, confidence * freshness(out.last_seen, now, DAY * 30));
    out
}
