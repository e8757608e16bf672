//! What whoever runs code of his own inside the agent can still do: a debugger has its very threads try.

use crate::scene::{SOON, Scene};
use crate::unit::as_the_unit;
use serde_json::json;
use std::fs;
use std::process::Command;
use testbed::child;
use testbed::tools::{DEBUGGER, there};

/// Error numbers, errno(3).
const EPERM: i64 = 1;
const EACCES: i64 = 13;
const ECONNREFUSED: i64 = 111;
/// A port that no setting names.
const FOREIGN: u16 = 4444;
/// One that settings name: sources are asked by HTTPS.
const NAMED: u16 = 443;

/// What is tried, as a call of libc's `syscall`, numbers of x86_64.
fn attempts() -> Vec<(&'static str, String)> {
    let call = |number: u32, arguments: &str| format!("$call({number}L,{arguments})");
    let connect = |port: u16| {
        let network = port.swap_bytes();
        format!(
            "(*(unsigned short*)$at=2, *(unsigned short*)($at+2)={network}, *(unsigned*)($at+4)=0x0100007f, \
             *(long*)($at+8)=0, {})",
            call(42, "$call(41L,2L,1L,0L,0L),$at,16L,0L")
        )
    };
    vec![
        ("run a program", call(59, "\"/bin/true\",0L,0L,0L")),
        ("look into process 1", call(101, "16L,1L,0L,0L")),
        ("mount", call(165, "\"none\",\"/mnt\",\"tmpfs\",0L")),
        ("read the passwords", call(257, "-100L,\"/etc/shadow\",0L,0L")),
        ("write elsewhere", call(257, "-100L,\"/var/tmp/it-sandbox\",65L,384L")),
        ("connect to a foreign port", connect(FOREIGN)),
        ("connect to a named port", connect(NAMED)),
        // BPF_PROG_LOAD
        ("load a program", call(321, "5L,0L,0L,0L")),
        ("enter a namespace", call(308, "0L,0L,0L,0L")),
        ("make a namespace", call(272, "0x10000000L,0L,0L,0L")),
        ("hear raw packets", call(41, "17L,3L,0L,0L")),
        ("connect by multipath TCP", call(41, "2L,1L,262L,0L")),
        (
            "connect by the first packet",
            call(44, "$call(41L,2L,1L,0L,0L),$at,0L,0x20000000L,$at,16L"),
        ),
        ("open the passwords to all", call(91, "0L,0777L,0L,0L")),
        ("end another process", call(234, "1L,1L,0L,0L")),
        ("write code", call(10, "$page,4096L,7L,0L")),
    ]
}

/// Where the library's own functions are: names alone may be those of functions of ours.
const FOUND: [&str; 4] = [
    "set $find=(long(*)(long,char*))dlsym",
    "set $call=(long(*)(long,...))$find(0L,\"syscall\")",
    "set $at=((char*(*)(long))$find(0L,\"malloc\"))(16384L)",
    "set $page=((long)$at+4095L)&~4095L",
];

/// Has the agent's own threads try: what each attempt came to, by error number; 0 where it was let.
fn tried(pid: u32, attempts: Vec<(&'static str, String)>) -> Vec<(&'static str, i64)> {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-q", "-batch", "-p", &pid.to_string()]);
    command.args(["-ex", "set confirm off", "-ex", "set unwindonsignal on"]);
    for expression in FOUND {
        command.args(["-ex", expression]);
    }
    for (_, expression) in &attempts {
        let expression = format!("print ({expression}==-1L) ? *((int*(*)(void))__errno_location)() : 0");
        command.args(["-ex", &expression]);
    }
    command.args(["-ex", "detach"]);
    let told = child::run(command, SOON * 6).expect("gdb");
    let numbers: Vec<i64> = told
        .output
        .lines()
        .filter_map(|line| line.strip_prefix('$')?.split_once(" = ")?.1.parse().ok())
        .collect();
    assert_eq!(numbers.len(), attempts.len(), "{}", told.output);
    attempts.into_iter().map(|(name, _)| name).zip(numbers).collect()
}

/// A line of each thread's `/proc/PID/task/TID/status`, by the thread's name.
fn each(pid: u32, field: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let statuses = tasks.map(|task| fs::read_to_string(task.expect("a thread").path().join("status")));
    let line = |text: &str, field: &str| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    };
    statuses
        .filter_map(Result::ok)
        .map(|text| (line(&text, "Name"), line(&text, field)))
        .collect()
}

#[test]
fn an_agent_that_was_taken_over_from_within_is_held() {
    if !there(&[DEBUGGER]) {
        return;
    }
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    let pid = as_the_unit(&mut scene);
    scene.block_other(false, "1h");
    assert!(!scene.reaches(false), "it acts");
    for (name, error) in tried(pid, attempts()) {
        let wanted = match name {
            "connect to a named port" => ECONNREFUSED,
            "read the passwords" | "write elsewhere" | "connect to a foreign port" => EACCES,
            _ => EPERM,
        };
        assert_eq!(error, wanted, "{name}");
    }
    for (thread, capabilities) in each(pid, "CapEff") {
        // Of three it may attach again what comes back.
        let held = if thread == "guard" {
            "000000c000001000"
        } else {
            "0000000000000000"
        };
        assert_eq!(capabilities, held, "{thread}");
    }
    for field in ["CapInh", "CapAmb"] {
        assert!(
            each(pid, field).iter().all(|(_, set)| set == "0000000000000000"),
            "{field}"
        );
    }
    assert!(each(pid, "NoNewPrivs").iter().all(|(_, on)| on == "1"));
    assert!(each(pid, "Seccomp").iter().all(|(_, mode)| mode == "2"));
    let health = scene.agent.get("/health").expect("health");
    assert_eq!(health["components"]["sandbox"]["state"], "ok", "{health}");
    // It still does what it is for, and ends as it should.
    scene.agent.cli(&["decisions", "delete", "--all"]).expect("run");
    assert!(scene.reaches(false));
    scene.agent.stop().expect("ended");
}

#[test]
fn without_the_sandbox_the_same_attempts_come_to_something_else() {
    if !there(&[DEBUGGER]) {
        return;
    }
    let settings = json!({ "sandbox": { "enabled": false } });
    let Some(mut scene) = Scene::new(&settings) else { return };
    let pid = as_the_unit(&mut scene);
    // Whoever may run a program is no agent any more.
    let others = attempts().into_iter().filter(|(name, _)| *name != "run a program");
    let tried = tried(pid, others.collect());
    let of = |name: &str| tried.iter().find(|(known, _)| *known == name).expect("tried").1;
    assert_eq!(of("connect to a foreign port"), ECONNREFUSED);
    assert_eq!(of("write elsewhere"), 0);
    assert_eq!(of("write code"), 0);
    assert!(![EPERM, EACCES].contains(&of("enter a namespace")));
    assert!(each(pid, "Seccomp").iter().any(|(_, mode)| mode == "0"));
}
