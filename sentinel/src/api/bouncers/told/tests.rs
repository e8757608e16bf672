//! Changes, and what is made of them.

use super::testing::numbered;
use super::*;
use crate::types::Rate;

const A: &str = "203.0.113.7/32";
const B: &str = "203.0.113.8/32";

fn wish() -> Wish {
    Wish::any()
}

fn came(now: Numbered) -> Change {
    Change {
        now,
        came: true,
        beside: Vec::new(),
    }
}

fn ended(mut now: Numbered) -> Change {
    now.decision.status = DecisionStatus::Deleted;
    Change {
        now,
        came: false,
        beside: Vec::new(),
    }
}

/// Numbers of what is new and of what is deleted.
fn numbers(changes: &[Change], again: bool) -> (Vec<i64>, Vec<i64>) {
    let delta = delta(changes, &wish(), Timestamp(0), again);
    let of = |all: &[&Numbered]| all.iter().map(|one| one.number).collect();
    (of(&delta.new), of(&delta.deleted))
}

#[test]
fn what_came_is_new_and_what_ended_is_deleted() {
    assert_eq!(numbers(&[], true), (vec![], vec![]));
    let both = [came(numbered(1, A)), ended(numbered(2, B))];
    for again in [false, true] {
        assert_eq!(numbers(&both, again), (vec![1], vec![2]));
    }
}

#[test]
fn an_end_is_not_told_while_another_stands_on_the_same_target() {
    let mut over = ended(numbered(1, A));
    over.beside = vec![numbered(5, A)];
    assert_eq!(numbers(std::slice::from_ref(&over), false), (vec![5], vec![]));
    // Who leaves what it has as it is must drop it first, and is then told what stands.
    assert_eq!(numbers(&[over], true), (vec![5], vec![5]));
    let follows = [ended(numbered(1, A)), came(numbered(2, A))];
    assert_eq!(numbers(&follows, false), (vec![2], vec![]));
    assert_eq!(numbers(&follows, true), (vec![2], vec![2]));
}

#[test]
fn a_new_end_is_told_as_new_and_to_whoever_keeps_sets_as_deleted_first() {
    let longer = Change {
        came: false,
        ..came(numbered(1, A))
    };
    assert_eq!(numbers(std::slice::from_ref(&longer), false), (vec![1], vec![]));
    assert_eq!(numbers(&[longer], true), (vec![1], vec![1]));
}

#[test]
fn another_remediation_takes_the_place_of_the_one_before() {
    let mut limit = numbered(2, A);
    limit.decision.action = ActionKind::RateLimit;
    let milder = [ended(numbered(1, A)), came(limit)];
    assert_eq!(numbers(&milder, false), (vec![2], vec![1]));
}

#[test]
fn what_is_in_force_for_nobody_else_is_told_neither_as_new_nor_as_deleted() {
    let mut simulated = numbered(1, A);
    simulated.decision.simulated = true;
    let mut forged = numbered(2, A);
    forged.decision.action = ActionKind::RateLimit;
    forged.decision.terms.rate = Some(Rate {
        packets: 1,
        bytes: 0,
        burst_ms: 1000,
        each: false,
        openings: true,
    });
    let mut vetoed = numbered(3, A);
    vetoed.decision.status = DecisionStatus::Vetoed;
    let mut logged = numbered(4, A);
    logged.decision.action = ActionKind::LogOnly;
    logged.decision.status = DecisionStatus::Logged;
    for one in [simulated, forged, vetoed, logged] {
        assert_eq!(standing(std::slice::from_ref(&one), &wish(), Timestamp(0)).count(), 0);
        assert_eq!(numbers(&[came(one.clone())], true), (vec![], vec![]));
        if one.decision.status == DecisionStatus::Active && !one.decision.simulated {
            assert_eq!(numbers(&[ended(one)], true), (vec![], vec![]));
        }
    }
}

#[test]
fn what_is_only_simulated_now_is_over_for_others() {
    let mut one = numbered(1, A);
    one.decision.simulated = true;
    let turned = Change {
        came: false,
        ..came(one.clone())
    };
    for again in [false, true] {
        assert_eq!(numbers(std::slice::from_ref(&turned), again), (vec![], vec![1]));
        // It may have ended since.
        assert_eq!(numbers(&[ended(one.clone())], again), (vec![], vec![1]));
    }
    let beside = Change {
        beside: vec![numbered(2, A)],
        ..turned
    };
    assert_eq!(numbers(&[beside], false), (vec![2], vec![]));
}

#[test]
fn of_several_on_one_target_the_longest_is_told_and_what_is_about_to_end_is_not() {
    let all = [numbered(7, A), numbered(3, A), numbered(5, B)];
    let kept = |now: i64| -> Vec<i64> {
        let now = Timestamp(now * 1_000_000_000);
        standing(&all, &wish(), now).map(|one| one.number).collect()
    };
    assert_eq!(kept(0), [5, 7]);
    assert_eq!(kept(5), [7]);
    assert_eq!(kept(7), Vec::<i64>::new());
}
