//! The lab without an agent, and one attack in it.

use super::crowd::UPDATES;
use super::kind::Side;
use super::plan::Planned;
use super::rng::Rng;
use super::write::Recorded;
use super::{FURTHER, SWEPT};
use crate::child::{self, Child};
use crate::lab::services::Services;
use crate::lab::{BENIGN, PROTECTED, attack};
use crate::net::{GATEWAY, Host, Network};
use crate::{interrupt, scratch};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// Hosts that mean well, and how many addresses each has.
const CLIENTS: [u8; 3] = [BENIGN, BENIGN + 1, BENIGN + 2];
const CLIENT_ADDRESSES: u8 = 4;
/// Delays of hosts, ms, where the kernel can delay (`sch_netem`).
const DELAYS: std::ops::RangeInclusive<u64> = 2..=120;
/// Passwords in a list to be tried.
const GUESSES: usize = 2000;
const QUICK: Duration = Duration::from_secs(20);
/// For an attacker's server to listen.
const LISTENING: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(20);

/// The lab without an agent. Dropped from top to bottom.
pub(super) struct Stage {
    serving: Vec<Child>,
    services: Services,
    pub(super) protected: Host,
    pub(super) clients: Vec<(Host, Vec<Ipv4Addr>)>,
    pub(super) www: tempfile::TempDir,
    pub(super) delays: Option<Rng>,
    /// What each attacker's tool said, should it have done nothing.
    pub(super) said: BTreeMap<Ipv4Addr, String>,
    network: Network,
}

impl Stage {
    pub(super) fn new(seed: u64) -> Result<Self> {
        let mut network = Network::new()?;
        let protected = network.host("protected", PROTECTED)?;
        as_on_a_wire(&protected)?;
        for number in SWEPT[0]..=SWEPT[1] {
            protected.add(number)?;
        }
        let mut delays = Some(Rng::new(seed ^ 0xde1a));
        let mut clients = Vec::new();
        for (row, number) in (0..).zip(CLIENTS) {
            let host = network.host(&format!("client{number}"), number)?;
            as_on_a_wire(&host)?;
            delay(&host, &mut delays)?;
            let mut addresses = vec![host.v4];
            for place in 1..CLIENT_ADDRESSES {
                addresses.push(host.add(FURTHER + row * CLIENT_ADDRESSES + place)?);
            }
            clients.push((host, addresses));
        }
        let www = scratch::folder()?;
        std::fs::write(www.path().join("file"), vec![b'x'; 20_000])?;
        std::fs::write(www.path().join("task"), "sleep\n")?;
        let ask = www.path().join("ask");
        std::fs::write(&ask, "#!/bin/sh\necho wrong\n")?;
        std::fs::set_permissions(&ask, PermissionsExt::from_mode(0o755))?;
        let mut stage = Self {
            serving: Vec::new(),
            services: Services::start(&protected)?,
            protected,
            clients,
            www,
            delays,
            said: BTreeMap::new(),
            network,
        };
        for (host, _) in stage.clients.iter().take(2) {
            let line = format!("busybox httpd -f -p {UPDATES} -h {}", stage.www.path().display());
            stage.serving.push(host.spawn(&line)?);
        }
        Ok(stage)
    }

    /// All who mean well.
    pub(super) fn addresses(&self) -> Vec<Ipv4Addr> {
        let clients = self.clients.iter().flat_map(|(_, own)| own.iter().copied());
        clients.chain([GATEWAY.0]).collect()
    }

    /// One attack, from its pause to its end; `None` where the time is up before it.
    pub(super) fn attack(&mut self, planned: &Planned, until: Instant) -> Result<Option<Recorded>> {
        let begins = Instant::now() + planned.gap;
        if begins + planned.lasts > until {
            return Ok(None);
        }
        let attacker = self
            .network
            .host(&format!("attacker{}", planned.number), planned.number)?;
        as_on_a_wire(&attacker)?;
        delay(&attacker, &mut self.delays)?;
        rest(begins)?;
        let passwords = self.services.passwords(GUESSES)?;
        let www = self.www.path().display().to_string();
        let fill = |word: &str| word.replace("{passwords}", &passwords).replace("{www}", &www);
        let mut serving = match &planned.steps.serve {
            Some(line) => Some(attacker.spawn(&fill(line))?),
            None => None,
        };
        let host = match planned.steps.side {
            Side::Attacker => &attacker,
            Side::Protected => &self.protected,
        };
        if serving.is_some() {
            rest(Instant::now() + LISTENING)?;
        }
        let words: Vec<String> = planned.steps.line.iter().map(|word| fill(word)).collect();
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let mut command = host.program(&words[0], &args);
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
            std::thread::sleep(LOOK);
        }
        tool.end();
        let t1 = now();
        self.said.insert(attacker.v4, tool.output());
        if let Some(serving) = &mut serving {
            ensure!(
                serving.ended()?.is_none(),
                "`{}` ended: {}",
                planned.steps.serve.as_deref().unwrap_or_default(),
                serving.output()
            );
            serving.end();
        }
        Ok(Some(Recorded {
            family: planned.kind.family,
            name: planned.kind.name,
            tool: planned.kind.programs[0].to_owned(),
            ip: attacker.v4,
            forged: planned.kind.forged,
            t0,
            t1,
            packets: 0,
        }))
    }
}

/// Packets leave as they would on a wire: no segment is put together or taken apart by an interface.
fn as_on_a_wire(host: &Host) -> Result<()> {
    let line = "ethtool -K eth0 tso off gso off gro off tx off";
    child::must(host.command(line), QUICK).map(|_| ())
}

/// Delays what a host sends, if the kernel can; where it cannot, nobody is delayed. The queue has room for a flood.
fn delay(host: &Host, delays: &mut Option<Rng>) -> Result<()> {
    let Some(rng) = delays else { return Ok(()) };
    let line = format!(
        "tc qdisc add dev eth0 root netem limit 100000 delay {}ms",
        rng.within(DELAYS)
    );
    let tc = host.run(&line, QUICK)?;
    if tc.code != 0 {
        ensure!(is_unknown(&tc.output), "`{line}`: {}", tc.output.trim());
        *delays = None;
    }
    Ok(())
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
