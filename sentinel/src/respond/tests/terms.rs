//! Limits, redirections, both directions, and what comes after.

use super::rig::{Bench, at, block, net};
use crate::respond::{Cause, Order};
use crate::types::*;
use sentinel_common::entry::{ACTION_LIMIT, ACTION_REDIRECT, FLAG_EACH, FLAG_EGRESS, FLAG_SHADOW};

fn with(action: ActionKind, terms: Terms) -> Decision {
    Decision {
        action,
        terms,
        ..block("192.0.2.0/24")
    }
}

fn limit() -> Decision {
    let rate = Rate {
        packets: 100,
        bytes: 1 << 20,
        burst_ms: 250,
        each: true,
        openings: false,
    };
    let terms = Terms {
        rate: Some(rate),
        watch_until: Some(at(4600)),
        reapply_ms: 600_000,
        ..Terms::default()
    };
    with(ActionKind::RateLimit, terms)
}

#[tokio::test]
async fn what_was_decided_is_in_the_entry_and_the_outcome_says_it() {
    let egress = Terms {
        egress: true,
        ..Terms::default()
    };
    let simulated = Decision {
        simulated: true,
        ..limit()
    };
    for (decision, outcome, kind) in [
        (
            limit(),
            "limits to 100 packets/s, 1 MiB/s, burst 250 ms, each address by itself, by model, read back",
            "rate_limit",
        ),
        (
            with(ActionKind::RedirectToHoneypot, Terms::default()),
            "redirects to the honeypot, by model, read back",
            "redirect_to_honeypot",
        ),
        (
            with(ActionKind::BlockIp, egress),
            "enforced in both directions by model, read back",
            "block_ip",
        ),
        (
            simulated,
            "simulated: counted, not limited, by model, read back",
            "rate_limit",
        ),
    ] {
        let mut bench = Bench::new();
        assert!(bench.apply(&decision).await.is_empty());
        let action = &bench.actions().await[0];
        assert_eq!((action.outcome.as_str(), action.kind.as_str()), (outcome, kind));
        assert_eq!(bench.stored(&decision).await, decision, "restored as decided");
        assert_eq!(bench.responder.self_check(), Ok(0));
    }
    let mut bench = Bench::new();
    bench.apply(&limit()).await;
    let entry = bench.rig.entry("192.0.2.0/24").unwrap();
    assert_eq!((entry.action, entry.flags), (ACTION_LIMIT, FLAG_EACH));
    assert_eq!(
        (entry.packet_ns, entry.byte_ns_q8, entry.burst_ms),
        (10_000_000, 244_140, 250)
    );
    assert_eq!(entry.watch_until_ns, 4_600_000_000_000);
    assert_eq!(entry.reapply_ns, 600_000_000_000);
    let simulated = Decision {
        simulated: true,
        ..with(ActionKind::RedirectToHoneypot, Terms::default())
    };
    bench.apply(&simulated).await;
    let entry = bench.rig.entry("192.0.2.0/24").unwrap();
    assert_eq!((entry.action, entry.flags), (ACTION_REDIRECT, FLAG_SHADOW));
    bench.apply(&with(ActionKind::BlockIp, egress)).await;
    assert_eq!(bench.rig.entry("192.0.2.0/24").unwrap().flags, FLAG_EGRESS);
}

#[tokio::test]
async fn what_cannot_be_done_here_is_said() {
    let mut bench = Bench::new();
    bench.rig.inside().shortfall = Some("it is dropped, because of the test");
    bench
        .apply(&with(ActionKind::RedirectToHoneypot, Terms::default()))
        .await;
    assert_eq!(
        bench.actions().await[0].outcome,
        "enforced by model, read back; but it is dropped, because of the test"
    );
}

async fn expire(bench: &mut Bench, decision: &Decision, now: i64) {
    let over = Decision {
        status: DecisionStatus::Expired,
        ended_at: decision.expires_at,
        ..decision.clone()
    };
    let order = Order::Withdraw {
        decisions: vec![over],
        cause: Cause::Expired,
        actor: "sentinel".into(),
        reply: None,
    };
    bench.responder.carry_out(vec![order], at(now)).await;
}

#[tokio::test]
async fn an_entry_that_only_watches_is_as_it_was_and_is_told_as_over() {
    let mut bench = Bench::new();
    let decision = limit();
    bench.apply(&decision).await;
    let before = bench.rig.entry("192.0.2.0/24").unwrap();
    bench.rig.inside().calls.clear();
    expire(&mut bench, &decision, 1001).await;
    assert_eq!(
        bench.rig.inside().calls,
        ["get 192.0.2.0/24"],
        "read back, not written anew"
    );
    assert_eq!(bench.rig.entry("192.0.2.0/24"), Some(before));
    let action = &bench.actions().await[0];
    assert_eq!(action.status, ActionStatus::Expired);
    assert!(
        action.outcome.contains("only watches for a return until"),
        "{}",
        action.outcome
    );
    assert_eq!(bench.stored(&decision).await.status, DecisionStatus::Expired);
    assert_eq!((bench.responder.holds(), bench.responder.watches()), (0, 1));
    assert_eq!(bench.responder.self_check(), Ok(0), "a probation is no drift");
    assert_eq!(bench.responder.former(decision.id).map(|d| d.id), Some(decision.id));

    // A decision that failed on its target takes the probation with it: nothing may stay.
    bench.rig.breaks(&["put"]);
    bench.apply(&block("192.0.2.0/24")).await;
    bench.rig.breaks(&[]);
    assert!(bench.rig.blocks().is_empty());
    assert_eq!(bench.responder.watches(), 0);
    assert_eq!(bench.store.watched_decisions().await.unwrap(), []);
}

#[tokio::test]
async fn a_full_map_takes_a_new_decision_in_place_of_the_oldest_probation_of_its_kind() {
    let mut bench = Bench::new();
    bench.rig.inside().gate = crate::replay::ModelGate::new(2, 1, true);
    let watched = |target: &str, until| Decision {
        terms: Terms {
            watch_until: Some(at(until)),
            ..Terms::default()
        },
        ..block(target)
    };
    let net24 = watched("198.51.100.0/24", 2000);
    let (later, sooner) = (watched("192.0.2.1/32", 4000), watched("192.0.2.2/32", 3000));
    for decision in [&net24, &later, &sooner] {
        bench.apply(decision).await;
        expire(&mut bench, decision, 1001).await;
    }
    assert_eq!(bench.responder.watches(), 3);
    let fresh = block("192.0.2.3/32");
    assert!(bench.apply(&fresh).await.is_empty(), "{}", bench.trouble());
    assert_eq!(
        bench.rig.blocks(),
        ["192.0.2.1/32", "192.0.2.3/32", "198.51.100.0/24"].map(net)
    );
    assert_eq!(bench.responder.self_check(), Ok(0));
    assert_eq!(bench.stored(&sooner).await.terms.watch_until, None);
    let (_stats, watched) = tokio::sync::watch::channel(std::sync::Arc::default());
    bench.metrics.watch_stats(watched);
    assert!(
        bench
            .metrics
            .encode()
            .unwrap()
            .contains(r#"reason="probation_evicted"} 1"#)
    );
    // Decisions in force give way to nobody.
    bench.apply(&block("192.0.2.4/32")).await;
    let refused = block("192.0.2.5/32");
    assert_eq!(bench.apply(&refused).await, [refused.id]);
    assert!(bench.trouble().contains("full"), "{}", bench.trouble());
}
