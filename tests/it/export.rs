//! `eve.json` of a running agent: what a scan leaves in it, rotation, SIGHUP, a kill.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::path::Path;
use testbed::wait;

/// The whole lines of a file.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(parse).collect()
}

fn of(path: &Path, kind: &str) -> Vec<Value> {
    let lines = lines(path).into_iter();
    lines.filter(|line| line["event_type"] == kind).collect()
}

/// Waits for a line of that kind.
fn await_line(path: &Path, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = wait::until(&format!("a line of {kind}"), SOON * 3, || {
        Ok(of(path, kind).into_iter().find(|line| wanted(line)))
    });
    found.unwrap_or_else(|error| panic!("{error:#}:\n{:#?}", lines(path)))
}

#[test]
fn a_scan_is_an_alert_a_drop_and_flows_and_nothing_of_it_is_lost_by_sighup_or_a_kill() {
    let settings = json!({
        "flow": { "idle_timeout": "2s" },
        "export": { "stats_interval": "1s", "eve": { "types": ["alert", "drop", "flow", "stats"] } },
    });
    let Some(mut scene) = Scene::new(&settings) else {
        return;
    };
    let path = scene.agent.path("eve.json");
    let source = scene.other.v4.to_string();
    scene.knock(scene.other.v4.into());
    let mut scan = scene
        .other
        .spawn(&format!(
            "nmap -n -Pn -sS -p1-20000 --max-rate 400 {}",
            scene.protected.v4
        ))
        .expect("nmap");
    let alert = await_line(&path, "alert", |line| line["src_ip"] == source.as_str());
    let dropped = await_line(&path, "drop", |line| line["src_ip"] == source.as_str());
    let decision = &dropped["sentinel"]["decision"];
    let block = scene
        .agent
        .block(scene.other.v4.into())
        .expect("asked")
        .expect("blocked");
    assert_eq!(&block["id"], decision, "{dropped}");
    assert_eq!(dropped["sentinel"]["simulated"], false);
    assert!(
        block["hits"].as_u64() >= dropped["sentinel"]["packets"].as_u64(),
        "{block} {dropped}"
    );
    let stored = scene.agent.get(&format!(
        "/alerts/{}",
        alert["sentinel"]["alert"]["id"].as_str().expect("a name")
    ));
    assert_eq!(
        stored.expect("the alert")["summary"],
        alert["sentinel"]["alert"]["summary"]
    );
    let flow = await_line(&path, "flow", |line| line["src_ip"] == source.as_str());
    assert!(
        flow["community_id"].as_str().is_some_and(|id| id.starts_with("1:")),
        "{flow}"
    );
    let stats = await_line(&path, "stats", |line| line["stats"]["capture"]["kernel_packets"] != 0);
    assert!(stats["sentinel"]["counters"]["drop_v4"].as_u64() > Some(0) || stats["stats"]["uptime"].is_u64());
    scan.end();

    // As logrotate does it.
    let aside = scene.agent.path("aside.json");
    std::fs::rename(&path, &aside).expect("moved");
    let before = lines(&aside).len();
    scene.agent.signal("HUP").expect("SIGHUP");
    await_line(&path, "stats", |_| true);
    assert!(
        scene.agent.ended().expect("it was started").is_none(),
        "SIGHUP ended it"
    );
    assert!(lines(&aside).len() >= before);

    // Every alert is in one of the files, also when the agent is killed.
    scene.agent.kill().expect("killed");
    scene.agent.launch().expect("started again");
    let stored = scene.agent.get("/alerts?limit=500").expect("alerts");
    let names: Vec<Value> = stored["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| a["id"].clone())
        .collect();
    assert!(!names.is_empty());
    let missing = wait::until("every alert to be in a file", SOON, || {
        let told: Vec<Value> = of(&aside, "alert")
            .into_iter()
            .chain(of(&path, "alert"))
            .map(|line| line["sentinel"]["alert"]["id"].clone())
            .collect();
        Ok(names.iter().all(|name| told.contains(name)).then_some(()))
    });
    missing.unwrap_or_else(|error| panic!("{error:#}: {names:?}"));
    let health = scene.agent.get("/health").expect("health");
    assert_eq!(health["components"]["export"]["state"], "ok", "{health}");
}

#[test]
fn a_full_file_moves_aside_and_one_that_cannot_be_written_degrades_that_part_alone() {
    // In simulation, since whoever scans would be blocked and no flow come to be.
    let settings = json!({
        "mode": "simulation",
        "enable_production_actions": false,
        "export": { "stats_interval": "1s", "eve": { "types": ["stats", "flow"], "max_bytes": "64KiB", "keep": 2 } },
        "flow": { "idle_timeout": "1s" },
    });
    let Some(mut scene) = Scene::new(&settings) else {
        return;
    };
    let path = scene.agent.path("eve.json");
    let numbered = |n: u32| scene.agent.path(&format!("eve.json.{n}"));
    let rotated = wait::until("two files beside it", SOON * 3, || {
        scene.other.run(
            &format!("nmap -n -Pn -sS -p1-400 --max-rate 2000 {}", scene.protected.v4),
            SOON,
        )?;
        Ok((numbered(1).exists() && numbered(2).exists()).then_some(()))
    });
    rotated.unwrap_or_else(|error| panic!("{error:#}"));
    for file in [&numbered(1), &numbered(2)] {
        let length = std::fs::metadata(file).expect("there").len();
        assert!(length <= 65_536 && length > 60_000, "{length}");
        assert!(lines(file).iter().all(|line| line["event_type"].is_string()));
    }
    assert!(!numbered(3).exists());

    scene.agent.stop().expect("an orderly end");
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a folder in its place");
    scene.agent.launch().expect("it starts all the same");
    let export = |scene: &Scene| {
        scene
            .agent
            .get("/health")
            .map(|health| health["components"]["export"].clone())
    };
    let told = wait::until("it to be told", SOON, || {
        Ok(Some(export(&scene)?).filter(|export| export["state"] == "degraded"))
    });
    let told = told.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(
        told["cause"].as_str().is_some_and(|cause| cause.contains("eve.json")),
        "{told}"
    );
    std::fs::remove_dir(&path).expect("removed");
    let well = wait::until("it to be well", SOON, || {
        Ok((export(&scene)?["state"] == "ok" && !lines(&path).is_empty()).then_some(()))
    });
    well.unwrap_or_else(|error| panic!("{error:#}"));
}
