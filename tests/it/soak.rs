//! Mixed load, round after round: what the agent holds does not grow with time.
//!
//! `SOAK_ROUNDS=720` goes on for about an hour; `cargo xtask prove soak` writes down what came of it.

use crate::scene::{SOON, Scene};
use anyhow::ensure;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};
use testbed::child;
use testbed::http::Answer;
use testbed::wait;

/// Rounds of one run; more by the environment.
const ROUNDS: u32 = 6;
/// Requests of one round.
const REQUESTS: u64 = 71;
/// Rounds until caches, pools and tables are as they stay: of a long run a quarter.
const WARM: u32 = 2;
/// What is measured over fewer rounds says nothing about an hour.
const TELLING: usize = 30;
/// Threads that wait for work end after so long.
const IDLE: Duration = Duration::from_secs(12);
/// Memory by which a run may end above where it was warm, MiB. A leak of a kilobyte a packet would be ten times that.
const GROWTH: f64 = 48.0;
/// Descriptors that come and go with what happens to be under way.
const SLACK: u64 = 6;
/// Threads likewise: those that wait for work take turns, and so end late.
const WAITING: u64 = 24;

/// What is held at one moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Seconds since the first round.
    at: f64,
    /// Resident memory, MiB.
    memory: f64,
    files: u64,
    threads: u64,
}

fn held(pid: u32, began: Instant) -> Held {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let number = |field: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("a line");
        let word = line.split_whitespace().next().expect("a number");
        word.parse::<u64>().expect("a number")
    };
    Held {
        at: began.elapsed().as_secs_f64(),
        memory: number("VmRSS:") as f64 / 1024.0,
        files: fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count() as u64,
        threads: number("Threads:"),
    }
}

/// Forged packets, a scan, decisions by hand and their end, readers of everything, a client of the stream that leaves without a word,
/// settings read anew: some five seconds of it. How many requests were told to come again (503), as on a busy machine.
fn round(scene: &Scene, turn: u32) -> u64 {
    let mut later = 0;
    let mut told = |answer: Answer, what: &str| {
        assert!(answer.status < 500 || answer.status == 503, "{what}: {}", answer.text);
        later += u64::from(answer.status == 503);
        answer
    };
    let to = scene.protected.v4;
    let mut flood = scene
        .other
        .spawn(&format!("hping3 -q --udp --rand-source -p 9999 -c 20000 -i u100 {to}"))
        .expect("hping3");
    let mut scan = scene
        .other
        .spawn(&format!("nmap -n -sS -Pn --max-retries 0 -T4 -p 1-400 {to}"))
        .expect("nmap");
    let socket = scene.agent.socket();
    let mut stream = std::process::Command::new("curl");
    stream
        .args(["-s", "-o", "/dev/null", "-N", "-m", "2", "--unix-socket"])
        .arg(&socket);
    for header in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: c29ha3NvYWtzb2Frc29haw==",
    ] {
        stream.args(["-H", header]);
    }
    stream.arg("http://localhost/stream");
    let mut stream = child::Child::spawn(stream).expect("curl");
    for n in 0..10 {
        let ip = format!("198.51.{}.{}", 100 + turn % 100, n);
        let wish = json!({ "target": ip, "type": "block", "duration": "1h", "reason": "soak" });
        let made = scene.agent.request("POST", "/decisions", Some(&wish));
        let made = told(made.expect("answered"), "a decision");
        assert!(made.status < 300 || made.status == 503, "{}", made.text);
        for path in ["/decisions", "/alerts", "/stats", "/health", "/flows/top", "/settings"] {
            told(scene.agent.request("GET", path, None).expect("answered"), path);
        }
    }
    flood.wait(SOON * 3).expect("it ends");
    scan.wait(SOON * 3).expect("it ends");
    stream.wait(SOON * 3).expect("it ends");
    let read = scene.agent.request("POST", "/settings/reload", None);
    let read = told(read.expect("answered"), "settings");
    assert!(read.status < 300 || read.status == 503, "{}", read.text);
    take_back(scene);
    later
}

/// Takes everything back; a busy agent may want to be asked again.
fn take_back(scene: &Scene) {
    wait::until("all to be taken back", SOON * 3, || {
        let said = scene.agent.cli(&["decisions", "delete", "--all"])?;
        let later = said.output.contains("503");
        ensure!(said.code == 0 || later, "{}", said.output);
        Ok((said.code == 0).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

/// By how much it grows in an hour, by least squares over what was measured.
fn an_hour(held: &[Held], of: impl Fn(&Held) -> f64) -> f64 {
    let n = held.len() as f64;
    let mean = |of: &dyn Fn(&Held) -> f64| held.iter().map(of).sum::<f64>() / n;
    let (at, value) = (mean(&|one| one.at), mean(&|one| of(one)));
    let products: f64 = held.iter().map(|one| (one.at - at) * (of(one) - value)).sum();
    let squares: f64 = held.iter().map(|one| (one.at - at).powi(2)).sum();
    3600.0 * products / squares
}

#[test]
fn nothing_grows_under_mixed_load() {
    let rounds = std::env::var("SOAK_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS).max(WARM + 3);
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    let pid = scene.agent.pid().expect("it runs");
    let began = Instant::now();
    let settled = WARM.max(rounds / 4);
    let (mut seen, mut later) = (Vec::new(), 0);
    for turn in 0..rounds {
        later += round(&scene, turn);
        if turn >= settled {
            seen.push(held(pid, began));
        }
    }
    let alerts = scene
        .agent
        .metrics()
        .expect("metrics")
        .sum("sentinel_alerts_total", &[]);
    let warm = seen[0];
    std::thread::sleep(IDLE);
    let end = held(pid, began);
    println!("figure: rounds = {rounds}");
    println!("figure: alerts = {alerts}");
    println!("figure: requests told to come again = {later}");
    let asked = u64::from(rounds) * REQUESTS;
    assert!(later * 20 <= asked, "{later} of {asked} requests");
    println!("figure: memory when warm = {:.1} MiB", warm.memory);
    println!("figure: memory in the end = {:.1} MiB", end.memory);
    if seen.len() >= TELLING {
        println!(
            "figure: memory, extrapolated = {:.1} MiB/h",
            an_hour(&seen, |one| one.memory)
        );
        println!(
            "figure: descriptors, extrapolated = {:.1} 1/h",
            an_hour(&seen, |one| one.files as f64)
        );
    }
    println!("figure: threads in the end = {}", end.threads);
    assert!(alerts > 0.0, "nothing was found, so nothing was shown");
    assert!(end.memory <= warm.memory + GROWTH, "{warm:?} {end:?}");
    assert!(end.files <= warm.files + SLACK, "{warm:?} {end:?}");
    assert!(end.threads <= warm.threads + WAITING, "{warm:?} {end:?}");
    // What was decided of what was still on its way when the last round took all back.
    take_back(&scene);
    wait::until("nothing to be in force", SOON, || {
        Ok(scene.agent.active()?.is_empty().then_some(()))
    })
    .expect("all was taken back");
    let said = scene.agent.stop().expect("it ends");
    assert_eq!(said.code, 0, "{}", said.output);
}
