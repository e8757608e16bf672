//! `sentinel top` on a real terminal, against a running agent.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::path::Path;
use testbed::pty::Terminal;
use testbed::{agent_binary, wait};

fn top(scene: &Scene, more: &str) -> Terminal {
    let binary = agent_binary().expect("built");
    let settings = scene.agent.settings();
    let line = format!("{} -c {} top {more}", quoted(&binary), quoted(&settings));
    Terminal::open(&line, &[]).unwrap_or_else(|error| panic!("{error:#}"))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// Has everything drawn anew and waits for some words of it.
fn shows(terminal: &mut Terminal, words: &str) {
    let shown = wait::until(words, SOON, || {
        terminal.forget();
        terminal.press("\u{c}")?;
        Ok(terminal.until(words, std::time::Duration::from_millis(500)).ok())
    });
    shown.unwrap_or_else(|error| panic!("{error:#}:\n{}", terminal.words()));
}

#[test]
fn what_the_agent_does_is_seen_a_block_is_taken_back_and_the_terminal_is_given_back() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    scene.block_other(false, "1h");
    scene.until_hit(false, "hits");
    let ip = scene.other.v4.to_string();
    let mut terminal = top(&scene, "");
    terminal
        .until("PRODUCTION", SOON)
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert!(terminal.raw().contains("\u{1b}[?1049h"), "a screen of its own");
    assert!(terminal.raw().contains("\u{1b}[3"), "colours on a terminal");

    terminal.press("2").expect("typed");
    shows(&mut terminal, &format!("> {ip} block_ip active"));
    terminal.press("u").expect("typed");
    shows(&mut terminal, "Take it back?");
    assert!(!scene.reaches(false), "a question is no deed");
    terminal.press("y").expect("typed");
    shows(&mut terminal, &format!("{ip} is taken back"));
    assert!(scene.reaches(false));
    shows(&mut terminal, "no decision");
    terminal.press("3").expect("typed");
    shows(&mut terminal, "flows, most rate");

    scene.agent.stop().expect("stops");
    shows(&mut terminal, "NO ANSWER for");
    scene.agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    shows(&mut terminal, "PRODUCTION");

    terminal.forget();
    terminal.press("q").expect("typed");
    let status = terminal.ended(SOON).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(status.success(), "{status}");
    let last = terminal.raw();
    assert!(
        last.contains("\u{1b}[?1049l") && last.contains("\u{1b}[?25h"),
        "{last:?}"
    );
}

#[test]
fn without_a_terminal_it_says_so_and_once_is_plain_text() {
    let Some(scene) = Scene::new(&json!({ "mode": "simulation", "enable_production_actions": false })) else {
        return;
    };
    let refused = scene.agent.cli(&["top"]).expect("runs");
    assert_eq!(refused.code, 64, "{}", refused.output);
    assert!(
        refused.output.contains("needs a terminal") && refused.output.contains("--once"),
        "{}",
        refused.output
    );
    let refused = scene.agent.cli(&["-o", "json", "top"]).expect("runs");
    assert_eq!(refused.code, 64, "{}", refused.output);

    scene.reaches(false);
    let ping = format!("ping -c 3 -i 0.2 {}", scene.protected.v4);
    scene.other.run(&ping, SOON).expect("ping");
    let told = wait::until("a flow", SOON, || {
        let told = scene.agent.cli(&["top", "--once"])?;
        Ok(told.output.contains("icmp").then_some(told))
    });
    let told = told.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(told.code, 0, "{}", told.output);
    for words in [
        "SIMULATION: no decision is carried out",
        "packets a second:",
        "Busiest flows",
        &scene.other.v4.to_string(),
    ] {
        assert!(told.output.contains(words), "{words}:\n{}", told.output);
    }
    assert!(!told.output.contains('\u{1b}'), "{:?}", told.output);
    let told = scene.agent.cli(&["-o", "json", "top", "--once"]).expect("runs");
    let told: Value = serde_json::from_str(&told.output).expect("JSON");
    assert_eq!((&told["mode"], &told["stopped"]), (&json!("simulation"), &Value::Null));
    assert!(
        told["flows"].as_array().is_some_and(|flows| !flows.is_empty()),
        "{told}"
    );

    // The flow as the API tells it: who opened it, and what went either way.
    let flows = scene.agent.get("/flows/top?by=packets&limit=256").expect("answered");
    let from = scene.other.v4.to_string();
    let flow = flows["items"]
        .as_array()
        .and_then(|items| items.iter().find(|flow| flow["source"] == from.as_str()));
    let flow = flow.unwrap_or_else(|| panic!("{flows}"));
    let sent = flow["packets_sent"].as_u64().unwrap_or(0);
    assert!(
        (3..=10).contains(&sent) && flow["packets_received"].as_u64() == Some(sent),
        "{flow}"
    );
    let model = scene.agent.get("/model").expect("answered");
    assert_eq!(
        (&model["loaded"], &model["calibrated"]),
        (&json!(true), &json!(false)),
        "{model}"
    );
    let settings = scene.agent.get("/settings").expect("answered");
    assert!(
        settings["settings"].as_array().is_some_and(|all| all.len() > 5),
        "{settings}"
    );
}
