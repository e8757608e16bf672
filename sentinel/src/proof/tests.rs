//! Every judgement can be come to again, and none that was changed.

use super::*;
use crate::config::{Config, Mode};
use crate::decide::{Guards, Judge, Revision};
use crate::investigate::{Local, Weigh, Weigher};
use crate::types::{
    Alert, AlertId, Answer, ContainerSet, DecisionStatus, Detector, EvidenceClass, Family, Indicator, IntelVerdict,
    Ktime, Mint, Protected, Selector, Severity, Standing, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

const SEC: i64 = 1_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp((1_000_000 + seconds) * SEC)
}

fn alert(n: u128, source: &str, detector: Detector, score: f64, proven: bool, seconds: i64) -> Alert {
    let mut alert = Alert {
        id: AlertId(uuid::Uuid::from_u128(n)),
        at: at(seconds),
        evidence_at: Ktime(0),
        source: source.parse().ok(),
        targets: Vec::new(),
        detector,
        family: Family::Scan,
        technique: "test".into(),
        score,
        severity: Severity::Low,
        class: EvidenceClass::Behaviour,
        evidence: Vec::new(),
        summary: format!("{source} did it"),
        sensor: "test".into(),
        standing: Some(Standing {
            proven,
            ..Standing::default()
        }),
        former: None,
        explanation: None,
    };
    alert.severity = crate::detect::severity_of(&alert, &Config::default().severity_thresholds).unwrap();
    alert
}

fn weigher() -> Weigher {
    let weigh = |group: &str| Weigh {
        weight: 0.8,
        group: group.into(),
    };
    [
        ("abuseipdb".to_owned(), weigh("abuseipdb")),
        ("greynoise".to_owned(), weigh("greynoise")),
    ]
    .into()
}

fn answers(ip: IpAddr, bad: usize) -> Vec<Answer> {
    let answer = |source: &str| {
        let mut indicator = Indicator::new(source, ip, at(0));
        indicator.judge(IntelVerdict::Malicious, 0.97, 0.9);
        indicator.last_seen = Some(at(-100));
        Answer {
            source: source.to_owned(),
            indicator: Some(indicator),
            result: "fresh".into(),
            reason: String::new(),
            took_ms: 7,
        }
    };
    ["abuseipdb", "greynoise"].into_iter().take(bad).map(answer).collect()
}

fn guards() -> Guards {
    Guards::new(vec![Protected {
        target: "192.0.2.7/32".parse().unwrap(),
        guard: "gateway".into(),
        reason: "of the test".into(),
    }])
}

/// Judges an alert, or again with what is known by now, and bundles it.
fn judged(judge: &mut Judge, alert: &Alert, bad: usize, revised: bool, now: Timestamp) -> Option<Bundle> {
    let thresholds = Config::default().risk_thresholds;
    let answers = answers(alert.source.unwrap(), bad);
    let weighed = Weighed::new(&[Local::of(alert)], &answers, &weigher(), &thresholds, now);
    let before = judge.before(alert, None, now);
    let outcome = if revised {
        match judge.revise(alert, &weighed.risk, &guards(), now)? {
            Revision::Changed(decision) | Revision::Lifted(decision) => decision,
        }
    } else {
        judge.judge(alert, &weighed.risk, &guards(), now)?
    };
    let ground = judge.ground(&guards());
    let (_, digest) = written(&ground).unwrap();
    Some(Bundle {
        ground_sha256: hex(&digest),
        ground,
        proof: Proof {
            version: VERSION,
            severity_thresholds: Config::default().severity_thresholds,
            judged: Judged {
                at: now,
                alert: alert.clone(),
                risk: Some(weighed.risk.clone()),
                former: None,
                revised,
                before,
                outcome,
            },
            weighed: Some(weighed),
            widened: Vec::new(),
        },
    })
}

fn judge() -> Judge {
    let mut config = Config::default().response;
    config.policy.ceiling.per_minute = 12;
    let mut judge = Judge::new(&config, Mode::Production, Mint::Random);
    let owner = ("192.0.2.3".parse().unwrap(), Vec::new());
    judge.set_containers(Some(Arc::new(ContainerSet {
        fault: None,
        owners: [owner].into(),
    })));
    judge
}

/// Whether it verifies once it went through text, as on another machine.
fn holds(text: &str) -> Result<(), String> {
    let bundle = Bundle::read(text)?;
    let wrong: Vec<_> = bundle.verify(None, None).into_iter().filter(|step| !step.ok).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{wrong:?}"))
    }
}

proptest! {
    #[test]
    fn every_judgement_can_be_come_to_again(
        events in proptest::collection::vec(
            (0u8..9, 0usize..4, 0.3f64..1.0, any::<bool>(), 0usize..3, any::<bool>(), 0i64..4000),
            1..60,
        ),
    ) {
        let mut judge = judge();
        let (mut now, mut known) = (0, Vec::new());
        for (n, (host, detector, score, proven, bad, again, pause)) in events.into_iter().enumerate() {
            now += pause;
            judge.expire(at(now));
            if host == 8 {
                judge.delete(&Selector::All, false, at(now));
                continue;
            }
            let detector = [Detector::PortScan, Detector::BruteForce, Detector::SynFlood, Detector::Beacon][detector];
            let (seen, revised) = match known.last() {
                Some(last) if again => (Alert::clone(last), true),
                _ => (alert(n as u128, &format!("192.0.2.{host}"), detector, score, proven, now), false),
            };
            if let Some(bundle) = judged(&mut judge, &seen, bad, revised, at(now)) {
                let text = serde_json::to_string(&bundle).unwrap();
                prop_assert_eq!(holds(&text), Ok(()));
            }
            known.push(seen);
        }
    }
}

#[test]
fn what_was_changed_is_found() {
    let mut judge = judge();
    let first = alert(1, "192.0.2.1", Detector::PortScan, 0.9, true, 0);
    judged(&mut judge, &first, 0, false, at(0)).unwrap();
    let second = alert(2, "192.0.2.1", Detector::BruteForce, 0.9, true, 100);
    let bundle = judged(&mut judge, &second, 2, false, at(100)).unwrap();
    assert_eq!(bundle.decision().status, DecisionStatus::Active);
    let good = serde_json::to_value(&bundle).unwrap();
    assert_eq!(holds(&good.to_string()), Ok(()));
    let far = json!("2040-01-01T00:00:00Z");
    for (place, other) in [
        ("/ground/mode", json!("simulation")),
        ("/ground/response/duration/secs", json!(60)),
        ("/ground/response/matrix/2/2", json!("log_only")),
        ("/ground/protected", json!([])),
        ("/ground_sha256", json!("00")),
        ("/proof/severity_thresholds/high", json!(0.95)),
        ("/proof/weighed/local/0/score", json!(0.5)),
        ("/proof/weighed/answers/0/indicator/score", json!(0.1)),
        ("/proof/weighed/answers/1/indicator/verdict", json!("benign")),
        ("/proof/weighed/weights/abuseipdb/weight", json!(0.1)),
        ("/proof/weighed/thresholds/high", json!(0.999)),
        ("/proof/weighed/risk/corroborated_by", json!(0)),
        ("/proof/judged/at", far.clone()),
        ("/proof/judged/alert/score", json!(0.1)),
        ("/proof/judged/alert/severity", json!("low")),
        ("/proof/judged/alert/summary", json!("another story")),
        ("/proof/judged/before/covering", json!([])),
        ("/proof/judged/outcome/action", json!("log_only")),
        ("/proof/judged/outcome/target", json!("192.0.2.9/32")),
        ("/proof/judged/outcome/expires_at", far),
        ("/proof/judged/outcome/reason", json!("because")),
        ("/proof/judged/outcome/actor", json!("model")),
        ("/proof/judged/outcome/checks/0/reason", json!("nothing")),
        ("/proof/version", json!(VERSION + 1)),
    ] {
        let mut bad: Value = good.clone();
        let spot = bad.pointer_mut(place).unwrap_or_else(|| panic!("{place}"));
        assert_ne!(*spot, other, "{place}");
        *spot = other;
        assert!(holds(&bad.to_string()).is_err(), "{place} can be changed");
    }
    for broken in ["", "{}", "[]", &good.to_string()[..good.to_string().len() / 2]] {
        assert!(holds(broken).is_err());
    }
}

#[test]
fn what_is_told_is_what_was_decided() {
    let mut judge = judge();
    let seen = alert(1, "192.0.2.1", Detector::BruteForce, 0.9, true, 0);
    let bundle = judged(&mut judge, &seen, 0, false, at(0)).unwrap();
    let mut told = bundle.decision().clone();
    (told.status, told.ended_at) = (DecisionStatus::Expired, told.expires_at);
    assert!(bundle.verify(Some(&told), None).iter().all(|step| step.ok));
    told.target = "192.0.2.2/32".parse().unwrap();
    assert!(
        bundle
            .verify(Some(&told), None)
            .iter()
            .any(|step| step.what == "told" && !step.ok)
    );
}

/// Judges attackers of one /24 until it is decided about, and bundles that.
fn widened(judge: &mut Judge) -> Bundle {
    for n in 1..=64 {
        // Slowly enough for the ceiling.
        let second = 10 * n as i64;
        let seen = alert(n, &format!("198.51.100.{n}"), Detector::BruteForce, 0.9, true, second);
        let now = at(second);
        let Some(mut bundle) = judged(judge, &seen, 2, false, now) else {
            continue;
        };
        if let Some(step) = judge.widened(&bundle.proof.judged.outcome, None, &guards(), now) {
            assert!(step.can_be_kept());
            bundle.proof.widened.push(step);
            return bundle;
        }
    }
    panic!("no prefix was decided about");
}

#[test]
fn a_decision_about_a_prefix_can_be_come_to_again_with_all_it_followed_from() {
    for peers in [
        Vec::new(),
        (200u8..240).map(|n| IpAddr::from([198, 51, 100, n])).collect(),
    ] {
        let mut judge = judge();
        judge.set_peers(Arc::new(peers.iter().copied().collect()));
        let bundle = widened(&mut judge);
        let decision = bundle.decision().clone();
        assert_eq!(decision.target.to_string(), "198.51.100.0/24");
        let expected = if peers.is_empty() {
            DecisionStatus::Active
        } else {
            DecisionStatus::Vetoed
        };
        assert_eq!(decision.status, expected);
        let good = serde_json::to_value(&bundle).unwrap();
        assert_eq!(holds(&good.to_string()), Ok(()));
        let told = bundle.verify(Some(&decision), None);
        assert!(
            told.iter().any(|step| step.what == "prefix") && told.iter().all(|step| step.ok),
            "{told:?}"
        );
        for (place, other) in [
            ("/proof/widened/0/about", json!([])),
            ("/proof/widened/0/at", json!("2040-01-01T00:00:00Z")),
            ("/proof/widened/0/cause/action", json!("log_only")),
            ("/proof/widened/0/peers", json!(["198.51.100.250"])),
            ("/proof/widened/0/outcome/target", json!("198.51.0.0/16")),
            ("/proof/widened/0/outcome/reason", json!("because")),
            ("/proof/widened/0/outcome/collateral", json!(7)),
            ("/proof/judged/outcome/reason", json!("because")),
            ("/ground/response/policy/widen/v4_sources", json!(255)),
        ] {
            let mut bad: Value = good.clone();
            let spot = bad.pointer_mut(place).unwrap_or_else(|| panic!("{place}"));
            assert_ne!(*spot, other, "{place}");
            *spot = other;
            assert!(holds(&bad.to_string()).is_err(), "{place} can be changed");
        }
    }
}

#[test]
fn a_return_on_probation_can_be_come_to_again() {
    let mut config = Config::default().response;
    config.reapply = std::time::Duration::from_mins(1);
    let mut judge = Judge::new(&config, Mode::Production, Mint::Random);
    let seen = alert(1, "203.0.113.9", Detector::BruteForce, 0.9, true, 0);
    let first = judged(&mut judge, &seen, 2, false, at(0)).unwrap();
    let end = first.decision().expires_at.unwrap();
    let former = judge.expire(end).remove(0);
    let back = Alert {
        detector: Detector::Probation,
        former: Some(former.id),
        ..alert(2, "203.0.113.9", Detector::Probation, 1.0, true, 0)
    };
    let now = Timestamp(end.0 + 5 * SEC);
    let before = judge.before(&back, Some(&former), now);
    let outcome = judge.returned(&back, &former, &guards(), now).unwrap();
    let ground = judge.ground(&guards());
    let (_, digest) = written(&ground).unwrap();
    let bundle = Bundle {
        ground_sha256: hex(&digest),
        ground,
        proof: Proof {
            version: VERSION,
            severity_thresholds: Config::default().severity_thresholds,
            weighed: None,
            judged: Judged {
                at: now,
                alert: back,
                risk: None,
                former: Some(former),
                revised: false,
                before,
                outcome,
            },
            widened: Vec::new(),
        },
    };
    assert!(
        bundle.decision().reason.contains("return"),
        "{}",
        bundle.decision().reason
    );
    let good = serde_json::to_value(&bundle).unwrap();
    assert_eq!(holds(&good.to_string()), Ok(()));
    for (place, other) in [
        ("/proof/judged/former/expires_at", json!("2030-01-01T00:00:00Z")),
        ("/proof/judged/former/reason", json!("because")),
        ("/proof/judged/before/returns", json!(9)),
        ("/proof/judged/outcome/expires_at", json!("2040-01-01T00:00:00Z")),
    ] {
        let mut bad: Value = good.clone();
        *bad.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = other;
        let held = holds(&bad.to_string());
        // How long a detector's decision was in force says nothing about the next.
        assert_eq!(held.is_ok(), place.ends_with("former/expires_at"), "{place}: {held:?}");
    }
}
