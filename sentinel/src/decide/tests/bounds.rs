//! What bounds the judge: proof, history, confidence, policies, returns, prefixes, ceilings.

use super::*;
use crate::types::{Check, CheckVerdict, Peers, Standing};
use std::sync::Arc;

fn by(detector: Detector, standing: impl Into<Option<Standing>>) -> Alert {
    Alert {
        detector,
        standing: standing.into(),
        ..alert("192.0.2.1", Severity::High, 0)
    }
}

const fn proven(good_sessions: u32, minutes: u64) -> Standing {
    Standing {
        proven: true,
        good_sessions,
        good_for_ms: minutes * 60_000,
        connected: false,
    }
}

/// A newcomer whose connection stands.
const CONNECTED: Standing = Standing {
    connected: true,
    ..proven(0, 0)
};

fn softened(decision: &Decision) -> Vec<&str> {
    let soft = |c: &&Check| c.verdict == CheckVerdict::Softened;
    decision.checks.iter().filter(soft).map(|c| c.guard.as_str()).collect()
}

#[test]
fn an_address_that_may_be_forged_is_limited_for_a_short_time() {
    let unproven = Config::default().response.policy.unproven;
    for (what, detector, standing, corroborated, guard) in [
        ("nothing is known", Detector::PortScan, None, 0, Some("return_path")),
        (
            "no handshake",
            Detector::PacketFlood,
            Some(Standing::default()),
            0,
            Some("return_path"),
        ),
        (
            "the kernel saw it",
            Detector::Reflex,
            Some(Standing::default()),
            0,
            Some("return_path"),
        ),
        (
            "a good peer",
            Detector::PortScan,
            Some(proven(5, 10)),
            0,
            Some("good_history"),
        ),
        (
            "whose connection stands",
            Detector::Reflex,
            Some(CONNECTED),
            0,
            Some("connected"),
        ),
        (
            "whose connection stands and who guesses",
            Detector::BruteForce,
            Some(CONNECTED),
            0,
            None,
        ),
        ("a peer since a moment", Detector::PortScan, Some(proven(5, 9)), 0, None),
        ("a peer of few words", Detector::PortScan, Some(proven(4, 60)), 0, None),
        (
            "a stranger who connects",
            Detector::SynFlood,
            Some(proven(0, 0)),
            0,
            None,
        ),
        ("guesses passwords", Detector::BruteForce, None, 0, None),
        (
            "a good peer guesses",
            Detector::BruteForce,
            Some(proven(50, 600)),
            0,
            None,
        ),
        ("known outside", Detector::PortScan, None, 1, None),
    ] {
        let mut judge = configured(|_| ());
        let risk = risk(Severity::Medium, corroborated);
        let decision = judge.judge(&by(detector, standing), &risk, &guards(), at(0)).unwrap();
        let end = decision.expires_at.unwrap();
        if let Some(guard) = guard {
            assert_eq!(softened(&decision), [guard], "{what}");
            assert_eq!(
                (decision.action, decision.terms.rate),
                (ActionKind::RateLimit, Some(unproven.rate)),
                "{what}"
            );
            assert_eq!(end, at(0).after(unproven.duration), "{what}");
            assert_eq!(
                decision.terms.watch_until, None,
                "{what}: anybody can return in its name"
            );
            assert!(
                decision.reason.contains("spoofing suspected: ") && decision.reason.contains("may be forged"),
                "{}",
                decision.reason
            );
        } else {
            assert_eq!(
                (decision.action, softened(&decision)),
                (ActionKind::BlockIp, vec![]),
                "{what}"
            );
            assert_eq!(end, at(4 * 3600), "{what}");
        }
    }
}

#[test]
fn a_guard_says_that_it_suspects_spoofing_where_anybody_could_have_sent_it() {
    for (source, detector, standing, suspected) in [
        ("10.0.1.1", Detector::PacketFlood, None, true),
        ("10.0.1.1", Detector::SynFlood, Some(proven(9, 60)), true),
        ("10.0.1.1", Detector::SynFlood, Some(proven(0, 0)), true),
        ("10.0.1.1", Detector::BruteForce, None, false),
        ("10.0.2.1", Detector::SynFlood, None, true),
        ("10.0.2.1", Detector::SynFlood, Some(proven(9, 60)), true),
        ("10.0.2.1", Detector::SynFlood, Some(proven(0, 0)), false),
        ("10.0.0.3", Detector::PortScan, Some(proven(0, 0)), true),
        ("10.0.0.3", Detector::BruteForce, None, false),
    ] {
        let seen = Alert {
            source: Some(source.parse().unwrap()),
            ..by(detector, standing)
        };
        let mut protected = guards().protected().to_vec();
        protected.push(Protected {
            target: "10.0.2.1/32".parse().unwrap(),
            guard: "allowlist".into(),
            reason: "of the test".into(),
        });
        let guards = Guards::new(protected);
        let decision = configured(|_| ()).judge_local(&seen, &guards, at(0)).unwrap();
        assert_eq!(decision.status, DecisionStatus::Vetoed, "{source}");
        let said = decision.veto.unwrap().reason;
        assert!(said.contains("of the test"), "{said}");
        assert_eq!(
            said.contains("spoofing suspected"),
            suspected,
            "{source} {detector:?}: {said}"
        );
    }
}

#[test]
fn who_proves_its_address_later_is_blocked_under_the_same_name() {
    let mut judge = configured(|_| ());
    let first = judge
        .judge_local(&by(Detector::PortScan, None), &guards(), at(0))
        .unwrap();
    assert_eq!(first.action, ActionKind::RateLimit);
    let again = judge
        .judge_local(&by(Detector::PortScan, proven(0, 0)), &guards(), at(1))
        .unwrap();
    assert_eq!(
        (again.id, again.action, again.terms.rate),
        (first.id, ActionKind::BlockIp, None)
    );
    assert_eq!(again.expires_at, Some(at(1 + 4 * 3600)));
    assert!(again.terms.watch_until.is_some());
    // What may be forged neither shortens nor softens it, and does not prolong it in its last minute.
    let late = 1 + 4 * 3600 - 60;
    let forged = Alert {
        at: at(late),
        ..by(Detector::PortScan, None)
    };
    assert_eq!(judge.judge_local(&forged, &guards(), at(late)), None);
    assert_eq!(judge.judge_local(&by(Detector::PortScan, None), &guards(), at(2)), None);
}

#[test]
fn thin_evidence_starts_softly_and_a_policy_caps_a_detector() {
    let mut judge = configured(|c| c.policy.confidence = 0.7);
    let known = risk(Severity::High, 0);
    let soft = judge
        .judge(&by(Detector::BruteForce, None), &known, &guards(), at(0))
        .unwrap();
    assert_eq!(
        (soft.action, softened(&soft)),
        (ActionKind::RateLimit, vec!["confidence"])
    );

    let mut judge = configured(|c| {
        c.policy.detectors.brute_force.most = ActionKind::RateLimit;
        c.policy.detectors.brute_force.duration = Duration::from_secs(90);
    });
    let capped = judge
        .judge(&by(Detector::BruteForce, None), &known, &guards(), at(0))
        .unwrap();
    assert_eq!(
        (capped.action, softened(&capped)),
        (ActionKind::RateLimit, vec!["detector_policy"])
    );
    assert_eq!(capped.expires_at, Some(at(90)));

    let met = judge
        .judge(&by(Detector::Feed, None), &risk(Severity::High, 3), &guards(), at(0))
        .unwrap();
    assert_eq!((met.action, met.status), (ActionKind::LogOnly, DecisionStatus::Logged));
}

#[test]
fn each_return_is_answered_longer_until_a_person_releases() {
    let mut judge = configured(|_| ());
    let hours = |judge: &mut Judge, seconds: i64| {
        let alert = alert("192.0.2.1", Severity::High, seconds);
        let decision = judge.judge_local(&alert, &guards(), at(seconds)).unwrap();
        let end = decision.expires_at.unwrap();
        assert_eq!(judge.expire(end).len(), 1);
        (end.0 - at(seconds).0) / SEC / 3600
    };
    let day = 86_400;
    assert_eq!([0, 3, 6, 9].map(|days| hours(&mut judge, days * day)), [4, 8, 16, 32]);
    assert_eq!(hours(&mut judge, 60 * day), 4, "forgotten");
    judge.judge_local(&alert("192.0.2.1", Severity::High, 70 * day), &guards(), at(70 * day));
    judge.delete(&Selector::All, true, at(70 * day));
    assert_eq!(hours(&mut judge, 72 * day), 4, "a person said so");

    let mut next = configured(|_| ());
    next.recall([("192.0.2.1/32".parse().unwrap(), 2, at(0))]);
    assert_eq!(hours(&mut next, day), 16, "told after a restart");
}

#[test]
fn forged_floods_make_nobody_a_returner() {
    let mut judge = configured(|_| ());
    for round in 0..20 {
        let seconds = round * 1000;
        let forged = Alert {
            at: at(seconds),
            ..by(Detector::SynFlood, None)
        };
        let limit = judge.judge_local(&forged, &guards(), at(seconds)).unwrap();
        assert_eq!(limit.expires_at, Some(at(seconds + 300)));
        judge.expire(at(seconds + 301));
    }
}

/// Has `count` addresses of a prefix decided about; the wide decisions that followed.
fn many(judge: &mut Judge, prefix: &str, count: u32, standing: Option<Standing>) -> Vec<Decision> {
    let mut wide = Vec::new();
    for n in 1..=count {
        let alert = Alert {
            standing,
            ..alert(&format!("{prefix}{n:x}"), Severity::High, 0)
        };
        let mut next = judge.judge_local(&alert, &guards(), at(0));
        while let Some(decision) = next {
            next = judge.widen(&decision, None, &guards(), at(0));
            wide.extend(next.clone());
        }
    }
    wide
}

#[test]
fn enough_addresses_of_a_prefix_make_it_one_where_nobody_good_loses_by_it() {
    let stranger = Some(proven(0, 0));
    let mut judge = configured(|c| c.policy.widen.v6_nets = 2);
    assert_eq!(many(&mut judge, "2001:db8:0:1::", 3, stranger), []);
    let wide = many(&mut judge, "2001:db8:0:1::a", 1, stranger);
    let targets: Vec<String> = wide.iter().map(|d| d.target.to_string()).collect();
    assert_eq!(targets, ["2001:db8:0:1::/64"]);
    assert_eq!(
        (wide[0].status, wide[0].action),
        (DecisionStatus::Active, ActionKind::BlockIp)
    );
    assert_eq!(wide[0].collateral, Some(0));
    assert!(
        wide[0]
            .reason
            .starts_with("4 addresses of 2001:db8:0:1::/64 are under decisions"),
        "{}",
        wide[0].reason
    );
    assert_eq!(many(&mut judge, "2001:db8:0:1::b", 9, stranger), [], "covered already");
    let wider = many(&mut judge, "2001:db8:0:2::", 4, stranger);
    let targets: Vec<String> = wider.iter().map(|d| d.target.to_string()).collect();
    assert_eq!(targets, ["2001:db8:0:2::/64", "2001:db8::/56"]);

    let mut judge = configured(|_| ());
    assert_eq!(
        many(&mut judge, "2001:db8::", 200, None),
        [],
        "forged ones do not count"
    );
}

#[test]
fn a_prefix_with_good_peers_is_refused_once_and_counted() {
    let mut judge = configured(|_| ());
    let good: Peers = ["198.51.100.200", "198.51.100.1", "203.0.113.1"]
        .map(|ip| ip.parse::<IpAddr>().unwrap())
        .into_iter()
        .collect();
    judge.set_peers(Arc::new(good));
    let mut wide = Vec::new();
    for n in 1..=30 {
        let alert = alert(&format!("198.51.100.{n}"), Severity::High, 0);
        let decision = judge.judge_local(&alert, &guards(), at(0)).unwrap();
        wide.extend(judge.widen(&decision, None, &guards(), at(0)));
    }
    assert_eq!(wide.len(), 1);
    let veto = wide[0].veto.clone().unwrap();
    assert_eq!(
        (wide[0].status, veto.guard.as_str()),
        (DecisionStatus::Vetoed, "collateral")
    );
    // The one who is under a decision itself has nothing left to lose.
    assert!(veto.reason.starts_with("1 peers"), "{}", veto.reason);
    assert_eq!(judge.len(), 30);
}

#[test]
fn a_person_is_told_whom_a_prefix_costs_and_may_accept_it() {
    let mut judge = configured(|_| ());
    let good: Peers = (0..7u8).map(|n| IpAddr::from([198, 51, 100, n])).collect();
    judge.set_peers(Arc::new(good));
    let refused = judge
        .operator(&wish("198.51.100.0/24", 60), &guards(), at(0))
        .unwrap_err();
    assert!(refused.to_string().contains("`--collateral 7`"), "{refused}");
    let accepted = NewDecision {
        collateral: Some(7),
        ..wish("198.51.100.0/24", 60)
    };
    let decision = judge.operator(&accepted, &guards(), at(0)).unwrap();
    assert_eq!(decision.collateral, Some(7));
    let alone = judge.operator(&wish("198.51.100.3/32", 60), &guards(), at(0)).unwrap();
    assert_eq!(alone.collateral, None);
}

#[test]
fn ceilings_hold_and_say_so() {
    let mut judge = configured(|c| {
        c.policy.ceiling.per_minute = 10;
        c.policy.ceiling.active = 15;
    });
    let mut decide = |n: u32, seconds: i64| {
        let alert = alert(&format!("198.51.{}.{}", n / 250, n % 250 + 1), Severity::High, seconds);
        judge.judge_local(&alert, &guards(), at(seconds)).unwrap()
    };
    let guard = |d: &Decision| d.veto.as_ref().map(|v| v.guard.clone());
    for n in 0..10 {
        assert_eq!(decide(n, 0).status, DecisionStatus::Active);
    }
    assert_eq!(guard(&decide(10, 59)).as_deref(), Some("ceiling_per_minute"));
    assert_eq!(
        decide(3, 59).status,
        DecisionStatus::Active,
        "what is in force is prolonged"
    );
    for n in 20..25 {
        assert_eq!(decide(n, 60).status, DecisionStatus::Active);
    }
    assert_eq!(guard(&decide(30, 61)).as_deref(), Some("ceiling_active"));
    assert_eq!(judge.len(), 15);
}

proptest! {
    /// Whatever the alerts: nothing beyond a rate limit on what may be forged, nothing under a guard, never more than the
    /// ceiling, and everything with an end.
    #[test]
    fn bounds_hold_whatever_comes(
        events in proptest::collection::vec((0u8..60, 0usize..4, 0usize..3, 0u32..8, 0i64..20), 1..200),
        good in proptest::collection::vec(0u8..60, 0..20),
    ) {
        let mut judge = configured(|c| {
            c.policy.ceiling.active = 40;
            c.policy.widen.v4_sources = 8;
        });
        judge.set_peers(Arc::new(good.iter().map(|n| IpAddr::from([192, 0, 2, *n])).collect()));
        let mut now = 0;
        for (host, detector, severity, sessions, pause) in events {
            now += pause;
            let detector = [Detector::PortScan, Detector::SynFlood, Detector::BruteForce, Detector::Reflex][detector];
            let standing = (sessions > 0).then(|| Standing {
                proven: sessions > 1,
                good_sessions: sessions,
                good_for_ms: u64::from(sessions) * 200_000,
                connected: sessions % 3 == 2,
            });
            let severity = [Severity::Low, Severity::Medium, Severity::High][severity];
            let alert = Alert { detector, standing, ..alert(&format!("192.0.2.{host}"), severity, now) };
            let mut next = judge.judge_local(&alert, &guards(), at(now));
            while let Some(decision) = next {
                if decision.status == DecisionStatus::Active {
                    prop_assert!(decision.expires_at.is_some());
                    prop_assert!(guards().check(decision.target).is_ok());
                    let wide = decision.target.prefix_len() < 32;
                    prop_assert!(!wide || decision.collateral == Some(0));
                }
                next = judge.widen(&decision, None, &guards(), at(now));
            }
            judge.expire(at(now));
            prop_assert!(judge.len() <= 40);
        }
    }
}
