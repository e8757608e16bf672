//! CrowdSec and Sentinel, both ways: Debian's `crowdsec-firewall-bouncer` carries our decisions out, in the protected host's
//! namespace, where its sets are nobody else's; and the bans of Debian's `crowdsec`, and of another Sentinel, are a feed.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use testbed::agent::Agent;
use testbed::child::{self, Child};
use testbed::net::Host;
use testbed::unpacked::package_or_skip;
use testbed::wait;

/// What the bouncer is told to do.
fn settings(folder: &Path, key: &str) -> String {
    json!({
        "mode": "nftables",
        "pid_dir": folder,
        "update_frequency": "1s",
        "daemonize": false,
        "log_mode": "stdout",
        "log_level": "debug",
        "api_url": "http://127.0.0.1:8000/",
        "api_key": key,
        "disable_ipv6": false,
        "deny_action": "DROP",
        "supported_decisions_types": ["ban"],
        "blacklists_ipv4": "crowdsec-blacklists",
        "blacklists_ipv6": "crowdsec6-blacklists",
        "nftables": {
            "ipv4": { "enabled": true, "set-only": false, "table": "crowdsec", "chain": "crowdsec-chain" },
            "ipv6": { "enabled": true, "set-only": false, "table": "crowdsec6", "chain": "crowdsec6-chain" },
        },
        "prometheus": { "enabled": false, "listen_addr": "127.0.0.1", "listen_port": "60601" },
    })
    .to_string()
}

/// What stands in the bouncer's sets.
fn sets(scene: &Scene) -> String {
    ["ip crowdsec crowdsec-blacklists", "ip6 crowdsec6 crowdsec6-blacklists"]
        .map(|set| {
            scene
                .protected
                .run(&format!("nft list set {set}"), SOON)
                .expect("nft")
                .output
        })
        .join("\n")
}

/// Whether an element stands there.
fn has(scene: &Scene, address: &str) -> bool {
    sets(scene).contains(&format!("{address} timeout"))
}

/// Waits until an element stands there, or does so no more.
fn until(scene: &Scene, bouncer: &mut Child, address: &str, stands: bool) {
    let waited = wait::until("the bouncer's set", SOON * 2, || {
        Ok((has(scene, address) == stands).then_some(()))
    });
    waited.unwrap_or_else(|error| panic!("{address} {stands}: {error:#}\n{}\n{}", sets(scene), bouncer.output()));
}

fn said(scene: &Scene, args: &[&str]) -> String {
    let done = scene.agent.cli(args).expect("the command line runs");
    assert_eq!(done.code, 0, "{args:?}: {}", done.output);
    done.output
}

fn add(scene: &Scene, address: &str, duration: &str) {
    said(scene, &["decisions", "add", "--ip", address, "--duration", duration]);
}

#[test]
fn what_the_firewall_bouncer_blocks_is_what_is_in_force_also_over_a_killed_agent() {
    let Some(files) = package_or_skip("crowdsec-firewall-bouncer") else {
        return;
    };
    let Some(mut scene) = Scene::new(&json!({ "api": { "crowdsec": true } })) else {
        return;
    };
    let made = said(&scene, &["token", "create", "edge", "--role", "bouncer"]);
    let key = made.lines().find(|line| line.starts_with("sntl_")).expect("a key");
    let folder = scene.agent.path("bouncer");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("bouncer.yaml");
    std::fs::write(&file, settings(&folder, key)).expect("settings");

    add(&scene, "203.0.113.5", "1h");
    let program = files.join("usr/bin/crowdsec-firewall-bouncer");
    let program = program.to_str().expect("UTF-8");
    let started = scene.protected.program(program, &["-c", file.to_str().expect("UTF-8")]);
    let mut bouncer = Child::spawn(started).expect("the bouncer");
    // What was in force before it started, what comes, what ends by itself and what is taken back.
    until(&scene, &mut bouncer, "203.0.113.5", true);
    add(&scene, "2001:db8:bad::1", "1h");
    until(&scene, &mut bouncer, "2001:db8:bad::1", true);
    add(&scene, "203.0.113.6", "20s");
    until(&scene, &mut bouncer, "203.0.113.6", true);
    said(&scene, &["decisions", "delete", "--ip", "203.0.113.5"]);
    until(&scene, &mut bouncer, "203.0.113.5", false);
    until(&scene, &mut bouncer, "203.0.113.6", false);

    // A later end takes the place of the earlier one, though the bouncer leaves what stands in its set.
    add(&scene, "203.0.113.7", "30s");
    until(&scene, &mut bouncer, "203.0.113.7", true);
    add(&scene, "203.0.113.7", "1h");
    let longer = wait::until("the later end", SOON * 2, || {
        let sets = sets(&scene);
        Ok(sets.contains("203.0.113.7 timeout 59m").then_some(()))
    });
    longer.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", sets(&scene), bouncer.output()));

    // What happens while it does not ask, and before the agent is killed, is told by the next agent.
    bouncer.signal("STOP").expect("stopped");
    said(&scene, &["decisions", "delete", "--ip", "203.0.113.7"]);
    add(&scene, "203.0.113.8", "1h");
    scene.agent.kill().expect("killed");
    scene.agent.launch().expect("again");
    bouncer.signal("CONT").expect("going on");
    until(&scene, &mut bouncer, "203.0.113.8", true);
    until(&scene, &mut bouncer, "203.0.113.7", false);
    assert!(has(&scene, "2001:db8:bad::1"), "{}", sets(&scene));
    // It only asked for what changed.
    let metrics = scene.agent.metrics().expect("metrics");
    let asked = |kind| metrics.sum("sentinel_bouncer_pulls_total", &[kind]) as u64;
    assert_eq!(asked("kind=\"startup\""), 0);
    assert!(asked("kind=\"changes\"") > 0);

    // While acting is stopped nothing is in force.
    said(&scene, &["stop-acting", "--reason", "drill"]);
    until(&scene, &mut bouncer, "203.0.113.8", false);
    until(&scene, &mut bouncer, "2001:db8:bad::1", false);
    said(&scene, &["resume-acting", "--reason", "over"]);
    until(&scene, &mut bouncer, "203.0.113.8", true);

    // Without its key it is told nothing more, and goes on with what it has.
    said(&scene, &["token", "revoke", "edge"]);
    let refused = wait::until("the refusal", SOON, || {
        Ok(bouncer.output().contains("opens nothing").then_some(()))
    });
    refused.unwrap_or_else(|error| panic!("{error:#}\n{}", bouncer.output()));
}

/// A local API of CrowdSec in a namespace, with all it needs in one folder.
struct Lapi {
    files: PathBuf,
    folder: PathBuf,
    host: Host,
    child: Option<Child>,
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

impl Lapi {
    fn start(files: PathBuf, folder: PathBuf, host: &Host) -> Self {
        for place in ["data", "hub", "conf/notifications", "plugins"] {
            std::fs::create_dir_all(folder.join(place)).expect("a folder");
        }
        for name in ["profiles.yaml", "simulation.yaml"] {
            std::fs::copy(files.join("etc/crowdsec").join(name), folder.join("conf").join(name)).expect("a copy");
        }
        std::fs::write(folder.join("hub/.index.json"), "{}").expect("a file");
        std::fs::write(folder.join("conf/local_api_credentials.yaml"), "").expect("a file");
        let at = |name: &str| folder.join(name);
        let settings = json!({
            "common": { "daemonize": false, "log_media": "stdout", "log_level": "info", "working_dir": "." },
            "config_paths": {
                "config_dir": at("conf"), "data_dir": at("data"), "simulation_path": at("conf/simulation.yaml"),
                "hub_dir": at("hub"), "index_path": at("hub/.index.json"),
                "notification_dir": at("conf/notifications"), "plugin_dir": at("plugins"),
            },
            "cscli": { "output": "human" },
            "db_config": { "log_level": "info", "type": "sqlite", "db_path": at("data/crowdsec.db"), "use_wal": true },
            "api": {
                "client": { "insecure_skip_verify": false, "credentials_path": at("conf/local_api_credentials.yaml") },
                "server": {
                    "log_level": "info", "listen_uri": "127.0.0.1:8080",
                    "profiles_path": at("conf/profiles.yaml"), "console_path": at("conf/console.yaml"),
                },
            },
            "prometheus": { "enabled": false },
        });
        std::fs::write(at("config.yaml"), settings.to_string()).expect("a file");
        let mut lapi = Self {
            files,
            folder,
            host: host.clone(),
            child: None,
        };
        lapi.cscli(&["machines", "add", "-a", "--force"]);
        lapi.cscli(&["bouncers", "add", "sentinel", "-k", KEY]);
        lapi.launch();
        lapi
    }

    fn program(&self, name: &str, args: &[&str]) -> std::process::Command {
        let program = self.files.join("usr/bin").join(name);
        let config = self.folder.join("config.yaml");
        let mut all = vec!["-c", config.to_str().expect("UTF-8")];
        all.extend(args);
        let mut command = self.host.program(program.to_str().expect("UTF-8"), &all);
        command.current_dir(&self.folder);
        command
    }

    fn launch(&mut self) {
        self.child = Some(Child::spawn(self.program("crowdsec", &["-no-cs"])).expect("crowdsec"));
        let up = wait::until("CrowdSec's local API", SOON, || {
            let asked = self
                .host
                .run("curl -s -o /dev/null -m 1 http://127.0.0.1:8080/v1/decisions", SOON)?;
            Ok((asked.code == 0).then_some(()))
        });
        up.unwrap_or_else(|error| panic!("{error:#}\n{}", self.child.as_mut().expect("running").output()));
    }

    fn cscli(&self, args: &[&str]) -> String {
        let done = child::run(self.program("cscli", args), SOON).expect("cscli runs");
        assert_eq!(done.code, 0, "{args:?}: {}", done.output);
        done.output
    }
}

/// How the feed stands.
fn feed(agent: &Agent) -> Value {
    let told = agent.get("/intel").expect("intel");
    let feeds = told["feeds"].as_array().expect("feeds");
    let found = feeds.iter().find(|feed| feed["name"] == "crowdsec");
    found.cloned().unwrap_or_default()
}

fn until_feed(agent: &mut Agent, what: &str, good: impl Fn(&Value) -> bool) {
    // Who was not reached is tried again after one interval, two, four, …
    let waited = wait::until(what, 4 * SOON, || {
        let feed = feed(agent);
        Ok(good(&feed).then_some(()))
    });
    waited.unwrap_or_else(|error| panic!("{error:#}\n{:#}\n{}", feed(agent), agent.log()));
}

fn has_entries(feed: &Value, entries: u64) -> bool {
    feed["entries"] == entries && feed["kernel"]["entries"] == entries && feed["last_error"].is_null()
}

/// Whether a host of the network is let through, asked of the kernel by a packet.
fn is_dropped(scene: &Scene, address: IpAddr) -> bool {
    let line = format!("ping -c 1 -W 1 -I {address} {}", scene.protected.v4);
    scene.other.run(&line, SOON).expect("ping").code != 0
}

#[test]
fn the_bans_of_a_real_crowdsec_are_a_feed_that_the_kernel_drops_by() {
    let Some(files) = package_or_skip("crowdsec") else {
        return;
    };
    let settings = json!({ "intel": { "feeds": {
        "crowdsec": { "url": "http://127.0.0.1:8080", "interval": "1s" },
        "block": ["crowdsec"],
    } } });
    let Some(mut scene) = Scene::new(&settings) else { return };
    // Nothing listens there yet, and it has no key.
    until_feed(&mut scene.agent, "the complaint", |feed| !feed["last_error"].is_null());
    let mut lapi = Lapi::start(files, scene.agent.path("crowdsec"), &scene.protected);
    until_feed(&mut scene.agent, "the refusal of no key", |feed| {
        feed["last_error"]
            .as_str()
            .is_some_and(|text| text.contains("its key is refused"))
    });
    let key = scene.agent.path("key");
    std::fs::write(&key, KEY).expect("a file");
    let place = ["intel", "feeds", "crowdsec", "key_file"];
    scene.agent.set(&place, json!(key)).expect("a setting");
    scene.agent.stop().expect("stopped");
    let bad = IpAddr::from(scene.other.v4);
    lapi.cscli(&["decisions", "add", "-i", &bad.to_string(), "-d", "1h"]);
    lapi.cscli(&["decisions", "add", "--scope", "Country", "--value", "FR", "-d", "1h"]);
    scene.agent.launch().expect("again");
    until_feed(&mut scene.agent, "the ban", |feed| has_entries(feed, 1));
    assert!(is_dropped(&scene, bad));
    lapi.cscli(&["decisions", "add", "-r", "203.0.113.0/24", "-d", "1h"]);
    until_feed(&mut scene.agent, "the range", |feed| has_entries(feed, 2));
    lapi.cscli(&["decisions", "delete", "-i", &bad.to_string()]);
    until_feed(&mut scene.agent, "the end of the ban", |feed| has_entries(feed, 1));
    assert!(!is_dropped(&scene, bad));
    // Without its local API what it said stays.
    lapi.child = None;
    until_feed(&mut scene.agent, "the complaint", |feed| !feed["last_error"].is_null());
    assert_eq!(feed(&scene.agent)["entries"], 1);
    lapi.launch();
    until_feed(&mut scene.agent, "the local API again", |feed| has_entries(feed, 1));
    // The same could be carried over for good, from the database of the running one.
    let (database, conf) = (lapi.folder.join("data/crowdsec.db"), lapi.folder.join("conf"));
    let paths = [&database, &conf].map(|path| path.to_str().expect("UTF-8"));
    let told = said(
        &scene,
        &["migrate", "crowdsec", "--database", paths[0], "--config-dir", paths[1]],
    );
    for words in [
        "block     203.0.113.0/24",
        "ban of Country FR",
        "0 would be put on the allowlist, 1 blocked or limited",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
    let shown = scene.agent.get("/settings").expect("settings").to_string();
    assert!(!shown.contains(KEY) && !scene.agent.log().contains(KEY));
}

#[test]
fn one_sentinel_blocks_what_another_decided() {
    let Some(mut scene) = Scene::new(&json!({ "api": { "crowdsec": true } })) else {
        return;
    };
    let made = said(&scene, &["token", "create", "second", "--role", "bouncer"]);
    let key = made
        .lines()
        .find(|line| line.starts_with("sntl_"))
        .expect("a key")
        .to_owned();
    // The second one is in the same namespace, without an interface of its own to watch but the loopback.
    let file = scene.agent.path("second.key");
    std::fs::write(&file, &key).expect("a file");
    let settings = json!({
        "kernel": { "interfaces": ["lo"] },
        "api": { "listen": "127.0.0.1:8001" },
        "intel": { "feeds": {
            "crowdsec": { "url": "http://127.0.0.1:8000", "key_file": file, "interval": "1s" },
            "block": ["crowdsec"],
        } },
    });
    let binary = testbed::agent_binary().expect("an agent");
    let mut second = Agent::start(&binary, &scene.protected, &settings).expect("the second");
    add(&scene, "203.0.113.5", "1h");
    add(&scene, "2001:db8:bad::1", "1h");
    until_feed(&mut second, "both", |feed| has_entries(feed, 2));
    said(&scene, &["decisions", "delete", "--ip", "203.0.113.5"]);
    until_feed(&mut second, "the end", |feed| has_entries(feed, 1));
    // Over a kill of either.
    scene.agent.kill().expect("killed");
    scene.agent.launch().expect("again");
    add(&scene, "203.0.113.6", "1h");
    until_feed(&mut second, "the next", |feed| has_entries(feed, 2));
    second.kill().expect("killed");
    said(&scene, &["decisions", "delete", "--all"]);
    second.launch().expect("again");
    until_feed(&mut second, "nothing", |feed| has_entries(feed, 0));
}
