//! Doing and taking back.

use super::rig::{Bench, alert, at, block, net, order, protected};
use crate::respond::{Cause, Order};
use crate::store::AuditFilter;
use crate::types::*;
use std::sync::Arc;
use tokio::sync::oneshot;

fn withdraw(decision: &Decision, cause: Cause, status: DecisionStatus) -> Order {
    Order::Withdraw {
        decisions: vec![Decision {
            status,
            ended_at: Some(at(2)),
            ..decision.clone()
        }],
        cause,
        actor: "ann".into(),
        reply: None,
    }
}

#[tokio::test]
async fn enforced_is_said_after_the_read_back_and_after_it_is_stored() {
    let mut bench = Bench::new();
    let decision = block("192.0.2.1/32");
    let (reply, answer) = oneshot::channel();
    let seen = Arc::new(alert("192.0.2.1"));
    let order = Order::Apply {
        decision: decision.clone(),
        alert: Some(Arc::clone(&seen)),
        evidence_at: None,
        reply: Some(reply),
    };
    assert!(bench.responder.carry_out(vec![order], at(1)).await.is_empty());
    assert_eq!(answer.await.unwrap().unwrap(), decision);
    assert_eq!(
        bench.rig.inside().calls,
        ["put 192.0.2.1/32", "get 192.0.2.1/32", "acting "]
    );
    assert_eq!(bench.stored(&decision).await, decision);
    assert!(bench.store.alert(seen.id).await.unwrap().is_some());
    let actions = bench.actions().await;
    assert_eq!(actions.len(), 1, "intent and outcome are one action");
    assert_eq!(actions[0].status, ActionStatus::Enforced);
    assert_eq!(actions[0].outcome, "enforced by model, read back");
    let kinds: Vec<_> = bench.events().iter().map(Event::kind).collect();
    assert_eq!(kinds, ["alert", "action", "decision"]);
    let audit = bench.store.audit(AuditFilter::default()).await.unwrap().items;
    let mut verbs: Vec<_> = audit.iter().map(|line| line.verb.as_str()).collect();
    verbs.sort_unstable();
    assert_eq!(verbs, ["decided", "enforced"]);
}

#[tokio::test]
async fn a_read_back_that_differs_is_a_failure_that_leaves_nothing() {
    let lies: [fn(&mut _) -> bool; 2] = [
        |_| false,
        |entry: &mut sentinel_common::entry::BlockEntry| {
            entry.expires_ns += 1;
            true
        },
    ];
    for lie in lies {
        let mut bench = Bench::new();
        bench.rig.inside().lie = Some(lie);
        let decision = block("192.0.2.1/32");
        assert_eq!(bench.apply(&decision).await, [decision.id]);
        assert_eq!(bench.stored(&decision).await.status, DecisionStatus::Failed);
        assert_eq!(bench.actions().await[0].status, ActionStatus::Failed);
        assert_eq!((bench.rig.blocks().len(), bench.responder.holds()), (0, 0));
        assert!(bench.trouble().contains("could not be enforced"), "{}", bench.trouble());
    }
}

#[tokio::test]
async fn not_enforced_is_not_said_while_an_entry_may_stand() {
    let mut bench = Bench::new();
    let decision = block("192.0.2.1/32");
    bench.rig.breaks(&["get", "delete"]);
    assert_eq!(bench.apply(&decision).await, [decision.id]);
    let action = &bench.actions().await[0];
    assert!(action.outcome.contains("could not be removed"), "{}", action.outcome);
    assert!(!action.outcome.contains("not enforced"), "{}", action.outcome);
    assert!(bench.trouble().contains("could not be removed"), "{}", bench.trouble());
    bench.responder.retry_removals(at(2)).await;
    assert_eq!(bench.rig.blocks(), [net("192.0.2.1/32")]);
    bench.rig.breaks(&[]);
    bench.responder.retry_removals(at(3)).await;
    assert!(bench.rig.blocks().is_empty());
    let action = &bench.actions().await[0];
    assert_eq!(action.status, ActionStatus::Failed);
    assert!(action.outcome.contains("not enforced"), "{}", action.outcome);
}

#[tokio::test]
async fn an_extension_keeps_decision_and_action() {
    let mut bench = Bench::new();
    let first = block("192.0.2.1/32");
    bench.apply(&first).await;
    let longer = Decision {
        expires_at: Some(at(2000)),
        ..first.clone()
    };
    bench.apply(&longer).await;
    let actions = bench.actions().await;
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].expires_at, Some(at(2000)));
    assert_eq!(bench.stored(&first).await.expires_at, Some(at(2000)));
    assert_eq!(bench.responder.self_check(), Ok(0));
    // Of one that an agent before carried out it is not known when it came into force.
    assert!(actions[0].entered_at.is_some());
    let unknown = Action {
        entered_at: None,
        ..actions[0].clone()
    };
    bench.responder.recall([(first.id, unknown)].into());
    bench.responder.restore(vec![longer.clone()], at(100)).await;
    bench.responder.reword(at(100)).await;
    bench.apply(&longer).await;
    let actions = bench.actions().await;
    assert_eq!((actions.len(), actions[0].entered_at), (1, None));
}

#[tokio::test]
async fn another_decision_on_the_target_supersedes_even_if_it_then_fails() {
    for broken in [&[][..], &["put"][..]] {
        let mut bench = Bench::new();
        let (old, new) = (block("192.0.2.1/32"), block("192.0.2.1/32"));
        bench.apply(&old).await;
        bench.rig.breaks(broken);
        bench.apply(&new).await;
        assert_eq!(bench.stored(&old).await.status, DecisionStatus::Deleted);
        let actions = bench.actions().await;
        let of_old = actions.iter().find(|a| a.decision == old.id).unwrap();
        assert_eq!(of_old.status, ActionStatus::Reverted);
        assert_eq!(bench.rig.blocks().len(), bench.responder.holds());
    }
}

#[tokio::test]
async fn each_cause_ends_in_its_own_words() {
    for (cause, asked, status) in [
        (Cause::Expired, DecisionStatus::Expired, ActionStatus::Expired),
        (Cause::Operator, DecisionStatus::Deleted, ActionStatus::Reverted),
        (Cause::Guard, DecisionStatus::Deleted, ActionStatus::Reverted),
    ] {
        let mut bench = Bench::new();
        let decision = block("2001:db8::/48");
        bench.apply(&decision).await;
        bench
            .responder
            .carry_out(vec![withdraw(&decision, cause, asked)], at(2))
            .await;
        assert!(bench.rig.blocks().is_empty());
        assert_eq!(bench.stored(&decision).await.status, asked);
        let action = &bench.actions().await[0];
        assert_eq!(action.status, status);
        assert_eq!(
            action.outcome,
            format!("{} by ann; entry gone, read back", cause.as_str())
        );
    }
}

#[tokio::test]
async fn a_removal_the_kernel_refuses_is_told_and_tried_again() {
    let mut bench = Bench::new();
    let decision = block("192.0.2.1/32");
    bench.apply(&decision).await;
    bench.rig.breaks(&["delete"]);
    let (reply, answer) = oneshot::channel();
    let mut order = withdraw(&decision, Cause::Operator, DecisionStatus::Deleted);
    if let Order::Withdraw { reply: place, .. } = &mut order {
        *place = Some(reply);
    }
    bench.responder.carry_out(vec![order], at(2)).await;
    let error = answer.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("tried again"), "{error}");
    let action = &bench.actions().await[0];
    assert_eq!(action.status, ActionStatus::Enforced, "it is still in the kernel");
    assert!(bench.trouble().contains("192.0.2.1/32"));
    bench.rig.breaks(&[]);
    bench.responder.retry_removals(at(3)).await;
    assert!(bench.rig.blocks().is_empty());
    assert_eq!(bench.actions().await[0].status, ActionStatus::Reverted);
    assert_eq!(bench.trouble(), "");
}

#[tokio::test]
async fn a_veto_is_stored_and_told_and_nothing_is_done() {
    let mut bench = Bench::new();
    let decision = Decision {
        status: DecisionStatus::Vetoed,
        veto: Some(Veto {
            guard: "gateway".into(),
            reason: "of the test".into(),
        }),
        ..block("192.0.2.1/32")
    };
    bench.apply(&decision).await;
    assert_eq!(bench.stored(&decision).await, decision);
    assert!(matches!(&bench.events()[..], [Event::Decision(told)] if **told == decision));
    assert!(bench.rig.inside().calls.is_empty() && bench.actions().await.is_empty());
}

#[tokio::test]
async fn what_is_protected_or_endless_is_not_written_whoever_decided() {
    let mut bench = Bench::new();
    bench.responder.protect(&protected(&["192.0.2.0/28"])).unwrap();
    let endless = Decision {
        expires_at: None,
        ..block("198.51.100.1/32")
    };
    for decision in [
        block("192.0.2.1/32"),
        block("192.0.2.0/24"),
        block("::ffff:198.51.100.2/128"),
        endless,
    ] {
        assert_eq!(bench.apply(&decision).await, [decision.id], "{}", decision.target);
        assert!(bench.rig.blocks().is_empty());
    }
}

#[tokio::test]
async fn one_record_the_database_refuses_takes_no_other_with_it() {
    let mut bench = Bench::new();
    let odd = Arc::new(Alert {
        score: f64::NAN,
        ..alert("192.0.2.9")
    });
    let decision = block("192.0.2.1/32");
    let orders = vec![Order::Note(Arc::clone(&odd)), order(&decision)];
    assert!(bench.responder.carry_out(orders, at(1)).await.is_empty());
    assert_eq!(bench.stored(&decision).await, decision);
    assert_eq!(bench.actions().await[0].status, ActionStatus::Enforced);
    assert!(bench.store.alert(odd.id).await.unwrap().is_none());
    let told = bench.events();
    assert!(
        !told.iter().any(|e| matches!(e, Event::Alert(_))),
        "told of an alert that is not stored"
    );
}

#[tokio::test]
async fn a_noted_alert_is_stored_and_told() {
    let mut bench = Bench::new();
    let seen = Arc::new(alert("192.0.2.9"));
    bench
        .responder
        .carry_out(vec![Order::Note(Arc::clone(&seen))], at(1))
        .await;
    assert!(bench.store.alert(seen.id).await.unwrap().is_some());
    assert!(matches!(&bench.events()[..], [Event::Alert(told)] if told.id == seen.id));
}

#[tokio::test]
async fn a_disk_that_hangs_delays_nobody_is_said_and_loses_nothing() {
    let decisions: Vec<_> = (1..=40).map(|n| block(&format!("192.0.2.{n}/32"))).collect();
    // A busy machine may be late once, and not three times.
    let mut tries = Vec::new();
    let mut bench = loop {
        let mut bench = Bench::hung();
        let started = std::time::Instant::now();
        for decision in &decisions {
            assert!(bench.apply(decision).await.is_empty());
        }
        assert_eq!(bench.rig.blocks().len(), 40);
        let took = started.elapsed();
        tries.push(took);
        if took.as_millis() < 1500 {
            break bench;
        }
        assert!(
            tries.len() < 3,
            "a disk that hangs is waited for once, not as long as {tries:?}"
        );
    };
    assert!(
        bench.trouble().contains("not known to be durable"),
        "{}",
        bench.trouble()
    );
    let end = withdraw(&decisions[0], Cause::Operator, DecisionStatus::Deleted);
    bench.responder.carry_out(vec![end], at(2)).await;
    bench.unhang();
    while !bench.trouble().is_empty() {
        bench.responder.settle().await;
    }
    assert_eq!(bench.store.active_decisions().await.unwrap().len(), 39);
    assert_eq!(
        bench.stored(&decisions[0]).await.status,
        DecisionStatus::Deleted,
        "the latest word wins"
    );
    assert_eq!(bench.store.tally().overflow, 0);
}

#[tokio::test]
async fn too_many_late_commits_are_counted_and_said() {
    let mut bench = Bench::hung();
    for n in 0..200 {
        bench.apply(&block(&format!("192.0.2.{n}/32"))).await;
    }
    assert!(bench.trouble().contains("records are lost"), "{}", bench.trouble());
    assert_eq!(bench.rig.blocks().len(), 200, "enforcement goes on");
    let (_stats, watched) = tokio::sync::watch::channel(Arc::default());
    bench.metrics.watch_stats(watched);
    let text = bench.metrics.encode().unwrap();
    assert!(text.contains("store_behind"), "{text}");
    bench.unhang();
    while !bench.trouble().is_empty() {
        bench.responder.settle().await;
    }
}

#[tokio::test]
async fn at_the_end_late_commits_get_one_more_chance() {
    let mut bench = Bench::hung();
    let decision = block("192.0.2.1/32");
    bench.apply(&decision).await;
    bench.unhang();
    bench.responder.flush().await;
    assert_eq!(bench.trouble(), "");
    assert_eq!(bench.stored(&decision).await, decision);
}

#[tokio::test]
async fn many_that_end_at_once_end_as_each_by_itself_would() {
    let mut told = Vec::new();
    for together in [true, false] {
        let mut bench = Bench::new();
        let mut decisions: Vec<_> = (0..100).map(|n| block(&format!("192.0.2.{n}/32"))).collect();
        let mut mint = Mint::Counted(0);
        for (n, decision) in decisions.iter_mut().enumerate() {
            decision.id = mint.decision(at(1));
            bench.responder.carry_out(vec![order(decision)], at(1)).await;
            decision.status = DecisionStatus::Deleted;
            decision.ended_at = Some(at(2));
            // Every third stays to watch.
            decision.terms.watch_until = n.is_multiple_of(3).then(|| at(60));
        }
        let (reply, answer) = oneshot::channel();
        let orders: Vec<_> = if together {
            vec![Order::Withdraw {
                decisions: decisions.clone(),
                cause: Cause::Operator,
                actor: "ann".into(),
                reply: Some(reply),
            }]
        } else {
            let alone = |decision: &Decision| Order::Withdraw {
                decisions: vec![decision.clone()],
                cause: Cause::Operator,
                actor: "ann".into(),
                reply: None,
            };
            decisions.iter().map(alone).collect()
        };
        bench.events();
        bench.responder.carry_out(orders, at(2)).await;
        if together {
            assert_eq!(answer.await.unwrap().unwrap(), decisions);
        }
        let events: Vec<_> = bench.events().iter().map(Event::kind).collect();
        let mut actions = bench.actions().await;
        for action in &mut actions {
            action.id = ActionId(uuid::Uuid::nil());
        }
        let mut stored = Vec::new();
        for decision in &decisions {
            stored.push(bench.stored(decision).await);
        }
        assert_eq!(stored, decisions);
        assert_eq!(bench.rig.blocks().len(), 34, "those that watch");
        let metrics = bench.metrics.encode().unwrap();
        let reverted = metrics
            .lines()
            .find(|line| line.starts_with("sentinel_actions_reverted_total{"))
            .map(str::to_owned);
        assert!(reverted.is_some());
        told.push((events.len(), actions, reverted));
    }
    assert!(told[0].1.iter().all(|action| action.status == ActionStatus::Reverted));
    assert_eq!(told[0], told[1]);
}
