//! A desk in a process of its own, with a real store, that is killed at any moment or whose system calls fail one by one.
//!
//! It says what it is asked before it begins and what was answered; whoever ended it opens the same database and compares. The
//! whole agent is ended so in `tests/it/kills`; this is the same for what decides and keeps alone, a hundred times as often.

use super::*;
use crate::types::ActionKind::BlockIp;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command as Process, Stdio};
use std::time::Instant;

const DIRECTORY: &str = "DESK_DIRECTORY";
const FIRST: &str = "DESK_FIRST";
const STEPS: &str = "DESK_STEPS";
/// Kills of one run; more by the environment.
const KILLS: u64 = 150;
/// Kills after which the database is a new one.
const CHAIN: u64 = 30;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn address(n: u64) -> String {
    format!("203.{}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\ndesk: {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The desk. Does nothing unless it was started by one of the tests below.
#[test]
fn a_desk_in_a_process_of_its_own() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let (first, steps) = (number(FIRST, 0), number(STEPS, u64::MAX));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut house = on(Path::new(&directory)).await;
        say("ready");
        let mut own: Vec<DecisionId> = Vec::new();
        for n in first..first.saturating_add(steps) {
            step(&mut house, n, &mut own).await;
        }
        house.close();
        say("over");
    });
}

/// Tells what was done, where it is durable: as for whoever asks through the API, by a line of the audit that comes after it.
async fn tell(house: &House, done: &str) {
    let record = crate::store::Record::Audit {
        at: house.desk.now(),
        actor: "ann".to_owned(),
        verb: "told".to_owned(),
        subject: done.to_owned(),
        detail: String::new(),
    };
    if house.store.commit(vec![record]).await.is_ok() {
        say(&format!("told {done}"));
    }
}

/// One command, of five kinds in turn.
async fn step(house: &mut House, n: u64, own: &mut Vec<DecisionId>) {
    let target = format!("{}/32", address(n));
    match n % 8 {
        3 if !own.is_empty() => {
            let id = own.remove(n as usize % own.len());
            say(&format!("ask out {id}"));
            if house.take_back(Selector::Id(id), true).await.is_ok() {
                tell(house, &format!("out {id}")).await;
            }
        }
        4 => {
            say(&format!("ask allow {target}"));
            if house.allow(&target, None).await.is_ok() {
                tell(house, &format!("allow {target}")).await;
            }
        }
        5 | 6 => {
            let on = n % 8 == 6;
            say(&format!("ask acting {on}"));
            if house.act(on).await.is_ok() {
                tell(house, &format!("acting {on}")).await;
            }
        }
        7 => {
            say(&format!("ask attack {target}"));
            house.attack(&address(n)).await;
            let known = house.desk.responder.in_force().find(|d| d.target == net(&target));
            if let Some(id) = known.map(|d| d.id) {
                tell(house, &format!("in {id}")).await;
            }
        }
        _ => {
            say(&format!("ask in {target}"));
            if let Ok(decision) = house.add(&target, 36_000).await {
                tell(house, &format!("in {}", decision.id)).await;
                own.push(decision.id);
            }
        }
    }
}

async fn on(directory: &Path) -> House {
    let facts = HostFacts::default();
    House::on(directory, Mode::Production, facts, Clock::default(), Rig::default()).await
}

/// What was told, and what was asked for last without an answer.
#[derive(Debug, Default)]
struct Told {
    stands: BTreeMap<DecisionId, bool>,
    allowed: Vec<String>,
    stopped: bool,
    pending: Option<String>,
    answers: u64,
    asked: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        if let Some(question) = line.strip_prefix("ask ") {
            self.asked += 1;
            self.pending = Some(question.to_owned());
            return;
        }
        let Some((verb, object)) = line.strip_prefix("told ").and_then(|rest| rest.split_once(' ')) else {
            return;
        };
        self.answers += 1;
        self.pending = None;
        match verb {
            "in" => drop(self.stands.insert(DecisionId(object.parse().unwrap()), true)),
            "out" => drop(self.stands.insert(DecisionId(object.parse().unwrap()), false)),
            "allow" => self.allowed.push(object.to_owned()),
            "acting" => self.stopped = object == "false",
            other => panic!("{other}"),
        }
    }

    /// Opens the database anew, and compares.
    async fn check(&mut self, directory: &Path) {
        let mut house = on(directory).await;
        let pending = self.pending.take().unwrap_or_default();
        for (id, stands) in &mut self.stands {
            let stored = house.store.decision(*id).await.unwrap();
            let stored = stored.unwrap_or_else(|| panic!("{id} was told of and is gone"));
            let active = stored.status == DecisionStatus::Active;
            if pending == format!("out {id}") {
                *stands = active;
            }
            assert_eq!(active, *stands, "{stored:?}");
            assert!(stored.expires_at.is_some() && stored.action == BlockIp);
        }
        let allowed: Vec<String> = house
            .store
            .allowlist()
            .await
            .unwrap()
            .iter()
            .map(|a| a.target.to_string())
            .collect();
        for target in &self.allowed {
            assert!(allowed.contains(target), "{target} was allowed");
        }
        let stopped = house.store.stop().await.unwrap().is_some();
        if pending.starts_with("acting ") {
            self.stopped = stopped;
        }
        assert_eq!(stopped, self.stopped);
        let verdict = house.store.verify_audit().await.unwrap();
        assert_eq!(verdict.broken, None);
        if stopped {
            house.act(true).await.unwrap();
            self.stopped = false;
        }
        house.all_agree().await;
        house.close();
    }
}

fn spawn(directory: &Path, first: u64, steps: u64, prefix: &[String]) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut words = prefix.to_vec();
    words.push(own.display().to_string());
    Process::new(&words[0])
        .args(&words[1..])
        .args([
            "--exact",
            "control::desk::tests::ends::a_desk_in_a_process_of_its_own",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .env(STEPS, steps.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What it says; after its first word that it is ready, if that is waited for.
fn lines(out: ChildStdout) -> std::sync::mpsc::Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(line) = line.strip_prefix("desk: ") {
                let _ = sender.send(line.to_owned());
            }
        }
    });
    lines
}

#[tokio::test]
async fn a_desk_killed_at_any_moment_loses_nothing_it_told() {
    let wanted = number("DESK_KILLS", KILLS);
    let mut seed = number("DESK_KILL_SEED", 1);
    let began = Instant::now();
    let (mut answers, mut cut_off, mut at_start) = (0, 0, 0);
    let mut start = Duration::from_millis(100);
    let (mut folder, mut told) = (tempfile::tempdir().unwrap(), Told::default());
    for kill in 0..wanted {
        if kill % CHAIN == 0 {
            answers += told.answers;
            (folder, told) = (tempfile::tempdir().unwrap(), Told::default());
        }
        let begun = Instant::now();
        let mut child = spawn(folder.path(), told.asked, u64::MAX, &[]);
        let said = lines(child.stdout.take().unwrap());
        // One in five while it starts.
        if draw(&mut seed).is_multiple_of(5) {
            std::thread::sleep(start.mul_f64(draw(&mut seed) as f64 / u64::MAX as f64));
            at_start += 1;
        } else {
            while said.recv_timeout(Duration::from_mins(1)).unwrap() != "ready" {}
            start = begun.elapsed();
            // So many answers, however long they take, and anywhere from there on.
            let most = told.answers + draw(&mut seed) % 8;
            while told.answers < most {
                told.hear(&said.recv_timeout(Duration::from_mins(1)).unwrap());
            }
            std::thread::sleep(Duration::from_micros(draw(&mut seed) % 80_000));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in said {
            told.hear(&line);
        }
        cut_off += u64::from(told.pending.is_some());
        told.check(folder.path()).await;
    }
    answers += told.answers;
    eprintln!("figure: kills = {wanted} ");
    eprintln!("figure: of those while it started = {at_start} ");
    eprintln!("figure: acknowledged = {answers} ");
    eprintln!("figure: cut off = {cut_off} ");
    eprintln!("figure: lost = 0 ");
    eprintln!(
        "figure: each kill = {:.3} s",
        began.elapsed().as_secs_f64() / wanted as f64
    );
    assert!(
        answers > wanted,
        "too little was acknowledged to show anything: {answers}"
    );
}

/// What the database is written by.
const CALLS: &str = "pwrite64,fdatasync,fsync,ftruncate,rename,unlink";
/// How each of those calls may go wrong in turn.
const FAULTS: [&str; 3] = ["signal=KILL", "error=EIO", "error=ENOSPC"];
/// Commands that are asked for under each fault, one of each kind among them.
const ASKED: u64 = 8;
/// Faults of one run; more by the environment.
const FAULTS_WANTED: u64 = 36;

/// For every call: the run is repeated with another one going wrong each time, from the first that makes the database to the
/// last that closes it.
#[tokio::test]
async fn whichever_call_of_the_database_fails_or_is_the_last_nothing_told_is_lost() {
    if !std::path::Path::new("/usr/bin/strace").exists() {
        assert!(std::env::var_os("TESTBED_REQUIRE").is_none(), "strace is missing");
        eprintln!("skipped: strace is missing; `cargo xtask setup` installs it");
        return;
    }
    let wanted = number("DESK_FAULTS", FAULTS_WANTED);
    let began = Instant::now();
    let calls = calls();
    // All of them where there are enough runs, else some that are spread over them.
    let each = wanted / FAULTS.len() as u64;
    let step = calls.div_ceil(each.max(1)).max(1);
    let (mut runs, mut refused, mut answers) = (0, 0, 0);
    for (place, fault) in (0..).zip(FAULTS) {
        for nth in (1 + place * step / 3..=calls).step_by(step as usize) {
            let (folder, mut told) = (tempfile::tempdir().unwrap(), Told::default());
            let what = format!("{fault} at call {nth} of {calls}");
            let (status, ready, over) = under(&folder, &format!("{fault}:when={nth}"), &mut told);
            let killed =
                std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) || status.code() == Some(137);
            // A start that fails says so and ends; what runs goes on.
            assert!(over || killed || !ready, "{what}: {status}");
            refused += u64::from(!ready);
            answers += told.answers;
            runs += 1;
            eprintln!("{what}: {} answers", told.answers);
            told.check(folder.path()).await;
        }
    }
    eprintln!("figure: faults = {runs} ");
    eprintln!("figure: calls of one run = {calls} ");
    eprintln!("figure: starts that failed = {refused} ");
    eprintln!("figure: acknowledged = {answers} ");
    eprintln!("figure: lost = 0 ");
    eprintln!(
        "figure: each fault = {:.3} s",
        began.elapsed().as_secs_f64() / f64::from(runs)
    );
    assert!(answers > 0);
}

/// Runs a desk under strace; how it ended, and whether it came to be ready and to its end.
fn under(folder: &tempfile::TempDir, fault: &str, told: &mut Told) -> (std::process::ExitStatus, bool, bool) {
    let log = folder.path().join("calls").display().to_string();
    let inject = format!("inject={CALLS}:{fault}");
    let words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        &log,
        "-e",
        &format!("trace={CALLS}"),
        "-e",
        &inject,
    ];
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let mut child = spawn(folder.path(), 0, ASKED, &words);
    let said = lines(child.stdout.take().unwrap());
    let (mut ready, mut over) = (false, false);
    for line in said {
        ready |= line == "ready";
        over |= line == "over";
        told.hear(&line);
    }
    (child.wait().unwrap(), ready, over)
}

/// How many calls the busiest thread makes in a run without a fault; strace counts for each by itself.
fn calls() -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (status, _, over) = under(&folder, "error=EIO:when=65535", &mut Told::default());
    assert!(status.success() && over, "{status}");
    let log = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    let mut threads: BTreeMap<&str, u64> = BTreeMap::new();
    for thread in log.lines().filter_map(|line| line.split_whitespace().next()) {
        *threads.entry(thread).or_default() += 1;
    }
    threads.into_values().max().unwrap()
}
