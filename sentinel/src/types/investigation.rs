//! What was found out about the source of an alert, and the risk it adds up to.

use super::{Address, AlertId, Indicator, InvestigationId, Prefix, Severity, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// How far an investigation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvestigationState {
    /// The deadline has not passed and not everybody has answered.
    Open,
    /// Everybody that was asked has answered, or has been given up.
    Complete,
    /// The address is private, our own or reserved: nobody outside is asked.
    LocalOnly,
    /// Sources were asked, or are configured, and none of them answered. This is never "benign".
    NoAnswer,
    /// No source is configured.
    NoSources,
}

impl InvestigationState {
    /// The name used in API and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Complete => "complete",
            Self::LocalOnly => "local_only",
            Self::NoAnswer => "no_answer",
            Self::NoSources => "no_sources",
        }
    }
}

/// What became of asking one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// The source.
    pub source: String,
    /// What it said; `None` where it said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indicator: Option<Indicator>,
    /// `fresh`, `cache`, `feed`, or why there is no answer: `timeout`, `quota`, `rate_limited`, …
    pub result: String,
    /// The same for people, where there is no answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it took, ms.
    pub took_ms: u64,
}

/// One summand of a risk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RiskPart {
    /// Where it comes from: a detector's or a source's name; `prior`.
    pub name: String,
    /// What it says, 0 to 1, before it is weighed.
    pub says: f64,
    /// Added to the log-odds (natural logarithm); negative where it speaks for the address.
    pub log_odds: f64,
    /// The same in a sentence.
    pub sentence: String,
}

/// How likely it is that the source of an alert means harm, and why. `log_odds` of all parts sum to `log_odds` within
/// 1e-9, and `score` is 1 / (1 + e^-log_odds).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Risk {
    /// 0 to 1.
    pub score: f64,
    /// Its log-odds.
    pub log_odds: f64,
    /// How much it rests on, 0 to 1.
    pub confidence: f64,
    /// By `risk_thresholds`.
    pub level: Severity,
    /// Independent groups of outside sources that call the address bad.
    pub corroborated_by: u32,
    /// Whether nothing but local evidence went in.
    pub local_only: bool,
    /// What contradicts what, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
    /// Its summands, the largest first.
    pub parts: Vec<RiskPart>,
    /// One sentence.
    pub summary: String,
}

/// An alert, looked into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Investigation {
    /// Its name.
    pub id: InvestigationId,
    /// The alert that began it.
    pub alert: AlertId,
    /// About whom.
    #[schema(value_type = Address)]
    pub ip: IpAddr,
    /// When it began.
    pub at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How far it got.
    pub state: InvestigationState,
    /// Of the alert.
    pub severity: Severity,
    /// Who was asked, and what became of it, in the order of the sources.
    pub answers: Vec<Answer>,
    /// What it adds up to.
    pub risk: Risk,
    /// How often answers changed it after the first decision.
    pub revisions: u32,
    /// Country by ISO 3166-1 alpha-2, where a database was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Autonomous system, such as `AS64500 Example Net`, where a database was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The prefix that the database has the address in as one of that network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Prefix>)]
    pub network_prefix: Option<IpNet>,
}
