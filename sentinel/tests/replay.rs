//! Captures through the whole house.
use sentinel::config::Config;
use sentinel::replay::{Speed, run};
use std::path::Path;

#[test]
fn survey() {
    let Ok(list) = std::env::var("SURVEY") else { return };
    let mut config = Config::default();
    config.detect.baseline.enabled = std::env::var("BASELINE").is_ok();
    for file in list.split_whitespace() {
        let out = tempfile::tempdir().unwrap();
        match run(&config, Path::new(file), out.path(), Speed::Max) {
            Ok(s) => println!(
                "== {file} packets {} flows {} lost {:?} unread {:?}",
                s.packets, s.flows, s.lost, s.unread
            ),
            Err(e) => println!("== {file} ERROR {e}"),
        }
        if let Ok(eve) = std::fs::read_to_string(out.path().join("eve.json")) {
            for line in eve.lines().filter(|l| l.contains("\"event_type\":\"alert\"")) {
                let v: serde_json::Value = serde_json::from_str(line).unwrap();
                let a = &v["sentinel"]["alert"];
                println!(
                    "   {} {} {} {} {}",
                    a["at"].as_str().unwrap(),
                    a["detector"],
                    a["technique"],
                    a["severity"],
                    a["summary"]
                );
            }
        }
    }
}
