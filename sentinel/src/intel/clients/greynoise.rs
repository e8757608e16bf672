//! GreyNoise, community API: whether an address scans the whole Internet, or is a service many share.
//!
//! Asked: `GET /v3/community/{ip}`, with `key` where there is one
//! (<https://docs.greynoise.io/reference/getcommunityip>). It knows IPv4 only, so of IPv6 it is not asked.

use super::evidence::{DAY, date, freshness};
use super::http::{Key, Transport};
use super::source::group;
use super::{IntelError, IntelSource, Profile, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::net::IpAddr;

/// What is fixed about it. Shared services stay what they are, and its free allowance is the smallest of all.
pub const PROFILE: Profile = Profile {
    name: "greynoise",
    group: group::SCANNER_OBSERVATION,
    ttl: Ttl {
        bad: DAY,
        benign: DAY.saturating_mul(3),
        unknown: DAY,
    },
    docs: "https://docs.greynoise.io/reference/getcommunityip",
    spares: true,
};

/// The client.
pub struct GreyNoise {
    http: Transport,
    key: Option<Key>,
}

impl GreyNoise {
    /// A client of the API at `config.url`; without a key it is answered too, though less often.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: a URL that is none, or a key that cannot be one.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?,
            key: Key::of(config, "key")?,
        })
    }
}

impl IntelSource for GreyNoise {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            if ip.is_ipv6() {
                return Err(IntelError::Unsupported("it knows IPv4 addresses only"));
            }
            let url = self.http.url(&["v3", "community", &ip.to_string()]);
            let answer = self.http.get(url, self.key.as_ref()).await?;
            // Status 404 has the form of status 200, with nothing seen.
            let indicator = indicator(&answer.json()?, ip, crate::time::wall_now());
            Ok(answer.reply(indicator))
        })
    }
}

/// An answer (<https://docs.greynoise.io/reference/getcommunityip>).
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// Whether it was seen scanning GreyNoise's sensors in the last 90 days.
    noise: bool,
    /// Whether it belongs to a common business service (RIOT), such as a public resolver.
    riot: bool,
    /// `benign`, `suspicious`, `malicious` or `unknown`; not there where nothing was seen.
    #[serde(default)]
    classification: Option<String>,
    /// Who it is, or `unknown`.
    #[serde(default)]
    name: Option<String>,
    /// The day it was last seen.
    #[serde(default)]
    last_seen: Option<String>,
}

/// Sensors of its own saw what it says, so confidence is high, less by age for scanners (half each 30 days): malicious
/// 0.95, suspicious 0.7; a scanner of unknown intent is suspicious at 0.6; one that is known for research (Shodan, Censys)
/// is benign at 0.25, though it does scan. RIOT is benign at 0.05 and spared, whatever else is said.
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let mut out = Indicator::new(PROFILE.name, ip, now);
    out.fact("noise", &answer.noise);
    out.fact("riot", &answer.riot);
    out.last_seen = answer.last_seen.as_deref().and_then(|at| date(at, now));
    let class = answer.classification.as_deref().unwrap_or("unknown");
    if let Some(class) = &answer.classification {
        out.fact("classification", class);
    }
    if let Some(name) = answer
        .name
        .as_deref()
        .filter(|name| !name.eq_ignore_ascii_case("unknown"))
    {
        out.fact("name", &name);
        out.category(name);
    }
    let fresh = freshness(out.last_seen, now, DAY * 30);
    if answer.riot {
        out.spare = true;
        out.category("common business service");
        out.judge(IntelVerdict::Benign, 0.05, 0.9);
    } else if answer.noise {
        let (verdict, score, confidence) = match class {
            "malicious" => (IntelVerdict::Malicious, 0.95, 0.9),
            "suspicious" => (IntelVerdict::Suspicious, 0.7, 0.8),
            "benign" => (IntelVerdict::Benign, 0.25, 0.8),
            _ => (IntelVerdict::Suspicious, 0.6, 0.5),
        };
        out.category("scans the internet");
        out.judge(verdict, score, confidence * fresh);
    }
    out
}
