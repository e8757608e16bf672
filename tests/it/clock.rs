//! A wall clock that is set under a running agent: what it blocked ends when it said, in the order of what was done.

use crate::expiry::{first_answer, milliseconds};
use crate::scene::{SOON, agent_or_skip};
use serde_json::{Value, json};
use testbed::agent::Agent;
use testbed::net::Network;
use testbed::tools::{FAKETIME, there};
use testbed::wait;

/// Where Debian has what comes between a program and its clock.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// How the clock is set, one after the other.
const SET: [&str; 5] = ["+3600", "-3600", "+31536000", "-31536000", "+0"];
/// The kernel looks at its clock once a jiffy, and `ping` sends every 20 ms.
const EARLY_MS: f64 = 15.0;

fn now_ms() -> f64 {
    jiff::Timestamp::now().as_nanosecond() as f64 / 1e6
}

#[test]
fn a_clock_set_by_an_hour_or_a_year_moves_no_end_and_no_order() {
    let Some(binary) = agent_or_skip() else { return };
    if !there(&[FAKETIME]) {
        return;
    }
    let mut network = Network::new().expect("network");
    let protected = network.host("protected", 1).expect("host");
    let other = network.host("other", 9).expect("host");
    let mut agent = Agent::prepare(&binary, &protected, &json!({})).expect("folder");
    let offset = agent.path("offset");
    let set = |text: &str| {
        // Whole or not at all: it is read at every look at the clock.
        let new = offset.with_extension("new");
        std::fs::write(&new, format!("{text}\n")).expect("written");
        std::fs::rename(&new, &offset).expect("in its place");
    };
    set("+0");
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    let preload = format!("LD_PRELOAD={LIBRARY}");
    let others = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    agent
        .begin(&["env", &preload, &file, others[0], others[1]])
        .expect("started");
    let ready = wait::until("the agent", SOON * 6, || Ok(agent.ready().then_some(())));
    ready.unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    let add = |target: &str, duration: &str| -> Value {
        let wish = json!({ "target": target, "duration": duration, "reason": "clock" });
        let told = agent.request("POST", "/decisions", Some(&wish)).expect("answer");
        assert_eq!(told.status, 201, "{}", told.text);
        told.json().expect("JSON")
    };
    let lasting = add("203.0.113.200", "3h");
    let mut made = vec![lasting["id"].clone()];
    let own = other.v4.to_string();
    let ping = |count: &str, every: &str| {
        let line = format!("ping -n -D -c {count} -i {every} -W 1 {}", protected.v4);
        other.run(&line, SOON).expect("ping")
    };
    let mut errors = Vec::new();
    for text in SET {
        assert_eq!(ping("3", "0.1").code, 0, "free before {text}");
        let before = now_ms();
        let decision = add(&own, "2s");
        let after = now_ms();
        made.push(decision["id"].clone());
        // In the middle of it.
        set(text);
        let printed = ping("200", "0.02").output;
        let first = first_answer(&printed);
        let first = first.unwrap_or_else(|| panic!("{text}: never free again:\n{printed}")) * 1e3;
        let (early, late) = (before + 2000.0 - first, first - after - 2000.0);
        eprintln!("{text}: {:.0} ms after its end", late.max(-early));
        assert!(early <= EARLY_MS, "{text}: free {early:.0} ms early");
        errors.push(late.max(early).max(0.0));
        let id = decision["id"].as_str().expect("id").to_owned();
        // The agent's clock is that one.
        let nobody = agent.request("DELETE", "/decisions?target=198.18.255.254", None);
        assert_eq!(nobody.expect("answer").status, 404);
        let line = agent.get("/audit?limit=1").expect("audit")["items"][0]["at"].clone();
        let off = (milliseconds(line.as_str().expect("a time")) - now_ms()) / 1e3;
        let wanted: f64 = text.parse().expect("seconds");
        assert!((off - wanted).abs() < 60.0, "{text}: the audit is {off:.0} s off");
        let over = wait::until("its end to be told", SOON, || {
            let decision = agent.get(&format!("/decisions/{id}"))?;
            Ok((decision["status"] == "expired").then_some(()))
        });
        over.unwrap_or_else(|error| panic!("{text}: {error:#}"));
        let still = agent.get(&format!("/decisions/{}", lasting["id"].as_str().expect("id")));
        let still = still.expect("kept");
        assert_eq!(still["status"], "active", "{text}: {still}");
        let health = agent.get("/health").expect("health");
        assert_eq!(health["components"]["enforcement"]["state"], "ok", "{text}: {health}");
    }
    let best = errors.iter().copied().fold(f64::MAX, f64::min);
    let worst = errors.iter().copied().fold(0.0, f64::max);
    eprintln!("figure: clock changes = {} ", SET.len());
    eprintln!("figure: smallest error = {best:.1} ms");
    eprintln!("figure: largest error, ping's own wait in it = {worst:.1} ms");

    // The order is that of what was done, whatever the clock said; nothing was removed, and the audit holds.
    let listed = agent.get("/decisions?limit=100").expect("decisions");
    let listed: Vec<Value> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .rev()
        .map(|d| d["id"].clone())
        .collect();
    assert_eq!(listed, made);
    let verdict = agent.get("/audit/verify").expect("verdict");
    assert_eq!(verdict["broken"], Value::Null, "{verdict}");
    // A person's session and the lists go on working.
    let told = agent.cli(&["decisions", "list"]).expect("runs");
    assert!(
        told.code == 0 && told.output.contains("203.0.113.200"),
        "{}",
        told.output
    );
    assert_eq!(agent.stop().expect("stops").code, 0);
}
