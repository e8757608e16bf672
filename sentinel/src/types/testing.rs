//! Nouns for tests.

use super::{Alert, Investigation, InvestigationId, InvestigationState, Risk, RiskPart, Severity};

/// A risk of that level with one part.
pub(crate) fn risk(level: Severity, corroborated_by: u32) -> Risk {
    Risk {
        score: 0.75,
        log_odds: 1.1,
        confidence: 0.6,
        level,
        corroborated_by,
        local_only: corroborated_by == 0,
        contradictions: Vec::new(),
        parts: vec![RiskPart {
            name: "port_scan".to_owned(),
            says: 0.75,
            log_odds: 1.1,
            sentence: "port_scan says 0.75".to_owned(),
        }],
        summary: format!("{} risk", level.as_str()),
    }
}

/// What is known of an alert's source.
pub(crate) fn investigation(alert: &Alert, level: Severity, corroborated_by: u32) -> Investigation {
    Investigation {
        id: InvestigationId(uuid::Uuid::from_u128(alert.id.0.as_u128() ^ 1)),
        alert: alert.id,
        ip: alert.source.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
        at: alert.at,
        updated_at: alert.at,
        state: InvestigationState::Open,
        severity: alert.severity,
        answers: Vec::new(),
        risk: risk(level, corroborated_by),
        revisions: 0,
        country: None,
        network: None,
        network_prefix: None,
    }
}
