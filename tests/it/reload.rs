//! `sentinel reload`: settings taken up by a running agent, with nothing let go of.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use testbed::child::Finished;
use testbed::net::Host;
use testbed::wait;

/// Reloads.
const TIMES: u32 = 20;

fn reload(scene: &Scene) -> Finished {
    scene.agent.cli(&["reload"]).expect("reload")
}

/// Datagrams that reached the host's stack.
fn arrived(host: &Host) -> u64 {
    host.stack("Udp", "NoPorts").expect("a counter") + host.stack("Udp", "InDatagrams").expect("a counter")
}

fn component(scene: &Scene, name: &str) -> Value {
    scene.agent.get("/health").expect("health")["components"][name].clone()
}

#[test]
fn a_block_holds_over_twenty_reloads_under_a_flood() {
    let Some(scene) = Scene::new(&json!({})) else {
        return;
    };
    let decision = scene.block_other(false, "1h");
    let mut flood = scene
        .other
        .spawn(&format!("hping3 -q --udp -p 9999 -i u500 {}", scene.protected.v4))
        .expect("hping3");
    let hits = || {
        let block = scene
            .agent
            .block(scene.other.v4.into())
            .expect("decisions")
            .expect("in force");
        block["hits"].as_u64().expect("a number")
    };
    wait::until("packets to be dropped", SOON, || Ok((hits() > 100).then_some(()))).expect("dropped");
    let before = arrived(&scene.protected);
    let dropped = hits();
    for n in 0..TIMES {
        // Each one changes something that every room is handed.
        let set = |path: &[&str], value: Value| scene.agent.set(path, value).expect("set");
        set(&["detect", "port_scan"], json!({ "ports": 20 + n }));
        set(&["allowlist"], json!([format!("198.51.100.{n}")]));
        set(&["response"], json!({ "duration": format!("{}m", 10 + n) }));
        set(&["severity_thresholds"], json!({ "high": 0.9 - f64::from(n) / 100.0 }));
        let told = reload(&scene);
        assert_eq!(told.code, 0, "{}", told.output);
        assert!(told.output.contains("detect.port_scan.ports"), "{}", told.output);
    }
    wait::until("the flood to have gone on", SOON, || {
        Ok((hits() > dropped + 1_000).then_some(()))
    })
    .expect("it went on");
    flood.end();
    assert_eq!(
        arrived(&scene.protected) - before,
        0,
        "packets of a blocked source passed"
    );
    let after = scene
        .agent
        .block(scene.other.v4.into())
        .expect("decisions")
        .expect("in force");
    assert_eq!(
        (&after["id"], &after["expires_at"]),
        (&decision["id"], &decision["expires_at"])
    );
    let settings = scene.agent.get("/settings").expect("settings").to_string();
    assert!(
        settings.contains("198.51.100.19") && !settings.contains("198.51.100.18"),
        "{settings}"
    );
    let audit = scene.agent.cli(&["audit", "list", "-l", "500"]).expect("audit").output;
    assert_eq!(audit.matches("api.settings.reload").count(), TIMES as usize, "{audit}");
    assert!(audit.contains("detect.port_scan.ports: 38 → 39"), "{audit}");
    let whole = scene.agent.cli(&["audit", "verify"]).expect("verify");
    assert_eq!(whole.code, 0, "{}", whole.output);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_nothing_changes() {
    let Some(scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.block_other(false, "1h");
    let good = std::fs::read_to_string(scene.agent.settings()).expect("settings");
    scene.agent.set(&["allowlist"], json!(["not an address"])).expect("set");
    scene.agent.set(&["respons"], json!({ "duration": "1h" })).expect("set");
    for via in ["command", "agent"] {
        let (code, text) = if via == "command" {
            let told = reload(&scene);
            (told.code, told.output)
        } else {
            // Whoever asks the agent itself is told the same.
            let answer = scene
                .agent
                .request("POST", "/settings/reload", None)
                .expect("an answer");
            (if answer.status == 422 { 64 } else { 0 }, answer.text)
        };
        assert_eq!(code, 64, "{via}: {text}");
        for part in ["settings.yml", "not an address", "respons"] {
            assert!(text.contains(part), "{via}: {part} is missing: {text}");
        }
        assert!(text.matches("settings.yml:").count() >= 2, "{via}: a line each: {text}");
    }
    assert!(!scene.reaches(false), "the block is in force");
    let settings = scene.agent.get("/settings").expect("settings").to_string();
    assert!(!settings.contains("not an address"), "{settings}");
    std::fs::write(scene.agent.settings(), good).expect("written");
    let told = reload(&scene);
    assert_eq!(
        (told.code, told.output.trim()),
        (0, "Nothing differs from the settings that hold.")
    );
}

#[test]
fn an_address_put_on_the_allowlist_is_let_go_and_one_taken_off_can_be_blocked() {
    let Some(scene) = Scene::new(&json!({ "allowlist": ["198.51.100.7"] })) else {
        return;
    };
    let decision = scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    scene
        .agent
        .set(&["allowlist"], json!([scene.other.v4.to_string()]))
        .expect("set");
    let told = reload(&scene);
    assert_eq!(told.code, 0, "{}", told.output);
    let id = decision["id"].as_str().expect("an id");
    assert!(
        told.output.contains(id) && told.output.contains("protected now"),
        "{}",
        told.output
    );
    assert!(scene.reaches(false), "it is let go");
    let refused = scene
        .agent
        .cli(&["decisions", "add", "--ip", &scene.other.v4.to_string()])
        .expect("add");
    assert_eq!(refused.code, 1, "{}", refused.output);
    let free = scene
        .agent
        .cli(&["decisions", "add", "--ip", "198.51.100.7"])
        .expect("add");
    assert_eq!(free.code, 0, "{}", free.output);
    scene.agent.set(&["allowlist"], json!([])).expect("set");
    assert_eq!(reload(&scene).code, 0);
    assert!(scene.reaches(false), "to be protected no more is not to be blocked");
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
}

#[test]
fn what_needs_a_restart_is_named_until_it_had_one() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.block_other(false, "1h");
    scene.agent.set(&["mode"], json!("simulation")).expect("set");
    scene.agent.set(&["flow"], json!({ "max_flows": 65_536 })).expect("set");
    let told = reload(&scene);
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(told.output.contains("wait for a restart"), "{}", told.output);
    assert!(told.output.contains("mode: production → simulation"), "{}", told.output);
    assert!(!scene.reaches(false), "production is not ended in passing");
    let health = component(&scene, "settings");
    let cause = health["cause"].as_str().unwrap_or_default();
    assert!(
        cause.starts_with("restart pending") && cause.contains("flow.max_flows"),
        "{health}"
    );
    let pending = scene.agent.get("/settings").expect("settings")["restart_pending"].clone();
    let keys: Vec<_> = pending
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["key"].clone())
        .collect();
    assert_eq!(
        keys,
        ["enable_production_actions", "flow.max_flows", "mode"],
        "{pending}"
    );
    scene.agent.stop().expect("stops");
    scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    assert!(scene.reaches(false), "simulation drops nothing");
    let pending = scene.agent.get("/settings").expect("settings")["restart_pending"].clone();
    assert_eq!(pending, json!([]));
}

#[test]
fn thresholds_and_routes_that_were_reloaded_are_gone_by() {
    let Some(scene) = Scene::new(&json!({ "detect": { "port_scan": { "enabled": false } } })) else {
        return;
    };
    let told = scene.agent.path("told.jsonl");
    scene
        .agent
        .set(&["alerting", "file", "path"], json!(told))
        .expect("set");
    scene
        .agent
        .set(&["detect", "port_scan"], json!({ "enabled": true, "ports": 5 }))
        .expect("set");
    let done = reload(&scene);
    assert_eq!(done.code, 0, "{}", done.output);
    let mut scan = scene
        .other
        .spawn(&format!("nmap -n -Pn -sS -p1-200 --max-rate 50 {}", scene.protected.v4))
        .expect("nmap");
    wait::until("the alert in the new file", SOON * 3, || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        Ok(text.contains("port_scan").then_some(()))
    })
    .expect("told there");
    scan.end();
    let alerts = scene.agent.alerts(scene.other.v4.into()).expect("alerts");
    let scan = alerts
        .iter()
        .find(|alert| alert["detector"] == "port_scan")
        .expect("an alert");
    let least = scan["evidence"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|row| row["threshold"] == 5.0);
    assert!(least, "{scan}");
}
