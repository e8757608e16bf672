//! Simulation decides, shows and counts everything, and drops nothing.

use crate::scene::{SOON, Scene};
use serde_json::json;
use testbed::wait;

#[test]
fn simulation_drops_nothing_and_counts_what_it_would_have_dropped() {
    let Some(scene) = Scene::new(&json!({ "mode": "simulation", "enable_production_actions": false })) else {
        return;
    };
    let source = scene.other.v4.into();
    scene.knock(source);
    let mut scan = scene
        .other
        .spawn(&format!(
            "nmap -n -Pn -sS -p1-20000 --max-rate 400 {}",
            scene.protected.v4
        ))
        .expect("nmap");
    let decision = wait::until("the decision", SOON * 3, || scene.agent.block(source)).expect("decided");
    assert_eq!(decision["simulated"], true, "{decision}");
    let moved = wait::until("would_hits to move", SOON, || {
        Ok(scene
            .agent
            .block(source)?
            .filter(|d| d["would_hits"].as_u64().unwrap_or(0) > 0))
    });
    let moved = moved.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(moved["hits"], 0, "{moved}");
    assert!(scene.reaches(false), "simulation dropped a packet");
    scan.end();
    // The programs' counters are read once a second.
    let metrics = wait::until("would_drop to be counted", SOON, || {
        let metrics = scene.agent.metrics()?;
        Ok((metrics.sum("sentinel_xdp_noted_total", &["what=\"would_drop\""]) > 0.0).then_some(metrics))
    });
    let metrics = metrics.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(
        metrics.sum("sentinel_xdp_packets_total", &["action=\"drop\""]) as u64,
        0
    );
    let actions = scene.agent.actions().expect("actions");
    assert!(
        actions.iter().any(|action| action["status"] == "simulated"),
        "{actions:?}"
    );
}
