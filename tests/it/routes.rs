//! A table of routes as large as a router's, and one that changes all the time: next to nothing of it is kept, and a new
//! gateway is protected at once.

use crate::scene::{SOON, Scene};
use serde_json::json;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use testbed::wait;

/// Routes of the table: a fifth of the Internet's.
const ROUTES: u32 = 200_000;
/// Changes of one storm, each an announcement.
const STORM: u32 = 50_000;
/// What the agent may grow by, MiB. A dump of that table has some 25 MiB, its decoded messages several times that.
const GROWTH: f64 = 24.0;
/// `ip` with a batch of that many.
const BATCH: Duration = Duration::from_mins(5);

/// The most the agent ever had resident, and what it has spent of the processors, in MiB and seconds.
fn spent(scene: &Scene) -> (f64, f64) {
    let pid = scene.agent.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a line");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: f64 = [11, 12].iter().map(|&n| fields[n].parse::<f64>().expect("ticks")).sum();
    (kib / 1024.0, ticks / 100.0)
}

/// Has `ip` do so many things at the protected host.
fn batch(scene: &Scene, count: u32, line: impl Fn(u32) -> String) {
    let dir = tempfile::Builder::new().prefix("stb-").tempdir().expect("a folder");
    let file = dir.path().join("batch");
    let mut text = String::new();
    for n in 0..count {
        writeln!(text, "{}", line(n)).expect("text");
    }
    std::fs::write(&file, text).expect("written");
    let done = scene
        .protected
        .run(&format!("ip -batch {}", file.display()), BATCH)
        .expect("ip");
    assert_eq!(done.code, 0, "{}", done.output);
}

/// An address of the table by its number.
fn net(n: u32) -> String {
    std::net::Ipv4Addr::from(0x1000_0000 + (n << 8)).to_string()
}

#[test]
fn a_full_table_that_changes_all_the_time_is_not_kept_and_a_new_gateway_is_protected() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    let (before, _) = spent(&scene);
    batch(&scene, ROUTES, |n| format!("route add {}/24 via 192.0.2.254", net(n)));
    let refused = |address: &str| {
        let wish = json!({ "target": address, "type": "block", "duration": "1h", "reason": "test" });
        let told = scene
            .agent
            .request("POST", "/decisions", Some(&wish))
            .expect("answered");
        told.status == 409 && told.text.contains("gateway")
    };
    let begun = Instant::now();
    let (_, worked) = spent(&scene);
    for round in 0..4 {
        batch(&scene, STORM, |n| {
            let via = if round % 2 == 0 { "192.0.2.253" } else { "192.0.2.254" };
            format!("route replace {}/24 via {via}", net(n))
        });
    }
    let storm = begun.elapsed();
    let (_, now) = spent(&scene);
    let share = (now - worked) / storm.as_secs_f64();
    // More than one: the table is looked at every five seconds anyway, and one may come right before that.
    let seen = [77, 78, 79].map(|n| {
        batch(&scene, 1, |_| format!("route add 203.0.113.{n}/32 via 192.0.2.{n}"));
        let added = Instant::now();
        wait::until("the new gateway to be protected", SOON, || {
            Ok(refused(&format!("192.0.2.{n}")).then_some(()))
        })
        .expect("protected");
        added.elapsed()
    });
    let [soonest, latest] = [seen.iter().min(), seen.iter().max()].map(|seen| seen.expect("three").as_secs_f64());
    let (most, _) = spent(&scene);
    println!("figure: routes = {ROUTES}");
    println!("figure: changes = {}", 4 * STORM);
    println!("figure: growth at most = {:.1} MiB", most - before);
    println!("figure: of one processor during the storm = {:.0} %", share * 100.0);
    println!(
        "figure: a new gateway protected after, soonest = {:.0} ms",
        soonest * 1e3
    );
    println!("figure: a new gateway protected after, latest = {:.0} ms", latest * 1e3);
    assert!(most - before <= GROWTH, "it grew by {} MiB", most - before);
    assert!(share < 0.9, "it does nothing but read the table");
    let said = scene.agent.stop().expect("it ends");
    assert_eq!(said.code, 0, "{}", said.output);
}
