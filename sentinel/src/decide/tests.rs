//! The judge against a model, and against whatever anybody may ask of it.

use super::*;
use crate::config::{Config, Matrix};
use crate::decide::Revision;
use crate::types::testing::risk;
use crate::types::{AlertId, Detector, Family, Ktime, Severity};
use crate::types::{Basis, CommandError, EvidenceClass, NewDecision, Protected, Selector};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

#[path = "tests/bounds.rs"]
mod bounds;
#[path = "tests/confirm.rs"]
mod confirm;

const SEC: i64 = 1_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp((1_000_000 + seconds) * SEC)
}

fn alert(source: &str, severity: Severity, seconds: i64) -> Alert {
    Alert {
        id: AlertId(uuid::Uuid::nil()),
        at: at(seconds),
        evidence_at: Ktime(0),
        source: source.parse().ok(),
        targets: Vec::new(),
        detector: Detector::PortScan,
        family: Family::Scan,
        technique: "syn vertical".into(),
        score: 0.6,
        severity,
        class: EvidenceClass::Behaviour,
        evidence: Vec::new(),
        summary: "it scanned".into(),
        sensor: "test".into(),
        standing: Some(crate::types::Standing {
            proven: true,
            ..crate::types::Standing::default()
        }),
        former: None,
        explanation: None,
    }
}

impl Judge {
    /// As where nobody outside is asked.
    fn judge_local(&mut self, alert: &Alert, guards: &Guards, now: Timestamp) -> Option<Decision> {
        self.judge(alert, &risk(alert.severity, 0), guards, now)
    }
}

fn wish(target: &str, seconds: u64) -> NewDecision {
    NewDecision {
        target: target.parse().unwrap(),
        action: ActionKind::BlockIp,
        rate: None,
        egress: None,
        collateral: None,
        duration: Duration::from_secs(seconds),
        reason: "because".into(),
        actor: "ann".into(),
    }
}

fn judge(mode: Mode) -> Judge {
    Judge::new(&Config::default().response, mode, Mint::Counted(0))
}

fn guards() -> Guards {
    let net = |text: &str, guard: &str| Protected {
        target: text.parse().unwrap(),
        guard: guard.into(),
        reason: "of the test".into(),
    };
    Guards::new(vec![net("10.0.0.0/28", "own_address"), net("10.0.1.1/32", "gateway")])
}

#[test]
fn an_alert_becomes_a_block_with_an_end() {
    for (mode, simulated) in [(Mode::Simulation, true), (Mode::Production, false)] {
        let d = judge(mode)
            .judge_local(&alert("192.0.2.1", Severity::Medium, 0), &guards(), at(0))
            .unwrap();
        assert_eq!(
            (d.status, d.action, d.simulated),
            (DecisionStatus::Active, ActionKind::BlockIp, simulated)
        );
        assert_eq!(d.target, "192.0.2.1/32".parse::<IpNet>().unwrap());
        assert_eq!(d.expires_at, Some(at(4 * 3600)));
        assert_eq!(d.origin, Origin::Detector);
    }
}

#[test]
fn what_must_not_act_does_not() {
    let mut judge = judge(Mode::Production);
    let mut decide = |alert: Alert| judge.judge_local(&alert, &guards(), at(0));
    let low = decide(alert("192.0.2.1", Severity::Low, 0)).unwrap();
    assert_eq!(
        (low.status, low.action, low.expires_at),
        (DecisionStatus::Logged, ActionKind::LogOnly, None)
    );
    let statistical = decide(Alert {
        class: EvidenceClass::Statistical,
        ..alert("192.0.2.1", Severity::High, 0)
    });
    assert_eq!(statistical.unwrap().status, DecisionStatus::Logged);
    let own = decide(alert("10.0.0.3", Severity::High, 0)).unwrap();
    assert_eq!(
        (own.status, own.veto.unwrap().guard.as_str()),
        (DecisionStatus::Vetoed, "own_address")
    );
    assert_eq!(
        decide(Alert {
            source: None,
            ..alert("192.0.2.1", Severity::High, 0)
        }),
        None
    );
    assert_eq!(judge.active().count(), 0);
}

#[test]
fn a_repetition_extends_under_the_same_name_and_never_shortens() {
    let mut judge = judge(Mode::Production);
    let first = judge
        .judge_local(&alert("192.0.2.1", Severity::Medium, 0), &guards(), at(0))
        .unwrap();
    assert_eq!(
        judge.judge_local(&alert("192.0.2.1", Severity::High, 1), &guards(), at(1)),
        None,
        "as good already"
    );
    let longer = judge
        .judge_local(&alert("192.0.2.1", Severity::High, 60), &guards(), at(60))
        .unwrap();
    assert_eq!(
        (longer.id, longer.at, longer.expires_at),
        (first.id, first.at, Some(at(60 + 4 * 3600)))
    );
    assert_eq!(longer.severity, Some(Severity::High));
    let person = judge
        .operator(&wish("192.0.2.0/24", 86_400), &guards(), at(61))
        .unwrap();
    assert_ne!(person.id, first.id);
    judge.confirm(person.id, None, "it does no harm", at(61)).unwrap();
    assert_eq!(
        judge.judge_local(&alert("192.0.2.9", Severity::High, 62), &guards(), at(62)),
        None,
        "the prefix covers it"
    );
    let shorter = judge.operator(&wish("192.0.2.1/32", 60), &guards(), at(70)).unwrap();
    assert_eq!(
        (shorter.id, shorter.expires_at),
        (first.id, Some(at(130))),
        "a person may shorten"
    );
    assert_eq!(judge.expire(at(129)), []);
    let ended = judge.expire(at(130));
    assert_eq!(
        (ended[0].id, ended[0].status, ended[0].ended_at),
        (first.id, DecisionStatus::Expired, Some(at(130)))
    );
}

#[test]
fn whom_a_person_released_is_left_alone_for_a_while() {
    let mut judge = judge(Mode::Production);
    judge
        .judge_local(&alert("192.0.2.1", Severity::High, 0), &guards(), at(0))
        .unwrap();
    let target = Selector::Target("192.0.2.1/32".parse().unwrap());
    let deleted = judge.delete(&target, false, at(10));
    assert_eq!((deleted.len(), deleted[0].status), (1, DecisionStatus::Deleted));
    assert_eq!(judge.delete(&target, false, at(10)), []);
    assert_eq!(
        judge.judge_local(&alert("192.0.2.1", Severity::High, 9), &guards(), at(11)),
        None,
        "old evidence"
    );
    let held = judge
        .judge_local(&alert("192.0.2.1", Severity::High, 12), &guards(), at(12))
        .unwrap();
    assert_eq!(held.status, DecisionStatus::Logged);
    assert!(
        held.reason.contains("an operator released 192.0.2.1"),
        "{}",
        held.reason
    );
    let mut slow = alert("192.0.2.1", Severity::High, 70);
    slow.detector = Detector::SlowScan;
    let held = judge.judge_local(&slow, &guards(), at(70)).unwrap();
    assert_eq!(held.status, DecisionStatus::Logged, "it looks back for hours");
    let again = judge
        .judge_local(&alert("192.0.2.1", Severity::High, 70), &guards(), at(70))
        .unwrap();
    assert_eq!(again.status, DecisionStatus::Active);
    judge.delete(&Selector::All, false, at(80));
    assert_eq!(
        judge
            .operator(&wish("192.0.2.1/32", 60), &guards(), at(81))
            .unwrap()
            .status,
        DecisionStatus::Active
    );
    let escalated = judge
        .judge_local(&alert("192.0.2.1", Severity::High, 82), &guards(), at(82))
        .unwrap();
    assert_eq!(
        escalated.status,
        DecisionStatus::Active,
        "a person's own decision ends the hold"
    );
}

#[test]
fn wishes_are_checked() {
    let mut judge = judge(Mode::Production);
    for (target, seconds, expected) in [
        ("10.0.0.9/32", 60, "own_address"),
        ("10.0.0.0/8", 60, "own_address"),
        ("0.0.0.0/0", 60, "too_wide"),
        ("2000::/3", 60, "too_wide"),
        ("ff02::1/128", 60, "multicast"),
        ("192.0.2.1/32", 0, "duration is zero"),
        ("192.0.2.1/32", 31 * 86_400, "response.max_duration"),
    ] {
        let error = judge
            .operator(&wish(target, seconds), &guards(), at(0))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{target}: {error}");
    }
    let nothing = NewDecision {
        action: ActionKind::LogOnly,
        ..wish("192.0.2.1/32", 60)
    };
    assert!(matches!(
        judge.operator(&nothing, &guards(), at(0)),
        Err(CommandError::Invalid(_))
    ));
    let host_bits = judge.operator(&wish("192.0.2.77/24", 60), &guards(), at(0)).unwrap();
    assert_eq!(host_bits.target.to_string(), "192.0.2.0/24");
}

#[test]
fn a_restart_keeps_what_holds_and_a_new_mode_never_enforces_the_simulated() {
    let mut before = judge(Mode::Simulation);
    let simulated = before
        .judge_local(&alert("192.0.2.1", Severity::High, 0), &guards(), at(0))
        .unwrap();
    let logged = before
        .judge_local(&alert("192.0.2.2", Severity::Low, 0), &guards(), at(0))
        .unwrap();
    let inside = Decision {
        target: "10.0.1.1/32".parse().unwrap(),
        id: DecisionId(uuid::Uuid::max()),
        ..simulated.clone()
    };
    let mut after = judge(Mode::Production);
    after.restore(vec![simulated.clone(), logged, inside]);
    assert_eq!(after.len(), 2);
    let refused = after.recheck(&guards(), at(1));
    assert_eq!(
        (refused.len(), refused[0].veto.as_ref().unwrap().guard.as_str()),
        (1, "gateway")
    );
    assert!(after.active().all(|d| d.simulated));
    let real = after
        .judge_local(&alert("192.0.2.1", Severity::High, 2), &guards(), at(2))
        .unwrap();
    assert_eq!(
        (real.id, real.simulated),
        (simulated.id, false),
        "new evidence makes it real"
    );
    let mut back = judge(Mode::Simulation);
    back.restore(vec![real]);
    assert!(back.active().all(|d| d.simulated));
    assert_eq!(back.fail(simulated.id).unwrap().status, DecisionStatus::Failed);
    assert!(back.is_empty());
}

/// What may happen to a judge.
#[derive(Clone, Debug)]
enum Step {
    Alert(u8, Severity, bool, Severity, u32),
    /// More is known about the latest alert of a host.
    Revise(u8, Severity, u32),
    Wish(u8, u8, u16, ActionKind),
    Delete(u8, u8),
    DeleteAll,
    Fail(u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let severity = prop::sample::select(vec![Severity::Low, Severity::Medium, Severity::High]);
    prop_oneof![
        4 => (any::<u8>(), severity.clone(), any::<bool>(), severity.clone(), 0_u32..4)
            .prop_map(|(host, s, b, risk, agree)| Step::Alert(host % 32, s, b, risk, agree)),
        3 => (any::<u8>(), severity, 0_u32..4).prop_map(|(host, risk, agree)| Step::Revise(host % 32, risk, agree)),
        3 => (any::<u8>(), 0u8..=32, 0u16..5000, prop::sample::select(&ActionKind::DECIDED[..]))
            .prop_map(|(host, len, secs, action)| Step::Wish(host % 32, len, secs, action)),
        2 => (any::<u8>(), 24u8..=32).prop_map(|(host, len)| Step::Delete(host % 32, len)),
        1 => Just(Step::DeleteAll),
        1 => any::<u8>().prop_map(Step::Fail),
        3 => (0u16..20_000).prop_map(Step::Wait),
    ]
}

/// Each severity answered with another action, and the milder one where the risk is low.
fn graded_matrix() -> Matrix {
    use ActionKind::{BlockIp, LogOnly, RateLimit, RedirectToHoneypot};
    Matrix([
        [LogOnly, RateLimit, RateLimit],
        [LogOnly, RedirectToHoneypot, RedirectToHoneypot],
        [RateLimit, BlockIp, BlockIp],
    ])
}

/// A judge that answers each severity with another action.
fn graded(mode: Mode) -> Judge {
    let mut config = Config::default().response;
    config.matrix = graded_matrix();
    config.honeypot.v4 = Some(crate::config::Decoy {
        address: None,
        port: 2222,
    });
    Judge::new(&config, mode, Mint::Counted(0))
}

/// Hosts around the protected prefix 10.0.0.0/28.
fn host(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    /// No sequence puts a protected address into force, outlives the longest duration, or loses the model.
    #[test]
    fn no_sequence_breaks_the_law(steps in prop::collection::vec(step(), 1..60), production in any::<bool>()) {
        let mode = if production { Mode::Production } else { Mode::Simulation };
        let (mut judge, guards) = (graded(mode), guards());
        let mut model: BTreeMap<IpNet, (DecisionId, Timestamp)> = BTreeMap::new();
        let (mut alerts, mut latest) = (0_u128, BTreeMap::new());
        let mut now = at(0);
        for step in steps {
            match step {
                Step::Alert(n, severity, behaviour, level, agree) => {
                    let class = if behaviour { EvidenceClass::Behaviour } else { EvidenceClass::Statistical };
                    let (id, known) = (AlertId(uuid::Uuid::from_u128(alerts)), risk(level, agree));
                    let alert = Alert { id, source: Some(host(n)), at: now, class, ..alert("10.0.0.1", severity, 0) };
                    alerts += 1;
                    latest.insert(n, alert.clone());
                    let around: Vec<Decision> =
                        judge.active().filter(|d| d.target.contains(&host(n))).cloned().collect();
                    if let Some(d) = judge.judge(&alert, &known, &guards, now)
                        && d.status == DecisionStatus::Active
                    {
                        let own = around.iter().find(|a| a.target == d.target);
                        match own.filter(|own| own.origin == Origin::Operator) {
                            Some(own) => prop_assert_eq!((own.action, own.terms.rate), (d.action, d.terms.rate)),
                            None => prop_assert!(around.iter().all(|a| a.action <= d.action), "milder than {around:?}"),
                        }
                        prop_assert_eq!(d.terms.rate.is_some(), d.action == ActionKind::RateLimit);
                        prop_assert!(d.terms.watch_until > d.expires_at);
                        prop_assert!(behaviour || agree >= 2, "statistics never act alone");
                        let basis = if agree >= 2 { Basis::IndependentSources } else { Basis::LocalEvidenceOnly };
                        prop_assert!(d.basis >= Some(basis), "what it rests on is always said");
                        let end = d.expires_at.unwrap();
                        if let Some((id, before)) = model.insert(d.target, (d.id, end)) {
                            prop_assert!(id == d.id && before <= end, "extended under its name");
                        }
                    }
                }
                Step::Revise(n, level, agree) => {
                    let Some(alert) = latest.get(&n) else { continue };
                    let before = judge.active().find(|d| d.target.addr() == host(n) && d.target.prefix_len() == 32).cloned();
                    match judge.revise(alert, &risk(level, agree), &guards, now) {
                        None => {}
                        Some(Revision::Lifted(d)) => {
                            prop_assert_eq!((d.status, d.alert, d.origin), (DecisionStatus::Lifted, Some(alert.id), Origin::Detector));
                            prop_assert_eq!(model.remove(&d.target).map(|(id, _)| id), Some(d.id));
                        }
                        Some(Revision::Changed(d)) => {
                            // Back to what another alert behind it asks for is milder, and no deed of this one.
                            let milder = before.as_ref().is_some_and(|before| d.action < before.action);
                            prop_assert!(alert.class == EvidenceClass::Behaviour || agree >= 2 || milder);
                            prop_assert_eq!(d.terms.rate.is_some(), d.action == ActionKind::RateLimit);
                            if let Some(before) = before {
                                prop_assert!(before.origin == Origin::Detector && before.id == d.id);
                                prop_assert!(before.expires_at <= d.expires_at, "never shortened");
                                prop_assert!(d.action >= before.action || before.alert == Some(alert.id));
                            }
                            model.insert(d.target, (d.id, d.expires_at.unwrap()));
                        }
                    }
                }
                Step::Wish(n, len, seconds, action) => {
                    let target = IpNet::new(host(n), len).unwrap();
                    let wish = NewDecision { target, action, ..wish("10.0.0.1/32", seconds.into()) };
                    if let Ok(d) = judge.operator(&wish, &guards, now) {
                        model.insert(d.target, (d.id, d.expires_at.unwrap()));
                    }
                }
                Step::Delete(n, len) => {
                    let target = IpNet::new(host(n), len).unwrap();
                    let gone = judge.delete(&Selector::Target(target), false, now);
                    prop_assert_eq!(gone.len(), usize::from(model.remove(&target.trunc()).is_some()));
                }
                Step::DeleteAll => {
                    prop_assert_eq!(judge.delete(&Selector::All, false, now).len(), model.len());
                    model.clear();
                }
                Step::Fail(n) => {
                    let victim = model.iter().nth(usize::from(n) % model.len().max(1)).map(|(t, (id, _))| (*t, *id));
                    if let Some((target, id)) = victim {
                        prop_assert_eq!(judge.fail(id).unwrap().status, DecisionStatus::Failed);
                        model.remove(&target);
                    }
                }
                Step::Wait(seconds) => {
                    now = now.after(Duration::from_secs(seconds.into()));
                    let ended = judge.expire(now);
                    for d in &ended {
                        let provisional = d.until_if_confirmed.is_some();
                        let status = if provisional { DecisionStatus::RolledBack } else { DecisionStatus::Expired };
                        prop_assert!(d.status == status && d.ended_at <= Some(now));
                    }
                    model.retain(|_, (_, end)| *end > now);
                }
            }
            let ledger: BTreeMap<_, _> = judge.active().map(|d| (d.target, (d.id, d.expires_at.unwrap()))).collect();
            prop_assert_eq!(&ledger, &model);
            for d in judge.active() {
                prop_assert!(guards.check(d.target).is_ok(), "{} is protected", d.target);
                prop_assert!(d.expires_at.unwrap() <= now.after(Config::default().response.max_duration));
                prop_assert_eq!(d.simulated, mode == Mode::Simulation);
            }
        }
    }
}

fn configured(change: impl FnOnce(&mut ResponseConfig)) -> Judge {
    let mut config = Config::default().response;
    config.rate_limit_duration = config.duration;
    change(&mut config);
    Judge::new(&config, Mode::Production, Mint::Counted(0))
}

#[test]
fn severity_leads_to_the_configured_action_with_its_terms() {
    let mut judge = configured(|c| {
        c.matrix.0[0][0] = ActionKind::RateLimit;
        c.block_egress = true;
        c.honeypot.v4 = Some(crate::config::Decoy {
            address: None,
            port: 2222,
        });
        c.reapply = Duration::from_mins(10);
    });
    let mut decide = |source, severity| {
        judge
            .judge_local(&alert(source, severity, 0), &guards(), at(0))
            .unwrap()
    };
    let limited = decide("192.0.2.1", Severity::Low);
    assert_eq!(limited.action, ActionKind::RateLimit);
    assert_eq!(limited.terms.rate, Some(Config::default().response.rate_limit));
    assert_eq!(limited.terms.watch_until, Some(at(5 * 3600)));
    assert_eq!((limited.terms.egress, limited.terms.reapply_ms), (false, 600_000));
    let redirected = decide("192.0.2.2", Severity::Medium);
    assert_eq!(
        (redirected.action, redirected.terms.rate),
        (ActionKind::RedirectToHoneypot, None)
    );
    assert!(!redirected.terms.egress, "the decoy's answers go out");
    let no_decoy = decide("2001:db8::2", Severity::Medium);
    assert_eq!(no_decoy.action, ActionKind::BlockIp);
    assert!(
        no_decoy.reason.contains("its family has no honeypot"),
        "{}",
        no_decoy.reason
    );
    assert!(decide("192.0.2.3", Severity::High).terms.egress);
}

#[test]
fn evidence_makes_it_graver_never_milder_and_overrules_no_person() {
    let mut judge = configured(|c| c.matrix.0[0][0] = ActionKind::RateLimit);
    let mut decide =
        |severity, seconds| judge.judge_local(&alert("192.0.2.1", severity, seconds), &guards(), at(seconds));
    let limited = decide(Severity::Low, 0).unwrap();
    let blocked = decide(Severity::High, 1).unwrap();
    assert_eq!(
        (blocked.id, blocked.action, blocked.terms.rate),
        (limited.id, ActionKind::BlockIp, None)
    );
    assert_eq!(decide(Severity::Low, 2), None, "a block is as good as a limit");
    let longer = decide(Severity::Low, 60).unwrap();
    assert_eq!(longer.action, ActionKind::BlockIp, "lengthened, not made milder");

    judge
        .operator(&wish("198.51.100.0/24", 600), &guards(), at(61))
        .unwrap();
    let inside = judge
        .judge_local(&alert("198.51.100.1", Severity::Low, 62), &guards(), at(62))
        .unwrap();
    assert_eq!(
        inside.action,
        ActionKind::BlockIp,
        "a limit would open a hole in the blocked prefix"
    );

    let rate = Rate {
        packets: 5,
        bytes: 0,
        burst_ms: 1000,
        each: false,
        openings: false,
    };
    let limit = NewDecision {
        action: ActionKind::RateLimit,
        rate: Some(rate),
        ..wish("192.0.2.1/32", 60)
    };
    let person = judge.operator(&limit, &guards(), at(70)).unwrap();
    assert_eq!(person.action, ActionKind::RateLimit, "a person may");
    let after = judge
        .judge_local(&alert("192.0.2.1", Severity::High, 71), &guards(), at(71))
        .unwrap();
    assert_eq!((after.action, after.terms.rate), (ActionKind::RateLimit, Some(rate)));
    assert_eq!(after.expires_at, Some(at(71 + 4 * 3600)));
}

#[test]
fn parameters_that_do_not_belong_together_are_refused() {
    let mut judge = configured(|_| ());
    let rate = Rate {
        packets: 5,
        bytes: 0,
        burst_ms: 1000,
        each: false,
        openings: false,
    };
    let each = Rate { each: true, ..rate };
    let limit = |rate| NewDecision {
        action: ActionKind::RateLimit,
        rate: Some(rate),
        ..wish("192.0.2.1/32", 60)
    };
    for (wish, part) in [
        (limit(each), "192.0.2.1 is one address"),
        (limit(Rate { packets: 0, ..rate }), "neither packets nor bytes"),
        (
            NewDecision {
                action: ActionKind::BlockIp,
                ..limit(rate)
            },
            "belongs to `rate_limit`, not to `block_ip`",
        ),
        (
            NewDecision {
                egress: Some(true),
                ..limit(rate)
            },
            "belongs to `block`, not to `rate_limit`",
        ),
        (
            NewDecision {
                action: ActionKind::RedirectToHoneypot,
                ..wish("2001:db8::1/128", 60)
            },
            "`response.honeypot.v6`",
        ),
    ] {
        let said = judge.operator(&wish, &guards(), at(0)).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
    let prefix = NewDecision {
        target: "192.0.2.0/24".parse().unwrap(),
        ..limit(each)
    };
    assert_eq!(
        judge.operator(&prefix, &guards(), at(0)).unwrap().terms.rate,
        Some(each)
    );
}

#[test]
fn without_probation_nothing_is_watched() {
    let mut judge = configured(|c| c.probation = Duration::ZERO);
    let decision = judge
        .judge_local(&alert("192.0.2.1", Severity::High, 0), &guards(), at(0))
        .unwrap();
    assert_eq!(decision.terms.watch_until, None);
    let gone = judge.delete(&Selector::All, false, at(1));
    assert_eq!(gone[0].terms.watch_until, None);
}

#[test]
fn what_is_learnt_later_makes_it_graver_longer_milder_or_lifts_it() {
    let id = |n| AlertId(uuid::Uuid::from_u128(n));
    let named = |n, source, severity, class| Alert {
        id: id(n),
        class,
        ..alert(source, severity, 0)
    };
    let mut judge = configured(|_| ());
    let (high, low) = (Severity::High, Severity::Low);

    // Statistical: logged, until two independent sources outside agree.
    let odd = named(1, "192.0.2.1", Severity::Medium, EvidenceClass::Statistical);
    let logged = judge.judge(&odd, &risk(high, 0), &guards(), at(0)).unwrap();
    assert_eq!(
        (logged.status, logged.basis),
        (DecisionStatus::Logged, Some(Basis::LocalEvidenceOnly))
    );
    assert_eq!(judge.revise(&odd, &risk(high, 1), &guards(), at(1)), None);
    let Some(Revision::Changed(blocked)) = judge.revise(&odd, &risk(high, 2), &guards(), at(2)) else {
        panic!("not blocked");
    };
    assert_eq!(
        (blocked.action, blocked.basis, blocked.expires_at),
        (
            ActionKind::BlockIp,
            Some(Basis::IndependentSources),
            Some(at(2 + 86_400))
        )
    );

    // Blocked here, then known to be a shared service: lifted; and that stays so.
    let scan = named(2, "192.0.2.2", Severity::Medium, EvidenceClass::Behaviour);
    let block = judge
        .judge(&scan, &risk(Severity::Medium, 0), &guards(), at(3))
        .unwrap();
    let Some(Revision::Lifted(lifted)) = judge.revise(&scan, &risk(low, 0), &guards(), at(4)) else {
        panic!("not lifted");
    };
    assert_eq!((lifted.id, lifted.status), (block.id, DecisionStatus::Lifted));
    assert!(
        lifted.reason.contains("low risk") && lifted.reason.contains("it scanned"),
        "{}",
        lifted.reason
    );
    assert_eq!(
        judge.revise(&scan, &risk(high, 2), &guards(), at(5)),
        None,
        "it is over"
    );

    // High severity and little risk: a rate limit instead.
    let flood = named(3, "192.0.2.3", high, EvidenceClass::Behaviour);
    let block = judge.judge(&flood, &risk(high, 0), &guards(), at(6)).unwrap();
    let Some(Revision::Changed(milder)) = judge.revise(&flood, &risk(low, 0), &guards(), at(7)) else {
        panic!("not milder");
    };
    assert_eq!(
        (milder.id, milder.action, milder.expires_at),
        (block.id, ActionKind::RateLimit, block.expires_at)
    );
    assert!(milder.terms.rate.is_some() && milder.reason.starts_with("made milder"));
    let Some(Revision::Changed(graver)) = judge.revise(&flood, &risk(high, 2), &guards(), at(8)) else {
        panic!("not graver");
    };
    assert_eq!(
        (graver.id, graver.action, graver.terms.rate),
        (block.id, ActionKind::BlockIp, None)
    );

    // A later alert of its own, and a person: neither is undone by what is learnt of the first.
    let first = named(4, "192.0.2.4", high, EvidenceClass::Behaviour);
    let later = Alert {
        at: at(1_000),
        ..named(5, "192.0.2.4", high, EvidenceClass::Behaviour)
    };
    judge.judge(&first, &risk(high, 0), &guards(), at(9)).unwrap();
    judge.judge(&later, &risk(high, 0), &guards(), at(1_000)).unwrap();
    assert_eq!(judge.revise(&first, &risk(low, 0), &guards(), at(1_001)), None);
    judge
        .operator(&wish("192.0.2.4/32", 600), &guards(), at(1_002))
        .unwrap();
    assert_eq!(judge.revise(&later, &risk(low, 0), &guards(), at(1_003)), None);
}

/// An alert of that name and severity, seen at that second.
fn seen(n: u128, source: &str, severity: Severity, second: i64) -> Alert {
    Alert {
        id: AlertId(uuid::Uuid::from_u128(n)),
        ..alert(source, severity, second)
    }
}

#[test]
fn a_decision_is_as_grave_as_the_gravest_of_the_alerts_behind_it() {
    let (high, medium, low) = (Severity::High, Severity::Medium, Severity::Low);
    let limited = |revision: Option<Revision>| match revision {
        Some(Revision::Changed(d)) => d.action == ActionKind::RateLimit,
        other => panic!("{other:?}"),
    };
    // A milder alert that came later only lengthens: what is learnt of it changes nothing.
    let mut judge = configured(|_| ());
    let (block, limit) = (seen(1, "192.0.2.1", high, 0), seen(2, "192.0.2.1", high, 60));
    let first = judge.judge(&block, &risk(high, 0), &guards(), at(0)).unwrap();
    let longer = judge.judge(&limit, &risk(low, 0), &guards(), at(60)).unwrap();
    assert_eq!(
        (longer.id, longer.action, longer.alert),
        (first.id, ActionKind::BlockIp, Some(block.id))
    );
    assert!(longer.expires_at > first.expires_at);
    assert_eq!(judge.revise(&limit, &risk(low, 0), &guards(), at(61)), None);
    assert!(
        limited(judge.revise(&block, &risk(low, 0), &guards(), at(62))),
        "both ask for a limit now"
    );

    // An alert that was content with what stood keeps it from being lifted for another one.
    let mut judge = configured(|_| ());
    let (scan, flood) = (seen(3, "192.0.2.2", medium, 0), seen(4, "192.0.2.2", high, 5));
    judge.judge(&scan, &risk(medium, 0), &guards(), at(0)).unwrap();
    assert_eq!(judge.judge(&flood, &risk(medium, 0), &guards(), at(5)), None, "as good");
    assert_eq!(
        judge.revise(&flood, &risk(low, 0), &guards(), at(6)),
        None,
        "the scan asks for a block"
    );
    assert!(
        limited(judge.revise(&scan, &risk(low, 0), &guards(), at(7))),
        "not lifted: the flood asks for a limit"
    );
}

#[test]
fn a_return_on_probation_is_no_matter_for_the_matrix_and_a_release_holds_for_what_was_seen_within_it() {
    let mut judge = configured(|_| ());
    let mut back = seen(1, "192.0.2.1", Severity::Medium, 0);
    back.detector = Detector::Probation;
    assert_eq!(judge.revise(&back, &risk(Severity::High, 2), &guards(), at(1)), None);

    let scan = seen(2, "192.0.2.2", Severity::High, 0);
    judge.judge(&scan, &risk(Severity::High, 0), &guards(), at(0)).unwrap();
    judge.delete(&Selector::All, false, at(10));
    let within = seen(3, "192.0.2.2", Severity::High, 69);
    let held = judge
        .judge(&within, &risk(Severity::High, 0), &guards(), at(69))
        .unwrap();
    assert_eq!(held.status, DecisionStatus::Logged);
    assert_eq!(
        judge.revise(&within, &risk(Severity::High, 2), &guards(), at(72)),
        None,
        "it is no newer for being known better"
    );
}
