//! Three sentinels in three namespaces and a real Redis: what one does, all do.

use crate::scene::{SOON, agent_or_skip, knock};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use testbed::agent::Agent;
use testbed::lab::Services;
use testbed::net::{Host, Network};
use testbed::redis::Redis;
use testbed::{tools, wait};

const KEY: &str = "5b6f0f8f1f6c4f5e9d7c3a2b1e0d9c8b7a6f5e4d3c2b1a09";
const PASSWORD: &str = "kX3rVqZ81";
/// A cut connection is made again within ten seconds, and some; much is asked for in between.
const LATER: Duration = Duration::from_mins(2);

/// Dropped from top to bottom.
struct Three {
    agents: Vec<Agent>,
    _services: Services,
    redis: Redis,
    hosts: Vec<Host>,
    attacker: Host,
    _network: Network,
}

impl Three {
    fn new(settings: &Value) -> Option<Self> {
        let binary = agent_or_skip()?;
        if !tools::there(&[tools::REDIS]) {
            return None;
        }
        let three = || -> Result<Self> {
            let mut network = Network::new()?;
            let hosts = vec![
                network.host("one", 1)?,
                network.host("two", 2)?,
                network.host("three", 3)?,
            ];
            let attacker = network.host("other", 9)?;
            let redis = Redis::start(&network.host("redis", 5)?, PASSWORD)?;
            let services = Services::start(&hosts[0])?;
            let mut agents = Vec::new();
            for (host, name) in hosts.iter().zip(["one", "two", "three"]) {
                let agent = Agent::prepare(&binary, host, settings)?;
                for (file, text) in [("key", KEY), ("password", PASSWORD)] {
                    std::fs::write(agent.path(file), text)?;
                }
                agent.set(&["bus"], json!(redis.url()))?;
                agent.set(&["fleet", "name"], json!(name))?;
                agent.set(&["fleet", "key_file"], json!(agent.path("key")))?;
                agent.set(&["fleet", "password_file"], json!(agent.path("password")))?;
                agents.push(agent);
            }
            let mut three = Self {
                agents,
                _services: services,
                redis,
                hosts,
                attacker,
                _network: network,
            };
            for agent in &mut three.agents {
                agent.launch()?;
            }
            for agent in &three.agents {
                connected(agent, true)?;
            }
            Ok(three)
        };
        Some(three().unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn one(&self) -> &Agent {
        &self.agents[0]
    }

    /// Waits until all have the same in force, and exactly this.
    fn until_all_have(&self, targets: &[&str]) {
        let mut want: Vec<_> = targets.iter().map(|target| (*target).to_owned()).collect();
        want.sort();
        let had = wait::until("all to have the same in force", LATER, || {
            let all = self.agents.iter().map(in_force).collect::<Result<Vec<_>>>()?;
            Ok(all.iter().all(|has| *has == want).then_some(()))
        });
        if let Err(error) = had {
            let has: Vec<_> = self.agents.iter().map(in_force).collect();
            let told: Vec<_> = self.agents.iter().map(|agent| agent.get("/fleet")).collect();
            panic!("{error:#}: wanted {want:?}, have {has:?}\n{told:#?}");
        }
    }

    fn add(&self, agent: usize, ip: &str) {
        self.say(
            agent,
            &["decisions", "add", "--ip", ip, "--duration", "1h", "--reason", "test"],
        );
    }

    fn say(&self, agent: usize, args: &[&str]) -> String {
        let said = self.agents[agent].cli(args).expect("the command line runs");
        assert_eq!(said.code, 0, "{args:?}: {}", said.output);
        said.output
    }

    /// Cuts a node off from the Redis, or lets it to it again.
    fn cut(&self, node: usize, off: bool) {
        let what = if off { "add blackhole" } else { "del blackhole" };
        let route = self.hosts[node].run(&format!("ip route {what} 192.0.2.5/32"), SOON);
        assert_eq!(route.expect("ip").code, 0);
        // What is on its way already goes on; so does what is queued.
        self.hosts[node].run("ss -K dst 192.0.2.5", SOON).expect("ss");
    }
}

fn in_force(agent: &Agent) -> Result<Vec<String>> {
    let mut targets: Vec<String> = agent
        .active()?
        .iter()
        .map(|decision| decision["target"].as_str().unwrap_or_default().to_owned())
        .collect();
    targets.sort();
    Ok(targets)
}

fn connected(agent: &Agent, whether: bool) -> Result<()> {
    wait::until(&format!("connected: {whether}"), LATER, || {
        let status = agent.get("/fleet")?;
        Ok((status["connected"] == whether).then_some(()))
    })
    .with_context(|| format!("{:?}", agent.get("/fleet")))
}

/// When an address was blocked and read back there, s since 1970.
fn blocked_at(agent: &Agent, ip: Ipv4Addr) -> Result<f64> {
    let target = format!("{ip}/32");
    wait::until(&format!("a block of {ip}"), LATER, || {
        let actions = agent.actions()?;
        let ours = |action: &&Value| action["target"] == target && action["status"] == "enforced";
        let at = actions
            .iter()
            .rfind(ours)
            .and_then(|action| action["outcome_at"].as_str());
        Ok(at
            .and_then(|at| at.parse::<jiff::Timestamp>().ok())
            .map(|at| at.as_duration().as_secs_f64()))
    })
}

#[test]
fn an_attack_on_one_is_blocked_by_all() {
    let Some(three) = Three::new(&json!({})) else { return };
    let mut delays = Vec::new();
    for number in 100..110 {
        let attacker = three.attacker.add(number).expect("an address");
        // Before it is blocked it shows that it receives there.
        knock(&three.attacker, attacker.into(), &three.hosts[0]);
        let scan = format!("nmap -n -Pn -sS -e eth0 -S {attacker} --max-retries 0 --min-rate 1500 -p 1-400 192.0.2.1");
        three.attacker.run(&scan, LATER).expect("nmap");
        let times = three.agents.iter().map(|agent| blocked_at(agent, attacker));
        let times = times.collect::<Result<Vec<_>>>();
        let times = times.unwrap_or_else(|error| panic!("{error:#}\n{:#?}", three.one().decisions(attacker.into())));
        delays.extend([times[1] - times[0], times[2] - times[0]]);
        let followed = three.agents[1]
            .block(attacker.into())
            .expect("answers")
            .expect("in force");
        assert_eq!(followed["origin"], "fleet", "{followed}");
        assert!(
            followed["actor"].as_str().unwrap_or_default().ends_with(" at one"),
            "{followed}"
        );
        let first = three.one().block(attacker.into()).expect("answers").expect("in force");
        for same in ["id", "action", "expires_at"] {
            assert_eq!(first[same], followed[same], "{same}");
        }
    }
    delays.sort_by(f64::total_cmp);
    let median = delays.get(delays.len() / 2).copied().unwrap_or(f64::MAX);
    eprintln!("blocked by the others after {delays:.3?} s");
    eprintln!("figure: blocked by the others after, in the middle = {median:.3} s");
    // It holds for packets, too: one that never touched the others gets no answer of them.
    let ping = three.attacker.run("ping -c 1 -W 1 -I 192.0.2.100 192.0.2.3", SOON);
    assert_ne!(ping.expect("ping runs").code, 0, "it is blocked there");
    let labels = ["direction=\"heard\"", "result=\"done\""];
    wait::until("the words to be counted", SOON, || {
        let metrics = three.agents[2].metrics()?;
        Ok((metrics.sum("sentinel_fleet_words_total", &labels) >= 10.0).then_some(()))
    })
    .expect("counted");
    let alerts = || three.redis.cli("XLEN {sentinel}:alerts");
    wait::until("the alerts to be in the stream", LATER, || {
        Ok((alerts()?.trim().parse::<u64>().unwrap_or(0) >= 10).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", alerts()));
}

#[test]
fn a_node_that_was_away_takes_part_in_what_was_done_meanwhile() {
    let Some(three) = Three::new(&json!({})) else { return };
    three.add(0, "198.51.100.1");
    three.add(1, "198.51.100.2");
    three.until_all_have(&["198.51.100.1/32", "198.51.100.2/32"]);

    three.cut(2, true);
    connected(&three.agents[2], false).unwrap_or_else(|error| panic!("{error:#}"));
    let health = three.agents[2].get("/health").expect("health");
    assert_eq!(health["components"]["fleet"]["state"], "degraded", "{health}");
    // The others take one back and block another; so does it, alone.
    three.say(0, &["decisions", "delete", "--ip", "198.51.100.1"]);
    three.add(1, "198.51.100.3");
    three.add(2, "198.51.100.4");
    three.say(2, &["decisions", "delete", "--ip", "198.51.100.2"]);
    // Somebody both have an opinion of: the later one holds.
    three.add(0, "198.51.100.5");
    three.add(2, "198.51.100.5");
    three.say(2, &["decisions", "delete", "--ip", "198.51.100.5"]);
    three.say(0, &["allowlist", "add", "198.51.100.6", "--comment", "ours"]);
    assert_eq!(
        in_force(&three.agents[2]).expect("answers"),
        ["198.51.100.1/32", "198.51.100.4/32"],
        "alone it goes on"
    );

    three.cut(2, false);
    three.until_all_have(&["198.51.100.3/32", "198.51.100.4/32"]);
    for agent in &three.agents {
        let listed = wait::until("the allowlist to be the same", LATER, || {
            let check = agent.cli(&["allowlist", "list"])?;
            Ok(check.output.contains("198.51.100.6").then_some(check.output))
        });
        let listed = listed.unwrap_or_else(|error| panic!("{error:#}"));
        assert!(listed.contains("ours"), "{listed}");
        // Nobody can block it now, on whatever node.
        let refused = agent.cli(&[
            "decisions",
            "add",
            "--ip",
            "198.51.100.6",
            "--duration",
            "1h",
            "--reason",
            "x",
        ]);
        assert_ne!(refused.expect("runs").code, 0);
    }
    three.say(1, &["allowlist", "remove", "198.51.100.6"]);
    for agent in &three.agents {
        wait::until("the allowlist to be empty", LATER, || {
            let check = agent.cli(&["allowlist", "list"])?;
            Ok((!check.output.contains("198.51.100.6")).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn a_redis_that_is_killed_or_loses_all_loses_and_doubles_nothing() {
    let Some(mut three) = Three::new(&json!({})) else {
        return;
    };
    three.add(0, "198.51.100.1");
    three.until_all_have(&["198.51.100.1/32"]);
    three.redis.kill();
    for agent in &three.agents {
        connected(agent, false).unwrap_or_else(|error| panic!("{error:#}"));
    }
    three.add(0, "198.51.100.2");
    three.say(1, &["decisions", "delete", "--ip", "198.51.100.1"]);
    three.add(2, "198.51.100.3");
    three.redis.launch().expect("Redis starts again");
    three.until_all_have(&["198.51.100.2/32", "198.51.100.3/32"]);

    // And once more without what it had kept.
    three.redis.forget().expect("its files go");
    for agent in &three.agents {
        connected(agent, false).unwrap_or_else(|error| panic!("{error:#}"));
    }
    three.say(0, &["decisions", "delete", "--ip", "198.51.100.2"]);
    three.add(1, "198.51.100.4");
    three.redis.launch().expect("Redis starts again");
    three.until_all_have(&["198.51.100.3/32", "198.51.100.4/32"]);
    // Every subject is known once; nobody said anything twice.
    let known = || three.redis.cli("HLEN {sentinel}:words");
    wait::until("two in force and two taken back to be known", LATER, || {
        Ok((known()?.trim() == "4").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", known()));
    wait::until("nothing to wait", LATER, || {
        let waiting: Result<Vec<_>> = three.agents.iter().map(|agent| agent.get("/fleet")).collect();
        Ok(waiting?.iter().all(|status| status["waiting"] == 0).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    // Who talks in circles never falls silent.
    wait::until("them to fall silent", LATER, || {
        let entries = || -> Result<u64> { Ok(three.redis.cli("XLEN {sentinel}:log")?.trim().parse()?) };
        let before = entries()?;
        std::thread::sleep(Duration::from_secs(3));
        Ok((entries()? == before).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(known().expect("redis-cli").trim(), "4");
    let ids: Vec<Value> = three
        .agents
        .iter()
        .map(|agent| agent.decisions(IpAddr::from([198, 51, 100, 3])).expect("answers"))
        .map(|about| {
            assert_eq!(about.len(), 1, "one decision, one row: {about:?}");
            about[0]["id"].clone()
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one name everywhere: {ids:?}");
    // Whoever stopped says so, and has nothing in force.
    three.say(2, &["stop-acting", "--reason", "a drill"]);
    wait::until("the others to hear of the stop", LATER, || {
        let said = three.redis.cli("HGET {sentinel}:nodes three")?;
        let (mode, none) = ("\"mode\":\"stopped\"", "\"in_force\":0,");
        Ok((said.contains(mode) && said.contains(none)).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", three.redis.cli("HGETALL {sentinel}:nodes")));
}

#[test]
fn whoever_has_not_the_key_is_not_heard() {
    let Some(three) = Three::new(&json!({})) else { return };
    three.add(0, "198.51.100.1");
    three.until_all_have(&["198.51.100.1/32"]);
    // A word of the fleet, as it stands in the stream.
    let log = three
        .redis
        .cli("--no-raw XREVRANGE {sentinel}:log + - COUNT 1")
        .expect("redis-cli");
    assert!(log.contains("198.51.100.1/32"), "{log}");
    three.say(0, &["decisions", "delete", "--ip", "198.51.100.1"]);
    three.until_all_have(&[]);
    // Replayed, it is older than what is known. Changed, it is not signed.
    let script = three.agents[0].path("replay.lua");
    std::fs::write(
        &script,
        "local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][2]
         local word = {}
         for at = 1, #first, 2 do word[first[at]] = first[at + 1] end
         redis.call('XADD', KEYS[1], '*', 'm', word.m, 'b', word.b)
         local forged = string.gsub(word.b, '198.51.100.1/32', '198.51.100.7/32')
         redis.call('XADD', KEYS[1], '*', 'm', word.m, 'b', forged)
         redis.call('XADD', KEYS[1], '*', 'x', 'y')
         return 'ok'",
    )
    .expect("a file");
    let done = three
        .redis
        .cli(&format!("--eval {} {{sentinel}}:log", script.display()))
        .expect("redis-cli");
    assert!(done.contains("ok"), "{done}");
    for agent in &three.agents {
        let told = wait::until("it to be said", LATER, || {
            let health = agent.get("/health")?;
            let part = health["components"]["fleet"].clone();
            Ok((part["state"] == "degraded").then_some(part))
        });
        let told = told.unwrap_or_else(|error| panic!("{error:#}"));
        let cause = told["cause"].as_str().unwrap_or_default();
        assert!(cause.contains("not signed with this node's key"), "{told}");
        assert!(
            told["mend"].as_str().unwrap_or_default().contains("fleet.key_file"),
            "{told}"
        );
        let heard = |result: &str| {
            let label = format!("result=\"{result}\"");
            let metrics = agent.metrics().expect("metrics");
            metrics.sum("sentinel_fleet_words_total", &["direction=\"heard\"", &label])
        };
        wait::until("the forged one and the one that is none", SOON, || {
            Ok((heard("unsigned") as u64 == 2).then_some(()))
        })
        .expect("counted");
        assert!(in_force(agent).expect("answers").is_empty(), "nothing of it was done");
    }
}

#[test]
fn thousands_at_once_reach_the_others_and_are_taken_back_by_one_word() {
    const MANY: usize = 2000;
    let Some(three) = Three::new(&json!({})) else { return };
    let list: Vec<_> = (0..MANY).map(|n| format!("203.{}.{}.7", n / 200, n % 200)).collect();
    let file = three.one().path("list.txt");
    std::fs::write(&file, list.join("\n")).expect("a file");
    let began = std::time::Instant::now();
    let file = file.display().to_string();
    three.say(
        0,
        &[
            "decisions",
            "import",
            "-i",
            &file,
            "--format",
            "values",
            "--duration",
            "1h",
        ],
    );
    let imported = began.elapsed();
    let has = |agent: &Agent, want: u64| {
        wait::until(&format!("{want} in force"), LATER, || {
            let total = agent.get("/decisions?active=true&limit=1")?["total"].as_u64();
            Ok((total == Some(want)).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", agent.get("/fleet")));
    };
    three.agents.iter().for_each(|agent| has(agent, MANY as u64));
    eprintln!(
        "{MANY} imported in {imported:.1?}, in force everywhere after {:.1?}",
        began.elapsed()
    );
    let began = std::time::Instant::now();
    // On another node than the one they came from.
    three.say(1, &["decisions", "delete", "--all"]);
    three.agents.iter().for_each(|agent| has(agent, 0));
    eprintln!("taken back everywhere after {:.1?}", began.elapsed());
}
