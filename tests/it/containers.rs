//! A container is cut off through a real Docker Engine, and gets back exactly what it had.

mod kills;
mod stage;
mod topology;

use crate::scene::SOON;
use serde_json::{Value, json};
use stage::{Stage, bare, networks};
use std::net::IpAddr;
use std::time::Duration;
use testbed::wait;
use topology::{Rng, Topology};

/// Topologies isolated and restored; more by the environment.
const TOPOLOGIES: u64 = 20;

#[test]
fn random_topologies_come_back_exactly() {
    let Some(stage) = Stage::new(&json!({})) else { return };
    let wanted = std::env::var("CONTAINER_TOPOLOGIES").ok();
    let count = wanted.and_then(|text| text.parse().ok()).unwrap_or(TOPOLOGIES);
    let seed = std::env::var("CONTAINER_SEED").ok();
    let seed: u64 = seed.and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut times = (Vec::new(), Vec::new());
    for n in 0..count {
        let rng = Rng(seed.wrapping_mul(1_000_003).wrapping_add(n));
        let topology =
            topology::random(&stage.engine, rng).unwrap_or_else(|error| panic!("seed {seed}, {n}: {error:#}"));
        let what = format!("seed {seed}, topology {n}: {}", topology.told);
        let before = bare(&stage.engine.inspect(&topology.container).expect("inspect"));
        let address = Topology::address(&before, n);
        let started = std::time::Instant::now();
        let decision = stage.isolate(address, "1h");
        let action = stage.awaits(&decision, "enforced");
        times.0.push(started.elapsed());
        let cut = stage.engine.inspect(&topology.container).expect("inspect");
        assert_eq!(networks(&cut), json!({}), "{what}");
        let said = action["outcome"].as_str().unwrap_or_default();
        assert!(said.contains("connected to no network, read back"), "{said}");
        let started = std::time::Instant::now();
        // Whichever of the two actions is reverted, both are.
        let kind = if n % 2 == 0 { "isolate_container" } else { "block_ip" };
        stage.revert(&decision, kind);
        let action = stage.awaits(&decision, "reverted");
        times.1.push(started.elapsed());
        let after = bare(&stage.engine.inspect(&topology.container).expect("inspect"));
        assert_eq!(after, before, "{what}");
        let said = action["outcome"].as_str().unwrap_or_default();
        assert!(said.ends_with("as it was, read back"), "{what}: {said}");
        topology.remove(&stage.engine).expect("removed");
    }
    let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    eprintln!(
        "{count} topologies; slowest to isolate {:?}, to restore {:?}",
        worst(&times.0),
        worst(&times.1)
    );
    let metrics = stage.agent.metrics().expect("metrics");
    let exact = metrics.sum("sentinel_isolation_restores_total", &["result=\"exact\""]);
    assert!((exact - count as f64).abs() < 0.5, "{exact} of {count}");
    assert!(metrics.sum("sentinel_isolation_failures_total", &[]) < 0.5);
}

#[test]
fn a_scanning_container_is_isolated_and_comes_back() {
    let always =
        json!({ "risk": { "high": "isolate_container", "medium": "isolate_container", "low": "isolate_container" } });
    let Some(stage) = Stage::new(&json!({
        "kernel": { "interfaces": ["docker0"] },
        "decision_matrix": { "high": always.clone(), "medium": always.clone(), "low": always },
    })) else {
        return;
    };
    let id = stage.run("attacker", &[]);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let address = stage.address(&id);
    let gateway = before["NetworkSettings"]["Gateway"]
        .as_str()
        .expect("a gateway")
        .to_owned();
    // Somebody to talk to, which shows that the attacker receives at its address.
    let host = stage.run("listener", &["--network", "host"]);
    let listen = "nc -ll -p 8080 -e cat";
    stage
        .engine
        .docker(&["exec", "-d", &host, "sh", "-c", listen])
        .expect("a listener");
    let talk = format!("echo hello | nc -w 2 {gateway} 8080 | grep -q hello");
    wait::until("the listener", SOON, || {
        let said = stage.engine.try_docker(&["exec", &id, "sh", "-c", &talk])?;
        Ok((said.code == 0).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    // A connect scan, as a worm makes it; it ends by itself.
    let scan = format!("for p in $(seq 1 300); do nc -w 1 {gateway} $p < /dev/null; done; true");
    stage
        .engine
        .docker(&["exec", "-d", &id, "sh", "-c", &scan])
        .expect("a scan");
    let decision = wait::until("the scan to be answered", Duration::from_secs(90), || {
        let active = stage.agent.active()?;
        Ok(active
            .into_iter()
            .find(|decision| decision["target"] == format!("{address}/32")))
    })
    .unwrap_or_else(|error| {
        panic!(
            "{error:#}\nalerts: {:?}\nstats: {}",
            stage.agent.all_alerts(),
            stage.agent.get("/stats").unwrap_or_default()
        )
    });
    assert_eq!(decision["action"], "isolate_container", "{decision}");
    stage.awaits(&decision, "enforced");
    assert_eq!(networks(&stage.engine.inspect(&id).expect("inspect")), json!({}));
    let kernel = stage.action(&decision, "block_ip").expect("the kernel's action");
    assert_eq!(kernel["status"], "enforced", "{kernel}");
    let listed = stage
        .agent
        .cli(&["actions", "list"])
        .expect("the command line runs")
        .output;
    assert!(
        listed.contains("isolate_container") && listed.contains("block_ip"),
        "{listed}"
    );
    stage.revert(&decision, "isolate_container");
    stage.awaits(&decision, "reverted");
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
    let ping = stage
        .engine
        .try_docker(&["exec", &id, "ping", "-c", "1", "-W", "2", &gateway]);
    assert_eq!(ping.expect("docker").code, 0, "it is back on the network");
}

#[test]
fn who_may_not_be_isolated_is_not() {
    let Some(stage) = Stage::new(&json!({ "containers": { "protect": ["db", "label:tier=core"] } })) else {
        return;
    };
    let named = stage.run("db", &[]);
    let labelled = stage.run("front", &["--label", "tier=core"]);
    let host = stage.run("hostly", &["--network", "host"]);
    assert!(networks(&stage.engine.inspect(&host).expect("inspect"))["host"].is_object());
    for id in [&named, &labelled] {
        let address = stage.address(id).to_string();
        let said = stage.refuses(&address);
        assert!(said.contains("protected_container"), "{said}");
        assert_ne!(networks(&stage.engine.inspect(id).expect("inspect")), json!({}));
    }
    for (address, words) in [("203.0.113.9", "no running container"), ("192.0.2.1", "own_address")] {
        let said = stage.wish(address);
        assert!(said.contains(words), "{said}");
    }
    let gateway = "172.17.0.1";
    assert!(stage.wish(gateway).contains("own_address"));
    let metrics = stage.agent.metrics().expect("metrics");
    assert!(metrics.sum("sentinel_guard_vetoes_total", &["guard=\"protected_container\""]) > 1.5);
}

#[test]
fn simulation_disconnects_nothing_and_says_what_it_would_have() {
    let Some(stage) = Stage::new(&json!({ "mode": "simulation" })) else {
        return;
    };
    let id = stage.run("web", &[]);
    let before = stage.engine.inspect(&id).expect("inspect");
    let decision = stage.isolate(stage.address(&id), "1h");
    let action = stage.awaits(&decision, "simulated");
    let said = action["outcome"].as_str().unwrap_or_default();
    assert!(
        said.contains("container web would be disconnected from bridge; nothing was done"),
        "{said}"
    );
    assert_eq!(stage.engine.inspect(&id).expect("inspect"), before);
    stage.revert(&decision, "isolate_container");
    stage.awaits(&decision, "reverted");
    assert_eq!(stage.engine.inspect(&id).expect("inspect"), before);
}

#[test]
fn a_stop_puts_it_back_and_going_on_cuts_it_off_again() {
    let Some(stage) = Stage::new(&json!({})) else { return };
    let id = stage.run("web", &[]);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let decision = stage.isolate(stage.address(&id), "1h");
    stage.awaits(&decision, "enforced");
    let told = |verb: &str| {
        let told = stage.agent.cli(&[verb]).expect("the command line runs");
        assert_eq!(told.code, 0, "{}", told.output);
    };
    for _ in 0..2 {
        told("stop-acting");
        stage.awaits(&decision, "simulated");
        assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
        told("resume-acting");
        stage.awaits(&decision, "enforced");
        assert_eq!(networks(&stage.engine.inspect(&id).expect("inspect")), json!({}));
    }
    stage.revert(&decision, "isolate_container");
    stage.awaits(&decision, "reverted");
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
}

#[test]
fn who_is_protected_since_is_put_back() {
    let Some(mut stage) = Stage::new(&json!({})) else {
        return;
    };
    let id = stage.run("web", &[]);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let decision = stage.isolate(stage.address(&id), "1h");
    stage.awaits(&decision, "enforced");
    stage.agent.kill().expect("killed");
    stage
        .agent
        .set(&["containers", "protect"], json!(["web"]))
        .expect("a setting");
    stage.agent.launch().expect("started again");
    let action = stage.awaits(&decision, "failed");
    let said = action["outcome"].as_str().unwrap_or_default();
    assert!(
        said.contains("protected_container") && said.contains("is back on bridge as it was"),
        "{said}"
    );
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
}

#[test]
fn quarantine_leaves_it_on_one_network_alone() {
    let Some(stage) = Stage::new(&json!({ "containers": { "quarantine_network": "apart" } })) else {
        return;
    };
    let id = stage.run("web", &[]);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let decision = stage.isolate(stage.address(&id), "1h");
    let waiting = wait::until("the missing network to be told", SOON, || {
        let action = stage.action(&decision, "isolate_container");
        Ok(action.filter(|action| {
            action["outcome"]
                .as_str()
                .unwrap_or_default()
                .contains("no network `apart`")
        }))
    });
    assert_eq!(waiting.unwrap_or_else(|error| panic!("{error:#}"))["status"], "intent");
    assert_eq!(
        networks(&stage.engine.inspect(&id).expect("inspect")),
        json!({}),
        "cut off all the same"
    );
    stage
        .engine
        .docker(&["network", "create", "--internal", "apart"])
        .expect("a network");
    stage.awaits(&decision, "enforced");
    let now = networks(&stage.engine.inspect(&id).expect("inspect"));
    let names: Vec<&String> = now.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["apart"]);
    stage.revert(&decision, "isolate_container");
    stage.awaits(&decision, "reverted");
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
}

#[test]
fn what_cannot_be_as_it_was_is_told() {
    let Some(stage) = Stage::new(&json!({})) else { return };
    // A hole below its address: the engine gives the lowest free one.
    let neighbour = stage.run("neighbour", &[]);
    let id = stage.run("web", &[]);
    stage
        .engine
        .docker(&["network", "create", "passing"])
        .expect("a network");
    stage
        .engine
        .docker(&["network", "connect", "passing", &id])
        .expect("connected");
    let was = stage.address(&id);
    let decision = stage.isolate(was, "1h");
    stage.awaits(&decision, "enforced");
    stage.engine.docker(&["rm", "-f", &neighbour]).expect("removed");
    stage.engine.docker(&["network", "rm", "passing"]).expect("removed");
    // Two more, of which the second is given the address it had.
    stage.run("first", &[]);
    let heir = stage.run("heir", &[]);
    assert_eq!(stage.address(&heir), was);
    wait::until("the heir to be told of", SOON, || {
        let action = stage.action(&decision, "isolate_container").unwrap_or_default();
        let said = action["outcome"].as_str().unwrap_or_default();
        Ok(said
            .contains(&format!("container heir has been given {was} meanwhile"))
            .then_some(()))
    })
    .expect("told");
    stage.revert(&decision, "isolate_container");
    let action = stage.awaits(&decision, "reverted");
    let is = stage.address(&id);
    let said = action["outcome"].as_str().unwrap_or_default();
    assert_ne!(is, was);
    assert!(
        said.contains(&format!("the IPv4 address on bridge was {was}, is {is}")),
        "{said}"
    );
    assert!(said.contains("the network passing is gone"), "{said}");

    // Somebody connects it while it is to be apart: it is cut off again, and that network is put back as well.
    let decision = stage.isolate(is, "1h");
    stage.awaits(&decision, "enforced");
    stage
        .engine
        .docker(&["network", "create", "second"])
        .expect("a network");
    stage
        .engine
        .docker(&["network", "connect", "second", &id])
        .expect("connected");
    wait::until("it to be cut off again", SOON, || {
        Ok((networks(&stage.engine.inspect(&id)?) == json!({})).then_some(()))
    })
    .expect("cut off");
    stage.awaits(&decision, "enforced");
    stage.revert(&decision, "isolate_container");
    stage.awaits(&decision, "reverted");
    let now = networks(&stage.engine.inspect(&id).expect("inspect"));
    assert!(now["second"].is_object() && now["bridge"].is_object(), "{now}");

    // Removed while it is apart.
    let decision = stage.isolate(stage.address(&id), "1h");
    stage.awaits(&decision, "enforced");
    stage.engine.docker(&["rm", "-f", &id]).expect("removed");
    stage.revert(&decision, "isolate_container");
    let action = stage.awaits(&decision, "reverted");
    let said = action["outcome"].as_str().unwrap_or_default();
    assert!(said.ends_with("is gone; nothing to put back"), "{said}");
}

#[test]
fn two_decisions_on_one_container_hold_it_until_both_are_over() {
    let Some(stage) = Stage::new(&json!({})) else { return };
    stage
        .engine
        .docker(&[
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "fd62::/64",
            "--subnet",
            "10.62.0.0/24",
            "six",
        ])
        .expect("a network");
    let id = stage.run("web", &["--network", "six", "--ip", "10.62.0.9", "--ip6", "fd62::9"]);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let (v4, v6): (IpAddr, IpAddr) = ("10.62.0.9".parse().expect("v4"), "fd62::9".parse().expect("v6"));
    stage.knows(2);
    // Both before the engine can have forgotten the addresses.
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| stage.try_isolate(v6, "1h"));
        (stage.try_isolate(v4, "1h"), other.join().expect("the other"))
    });
    let made: Vec<Value> = [first, second].into_iter().flatten().collect();
    assert!(!made.is_empty());
    for decision in &made {
        stage.awaits(decision, "enforced");
    }
    for (at, decision) in made.iter().enumerate() {
        assert_eq!(networks(&stage.engine.inspect(&id).expect("inspect")), json!({}));
        stage.revert(decision, "block_ip");
        let action = stage.awaits(decision, "reverted");
        let said = action["outcome"].as_str().unwrap_or_default();
        let last = at + 1 == made.len();
        assert_eq!(said.contains("stays cut off for decision"), !last, "{said}");
    }
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
}

#[test]
fn an_engine_that_is_down_delays_no_block_and_is_asked_again() {
    let Some(mut stage) = Stage::new(&json!({})) else {
        return;
    };
    let id = stage.run("web", &["--restart", "always"]);
    let address = stage.address(&id);
    let decision = stage.isolate(address, "1h");
    stage.awaits(&decision, "enforced");
    stage.engine.kill();
    stage.revert(&decision, "isolate_container");
    wait::until("the trouble to be in /health", SOON, || {
        let health = stage.agent.get("/health")?;
        let state = &health["components"]["containers"];
        Ok(
            (state["state"] == "degraded" && state["cause"].as_str().unwrap_or_default().contains("not put back"))
                .then_some(()),
        )
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(
        stage.action(&decision, "isolate_container").expect("an action")["status"],
        "enforced"
    );
    // The room that knows the containers finds out by itself, not when the one that isolates does.
    wait::until("the command line to say that it is not known", SOON, || {
        Ok(stage
            .wish("172.17.0.9")
            .contains("it is not known who has")
            .then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    stage.engine.launch().expect("again");
    let action = stage.awaits(&decision, "reverted");
    let said = action["outcome"].as_str().unwrap_or_default();
    assert!(said.contains("is back on bridge"), "{said}");
    assert_eq!(stage.address(&id), address);
    wait::until("health to be well again", SOON, || {
        Ok((stage.agent.get("/health")?["components"]["containers"]["state"] == "ok").then_some(()))
    })
    .expect("well");
}

#[test]
fn an_engine_taken_out_of_the_settings_is_missed_aloud() {
    let Some(mut stage) = Stage::new(&json!({})) else {
        return;
    };
    let id = stage.run("web", &[]);
    let before = bare(&stage.engine.inspect(&id).expect("inspect"));
    let engine = stage.agent.path("engine.sock");
    let decision = stage.isolate(stage.address(&id), "1h");
    stage.awaits(&decision, "enforced");
    let log = stage.agent.stop().expect("stopped").output;
    assert!(log.contains("stay cut off until the agent runs again"), "{log}");
    assert_eq!(networks(&stage.engine.inspect(&id).expect("inspect")), json!({}));
    stage.agent.set(&["containers", "engine"], json!("")).expect("set");
    stage.agent.launch().expect("started again");
    let health = stage.agent.get("/health").expect("health");
    let cause = health["components"]["containers"]["cause"].as_str().unwrap_or_default();
    assert!(
        cause.starts_with("1 containers were cut off by an earlier run"),
        "{health}"
    );
    stage.agent.stop().expect("stopped");
    let url = format!("unix://{}", engine.display());
    stage.agent.set(&["containers", "engine"], json!(url)).expect("set");
    stage.agent.launch().expect("started again");
    stage.awaits(&decision, "enforced");
    stage.revert(&decision, "isolate_container");
    stage.awaits(&decision, "reverted");
    assert_eq!(bare(&stage.engine.inspect(&id).expect("inspect")), before);
}
