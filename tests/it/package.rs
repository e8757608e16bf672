//! The Debian package, from what is in it to nothing being left: installed, upgraded, watched over and purged in a Debian
//! with systemd as its process 1, while somebody floods.

use crate::scene::{SOON, agent_or_skip};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testbed::lab::Services;
use testbed::machine::{self, Machine};
use testbed::net::{Host, Network};
use testbed::{child, skip, wait};

const PACK: Duration = Duration::from_mins(3);

/// A file that a tool of the build made, or why there is none.
fn beside(agent: &Path, name: &str) -> Option<PathBuf> {
    agent
        .ancestors()
        .skip(1)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Packs the agent that was built; `None` where the packer is missing.
fn package(out: &Path) -> Option<PathBuf> {
    let agent = agent_or_skip()?;
    let target = agent.parent()?.parent()?.to_owned();
    let Some(xtask) = beside(&agent, "xtask").filter(|_| target.join("tools/bin/cargo-deb").is_file()) else {
        skip("no cargo-deb in target/tools: no package is built, installed, upgraded or removed");
        return None;
    };
    let mut command = Command::new(xtask);
    command.arg("deb").arg("--binary").arg(&agent).arg("--out").arg(out);
    let told = child::must(command, PACK).unwrap_or_else(|error| panic!("{error:#}"));
    Some(told.lines().last().expect("a path").trim().into())
}

#[test]
fn the_package_is_installed_watched_over_upgraded_and_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(package) = package(folder.path()) else { return };
    what_is_in_it(&package);
    if let Some(why) = machine::obstacle() {
        skip(&format!("no machine to install the package on: {why}"));
        return;
    }
    let house = House::new(&package);
    house.installed();
    house.started();
    house.for_whom();
    house.logged_in();
    house.reloaded();
    house.hung();
    house.upgraded();
    house.removed();
}

fn what_is_in_it(package: &Path) {
    let mut list = Command::new("dpkg-deb");
    list.arg("--contents").arg(package);
    let told = child::must(list, SOON * 3).expect("a list");
    for (path, mode) in [
        ("./usr/bin/sentinel", "-rwxr-xr-x"),
        ("./etc/sentinel/settings.yml", "-rw-r-----"),
        ("./usr/lib/systemd/system/sentinel.service", "-rw-r--r--"),
        ("./usr/lib/sysusers.d/sentinel.conf", "-rw-r--r--"),
        ("./usr/lib/tmpfiles.d/sentinel.conf", "-rw-r--r--"),
        ("./usr/share/man/man1/sentinel.1.gz", "-rw-r--r--"),
        ("./usr/share/man/man1/sentinel-reload.1.gz", "-rw-r--r--"),
        ("./usr/share/bash-completion/completions/sentinel", "-rw-r--r--"),
        ("./usr/share/zsh/vendor-completions/_sentinel", "-rw-r--r--"),
        ("./usr/share/fish/vendor_completions.d/sentinel.fish", "-rw-r--r--"),
        ("./usr/share/sentinel/models/default.model", "-rw-r--r--"),
        ("./etc/logrotate.d/sentinel", "-rw-r--r--"),
    ] {
        let line = told.lines().find(|line| line.ends_with(&format!(" {path}")));
        assert!(
            line.is_some_and(|line| line.starts_with(mode)),
            "{path}: {line:?}\n{told}"
        );
    }
    let mut control = Command::new("dpkg-deb");
    control.arg("--field").arg(package);
    let told = child::must(control, SOON * 3).expect("fields");
    assert!(
        told.contains("Package: sentinel\n") && told.contains("libc6 (>= "),
        "{told}"
    );
}

/// A machine with the package, and somebody who floods it.
struct House {
    machine: Machine,
    _services: Services,
    protected: Host,
    other: Host,
    _network: Network,
}

impl House {
    fn new(package: &Path) -> Self {
        let mut network = Network::new().expect("a network");
        let protected = network.host("protected", 1).expect("a host");
        let other = network.host("other", 9).expect("a host");
        let services = Services::start(&protected).expect("services");
        let agent = agent_or_skip().expect("an agent");
        let target = agent.parent().and_then(Path::parent).expect("target");
        let machine = Machine::boot(&protected, target).unwrap_or_else(|error| panic!("{error:#}"));
        std::fs::copy(package, machine.path("/root/sentinel.deb")).expect("copied");
        Self {
            machine,
            _services: services,
            protected,
            other,
            _network: network,
        }
    }

    fn must(&self, line: &str) -> String {
        self.machine.must(line).unwrap_or_else(|error| {
            let journal = self
                .machine
                .sh("journalctl --no-pager -n 60")
                .map(|told| told.output)
                .unwrap_or_default();
            panic!("{error:#}\n{journal}")
        })
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.must(line)).expect("JSON")
    }

    fn show(&self, what: &str) -> String {
        self.must(&format!("systemctl show sentinel -p {what} --value"))
            .trim()
            .to_owned()
    }

    fn reaches(&self) -> bool {
        let line = format!("ping -c 1 -W 1 {}", self.protected.v4);
        self.other.run(&line, SOON).expect("ping").code == 0
    }

    /// Datagrams that reached the host's stack.
    fn arrived(&self) -> u64 {
        let count = |name| self.protected.stack("Udp", name).expect("a counter");
        count("NoPorts") + count("InDatagrams")
    }

    /// Whether programs of ours are attached to the interface.
    fn attached(&self) -> bool {
        let told = self.protected.run("ip -d link show dev eth0", SOON).expect("ip").output;
        told.contains("prog/xdp")
    }

    fn hits(&self) -> u64 {
        let told = self.json("sentinel -o json decisions list");
        let decisions = told["items"].as_array().or(told.as_array()).expect("a list");
        decisions.iter().filter_map(|one| one["hits"].as_u64()).sum()
    }

    /// Floods while something happens; not one packet may pass, and many must have been dropped.
    fn under_a_flood(&self, what: &str, happens: impl FnOnce(&Self)) {
        let line = format!("hping3 -q --udp -p 9999 -i u500 {}", self.protected.v4);
        let mut flood = self.other.spawn(&line).expect("hping3");
        let begun = self.hits();
        wait::until("packets to be dropped", SOON, || {
            Ok((self.hits() > begun + 50).then_some(()))
        })
        .expect("dropped");
        let (before, dropped) = (self.arrived(), self.hits());
        happens(self);
        wait::until("the flood to go on", SOON * 3, || {
            Ok((self.hits() > dropped + 200).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let passed = self.arrived() - before;
        eprintln!("{what}: {} packets dropped, {passed} passed", self.hits() - dropped);
        flood.end();
        assert_eq!(passed, 0, "{what}: packets of a blocked source passed");
    }

    /// Everything is in its place, for the right people, and nothing has begun.
    fn installed(&self) {
        let told = self.must("dpkg -i /root/sentinel.deb 2>&1");
        assert!(told.contains("not started"), "{told}");
        let modes = self.must("stat -c '%n %a %U %G' /etc/sentinel /etc/sentinel/settings.yml /etc/sentinel/secrets /var/lib/sentinel /var/log/sentinel");
        assert_eq!(
            modes,
            "/etc/sentinel 750 root sentinel\n/etc/sentinel/settings.yml 640 root sentinel\n/etc/sentinel/secrets 700 root root\n\
             /var/lib/sentinel 750 sentinel sentinel\n/var/log/sentinel 750 sentinel sentinel\n"
        );
        assert_eq!(self.show("ActiveState"), "inactive");
        assert!(!self.attached(), "it captures unasked");
        let check = self.must("sentinel check");
        assert!(
            check.contains("/etc/sentinel/settings.yml: ok, mode simulation"),
            "{check}"
        );
        let doctor = self.machine.sh("sentinel doctor").expect("doctor").output;
        assert!(doctor.contains("systemctl enable --now sentinel"), "{doctor}");
    }

    /// By a person's word it starts, says what it does, and is confined.
    fn started(&self) {
        // A key that only the agent's environment has.
        self.must(
            "mkdir -p /etc/systemd/system/sentinel.service.d; \
             printf '[Service]\\nEnvironment=VT_API_KEY=0123456789abcdef\\n' > /etc/systemd/system/sentinel.service.d/key.conf; systemctl daemon-reload",
        );
        self.must("systemctl enable --now sentinel 2>&1");
        assert_eq!(
            self.show("StatusText"),
            "Simulating, nothing is dropped on eth0; 0 decisions in force."
        );
        assert!(self.attached());
        // A secret that only the agent gets to read must keep nobody else from asking it.
        self.must("echo hunter2 > /etc/sentinel/secrets/smtp; chmod 600 /etc/sentinel/secrets/smtp");
        self.must(
            "printf 'mode: production\\nenable_production_actions: true\\nalerting: { email: { host: mail.invalid, from: a@mail.invalid, \
             to: [b@mail.invalid], user: a, password_file: /run/credentials/sentinel.service/secrets_smtp } }\\n' \
             > /etc/sentinel/settings.local.yml",
        );
        self.must("chown root:sentinel /etc/sentinel/settings.local.yml; systemctl restart sentinel");
        assert_eq!(self.show("StatusText"), "Enforcing on eth0; 0 decisions in force.");
        let pid = self.show("MainPID");
        let status = self.must(&format!("cat /proc/{pid}/status"));
        assert!(
            status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
            "{status}"
        );
        assert!(!status.contains("Uid:\t0\t"), "{status}");
        let health = self.must("sentinel -o json doctor || true");
        let health: Value = serde_json::from_str(&health).expect("JSON");
        for check in [
            "service",
            "watchdog",
            "confinement",
            "agent's privileges",
            "state directory",
            "socket",
            "socket group",
        ] {
            let found = health["findings"]
                .as_array()
                .expect("a list")
                .iter()
                .find(|one| one["check"] == check);
            assert_eq!(found.expect(check)["level"], "pass", "{check}: {health:#}");
        }
        assert!(self.reaches(), "nobody is blocked yet");
        self.must(&format!(
            "sentinel decisions add --ip {} --duration 1h --reason test",
            self.other.v4
        ));
        assert!(!self.reaches());
    }

    /// Root and the group's members reach it; others do not, and the audit knows who it was.
    fn for_whom(&self) {
        self.must("useradd -m -G sentinel alice; useradd -m bob");
        let as_alice = "setpriv --reuid=alice --regid=alice --init-groups --reset-env";
        let as_bob = "setpriv --reuid=bob --regid=bob --init-groups --reset-env";
        let told = self.must(&format!(
            "{as_alice} sentinel decisions add --ip 203.0.113.9 --duration 1h"
        ));
        assert!(told.contains("203.0.113.9"), "{told}");
        let audit = self.must("sentinel audit list -l 50");
        let line = audit.lines().find(|line| line.contains("203.0.113.9")).expect("a line");
        assert!(line.contains("alice"), "{line}");
        let refused = self
            .machine
            .sh(&format!("{as_bob} sentinel -c /dev/null decisions list"))
            .expect("run");
        assert_ne!(refused.code, 0, "{}", refused.output);
        let mode = self.must("stat -c '%a %U %G' /run/sentinel /run/sentinel/sentinel.sock");
        assert_eq!(mode, "750 sentinel sentinel\n660 sentinel sentinel\n");
    }

    /// Confined as it is, it sees who is logged in over SSH as somebody else.
    fn logged_in(&self) {
        let peer = self.other.add(77).expect("another address");
        let held = format!(
            "import socket, time; s = socket.create_connection(('{}', 22), source_address=('{peer}', 0)); time.sleep(600)",
            self.protected.v4
        );
        let mut connection = child::Child::spawn(self.other.program("python3", &["-c", &held])).expect("python3");
        wait::until("the connection", SOON, || {
            let told = self.protected.run("ss -Htn state established", SOON)?.output;
            Ok(told.contains(&format!("{peer}:")).then_some(()))
        })
        .expect("connected");
        // As logind writes it when sshd has let somebody in.
        self.must(&format!(
            "printf 'UID=1000\\nUSER=ann\\nACTIVE=1\\nSTATE=active\\nREMOTE=1\\nTYPE=tty\\nCLASS=user\\nREMOTE_HOST={peer}\\nSERVICE=sshd\\n' \
             > /run/systemd/sessions/77"
        ));
        wait::until("the session to be seen", SOON * 2, || {
            let told = self.machine.must(&format!("sentinel allowlist check {peer} || true"))?;
            Ok(told.contains("operator_session").then_some(()))
        })
        .expect("seen");
        let refused = self
            .machine
            .sh(&format!("sentinel decisions add --ip {peer}"))
            .expect("run");
        assert!(
            refused.code == 1 && refused.output.contains("operator_session"),
            "{}",
            refused.output
        );
        connection.end();
        self.must("rm /run/systemd/sessions/77");
    }

    /// `systemctl reload` takes settings up, refuses wrong ones, and lets nothing through.
    fn reloaded(&self) {
        self.under_a_flood("reload", |house| {
            house.must("printf 'allowlist: [198.51.100.7]\\n' >> /etc/sentinel/settings.local.yml; systemctl reload sentinel");
            let told = house.must("sentinel allowlist list");
            assert!(told.contains("198.51.100.7"), "{told}");
            house.must("cp /etc/sentinel/settings.local.yml /root/good.yml; echo 'respons: 1' >> /etc/sentinel/settings.local.yml");
            let refused = house.machine.sh("systemctl reload sentinel").expect("run");
            assert_ne!(refused.code, 0, "{}", refused.output);
            assert_eq!(house.show("ActiveState"), "active");
            let journal = house.must("journalctl --no-pager -u sentinel -n 30");
            assert!(journal.contains("settings.local.yml:5:1") && journal.contains("did you mean `response`"), "{journal}");
            house.must("cat /root/good.yml > /etc/sentinel/settings.local.yml; systemctl reload sentinel");
        });
    }

    /// One that hangs is killed, and comes back with what was in force.
    fn hung(&self) {
        self.under_a_flood("hang", |house| {
            let pid = house.show("MainPID");
            house.must(&format!("kill -STOP {pid}"));
            wait::until("the agent to come back", SOON * 6, || {
                let back = house.show("MainPID") != pid && house.show("ActiveState") == "active";
                Ok(back.then_some(()))
            })
            .expect("back");
            let told = house.must("sentinel decisions list");
            assert!(told.contains(&house.other.v4.to_string()), "{told}");
            assert_eq!(house.show("NRestarts"), "1");
        });
    }

    /// An upgrade lets nothing through, and one that would not start leaves the old agent where it is.
    fn upgraded(&self) {
        self.under_a_flood("upgrade", |house| {
            let pid = house.show("MainPID");
            house.must("dpkg -i /root/sentinel.deb 2>&1");
            assert_eq!(house.show("ActiveState"), "active");
            assert_ne!(house.show("MainPID"), pid, "the old agent goes on");
            let told = house.must("sentinel decisions list");
            assert!(told.contains(&house.other.v4.to_string()), "{told}");
        });
        // Valid only with the key of the agent's environment, which is not that of whoever installs.
        let pid = self.show("MainPID");
        self.must("echo 'intel: { sources: { virustotal: { enabled: true } } }' >> /etc/sentinel/settings.local.yml");
        self.must("dpkg -i /root/sentinel.deb 2>&1");
        assert_ne!(self.show("MainPID"), pid, "the old agent goes on");
        self.must("cat /root/good.yml > /etc/sentinel/settings.local.yml");
        self.must("echo 'respons: 1' >> /etc/sentinel/settings.local.yml");
        let pid = self.show("MainPID");
        let told = self.must("dpkg -i /root/sentinel.deb 2>&1");
        assert!(told.contains("the old agent goes on"), "{told}");
        assert_eq!(self.show("MainPID"), pid);
        self.must("cat /root/good.yml > /etc/sentinel/settings.local.yml");
    }

    /// Removed, it is out of the kernel and its records are there; purged, nothing is.
    fn removed(&self) {
        assert!(!self.reaches());
        // Whoever ends it in order means it, until it is started again.
        self.must("sentinel detach");
        assert_eq!(self.show("ActiveState"), "inactive");
        assert!(self.reaches() && !self.attached());
        self.must("systemctl start sentinel");
        assert!(!self.reaches(), "what was in force is forgotten");
        self.must("dpkg -r sentinel 2>&1");
        assert!(!self.attached(), "its programs are still attached");
        assert!(self.reaches(), "a block outlived the package");
        self.must("test -f /var/lib/sentinel/sentinel.db && test -f /etc/sentinel/settings.local.yml");
        self.must("test ! -e /sys/fs/bpf/sentinel && test ! -e /usr/bin/sentinel");
        self.must("dpkg -P sentinel 2>&1");
        let left = self.must("find / -xdev -iname '*sentinel*' -not -path '/proc/*' -not -path '/root/sentinel.deb' -not -path '/var/log/journal/*'");
        assert_eq!(left.trim(), "", "files are left");
        let bpffs =
            self.must("ls -A /sys/fs/bpf | grep -v '[.]debug$' || true; ls -A /run | grep -i sentinel || true; getent passwd sentinel || true");
        assert_eq!(bpffs.trim(), "", "something is left");
    }
}
