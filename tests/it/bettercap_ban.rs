//! A real Bettercap keeps a blocked neighbour from the gateway, and lets it to it again.

use crate::scene::{SOON, agent_or_skip};
use anyhow::Result;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use testbed::agent::Agent;
use testbed::child::Child;
use testbed::net::{GATEWAY, Host, Network};
use testbed::{tools, wait};

const PASSWORD: &str = "kX3rVq";
/// Bettercap learns, stops and starts once a second or so.
const LATER: Duration = Duration::from_secs(30);

/// A host with agent and Bettercap, a target, and the gateway, on one bridge. Dropped from top to bottom.
struct Lan {
    agent: Agent,
    bettercap: Child,
    protected: Host,
    target: Host,
    _network: Network,
}

impl Lan {
    fn new(settings: &Value) -> Option<Self> {
        let binary = agent_or_skip()?;
        if !tools::there(&[tools::BETTERCAP]) {
            return None;
        }
        let lan = || -> Result<Self> {
            let mut network = Network::new()?;
            let protected = network.host("protected", 1)?;
            let target = network.host("target", 9)?;
            let mut settings = settings.clone();
            settings["bettercap"] =
                json!({ "url": "ws://127.0.0.1:8083", "username": "joe", "sensor": false, "arp_ban": true });
            let agent = Agent::prepare(&binary, &protected, &settings)?;
            let secret = agent.path("bettercap.password");
            std::fs::write(&secret, PASSWORD)?;
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
            agent.set(&["bettercap", "password_file"], json!(secret))?;
            for host in [&protected, &target] {
                assert!(reaches(host), "the gateway answers nobody");
            }
            let bettercap = start(&agent, &protected)?;
            let mut lan = Self {
                agent,
                bettercap,
                protected,
                target,
                _network: network,
            };
            lan.agent.launch()?;
            Ok(lan)
        };
        Some(lan().unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn block(&self) -> Value {
        let address = self.target.v4.to_string();
        let line = [
            "-o",
            "json",
            "decisions",
            "add",
            "--ip",
            &address,
            "--duration",
            "1h",
            "--reason",
            "test",
        ];
        let said = self.agent.cli(&line).expect("the command line runs");
        assert_eq!(said.code, 0, "{}", said.output);
        serde_json::from_str(&said.output).expect("JSON")
    }

    /// The latest action of ours that got as far as `status`.
    fn until(&self, status: &str) -> Value {
        let found = wait::until(&format!("an arp_ban that is {status}"), LATER, || {
            let actions = self.agent.actions()?;
            let ours = |action: &&Value| action["kind"] == "arp_ban" && action["status"] == status;
            Ok(actions.iter().find(ours).cloned())
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{:?}", self.agent.actions()))
    }

    /// Whether `arp.spoof` runs, and its targets.
    fn spoofs(&self) -> (bool, String) {
        let state = session(&self.protected).expect("Bettercap answers");
        let modules = state["modules"].as_array().expect("modules");
        let ours = modules
            .iter()
            .find(|module| module["name"] == "arp.spoof")
            .expect("arp.spoof");
        let targets = state["env"]["data"]["arp.spoof.targets"].as_str().expect("targets");
        (ours["running"] == true, targets.to_owned())
    }

    fn until_it_reaches(&self, whether: bool) {
        // The one packet that undoes it may be lost: then a neighbour's entry is probed, fails, and is asked for anew.
        let patience = LATER * 4;
        let done = wait::until(&format!("the target reaching the gateway: {whether}"), patience, || {
            Ok((reaches(&self.target) == whether).then_some(()))
        });
        done.unwrap_or_else(|error| panic!("{error:#}\n{}", mac_of_gateway(&self.target)));
    }
}

/// A Bettercap on a host's interface; its standard input stays open, or it ends.
fn start(agent: &Agent, host: &Host) -> Result<Child> {
    let caplet = agent.path("rest.cap");
    let lines = format!(
        "set api.rest.address 127.0.0.1\nset api.rest.port 8083\nset api.rest.username joe\nset api.rest.password {PASSWORD}\napi.rest on\n"
    );
    std::fs::write(&caplet, lines)?;
    let line = format!(
        "sleep 3600 | bettercap -iface eth0 -gateway-override {} -no-colors -no-history -caplet {}",
        GATEWAY.0,
        caplet.display()
    );
    let child = Child::spawn(host.program("sh", &["-c", &line]))?;
    wait::until("Bettercap to answer", LATER, || Ok(session(host)))?;
    Ok(child)
}

fn session(host: &Host) -> Option<Value> {
    let line = format!("curl -s -m 5 -u joe:{PASSWORD} http://127.0.0.1:8083/api/session");
    serde_json::from_str(&host.run(&line, SOON).ok()?.output).ok()
}

/// Real packets to the gateway, and back.
fn reaches(from: &Host) -> bool {
    let ping = from.run(&format!("ping -c 1 -W 1 {}", GATEWAY.0), SOON);
    ping.expect("ping runs").code == 0
}

/// What the neighbour table has for the gateway.
fn mac_of_gateway(of: &Host) -> String {
    let said = of
        .run(&format!("ip neigh show {}", GATEWAY.0), SOON)
        .expect("ip neigh")
        .output;
    let mut words = said.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

fn mac(of: &Host) -> String {
    let said = of.run("cat /sys/class/net/eth0/address", SOON).expect("cat").output;
    said.trim().to_owned()
}

fn forwards(host: &Host) -> String {
    let said = host.run("cat /proc/sys/net/ipv4/ip_forward", SOON).expect("cat").output;
    said.trim().to_owned()
}

#[test]
fn a_blocked_neighbour_is_cut_off_from_the_gateway_and_gets_it_back() {
    let Some(mut lan) = Lan::new(&json!({})) else { return };
    let (truth, before) = (mac_of_gateway(&lan.target), forwards(&lan.protected));
    assert_ne!(truth, "");
    let decision = lan.block();
    let action = lan.until("enforced");
    assert_eq!(action["decision"], decision["id"], "{action}");
    lan.until_it_reaches(false);
    // It is told anew every second, and may have asked the gateway itself in between.
    let told = wait::until("the target to take us for the gateway", LATER, || {
        Ok((mac_of_gateway(&lan.target) == mac(&lan.protected)).then_some(()))
    });
    told.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(lan.spoofs(), (true, lan.target.v4.to_string()));
    assert!(reaches(&lan.protected), "nobody else is cut off");
    let metrics = lan.agent.metrics().expect("metrics");
    assert_eq!(metrics.sum("sentinel_arp_bans_active", &[]) as u64, 1);

    // The next run goes on with what a killed one began.
    lan.agent.kill().expect("kill");
    lan.until_it_reaches(false);
    lan.agent.launch().expect("started again");
    assert_eq!(lan.until("enforced")["id"], action["id"]);

    let address = lan.target.v4.to_string();
    let gone = lan
        .agent
        .cli(&["decisions", "delete", "--ip", &address])
        .expect("delete");
    assert_eq!(gone.code, 0, "{}", gone.output);
    let over = lan.until("reverted");
    assert_eq!(over["id"], action["id"], "{over}");
    lan.until_it_reaches(true);
    assert_eq!(mac_of_gateway(&lan.target), truth);
    assert_eq!(lan.spoofs(), (false, "<entire subnet>".to_owned()));
    assert_eq!(forwards(&lan.protected), before);
    let ended = lan.agent.stop().expect("an orderly end");
    assert_eq!(ended.code, 0, "{}", ended.output);
    lan.bettercap.end();
}

#[test]
fn simulation_sends_bettercap_no_command() {
    let simulated = json!({ "mode": "simulation", "enable_production_actions": false });
    let Some(lan) = Lan::new(&simulated) else { return };
    lan.block();
    let action = lan.until("simulated");
    let outcome = action["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("nothing was asked of Bettercap"), "{action}");
    assert_eq!(lan.spoofs(), (false, "<entire subnet>".to_owned()));
    assert!(reaches(&lan.target));
}

#[test]
fn a_router_stays_one() {
    let Some(lan) = Lan::new(&json!({})) else { return };
    let line = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    let set = testbed::child::run(lan.protected.program("sh", &["-c", line]), SOON).expect("sh");
    assert_eq!(set.code, 0, "{}", set.output);
    lan.block();
    let action = lan.until("failed");
    let outcome = action["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("is a router"), "{action}");
    assert_eq!(forwards(&lan.protected), "1");
    assert_eq!(lan.spoofs(), (false, "<entire subnet>".to_owned()));
    assert!(reaches(&lan.target));
}
