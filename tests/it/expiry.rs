//! A block ends when it said it would.

use crate::scene::{SOON, Scene};
use serde_json::json;
use testbed::wait;

/// The kernel looks at its clock once a jiffy (at most 10 ms), and `ping` sends every 20 ms.
const EARLY_MS: f64 = 15.0;

#[test]
fn a_block_expires_on_time_with_the_agent_running() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    for v6 in [false, true] {
        let decision = scene.block_other(v6, "12s");
        assert!(!scene.reaches(v6), "a blocked host is answered");
        let ends = milliseconds(decision["expires_at"].as_str().expect("an end"));
        // From before the end to after it; -D prints the time of each answer, -O nothing of the unanswered.
        let ping = scene
            .other
            .run(
                &format!("ping -n -D -i 0.02 -w 20 {}", scene.protected.address_of(v6)),
                SOON * 2,
            )
            .expect("ping");
        check_first_answer(&ping.output, ends);

        let id = decision["id"].as_str().expect("id").to_owned();
        wait::until("the decision to be told as expired", SOON, || {
            let decision = scene.agent.get(&format!("/decisions/{id}"))?;
            Ok((decision["status"] == "expired").then_some(()))
        })
        .expect("expired");
        wait::until("the action to be told as expired", SOON, || {
            let actions = scene.agent.actions()?;
            Ok(actions
                .iter()
                .any(|action| action["decision"] == id.as_str() && action["status"] == "expired")
                .then_some(()))
        })
        .expect("expired");
    }
}

#[test]
fn a_block_added_again_is_extended() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    scene.block_other(false, "2s");
    let longer = scene.block_other(false, "1h");
    let ends = milliseconds(longer["expires_at"].as_str().expect("an end"));
    let now = jiff::Timestamp::now().as_millisecond() as f64;
    assert!(ends - now > 3_500_000.0, "{longer}");
    let first = std::time::Instant::now();
    while first.elapsed() < std::time::Duration::from_secs(3) {
        assert!(!scene.reaches(false), "free although the block was extended");
    }
}

#[test]
fn a_block_expires_on_time_with_the_agent_dead() {
    let Some(mut scene) = Scene::pinned(&json!({})) else {
        return;
    };
    assert!(scene.reaches(false) && scene.reaches(true));
    let ends = [false, true].map(|v6| {
        let decision = scene.block_other(v6, "20s");
        milliseconds(decision["expires_at"].as_str().expect("an end"))
    });
    scene.agent.kill().expect("killed");
    assert!(
        !scene.reaches(false) && !scene.reaches(true),
        "a pinned block died with its agent"
    );
    let pings = [false, true].map(|v6| {
        let line = format!("ping -n -D -i 0.02 -w 25 {}", scene.protected.address_of(v6));
        scene.other.spawn(&line).expect("ping")
    });
    for (mut ping, ends) in pings.into_iter().zip(ends) {
        check_first_answer(&ping.wait(SOON * 2).expect("ping ends").output, ends);
    }
    let told = scene.agent.cli(&["detach"]).expect("detach");
    assert_eq!(told.code, 0, "{}", told.output);
    // The kernel ends a link whose pin went when it comes to it.
    wait::until("the program to be gone", SOON, || {
        let link = scene.protected.run("ip -d link show dev eth0", SOON)?.output;
        Ok((!link.contains("xdp")).then_some(()))
    })
    .expect("detach left a program behind");
}

/// When the first answer in what `ping -D` printed came, s since 1970.
pub(crate) fn first_answer(printed: &str) -> Option<f64> {
    let mut lines = printed.lines();
    lines.find_map(|line| line.strip_prefix('[')?.split_once(']')?.0.parse().ok())
}

/// The first answer in what `ping -D` printed came once the block had ended. How much later is told: on busy processors
/// `ping` itself may wait its turn.
pub(crate) fn check_first_answer(printed: &str, ends: f64) {
    let first = first_answer(printed).unwrap_or_else(|| panic!("never free again:\n{printed}")) * 1e3;
    assert!(first >= ends - EARLY_MS, "free {:.0} ms early", ends - first);
    eprintln!("figure: free after the end of a block = {:.0} ms", first - ends);
}

pub(crate) fn milliseconds(rfc3339: &str) -> f64 {
    let at: jiff::Timestamp = rfc3339.parse().expect("a time");
    at.as_nanosecond() as f64 / 1e6
}
