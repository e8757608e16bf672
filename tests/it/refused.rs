//! F10 of netlink: calls by which the agent asks the kernel about the network fail, one in each start; and at work it gets no
//! socket for a while. It ends and says why, or it runs, protects whom it must and is whole again by itself.
//!
//! `REFUSALS=200` asks for more of them, `REFUSALS_SEED=N` for others; `cargo xtask prove refusals` does.

use crate::scene::{SOON, Scene};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::http::Answer;
use testbed::strike::Strike;
use testbed::tools::{STRIKE, there};
use testbed::wait;

/// Refusals of one run.
const REFUSALS: u32 = 7;
/// The calls, what the kernel says, and how many of them one thread makes while the agent starts.
const CALLS: &[(&str, &str, u32)] = &[
    ("socket", "error=EMFILE", 20),
    ("sendto", "error=ENOBUFS", 18),
    ("recvmsg", "error=ENOBUFS", 18),
    ("ioctl", "error=ENOMEM", 12),
    ("recvfrom", "error=ENOBUFS", 10),
    ("bind", "error=ENOMEM", 9),
    ("recvfrom", "error=EIO", 10),
];
/// Requests until one is answered; each of the agent's threads fails once.
const TRIES: usize = 8;
/// Until all is well again: looks at the host are 5 s apart at most after a failure, and each of the threads that may take
/// one fails once.
const RECOVERY: Duration = Duration::from_secs(40);

fn number(name: &str, otherwise: u32) -> u32 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Asks the agent, whose answer may be what is refused.
fn ask(scene: &Scene, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    let answer = (0..TRIES).find_map(|_| scene.agent.request(method, path, body).ok());
    answer.context("no answer")
}

/// What `/health` says of a part.
fn state(scene: &Scene, part: &str) -> Result<Value> {
    Ok(ask(scene, "GET", "/health", None)?.json()?["components"][part].clone())
}

/// Blocks the other host, which is known to its neighbour.
fn block(scene: &Scene) -> Result<()> {
    scene.reaches(false);
    let wish = json!({ "target": scene.other.v4, "type": "block", "duration": "1h", "reason": "test" });
    let told = ask(scene, "POST", "/decisions", Some(&wish))?;
    ensure!(told.json()?["status"] == "active", "{}", told.text);
    Ok(())
}

fn unblock(scene: &Scene) -> Result<()> {
    let told = ask(scene, "DELETE", &format!("/decisions?target={}", scene.other.v4), None)?;
    // Where only the answer was refused, it is gone already.
    ensure!(told.status < 300 || told.status == 404, "{}", told.text);
    Ok(())
}

/// Nobody protected can be blocked, and somebody else is.
fn in_order(scene: &Scene) -> Result<()> {
    wait::until("the host to be known again, and its interfaces", RECOVERY, || {
        let well = |part| Ok::<_, anyhow::Error>(state(scene, part)?["state"] == "ok");
        Ok((well("host")? && well("kernel")?).then_some(()))
    })
    .with_context(|| format!("{:?} {:?}", state(scene, "host"), state(scene, "kernel")))?;
    for target in [
        "192.0.2.254".to_owned(),
        "192.0.2.53".to_owned(),
        scene.protected.v4.to_string(),
        scene.protected.v6.to_string(),
    ] {
        let wish = json!({ "target": target, "type": "block", "duration": "1h", "reason": "test" });
        let told = ask(scene, "POST", "/decisions", Some(&wish))?;
        ensure!(told.status == 409, "{target}: {} {}", told.status, told.text);
    }
    block(scene)?;
    ensure!(!scene.reaches(false), "the blocked one gets through");
    unblock(scene)?;
    ensure!(scene.reaches(false), "whoever is unblocked does not get through");
    let enforcement = state(scene, "enforcement")?;
    ensure!(enforcement["state"] == "ok", "{enforcement}");
    Ok(())
}

/// What a start under a refusal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// It runs, and is whole again.
    Whole,
    /// It ended and said why.
    Ended,
    /// It made fewer such calls.
    Unstruck,
}

/// Ends the agent. It wakes itself for a signal by a socket: where it is that call which is refused, it takes a second one.
fn end(scene: &mut Scene) -> Result<()> {
    for _ in 0..2 {
        scene.agent.signal("TERM")?;
        if wait::until("an end", SOON, || Ok(scene.agent.ended()?.map(drop))).is_ok() {
            return scene.agent.kill();
        }
    }
    anyhow::bail!("it does not end: {}", scene.agent.log())
}

/// A start under a refusal.
fn start(scene: &mut Scene, strike: &Strike) -> Result<Came> {
    end(scene)?;
    let told = scene.agent.path("calls.log");
    let prefix = strike.prefix_telling(&told);
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    scene.agent.begin(&prefix)?;
    let ended = wait::until("a start or an end", SOON * 6, || {
        Ok(match scene.agent.ended()? {
            Some(status) => Some(Some(status)),
            None => scene.agent.ready().then_some(None),
        })
    })?;
    let log = scene.agent.log();
    ensure!(!log.contains("panicked"), "{log}");
    let Some(status) = ended else {
        in_order(scene).with_context(|| log.clone())?;
        return Ok(if Strike::fell(&told)? {
            Came::Whole
        } else {
            Came::Unstruck
        });
    };
    ensure!(status.code() == Some(1), "ended with {status}: {log}");
    let said = log.lines().last().unwrap_or_default().to_owned();
    ensure!(said.contains("Error") || said.contains("error"), "no error in: {log}");
    let links = scene.protected.run("ip -d link show dev eth0", SOON)?.output;
    ensure!(!links.contains("xdp"), "a program is left: {links}");
    ensure!(scene.reaches(false), "an agent that did not start stops others");
    scene.agent.kill()?;
    scene.agent.launch()?;
    in_order(scene)?;
    Ok(Came::Ended)
}

#[test]
fn whichever_question_about_the_network_is_refused_it_ends_with_a_word_or_goes_on_whole() {
    if !there(&[STRIKE]) {
        return;
    }
    let Some(mut scene) = Scene::new(&json!({ "detect": { "model": { "enabled": false } } })) else {
        return;
    };
    let (wanted, mut seed) = (number("REFUSALS", REFUSALS), number("REFUSALS_SEED", 1));
    let mut came = Vec::new();
    for n in 0..wanted {
        let (call, what, many) = CALLS[n as usize % CALLS.len()];
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let strike = Strike {
            call,
            what,
            nth: 1 + (seed >> 8) % many,
            on: false,
        };
        match start(&mut scene, &strike) {
            Ok(what) => came.push(what),
            Err(error) => panic!("{strike:?}: {error:#}"),
        }
    }
    // At work: every new socket is refused for a while, which is said, and what is in force stays.
    end(&mut scene).unwrap_or_else(|error| panic!("{error:#}"));
    scene.agent.launch().expect("it starts");
    block(&scene).unwrap_or_else(|error| panic!("{error:#}"));
    let strike = Strike {
        call: "socket",
        what: "error=EMFILE",
        nth: 1,
        on: true,
    };
    let refused = strike.attach(scene.agent.pid().expect("it runs")).expect("strace");
    for (part, words) in [("kernel", "cannot be asked"), ("host", "netlink")] {
        let said = wait::until("it to be said", RECOVERY, || {
            let told = state(&scene, part)?.to_string();
            Ok((told.contains("degraded") && told.contains(words)).then_some(()))
        });
        said.unwrap_or_else(|error| panic!("{error:#}: {part}: {:?} {}", state(&scene, part), scene.agent.log()));
    }
    let through = scene.reaches(false);
    assert!(
        !through,
        "the blocked one gets through: {:?}\n{}",
        scene.agent.active(),
        scene.agent.log()
    );
    drop(refused);
    unblock(&scene).unwrap_or_else(|error| panic!("{error:#}"));
    in_order(&scene).unwrap_or_else(|error| panic!("{error:#}"));
    let counted = |what| came.iter().filter(|one| **one == what).count();
    let struck = came.len() - counted(Came::Unstruck);
    assert!(
        wanted < 50 || 4 * struck >= came.len(),
        "{struck} of {} calls were made: CALLS guesses too many",
        came.len()
    );
    println!("figure: refusals = {struck} ");
    println!("figure: ended with a word = {} ", counted(Came::Ended));
    println!("figure: went on whole = {} ", counted(Came::Whole));
    println!("figure: starts without such a call = {} ", counted(Came::Unstruck));
}
