//! Restart, allow maps, self-check and counters.

use super::rig::{Bench, at, block, net, protected};
use crate::respond::HitTable;
use crate::types::*;
use sentinel_common::addr::Addr;
use sentinel_common::packet::PacketMeta;
use std::net::IpAddr;
use std::time::Duration;

fn packet(bench: &Bench, source: &str, now: u64) {
    let packet = PacketMeta {
        src: Addr::from(source.parse::<IpAddr>().unwrap()),
        ..PacketMeta::EMPTY
    };
    let _ = bench.rig.inside().gate.judge(&packet, 60, now);
}

#[tokio::test]
async fn restored_is_read_back_stored_and_told() {
    let mut bench = Bench::new();
    let (good, bad) = (block("192.0.2.1/32"), block("192.0.2.2/32"));
    for decision in [&good, &bad] {
        let record = crate::store::Record::Decision(std::sync::Arc::new(decision.clone()));
        bench.store.commit(vec![record]).await.unwrap();
    }
    // put and get of the first, and the switch, then the put of the second.
    bench.rig.inside().fail_at = Some(3);
    let failed = bench.responder.restore(vec![good.clone(), bad.clone()], at(5)).await;
    assert_eq!(failed, [bad.id]);
    assert_eq!(bench.actions().await.len(), 1, "told before anything is attached");
    bench.responder.reword(at(6)).await;
    assert_eq!(bench.stored(&bad).await.status, DecisionStatus::Failed);
    let actions = bench.actions().await;
    let of = |id| actions.iter().find(|a| a.decision == id).unwrap();
    assert_eq!(of(good.id).status, ActionStatus::Enforced);
    assert_eq!(
        of(good.id).outcome,
        "enforced again after a restart by model, read back"
    );
    assert_eq!(of(bad.id).status, ActionStatus::Failed);
    assert_eq!(bench.rig.blocks(), [good.target]);
}

#[tokio::test]
async fn an_allowlist_as_long_as_the_map_can_be_exchanged_for_another() {
    let mut bench = Bench::new();
    let list = |second: u8| -> Vec<Protected> {
        let nets =
            (0..sentinel_common::names::ALLOW_CAPACITY).map(|n| format!("10.{second}.{}.{}/32", n / 256, n % 256));
        let nets: Vec<String> = nets.collect();
        protected(&nets.iter().map(String::as_str).collect::<Vec<_>>())
    };
    bench.responder.protect(&list(1)).unwrap();
    bench.responder.protect(&list(2)).unwrap();
    let mut wanted: Vec<_> = list(2).iter().map(|one| one.target).collect();
    wanted.sort();
    let mut there = bench.rig.allows();
    there.sort();
    assert_eq!(there, wanted);
}

/// What is redirected depends on the hook, which is known when the programs are attached, and may change.
#[tokio::test]
async fn what_is_said_of_a_redirect_follows_the_hook() {
    const TC: &str = "its packets are dropped where tc is the hook";
    let mut bench = Bench::new();
    let redirect = Decision {
        action: ActionKind::RedirectToHoneypot,
        ..block("192.0.2.1/32")
    };
    let shadow = Decision {
        simulated: true,
        target: net("192.0.2.3/32"),
        id: Mint::Random.decision(at(1)),
        ..redirect.clone()
    };
    let block = block("192.0.2.2/32");
    bench
        .responder
        .restore(vec![redirect.clone(), shadow, block.clone()], at(5))
        .await;
    // As the kernel's maps say: nothing of a decision that is only counted.
    for (second, now, said) in [
        (
            6,
            Some(TC),
            "enforced again after a restart by model, read back; but its packets are dropped",
        ),
        (
            7,
            None,
            "redirects to the honeypot, again after a restart by model, read back",
        ),
        (
            8,
            Some(TC),
            "enforced again after a restart by model, read back; but its packets are dropped",
        ),
    ] {
        bench.rig.inside().shortfall = now;
        bench.events();
        bench.responder.reword(at(second)).await;
        let told = bench.events();
        let told = told
            .iter()
            .filter(|event| matches!(event, Event::Action(action) if action.decision == redirect.id));
        assert_eq!(told.count(), 1, "{second}");
        let actions = bench.actions().await;
        let action = actions.iter().find(|action| action.decision == redirect.id).unwrap();
        assert!(action.outcome.starts_with(said), "{}", action.outcome);
        assert_eq!(
            (action.status, action.entered_at, action.outcome_at),
            (ActionStatus::Enforced, Some(at(6)), Some(at(second))),
            "when it came into force stays, however often it is told"
        );
        let other = actions.iter().find(|action| action.decision == block.id).unwrap();
        assert_eq!(
            other.outcome_at,
            Some(at(6)),
            "what the hook does not touch is told once"
        );
        bench.responder.reword(at(second)).await;
        assert!(bench.events().is_empty(), "what did not change is not told again");
    }
    // Where nobody judges, a block blocks nothing either.
    bench.rig.inside().shortfall = None;
    for (second, bare, said) in [
        (
            9,
            Some("its packets pass on lan"),
            "enforced again after a restart by model, read back; but its packets pass on lan",
        ),
        (10, None, "enforced again after a restart by model, read back"),
    ] {
        bench.rig.inside().bare = bare;
        bench.responder.reword(at(second)).await;
        for id in [block.id, redirect.id] {
            let actions = bench.actions().await;
            let action = actions.iter().find(|action| action.decision == id).unwrap();
            assert_eq!(action.outcome_at, Some(at(second)), "{}", action.outcome);
            assert!(id != block.id || action.outcome == said, "{}", action.outcome);
        }
    }
}

#[tokio::test]
async fn the_allow_map_gains_before_it_loses_and_spells_like_the_kernel() {
    let mut bench = Bench::new();
    let first = protected(&["192.0.2.1/32", "::ffff:198.51.100.7/128", "10.1.2.3/8"]);
    assert_eq!(bench.responder.protect(&first), Ok(3));
    assert_eq!(
        bench.rig.allows(),
        [net("10.0.0.0/8"), net("192.0.2.1/32"), net("198.51.100.7/32")]
    );
    assert_eq!(bench.responder.protect(&first), Ok(0), "the same list changes nothing");
    bench.rig.inside().calls.clear();
    bench
        .responder
        .protect(&protected(&["192.0.2.2/32", "2001:db8::1/128"]))
        .unwrap();
    let calls = bench.rig.inside().calls.clone();
    let last_gain = calls.iter().rposition(|c| c.starts_with("allow ")).unwrap();
    let first_loss = calls.iter().position(|c| c.starts_with("disallow")).unwrap();
    assert!(last_gain < first_loss, "{calls:?}");
}

#[tokio::test]
async fn an_allow_entry_that_is_refused_stops_no_other_and_stays_said() {
    let mut bench = Bench::new();
    bench.responder.protect(&protected(&["10.0.0.0/8"])).unwrap();
    bench.rig.inside().fail_at = Some(1);
    let list = protected(&["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128"]);
    assert!(bench.responder.protect(&list).is_err());
    let allows = bench.rig.allows();
    assert!(allows.contains(&net("192.0.2.2/32")) && allows.contains(&net("2001:db8::1/128")));
    assert!(
        allows.contains(&net("10.0.0.0/8")),
        "nothing is given up while something is missing"
    );
    bench.apply(&block("203.0.113.1/32")).await;
    assert!(
        bench.trouble().contains("allow map is not complete"),
        "{}",
        bench.trouble()
    );
    assert_eq!(bench.responder.protect(&list), Ok(2));
    assert_eq!(bench.trouble(), "");
    bench.rig.breaks(&["allows"]);
    assert!(bench.responder.protect(&protected(&["192.0.2.9/32"])).is_err());
    assert!(
        bench.rig.allows().contains(&net("192.0.2.9/32")),
        "what cannot be listed can still be added to"
    );
}

#[tokio::test]
async fn drift_is_repaired_and_counted_and_one_fault_stops_no_other_repair() {
    let mut bench = Bench::new();
    let decisions = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"].map(block);
    for decision in &decisions {
        bench.apply(decision).await;
    }
    {
        use crate::respond::Enforcer;
        let mut inside = bench.rig.inside();
        inside.gate.delete_block(decisions[0].target).unwrap();
        inside.gate.delete_block(decisions[1].target).unwrap();
        let stranger = sentinel_common::entry::BlockEntry::default();
        inside.gate.put_block(net("198.51.100.1/32"), &stranger).unwrap();
        inside.fail_at = Some(1);
    }
    assert!(bench.responder.self_check().is_err());
    assert_eq!(bench.rig.blocks(), [net("192.0.2.2/32"), net("192.0.2.3/32")]);
    assert_eq!(bench.responder.self_check(), Ok(1));
    assert_eq!(bench.responder.self_check(), Ok(0));
    assert_eq!(bench.rig.blocks().len(), 3);
}

#[tokio::test]
async fn first_drops_are_measured_once_not_on_extension_and_not_for_ever() {
    let mut bench = Bench::new();
    let decision = block("192.0.2.1/32");
    bench.apply(&decision).await;
    let longer = Decision {
        expires_at: Some(at(2000)),
        ..decision.clone()
    };
    bench.apply(&longer).await;
    bench.apply(&block("192.0.2.2/32")).await;
    packet(&bench, "192.0.2.1", 1_250_000_000);
    assert!(bench.responder.watch_first_drops(Ktime(0)), "one is silent");
    assert!(
        !bench
            .responder
            .watch_first_drops(Ktime(0).after(Duration::from_secs(11))),
        "and is given up"
    );
    bench
        .apply(&Decision {
            expires_at: Some(at(3000)),
            ..longer
        })
        .await;
    assert!(!bench.responder.watch_first_drops(Ktime(0)));
    let text = bench.metrics.encode().unwrap();
    assert!(text.contains("sentinel_detect_to_drop_seconds_sum 0.25"), "{text}");
    assert!(text.contains("sentinel_detect_to_drop_seconds_count 1"), "{text}");
}

#[tokio::test]
async fn counters_take_turns_and_the_cost_of_a_call_is_bounded() {
    let mut bench = Bench::new();
    let decisions: Vec<_> = (1..=10).map(|n| block(&format!("192.0.2.{n}/32"))).collect();
    for decision in &decisions {
        bench.apply(decision).await;
    }
    let mut table = HitTable::default();
    bench.responder.hits(0).unwrap().tell(&mut table);
    assert_eq!(table.len(), 10, "new ones are there at once");
    for n in 1..=10 {
        packet(&bench, &format!("192.0.2.{n}"), 5);
    }
    for turn in 1..=3 {
        bench.rig.inside().calls.clear();
        bench.responder.hits(4).unwrap().tell(&mut table);
        assert!(bench.rig.inside().calls.len() <= 4);
        let moved = table.values().filter(|h| h.packets == 1).count();
        assert_eq!(moved, (turn * 4).min(10));
    }
    bench.rig.breaks(&["put"]);
    bench.apply(&decisions[0]).await;
    bench.responder.hits(0).unwrap().tell(&mut table);
    assert_eq!(table.len(), 9, "what is no longer in force has no counters");
}
