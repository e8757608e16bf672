//! What an operator commands, from the command line down to the packet: the stop, the allowlist, lists, the audit.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};
use testbed::wait;

/// From a stop to the first packet that passes.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Stops until one is as quick as that, at most, since processors are shared.
const STOPS: usize = 5;

/// Datagrams that the protected host's stack was handed for a closed port.
fn got(scene: &Scene) -> u64 {
    scene.protected.stack("Udp", "NoPorts").expect("counters")
}

/// Stops, and waits for the first packet of a flood to pass. Tells the quickest of as many as it takes to be at once.
fn quickest_stop(scene: &Scene) {
    let mut best = Duration::MAX;
    for _ in 0..STOPS {
        let before = wait::until("the block to hold", SOON, || {
            let first = got(scene);
            std::thread::sleep(Duration::from_millis(50));
            Ok((got(scene) == first).then_some(first))
        });
        let before = before.expect("blocked");
        let began = Instant::now();
        let wish = json!({ "acting": false, "reason": "a drill" });
        let told = scene.agent.request("POST", "/acting", Some(&wish)).expect("answered");
        let answered = began.elapsed();
        assert_eq!(told.status, 200, "{}", told.text);
        wait::until("the first packet to pass", SOON, || {
            Ok((got(scene) > before).then_some(()))
        })
        .expect("passes");
        let took = began.elapsed();
        eprintln!("stop: answered after {answered:?}, a packet was seen to pass after {took:?}");
        best = best.min(took);
        must(scene, &["resume-acting"]);
        if best <= AT_ONCE {
            break;
        }
    }
    eprintln!(
        "figure: stop to the first packet that passes = {:.1} ms (goal {} ms)",
        best.as_secs_f64() * 1e3,
        AT_ONCE.as_millis()
    );
    assert!(best < 50 * AT_ONCE, "{best:?}");
}

fn cli(scene: &Scene, args: &[&str]) -> (i32, String) {
    let told = scene.agent.cli(args).expect("the command line runs");
    (told.code, told.output)
}

/// The command line, which must agree; its answer in JSON.
fn must(scene: &Scene, args: &[&str]) -> Value {
    let (code, output) = cli(scene, &[&["-o", "json"], args].concat());
    assert_eq!(code, 0, "{args:?}: {output}");
    serde_json::from_str(&output).expect("JSON")
}

#[test]
fn a_stop_lets_the_next_packet_through_holds_over_a_restart_and_is_taken_back() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.reaches(false);
    let ip = scene.other.v4.to_string();
    let decision = must(&scene, &["decisions", "add", "--ip", &ip, "--duration", "1h"]);
    // Datagrams to a closed port, all the time: the stack counts those it gets.
    let line = format!("hping3 -q --udp -p 9999 -c 600000 -i u1000 {}", scene.protected.v4);
    let mut flood = scene.other.spawn(&line).expect("hping3");
    quickest_stop(&scene);

    let told = must(&scene, &["stop-acting", "--reason", "too much"]);
    assert_eq!(
        (&told["acting"], &told["stopped"]["reason"]),
        (&json!(false), &json!("too much"))
    );
    let listed = must(&scene, &["decisions", "list"]);
    assert_eq!(listed[0]["held_back"]["reason"], "too much", "{listed}");
    let outcome = |scene: &Scene| {
        let actions = scene.agent.actions().expect("actions");
        let action = actions
            .iter()
            .find(|a| a["decision"] == decision["id"])
            .cloned()
            .expect("the action");
        (
            action["status"].clone(),
            action["outcome"].as_str().unwrap_or("").to_owned(),
        )
    };
    let (status, text) = outcome(&scene);
    assert!(
        status == "simulated" && text.starts_with("held back since "),
        "{status} {text}"
    );
    let health = scene.agent.get("/health").expect("health");
    assert_eq!(health["components"]["acting"]["state"], "degraded", "{health}");
    let metrics = scene.agent.metrics().expect("metrics");
    assert!(metrics.sum("sentinel_acting_stopped", &[]) > 0.5);
    scene.agent.kill().expect("killed");
    scene.agent.launch().expect("started again");
    assert!(scene.reaches(false), "the stop was forgotten");
    assert_eq!(
        scene.agent.get("/acting").expect("acting")["stopped"]["reason"],
        "too much"
    );
    assert!(outcome(&scene).1.starts_with("held back since "));
    must(&scene, &["resume-acting"]);
    assert!(!scene.reaches(false), "the same entry is in force again");
    wait::until("the outcome to be told", SOON, || {
        Ok(outcome(&scene).1.contains("acting was resumed").then_some(()))
    })
    .expect("told");
    flood.end();
    let (code, verdict) = cli(&scene, &["audit", "verify"]);
    assert_eq!(code, 0, "{verdict}");
    let audit = must(&scene, &["audit", "list", "-l", "0"]);
    for verb in ["started", "acting_stopped", "acting_resumed", "api.acting.stop"] {
        assert!(
            audit
                .as_array()
                .is_some_and(|all| all.iter().any(|e| e["verb"] == verb)),
            "{verb}"
        );
    }
}

#[test]
fn the_allowlist_frees_at_once_and_is_changed_only_where_it_may() {
    let Some(scene) = Scene::new(&json!({ "allowlist": ["203.0.113.0/28"] })) else {
        return;
    };
    scene.reaches(false);
    let decision = scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    let ip = scene.other.v4.to_string();
    let added = must(
        &scene,
        &["allowlist", "add", &ip, "--duration", "1h", "--comment", "a friend"],
    );
    assert_eq!(added["ended"][0]["id"], decision["id"], "{added}");
    assert!(scene.reaches(false), "still blocked");
    let (code, said) = cli(&scene, &["decisions", "add", "--ip", &ip]);
    assert!(
        code == 1 && said.contains("guard `allowlist`") && said.contains("a friend"),
        "{code} {said}"
    );
    let checked = must(&scene, &["allowlist", "check", &ip]);
    assert_eq!(checked["guards"][0]["guard"], "allowlist");
    let (code, said) = cli(&scene, &["allowlist", "remove", "203.0.113.0/28"]);
    assert!(code == 64 && said.contains("key `allowlist`"), "{code} {said}");
    must(&scene, &["allowlist", "remove", &ip]);
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    // Seconds are kept.
    must(&scene, &["allowlist", "add", &ip, "--duration", "2s"]);
    assert!(scene.reaches(false));
    let began = Instant::now();
    wait::until("its end", SOON, || {
        let list = scene.agent.get("/allowlist")?;
        Ok(list["items"]
            .as_array()
            .is_some_and(|items| items.iter().all(|e| e["origin"] == "settings"))
            .then_some(()))
    })
    .expect("it ends");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    wait::until("the kernel's map to follow", SOON, || {
        Ok((cli(&scene, &["decisions", "add", "--ip", &ip, "--duration", "1h"]).0 == 0).then_some(()))
    })
    .expect("no longer protected");
    assert!(!scene.reaches(false));
}

#[test]
fn a_list_is_imported_whole_and_survives_a_kill_and_a_changed_audit_is_found() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.reaches(false);
    let ip = scene.other.v4;
    let file = scene.agent.path("list.csv");
    let mut text = "value,duration,reason\n".to_owned();
    for n in 0..1000_u32 {
        let _ = writeln!(text, "198.51.{}.{},1h,theirs", 100 + n / 256, n % 256);
    }
    let good = format!("{text}{ip},1h,\"the, other\"\n");
    std::fs::write(&file, format!("{good}{},1h,ours\nnonsense,1h,x\n", scene.protected.v4)).expect("written");
    let name = file.display().to_string();
    let (code, said) = cli(&scene, &["decisions", "import", "-i", &name]);
    assert!(
        code == 64 && said.contains("line 1003: refused by guard `own_address`") && said.contains("line 1004: "),
        "{code} {said}"
    );
    assert!(scene.reaches(false) && scene.agent.active().expect("decisions").is_empty());
    let done = must(&scene, &["decisions", "import", "-i", &name, "--skip-bad"]);
    assert_eq!(
        (&done["imported"], &done["skipped"]),
        (&json!(1001), &json!(2)),
        "{done}"
    );
    assert!(!scene.reaches(false));
    scene.agent.kill().expect("killed");
    scene.agent.launch().expect("started again");
    let listed = must(&scene, &["decisions", "list", "-l", "0"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1001));
    assert!(!scene.reaches(false));
    let metrics = scene.agent.metrics().expect("metrics");
    assert!(metrics.sum("sentinel_enforcement_drift_entries", &[]) < 0.5);
    must(&scene, &["decisions", "delete", "--all"]);
    assert!(scene.reaches(false));

    // Without an agent the audit is read from the database; a line that was changed is named.
    scene.agent.stop().expect("stopped");
    let (code, said) = cli(&scene, &["audit", "verify"]);
    assert!(code == 0 && said.contains("are as they were written"), "{code} {said}");
    let database = scene.agent.path("sentinel.db");
    let sql = "UPDATE audit SET detail = 'nothing' WHERE seq = 2";
    let changed = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()",
        ])
        .arg(&database)
        .arg(sql)
        .status();
    assert!(changed.expect("python3").success());
    let (code, said) = cli(&scene, &["audit", "verify"]);
    assert!(
        code == 1 && said.contains("row 2 is not as it was written"),
        "{code} {said}"
    );
}

#[test]
fn the_simulation_report_names_the_benign_session_it_would_have_cut() {
    let Some(scene) = Scene::new(&json!({ "mode": "simulation", "enable_production_actions": false })) else {
        return;
    };
    scene.reaches(false);
    scene.block_other(false, "1h");
    let line = format!("ssh-keyscan -T 5 -t ed25519 {}", scene.protected.v4);
    let told = wait::until("the session to be told", SOON * 2, || {
        let scan = scene.other.run(&line, SOON)?.output;
        assert!(scan.contains("ssh-ed25519"), "simulation cut it: {scan}");
        let told = scene.agent.get("/simulation")?;
        Ok((told["benign_sessions"].as_u64() > Some(0)).then_some(told))
    });
    let told = told.unwrap_or_else(|error| panic!("{error:#}"));
    let item = &told["items"][0];
    assert_eq!(item["benign"][0]["ip"], scene.other.v4.to_string(), "{told}");
    assert!(item["would_packets"].as_u64() > Some(3), "{told}");
    let (code, said) = cli(&scene, &["simulation", "report", "--since", "1h"]);
    assert!(code == 0 && said.contains("would have touched"), "{code} {said}");
    assert!(said.contains("raised no alert"), "{said}");
}

/// Blocks that are in force when everything is to be let go.
const MANY: u32 = 10_000;

#[test]
fn ten_thousand_blocks_are_off_at_once_and_nothing_of_them_is_left() {
    let Some(scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.reaches(false);
    let line = |n: u32| json!({ "value": format!("198.{}.{}.{}", 20 + n / 65_000, n / 250 % 250, 1 + n % 250), "duration": "1h", "reason": "many" });
    let mut lines: Vec<Value> = (0..MANY - 1).map(line).collect();
    lines.push(json!({ "value": scene.other.v4, "duration": "1h", "reason": "many" }));
    let told = scene
        .agent
        .request("POST", "/decisions/import?format=json", Some(&lines.into()))
        .expect("answered");
    assert_eq!(told.json().expect("JSON")["imported"], MANY, "{}", told.text);
    let entries = |scene: &Scene| {
        let metrics = scene.agent.metrics().expect("metrics");
        metrics.sum("sentinel_map_entries", &["map=\"BLOCK"])
    };
    // The figure is taken once a second.
    let until = |wanted: f64| {
        let there = wait::until("the map's figure", SOON, || {
            Ok(((entries(&scene) - wanted).abs() < 0.5).then_some(()))
        });
        there.unwrap_or_else(|error| panic!("{error:#}: {} and not {wanted}", entries(&scene)));
    };
    until(f64::from(MANY));
    // More than it takes: it ends with the test.
    let flood = format!("hping3 -q --udp -p 9999 -c 600000 -i u1000 {}", scene.protected.v4);
    let _flood = scene.other.spawn(&flood).expect("hping3");
    eprintln!("figure: entries = {MANY} ");
    quickest_stop(&scene);

    let began = Instant::now();
    let told = scene
        .agent
        .request("DELETE", "/decisions?all=true&forget=true&first=0", None)
        .expect("answered");
    let took = began.elapsed();
    assert_eq!(told.json().expect("JSON")["total"], MANY, "{}", told.text);
    eprintln!(
        "figure: all of them taken back, on the disk and in the map = {:.0} ms",
        took.as_secs_f64() * 1e3
    );
    assert!(scene.reaches(false), "nobody is blocked any more");
    until(0.0);
}
