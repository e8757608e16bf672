//! A decision about a prefix is over by the end of its window unless whoever must answer still does.

use crate::expiry::{check_first_answer, milliseconds};
use crate::scene::{SOON, agent_or_skip};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use testbed::agent::Agent;
use testbed::child::Child;
use testbed::net::{Host, Network};
use testbed::wait;

/// Where whoever must answer is, and the prefix it is of.
const SERVER: &str = "203.0.113.5";
const RANGE: &str = "203.0.113.0/24";
const WINDOW: Duration = Duration::from_secs(20);

/// A protected host with an agent, and one that serves at an address of another prefix.
struct House {
    agent: Agent,
    _server: Child,
    protected: Host,
    _other: Host,
    _network: Network,
}

impl House {
    fn open(pin: bool, probed: bool) -> Option<Self> {
        let binary = agent_or_skip()?;
        let built = || -> Result<Self> {
            let mut network = Network::new()?;
            let protected = network.host("protected", 1)?;
            let other = network.host("other", 9)?;
            other.run(&format!("ip addr add {SERVER}/32 dev eth0"), SOON)?;
            protected.run(&format!("ip route add {RANGE} dev eth0"), SOON)?;
            let server = other.spawn(&format!("busybox httpd -f -p {SERVER}:8080 -h /"))?;
            let tcp = format!("tcp://{SERVER}:8080");
            let http = format!("http://{SERVER}:8080/");
            wait::until("the server to listen", SOON, || {
                let line = format!("curl -s -o /dev/null -m 1 {http}");
                Ok((protected.run(&line, SOON)?.code == 0).then_some(()))
            })?;
            let probes = if probed { vec![tcp, http] } else { Vec::new() };
            let confirm = json!({ "window": format!("{}s", WINDOW.as_secs()), "probes": probes });
            let settings = json!({ "response": { "confirm": confirm } });
            let mut agent = Agent::prepare(&binary, &protected, &settings)?;
            if pin {
                agent.pin()?;
            }
            agent.launch()?;
            let house = Self {
                agent,
                _server: server,
                protected,
                _other: other,
                _network: network,
            };
            if probed {
                house.until_probed()?;
            }
            Ok(house)
        };
        Some(built().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Waits until it is known who answers.
    fn until_probed(&self) -> Result<()> {
        wait::until("the probes to be known", SOON, || {
            let health = self.agent.get("/health")?;
            Ok((health["components"]["probes"]["detail"] == "2 answer").then_some(()))
        })
    }

    fn add(&self, range: &str) -> Value {
        let said = self
            .agent
            .cli(&["-o", "json", "decisions", "add", "--range", range, "--duration", "1h"]);
        let said = said.expect("the command line runs");
        assert_eq!(said.code, 0, "{}", said.output);
        let decision: Value = serde_json::from_str(&said.output).expect("JSON");
        let left = milliseconds(text(&decision, "expires_at")) - milliseconds(text(&decision, "at"));
        assert!((left - WINDOW.as_millis() as f64).abs() < 1.0, "{decision}");
        let full = milliseconds(text(&decision, "until_if_confirmed")) - milliseconds(text(&decision, "at"));
        assert!((full - 3_600_000.0).abs() < 1.0, "{decision}");
        decision
    }

    fn told(&self, decision: &Value) -> Result<Value> {
        self.agent.get(&format!("/decisions/{}", text(decision, "id")))
    }

    fn until_status(&self, decision: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = "what became of the decision to be told";
        wait::until(what, WINDOW + SOON, || Ok(Some(self.told(decision)?).filter(&wanted)))
            .unwrap_or_else(|error| panic!("{error:#}: {:?}", self.told(decision)))
    }

    /// Whether the protected host gets an answer of the server's address.
    fn reaches(&self) -> bool {
        let ping = self.protected.run(&format!("ping -c 1 -W 1 {SERVER}"), SOON);
        ping.expect("ping runs").code == 0
    }

    fn audit(&self, verb: &str, subject: &str) -> Value {
        let audit = self.agent.get("/audit?limit=100").expect("audit");
        let lines = audit["items"].as_array().cloned().unwrap_or_default();
        let found = lines
            .into_iter()
            .find(|line| line["verb"] == verb && line["subject"] == subject);
        found.unwrap_or_else(|| panic!("no {verb} of {subject}: {audit}"))
    }

    fn explain(&self, decision: &Value) -> String {
        let said = self
            .agent
            .cli(&["explain", "decision", text(decision, "id")])
            .expect("it runs");
        assert_eq!(said.code, 0, "{}", said.output);
        said.output
    }
}

fn text<'a>(decision: &'a Value, field: &str) -> &'a str {
    decision[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field}: {decision}"))
}

#[test]
fn a_prefix_with_whoever_must_answer_is_let_go_within_the_window_and_another_is_confirmed() {
    let Some(house) = House::open(false, true) else { return };
    assert!(house.reaches());
    let harmful = house.add(RANGE);
    assert!(!house.reaches(), "not blocked");
    assert!(house.explain(&harmful).contains("unless confirmed; then until"));
    let over = house.until_status(&harmful, |told| told["status"] == "rolled_back");
    let ends = milliseconds(text(&harmful, "expires_at"));
    assert!(milliseconds(text(&over, "ended_at")) < ends, "{over}");
    assert!(house.reaches(), "still blocked");
    let why = text(&over["veto"], "reason");
    assert!(
        why.contains(&format!("{SERVER}:8080")) && why.contains("answered before"),
        "{why}"
    );
    assert!(house.explain(&harmful).contains("health_probe rolled it back"));
    house.audit("rolled_back", RANGE);

    // Its answer comes back, and somebody else's prefix does not touch it.
    let other = "198.51.100.0/24";
    let harmless = house.add(other);
    let full = text(&harmless, "until_if_confirmed").to_owned();
    let ends = milliseconds(text(&harmless, "expires_at"));
    let told = house.until_status(&harmless, |told| told["expires_at"] == full.as_str());
    assert_eq!(
        (&told["status"], &told["until_if_confirmed"]),
        (&json!("active"), &Value::Null)
    );
    let line = house.audit("confirmed", other);
    assert!(text(&line, "detail").contains("2 probes answer"), "{line}");
    assert!(milliseconds(text(&line, "at")) < ends, "{line}");
    // And it is in force beyond the window.
    std::thread::sleep(WINDOW);
    assert_eq!(house.told(&harmless).expect("told")["status"], "active");
    let metrics = house.agent.metrics().expect("metrics");
    for result in ["confirmed", "rolled_back"] {
        let label = format!("result=\"{result}\"");
        assert_eq!(
            metrics.sum("sentinel_confirmations_total", &[&label]) as u64,
            1,
            "{result}"
        );
    }
    assert_eq!(metrics.sum("sentinel_enforcement_drift_entries", &[]) as u64, 0);
}

#[test]
fn a_person_confirms_and_the_harm_is_theirs() {
    let Some(house) = House::open(false, true) else { return };
    let decision = house.add(RANGE);
    let said = house
        .agent
        .cli(&["decisions", "confirm", text(&decision, "id")])
        .expect("it runs");
    assert_eq!(said.code, 0, "{}", said.output);
    std::thread::sleep(WINDOW + Duration::from_secs(1));
    let told = house.told(&decision).expect("told");
    assert_eq!(
        (&told["status"], &told["expires_at"]),
        (&json!("active"), &decision["until_if_confirmed"])
    );
    assert!(!house.reaches(), "let go");
    let again = house
        .agent
        .cli(&["decisions", "confirm", text(&decision, "id")])
        .expect("it runs");
    assert!(
        again.code != 0 && again.output.contains("needs no confirmation"),
        "{}",
        again.output
    );
}

#[test]
fn with_the_agent_dead_the_kernel_lets_go_by_the_end_of_the_window() {
    // Whoever was asked would be silent, and have it rolled back before a busy machine has killed the agent.
    let Some(mut house) = House::open(true, false) else {
        return;
    };
    assert!(house.reaches());
    let decision = house.add(RANGE);
    let ends = milliseconds(text(&decision, "expires_at"));
    house.agent.kill().expect("killed");
    assert!(!house.reaches(), "a pinned block died with its agent");
    let line = format!("ping -n -D -i 0.02 -w 25 {SERVER}");
    let ping = house.protected.run(&line, WINDOW + SOON).expect("ping");
    check_first_answer(&ping.output, ends);
    house.agent.launch().expect("launched");
    let told = house.until_status(&decision, |told| told["status"] != "active");
    assert_eq!(told["status"], "rolled_back", "{told}");
    assert!(house.reaches());
}
