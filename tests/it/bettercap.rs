//! A real Bettercap as a sensor: what it alone hears is found and blocked, and nothing is heard twice.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
use testbed::bettercap::{Bettercap, LOGIN};
use testbed::tools::{BETTERCAP, there};
use testbed::wait;

/// Of a scan that asks open ports what they are.
const SCAN: Duration = Duration::from_mins(3);
/// What has not moved for so long has come to rest.
const STILL: Duration = Duration::from_secs(10);

/// A scene whose protected host runs a Bettercap too; `None` where it cannot run.
fn scene(settings: &Value) -> Option<(Scene, (Bettercap, NamedTempFile))> {
    if !there(&[BETTERCAP]) {
        return None;
    }
    let password = NamedTempFile::new().expect("a file");
    let mut settings = settings.clone();
    settings["bettercap"] = Bettercap::settings(password.path()).expect("a password");
    let scene = Scene::new(&settings)?;
    let bettercap = Bettercap::start(&scene.protected).unwrap_or_else(|error| panic!("{error:#}"));
    until(&scene, CONNECTED, 1.0);
    // It says that it sniffs a moment before it does.
    let hears = wait::until("it to hear", SOON * 3, || {
        burst(&scene, 19_000, 1);
        Ok((count(&scene, PACKETS) > 0.0).then_some(()))
    });
    hears.unwrap_or_else(|error| panic!("{error:#}"));
    Some((scene, (bettercap, password)))
}

const CONNECTED: (&str, &[&str]) = ("sentinel_bettercap_connected", &[]);
const PACKETS: (&str, &[&str]) = ("sentinel_bettercap_events_total", &[r#"kind="packet""#]);
const AGAIN: (&str, &[&str]) = ("sentinel_bettercap_events_total", &[r#"kind="duplicate""#]);
const CUT: (&str, &[&str]) = ("sentinel_bettercap_disconnects_total", &[r#"reason="away""#]);
const LOST: (&str, &[&str]) = ("sentinel_events_dropped_total", &[r#"stage="bettercap""#]);

/// Waits until a metric has a value.
fn until(scene: &Scene, metric: (&str, &[&str]), value: f64) {
    let waited = wait::until(metric.0, SOON * 3, || Ok((count(scene, metric) >= value).then_some(())));
    waited.unwrap_or_else(|error| {
        let all = scene.agent.request("GET", "/metrics", None).expect("metrics").text;
        let of_it: Vec<_> = all.lines().filter(|line| line.contains("bettercap")).collect();
        panic!("{error:#}\n{}", of_it.join("\n"))
    });
}

fn count(scene: &Scene, (metric, labels): (&str, &[&str])) -> f64 {
    scene.agent.metrics().expect("metrics").sum(metric, labels)
}

/// The packets that were told of, once that has stood still for a while.
fn at_rest(scene: &Scene) -> f64 {
    let mut last = (f64::NAN, Instant::now());
    wait::until("all to be told", SOON * 4, || {
        let now = count(scene, PACKETS);
        if now.to_bits() != last.0.to_bits() {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() > STILL).then_some(now))
    })
    .expect("at rest")
}

fn alerts(scene: &Scene) -> Vec<Value> {
    scene.agent.all_alerts().expect("alerts")
}

/// Has clients of the protected host do what clients do.
fn benign(scene: &Scene) {
    for _ in 0..5 {
        let line = format!("curl -s -f -o /dev/null -m 25 http://{}/file", scene.protected.v4);
        assert_eq!(scene.other.run(&line, SOON).expect("curl").code, 0);
    }
}

#[test]
fn a_scan_that_only_bettercap_hears_is_found_and_blocked() {
    let Some((mut scene, _bettercap)) = scene(&json!({ "kernel": { "hook": "nftables" } })) else {
        return;
    };
    benign(&scene);
    until(&scene, PACKETS, 20.0);
    assert_eq!(alerts(&scene), Vec::<Value>::new(), "benign traffic was accused");
    let scan = format!(
        "nmap -n -Pn -sT -sV --version-light -p 1-120 --max-retries 0 --host-timeout 30s {}",
        scene.protected.v4
    );
    scene.other.run(&scan, SCAN).expect("nmap");
    let block = wait::until("a block", SOON, || scene.agent.block(scene.other.v4.into()));
    let block = block.unwrap_or_else(|error| panic!("{error:#}\n{:#?}\n{}", alerts(&scene), scene.agent.log()));
    assert_eq!(block["action"], "block_ip", "{block}");
    let alert = alerts(&scene).pop().expect("an alert");
    assert_eq!(
        (&alert["sensor"], &alert["detector"]),
        (&json!("bettercap"), &json!("port_scan")),
        "{alert}"
    );
    assert!(!scene.reaches(false), "a blocked host is answered");
    // What it hears goes nowhere it has no business.
    let log = scene.agent.log();
    assert!(!log.contains(LOGIN.1), "the password is in the log");
    let settings = scene.agent.get("/settings").expect("settings").to_string();
    assert!(!settings.contains(LOGIN.1), "the password is told");
    assert_eq!(scene.agent.stop().expect("an orderly end").code, 0);
}

#[test]
fn what_the_kernel_and_bettercap_both_hear_is_one_block_and_each_says_what_it_saw() {
    let Some((scene, _bettercap)) = scene(&json!({})) else {
        return;
    };
    benign(&scene);
    assert_eq!(alerts(&scene), Vec::<Value>::new(), "benign traffic was accused");
    let scan = format!(
        "nmap -n -Pn -sT -p 1-120 --max-retries 0 --host-timeout 20s {}",
        scene.protected.v4
    );
    scene.other.run(&scan, SCAN).expect("nmap");
    wait::until("a block", SOON, || scene.agent.block(scene.other.v4.into())).expect("a block");
    let sensors = || {
        alerts(&scene)
            .iter()
            .map(|alert| alert["sensor"].clone())
            .collect::<Vec<_>>()
    };
    let both = wait::until("both to speak", SOON, || {
        let seen = sensors();
        Ok((seen.contains(&json!("xdp")) && seen.contains(&json!("bettercap"))).then_some(()))
    });
    both.unwrap_or_else(|error| panic!("{error:#}: {:?}", sensors()));
    let active = scene.agent.active().expect("decisions");
    assert_eq!(active.len(), 1, "{active:#?}");
}

/// Sends datagrams, each to a port of its own.
fn burst(scene: &Scene, from: u32, datagrams: u32) {
    let code = format!(
        "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nfor p in range({from},{}):\n s.sendto(b'x'*20,('{}',p))\n time.sleep(0.002)",
        from + datagrams,
        scene.protected.v4
    );
    let end = testbed::child::run(scene.other.program("python3", &["-c", &code]), SOON).expect("python3");
    assert_eq!(end.code, 0, "{}", end.output);
}

#[test]
fn a_reconnection_loses_nothing_and_doubles_nothing() {
    // Nobody drops or accuses: what is counted are packets.
    let quiet = json!({ "kernel": { "hook": "nftables" }, "detect": { "port_scan": { "ports": 60000 }, "slow_scan": { "enabled": false } } });
    let Some((scene, _bettercap)) = scene(&quiet) else {
        return;
    };
    // What was sent to see whether it hears is told a moment later.
    let before = at_rest(&scene);
    burst(&scene, 20_000, 200);
    until(&scene, PACKETS, before + 200.0);
    let cut = count(&scene, CUT);
    let nft = |line: &str| assert_eq!(scene.protected.run(line, SOON).expect("nft").code, 0, "{line}");
    nft("nft add table inet cut");
    nft("nft add chain inet cut in { type filter hook input priority 0 ; }");
    nft("nft add rule inet cut in iif lo tcp dport 8081 reject with tcp reset");
    // The next word of Bettercap meets a reset.
    burst(&scene, 21_000, 200);
    until(&scene, CUT, cut + 1.0);
    burst(&scene, 22_000, 200);
    // What it captured is told a moment later.
    std::thread::sleep(Duration::from_secs(2));
    nft("nft delete table inet cut");
    until(&scene, PACKETS, before + 600.0);
    burst(&scene, 23_000, 200);
    until(&scene, PACKETS, before + 800.0);
    let told = at_rest(&scene) - before;
    assert!((told - 800.0).abs() < 0.5, "{told} packets");
    let again = count(&scene, AGAIN);
    assert!(again >= 200.0, "its history was told again: {again}");
    assert!(count(&scene, LOST) < 0.5);
}
