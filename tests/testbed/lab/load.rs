//! Load from `trafgen`: connections to closed ports from forged addresses, paced or as fast as one core sends.

use super::Lab;
use crate::child::{self, Child};
use crate::net::Host;
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tempfile::TempDir;

/// Sending `packets`; ends with its owner.
pub(super) struct Load {
    child: Child,
    deadline: Duration,
    _dir: TempDir,
}

impl Load {
    /// Sends TCP SYNs from random addresses of 10.0.0.0/8; `port` as trafgen writes it (`80`, `drnd(1, 65535)`).
    pub(super) fn start(lab: &Lab, from: &Host, port: &str, packets: u64, per_second: Option<u64>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("stb-").tempdir()?;
        let shown = child::must(lab.protected.command("ip -j link show eth0"), Duration::from_secs(10))?;
        let links: serde_json::Value = serde_json::from_str(&shown)?;
        let mac = links[0]["address"].as_str().context("eth0 has no address")?;
        let packet = format!(
            "{{ eth(da={mac}), ipv4(saddr=drnd(167772160, 184549375), daddr={}, ttl=64), \
             tcp(sport=drnd(1024, 65535), dport={port}, syn, win=64240) }}\n",
            lab.protected.v4
        );
        let file = dir.path().join("packet.cfg");
        std::fs::write(&file, packet)?;
        let pace = per_second.map_or("-P 1".to_owned(), |pps| format!("-b {pps}pps"));
        let line = format!("trafgen -o eth0 -i {} -n {packets} {pace} -q", file.display());
        let seconds = packets / per_second.unwrap_or(20_000) + 60;
        Ok(Self {
            child: from.spawn(&line)?,
            deadline: Duration::from_secs(seconds),
            _dir: dir,
        })
    }

    pub(super) fn running(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_none())
    }

    /// Waits until all is sent.
    pub(super) fn finish(mut self) -> Result<()> {
        let finished = self.child.wait(self.deadline)?;
        ensure!(finished.code == 0, "trafgen: {}", finished.output);
        Ok(())
    }
}
