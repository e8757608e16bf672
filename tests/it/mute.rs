//! Those an agent asks and tells, that take its connections and say nothing, or half of something: nothing of what it does waits
//! for them.

use crate::scene::{SOON, agent_or_skip, knock};
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use testbed::agent::Agent;
use testbed::child::Child;
use testbed::lab::Services;
use testbed::net::Network;
use testbed::wait;

/// How long mail and webhooks may take: a block that waited for them would take as long.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Until an attack is answered.
const ATTACK: Duration = Duration::from_mins(1);
/// Until whoever waited has given up and says so.
const PATIENCE: Duration = Duration::from_mins(1);

/// Takes every connection to some ports and a Unix socket, reads what comes, says half of an answer or nothing, and stays.
const MUTE: &str = r#"
import os, socket, sys, threading
half, address, path = sys.argv[1] == "half", sys.argv[2], sys.argv[3]
begun = {6379: b"+PON", 2525: b"220 mail.exam", 8088: b"HTTP/1.1 200 OK\r\nContent-Le", 0: b"HTTP/1.1 200 OK\r\nContent-Type: appl"}
def hold(peer, port):
    try:
        if half: peer.sendall(begun[port])
        while peer.recv(65536): pass
        while True: threading.Event().wait(60)
    except OSError: pass
def take(listener, port):
    while True:
        peer, _ = listener.accept()
        print(f"taken {port}\n", end="", flush=True)
        threading.Thread(target=hold, args=(peer, port), daemon=True).start()
for port in (6379, 2525, 8088):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port)); listener.listen(64)
    threading.Thread(target=take, args=(listener, port), daemon=True).start()
if os.path.exists(path): os.unlink(path)
engine = socket.socket(socket.AF_UNIX)
engine.bind(path); engine.listen(64)
print("listening", flush=True)
take(engine, 0)
"#;

#[test]
fn those_who_say_nothing_or_half_of_it_delay_no_block_and_are_named() {
    for half in [false, true] {
        let Some(()) = against(half) else { return };
    }
}

fn against(half: bool) -> Option<()> {
    let binary = agent_or_skip()?;
    let what = if half { "half" } else { "nothing" };
    let mut network = Network::new().expect("network");
    let protected = network.host("protected", 1).expect("host");
    let other = network.host("other", 9).expect("host");
    let attacker = Ipv4Addr::new(45, 33, 32, 10);
    for (host, line) in [
        (&other, format!("ip addr add {attacker}/32 dev eth0")),
        (&protected, "ip route add 45.33.32.0/24 dev eth0".to_owned()),
    ] {
        assert_eq!(host.run(&line, SOON).expect("ip").code, 0);
    }
    let _services = Services::start(&protected).expect("services");
    let mut agent = Agent::prepare(&binary, &protected, &json!({})).expect("folder");
    let engine = agent.path("engine.sock");
    let path = engine.display().to_string();
    let here = other.v4.to_string();
    let mut mute = Child::spawn(other.program("python3", &["-c", MUTE, what, &here, &path])).expect("python3");
    wait::until("the mute ones", SOON, || {
        Ok(mute.output().contains("listening").then_some(()))
    })
    .expect("listen");
    std::fs::write(agent.path("key"), "5b6f0f8f1f6c4f5e9d7c3a2b1e0d9c8b7a6f5e4d3c2b1a09").expect("written");
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let sets = [
        (&["bus"][..], json!(format!("redis://{here}:6379"))),
        (&["fleet", "name"], json!("one")),
        (&["fleet", "key_file"], json!(agent.path("key"))),
        (&["containers", "engine"], json!(format!("unix://{path}"))),
        (
            &["alerting", "email"],
            json!({ "host": here, "port": 2525, "security": "none", "from": "s@example.org", "to": ["t@example.org"], "timeout": timeout }),
        ),
        (
            &["alerting", "webhook"],
            json!({ "url": format!("http://{here}:8088/hook"), "timeout": timeout }),
        ),
    ];
    for (keys, value) in sets {
        agent.set(keys, value).expect("set");
    }
    let began = Instant::now();
    agent.launch().unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let start = began.elapsed();

    let mut times: Vec<Duration> = (0..40)
        .map(|n| {
            let wish = json!({ "target": format!("203.0.113.{n}"), "duration": "1h", "reason": "mute" });
            let began = Instant::now();
            let told = agent.request("POST", "/decisions", Some(&wish)).expect("answer");
            assert_eq!(told.status, 201, "{what}: {}", told.text);
            began.elapsed()
        })
        .collect();
    times.sort();
    knock(&other, attacker.into(), &protected);
    let line = format!(
        "nmap -n -Pn -sS -e eth0 -S {attacker} --max-retries 0 -p 1-60 {}",
        protected.v4
    );
    let began = Instant::now();
    let _scan = other.spawn(&line).expect("nmap");
    wait::until("the scan to be answered", ATTACK, || {
        Ok((!agent.deeds(attacker.into())?.is_empty()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let answered = began.elapsed();
    eprintln!(
        "{what}: ready after {start:?}, blocks by hand {:?} in the middle and {:?} at most, a scan answered after {answered:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    eprintln!(
        "figure: a block by hand while whoever is told says {what} = {:.0} ms",
        times[times.len() / 2].as_secs_f64() * 1e3
    );
    // In the middle, since processors are shared.
    assert!(times[times.len() / 2] < TIMEOUT, "{what}: {times:?}");

    for component in ["fleet", "containers", "notify"] {
        let told = wait::until(component, PATIENCE, || {
            let health = agent.get("/health")?;
            let state = health["components"][component].clone();
            Ok((state["state"] == "degraded").then_some(state))
        });
        let told = told.unwrap_or_else(|error| panic!("{what}: {error:#}: {:?}", agent.get("/health")));
        for key in ["cause", "mend"] {
            let text = told[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{what}: {component}: {told}");
        }
        let degraded = agent.metrics().expect("metrics");
        assert!(
            degraded.sum("sentinel_degraded", &[&format!("component=\"{component}\"")]) > 0.5,
            "{what}: {component} is not in the metrics"
        );
    }
    let taken = mute.output();
    for port in [6379, 2525, 8088, 0] {
        assert!(taken.contains(&format!("taken {port}")), "{what}: nobody asked {port}");
    }
    let began = Instant::now();
    let ended = agent.stop().expect("stops");
    assert_eq!(ended.code, 0, "{what}: {}", ended.output);
    eprintln!("{what}: ended after {:?}", began.elapsed());
    Some(())
}
