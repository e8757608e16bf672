//! How CrowdSec writes decisions: <https://crowdsecurity.github.io/api_doc/lapi/>.

use super::told::{kind, origin};
use crate::types::{DecisionId, Numbered, Origin, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A decision as CrowdSec tells it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CrowdsecDecision)]
pub(in crate::api) struct DecisionDto {
    /// What is left of it, as Go writes durations: `3h59m58.1s`; below zero where it is over.
    #[schema(examples("3h59m58.1s"))]
    duration: String,
    /// Its number; it stays the same.
    id: i64,
    /// `crowdsec` for what a detector wanted, `cscli` for what a person did.
    origin: &'static str,
    /// `sentinel/` and the detector; a person's reason.
    scenario: String,
    /// `Ip` or `Range`.
    scope: &'static str,
    /// It only counts; told only where `simulated=true` asks for such.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    /// `ban`, `throttle` (a rate limit) or `redirect` (to a honeypot).
    r#type: &'static str,
    /// The name it has everywhere else.
    uuid: DecisionId,
    /// Address or prefix.
    value: String,
}

/// What changed since a bouncer last asked, or at its start what is in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CrowdsecStream)]
pub(in crate::api) struct StreamDto {
    /// No longer in force; to be taken in first.
    pub(super) deleted: Vec<DecisionDto>,
    /// In force.
    pub(super) new: Vec<DecisionDto>,
}

/// Those that match; `null` where none does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CrowdsecDecisions)]
pub(in crate::api) struct DecisionsDto(pub(super) Option<Vec<DecisionDto>>);

impl DecisionDto {
    /// As it is at `now`.
    pub(super) fn of(one: &Numbered, now: Timestamp) -> Self {
        let decision = &one.decision;
        let end = decision.ended_at.or(decision.expires_at).unwrap_or(now);
        let (scope, value) = if decision.is_wide() {
            ("Range", decision.target.to_string())
        } else {
            ("Ip", decision.target.addr().to_string())
        };
        let scenario = match decision.origin {
            Origin::Detector => format!("sentinel/{}", decision.actor),
            Origin::Operator => decision.reason.clone(),
            Origin::Fleet => "sentinel/fleet".to_owned(),
        };
        Self {
            duration: go(end.0.saturating_sub(now.0)),
            id: one.number,
            origin: origin(decision),
            scenario,
            scope,
            simulated: decision.simulated,
            r#type: kind(decision).unwrap_or("ban"),
            uuid: decision.id,
            value,
        }
    }

    /// What filters of scenarios look into.
    pub(super) fn scenario(one: &Numbered) -> String {
        Self::of(one, Timestamp(0)).scenario
    }
}

/// A duration as Go writes it, down to the millisecond. Below a second Go changes the unit, which not every bouncer reads.
fn go(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let millis = nanos.unsigned_abs() / 1_000_000;
    let (seconds, rest) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!(".{rest:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}{fraction}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}{fraction}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        const S: i64 = 1_000_000_000;
        for (nanos, text) in [
            (0, "0s"),
            (123_456_789, "0.123s"),
            (S, "1s"),
            (59 * S + 100_000_000, "59.1s"),
            (60 * S, "1m0s"),
            (4 * 3600 * S - S - 900_000_000, "3h59m58.1s"),
            (30 * 24 * 3600 * S, "720h0m0s"),
            (-90 * S, "-1m30s"),
            (i64::MIN, "-2562047h47m16.854s"),
        ] {
            assert_eq!(go(nanos), text);
        }
    }
}
