//! SIGKILL at any system call, and at any moment: what was acknowledged is as it was acknowledged, what was not is there
//! wholly or not at all, and kernel and books agree.
//!
//! `AGENT_KILLS=200` asks for more of them, `AGENT_KILL_SEED=N` for others.

mod book;
mod point;
mod wish;
mod witness;

use crate::scene::{SOON, Scene};
use anyhow::{Context, Result, bail, ensure};
use book::{Book, Found};
use point::{Phase, Point, Points};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testbed::child::Child;
use testbed::tools::{STRIKE, there};
use testbed::wait;
use wish::Wish;
use witness::Witness;

/// Kills of one run, half of them with pins; more by the environment.
const KILLS: u32 = 24;
/// Wishes of one attempt; a kill that has not come by then does not count.
const WISHES: usize = 14;
/// From a SIGTERM to its end.
const CLOSING: Duration = Duration::from_mins(1);

fn number(name: &str, otherwise: u32) -> u32 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_kill_at_any_point_loses_nothing_acknowledged() {
    campaign(false);
}

#[test]
fn a_kill_at_any_point_loses_nothing_acknowledged_with_pins() {
    campaign(true);
}

/// Without what a start takes its time for and decisions do without; what goes out is seen where there are pins. Prefixes
/// stand at once: that what is provisional is over after a kill is shown elsewhere.
fn settings(pinned: bool) -> Value {
    json!({
        "kernel": { "syn_cookies": { "enabled": false }, "egress": pinned },
        "detect": { "model": { "enabled": false } },
        "response": { "confirm": { "window": "0s" } },
    })
}

/// Kills until half the wanted number has come.
fn campaign(pinned: bool) {
    if !there(&[STRIKE]) {
        return;
    }
    let settings = settings(pinned);
    let built = if pinned {
        Scene::pinned(&settings)
    } else {
        Scene::new(&settings)
    };
    let Some(mut scene) = built else { return };
    scene.reaches(false);
    scene.reaches(true);
    let witness = Witness::new(&scene).unwrap_or_else(|error| panic!("{error:#}"));
    let wanted = (number("AGENT_KILLS", KILLS) / 2).max(1);
    let mut points = Points::new(number("AGENT_KILL_SEED", 1), pinned);
    let mut book = Book::default();
    let (mut kills, mut missed) = (0, 0);
    let began = Instant::now();
    while kills < wanted {
        let point = points.next();
        let what = format!("{point:?}, pinned {pinned}, after {kills} kills");
        let struck = strike(&mut scene, &mut book, &point, kills + missed);
        let (struck, log) = struck.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        points.learn(&point, struck);
        if struck {
            kills += 1;
        } else {
            missed += 1;
        }
        let mut asked = format!("{:?}", book.pending);
        asked.truncate(200);
        // A block does not wait for a slow or full disk, so that with pins there may be an entry whose decision is not in
        // the books; the start tells of it and takes it off.
        let strict = point.phase != Phase::Full && !log.contains("the store is slow");
        if let Err(error) = check(&mut scene, &mut book, &witness, kills + missed, strict) {
            let now = scene.agent.log();
            panic!(
                "{what}, asked for {asked}: {error:#}\nbefore:\n{}\nnow:\n{}",
                brief(&log),
                brief(&now)
            );
        }
        assert!(
            missed <= wanted + 5,
            "{missed} kills of {kills} did not come: {points:?}"
        );
    }
    let each = began.elapsed().as_secs_f64() / f64::from(kills + missed);
    eprintln!(
        "pinned {pinned}: {kills} kills, {missed} beside that never came, {} acknowledged, {} cut off; {each:.1} s each; {}",
        book.acknowledged,
        book.cut_off,
        points.told()
    );
    let which = if pinned { "with pins" } else { "without pins" };
    eprintln!("figure: kills {which} = {kills} ");
    eprintln!("figure: acknowledged {which} = {} ", book.acknowledged);
    eprintln!("figure: cut off {which} = {} ", book.cut_off);
    eprintln!("figure: lost {which} = 0 ");
    eprintln!("figure: each kill {which} = {each:.2} s");
    assert!(book.acknowledged > 0, "nothing was acknowledged, so nothing was shown");
}

/// One attempt; the agent runs again afterwards. Whether the kill came, and what the struck one had said.
fn strike(scene: &mut Scene, book: &mut Book, point: &Point, turn: u32) -> Result<(bool, String)> {
    let struck = match point.phase {
        Phase::Start => begin_under(scene, point)?,
        Phase::Close => {
            work(scene, book, turn, 2)?;
            let attached = point.strike().attach(pid(scene)?)?;
            scene.agent.signal("TERM")?;
            let status = wait::until("the end", CLOSING, || scene.agent.ended())?;
            drop(attached);
            killed(status)
        }
        Phase::Work => {
            let attached = point.strike().attach(pid(scene)?)?;
            work(scene, book, turn, WISHES)?;
            // The answer may have come before the call that kills.
            let over = wait::until("the kill", Duration::from_secs(2), || scene.agent.ended());
            drop(attached);
            over.is_ok_and(killed)
        }
        Phase::Moment | Phase::Full | Phase::Slow => {
            let attached = match point.phase {
                Phase::Moment => None,
                _ => Some(point.strike().attach(pid(scene)?)?),
            };
            let script = format!("sleep {}; kill -s KILL {}", f64::from(point.nth) / 1e3, pid(scene)?);
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &script]);
            let mut killer = Child::spawn(command)?;
            work(scene, book, turn, usize::MAX)?;
            killer.wait(SOON)?;
            let status = wait::until("the kill", SOON, || scene.agent.ended())?;
            drop(attached);
            killed(status)
        }
    };
    let log = scene.agent.log();
    // Where the kill never came, one that does not count.
    scene.agent.kill()?;
    scene.agent.launch()?;
    Ok((struck, log))
}

/// A log without what is said of each decision that is put back.
fn brief(log: &str) -> String {
    let dull = ["again after a restart", "held back since", "acting was resumed, by"];
    let lines = log
        .lines()
        .filter(|line| !dull.iter().any(|words| line.contains(words)));
    lines.take(80).collect::<Vec<_>>().join("\n")
}

fn pid(scene: &Scene) -> Result<u32> {
    scene.agent.pid().context("the agent is not running")
}

fn killed(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

/// Starts the agent anew under strace; whether it was killed before it was ready.
fn begin_under(scene: &mut Scene, point: &Point) -> Result<bool> {
    scene.agent.kill()?;
    let prefix = point.strike().prefix();
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    scene.agent.begin(&prefix)?;
    wait::until("a start or a kill", SOON * 6, || {
        Ok(match scene.agent.ended()? {
            Some(status) if killed(status) => Some(true),
            Some(status) => bail!("ended with {status}: {}", scene.agent.log()),
            None => scene.agent.ready().then_some(false),
        })
    })
}

/// Asks for one thing after the other until there is no answer; what was answered goes into the book.
fn work(scene: &Scene, book: &mut Book, turn: u32, wishes: usize) -> Result<()> {
    for step in 0..wishes {
        let Some(wish) = book.think_of(turn as usize + step, &scene.other) else {
            continue;
        };
        book.pending = Some(wish.clone());
        let Some(answer) = wish.ask(scene) else {
            book.cut_off += 1;
            return Ok(());
        };
        // A disk that does not take it: done, and not promised to stay.
        if answer.status == 503 {
            return Ok(());
        }
        ensure!(answer.status < 300, "{wish:?}: {} {}", answer.status, answer.text);
        book.acknowledge(&wish, &answer.json()?)?;
        book.pending = None;
    }
    Ok(())
}

/// What must be so after a kill.
fn check(scene: &mut Scene, book: &mut Book, witness: &Witness, turn: u32, strict: bool) -> Result<()> {
    // The desk looks at what is due before it answers, and the first self-check is due at once.
    let nobody = scene
        .agent
        .request("DELETE", "/decisions?target=198.18.255.254", None)?;
    ensure!(nobody.status == 404, "{}", nobody.text);
    let drift = scene.agent.metrics()?.sum("sentinel_enforcement_drift_entries", &[]);
    ensure!(drift.abs() < 0.5, "drift of {drift} entries");
    let log = scene.agent.log();
    for words in [
        "block map differs from the decision",
        "holds an entry without a decision",
    ] {
        ensure!(!strict || !log.contains(words), "{words}");
    }
    let verdict = scene.agent.get("/audit/verify")?;
    ensure!(verdict["broken"] == Value::Null, "{verdict}");
    let found = Found::read(&scene.agent)?;
    book.settle(&found)?;
    witness.hears(scene, book, turn)
}
