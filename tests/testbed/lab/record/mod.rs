//! `cargo xtask lab --record`: labelled captures to learn from, with real tools and nobody who stops them.
//!
//! In: a folder, a length, a seed. Out: a session as `sentinel model dataset` reads it. Invariant: whatever is labelled an
//! attack has left packets in the capture; the session is whole or not there; the order, the lines and the addresses are
//! the seed's. Deliberately elsewhere: tables of it (the agent's `dataset`), the lab with an agent in it (`lab`).

mod capture;
mod crowd;
mod kind;
mod plan;
mod rng;
mod stage;
mod told;
mod write;

pub use told::recorded;
pub use write::Recorded;

use super::{ATTACKERS, PROTECTED, RESOLVERS};
use crate::interrupt;
use anyhow::{Context, Result, bail, ensure};
use capture::{Capture, Caught};
use crowd::Crowd;
use plan::{LEAD, Planned};
use stage::{Stage, rest};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use write::Draft;

/// Further addresses of clients are numbered from here.
const FURTHER: u8 = 100;
/// The protected host's further addresses, for whoever sweeps.
const SWEPT: [u8; 2] = [240, 249];
/// Around an attack's time its packets may lie: what is still on its way, s.
const SLACK: f64 = 2.0;

/// A session to record.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The folder it becomes; its name is the session's.
    pub dir: PathBuf,
    /// How long it may take.
    pub length: Duration,
    /// What order, lines and addresses follow from.
    pub seed: u64,
    /// Families of attacks; all there are tools for where none is named.
    pub families: Vec<String>,
}

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Session {
    /// Attacks, in their order.
    pub attacks: Vec<Recorded>,
    /// Packets in the capture.
    pub packets: u64,
    /// Packets the capture lost.
    pub dropped: u64,
    /// How often each benign habit came to its end.
    pub benign: Vec<(&'static str, u64)>,
    /// Whether hosts were delayed.
    pub delayed: bool,
}

/// Numbers attackers may have.
fn attackers() -> impl Iterator<Item = u8> {
    (ATTACKERS..FURTHER).filter(|number| !RESOLVERS.contains(number))
}

/// Records a session; `tell` hears each attack as it ends.
///
/// # Errors
/// When the folder has something in it, a tool is missing, the lab breaks, the end is asked for, or an attack left no
/// packets: nothing is written then.
pub fn record(recording: &Recording, mut tell: impl FnMut(&str)) -> Result<Session> {
    let draft = Draft::new(&recording.dir)?;
    let (kinds, without) = plan::kinds(&recording.families)?;
    if !without.is_empty() {
        tell(&format!("left out: {}", without.join(", ")));
    }
    let target = Ipv4Addr::new(192, 0, 2, PROTECTED);
    let plan = plan::plan(recording.seed, &kinds, recording.length, target);
    ensure!(
        !plan.is_empty(),
        "{} s have room for no attack; allow more time",
        recording.length.as_secs()
    );
    let mut stage = Stage::new(recording.seed)?;
    if stage.delays.is_none() {
        tell("this kernel has no netem: hosts are not delayed");
    }
    let start = Instant::now();
    let capture = Capture::start(&stage.protected, &draft.pcap())?;
    let ask = stage.www.path().join("ask");
    let crowd = Crowd::start(&stage.clients, &stage.protected, &ask, recording.seed ^ 0xc0de)?;
    rest(Instant::now() + Duration::from_secs(LEAD))?;
    let until = start + recording.length.saturating_sub(Duration::from_secs(LEAD));
    let mut attacks = Vec::new();
    for planned in &plan {
        let Some(seen) = stage.attack(planned, until).with_context(|| planned.kind.name)? else {
            tell(&format!("left out: {} (the time is up)", planned.kind.name));
            continue;
        };
        tell(&format!(
            "{:<26} {:<13} {:<13} {:>5.1} s",
            seen.name,
            seen.tool,
            seen.ip,
            seen.t1 - seen.t0
        ));
        attacks.push(seen);
    }
    rest(Instant::now() + Duration::from_secs(LEAD))?;
    let benign = crowd.finish();
    let caught = capture.stop()?;
    ensure!(!interrupt::wanted(), "interrupted");
    count(&draft.pcap(), &stage, &mut attacks, &plan, caught)?;
    ensure!(
        !attacks.is_empty(),
        "the time was up before the first attack; allow more"
    );
    let session = Session {
        attacks,
        packets: caught.packets,
        dropped: caught.dropped,
        benign: benign.into_iter().collect(),
        delayed: stage.delays.is_some(),
    };
    draft.publish(&stage.addresses(), &session.attacks)?;
    Ok(session)
}

/// Counts each attack's packets; an attack without is an error.
fn count(file: &Path, stage: &Stage, attacks: &mut [Recorded], plan: &[Planned], caught: Caught) -> Result<()> {
    let mut known: BTreeSet<Ipv4Addr> = stage.addresses().into_iter().collect();
    known.extend(attacks.iter().map(|attack| attack.ip));
    let own = |ip: Ipv4Addr| {
        let last = ip.octets()[3];
        ip == stage.protected.v4 || (ip.octets()[..3] == [192, 0, 2] && (SWEPT[0]..=SWEPT[1]).contains(&last))
    };
    let written = capture::walk(file, |at, from, to| {
        let remote = if own(from) { to } else { from };
        let stranger = !own(remote) && !known.contains(&remote);
        for attack in attacks.iter_mut() {
            let within = (attack.t0 - SLACK..=attack.t1 + SLACK).contains(&at);
            if within && if attack.forged { stranger } else { remote == attack.ip } {
                attack.packets += 1;
            }
        }
    })?;
    ensure!(
        written == caught.packets,
        "tcpdump says it captured {} packets and wrote {written}",
        caught.packets
    );
    for attack in attacks {
        let kind = plan.iter().map(|p| p.kind).find(|kind| kind.name == attack.name);
        let least = kind.map_or(1, |kind| kind.least);
        if attack.packets < least {
            bail!(
                "{} from {} left {} packets in the capture, which is no attack: nothing is kept. It said: {}",
                attack.name,
                attack.ip,
                attack.packets,
                stage.said.get(&attack.ip).map_or("", |said| said.trim())
            );
        }
    }
    Ok(())
}
