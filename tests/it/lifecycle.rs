//! Start, orderly end, sudden end, and what each leaves in the kernel: nothing.

use crate::expiry::first_answer;
use crate::scene::{SOON, Scene};
use serde_json::json;
use testbed::wait;

/// What the kernel says about XDP and tc on the protected host's interface.
fn attached(scene: &Scene) -> String {
    let link = scene
        .protected
        .run("ip -d link show dev eth0", SOON)
        .expect("ip")
        .output;
    let tc = scene.protected.run("tc qdisc show dev eth0", SOON).expect("tc").output;
    let net = scene
        .protected
        .run("bpftool net show dev eth0", SOON)
        .expect("bpftool")
        .output;
    format!("{link}{tc}{net}")
}

/// Fails unless every trace of the programs is gone.
fn assert_clean(scene: &Scene) {
    let clean =
        wait::until("the kernel to be clean", SOON, || {
            let now = attached(scene);
            Ok((!now.contains("xdp ")
                && !now.contains("sentinel")
                && !now.contains("clsact")
                && !now.contains("prog/xdp"))
            .then_some(()))
        });
    clean.unwrap_or_else(|error| panic!("{error:#}:\n{}", attached(scene)));
}

#[test]
fn sigterm_detaches_everything() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    assert!(attached(&scene).contains("xdp"), "{}", attached(&scene));
    let ended = scene.agent.stop().expect("an orderly end");
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert!(scene.reaches(false), "still blocked without the agent");
    assert_clean(&scene);
}

/// Blocks outlive their agent only where `kernel.pin` asks for it (see `expiry`): links end with the process that holds
/// them, and so does every block.
/// Kills the agent while it blocks the other host; how long the block outlived it, s.
fn outlived(scene: &mut Scene) -> f64 {
    // Started before the kill: the first answer's time tells.
    let mut ping = scene
        .other
        .spawn(&format!("ping -n -D -i 0.01 -w 120 {}", scene.protected.v4))
        .expect("ping");
    wait::until("packets to be dropped", SOON, || {
        Ok(scene
            .agent
            .block(scene.other.v4.into())?
            .filter(|d| d["hits"].as_u64().unwrap_or(0) > 5)
            .map(|_| ()))
    })
    .expect("dropped");
    scene.agent.kill().expect("killed");
    let killed = jiff::Timestamp::now().as_nanosecond() as f64 / 1e9;
    let first = wait::until("an answer after SIGKILL", SOON, || Ok(first_answer(&ping.output())));
    first.unwrap_or_else(|error| panic!("{error:#}")) - killed
}

#[test]
fn sigkill_leaves_nothing_and_a_new_start_takes_up_what_was_in_force() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    let decision = scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    let after = outlived(&mut scene) * 1e3;
    eprintln!("figure: traffic flows after SIGKILL within = {after:.0} ms");
    assert!(after < 5000.0, "{after:.0} ms");
    assert_clean(&scene);

    scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    assert!(!scene.reaches(false), "a block in force was forgotten");
    let active = scene.agent.active().expect("decisions");
    assert!(active.iter().any(|d| d["id"] == decision["id"]), "{active:?}");
}

#[test]
fn detach_ends_the_agent_and_says_so() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    let pid = scene.agent.pid().expect("running");
    let told = scene.agent.cli(&["detach"]).expect("detach");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(told.output.contains(&pid.to_string()), "{}", told.output);
    assert_clean(&scene);
    assert!(scene.reaches(false));
    let again = scene.agent.cli(&["detach"]).expect("detach");
    assert_eq!(again.code, 0, "{}", again.output);
    drop(scene.agent.stop());
}

#[test]
fn lists_come_from_the_database_when_no_agent_runs() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.block_other(false, "1h");
    scene.agent.stop().expect("stops");
    let told = scene.agent.cli(&["decisions", "list"]).expect("list");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(told.output.contains(&scene.other.v4.to_string()), "{}", told.output);
    let told = scene
        .agent
        .cli(&["decisions", "add", "--ip", "203.0.113.7"])
        .expect("add");
    assert_eq!(told.code, 1, "{}", told.output);
    assert!(
        told.output.contains("not running") && told.output.contains("sentinel run"),
        "{}",
        told.output
    );
}
