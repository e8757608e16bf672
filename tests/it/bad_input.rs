//! Whatever is wrong is said with its mend, and the exit code tells scripts which kind it is.

use crate::scene::{SOON, Scene, agent_or_skip};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::agent::Agent;
use testbed::child::{self, Finished};
use testbed::net::{Host, Network};

/// A host to run on, without services.
fn host() -> Option<(PathBuf, Network, Host)> {
    let binary = agent_or_skip()?;
    let mut network = Network::new().unwrap_or_else(|error| panic!("{error:#}"));
    let host = network.host("protected", 1).unwrap_or_else(|error| panic!("{error:#}"));
    Some((binary, network, host))
}

fn prepared(binary: &Path, host: &Host, settings: &Value) -> Agent {
    Agent::prepare(binary, host, settings).unwrap_or_else(|error| panic!("{error:#}"))
}

#[track_caller]
fn check(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code, code, "{}", finished.output);
    for part in parts {
        assert!(finished.output.contains(part), "{part:?} missing:\n{}", finished.output);
    }
    assert!(!finished.output.contains("panicked"), "{}", finished.output);
}

#[test]
fn a_missing_interface_names_those_there_are() {
    let Some((binary, _network, host)) = host() else { return };
    let agent = prepared(&binary, &host, &json!({ "kernel": { "interfaces": ["eth7"] } }));
    check(
        &agent.refuse(&[]).expect("ends"),
        1,
        &["eth7", "eth0", "kernel.interfaces"],
    );
}

#[test]
fn a_missing_capability_is_named_and_exits_77() {
    let Some((binary, _network, host)) = host() else { return };
    let agent = prepared(&binary, &host, &json!({}));
    let without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    check(
        &agent.refuse(&without).expect("ends"),
        77,
        &["CAP_NET_ADMIN", "CAP_BPF", "root"],
    );
    assert!(
        !agent.path("sentinel.db").exists(),
        "a database was made without the privilege to use it"
    );
}

#[test]
fn an_occupied_port_is_named_with_its_mend() {
    let Some((binary, _network, host)) = host() else { return };
    let taken = host.spawn("busybox httpd -f -p 127.0.0.1:8000 -h /proc/self/net");
    let taken = taken.expect("a listener");
    testbed::wait::until("the port to be taken", SOON, || {
        Ok((!host.run("ss -Hltn sport = :8000", SOON)?.output.trim().is_empty()).then_some(()))
    })
    .expect("taken");
    let agent = prepared(&binary, &host, &json!({}));
    check(&agent.refuse(&[]).expect("ends"), 1, &["127.0.0.1:8000", "api.listen"]);
    drop(taken);
}

#[test]
fn a_second_agent_on_the_same_database_is_refused() {
    let Some(scene) = Scene::new(&json!({})) else { return };
    let second = scene.agent.refuse(&[]).expect("ends");
    check(&second, 1, &["in use by another sentinel"]);
    assert!(scene.reaches(false));
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false), "the first agent lost its programs to the second");
    drop(scene.services);
    drop(scene.network);
}

#[test]
fn databases_that_are_newer_or_corrupt_are_left_as_they_are() {
    let Some((binary, _network, host)) = host() else { return };
    let mut agent = prepared(&binary, &host, &json!({}));
    agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    agent.stop().expect("stops");

    let database = agent.path("sentinel.db");
    let mut bytes = std::fs::read(&database).expect("a database");
    // `user_version`, big endian, at offset 60 (SQLite file format, 1.3).
    bytes[60..64].copy_from_slice(&999u32.to_be_bytes());
    std::fs::write(&database, &bytes).expect("written");
    check(&agent.refuse(&[]).expect("ends"), 1, &["999", "newer"]);
    assert_eq!(
        std::fs::read(&database).expect("still there"),
        bytes,
        "the newer database was changed"
    );

    let garbage = vec![0x5a; 64 * 1024];
    std::fs::write(&database, &garbage).expect("written");
    check(
        &agent.refuse(&[]).expect("ends"),
        1,
        &["sentinel.db", "damaged or not a database", "move it away"],
    );
    assert_eq!(
        std::fs::read(&database).expect("still there"),
        garbage,
        "the damaged database was changed"
    );
}

#[test]
fn a_broken_configuration_is_told_whole_and_exits_64() {
    let Some((binary, _network, host)) = host() else { return };
    let agent = prepared(&binary, &host, &json!({}));
    std::fs::write(
        agent.settings(),
        "mode: produktion\nkernel:\n  ring_size: 5MiB\n  colour: red\nmode: simulation\n",
    )
    .expect("written");
    let parts = [
        "settings.yml:1:",
        "settings.yml:3:",
        "settings.yml:4:",
        "settings.yml:5:",
        "did you mean `production`",
        "4 problems",
    ];
    check(&agent.refuse(&[]).expect("ends"), 64, &parts);
    check(&agent.cli(&["check"]).expect("check"), 64, &parts);
    check(&agent.cli(&["-t"]).expect("check"), 64, &parts);
    let told = agent.cli(&["-o", "json", "check"]).expect("check");
    assert_eq!(told.code, 64);
    let told: Value = serde_json::from_str(&told.output).expect("JSON");
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(4), "{told}");
    assert_eq!(told["problems"][1]["key"], "kernel.colour", "{told}");
}

#[test]
fn check_opens_nothing() {
    let Some((binary, _network, host)) = host() else { return };
    let agent = prepared(&binary, &host, &json!({ "kernel": { "interfaces": ["eth7"] } }));
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(agent.path("")).expect("folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    check(&agent.cli(&["check"]).expect("check"), 0, &["ok"]);
    assert_eq!(names(), before, "check made files");
}

#[test]
fn a_broken_capture_is_told_and_exits_1() {
    let Some(binary) = agent_or_skip() else { return };
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("out");
    let replay = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        let mut command = Command::new(&binary);
        command
            .arg("replay")
            .arg(&file)
            .arg("--out")
            .arg(&out)
            .current_dir(&dir);
        child::run(command, SOON).expect("replay ends")
    };
    check(
        &replay("text.pcap", b"this is no capture at all, only text"),
        1,
        &["text.pcap"],
    );
    // A good header (pcap, little endian, Ethernet) and a packet that breaks off.
    let mut cut = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
    ];
    cut.extend([1, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3]);
    check(&replay("cut.pcap", &cut), 1, &["cut.pcap"]);
    check(&replay("empty.pcap", b""), 1, &["empty.pcap"]);
}

#[test]
fn usage_errors_exit_64() {
    let Some(binary) = agent_or_skip() else { return };
    for args in [
        &["decisions", "add"][..],
        &["decisions", "add", "--ip", "nonsense"],
        &["fly"],
        &["alerts", "list", "--since", "5"],
    ] {
        let mut command = Command::new(&binary);
        command.args(args);
        check(&child::run(command, SOON).expect("ends"), 64, &[]);
    }
}
