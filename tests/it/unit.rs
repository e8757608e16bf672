//! The unit of systemd, and what the agent tells whoever started it.

use crate::scene::{SOON, Scene, agent_or_skip};
use serde_json::json;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::agent::Agent;
use testbed::lab::Services;
use testbed::net::Network;
use testbed::{child, tools, wait};

/// The worst that `systemd-analyze security` may say of it, in tenths.
const EXPOSURE: f64 = 2.0;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/systemd")
}

fn analyze(args: &[&str]) -> Option<child::Finished> {
    if tools::find("systemd-analyze").is_none() {
        testbed::skip("`systemd-analyze` is missing");
        return None;
    }
    let mut command = Command::new("systemd-analyze");
    command.args(args);
    Some(child::run(command, SOON * 3).expect("systemd-analyze"))
}

#[test]
fn the_unit_is_confined() {
    let unit = config().join("sentinel.service");
    let Some(told) = analyze(&["security", "--offline=true", &unit.display().to_string()]) else {
        return;
    };
    let line = told
        .output
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .expect("a verdict");
    let level = line
        .split_whitespace()
        .find_map(|word| word.parse::<f64>().ok())
        .expect("a number");
    assert!(level <= EXPOSURE, "{}", told.output);
}

/// The line, without what makes a comment of an assignment.
fn spoken(line: &str) -> &str {
    let assigns = |line: &&str| line.contains('=') && !line.starts_with(' ');
    line.strip_prefix('#').filter(assigns).unwrap_or(line)
}

#[test]
fn the_unit_and_each_drop_in_is_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(config().join("sentinel.service")).expect("the unit");
    // Not installed here: another program takes the agent's place.
    let text = text.replace("/usr/bin/sentinel", "/bin/true");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .collect();
    let text = lines.join("\n");
    let mut units = vec![("no drop-in".to_owned(), String::new())];
    for entry in std::fs::read_dir(config().join("examples")).expect("drop-ins") {
        let path = entry.expect("a file").path();
        // What is commented out must be right, too.
        let all = std::fs::read_to_string(&path).expect("a drop-in");
        let lines: Vec<_> = all.lines().map(spoken).collect();
        let all = lines.join("\n");
        units.push((path.display().to_string(), all));
    }
    assert!(units.len() > 4, "{units:?}");
    for (name, drop_in) in units {
        let unit = folder.path().join("sentinel.service");
        std::fs::write(&unit, &text).expect("written");
        let beside = folder.path().join("sentinel.service.d");
        std::fs::create_dir_all(&beside).expect("made");
        std::fs::write(beside.join("it.conf"), drop_in).expect("written");
        let Some(told) = analyze(&["verify", "--man=no", &unit.display().to_string()]) else {
            return;
        };
        assert_eq!((told.code, told.output.trim()), (0, ""), "{name}");
    }
}

/// A manager that listens.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<(Instant, String)>,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        Self {
            socket,
            heard: Vec::new(),
        }
    }

    /// For so long, and until nothing waits to be heard.
    fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut room = [0; 4096];
        loop {
            match self.socket.recv(&mut room) {
                Ok(size) => {
                    let text = String::from_utf8_lossy(&room[..size]).into_owned();
                    self.heard.push((Instant::now(), text));
                }
                Err(_) if Instant::now() >= end => return,
                Err(_) => {}
            }
        }
    }

    /// Whether a datagram with this line comes in time.
    fn hears(&mut self, line: &str, time: Duration) -> bool {
        let from = self.heard.len();
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.listen(Duration::from_millis(100));
            if self.heard[from..]
                .iter()
                .any(|(_, text)| text.lines().any(|l| l.starts_with(line)))
            {
                return true;
            }
        }
        false
    }

    fn signs_of_life(&self, since: Instant) -> usize {
        let fed = |(at, text): &&(Instant, String)| *at >= since && text.lines().any(|line| line == "WATCHDOG=1");
        self.heard.iter().filter(fed).count()
    }

    fn status(&self) -> String {
        let said = self
            .heard
            .iter()
            .rev()
            .find_map(|(_, text)| text.lines().find_map(|line| line.strip_prefix("STATUS=")));
        said.unwrap_or_default().to_owned()
    }
}

#[test]
fn the_manager_is_told_when_it_is_ready_how_it_is_and_that_it_lives() {
    let Some(binary) = agent_or_skip() else { return };
    let mut network = Network::new().expect("a network");
    let protected = network.host("protected", 1).expect("a host");
    let other = network.host("other", 9).expect("a host");
    let services = Services::start(&protected).expect("services");
    let mut agent = Agent::prepare(&binary, &protected, &json!({})).expect("prepared");
    let path = agent.path("notify.sock");
    let mut manager = Manager::new(&path);
    let names = [
        format!("NOTIFY_SOCKET={}", path.display()),
        "WATCHDOG_USEC=4000000".to_owned(),
    ];
    agent.begin(&["env", &names[0], &names[1]]).expect("started");
    assert!(manager.hears("READY=1", SOON * 6), "{:?}", manager.heard);
    // Whoever waited for that finds everything there.
    assert!(agent.ready(), "ready was said too early");
    let status = manager.status();
    assert!(
        status.starts_with("Enforcing on eth0; 0 decisions in force"),
        "{status}"
    );
    let told = agent
        .cli(&["decisions", "add", "--ip", &other.v4.to_string(), "--duration", "1h"])
        .expect("add");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(
        manager.hears("STATUS=Enforcing on eth0; 1 decision in force", SOON),
        "{}",
        manager.status()
    );
    for _ in 0..2 {
        assert!(manager.hears("WATCHDOG=1", SOON), "{:?}", manager.heard.last());
    }
    let since = Instant::now();
    manager.listen(Duration::from_secs(4));
    let fed = manager.signs_of_life(since);
    eprintln!("figure: signs of life in 4 s = {fed} ");
    assert!(fed <= 8, "fed {fed} times in 4 s");

    // A reload is told from its beginning to its end.
    agent.set(&["allowlist"], json!(["198.51.100.1"])).expect("set");
    assert_eq!(agent.cli(&["reload"]).expect("reload").code, 0);
    assert!(manager.hears("READY=1", SOON), "{:?}", manager.heard.last());
    let words: Vec<_> = manager.heard.iter().flat_map(|(_, text)| text.lines()).collect();
    let begins = words.iter().position(|word| *word == "RELOADING=1").expect("told");
    assert!(words[begins + 1].starts_with("MONOTONIC_USEC="), "{words:?}");
    assert!(words[begins..].contains(&"READY=1"), "{words:?}");

    // Who stands still says nothing, and who goes on says so again.
    agent.signal("STOP").expect("stopped");
    manager.listen(Duration::from_millis(500));
    let since = Instant::now();
    manager.listen(Duration::from_secs(4));
    assert_eq!(manager.signs_of_life(since), 0);
    agent.signal("CONT").expect("goes on");
    assert!(manager.hears("WATCHDOG=1", SOON), "{:?}", manager.heard.last());

    agent.signal("TERM").expect("told to end");
    assert!(manager.hears("STOPPING=1", SOON), "{:?}", manager.heard.last());
    drop((agent, services));
}

/// Ends the agent and starts it as the unit does: another user, the unit's capabilities, no way to more. Its process.
pub(crate) fn as_the_unit(scene: &mut Scene) -> u32 {
    scene.agent.stop().expect("stops");
    let unit = std::fs::read_to_string(config().join("sentinel.service")).expect("the unit");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("AmbientCapabilities="))
        .expect("capabilities");
    let names: Vec<_> = line
        .split(' ')
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let all = names.join(",");
    for path in [scene.agent.path(""), scene.agent.settings()] {
        let mut own = Command::new("chown");
        own.args(["-R", "65534:65534"]).arg(path);
        child::must(own, SOON).expect("given away");
    }
    let ambient = format!("--ambient-caps={all}");
    let inheritable = format!("--inh-caps={all}");
    let bounding = format!("--bounding-set=-all,{all}");
    let prefix = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        &inheritable,
        &ambient,
        &bounding,
    ];
    scene.agent.begin(&prefix).expect("started");
    wait::until("the agent to be ready", SOON * 6, || {
        Ok(scene.agent.ready().then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", scene.agent.log()));
    scene.agent.pid().expect("it runs")
}

#[test]
fn with_what_the_unit_gives_it_and_no_more_it_acts() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    as_the_unit(&mut scene);
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false));
    let health = scene.agent.get("/health").expect("health");
    for part in ["kernel", "respond", "enforcement", "host"] {
        let about = &health["components"][part];
        let state = &about["state"];
        // The unit may not read other users' processes: where logind notes nothing, sessions are not seen, and that is said.
        let blind = part == "host" && about["cause"].as_str().is_some_and(|cause| cause.contains("sessions"));
        assert!(state == "ok" || state.is_null() || blind, "{part}: {health}");
    }
}
