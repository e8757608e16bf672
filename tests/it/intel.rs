//! Investigations with real requests: a scan is decided at once, and what sources say of its source counts afterwards.

use crate::scene::{SOON, Scene, agent_or_skip, knock};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use testbed::agent::Agent;
use testbed::child::Child;
use testbed::lab::Services;
use testbed::net::{Host, Network};
use testbed::wait;

/// Attackers with addresses that sources may be asked about; nothing of this leaves the namespaces.
const BAD: Ipv4Addr = Ipv4Addr::new(45, 33, 32, 10);
const SHARED: Ipv4Addr = Ipv4Addr::new(45, 33, 32, 20);
/// Where the providers are played.
const PORT: u16 = 8089;
/// What must never be seen anywhere but in requests.
const CANARY: &str = "canary7f3a91";

/// Three providers in the form they document, each answer half a second late; every request is written down.
const PROVIDERS: &str = r#"
import http.server, json, sys, time
BAD, SHARED = sys.argv[2], sys.argv[3]
class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with open(sys.argv[4], "a") as log:
            log.write(self.path + " " + " ".join(self.headers.values()) + "\n")
        time.sleep(0.5)
        bad, shared, status = BAD in self.path, SHARED in self.path, 200
        if self.path.startswith("/api/v2/check"):
            body = {"data": {"ipAddress": BAD if bad else SHARED, "isPublic": True, "ipVersion": 4, "isWhitelisted": False,
                "abuseConfidenceScore": 100 if bad else 0, "totalReports": 431 if bad else 0, "numDistinctUsers": 77 if bad else 0,
                "lastReportedAt": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()) if bad else None, "reports": []}}
        elif self.path.startswith("/v3/community/"):
            body = {"ip": BAD if bad else SHARED, "noise": bad, "riot": shared, "classification": "malicious" if bad else "benign",
                "name": "unknown" if bad else "Example CDN", "last_seen": time.strftime("%Y-%m-%d"), "message": "Success"}
        else:
            status, body = 404, {"error": {"code": "NotFoundError", "message": "not found"}}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provider).serve_forever()
"#;

struct House {
    agent: Agent,
    _services: Services,
    _providers: Child,
    protected: Host,
    other: Host,
    _network: Network,
}

impl House {
    fn open() -> Option<Self> {
        let binary = agent_or_skip()?;
        let built = || -> anyhow::Result<Self> {
            let mut network = Network::new()?;
            let protected = network.host("protected", 1)?;
            let other = network.host("other", 9)?;
            for address in [BAD, SHARED] {
                other.run(&format!("ip addr add {address}/32 dev eth0"), SOON)?;
            }
            protected.run("ip route add 45.33.32.0/24 dev eth0", SOON)?;
            let services = Services::start(&protected)?;
            let mut agent = Agent::prepare(&binary, &protected, &json!({}))?;
            let log = agent.path("requests").display().to_string();
            let (port, bad, shared) = (PORT.to_string(), BAD.to_string(), SHARED.to_string());
            let play = ["-c", PROVIDERS, &port, &bad, &shared, &log];
            let providers = Child::spawn(protected.program("python3", &play))?;
            let key = agent.path("key");
            std::fs::write(&key, CANARY)?;
            let url = format!("http://127.0.0.1:{PORT}");
            for source in ["abuseipdb", "greynoise", "virustotal"] {
                agent.set(
                    &["intel", "sources", source],
                    json!({ "url": url, "key_file": key, "timeout": "20s" }),
                )?;
            }
            agent.launch()?;
            Ok(Self {
                agent,
                _services: services,
                _providers: providers,
                protected,
                other,
                _network: network,
            })
        };
        Some(built().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Twenty ports, one after the other: past the limit, and of medium severity.
    fn scan(&self, from: IpAddr) {
        knock(&self.other, from, &self.protected);
        let line = format!(
            "nmap -n -Pn -sS -e eth0 -S {from} --max-retries 0 -p 1-20 {}",
            self.protected.v4
        );
        self.other.run(&line, SOON * 3).expect("nmap");
    }

    fn decision(&self, of: IpAddr, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = wait::until(what, SOON, || {
            Ok(self.agent.decisions(of)?.into_iter().find(|decision| wanted(decision)))
        });
        found.unwrap_or_else(|error| panic!("{error:#}: {:?}", self.agent.decisions(of)))
    }

    fn investigation(&self, of: IpAddr, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = wait::until("the investigation", SOON, || {
            let page = self.agent.get(&format!("/investigations?ip={of}"))?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            Ok(items.into_iter().find(|found| wanted(found)))
        });
        found.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn cli(&self, args: &[&str]) -> String {
        let said = self.agent.cli(args).expect("the command line runs");
        assert_eq!(said.code, 0, "{args:?}: {}", said.output);
        said.output
    }

    fn requests(&self) -> String {
        std::fs::read_to_string(self.agent.path("requests")).unwrap_or_default()
    }
}

#[test]
fn what_sources_say_lengthens_lifts_is_explained_and_kept_and_no_key_is_ever_told() {
    let Some(mut house) = House::open() else { return };
    let (bad, shared, inside) = (IpAddr::from(BAD), IpAddr::from(SHARED), IpAddr::from(house.other.v4));

    // At once by what was seen here; a moment later because two wells agree, and for longer.
    house.scan(bad);
    let block = house.decision(bad, "sources to agree", |d| d["basis"] == "independent_sources");
    assert_eq!(
        (&block["action"], &block["status"], &block["risk"]),
        (&json!("block_ip"), &json!("active"), &json!("high"))
    );
    let length = |d: &Value| -> i64 {
        let seconds = |key: &str| -> i64 {
            let text = d[key].as_str().expect("a time");
            text.parse::<jiff::Timestamp>().expect("RFC 3339").as_second()
        };
        seconds("expires_at") - seconds("at")
    };
    assert!((86_400..86_500).contains(&length(&block)), "{block}");
    let found = house.investigation(bad, |found| found["state"] == "complete");
    assert_eq!(found["risk"]["corroborated_by"], 2, "{found}");
    let sum: f64 = found["risk"]["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| part["log_odds"].as_f64().expect("a number"))
        .sum();
    assert!((sum - found["risk"]["log_odds"].as_f64().expect("a number")).abs() < 1e-9);
    // What it was lengthened by is an intent first.
    wait::until("the action to be enforced", SOON, || {
        let actions = house.agent.actions()?;
        let ours = |action: &&Value| action["decision"] == block["id"] && action["status"] == "enforced";
        Ok(actions.iter().find(ours).map(|_| ()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    let told = house.cli(&["explain", "decision", block["id"].as_str().expect("an id")]);
    for part in [
        "severity medium, risk high",
        "independent sources outside agree",
        "abuseipdb",
        "greynoise",
        "the sum: high",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }

    // It can be come to again, here and from a file elsewhere.
    let id = block["id"].as_str().expect("an id");
    let file = house.agent.path("bundle.json").display().to_string();
    let told = house.cli(&["verify", "decision", id, "--out", &file]);
    for step in ["ground", "severity", "risk", "decision", "told"] {
        assert!(told.contains(step) && !told.contains("otherwise"), "{step}: {told}");
    }
    house.cli(&["verify", "bundle", &file]);
    let text = std::fs::read_to_string(&file).expect("the bundle");
    std::fs::write(&file, text.replace("\"production\"", "\"simulation\"")).expect("another bundle");
    let refused = house.agent.cli(&["verify", "bundle", &file]).expect("runs");
    assert_eq!(refused.code, 1, "{}", refused.output);
    assert!(refused.output.contains("otherwise"), "{}", refused.output);

    // Blocked by what was seen here; lifted because it is a service that many share.
    house.scan(shared);
    let lifted = house.decision(shared, "the block to be lifted", |d| d["status"] == "lifted");
    assert!(
        lifted["reason"].as_str().expect("words").starts_with("lifted: risk"),
        "{lifted}"
    );
    assert_eq!(house.agent.block(shared).expect("answers"), None);
    let found = house.investigation(shared, |found| found["state"] == "complete");
    assert!(
        !found["risk"]["contradictions"].as_array().expect("a list").is_empty(),
        "{found}"
    );

    // An inside address is nobody's business.
    house.scan(inside);
    let found = house.investigation(inside, |_| true);
    assert_eq!(found["state"], "local_only", "{found}");
    let requests = house.requests();
    assert!(!requests.contains(&inside.to_string()), "{requests}");
    assert!(requests.contains(CANARY), "the keys reached the providers: {requests}");

    let status = house.cli(&["intel", "status"]);
    assert!(
        status.contains("abuseipdb") && status.contains("of 1000 this day"),
        "{status}"
    );
    let metrics = house.agent.metrics().expect("metrics");
    assert!(metrics.sum("sentinel_intel_requests_total", &["source=\"abuseipdb\""]) >= 2.0);

    // What is known survives a restart, and costs nothing.
    let mut written = house.agent.log();
    house.agent.stop().expect("stops");
    let before = house.requests().lines().count();
    house.agent.launch().expect("starts again");
    let told = house.cli(&["intel", "check", &bad.to_string()]);
    assert!(told.contains("malicious") && told.contains("cache"), "{told}");
    assert_eq!(house.requests().lines().count(), before, "{}", house.requests());

    written += &house.agent.log();
    for path in [
        "/intel",
        "/investigations",
        "/audit",
        "/decisions",
        "/alerts",
        "/health",
        "/stats",
    ] {
        written += &house.agent.get(path).expect("answers").to_string();
    }
    for entry in std::fs::read_dir(house.agent.path("")).expect("its folder").flatten() {
        let name = entry.file_name();
        if name != "key" && name != "requests" && entry.path().is_file() {
            written += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default());
        }
    }
    assert!(!written.contains(CANARY), "a key was told");
}

#[test]
fn sources_that_are_down_delay_nothing_and_say_nothing() {
    let settings = json!({ "intel": { "sources": {
        "otx": { "enabled": true, "url": "http://127.0.0.1:9" },
        "greynoise": { "enabled": true, "url": "http://127.0.0.1:9" },
    } } });
    let Some(scene) = Scene::new(&settings) else { return };
    scene
        .other
        .run(&format!("ip addr add {BAD}/32 dev eth0"), SOON)
        .expect("an address");
    scene
        .protected
        .run("ip route add 45.33.32.0/24 dev eth0", SOON)
        .expect("a route");
    scene.knock(BAD.into());
    let line = format!(
        "nmap -n -Pn -sS -e eth0 -S {BAD} --max-retries 0 -p 1-20 {}",
        scene.protected.v4
    );
    scene.other.run(&line, SOON * 3).expect("nmap");
    let block = wait::until("the block", SOON, || scene.agent.block(BAD.into()));
    let block = block.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(block["basis"], "local_evidence_only", "{block}");
    let found = wait::until("it to be settled", SOON, || {
        let page = scene.agent.get(&format!("/investigations?ip={BAD}"))?;
        Ok(page["items"]
            .as_array()
            .and_then(|items| items.first().cloned())
            .filter(|found| found["state"] != "open"))
    });
    let found = found.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(found["state"], "no_answer", "{found}");
    let still = scene.agent.block(BAD.into()).expect("answers");
    assert!(
        still.is_some_and(|d| d["expires_at"] == block["expires_at"]),
        "nothing changed"
    );
}

#[test]
fn whoever_is_on_a_list_is_told_of_in_both_directions_and_only_logged() {
    let settings = json!({ "intel": { "feeds": { "custom": ["mine=/nonexistent"] } } });
    let Some(mut scene) = Scene::new(&settings) else { return };
    let list = scene.agent.path("mine.txt");
    std::fs::write(&list, format!("{BAD}\n{SHARED}\n")).expect("a list");
    scene
        .agent
        .set(
            &["intel", "feeds", "custom"],
            json!([format!("mine={}", list.display())]),
        )
        .expect("settings");
    scene.agent.stop().expect("stops");
    scene.agent.launch().expect("starts again");
    for address in [BAD, SHARED] {
        let add = format!("ip addr add {address}/32 dev eth0");
        scene.other.run(&add, SOON).expect("an address");
    }
    let route = "ip route add 45.33.32.0/24 dev eth0";
    scene.protected.run(route, SOON).expect("a route");
    wait::until("the list", SOON, || {
        let intel = scene.agent.get("/intel")?;
        Ok((intel["feeds"][0]["entries"] == 2).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));

    let (visit, call) = (
        format!(
            "curl -s -o /dev/null --interface {BAD} http://{}/file",
            scene.protected.v4
        ),
        format!("curl -s -o /dev/null -m 2 http://{SHARED}:81/"),
    );
    scene.other.run(&visit, SOON).expect("curl");
    let _ = scene.protected.run(&call, SOON);
    let told = |of: Ipv4Addr| {
        let found = wait::until("an alert", SOON, || {
            let page = scene.agent.get(&format!("/alerts?detector=feed&ip={of}"))?;
            Ok(page["items"].as_array().and_then(|items| items.first().cloned()))
        });
        found.unwrap_or_else(|error| panic!("{error:#}"))
    };
    let (visit, call) = (told(BAD), told(SHARED));
    assert_eq!(
        (&visit["severity"], &call["severity"]),
        (&json!("low"), &json!("medium"))
    );
    let said = call["summary"].as_str().expect("words");
    let want = format!(
        "{} opened a connection to {SHARED}:81, which is on mine",
        scene.protected.v4
    );
    assert!(said.starts_with(&want), "{said}");
    for of in [BAD, SHARED] {
        let decisions = scene.agent.decisions(of.into()).expect("decisions");
        assert!(
            !decisions.is_empty() && decisions.iter().all(|d| d["action"] == "log_only"),
            "{decisions:?}"
        );
        let explained = scene.agent.cli(&["intel", "check", &of.to_string()]).expect("runs");
        assert!(explained.output.contains("feed:mine"), "{}", explained.output);
    }
    for direction in ["in", "out"] {
        let label = format!("direction=\"{direction}\"");
        wait::until(direction, SOON, || {
            let metrics = scene.agent.metrics()?;
            Ok((metrics.sum("sentinel_feed_flows_total", &[&label]) >= 1.0).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}"));
    }
}
