//! The lab to look at: attacks come and go until the person has seen enough.

use super::{ATTACKS, Benign, Lab, leftovers, once, relay};
use crate::net::Host;
use crate::{interrupt, wait};
use anyhow::{Result, bail};
use serde_json::json;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two attacks: time to read the page.
const PAUSE: Duration = Duration::from_secs(8);
/// How long a block lasts here, so that one sees it end.
const BLOCK: &str = "90s";
/// Attackers take turns; more than this many addresses are not used.
const ATTACKERS: usize = 17;
const GONE: Duration = Duration::from_secs(10);

/// `cargo xtask lab`.
///
/// # Errors
/// When the lab breaks or something is left behind.
pub fn watch(agent: &Path) -> Result<()> {
    interrupt::listen()?;
    eprintln!("\n==> the lab: namespaces, services, agent");
    let mut lab = Lab::new(agent, &json!({ "response": { "duration": BLOCK } }))?;
    let address = relay::start(&lab.agent.socket())?;
    let settings = lab.agent.settings();
    println!("\n  dashboard     http://{address}/");
    println!(
        "  protected     {}  {}   ssh, http, dns, iperf3",
        lab.protected.v4, lab.protected.v6
    );
    println!(
        "  benign client {}  {}   curl, ping, dig, iperf3; never blocked",
        lab.client.v4, lab.client.v6
    );
    println!(
        "  agent         {} -c {} decisions list",
        agent.display(),
        settings.display()
    );
    println!("\nAn attack every few seconds, each from its own address; a block lasts {BLOCK} here.");
    println!("Ctrl-C (or q and Enter) ends it and removes everything.\n");
    if std::io::stdin().is_terminal() {
        std::thread::Builder::new().name("keys".into()).spawn(|| {
            if std::io::stdin()
                .lock()
                .lines()
                .map_while(Result::ok)
                .any(|line| line.trim() == "q")
            {
                interrupt::request();
            }
        })?;
    }
    let benign = Benign::start(&lab.client, &lab.protected)?;
    let programs = lab.agent.programs()?;
    let outcome = attacks(&mut lab);
    eprintln!("\n==> ending");
    interrupt::request();
    for traffic in benign.finish() {
        println!(
            "benign  {:<8} {:>5} transfers  {:>2} failures",
            traffic.tool, traffic.transfers, traffic.failures
        );
    }
    drop(lab);
    let deadline = Instant::now() + GONE;
    while !leftovers(&programs).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    let left = leftovers(&programs);
    if !left.is_empty() {
        bail!("left behind: {}", left.join(", "));
    }
    println!("nothing is left behind: no namespace, no link, no program in the kernel");
    outcome
}

fn attacks(lab: &mut Lab) -> Result<()> {
    let mut attackers: Vec<Host> = Vec::new();
    for (round, attack) in ATTACKS.iter().cycle().enumerate() {
        let place = round % ATTACKERS;
        if place >= attackers.len() {
            attackers.push(lab.attacker()?);
        }
        let attacker = attackers[place].clone();
        // Still blocked from its last turn: that is what the block is for.
        if lab.agent.block(attacker.address_of(attack.v6))?.is_none() {
            println!("--> {} from {}", attack.name, attacker.address_of(attack.v6));
            let seen = attack.run(lab, &attacker);
            if interrupt::wanted() {
                return Ok(());
            }
            println!("{}", once::line(&seen));
        }
        let start = Instant::now();
        let paused = wait::until("the pause to end", PAUSE * 2, || {
            Ok((start.elapsed() > PAUSE).then_some(()))
        });
        if paused.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
