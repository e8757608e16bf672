//! Nouns for tests.

use super::{
    Action, ActionKind, ActionStatus, Alert, Decision, DecisionStatus, Detector, Evidence, EvidenceClass, Family,
    Investigation, InvestigationId, InvestigationState, Ktime, Mint, Origin, Risk, RiskPart, Service, Severity, Terms,
    Timestamp,
};
use std::time::Duration;

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

/// A scan by 203.0.113.7.
pub(crate) fn alert(mint: &mut Mint, at: Timestamp) -> Alert {
    Alert {
        id: mint.alert(at),
        at,
        evidence_at: Ktime(1_000),
        source: Some("203.0.113.7".parse().unwrap()),
        targets: vec![Service {
            ip: "198.51.100.10".parse().unwrap(),
            port: 22,
            proto: 6,
        }],
        detector: Detector::PortScan,
        family: Family::Scan,
        technique: "syn vertical".into(),
        score: 0.75,
        severity: Severity::Medium,
        class: EvidenceClass::Behaviour,
        evidence: vec![Evidence {
            name: "distinct_ports".into(),
            value: 41.0,
            threshold: 15.0,
            unit: "ports/60s".into(),
        }],
        summary: "203.0.113.7 probed 41 ports of 198.51.100.10 within 60 s, the limit is 15".into(),
        sensor: "xdp".into(),
        standing: None,
        former: None,
        explanation: None,
    }
}

/// A block of an alert's source, in force for four hours.
pub(crate) fn decision(mint: &mut Mint, of: &Alert, at: Timestamp) -> Decision {
    Decision {
        id: mint.decision(at),
        at,
        target: of.source.unwrap().into(),
        action: ActionKind::BlockIp,
        terms: Terms::default(),
        expires_at: Some(at.after(Duration::from_hours(4))),
        until_if_confirmed: None,
        simulated: false,
        origin: Origin::Detector,
        actor: of.detector.as_str().into(),
        reason: of.summary.clone(),
        alert: Some(of.id),
        severity: Some(of.severity),
        risk: None,
        basis: None,
        checks: Vec::new(),
        collateral: None,
        investigation: None,
        status: DecisionStatus::Active,
        veto: None,
        ended_at: None,
    }
}

/// What carries a decision out, read back.
pub(crate) fn action(mint: &mut Mint, of: &Decision) -> Action {
    Action {
        id: mint.action(of.at),
        decision: of.id,
        kind: of.action,
        target: of.target,
        status: ActionStatus::Enforced,
        intent_at: of.at,
        entered_at: Some(of.at.after(Duration::from_millis(3))),
        outcome_at: Some(of.at.after(Duration::from_millis(3))),
        expires_at: of.expires_at,
        outcome: "read back from xdp (native)".into(),
        hits: 11,
        would_hits: 2,
    }
}
