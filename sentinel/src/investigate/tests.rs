//! The sum, and what it must never do.

use super::*;
use crate::config::{Config, SeverityThresholds};
use crate::types::{
    Alert, AlertId, Detector, EvidenceClass, Family, Indicator, IntelVerdict, Ktime, Risk, Severity, Timestamp,
};
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

fn thresholds() -> SeverityThresholds {
    Config::default().risk_thresholds
}

fn weigher() -> Weigher {
    let of = |weight, group: &str| Weigh {
        weight,
        group: group.to_owned(),
    };
    [
        ("abuseipdb", of(0.8, "reports")),
        ("feed:blocklist_de", of(0.6, "reports")),
        ("greynoise", of(0.8, "scanners")),
        ("virustotal", of(0.8, "engines")),
    ]
    .into_iter()
    .map(|(name, weigh)| (name.to_owned(), weigh))
    .collect()
}

fn seen(class: EvidenceClass, score: f64) -> Local {
    Local {
        detector: Detector::PortScan,
        class,
        score,
        probability: None,
        at: Ktime(0),
    }
}

fn says(source: &str, verdict: IntelVerdict, score: f64, confidence: f64) -> Indicator {
    let mut indicator = Indicator::new(source, IpAddr::from([203, 0, 113, 9]), NOW);
    indicator.judge(verdict, score, confidence);
    indicator
}

fn fuse(local: &[Local], indicators: &[Indicator]) -> Risk {
    let indicators: Vec<&Indicator> = indicators.iter().collect();
    risk(local, &indicators, &weigher(), &thresholds(), NOW)
}

#[test]
fn behaviour_alone_acts_as_it_did_and_says_that_it_stands_alone() {
    for (score, level) in [(0.5, Severity::Medium), (0.8, Severity::High), (1.0, Severity::High)] {
        let risk = fuse(&[seen(EvidenceClass::Behaviour, score)], &[]);
        assert_eq!(
            (risk.level, risk.local_only, risk.corroborated_by),
            (level, true, 0),
            "{risk:?}"
        );
        assert!(risk.summary.ends_with("local evidence only"), "{}", risk.summary);
    }
    let odd = fuse(&[seen(EvidenceClass::Statistical, 1.0)], &[]);
    assert!(odd.level < Severity::High, "{odd:?}");
}

#[test]
fn never_heard_of_is_not_benign() {
    let alone = fuse(&[seen(EvidenceClass::Behaviour, 0.5)], &[]);
    let unknown = fuse(
        &[seen(EvidenceClass::Behaviour, 0.5)],
        &[says("abuseipdb", IntelVerdict::Unknown, 0.5, 0.0)],
    );
    assert!((alone.log_odds - unknown.log_odds).abs() < 1e-12);
    assert!(unknown.local_only);
    let benign = fuse(
        &[seen(EvidenceClass::Behaviour, 0.5)],
        &[says("greynoise", IntelVerdict::Benign, 0.0, 0.9)],
    );
    assert!(benign.log_odds < alone.log_odds && !benign.local_only);
}

#[test]
fn a_second_voice_from_the_same_well_counts_half_and_corroborates_nothing() {
    let here = [seen(EvidenceClass::Behaviour, 0.5)];
    let one = says("abuseipdb", IntelVerdict::Malicious, 1.0, 0.9);
    let copy = says("feed:blocklist_de", IntelVerdict::Malicious, 1.0, 0.9);
    let other = says("virustotal", IntelVerdict::Malicious, 1.0, 0.9);
    let single = fuse(&here, std::slice::from_ref(&one));
    let copied = fuse(&here, &[one.clone(), copy]);
    let independent = fuse(&here, &[one, other]);
    assert_eq!(
        (
            single.corroborated_by,
            copied.corroborated_by,
            independent.corroborated_by
        ),
        (1, 1, 2)
    );
    assert!(copied.log_odds < independent.log_odds && copied.log_odds > single.log_odds);
}

#[test]
fn a_shared_service_pulls_down_and_the_contradiction_is_said() {
    let mut riot = says("greynoise", IntelVerdict::Benign, 0.0, 1.0);
    riot.spare = true;
    let risk = fuse(&[seen(EvidenceClass::Behaviour, 0.9)], &[riot]);
    assert_eq!(risk.level, Severity::Low, "{risk:?}");
    assert_eq!(risk.contradictions, ["greynoise says 0.02, port_scan says 0.93"]);
    assert_eq!(risk.corroborated_by, 0);
}

#[test]
fn old_news_counts_for_less() {
    let mut old = says("abuseipdb", IntelVerdict::Malicious, 1.0, 0.9);
    let fresh = fuse(&[seen(EvidenceClass::Behaviour, 0.5)], std::slice::from_ref(&old));
    old.last_seen = Some(Timestamp(NOW.0 - Duration::from_hours(90 * 24).as_nanos() as i64));
    let stale = fuse(&[seen(EvidenceClass::Behaviour, 0.5)], std::slice::from_ref(&old));
    assert!(stale.log_odds < fresh.log_odds);
    assert_eq!((fresh.corroborated_by, stale.corroborated_by), (1, 0));
}

#[test]
fn a_source_without_weight_says_nothing() {
    let told = fuse(
        &[seen(EvidenceClass::Behaviour, 0.5)],
        &[says("threatcrowd", IntelVerdict::Malicious, 1.0, 1.0)],
    );
    assert!(told.local_only && told.corroborated_by == 0 && told.parts.len() == 1);
}

#[test]
fn what_several_detectors_say_of_one_source_is_weighed_together_and_forgotten() {
    let mut recent = Recent::default();
    let alert = |detector, seconds: u64| Alert {
        id: AlertId(uuid::Uuid::nil()),
        at: NOW,
        evidence_at: Ktime(seconds * 1_000_000_000),
        source: Some(IpAddr::from([203, 0, 113, 9])),
        targets: Vec::new(),
        detector,
        family: Family::Scan,
        technique: "syn vertical".into(),
        score: 0.6,
        severity: Severity::Medium,
        class: EvidenceClass::Behaviour,
        evidence: Vec::new(),
        summary: "it scanned".into(),
        sensor: "test".into(),
        standing: None,
        former: None,
        explanation: None,
    };
    assert_eq!(recent.take(&alert(Detector::PortScan, 0)).len(), 1);
    assert_eq!(
        recent.take(&alert(Detector::PortScan, 1)).len(),
        1,
        "its newest word only"
    );
    let both = recent.take(&alert(Detector::BruteForce, 2));
    assert_eq!((both.len(), both[0].detector), (2, Detector::BruteForce));
    assert_eq!(recent.take(&alert(Detector::Model, 700)).len(), 1, "ten minutes later");
}

proptest! {
    #[test]
    fn parts_sum_to_the_risk_and_nothing_leaves_its_bounds(
        local in proptest::collection::vec((any::<bool>(), 0.0..=1.0_f64, proptest::option::of(0.0..=1.0_f64)), 1..6),
        told in proptest::collection::vec(
            (0..5_usize, 0..4_usize, -1.0..=2.0_f64, -1.0..=2.0_f64, any::<bool>(), any::<i64>()), 0..8),
    ) {
        let local: Vec<Local> = local.into_iter().map(|(behaviour, score, probability)| Local {
            probability,
            ..seen(if behaviour { EvidenceClass::Behaviour } else { EvidenceClass::Statistical }, score)
        }).collect();
        let names = ["abuseipdb", "feed:blocklist_de", "greynoise", "virustotal", "nobody"];
        let verdicts = [IntelVerdict::Benign, IntelVerdict::Unknown, IntelVerdict::Suspicious, IntelVerdict::Malicious];
        let told: Vec<Indicator> = told.into_iter().map(|(name, verdict, score, confidence, spare, seen)| {
            let mut indicator = says(names[name], verdicts[verdict], score, confidence);
            indicator.spare = spare;
            indicator.last_seen = Some(Timestamp(seen));
            indicator
        }).collect();
        let risk = fuse(&local, &told);
        let sum: f64 = risk.parts.iter().map(|part| part.log_odds).sum();
        prop_assert!((sum - risk.log_odds).abs() < 1e-9);
        prop_assert!((0.0..=1.0).contains(&risk.score) && (0.0..=1.0).contains(&risk.confidence));
        prop_assert!(risk.corroborated_by <= 3);
        // The order in which answers came in changes nothing.
        let mut turned = told.clone();
        turned.reverse();
        let again = fuse(&local, &turned);
        prop_assert!((again.log_odds - risk.log_odds).abs() < 1e-9);
        prop_assert_eq!(again.level, risk.level);
    }
}
