//! Unblocking works at once, and lasts.

use crate::scene::{SOON, Scene};
use serde_json::json;
use std::time::{Duration, Instant};
use testbed::wait;

/// How long an unblocked, quiet address is watched.
const WATCH: Duration = Duration::from_secs(3);

#[test]
fn an_unblocked_scanner_is_free_and_stays_free() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    let target = scene.protected.v4;
    scene.knock(scene.other.v4.into());
    let mut scan = scene
        .other
        .spawn(&format!("nmap -n -Pn -sS -p1-20000 --max-rate 400 {target}"))
        .expect("nmap");
    let source = scene.other.v4.into();
    wait::until("the scanner to be blocked", SOON * 3, || scene.agent.block(source)).expect("blocked");
    scene.until_hit(false, "hits");
    scan.end();
    assert!(!scene.reaches(false), "a blocked host is answered");

    let told = scene
        .agent
        .cli(&["decisions", "delete", "--ip", &source.to_string()])
        .expect("delete");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(scene.reaches(false), "the answer came back before the block was gone");
    let start = Instant::now();
    while start.elapsed() < WATCH {
        assert!(
            scene.reaches(false),
            "traffic stopped again after {:?}",
            start.elapsed()
        );
        assert_eq!(
            scene.agent.block(source).expect("decisions"),
            None,
            "blocked again at once"
        );
    }
    let decisions = scene.agent.decisions(source).expect("decisions");
    assert!(decisions.iter().any(|d| d["status"] == "deleted"), "{decisions:?}");
}

#[test]
fn blocks_by_hand_are_undone_by_name_by_target_by_action_and_all_at_once() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    let blocked = |v6| {
        let decision = scene.block_other(v6, "1h");
        assert!(!scene.reaches(v6), "a blocked host is answered");
        decision
    };
    let must = |args: &[&str]| {
        let told = scene.agent.cli(args).expect("the command line runs");
        assert_eq!(told.code, 0, "{args:?}: {}", told.output);
        told.output
    };

    let decision = blocked(true);
    must(&["decisions", "delete", "--id", decision["id"].as_str().expect("id")]);
    assert!(scene.reaches(true));

    blocked(false);
    let answer = scene
        .agent
        .request("DELETE", &format!("/decisions?target={}", scene.other.v4), None)
        .expect("answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(scene.reaches(false));

    let decision = blocked(false);
    let actions = scene.agent.actions().expect("actions");
    let action = actions
        .iter()
        .find(|action| action["decision"] == decision["id"])
        .expect("the action");
    assert_eq!(action["status"], "enforced", "{action}");
    must(&["actions", "revert", action["id"].as_str().expect("id")]);
    assert!(scene.reaches(false));

    blocked(false);
    blocked(true);
    must(&["decisions", "delete", "--all"]);
    assert!(scene.reaches(false) && scene.reaches(true));
    assert_eq!(scene.agent.active().expect("decisions").len(), 0);

    must(&["decisions", "add", "--range", "192.0.2.8/30", "--duration", "1h"]);
    assert!(!scene.reaches(false), "a host of a blocked prefix is answered");
    must(&["decisions", "delete", "--range", "192.0.2.8/30"]);
    assert!(scene.reaches(false));
    let nothing = scene
        .agent
        .cli(&["decisions", "delete", "--ip", "203.0.113.77"])
        .expect("delete");
    assert!(nothing.output.contains("matche"), "{}", nothing.output);
}
