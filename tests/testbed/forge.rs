//! Packets in anybody's name, made by `trafgen`, and a witness behind the gate that is none of ours.
//!
//! In: hosts of one network. Out: how many of which packets got behind XDP. Invariant: a stream is bounded in count and
//! ends with its owner. Deliberately elsewhere: what ought to get there.

use crate::child::{self, Child};
use crate::net::Host;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// `ip` and `nft` answer at once.
const QUICK: Duration = Duration::from_mins(1);
/// What trafgen makes at least, unpaced, packets a second.
const SLOWEST: u64 = 20_000;

/// Packets on their way; ends with its owner.
pub struct Stream {
    child: Child,
    deadline: Duration,
    _dir: TempDir,
}

impl Stream {
    /// Sends `packets` of these from one host's link to another's: `packet` is what follows Ethernet, as trafgen(8)
    /// writes it, such as `ipv4(saddr=192.0.2.9, daddr=192.0.2.1), udp(dp=9)`. Paced, or as fast as one core sends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(from: &Host, to: &Host, packet: &str, packets: u64, per_second: Option<u64>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("stb-").tempdir()?;
        let file = dir.path().join("packet.cfg");
        std::fs::write(&file, format!("{{ eth(da={}), {packet} }}\n", mac(to)?))?;
        let line = command(&file, packets, per_second);
        let seconds = packets / per_second.unwrap_or(SLOWEST) + 60;
        Ok(Self {
            child: from.spawn(&line)?,
            deadline: Duration::from_secs(seconds),
            _dir: dir,
        })
    }

    /// Whether it goes on.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_none())
    }

    /// Waits until all is sent.
    ///
    /// # Errors
    /// When not all was.
    pub fn finish(mut self) -> Result<()> {
        let finished = self.child.wait(self.deadline)?;
        ensure!(finished.code == 0, "trafgen: {}", finished.output);
        Ok(())
    }
}

fn command(file: &Path, packets: u64, per_second: Option<u64>) -> String {
    let pace = per_second.map_or("-P 1".to_owned(), |pps| format!("-b {pps}pps"));
    format!("trafgen -o eth0 -i {} -n {packets} {pace} -q", file.display())
}

fn mac(host: &Host) -> Result<String> {
    let shown = child::must(host.command("ip -j link show eth0"), QUICK)?;
    let links: serde_json::Value = serde_json::from_str(&shown)?;
    let mac = links[0]["address"].as_str().context("eth0 has no address")?;
    Ok(mac.to_owned())
}

/// Counters of nftables at a host: before everything but XDP and tc.
pub struct Witness(Host);

impl Witness {
    /// Counts by name what matches, as nft(8) writes it: `("forged", "ip saddr 192.0.2.9")`. Packets count where they match.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn new(host: &Host, counted: &[(&str, &str)]) -> Result<Self> {
        let mut rules = vec!["add table inet w".to_owned()];
        rules.push("add chain inet w c { type filter hook prerouting priority -400; }".to_owned());
        for (name, matching) in counted {
            rules.push(format!("add counter inet w {name}"));
            rules.push(format!("add rule inet w c {matching} counter name {name}"));
        }
        child::must(host.program("nft", &[&rules.join("; ")]), QUICK)?;
        Ok(Self(host.clone()))
    }

    /// Packets it saw.
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn count(&self, name: &str) -> Result<u64> {
        let line = format!("nft -j list counter inet w {name}");
        let json: serde_json::Value = serde_json::from_str(&child::must(self.0.command(&line), QUICK)?)?;
        let items = json["nftables"].as_array().context("a list")?;
        let counter = items.iter().find_map(|item| item.get("counter"));
        let packets = counter.and_then(|counter| counter["packets"].as_u64());
        packets.with_context(|| format!("no counter {name}"))
    }
}
