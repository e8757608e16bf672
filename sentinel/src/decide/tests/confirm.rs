//! Commit-confirm: what is about a prefix is over by the end of its window, or was confirmed.

use super::*;
use crate::types::Standing;

const WINDOW: i64 = 30;

fn judge() -> Judge {
    let mut judge = super::judge(Mode::Production);
    judge.config.policy.widen.v4_sources = 4;
    judge.config.policy.repeat.memory = Duration::from_hours(24);
    judge
}

fn add(judge: &mut Judge, target: &str, seconds: u64, now: i64) -> Decision {
    judge.operator(&wish(target, seconds), &guards(), at(now)).unwrap()
}

/// Has hosts of 198.51.100.0/24 decided about; the wide decision that followed, if one did.
fn widened(judge: &mut Judge, hosts: std::ops::RangeInclusive<u8>, now: i64) -> Option<Decision> {
    let mut wide = None;
    for n in hosts {
        let alert = Alert {
            id: AlertId(uuid::Uuid::from_u128(u128::from(n))),
            ..alert(&format!("198.51.100.{n}"), Severity::High, now)
        };
        let decision = judge.judge_local(&alert, &guards(), at(now));
        wide = wide.or(decision.and_then(|d| judge.widen(&d, None, &guards(), at(now))));
    }
    wide
}

#[test]
fn a_wide_wish_is_provisional_and_one_host_is_not() {
    for (target, seconds, provisional) in [
        ("198.51.100.0/24", 3600, true),
        ("198.51.100.0/31", 3600, true),
        ("2001:db8::/64", 3600, true),
        ("198.51.100.7/32", 3600, false),
        ("2001:db8::7/128", 3600, false),
        // Over within the window by itself.
        ("198.51.100.0/24", 30, false),
    ] {
        let mut judge = judge();
        let d = add(&mut judge, target, seconds, 0);
        let full = at(seconds as i64);
        if provisional {
            assert_eq!(
                (d.expires_at, d.until_if_confirmed),
                (Some(at(WINDOW)), Some(full)),
                "{target}"
            );
            assert_eq!(
                (d.terms.watch_until, d.terms.reapply_ms),
                (None, 0),
                "{target}: no return brings it back"
            );
        } else {
            assert_eq!((d.expires_at, d.until_if_confirmed), (Some(full), None), "{target}");
        }
        assert_eq!(judge.provisional().count(), usize::from(provisional));
    }
    let mut off = judge();
    off.config.policy.confirm.window = Duration::ZERO;
    assert_eq!(add(&mut off, "198.51.100.0/24", 3600, 0).expires_at, Some(at(3600)));
    let mut simulation = super::judge(Mode::Simulation);
    let d = add(&mut simulation, "198.51.100.0/24", 3600, 0);
    assert_eq!((d.expires_at, d.until_if_confirmed), (Some(at(3600)), None));
    let mut imported = judge();
    let d = imported
        .draw_up([wish("198.51.100.0/24", 3600)].iter(), at(0))
        .remove(0);
    assert_eq!(
        (d.expires_at, d.until_if_confirmed),
        (Some(at(3600)), None),
        "an import is exempt"
    );
}

#[test]
fn confirmed_it_lasts_to_its_full_end_under_its_name() {
    let mut judge = judge();
    let wide = add(&mut judge, "198.51.100.0/24", 3600, 0);
    assert_eq!(judge.confirm(wide.id, Some(at(31)), "of another window", at(5)), None);
    let d = judge
        .confirm(wide.id, wide.expires_at, "3 probes answer", at(20))
        .unwrap();
    assert_eq!(
        (d.id, d.expires_at, d.until_if_confirmed),
        (wide.id, Some(at(3600)), None)
    );
    assert!(d.terms.watch_until > d.expires_at);
    let check = d.checks.last().unwrap();
    assert_eq!(
        (check.guard.as_str(), check.reason.as_str()),
        ("health_probe", "3 probes answer")
    );
    assert_eq!(judge.confirm(wide.id, None, "twice", at(21)), None);
    assert_eq!(judge.expire(at(31)), []);
    let error = judge.confirm_by_hand(wide.id, "ann", at(32)).unwrap_err().to_string();
    assert!(error.contains("needs no confirmation"), "{error}");
    // The same again, longer, needs none; what is graver does.
    let longer = add(&mut judge, "198.51.100.0/24", 7200, 40);
    assert_eq!((longer.expires_at, longer.until_if_confirmed), (Some(at(7240)), None));
    let graver = NewDecision {
        egress: Some(true),
        ..wish("198.51.100.0/24", 7200)
    };
    let graver = judge.operator(&graver, &guards(), at(50)).unwrap();
    assert_eq!(
        (graver.expires_at, graver.until_if_confirmed),
        (Some(at(80)), Some(at(7250)))
    );
}

#[test]
fn unconfirmed_it_is_rolled_back_by_its_window() {
    let mut judge = judge();
    let wide = add(&mut judge, "198.51.100.0/24", 3600, 0);
    assert_eq!(judge.confirm(wide.id, wide.expires_at, "too late", at(30)), None);
    let over = judge.expire(at(30));
    let veto = over[0].veto.as_ref().unwrap();
    assert_eq!(
        (over[0].status, over[0].ended_at),
        (DecisionStatus::RolledBack, Some(at(30)))
    );
    assert_eq!(veto.guard, "health_probe");
    assert!(judge.is_empty());
    let again = add(&mut judge, "198.51.100.0/24", 3600, 40);
    assert_eq!(again.until_if_confirmed, Some(at(3640)), "a person may try again");
    let over = judge
        .roll_back(again.id, again.expires_at, "nobody answers", at(41))
        .unwrap();
    assert_eq!((over.status, over.ended_at), (DecisionStatus::RolledBack, Some(at(41))));
    assert_eq!(over.veto.unwrap().reason, "nobody answers");
    assert_eq!(judge.roll_back(again.id, None, "twice", at(42)), None);
    assert!(matches!(
        judge.confirm_by_hand(again.id, "ann", at(42)),
        Err(CommandError::NotFound)
    ));
}

#[test]
fn a_prefix_that_was_rolled_back_is_not_widened_to_again_for_a_while_nor_one_around_it() {
    let mut judge = judge();
    let wide = widened(&mut judge, 1..=4, 0).expect("widened");
    assert_eq!(
        (wide.expires_at, wide.until_if_confirmed),
        (Some(at(WINDOW)), Some(at(4 * 3600)))
    );
    assert_eq!(widened(&mut judge, 5..=9, 1), None, "one is on its way");
    judge
        .roll_back(wide.id, wide.expires_at, "nobody answers", at(10))
        .unwrap();
    assert_eq!(widened(&mut judge, 10..=40, 20), None);
    assert_eq!(widened(&mut judge, 41..=44, 3600), None);
    let again = widened(&mut judge, 45..=48, 3611).expect("an hour has passed");
    assert_eq!(again.until_if_confirmed, Some(at(3611 + 4 * 3600)));
    // The hosts themselves were blocked all along.
    assert!(judge.active().filter(|d| d.target.prefix_len() == 32).count() >= 48);

    let mut judge = self::judge();
    judge.config.policy.widen.v6_nets = 2;
    judge.config.policy.widen.v6_sources = 1;
    let seen = |judge: &mut Judge, source: &str, now: i64| {
        let proven = Standing {
            proven: true,
            ..Standing::default()
        };
        let alert = Alert {
            standing: Some(proven),
            ..alert(source, Severity::High, now)
        };
        let mut next = judge.judge_local(&alert, &guards(), at(now));
        let mut wide = Vec::new();
        while let Some(decision) = next {
            next = judge.widen(&decision, None, &guards(), at(now));
            wide.extend(next.clone());
        }
        wide
    };
    let first = seen(&mut judge, "2001:db8:0:1::1", 0).remove(0);
    judge.roll_back(first.id, None, "nobody answers", at(1)).unwrap();
    for n in 2..6 {
        let wide = seen(&mut judge, &format!("2001:db8:0:{n}::1"), 2);
        assert!(wide.iter().all(|d| d.target.prefix_len() == 64), "{wide:?}");
    }
}

#[test]
fn who_is_rolled_back_is_no_returner() {
    let mut judge = judge();
    let wide = widened(&mut judge, 1..=4, 0).unwrap();
    judge.expire(at(WINDOW));
    assert_eq!(judge.offenders.times(&wide.target, at(40), Duration::from_hours(24)), 0);
}

#[test]
fn from_confirmed_prefixes_to_the_network_of_an_as_no_wider_than_may_be() {
    let network: IpNet = "198.48.0.0/12".parse().unwrap();
    let seen = |judge: &mut Judge, third: u8, network: Option<IpNet>| {
        let alert = alert(&format!("198.51.{third}.1"), Severity::High, 0);
        let mut next = judge.judge_local(&alert, &guards(), at(0));
        let mut wide = Vec::new();
        while let Some(decision) = next {
            next = judge.widen(&decision, network, &guards(), at(0));
            wide.extend(next.clone());
        }
        wide
    };
    let ready = |confirm: bool, as_nets: u32| {
        let mut judge = judge();
        judge.config.policy.widen.v4_sources = 1;
        judge.config.policy.widen.as_nets = as_nets;
        for third in 1..=3 {
            let wide = seen(&mut judge, third, Some(network));
            assert_eq!(wide.len(), 1, "{wide:?}");
            if confirm {
                judge.confirm(wide[0].id, None, "well", at(0)).unwrap();
            }
        }
        judge
    };
    let wide = seen(&mut ready(true, 3), 4, Some(network));
    let targets: Vec<String> = wide.iter().map(|d| d.target.to_string()).collect();
    assert_eq!(targets, ["198.51.4.0/24", "198.51.0.0/16"]);
    assert!(
        wide[1].reason.starts_with("3 confirmed /24 prefixes of 198.51.0.0/16"),
        "{}",
        wide[1].reason
    );
    assert_eq!((wide[1].expires_at, wide[1].collateral), (Some(at(WINDOW)), Some(0)));
    for (what, mut judge, network) in [
        ("off by default", ready(true, 0), Some(network)),
        ("not enough", ready(true, 4), Some(network)),
        ("not confirmed", ready(false, 3), Some(network)),
        ("nobody knows the network", ready(true, 3), None),
        (
            "no wider than it is",
            ready(true, 3),
            Some("198.51.4.0/24".parse().unwrap()),
        ),
        (
            "of somewhere else",
            ready(true, 3),
            Some("203.0.0.0/16".parse().unwrap()),
        ),
        ("of another family", ready(true, 3), Some("::/0".parse().unwrap())),
    ] {
        assert_eq!(seen(&mut judge, 4, network).len(), 1, "{what}");
    }
    let mut judge = ready(true, 3);
    judge.set_peers(Arc::new(
        std::iter::once("198.51.200.1".parse::<IpAddr>().unwrap()).collect(),
    ));
    let wide = seen(&mut judge, 4, Some(network));
    assert_eq!(wide[1].veto.as_ref().unwrap().guard, "collateral");
}

#[derive(Clone, Debug)]
enum Step {
    Wish(u8, u16, ActionKind),
    Alert(u8),
    Confirm(u8),
    Fail(u8),
    Delete(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = vec![ActionKind::BlockIp, ActionKind::RateLimit];
    prop_oneof![
        (24u8..=32, 1u16..5000, prop::sample::select(kinds)).prop_map(|(len, secs, kind)| Step::Wish(len, secs, kind)),
        (0u8..20).prop_map(Step::Alert),
        any::<u8>().prop_map(Step::Confirm),
        any::<u8>().prop_map(Step::Fail),
        any::<u8>().prop_map(Step::Delete),
        (0u8..25).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: what is about a prefix and was not confirmed is over by the end of a window, and what was is in
    /// force to its full end or ended by somebody.
    #[test]
    fn every_way_ends_confirmed_or_not_in_force(steps in prop::collection::vec(step(), 1..60)) {
        let mut judge = judge();
        let mut now = 0i64;
        // When each was last decided about, and those that were confirmed as they are.
        let mut decided: BTreeMap<DecisionId, i64> = BTreeMap::new();
        let mut confirmed: BTreeMap<DecisionId, ActionKind> = BTreeMap::new();
        for step in steps {
            let open: Vec<Decision> = judge.provisional().cloned().collect();
            let pick = |n: u8| open.get(usize::from(n) % open.len().max(1));
            match step {
                Step::Wish(len, seconds, action) => {
                    let target = IpNet::new("198.51.100.7".parse().unwrap(), len).unwrap();
                    let wish = NewDecision { target, action, ..wish("198.51.100.7/32", seconds.into()) };
                    let d = judge.operator(&wish, &guards(), at(now)).unwrap();
                    let runs = open.iter().find(|before| before.id == d.id && before.action == action);
                    if let Some(before) = runs {
                        prop_assert!(d.expires_at <= before.expires_at, "another window: {d:?}");
                    }
                    decided.insert(d.id, now);
                    if confirmed.get(&d.id).is_some_and(|was| *was < action) {
                        confirmed.remove(&d.id);
                    }
                }
                Step::Alert(host) => {
                    if let Some(d) = widened(&mut judge, host + 1..=host + 1, now) {
                        decided.insert(d.id, now);
                        if d.until_if_confirmed.is_some() {
                            confirmed.remove(&d.id);
                        }
                    }
                }
                Step::Confirm(n) => if let Some(d) = pick(n) {
                    let whole = judge.confirm(d.id, d.expires_at, "well", at(now)).unwrap();
                    prop_assert_eq!(whole.expires_at, d.until_if_confirmed);
                    confirmed.insert(d.id, d.action);
                },
                Step::Fail(n) => if let Some(d) = pick(n) {
                    let over = judge.roll_back(d.id, d.expires_at, "ill", at(now)).unwrap();
                    prop_assert_eq!(over.status, DecisionStatus::RolledBack);
                },
                Step::Delete(n) => if let Some(d) = pick(n) {
                    judge.delete(&Selector::Id(d.id), false, at(now));
                },
                Step::Wait(seconds) => {
                    now += i64::from(seconds);
                    for over in judge.expire(at(now)) {
                        let provisional = over.until_if_confirmed.is_some();
                        prop_assert_eq!(over.status == DecisionStatus::RolledBack, provisional);
                    }
                }
            }
            for d in judge.active().filter(|d| d.is_wide()) {
                let within = d.expires_at.unwrap() <= at(decided[&d.id] + WINDOW);
                if d.until_if_confirmed.is_some() {
                    prop_assert!(within && d.until_if_confirmed > d.expires_at && !d.simulated, "{d:?}");
                    prop_assert_eq!(d.terms.watch_until, None);
                } else {
                    prop_assert!(within || confirmed.contains_key(&d.id), "never confirmed: {d:?}");
                }
            }
        }
    }
}
