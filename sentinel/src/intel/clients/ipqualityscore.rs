//! IPQualityScore: how likely an address is to be used for fraud, and whether it is a proxy, a VPN or Tor.
//!
//! Asked: `GET /api/json/ip/{key}/{ip}?strictness=0&allow_public_access_points=true`
//! (<https://www.ipqualityscore.com/documentation/proxy-detection-api/overview>). The key is part of the path, so this URL
//! is never told.

use super::evidence::DAY;
use super::http::{Transport, required_key};
use super::source::group;
use super::{IntelError, IntelSource, Profile, QuotaHint, Reply, Ttl};
use crate::config::SourceConfig;
use crate::types::{Indicator, IntelVerdict, Secret, Severity, Timestamp};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::net::IpAddr;

/// What is fixed about it. A thousand requests a month are 33 a day, so answers are kept for long.
pub const PROFILE: Profile = Profile {
    name: "ipqualityscore",
    group: group::FRAUD_SCORING,
    ttl: Ttl {
        bad: DAY,
        benign: DAY.saturating_mul(3),
        unknown: DAY.saturating_mul(3),
    },
    docs: "https://www.ipqualityscore.com/documentation/proxy-detection-api/overview",
    spares: false,
};

/// The client.
pub struct IpQualityScore {
    http: Transport,
    key: Secret,
}

impl IpQualityScore {
    /// A client of the API at `config.url`; needs a key.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`]: no key, or a URL that is none.
    pub fn new(config: &SourceConfig) -> Result<Self, IntelError> {
        Ok(Self {
            http: Transport::new(config)?,
            key: required_key(config)?,
        })
    }
}

impl IntelSource for IpQualityScore {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn ask(&self, ip: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let path = ["api", "json", "ip", self.key.expose(), &ip.to_string()];
            let mut url = self.http.url(&path);
            // The lowest strictness, and mercy for airports and universities: a wrong block costs more than a miss.
            url.set_query(Some("strictness=0&allow_public_access_points=true"));
            let answer = self.http.get(url, None).await?.found()?;
            let Outcome { success, message } = answer.json()?;
            if !success {
                return Err(refusal(&message));
            }
            let indicator = indicator(&answer.json()?, ip, crate::time::wall_now());
            Ok(answer.reply(indicator))
        })
    }
}

/// Whether it is an answer at all: failures come with status 200
/// (<https://www.ipqualityscore.com/documentation/proxy-detection-api/response-parameters>).
#[derive(Debug, Deserialize)]
struct Outcome {
    success: bool,
    #[serde(default)]
    message: String,
}

/// An answer (<https://www.ipqualityscore.com/documentation/proxy-detection-api/response-parameters>).
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the provider's form")]
pub(super) struct Answer {
    /// 0 to 100: from 75 suspicious, from 85 risky, from 90 frequently abusive.
    fraud_score: f64,
    /// Any kind of proxy, VPN or Tor.
    #[serde(default)]
    proxy: bool,
    #[serde(default)]
    vpn: bool,
    #[serde(default)]
    tor: bool,
    /// Abuse was verified of late.
    #[serde(default)]
    recent_abuse: bool,
    /// Automated fraud of late.
    #[serde(default)]
    bot_status: bool,
    /// A crawler of a search engine, verified.
    #[serde(default)]
    is_crawler: bool,
    /// `none`, `low`, `medium` or `high`; `Premium required.` on the free plan.
    #[serde(default)]
    abuse_velocity: Option<String>,
    /// `Residential`, `Corporate`, `Education`, `Mobile`, `Data Center`; `Premium required.` on the free plan.
    #[serde(default)]
    connection_type: Option<String>,
}

/// What a refusal says: of the key, of the allowance, or of something that is not documented.
fn refusal(message: &str) -> IntelError {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["quota", "credit", "limit"]) {
        IntelError::RateLimited {
            retry_after: None,
            hint: QuotaHint {
                remaining: Some(0),
                ..QuotaHint::default()
            },
        }
    } else if says(&["key", "unauthorized", "account"]) {
        IntelError::Unauthorised { status: 200 }
    } else {
        IntelError::Malformed("`success` is false for no reason that is documented".to_owned())
    }
}

/// It scores fraud, which is not attack, and does not tell what it rests on. Score: 0.35 + 0.2 · fraud_score / 75 below 75,
/// from there 0.6 rising to 0.9 at 100. Malicious from 90 where abuse or bots were seen of late; suspicious from 75 or
/// where abuse was seen; benign below that, and a verified crawler always. Confidence: 0.3, and 0.2 more for recent
/// abuse, 0.1 for bots, 0.1 for high velocity. A VPN by itself is no harm, only a category.
pub(super) fn indicator(answer: &Answer, ip: IpAddr, now: Timestamp) -> Indicator {
    let mut out = Indicator::new(PROFILE.name, ip, now);
    out.fact("fraud_score", &answer.fraud_score);
    for (flag, name, text) in [
        (answer.tor, "tor", "tor"),
        (answer.vpn, "vpn", "vpn"),
        (answer.proxy, "proxy", "proxy"),
        (answer.bot_status, "bot_status", "bot"),
        (answer.recent_abuse, "recent_abuse", "recent abuse"),
        (answer.is_crawler, "is_crawler", "search engine crawler"),
    ] {
        out.fact(name, &flag);
        if flag {
            out.category(text);
        }
    }
    let told = |text: &Option<String>| text.clone().filter(|text| !text.to_lowercase().contains("required"));
    let velocity = told(&answer.abuse_velocity);
    if let Some(velocity) = &velocity {
        out.fact("abuse_velocity", velocity);
    }
    if let Some(kind) = told(&answer.connection_type) {
        out.fact("connection_type", &kind);
    }

    let fraud = answer.fraud_score.clamp(0.0, 100.0);
    let score = if fraud < 75.0 {
        0.35 + fraud / 75.0 * 0.2
    } else {
        0.6 + (fraud - 75.0) / 25.0 * 0.3
    };
    let confidence = 0.3
        + if answer.recent_abuse { 0.2 } else { 0.0 }
        + if answer.bot_status { 0.1 } else { 0.0 }
        + if velocity.as_deref() == Some("high") { 0.1 } else { 0.0 };
    if answer.is_crawler {
        out.judge(IntelVerdict::Benign, 0.2, 0.5);
    } else if fraud >= 90.0 && (answer.recent_abuse || answer.bot_status) {
        out.judge(IntelVerdict::Malicious, score, confidence);
    } else if fraud >= 75.0 || answer.recent_abuse {
        out.judge(IntelVerdict::Suspicious, score.max(0.6), confidence);
    } else {
        out.judge(IntelVerdict::Benign, score.min(0.5), confidence);
    }
    out
}
