//! The agent is killed between every two steps, and the next one finishes what was begun.

use super::stage::{Stage, bare, networks};
use crate::scene::SOON;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use testbed::proxy::Stop;
use testbed::wait;

/// Requests counted: those that change something; with `CONTAINER_KILLS=all` every one.
fn counted() -> &'static str {
    let all = std::env::var("CONTAINER_KILLS").is_ok_and(|text| text == "all");
    if all { "" } else { "POST" }
}

/// A container on three networks, with fixed and given addresses and aliases.
fn container(stage: &Stage) -> (String, IpAddr) {
    let engine = &stage.engine;
    for (name, options) in [
        ("one", ["--subnet", "10.71.0.0/24"].as_slice()),
        ("two", &["--ipv6", "--subnet", "10.72.0.0/24", "--subnet", "fd72::/64"]),
    ] {
        engine
            .docker(&[&["network", "create"], options, &[name]].concat())
            .expect("a network");
    }
    let id = stage.run(
        "web",
        &[
            "--network",
            "one",
            "--ip",
            "10.71.0.50",
            "--network-alias",
            "w",
            "--mac-address",
            "02:00:5e:00:53:01",
        ],
    );
    engine
        .docker(&["network", "connect", "--ip6", "fd72::50", "--alias", "x", "two", &id])
        .expect("connected");
    engine
        .docker(&["network", "connect", "bridge", &id])
        .expect("connected");
    (id, "10.71.0.50".parse().expect("an address"))
}

/// Kills the agent when the door is frozen, and starts the next one. `false`: there were fewer requests than that.
fn strike(stage: &mut Stage, decision: &Value, settled: &str) -> bool {
    let frozen = wait::until("the door to freeze", SOON, || {
        let over = stage
            .action(decision, "isolate_container")
            .is_some_and(|action| action["status"] == settled);
        Ok(stage.proxy.frozen().then_some(true).or(over.then_some(false)))
    });
    let frozen = frozen.unwrap_or_else(|error| panic!("{error:#}"));
    if frozen {
        // What it carried out may not have reached the engine's answer yet.
        std::thread::sleep(Duration::from_millis(300));
        stage.agent.kill().expect("killed");
    }
    stage.proxy.thaw();
    if frozen {
        stage.agent.launch().expect("started again");
    }
    frozen
}

#[test]
fn a_kill_at_any_request_is_gone_on_from() {
    let Some(mut stage) = Stage::new(&json!({})) else {
        return;
    };
    let (id, address) = container(&stage);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let mut kills = 0;
    for done in [false, true] {
        for after in 0.. {
            let stop = Stop {
                begins: counted(),
                after,
                done,
            };
            stage.knows(4);
            stage.proxy.arm(stop);
            let decision = stage.isolate(address, "1h");
            // On the way there the decision is in force, so the next agent goes on.
            let there = strike(&mut stage, &decision, "enforced");
            stage.awaits(&decision, "enforced");
            assert_eq!(
                networks(&stage.engine.inspect(&id).expect("inspect")),
                json!({}),
                "{stop:?}"
            );
            stage.proxy.arm(stop);
            stage.revert(&decision, "isolate_container");
            // On the way back it is over, so the next agent puts it back.
            let back = strike(&mut stage, &decision, "reverted");
            let action = stage.awaits(&decision, "reverted");
            let said = action["outcome"].as_str().unwrap_or_default();
            assert!(said.ends_with("as it was, read back"), "{stop:?}: {said}");
            assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before, "{stop:?}");
            kills += u32::from(there) + u32::from(back);
            if !there && !back {
                break;
            }
        }
    }
    eprintln!("{kills} kills");
    assert!(
        kills >= 12,
        "three disconnections and three connections, each before and after: {kills}"
    );
    let verdict = stage.agent.get("/audit/verify").expect("a verdict");
    assert_eq!(verdict["broken"], Value::Null, "{verdict}");
}

#[test]
fn what_ends_while_the_agent_is_dead_is_put_back_by_the_next() {
    let Some(mut stage) = Stage::new(&json!({})) else {
        return;
    };
    let (id, address) = container(&stage);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    stage.knows(4);
    stage.proxy.arm(Stop {
        begins: "POST",
        after: 1,
        done: true,
    });
    // Cut off in part, and then nobody is there when its time is over.
    let decision = stage.isolate(address, "20s");
    wait::until("the door to freeze", SOON, || Ok(stage.proxy.frozen().then_some(()))).expect("frozen");
    stage.agent.kill().expect("killed");
    stage.proxy.thaw();
    assert_ne!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
    std::thread::sleep(Duration::from_secs(21));
    stage.agent.launch().expect("started again");
    stage.awaits(&decision, "expired");
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
}
