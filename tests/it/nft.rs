//! The agent without BPF: `kernel.hook: nftables`.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use testbed::wait;

fn scene() -> Option<Scene> {
    Scene::new(&json!({ "kernel": { "hook": "nftables" } }))
}

/// The tables in the protected host's namespace.
fn tables(scene: &Scene) -> String {
    scene.protected.run("nft list tables", SOON).expect("nft").output
}

/// What its latest action says of itself.
fn outcome(scene: &Scene, decision: &Value) -> String {
    let actions = scene.agent.actions().expect("actions");
    let of = |action: &&Value| action["decision"] == decision["id"];
    actions.iter().find(of).map_or_else(String::new, |action| {
        action["outcome"].as_str().unwrap_or_default().to_owned()
    })
}

#[test]
fn decisions_made_by_hand_are_carried_out_and_told_as_what_they_are() {
    let Some(mut scene) = scene() else { return };
    let programs = scene.agent.programs().expect("running");
    assert!(programs.is_empty(), "programs were loaded: {programs:?}");
    for v6 in [false, true] {
        let decision = scene.block_other(v6, "1h");
        assert!(!scene.reaches(v6), "a blocked host is answered");
        let said = outcome(&scene, &decision);
        assert_eq!(said, "enforced by nftables, read back");
        scene.until_hit(v6, "hits");
        let listed = scene.agent.cli(&["decisions", "list"]).expect("list");
        let address = scene.other.address_of(v6).to_string();
        assert!(listed.output.contains(&address), "{}", listed.output);
        let gone = scene
            .agent
            .cli(&["decisions", "delete", "--ip", &address])
            .expect("delete");
        assert_eq!(gone.code, 0, "{}", gone.output);
        assert!(scene.reaches(v6), "still blocked");
    }
    // The gateway is protected here as everywhere.
    let refused = scene
        .agent
        .cli(&["decisions", "add", "--ip", "192.0.2.254"])
        .expect("add");
    assert_ne!(refused.code, 0, "{}", refused.output);
    // It says what it cannot do.
    let health = scene.agent.request("GET", "/health", None).expect("health");
    assert!(health.text.contains("no packet is seen"), "{}", health.text);
    let log = scene.agent.log();
    assert!(log.contains("no packet is seen"), "{log}");
    let maps = scene.agent.get("/stats").expect("stats");
    assert!(maps.to_string().contains("nft_block4"), "{maps}");
    let ended = scene.agent.stop().expect("an orderly end");
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert_eq!(tables(&scene), "", "something is left");
}

#[test]
fn a_killed_agents_blocks_stay_to_their_end_and_a_new_start_leaves_no_gap() {
    let Some(mut scene) = scene() else { return };
    let foreign = "nft add table inet other";
    assert_eq!(scene.protected.run(foreign, SOON).expect("nft").code, 0);
    let decision = scene.block_other(false, "1h");
    let short = scene.block_other(true, "20s");
    let mut ping = scene
        .other
        .spawn(&format!("ping -n -i 0.01 -w 600 {}", scene.protected.v4))
        .expect("ping");
    scene.until_hit(false, "hits");
    scene.agent.kill().expect("killed");
    assert!(
        !scene.reaches(false) && !scene.reaches(true),
        "blocks died with their agent"
    );
    // Nobody is alive, and the kernel ends it.
    let ends: jiff::Timestamp = short["expires_at"].as_str().expect("an end").parse().expect("a time");
    wait::until("the short block to end", SOON * 2, || {
        Ok(scene.reaches(true).then_some(()))
    })
    .expect("ended");
    let late = jiff::Timestamp::now().as_millisecond() - ends.as_millisecond();
    eprintln!("figure: free after the end of a block without its agent, pings of a second included = {late} ms");
    assert!(late >= 0, "free {} ms early", -late);
    assert!(!scene.reaches(false), "the long one ended too");

    scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    ping.signal("INT").expect("a signal");
    let told = ping.wait(SOON).expect("ping ends").output;
    assert!(told.contains(" 0 received"), "a gap: {told}");
    assert!(outcome(&scene, &decision).contains("again after a restart by nftables"));
    let active = scene.agent.active().expect("decisions");
    assert_eq!(active.len(), 1, "{active:?}");
    let checked = wait::until("the self-check", SOON, || {
        let health = scene.agent.request("GET", "/health", None)?;
        Ok(health.text.contains("block map equals").then_some(health))
    });
    checked.unwrap_or_else(|error| panic!("{error:#}"));
    let drift = scene
        .agent
        .metrics()
        .expect("metrics")
        .sum("sentinel_enforcement_drift_entries", &[]);
    assert_eq!(drift as u64, 0);
    scene.agent.stop().expect("stops");
    assert_eq!(tables(&scene).trim(), "table inet other", "another's table was touched");
    assert!(scene.reaches(false));
}

#[test]
fn simulation_counts_and_lets_pass() {
    let settings = json!({
        "mode": "simulation",
        "enable_production_actions": false,
        "kernel": { "hook": "nftables" },
    });
    let Some(scene) = Scene::new(&settings) else { return };
    let decision = scene.block_other(false, "1h");
    assert_eq!(decision["simulated"], true, "{decision}");
    let moved = scene.until_hit(false, "would_hits");
    assert_eq!(moved["hits"], 0, "{moved}");
    assert!(scene.reaches(false), "simulation dropped a packet");
    assert!(outcome(&scene, &decision).starts_with("simulated: counted, not dropped, by nftables"));
}
