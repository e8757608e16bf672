//! Softer than a block, wider than a block, and what comes after: carried out in the kernel, seen from outside.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::time::Instant;
use testbed::net::Host;
use testbed::wait;

/// The command line, which must agree; its answer in JSON.
fn must(scene: &Scene, args: &[&str]) -> Value {
    let args = [&["-o", "json"], args].concat();
    let told = scene.agent.cli(&args).expect("the command line runs");
    assert_eq!(told.code, 0, "{args:?}: {}", told.output);
    serde_json::from_str(&told.output).expect("JSON")
}

fn outcome(scene: &Scene, decision: &Value) -> String {
    let actions = scene.agent.actions().expect("actions");
    let action = actions.iter().find(|action| action["decision"] == decision["id"]);
    action.expect("the action")["outcome"]
        .as_str()
        .expect("text")
        .to_owned()
}

/// Datagrams of `from` to a closed port of `to` that its stack was given, of `count` sent `every_us` apart.
fn datagrams(from: &Host, to: &Host, count: u32, every_us: u32) -> u64 {
    let before = to.stack("Udp", "NoPorts").expect("counters");
    let line = format!("hping3 -q --udp -p 9999 -c {count} -i u{every_us} {}", to.v4);
    from.run(&line, SOON * 3).expect("hping3");
    to.stack("Udp", "NoPorts").expect("counters") - before
}

#[test]
fn a_redirected_client_talks_to_the_decoy_and_believes_it_is_port_22() {
    let settings = json!({ "response": { "honeypot": { "v4": ":2222", "v6": ":2222" } } });
    let Some(mut scene) = Scene::new(&settings) else { return };
    let decoy = scene.services.decoy(&scene.protected, 2222).expect("a decoy");
    let real = scene.services.key(22).expect("the real one");
    for v6 in [false, true] {
        let (here, there) = (scene.other.address_of(v6), scene.protected.address_of(v6));
        scene.reaches(v6);
        let scan = |scene: &Scene| {
            let line = format!("ssh-keyscan -T 5 -t ed25519 {there}");
            scene.other.run(&line, SOON).expect("ssh-keyscan").output
        };
        let first = scan(&scene);
        assert!(first.contains(&real), "{first}");
        let ip = here.to_string();
        let decision = must(
            &scene,
            &[
                "decisions",
                "add",
                "--ip",
                &ip,
                "--type",
                "redirect",
                "--duration",
                "1h",
            ],
        );
        assert_eq!(decision["action"], "redirect_to_honeypot");
        let said = outcome(&scene, &decision);
        assert!(
            said.starts_with("redirects to the honeypot,") && said.ends_with("read back"),
            "{said}"
        );
        let fooled = scan(&scene);
        assert!(fooled.contains(&decoy) && !fooled.contains(&real), "{fooled}");
        assert!(
            fooled.contains(&format!("{there}:22 "))
                || fooled.contains(&format!("[{there}]:22 "))
                || fooled.contains(&format!("{there} ssh-ed25519")),
            "{fooled}"
        );
        // A whole log-in attempt: key exchange and a refusal, over the rewritten connection.
        let login = format!(
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 root@{there}"
        );
        let refused = scene.other.run(&login, SOON).expect("ssh").output;
        assert!(refused.contains("Permission denied"), "{refused}");
        wait::until("the redirection to be counted", SOON, || {
            let found = scene
                .agent
                .get(&format!("/decisions/{}", decision["id"].as_str().unwrap_or("")))?;
            Ok((found["hits"].as_u64() > Some(10)).then_some(()))
        })
        .expect("counted");
        must(&scene, &["decisions", "delete", "--ip", &ip]);
        let free = scan(&scene);
        assert!(free.contains(&real) && !free.contains(&decoy), "{free}");
    }
}

#[test]
fn where_the_hook_cannot_redirect_it_drops_and_says_so() {
    let settings = json!({ "kernel": { "hook": "tc" }, "response": { "honeypot": { "v4": ":2222" } } });
    let Some(mut scene) = Scene::new(&settings) else { return };
    scene.services.decoy(&scene.protected, 2222).expect("a decoy");
    scene.reaches(false);
    let ip = scene.other.v4.to_string();
    let decision = must(
        &scene,
        &[
            "decisions",
            "add",
            "--ip",
            &ip,
            "--type",
            "redirect",
            "--duration",
            "1h",
        ],
    );
    let said = outcome(&scene, &decision);
    assert!(
        said.starts_with("enforced by") && said.contains("are dropped") && said.contains("`kernel.hook` is `tc`"),
        "{said}"
    );
    let line = format!("ssh-keyscan -T 2 -t ed25519 {}", scene.protected.v4);
    let silence = scene.other.run(&line, SOON).expect("ssh-keyscan").output;
    assert!(!silence.contains("ssh-ed25519"), "{silence}");
}

#[test]
fn a_limit_goes_on_without_the_agent_and_under_the_next_one() {
    let Some(mut scene) = Scene::pinned(&json!({})) else {
        return;
    };
    scene.reaches(false);
    let ip = scene.other.v4.to_string();
    let decision = must(
        &scene,
        &[
            "decisions",
            "add",
            "--ip",
            &ip,
            "--type",
            "rate_limit",
            "--packets",
            "20",
            "--duration",
            "1h",
        ],
    );
    // Of 400 a burst is let through, and what the time they take is worth.
    let limited = |scene: &Scene| {
        let began = Instant::now();
        let got = datagrams(&scene.other, &scene.protected, 400, 2_500);
        got as f64 <= 20.0 * (began.elapsed().as_secs_f64() + 1.0) + 10.0
    };
    assert!(limited(&scene));
    scene.agent.kill().expect("killed");
    assert!(limited(&scene), "the limit died with its agent");
    scene.agent.launch().expect("started again");
    let found = scene.agent.active().expect("decisions");
    assert_eq!((found.len(), &found[0]["id"]), (1, &decision["id"]));
    assert_eq!(found[0]["rate"]["packets"], 20);
    assert!(limited(&scene));
    let drift = scene.agent.metrics().expect("metrics");
    assert!(drift.sum("sentinel_enforcement_drift_entries", &[]) < 0.5);
    must(&scene, &["decisions", "delete", "--ip", &ip]);
    // A busy machine loses some.
    assert!(datagrams(&scene.other, &scene.protected, 400, 2_500) > 200);
}

#[test]
fn a_limited_source_gets_its_rate_and_no_more() {
    const RATE: u64 = 50;
    const SENT: u32 = 1200;
    const EVERY_US: u32 = 2500;
    let Some(scene) = Scene::new(&json!({})) else { return };
    scene.reaches(false);
    let ip = scene.other.v4.to_string();
    let decision = must(
        &scene,
        &[
            "decisions",
            "add",
            "--ip",
            &ip,
            "--type",
            "rate_limit",
            "--packets",
            "50",
            "--burst",
            "1s",
        ],
    );
    assert_eq!(decision["rate"], json!({ "packets": 50, "bytes": 0, "burst_ms": 1000 }));
    let said = outcome(&scene, &decision);
    assert!(said.starts_with("limits to 50 packets/s, burst 1 s,"), "{said}");
    let start = Instant::now();
    let got = datagrams(&scene.other, &scene.protected, SENT, EVERY_US);
    let seconds = start.elapsed().as_secs_f64();
    let most = RATE as f64 * (seconds + 1.0) + 10.0;
    assert!((got as f64) < most, "{got} in {seconds:.1} s");
    assert!(got > RATE * 2, "only {got} in {seconds:.1} s");
    assert!(
        scene.agent.active().expect("decisions").len() == 1,
        "nobody was blocked beside it"
    );
    let shown = must(&scene, &["decisions", "list"]);
    assert_eq!(shown[0]["rate"]["packets"], 50, "{shown}");
    wait::until("what was dropped to be counted", SOON, || {
        let found = scene.agent.active()?;
        let hits = found[0]["hits"].as_u64().unwrap_or(0);
        Ok((hits + got + 20 >= u64::from(SENT)).then_some(()))
    })
    .expect("counted");
    let totals = scene.agent.get("/stats").expect("stats")["totals"].take();
    assert!(totals["drop_limit"].as_u64() > Some(500), "{totals}");

    let again = must(
        &scene,
        &["decisions", "add", "--ip", &ip, "--type", "block", "--duration", "1h"],
    );
    assert_eq!(again["id"], decision["id"], "a person may make it graver");
    assert_eq!(datagrams(&scene.other, &scene.protected, 20, 10_000), 0);
}

#[test]
fn a_block_in_both_directions_lets_nothing_out_to_it() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    assert!(scene.reaches(false));
    let ip = scene.other.v4.to_string();
    must(&scene, &["decisions", "add", "--ip", &ip, "--duration", "1h"]);
    // A busy machine loses some.
    assert!(
        datagrams(&scene.protected, &scene.other, 20, 5_000) > 10,
        "a plain block"
    );
    let both = must(
        &scene,
        &["decisions", "add", "--ip", &ip, "--duration", "1h", "--egress"],
    );
    let said = outcome(&scene, &both);
    assert!(said.starts_with("enforced in both directions"), "{said}");
    assert_eq!(datagrams(&scene.protected, &scene.other, 20, 5_000), 0);
    assert_eq!(datagrams(&scene.other, &scene.protected, 20, 5_000), 0);
    wait::until("what was kept in to be counted", SOON, || {
        let totals = scene.agent.get("/stats")?["totals"].take();
        Ok((totals["egress_drop_v4"].as_u64() > Some(10)).then_some(()))
    })
    .expect("counted");
    must(&scene, &["decisions", "delete", "--ip", &ip]);
    assert!(datagrams(&scene.protected, &scene.other, 20, 5_000) > 10);
}

/// The alert that the other host returned, once it is there.
fn told_as_returned(scene: &Scene, v6: bool) -> Value {
    let source = scene.other.address_of(v6);
    let found = wait::until("the return to be told", SOON, || {
        let alerts = scene.agent.alerts(source)?;
        Ok(alerts.into_iter().find(|alert| alert["detector"] == "probation"))
    });
    found.unwrap_or_else(|error| panic!("{error:#}"))
}

fn expired(scene: &Scene, decision: &Value) {
    let id = decision["id"].as_str().expect("id");
    wait::until("the decision to be told as expired", SOON * 2, || {
        let found = scene.agent.get(&format!("/decisions/{id}"))?;
        Ok((found["status"] == "expired").then_some(()))
    })
    .expect("expired");
}

#[test]
fn who_returns_on_probation_is_told_and_blocked_again_where_that_is_wished() {
    for reapply in ["0s", "10m"] {
        let settings = json!({ "response": { "probation": { "duration": "1h", "reapply": reapply } } });
        let Some(scene) = Scene::new(&settings) else { return };
        for v6 in [false, true] {
            // Long enough for what follows: it is renewed for as long again.
            let first = scene.block_other(v6, if reapply == "0s" { "4s" } else { "20s" });
            expired(&scene, &first);
            let watched = must(&scene, &["decisions", "list", "--watched"]);
            assert!(
                watched
                    .as_array()
                    .is_some_and(|list| list.iter().any(|d| d["id"] == first["id"])),
                "{watched}"
            );
            assert_eq!(scene.agent.block(scene.other.address_of(v6)).expect("decisions"), None);
            let let_in = scene.reaches(v6);
            let alert = told_as_returned(&scene, v6);
            assert_eq!(alert["former"], first["id"], "{alert}");
            let summary = alert["summary"].as_str().expect("text");
            if reapply == "0s" {
                assert!(let_in, "nothing is in force");
                assert!(summary.contains("nothing is in force against it"), "{summary}");
                assert_eq!(scene.agent.block(scene.other.address_of(v6)).expect("decisions"), None);
                assert!(scene.reaches(v6));
                continue;
            }
            assert!(!let_in, "the first packet was let in");
            assert!(summary.contains("its block is in force again at once"), "{summary}");
            let source = scene.other.address_of(v6);
            let again = wait::until("the block to be renewed", SOON, || scene.agent.block(source))
                .unwrap_or_else(|error| panic!("{error:#}: {:#?}", scene.agent.decisions(source)));
            assert_ne!(again["id"], first["id"]);
            assert_eq!(again["origin"], "operator");
            let reason = again["reason"].as_str().expect("text");
            assert!(reason.contains(first["id"].as_str().expect("id")), "{reason}");
            assert!(!scene.reaches(v6));
        }
        let drift = scene.agent.metrics().expect("metrics");
        assert!(drift.sum("sentinel_enforcement_drift_entries", &[]) < 0.5);
    }
}

#[test]
fn whom_a_person_released_is_watched_over_a_restart_and_forgotten_on_request() {
    let settings = json!({ "response": { "probation": { "duration": "1h", "reapply": "10m" } } });
    let Some(mut scene) = Scene::new(&settings) else { return };
    let decision = scene.block_other(false, "1h");
    let ip = scene.other.v4.to_string();
    let told = must(&scene, &["decisions", "delete", "--ip", &ip]);
    assert!(told["deleted"][0]["watch_until"].is_string(), "{told}");
    scene.agent.stop().expect("stopped");
    scene.agent.launch().expect("started again");
    assert!(scene.reaches(false), "released is released");
    assert_eq!(told_as_returned(&scene, false)["former"], decision["id"]);
    assert_eq!(scene.agent.active().expect("decisions").len(), 0, "a release stands");
    must(&scene, &["decisions", "delete", "--ip", &ip, "--forget"]);
    assert_eq!(must(&scene, &["decisions", "list", "--watched"]), json!([]));
    let maps = scene.agent.get("/stats").expect("stats");
    wait::until("the entry to be gone", SOON, || {
        let maps = scene.agent.get("/stats")?["maps"].take();
        Ok((maps["BLOCK4"]["entries"] == 0).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {maps}"));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_mend() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    for (args, part) in [
        (vec!["--type", "redirect"], "response.honeypot.v4"),
        (
            vec!["--type", "rate_limit", "--packets", "0"],
            "neither packets nor bytes",
        ),
        (
            vec!["--type", "rate_limit", "--packets", "10", "--burst", "5ms"],
            "not within 10 ms",
        ),
        (vec!["--type", "rate_limit", "--each"], "is one address"),
        (vec!["--type", "rate_limit", "--egress"], "belongs to `block`"),
        (vec!["--packets", "10"], "belongs to type `rate_limit`"),
        (vec!["--type", "rate_limit", "--bytes", "lots"], "`lots` is not a size"),
    ] {
        let args = [&["decisions", "add", "--ip", "198.51.100.7"], &args[..]].concat();
        let told = scene.agent.cli(&args).expect("the command line runs");
        assert_ne!(told.code, 0, "{args:?}: {}", told.output);
        assert!(told.output.contains(part), "{args:?}: {}", told.output);
    }
    assert_eq!(scene.agent.active().expect("decisions").len(), 0);
}

#[test]
fn the_kernel_limits_by_itself_before_the_agent_decides_anything() {
    // Whatever the agent thinks of it leads to a line in the log: what is dropped, the kernel dropped by itself.
    let settings = json!({
        "kernel": { "reflex": { "syns": 50, "ports": 0, "half_open": 0, "limit_packets": 20, "hold": "1m" } },
        "decision_matrix": {
            "high": { "risk": { "high": "log_only", "medium": "log_only", "low": "log_only" } },
            "medium": { "risk": { "high": "log_only", "medium": "log_only", "low": "log_only" } },
            "low": { "risk": { "high": "log_only", "medium": "log_only", "low": "log_only" } },
        },
    });
    let Some(scene) = Scene::new(&settings) else { return };
    scene.reaches(false);
    let before = scene.protected.stack("Tcp", "InSegs").expect("counters");
    let start = Instant::now();
    let line = format!("hping3 -q -S -p 81 -c 1500 -i u1000 {}", scene.protected.v4);
    scene.other.run(&line, SOON * 3).expect("hping3");
    let seconds = start.elapsed().as_secs_f64();
    let got = scene.protected.stack("Tcp", "InSegs").expect("counters") - before;
    assert!(
        (got as f64) < 50.0 + 20.0 * (seconds + 1.0) + 30.0,
        "{got} in {seconds:.1} s"
    );
    let source = scene.other.v4.into();
    let alert = wait::until("the reflex to be told", SOON, || {
        Ok(scene
            .agent
            .alerts(source)?
            .into_iter()
            .find(|alert| alert["detector"] == "reflex"))
    })
    .expect("told");
    let summary = alert["summary"].as_str().expect("text");
    assert!(summary.contains("the kernel limits it by itself until"), "{summary}");
    assert_eq!(alert["evidence"][0]["threshold"], 50.0, "{alert}");
    assert_eq!(scene.agent.active().expect("decisions").len(), 0);
    wait::until("what was dropped to be counted", SOON, || {
        let totals = scene.agent.get("/stats")?["totals"].take();
        Ok((totals["drop_reflex"].as_u64() > Some(500)).then_some(()))
    })
    .expect("counted");
}

#[test]
fn a_flood_of_forged_syns_is_told_by_the_kernel_and_so_is_its_end() {
    let settings = json!({ "kernel": { "syn_cookies": { "half_open": 50 } } });
    let Some(scene) = Scene::new(&settings) else { return };
    scene.reaches(false);
    let line = format!(
        "hping3 -q -S --rand-source -p 80 -i u1000 -c 3000 {}",
        scene.protected.v4
    );
    scene.other.run(&line, SOON * 3).expect("hping3");
    let told = |technique: &str| {
        let alert = wait::until(technique, SOON * 3, || {
            // The end is told with the next handshake that begins.
            let line = format!("curl -s -o /dev/null -m 1 http://{}/file", scene.protected.v4);
            let _ = scene.other.run(&line, SOON)?;
            let alerts = scene.agent.all_alerts()?;
            let mut ours = alerts
                .into_iter()
                .filter(|alert| alert["detector"] == "syn_flood_kernel");
            Ok(ours.find(|alert| alert["technique"] == technique))
        });
        alert.unwrap_or_else(|error| panic!("{error:#}"))
    };
    let begins = told("syn flood");
    let summary = begins["summary"].as_str().expect("text");
    assert!(
        summary.starts_with(&format!("{}:80 is under a SYN flood", scene.protected.v4)),
        "{summary}"
    );
    assert!(
        summary.contains("(limit 50 half-open)") && summary.contains("cookie"),
        "{summary}"
    );
    assert_eq!(begins["source"], Value::Null, "{begins}");
    told("syn flood over");
    assert_eq!(
        scene.agent.active().expect("decisions").len(),
        0,
        "forged addresses are nobody's fault"
    );
}
