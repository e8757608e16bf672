//! `cargo xtask lab --record`: labelled captures to learn from, with real tools and nobody who stops them.
//!
//! In: a folder, a length, a seed. Out: a session as `sentinel model dataset` reads it. Invariant: whatever is labelled an
//! attack has left packets in the capture; the session is whole or not there; the order, the lines and the addresses are
//! the seed's. Deliberately elsewhere: tables of it (the agent's `dataset`), the lab with an agent in it (`lab`).

mod capture;
mod crowd;
mod habit;
mod kind;
mod offer;
mod plan;
mod quiet;
mod rng;
mod stage;
mod told;
mod wire;
mod write;

pub use told::recorded;
pub use write::Recorded;

use super::{ATTACKERS, PROTECTED, RESOLVERS};
use crate::interrupt;
use anyhow::{Context, Result, bail, ensure};
use capture::{Capture, Caught};
use crowd::Crowd;
use plan::{LEAD, Planned};
use stage::{Delays, Stage, rest};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
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
    let target = (
        [192, 0, 2, PROTECTED].into(),
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(PROTECTED)].into(),
    );
    let lanes = plan::plan(recording.seed, &kinds, recording.length, target);
    ensure!(
        lanes.iter().any(|lane| !lane.is_empty()),
        "{} s have room for no attack; allow more time",
        recording.length.as_secs()
    );
    let mut stage = Stage::new(recording.seed)?;
    match stage.delays {
        Delays::Netem => {}
        Delays::Wires => tell("this kernel has no netem: wires of our own delay hosts"),
        Delays::None => tell("this kernel has no netem, and socat is missing: hosts are not delayed"),
    }
    let start = Instant::now();
    let capture = Capture::start(&stage.protected, &draft.pcap())?;
    let crowd = Crowd::start(
        &stage.clients,
        &stage.protected,
        stage.www.path(),
        recording.seed ^ 0xc0de,
    )?;
    rest(Instant::now() + Duration::from_secs(LEAD))?;
    let until = start + recording.length.saturating_sub(Duration::from_secs(LEAD));
    let mut attacks = through(&stage, &lanes, until, &mut tell)?;
    stage.sound()?;
    rest(Instant::now() + Duration::from_secs(LEAD))?;
    let benign = crowd.finish();
    let caught = capture.stop()?;
    ensure!(!interrupt::wanted(), "interrupted");
    count(&draft.pcap(), &stage, &mut attacks, &lanes, caught)?;
    ensure!(
        !attacks.is_empty(),
        "the time was up before the first attack; allow more"
    );
    let session = Session {
        attacks,
        packets: caught.packets,
        dropped: caught.dropped,
        benign: benign.into_iter().collect(),
        delayed: stage.delays != Delays::None,
    };
    draft.publish(&stage.addresses(), &session.attacks)?;
    Ok(session)
}

/// Goes through the lanes side by side; attacks in the order they ended in.
fn through(
    stage: &Stage,
    lanes: &[Vec<Planned>],
    until: Instant,
    tell: &mut impl FnMut(&str),
) -> Result<Vec<Recorded>> {
    let (told, hears) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for lane in lanes {
            let told = told.clone();
            scope.spawn(move || {
                for planned in lane {
                    let done = stage.attack(planned, until).with_context(|| planned.kind.name);
                    let failed = done.is_err();
                    if told.send((planned.kind.name, done)).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(told);
        let mut attacks = Vec::new();
        let mut fault = None;
        for (name, done) in hears {
            match done {
                Ok(Some(seen)) => {
                    tell(&format!(
                        "{:<30} {:<13} {:<15} {:>5.1} s",
                        seen.name,
                        seen.tool,
                        seen.ip,
                        seen.t1 - seen.t0
                    ));
                    attacks.push(seen);
                }
                Ok(None) => tell(&format!("left out: {name} (the time is up)")),
                Err(error) => {
                    stage.failed.store(true, Ordering::Relaxed);
                    fault.get_or_insert(error);
                }
            }
        }
        fault.map_or(Ok(attacks), Err)
    })
}

/// Counts each attack's packets; an attack without is an error.
fn count(file: &Path, stage: &Stage, attacks: &mut [Recorded], lanes: &[Vec<Planned>], caught: Caught) -> Result<()> {
    let mut known: BTreeSet<IpAddr> = stage.addresses().into_iter().collect();
    known.extend(attacks.iter().map(|attack| attack.ip));
    let own = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let [net @ .., last] = ip.octets();
            ip == stage.protected.v4 || (net == [192, 0, 2] && (SWEPT[0]..=SWEPT[1]).contains(&last))
        }
        IpAddr::V6(ip) => ip == stage.protected.v6,
    };
    let written = capture::walk(file, |at, from, to| {
        let remote = if own(from) { to } else { from };
        let stranger = remote.is_ipv4() && !own(remote) && !known.contains(&remote);
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
    let said = stage.said.lock().unwrap_or_else(PoisonError::into_inner);
    for attack in attacks {
        let kind = lanes
            .iter()
            .flatten()
            .map(|p| p.kind)
            .find(|kind| kind.name == attack.name);
        let least = kind.map_or(1, |kind| kind.least);
        if attack.packets < least {
            bail!(
                "{} from {} left {} packets in the capture, which is no attack: nothing is kept. It said: {}",
                attack.name,
                attack.ip,
                attack.packets,
                said.get(&attack.ip).map_or("", |said| said.trim())
            );
        }
    }
    Ok(())
}
