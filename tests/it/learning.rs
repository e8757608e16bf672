//! Learn mode, from silence to an alert that says why.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{child, wait};

/// Benign connections: a level that one flow in a thousand may reach needs ten thousand.
const CONNECTIONS: u32 = 10_600;
/// For so many, on shared processors.
const PATIENCE: Duration = Duration::from_mins(10);

fn learn(scene: &Scene, what: &str) -> child::Finished {
    scene.agent.cli(&["learn", what]).expect("the command line runs")
}

fn status(scene: &Scene) -> Value {
    scene.agent.get("/learn").expect("learn mode answers")
}

/// A collection that a kill interrupts goes on: with what was benign, and without the source that scanned before.
fn interrupt(scene: &mut Scene) {
    let scanner = scene.network.host("scanner", 7).expect("a host");
    let scan = format!("nmap -n -Pn -sS -p1-400 --max-rate 400 {}", scene.protected.v4);
    scanner.run(&scan, PATIENCE).expect("nmap");
    let before = wait::until("the scanner to be left out, and all of it on disk", SOON * 2, || {
        let status = status(scene);
        let left_out = status["left_out"].as_u64() >= Some(100);
        let seen = status["seen"].as_u64();
        std::thread::sleep(Duration::from_secs(6));
        Ok((left_out && crate::learning::status(scene)["seen"].as_u64() == seen).then_some(status))
    });
    let before = before.unwrap_or_else(|error| panic!("{error:#}, {}", status(scene)));
    assert!(before["resumed"].is_null(), "{before}");
    let part = scene.agent.path("learning.part");
    let length = std::fs::metadata(&part).expect("what was collected is on disk").len();
    scene.agent.kill().expect("was running");
    // As a kill in the middle of a batch leaves it.
    let torn = std::fs::OpenOptions::new()
        .append(true)
        .open(&part)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0x40, 1, 0, 0, 1, 2, 3]));
    torn.expect("writable");
    scene.agent.launch().expect("starts again");
    let log = scene.agent.log();
    assert!(
        log.contains("learn mode goes on") && log.contains("was not written whole and is cut off"),
        "{log}"
    );
    assert_eq!(std::fs::metadata(&part).expect("still there").len(), length);
    let after = status(scene);
    for number in ["since", "kept"] {
        assert_eq!(after[number], before[number], "{before} {after}");
    }
    assert!(after["resumed"].is_string() && after["warning"].is_null(), "{after}");
    let said = learn(scene, "status");
    assert!(
        said.code == 0 && said.output.contains("gone on with at"),
        "{}",
        said.output
    );
    // Whoever was accused before the kill teaches nothing after it.
    for _ in 0..20 {
        let url = format!("http://{}/", scene.protected.v4);
        scanner
            .program("curl", &["-s", "-o", "/dev/null", &url])
            .status()
            .expect("curl");
    }
    let left_out = wait::until("the scanner's requests to be seen", SOON, || {
        let status = status(scene);
        let more = |name: &str| status[name].as_u64().unwrap_or(0) - after[name].as_u64().unwrap_or(0);
        Ok((more("left_out") >= 20).then(|| (more("seen"), more("left_out"), more("kept"))))
    });
    let (seen, left_out, kept) = left_out.unwrap_or_else(|error| panic!("{error:#}, {}", status(scene)));
    assert_eq!((seen, kept), (left_out, 0), "nothing of it is kept");
}

/// Requests for names that are not there: short, and as many as that, each a connection of its own.
fn browse(scene: &Scene, connections: u32) {
    let half = connections / 2;
    let fetch = |from: u32| {
        let url = format!("http://{}/page[{from}-{}]", scene.protected.v4, from + half - 1);
        scene.other.program(
            "curl",
            &["-s", "-I", "-H", "Connection: close", "-o", "/dev/null", &url],
        )
    };
    let mut first = child::Child::spawn(fetch(1)).expect("curl");
    let second = child::run(fetch(half + 1), PATIENCE).expect("curl");
    assert_eq!((first.wait(PATIENCE).expect("curl").code, second.code), (0, 0));
}

#[test]
fn what_is_learnt_here_lets_the_model_speak_and_outlives_a_restart() {
    let Some(mut scene) = Scene::new(&json!({ "mode": "simulation", "enable_production_actions": false })) else {
        return;
    };
    let said = learn(&scene, "status");
    assert!(
        said.code == 0 && said.output.contains("not calibrated"),
        "{}",
        said.output
    );
    let said = learn(&scene, "accept");
    assert!(
        said.code == 1 && said.output.contains("sentinel learn start"),
        "{}",
        said.output
    );

    assert_eq!(learn(&scene, "start").code, 0);
    browse(&scene, 200);
    let told = wait::until("flows to be seen", SOON, || {
        Ok(Some(status(&scene)).filter(|s| s["kept"].as_u64() > Some(100)))
    });
    let missing = told.unwrap_or_else(|error| panic!("{error:#}"))["levels"][1]["missing"].as_u64();
    assert!(missing > Some(0), "a hundred flows set no threshold");
    let said = learn(&scene, "accept");
    assert!(
        said.code == 1 && said.output.contains("more are needed"),
        "{}",
        said.output
    );
    interrupt(&mut scene);
    browse(&scene, CONNECTIONS);
    // A busy machine loses some on the way: what is missing after a while has to come yet.
    let enough = wait::until("enough flows", Duration::from_mins(5), || {
        let there = wait::until("what came to be kept", SOON, || {
            Ok((status(&scene)["levels"][1]["missing"] == 0).then_some(()))
        });
        if there.is_err() {
            browse(&scene, 1_000);
        }
        Ok(there.ok())
    });
    enough.unwrap_or_else(|error| panic!("{error:#}, {}", status(&scene)));

    let said = learn(&scene, "accept");
    assert!(
        said.code == 0 && said.output.contains("those of this network"),
        "{}",
        said.output
    );
    assert!(scene.agent.path("site.model").exists());
    assert!(!scene.agent.path("learning.part").exists());
    let source = scene.other.v4.into();
    let scan = format!("nmap -n -Pn -sS -p1-3000 --max-rate 1000 {}", scene.protected.v4);
    scene.other.run(&scan, PATIENCE).expect("nmap");
    let alert = wait::until("the model's alert", SOON * 2, || {
        let alerts = scene.agent.alerts(source)?;
        Ok(alerts.into_iter().find(|alert| alert["detector"] == "model"))
    });
    let alert = alert.unwrap_or_else(|error| panic!("{error:#}, {}", status(&scene)));
    assert_eq!(alert["class"], "statistical", "{alert}");
    let why = &alert["explanation"];
    let number = |value: &Value| value.as_f64().expect("a number");
    let shares: f64 = why["shares"]
        .as_array()
        .expect("shares")
        .iter()
        .map(|s| number(&s["share"]))
        .sum();
    assert!(
        (number(&why["base"]) + shares - number(&why["score"])).abs() < 1e-9,
        "{why}"
    );
    let id = alert["id"].as_str().expect("an id");
    let said = scene
        .agent
        .cli(&["explain", "alert", id])
        .expect("the command line runs");
    assert!(
        said.code == 0 && said.output.contains("the sum; the threshold is"),
        "{}",
        said.output
    );

    scene.agent.stop().expect("stops");
    scene.agent.launch().expect("starts again");
    assert_eq!(status(&scene)["calibrated"], true);
    let calibrated = wait::until("the metric", SOON, || {
        let metrics = scene.agent.metrics()?;
        Ok((metrics.sum("sentinel_model_calibrated", &[]) > 0.0).then_some(()))
    });
    calibrated.unwrap_or_else(|error| panic!("{error:#}"));
}
