//! The agent's life as the network sees it: upgrades and a SIGKILL under traffic, interfaces that come and go.

use crate::scene::{SOON, Scene};
use serde_json::json;
use std::time::Instant;
use testbed::wait;

/// Lines of `ping` that are answers.
fn answers(printed: &str) -> usize {
    printed.lines().filter(|line| line.contains("bytes from")).count()
}

/// Whether a program of ours judges what comes in on `eth0`.
fn judged(scene: &Scene) -> bool {
    let link = scene.protected.run("ip -d link show dev eth0", SOON).expect("ip");
    link.output.contains("prog/xdp")
}

/// F3, with the whole agent: ended and killed and started again, under traffic of a blocked source.
#[test]
fn restarts_of_a_pinned_agent_let_nothing_of_a_blocked_source_through() {
    let Some(mut scene) = Scene::pinned(&json!({})) else {
        return;
    };
    // Positive control: the same traffic passes before the block.
    let line = format!("ping -n -i 0.01 -c 20 {}", scene.protected.v4);
    assert!(answers(&scene.other.run(&line, SOON).expect("ping").output) > 10);
    let decision = scene.block_other(false, "1h");
    let mut ping = scene
        .other
        .spawn(&format!("ping -n -i 0.01 -w 300 {}", scene.protected.v4))
        .expect("ping");
    let before = scene.until_hit(false, "hits")["hits"].as_u64().expect("a number");
    for round in 0..6 {
        if round % 3 == 2 {
            scene.agent.kill().expect("killed");
        } else {
            scene.agent.stop().expect("stopped");
        }
        assert!(judged(&scene), "the programs went with the agent");
        scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
        assert!(judged(&scene), "nothing is attached");
    }
    ping.signal("INT").expect("a signal");
    let told = ping.wait(SOON).expect("ping ends").output;
    let summary = told
        .lines()
        .find(|line| line.contains("transmitted"))
        .unwrap_or_default();
    let sent: u64 = summary
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    // Counters are read in turn; nothing of what an earlier agent counted is missing from them.
    let entry = wait::until("every hit to be told", SOON, || {
        let block = scene.agent.block(scene.other.v4.into())?;
        Ok(block.filter(|block| block["hits"].as_u64().is_some_and(|hits| hits >= sent)))
    });
    let entry = entry.unwrap_or_else(|error| panic!("{error:#}: {summary}"));
    println!(
        "6 restarts, 2 of them after SIGKILL: {summary}; hits {before} to {}",
        entry["hits"]
    );
    assert_eq!(entry["id"], decision["id"]);
    assert_eq!(answers(&told), 0, "{told}");
    wait::until("every drop to be counted", SOON, || {
        let dropped = scene.agent.metrics()?;
        Ok((dropped.sum("sentinel_xdp_drops_total", &["reason=\"exact\""]) >= sent as f64).then_some(()))
    })
    .expect("counted");

    // The way past an agent whose maps cannot be read: they are forgotten, the programs are not.
    scene.agent.stop().expect("stopped");
    let told = scene.agent.cli(&["detach", "--maps"]).expect("detach");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(judged(&scene) && !scene.reaches(false), "{}", told.output);
    scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    assert!(judged(&scene) && !scene.reaches(false));

    // An entry without a decision goes: the agent comes back to a database that knows nothing of it.
    scene.agent.stop().expect("stopped");
    assert!(!scene.reaches(false));
    for file in ["sentinel.db", "sentinel.db-wal", "sentinel.db-shm"] {
        let _ = std::fs::remove_file(scene.agent.path(file));
    }
    scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    wait::until("an entry without a decision to go", SOON, || {
        Ok(scene.reaches(false).then_some(()))
    })
    .expect("gone");
    assert!(scene.agent.log().contains("without a decision"), "it went unsaid");

    let told = scene.agent.cli(&["-o", "json", "detach"]).expect("detach");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(
        told.output.contains("\"foreign\": []") || told.output.contains("\"foreign\":[]"),
        "{}",
        told.output
    );
    assert!(!scene.agent.path("bpf/sentinel").exists());
    wait::until("the programs to go", SOON, || Ok((!judged(&scene)).then_some(()))).expect("detached");
}

#[test]
fn an_agent_that_does_not_pin_is_told_of_pins_and_doctor_sees_them() {
    let Some(mut scene) = Scene::pinned(&json!({})) else {
        return;
    };
    scene.block_other(false, "1h");
    scene.agent.kill().expect("killed");
    let doctor = |scene: &Scene| {
        let settings = scene.agent.settings();
        let binary = testbed::agent_binary().expect("built");
        let line = format!("{} -c {} -o json doctor", binary.display(), settings.display());
        scene.protected.run(&line, SOON).expect("doctor").output
    };
    let said = doctor(&scene);
    assert!(said.contains("ours is there: sentinel_xdp"), "{said}");
    assert!(
        said.contains("`sentinel run` takes them over") && said.contains("attachments to 1 interface"),
        "{said}"
    );
    scene.agent.unpin().expect("settings");
    let refused = scene.agent.refuse(&[]).expect("ends");
    assert_eq!(refused.code, 1, "{}", refused.output);
    assert!(
        refused.output.contains("sentinel detach") && refused.output.contains("kernel.pin"),
        "{}",
        refused.output
    );
    assert!(doctor(&scene).contains("`kernel.pin: true` takes them over"));
    assert!(!scene.reaches(false), "a refused start changed what is in force");
    let told = scene.agent.cli(&["detach"]).expect("detach");
    assert_eq!(told.code, 0, "{}", told.output);
    // The kernel ends a link a moment after its last holder.
    wait::until("the block to end", SOON, || Ok(scene.reaches(false).then_some(()))).expect("detached");
}

/// F9: the protected interface is deleted and made again, 50 times.
#[test]
fn an_interface_that_is_made_again_is_protected_again() {
    const TIMES: usize = 50;
    let begun = Instant::now();
    let Some(scene) = Scene::new(&json!({})) else { return };
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    let gauge = || {
        let metrics = scene.agent.metrics().expect("metrics");
        metrics.sum("sentinel_interface_attached", &["interface=\"eth0\""]) as u64
    };
    assert_eq!(gauge(), 1);
    let mut times = Vec::new();
    for round in 0..TIMES {
        let gone = scene.protected.run("ip link del eth0", SOON).expect("ip");
        assert_eq!(gone.code, 0, "{}", gone.output);
        if round == 0 {
            wait::until("the loss to be told", SOON, || {
                let kernel = scene.agent.get("/health")?["components"]["kernel"].clone();
                let told =
                    kernel["state"] == "degraded" && kernel["cause"].as_str().is_some_and(|c| c.contains("eth0"));
                Ok((told && gauge() == 0).then_some(()))
            })
            .expect("told");
        }
        scene.network.wire(&scene.protected).expect("wired");
        let since = Instant::now();
        wait::until("the interface to be protected again", SOON, || {
            Ok(judged(&scene).then_some(()))
        })
        .expect("protected");
        times.push(since.elapsed());
        assert!(round % 10 > 0 || !scene.reaches(false), "protected, and yet it answers");
    }
    assert!(!scene.reaches(false) && scene.reaches(true));
    times.sort();
    println!(
        "{TIMES} times made again: attached after {:?} (median), {:?} (worst)",
        times[TIMES / 2],
        times[TIMES - 1]
    );
    wait::until("all to be well again", SOON, || {
        let kernel = scene.agent.get("/health")?["components"]["kernel"].clone();
        Ok((kernel["state"] == "ok" && gauge() == 1).then_some(()))
    })
    .expect("well");
    let metrics = scene.agent.metrics().expect("metrics");
    let unprotected = metrics.sum("sentinel_interface_unprotected_seconds_total", &[]);
    println!("unprotected for {unprotected:.3} s in all, at most");
    let lived = begun.elapsed().as_secs_f64();
    assert!(unprotected > 0.0 && unprotected < lived, "{unprotected} of {lived}");
}

#[test]
fn beside_another_xdp_program_the_agent_works_on_tc_and_says_so() {
    let Some(scene) = Scene::new(&json!({ "kernel": { "hook": "tc" } })) else {
        return;
    };
    scene.block_other(true, "1h");
    assert!(!scene.reaches(true) && scene.reaches(false));
    let metrics = scene.agent.metrics().expect("metrics");
    assert_eq!(metrics.sum("sentinel_xdp_mode", &["mode=\"tc\""]) as u64, 1);
    let stats = scene.agent.get("/stats").expect("stats");
    assert_eq!(stats["interfaces"][0]["xdp_mode"], "tc", "{stats}");
    assert!(
        stats["interfaces"][0]["fallback"]
            .as_str()
            .is_some_and(|why| why.contains("kernel.hook")),
        "{stats}"
    );
    let health = scene.agent.get("/health").expect("health");
    assert_eq!(health["components"]["kernel"]["state"], "ok", "{health}");
}

#[test]
fn without_a_configured_interface_that_of_the_default_route_is_watched_wherever_it_moves() {
    let Some(scene) = Scene::new(&json!({ "kernel": { "interfaces": "auto" } })) else {
        return;
    };
    let attached = |name: &str| {
        let metrics = scene.agent.metrics().expect("metrics");
        metrics.sum("sentinel_interface_attached", &[&format!("interface=\"{name}\"")]) as u64
    };
    assert_eq!((attached("eth0"), attached("wan1")), (1, 0));
    for line in [
        "ip link add wan1 type veth peer name wan2",
        "ip addr add 198.51.100.2/24 dev wan1",
        "ip link set wan2 up",
        "ip link set wan1 up",
        "ip -4 route replace default via 198.51.100.1 dev wan1",
    ] {
        let done = scene.protected.run(line, SOON).expect("ip");
        assert_eq!(done.code, 0, "{line}: {}", done.output);
    }
    wait::until("the new way out to be watched", SOON, || {
        Ok((attached("wan1") == 1 && attached("eth0") == 0).then_some(()))
    })
    .expect("watched");
    assert!(!judged(&scene), "the old one is watched still");
}
