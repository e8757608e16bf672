//! The traffic log of a running agent: what real connections leave in it, and what a kill and an orderly end leave of it.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::path::Path;
use testbed::wait;

/// Rows of the file by the names of their columns; its heading is its first line and no other.
fn rows(path: &Path) -> Vec<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let heading: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
    let row = |line: &str| {
        let cells: Vec<_> = line.split(',').map(str::to_owned).collect();
        assert_eq!(cells.len(), heading.len(), "{line}");
        assert_ne!(cells[0], heading[0], "the heading stands there twice");
        heading.iter().map(|name| (*name).to_owned()).zip(cells).collect()
    };
    lines.map(row).collect()
}

fn cell<'a>(row: &'a [(String, String)], name: &str) -> &'a str {
    &row.iter().find(|(known, _)| known == name).expect("a column").1
}

/// Rows of flows of `source` to a port.
fn to_port(path: &Path, source: &str, port: &str) -> usize {
    let of = |row: &Vec<(String, String)>| cell(row, "src") == source && cell(row, "dport") == port;
    rows(path).iter().filter(|row| of(row)).count()
}

#[test]
fn connections_are_rows_that_are_shown_kept_over_a_kill_and_written_at_the_end() {
    // The first half without a model: the log has its own builder.
    let settings = json!({ "detect": { "model": { "enabled": false } } });
    let Some(mut scene) = Scene::new(&settings) else {
        return;
    };
    let (path, source) = (scene.agent.path("traffic_log.csv"), scene.other.v4.to_string());
    for _ in 0..5 {
        scene.knock(scene.other.v4.into());
    }
    let there = wait::until("five rows", SOON * 2, || {
        Ok((to_port(&path, &source, "80") >= 5).then_some(()))
    });
    there.unwrap_or_else(|error| panic!("{error:#}: {:?}", rows(&path)));
    let first = &rows(&path)[0];
    assert_eq!(
        ["sensor", "score", "level", "y", "family"].map(|name| cell(first, name)),
        ["xdp", "", "", "", ""]
    );
    let told = scene
        .agent
        .get(&format!("/traffic?ip={source}&sensor=xdp&limit=1000"))
        .expect("rows");
    let items = told["items"].as_array().expect("a list");
    let web: Vec<&Value> = items.iter().filter(|item| item["destination_port"] == 80).collect();
    assert!(web.len() >= 5, "{told:#}");
    assert!(
        web.iter()
            .all(|item| item["bytes_received"].as_u64() > Some(0) && item["score"].is_null()),
        "{told:#}"
    );

    // Killed, and started with the model that ships.
    scene.agent.kill().expect("killed");
    let before = to_port(&path, &source, "80");
    scene
        .agent
        .set(&["detect", "model", "enabled"], json!(true))
        .expect("settings");
    scene.agent.launch().expect("started again");
    scene.knock(scene.other.v4.into());
    let more = wait::until("a judged row", SOON * 2, || {
        let judged = rows(&path).into_iter().find(|row| !cell(row, "score").is_empty());
        Ok(judged.filter(|_| to_port(&path, &source, "80") > before))
    });
    let judged = more.unwrap_or_else(|error| panic!("{error:#}: {:?}", rows(&path)));
    let score: f64 = cell(&judged, "score").parse().expect("a number");
    assert!((0.0..=1.0).contains(&score));
    assert_eq!(cell(&judged, "level"), "", "its thresholds are not this network's");
    let health = scene.agent.get("/health").expect("health");
    assert_eq!(health["components"]["traffic_log"]["state"], "ok", "{health}");

    // What goes on at the end is told of then; after three seconds it would be anyway.
    let line = format!("hping3 -q -2 -i u10000 -c 3 -p 4242 {}", scene.protected.v4);
    scene.other.run(&line, SOON).expect("datagrams");
    let taken = wait::until("the datagram to be seen", SOON, || {
        let busy = scene.agent.get(&format!("/flows/top?ip={source}&limit=256"))?;
        let items = busy["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().any(|item| item["destination_port"] == 4242).then_some(()))
    });
    taken.unwrap_or_else(|error| panic!("{error:#}"));
    scene.agent.stop().expect("an orderly end");
    assert!(to_port(&path, &source, "4242") >= 1, "{:?}", rows(&path));
}
