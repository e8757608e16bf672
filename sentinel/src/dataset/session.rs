//! Labels of a session: a capture with real attackers whose attacks are listed.

use super::error::{DatasetError, io};
use super::truth::{Truth, of};
use crate::features::FeatureRecord;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// How long before or after one of its attacks an attacker's flow still counts as part of it, s.
const AROUND: f64 = 15.0;
/// How long after a flood its answers may go on, s (a SYN-ACK is repeated for a minute: tcp_synack_retries, tcp(7)).
const AFTERMATH: f64 = 65.0;

/// What is known of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    truth: Truth,
    clients: BTreeSet<IpAddr>,
    attackers: BTreeSet<IpAddr>,
}

impl Session {
    /// Reads `attacks.jsonl` and, where there are such, `cli.ips` (benign remote hosts) and `atk.ips` (attackers).
    pub(super) fn read(directory: &Path) -> Result<Self, DatasetError> {
        let truth = Truth::read(&directory.join("attacks.jsonl"))?;
        let mut attackers = list(&directory.join("atk.ips"))?;
        attackers.extend(truth.events.iter().map(|event| event.ip));
        Ok(Self {
            truth,
            clients: list(&directory.join("cli.ips"))?,
            attackers,
        })
    }

    /// The label of a flow and its family; `None` where nothing is known of it.
    ///
    /// A flow with an attacker is an attack, of the family of the attack it lies in or near to. One with a client is
    /// benign. Where clients are listed, whoever is on neither list has a forged address, and its flow is part of the
    /// flood that is on; but the attackers' family of addresses only, and without a list, it is benign.
    pub(super) fn label(&self, record: &FeatureRecord) -> Option<(bool, &str)> {
        let with = |set: &BTreeSet<IpAddr>| set.contains(&record.source) || set.contains(&record.target.ip);
        if with(&self.attackers) {
            let within = self.truth.of(record);
            let near = || {
                let own = self.truth.events.iter().filter(|event| of(event, record));
                own.map(|event| (event.distance(record), event))
                    .filter(|(distance, _)| *distance <= AROUND)
                    .min_by(|a, b| a.0.total_cmp(&b.0))
                    .map(|(_, event)| event)
            };
            return within.or_else(near).map(|event| (true, event.family.as_str()));
        }
        let same = |set: &BTreeSet<IpAddr>| set.iter().any(|ip| ip.is_ipv4() == record.source.is_ipv4());
        if with(&self.clients) || self.clients.is_empty() || !same(&self.attackers) {
            return Some((false, "benign"));
        }
        let floods = self
            .truth
            .events
            .iter()
            .filter(|event| event.family.starts_with("flood"));
        let begun = floods.filter(|event| super::truth::seconds(record.start.0) >= event.t0 - 1.0);
        begun
            .filter(|event| event.distance(record) <= AFTERMATH)
            .max_by(|a, b| a.t0.total_cmp(&b.t0))
            .map(|event| (true, event.family.as_str()))
    }
}

/// Addresses, one a line; none where there is no such file.
fn list(path: &Path) -> Result<BTreeSet<IpAddr>, DatasetError> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(path).map_err(io(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            line.trim().parse().map_err(|_| DatasetError::Line {
                path: path.to_owned(),
                line: number + 1,
                cause: "no address; write one a line".into(),
            })
        })
        .collect()
}
