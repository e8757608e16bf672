//! What real programs keep is carried over: Debian's fail2ban, run in the protected host's namespace with all it has in one
//! folder and without actions, so that it touches no firewall.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use testbed::child::{self, Child, Finished};
use testbed::unpacked::package_or_skip;
use testbed::wait;

/// A fail2ban; it is stopped with this value.
struct Fail2ban<'s> {
    files: PathBuf,
    folder: PathBuf,
    scene: &'s Scene,
    child: Option<Child>,
}

impl<'s> Fail2ban<'s> {
    fn start(files: PathBuf, folder: PathBuf, scene: &'s Scene) -> Self {
        let write = |name: &str, text: &str| {
            let path = folder.join("conf").join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let at = folder.display();
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("log"), "").expect("a file");
        write(
            "fail2ban.conf",
            &format!(
                "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = {at}/sock\n\
                 pidfile = {at}/pid\ndbfile = {at}/fail2ban.sqlite3\ndbpurgeage = 1d\ndbmaxmatches = 10\n"
            ),
        );
        write(
            "jail.conf",
            "[DEFAULT]\nbantime = 10m\nbackend = polling\nusedns = no\nignoreip = 127.0.0.1/8 ::1\naction =\n",
        );
        write(
            "jail.local",
            &format!(
                "[DEFAULT]\nignoreip = 127.0.0.1/8 198.51.100.0/24\n           gate.example.org\n\
                 [sshd]\nenabled = true\nfilter = bad\nlogpath = {at}/log\nbantime = 1h\n\
                 [forever]\nenabled = true\nfilter = bad\nlogpath = {at}/log\nbantime = -1\n"
            ),
        );
        write("filter.d/bad.conf", "[Definition]\nfailregex = ^bad <HOST>\n");
        let mut fail2ban = Self {
            files,
            folder,
            scene,
            child: None,
        };
        let server = fail2ban.program("fail2ban-server", &["-f", "start"]);
        fail2ban.child = Some(Child::spawn(server).expect("fail2ban"));
        let up = wait::until("fail2ban", SOON * 3, || {
            Ok((fail2ban.client(&["ping"]).code == 0).then_some(()))
        });
        up.unwrap_or_else(|error| panic!("{error:#}\n{}", fail2ban.child.as_mut().expect("running").output()));
        fail2ban
    }

    fn program(&self, name: &str, args: &[&str]) -> std::process::Command {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let program = self.files.join("usr/bin").join(name).display().to_string();
        let (conf, socket, pid) = (at("conf"), at("sock"), at("pid"));
        let mut all = vec![program.as_str(), "-c", &conf, "-s", &socket, "-p", &pid];
        all.extend(args);
        let mut command = self.scene.protected.program("python3", &all);
        command.env("PYTHONPATH", self.files.join("usr/lib/python3/dist-packages"));
        command
    }

    fn client(&self, args: &[&str]) -> Finished {
        child::run(self.program("fail2ban-client", args), SOON).expect("fail2ban-client runs")
    }

    fn ban(&self, jail: &str, ip: &str) {
        let done = self.client(&["set", jail, "banip", ip]);
        assert_eq!(done.code, 0, "{}", done.output);
    }
}

fn migrate(scene: &Scene, args: &[&str]) -> Finished {
    let all = [&["migrate"], args].concat();
    scene.agent.cli(&all).expect("the command line runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_bans_of_a_running_fail2ban_are_carried_over_once() {
    let Some(files) = package_or_skip("fail2ban") else {
        return;
    };
    let Some(scene) = Scene::new(&json!({})) else { return };
    let folder = scene.agent.path("fail2ban");
    let fail2ban = Fail2ban::start(files, folder.clone(), &scene);
    for (jail, ip) in [
        ("sshd", "203.0.113.5"),
        ("sshd", "2001:db8:bad::5"),
        ("forever", "203.0.113.77"),
        ("sshd", "198.51.100.9"),
        ("sshd", "192.0.2.254"),
        ("sshd", "203.0.113.6"),
    ] {
        fail2ban.ban(jail, ip);
    }
    let lifted = fail2ban.client(&["set", "sshd", "unbanip", "203.0.113.6"]);
    assert_eq!(lifted.code, 0, "{}", lifted.output);
    let (database, conf) = (folder.join("fail2ban.sqlite3"), folder.join("conf"));
    let kept = wait::until("fail2ban to keep its bans", SOON, || {
        let told = fail2ban.client(&["get", "sshd", "banip"]);
        Ok((!told.output.contains("203.0.113.6") && told.output.contains("192.0.2.254")).then_some(()))
    });
    kept.expect("kept");
    let source = ["fail2ban", "--database", text(&database), "--config-dir", text(&conf)];
    let before = std::fs::read(&database).expect("their database");

    // First it is only told.
    let shown = migrate(&scene, &source);
    assert_eq!(shown.code, 0, "{}", shown.output);
    for words in [
        "allow        198.51.100.0/24",
        "block        203.0.113.5",
        "block        2001:db8:bad::5",
        "cut to `response.max_duration`",
        "198.51.100.0/24 is spared there",
        "protected here by guard gateway",
        "gate.example.org",
        "1 would be put on the allowlist, 3 blocked or limited.",
    ] {
        assert!(shown.output.contains(words), "{words}:\n{}", shown.output);
    }
    assert!(!shown.output.contains("203.0.113.6 "), "{}", shown.output);
    assert_eq!(scene.agent.active().expect("decisions"), Vec::<Value>::new());

    let applied = migrate(&scene, &[&source[..], &["--apply"]].concat());
    assert_eq!(applied.code, 0, "{}", applied.output);
    let words = "1 put on the allowlist, 3 blocked or limited, 0 were there already.";
    assert!(applied.output.contains(words), "{}", applied.output);
    let active = scene.agent.active().expect("decisions");
    assert_eq!(active.len(), 3, "{active:#?}");
    let five = scene
        .agent
        .block("203.0.113.5".parse().expect("an address"))
        .expect("decisions");
    let five = five.expect("a block");
    assert_eq!(
        (&five["reason"], &five["origin"]),
        (&json!("fail2ban sshd"), &json!("operator"))
    );

    // Twice the same doubles nothing, and takes nothing's place.
    let again = migrate(&scene, &[&source[..], &["--apply"]].concat());
    let words = "0 put on the allowlist, 0 blocked or limited, 4 were there already.";
    assert!(again.output.contains(words), "{}", again.output);
    let ids = |all: &[Value]| {
        let mut ids: Vec<String> = all
            .iter()
            .map(|one| one["id"].to_string() + &one["expires_at"].to_string())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&scene.agent.active().expect("decisions")), ids(&active));
    assert_eq!(
        std::fs::read(&database).expect("their database"),
        before,
        "their database is as it was"
    );

    // What is none of theirs is refused, with what to name instead.
    for (args, words) in [
        (
            vec!["fail2ban", "--database", "/etc/hostname"],
            "it is no SQLite database",
        ),
        (vec!["fail2ban", "--database", "/nowhere"], "--database"),
        (
            vec!["crowdsec", "--database", text(&database)],
            "no table of CrowdSec's decisions",
        ),
        (vec!["crowdsec", "--decisions", "/etc/hostname"], "it is no JSON"),
    ] {
        let refused = migrate(&scene, &args);
        assert_eq!(refused.code, 64, "{}", refused.output);
        assert!(refused.output.contains(words), "{words}: {}", refused.output);
    }
}
