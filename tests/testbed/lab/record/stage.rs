//! The lab without an agent, and one attack in it.

use super::kind::Side;
use super::plan::Planned;
use super::rng::Rng;
use super::wire::{Distance, Wire};
use super::write::Recorded;
use super::{FURTHER, SWEPT, offer};
use crate::child::{self, Child};
use crate::lab::services::Services;
use crate::lab::{BENIGN, PROTECTED, attack};
use crate::net::{GATEWAY, Host, Network};
use crate::{interrupt, scratch, tools};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hosts that mean well, and how many addresses each has.
const CLIENTS: [u8; 3] = [BENIGN, BENIGN + 1, BENIGN + 2];
const CLIENT_ADDRESSES: std::ops::RangeInclusive<u64> = 3..=6;
/// Delays of hosts, ms: by the kernel's netem, or by wires of our own.
const DELAYS: std::ops::RangeInclusive<u64> = 2..=120;
/// What is lost on such a wire, of a hundred thousand frames.
const LOST: u64 = 50;
/// Segments that hosts ask for, bytes (TCP's MSS on Ethernet, in PPPoE, in tunnels).
const SEGMENTS: &[u64] = &[1460, 1460, 1452, 1400, 1360];
/// Passwords in a list to be tried.
const GUESSES: usize = 2000;
const QUICK: Duration = Duration::from_mins(1);
/// For an attacker's server to listen.
const LISTENING: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(20);

/// What delays hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delays {
    Netem,
    /// Sockets ([`Wire`]), where the kernel has no netem.
    Wires,
    None,
}

/// The lab without an agent. Dropped from top to bottom.
pub(super) struct Stage {
    serving: Vec<Child>,
    passwords: String,
    _services: Services,
    pub(super) protected: Host,
    pub(super) clients: Vec<(Host, Vec<Ipv4Addr>)>,
    pub(super) www: tempfile::TempDir,
    pub(super) delays: Delays,
    /// What each attacker's tool said, should it have done nothing.
    pub(super) said: Mutex<BTreeMap<IpAddr, String>>,
    _wires: Vec<Wire>,
    /// One attack failed: the others need not go on.
    pub(super) failed: AtomicBool,
    rng: Mutex<Rng>,
    network: Mutex<Network>,
    _place: tempfile::TempDir,
}

impl Stage {
    pub(super) fn new(seed: u64) -> Result<Self> {
        let mut network = Network::new()?;
        let mut rng = Rng::new(seed ^ 0xde1a);
        let protected = network.host("protected", PROTECTED)?;
        as_on_a_wire(&protected)?;
        segments(&protected, &mut rng)?;
        for number in SWEPT[0]..=SWEPT[1] {
            protected.add(number)?;
        }
        let delays = delays(&network)?;
        let (mut clients, mut wires) = (Vec::new(), Vec::new());
        let mut further = FURTHER..SWEPT[0];
        for number in CLIENTS {
            let host = network.host(&format!("client{number}"), number)?;
            wires.extend(away(&network, &host, delays, &mut rng)?);
            let mut addresses = vec![host.v4];
            for number in further.by_ref().take(rng.within(CLIENT_ADDRESSES) as usize - 1) {
                addresses.push(host.add(number)?);
            }
            clients.push((host, addresses));
        }
        let (www, place) = (scratch::folder()?, scratch::folder()?);
        offer::shelves(www.path(), &mut rng)?;
        let services = Services::start(&protected)?;
        let mut serving = Vec::new();
        serving.extend(offer::ftp(&protected, place.path(), &mut rng)?);
        serving.extend(offer::tls(&protected, place.path(), &mut rng)?);
        for (host, _) in &clients {
            serving.extend(offer::of_client(host, www.path())?);
        }
        Ok(Self {
            serving,
            passwords: services.passwords(GUESSES)?,
            _services: services,
            protected,
            clients,
            www,
            delays,
            said: Mutex::default(),
            _wires: wires,
            failed: AtomicBool::new(false),
            rng: Mutex::new(rng),
            network: Mutex::new(network),
            _place: place,
        })
    }

    /// All who mean well.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let clients = self.clients.iter().flat_map(|(_, own)| own.iter().copied());
        let v4 = clients.chain([GATEWAY.0]).map(IpAddr::from);
        let v6 = self.clients.iter().map(|(host, _)| host.v6).chain([GATEWAY.1]);
        v4.chain(v6.map(IpAddr::from)).collect()
    }

    /// Whether everything that serves still does.
    pub(super) fn sound(&mut self) -> Result<()> {
        for child in &mut self.serving {
            if let Some(status) = child.ended()? {
                bail!("a server ended with {status}: {}", child.output());
            }
        }
        Ok(())
    }

    /// A new host for an attack.
    fn attacker(&self, planned: &Planned) -> Result<(Host, Option<Wire>)> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let host = network.host(&format!("attacker{}", planned.number), planned.number)?;
        let wire = away(&network, &host, self.delays, &mut rng)?;
        Ok((host, wire))
    }

    /// One attack, from its pause to its end; `None` where the time is up before it.
    pub(super) fn attack(&self, planned: &Planned, until: Instant) -> Result<Option<Recorded>> {
        let begins = Instant::now() + planned.gap;
        if begins + planned.lasts > until {
            return Ok(None);
        }
        let (attacker, _wire) = self.attacker(planned)?;
        rest(begins)?;
        let www = self.www.path().display().to_string();
        let fill = |word: &str| word.replace("{passwords}", &self.passwords).replace("{www}", &www);
        let program = |host: &Host, line: &[String]| {
            let words: Vec<String> = line.iter().map(|word| fill(word)).collect();
            let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            host.program(&words[0], &args)
        };
        let (host, other) = match planned.steps.side {
            Side::Attacker => (&attacker, &self.protected),
            Side::Protected => (&self.protected, &attacker),
        };
        let mut serving = match &planned.steps.serve {
            Some(line) => Some(Child::spawn(program(other, line))?),
            None => None,
        };
        if serving.is_some() {
            rest(Instant::now() + LISTENING)?;
        }
        let mut command = program(host, &planned.steps.line);
        // Where it may leave its notes (hydra does).
        command.current_dir(self.www.path());
        for proxy in ["http_proxy", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let t0 = now();
        let mut tool = Child::spawn(command)?;
        let ends = Instant::now() + planned.lasts;
        while tool.ended()?.is_none() && Instant::now() < ends {
            ensure!(!interrupt::wanted(), "interrupted");
            ensure!(!self.failed.load(Ordering::Relaxed), "another attack failed");
            std::thread::sleep(LOOK);
        }
        tool.end();
        let t1 = now();
        let ip = attacker.address_of(planned.kind.v6);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(ip, tool.output());
        drop(said);
        if let Some(serving) = &mut serving {
            ensure!(
                serving.ended()?.is_none(),
                "`{}` ended: {}",
                planned.steps.serve.as_deref().unwrap_or_default().join(" "),
                serving.output()
            );
            serving.end();
        }
        Ok(Some(Recorded {
            family: planned.kind.family,
            name: planned.kind.name,
            tool: planned.kind.programs[0].to_owned(),
            ip,
            forged: planned.kind.forged,
            t0,
            t1,
            packets: 0,
        }))
    }
}

/// What delays hosts here.
fn delays(network: &Network) -> Result<Delays> {
    let netem = "tc qdisc add dev lo root netem delay 1ms";
    let tc = child::run(network.command(netem), QUICK)?;
    if tc.code == 0 {
        child::must(network.command("tc qdisc del dev lo root"), QUICK)?;
        return Ok(Delays::Netem);
    }
    ensure!(is_unknown(&tc.output), "`{netem}`: {}", tc.output.trim());
    Ok(match tools::find("socat") {
        Some(_) => Delays::Wires,
        None => Delays::None,
    })
}

/// Packets leave as they would on a wire: no segment is put together or taken apart by an interface.
fn as_on_a_wire(host: &Host) -> Result<()> {
    let line = "ethtool -K eth0 tso off gso off gro off tx off";
    child::must(host.command(line), QUICK).map(|_| ())
}

/// Others send a host segments of a size of its own.
fn segments(host: &Host, rng: &mut Rng) -> Result<()> {
    let line = format!(
        "ip route change 192.0.2.0/24 dev eth0 proto kernel scope link src {} advmss {}",
        host.v4,
        rng.one(SEGMENTS)
    );
    child::must(host.command(&line), QUICK).map(|_| ())
}

/// Puts a host as far away as it is drawn, where hosts can be. The queue has room for a flood.
fn away(network: &Network, host: &Host, delays: Delays, rng: &mut Rng) -> Result<Option<Wire>> {
    let (delay, seed) = (rng.within(DELAYS), rng.next());
    let wire = match delays {
        Delays::Wires => {
            let distance = Distance {
                delay: Duration::from_millis(delay),
                jitter: Duration::from_micros(delay * 100),
                lost: LOST,
            };
            Some(Wire::lay(network, host, distance, seed)?)
        }
        Delays::Netem => {
            let line = format!("tc qdisc add dev eth0 root netem limit 100000 delay {delay}ms");
            child::must(host.command(&line), QUICK)?;
            None
        }
        Delays::None => None,
    };
    as_on_a_wire(host)?;
    segments(host, rng)?;
    Ok(wire)
}

/// Whether the kernel has no such discipline (`qdisc_create` in net/sched/sch_api.c; older ones say only ENOENT).
fn is_unknown(said: &str) -> bool {
    ["qdisc kind is unknown", "qdisc not found", "No such file or directory"]
        .iter()
        .any(|reason| said.contains(reason))
}

pub(super) fn rest(until: Instant) -> Result<()> {
    while Instant::now() < until {
        ensure!(!interrupt::wanted(), "interrupted");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Wall clock, s since 1970: what the capture is stamped with.
fn now() -> f64 {
    attack::now_ms() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_netem_is_told_from_a_command_that_failed() {
        assert!(is_unknown("Error: Specified qdisc kind is unknown.\n"));
        assert!(is_unknown("RTNETLINK answers: No such file or directory\n"));
        assert!(!is_unknown("Cannot find device \"eth0\"\n"));
        assert!(!is_unknown("RTNETLINK answers: Operation not permitted\n"));
    }
}
