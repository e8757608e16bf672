//! Over the port only who is logged in is answered: with the link that the first start prints, with a token made by
//! command, and no longer once it is revoked, over a restart too.

use crate::scene::Scene;
use serde_json::json;
use std::time::Duration;
use testbed::child;

const PORT: &str = "http://127.0.0.1:8000";

/// The status of a request over the port, from the agent's own host.
fn status(scene: &Scene, more: &[&str], path: &str) -> String {
    let url = format!("{PORT}{path}");
    let args = [
        &["-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}"],
        more,
        &[url.as_str()],
    ];
    let curl = scene.protected.program("curl", &args.concat());
    let told = child::run(curl, Duration::from_secs(90)).expect("curl runs");
    told.output.trim().to_owned()
}

/// The arguments by which a browser sends a link's code.
fn login(body: &str) -> [&str; 4] {
    ["-H", "content-type: application/json", "-d", body]
}

#[test]
fn the_first_start_prints_a_link_and_commands_make_and_revoke_tokens() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    for (path, expected) in [
        ("/health", "200"),
        ("/metrics", "200"),
        ("/alerts", "401"),
        ("/", "303"),
    ] {
        assert_eq!(status(&scene, &[], path), expected, "{path}");
    }
    let made = scene
        .agent
        .cli(&["token", "create", "scraper", "--role", "viewer"])
        .expect("made");
    let token = made.output.lines().find(|line| line.starts_with("sntl_"));
    let token = token.unwrap_or_else(|| panic!("no token: {}", made.output)).to_owned();
    let header = format!("authorization: Bearer {token}");
    let bearer = ["-H", header.as_str()];
    assert_eq!(status(&scene, &bearer, "/alerts"), "200");
    let act = [&bearer[..], &login("{}")].concat();
    assert_eq!(status(&scene, &act, "/decisions"), "403");

    let said = scene.agent.stop().expect("stopped").output;
    let link = said.lines().find(|line| line.contains("/login#")).expect("a link");
    let (_, code) = link.split_once("/login#").expect("a code");
    assert_eq!(code.len(), 64, "{link}");
    assert!(!said.contains(&token));
    scene.agent.launch().expect("started again");
    assert_eq!(status(&scene, &bearer, "/alerts"), "200");
    let body = json!({ "code": code }).to_string();
    assert_eq!(
        status(&scene, &login(&body), "/login"),
        "401",
        "a link dies with the agent that printed it"
    );
    let link = scene.agent.cli(&["login"]).expect("a link").output;
    let code = link
        .lines()
        .find_map(|line| line.split_once("/login#"))
        .expect("a code")
        .1;
    let body = json!({ "code": code }).to_string();
    assert_eq!(status(&scene, &login(&body), "/login"), "200");
    assert_eq!(status(&scene, &login(&body), "/login"), "401", "it works once");

    assert_eq!(
        scene.agent.cli(&["token", "revoke", "scraper"]).expect("revoked").code,
        0
    );
    assert_eq!(status(&scene, &bearer, "/alerts"), "401");
    let said = scene.agent.stop().expect("stopped").output;
    assert!(!said.contains("/login#"), "somebody has logged in: {said}");
    assert!(!said.contains(code) && !said.contains(&token));
}
