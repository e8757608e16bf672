//! Ordinary traffic that resembles an attack more than the lab's does, and must be left alone.

use crate::scene::Scene;
use serde_json::json;
use std::time::Duration;
use testbed::child;

/// For one kind of traffic; each takes a few seconds at most.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is run, `{t}` being the address and `{h}` the same as URLs want it.
const TRAFFIC: &[(&str, &str)] = &[
    (
        "a hundred short requests",
        "for i in $(seq 100); do curl -sf -o /dev/null http://{h}/file || exit 1; done",
    ),
    (
        "transfers given up early",
        "for i in $(seq 20); do curl -s -m 0.02 -o /dev/null http://{h}/file; done; true",
    ),
    (
        "a client whose service is down",
        "for i in $(seq 20); do curl -s -m 1 -o /dev/null http://{h}:8080/; sleep 0.1; done; true",
    ),
    (
        "a probe that connects and says nothing",
        "for i in $(seq 20); do curl -s -m 0.1 -o /dev/null telnet://{h}:80 </dev/null; done; true",
    ),
    (
        "a script's log-ins, one after the other",
        "for i in $(seq 10); do ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null root@{t} true; done; true",
    ),
    ("a fast ping", "ping -q -f -c 150 {t}"),
    (
        "names, asked one by one",
        "for i in $(seq 50); do dig +tries=3 @{t} lab.test >/dev/null || exit 1; done",
    ),
];

/// A traceroute's probes, as they arrive at the last hop: three to a port range that nobody listens on, for each hop.
const TRACEROUTE: &str = "hping3 -q --udp -p ++33434 -i u10000 -c 60 {t}; true";

#[test]
fn what_only_resembles_an_attack_is_left_alone() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    for v6 in [false, true] {
        let address = scene.protected.address_of(v6).to_string();
        let in_url = if v6 { format!("[{address}]") } else { address.clone() };
        let trace = [("a traceroute", TRACEROUTE)];
        // hping3 knows IPv4 only.
        let more = if v6 { &trace[..0] } else { &trace[..] };
        for (name, script) in TRAFFIC.iter().chain(more) {
            let script = script.replace("{t}", &address).replace("{h}", &in_url);
            let command = scene.other.program("sh", &["-c", &script]);
            let done = child::run(command, PATIENCE).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!(done.code, 0, "{name}: {}", done.output);
            assert!(scene.reaches(v6), "{name}: cut off afterwards");
        }
    }
    // What is unanswered is judged a second later; by the time these come back it was.
    let slow = scene.other.program("ping", &["-q", "-i", "1", "-c", "3", "192.0.2.1"]);
    let slow = child::run(slow, PATIENCE).expect("ping runs");
    assert_eq!(slow.code, 0, "{}", slow.output);
    for v6 in [false, true] {
        let decisions = scene.agent.decisions(scene.other.address_of(v6)).expect("decisions");
        assert!(
            decisions.iter().all(|d| d["action"] == "log_only"),
            "blocked: {decisions:?}"
        );
    }
}
