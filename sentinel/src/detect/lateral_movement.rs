//! An inside host that opens administration services on many inside hosts it never talked to.
//!
//! Looks for: lateral movement over remote services (MITRE ATT&CK T1021: SSH, SMB, RDP, WinRM, DCOM) and lateral tool
//! transfer (T1570). Statistical: it never blocks, since the owner's own administration host does the same. Blind spots:
//! hosts whose traffic to each other does not pass this one; movement to hosts it used to administer; fewer new hosts
//! than the limit. Known false positives: configuration management and scanners on their first run against a group.

use super::sketch::digest;
use super::{Detector, Finding, MAX_TARGETS, Voice, local, row, share, span};
use crate::config::LateralConfig;
use crate::flow::{Bounded, Observation};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime, Service};
use sentinel_common::addr::Addr;
use std::time::Duration;

/// Hosts remembered per source; the one met longest ago makes room, and that is counted.
const KNOWN: usize = 512;
/// New hosts remembered within a window.
const FRESH: usize = 256;
/// Times the limit while habit is learned.
const UNKNOWN: u32 = 4;

/// Habit of one inside host.
#[derive(Debug)]
struct Host {
    since: Ktime,
    /// Digests of hosts it opened such a service on; in order of first meeting.
    known: Vec<u64>,
    /// Those it met in this window.
    fresh: Vec<(Ktime, Service)>,
}

/// Counts, per inside host, inside hosts on which it completes a connection to an administration service for the first
/// time. Inside are private and link-local addresses.
#[derive(Debug)]
pub struct LateralMovement {
    hosts: Bounded<Addr, Host>,
    forgotten: u64,
    window: Duration,
    ports: Vec<u16>,
    limit: u32,
    warm_up: Duration,
}

impl LateralMovement {
    /// No habits known yet.
    pub fn new(config: &LateralConfig, sources: usize) -> Self {
        let mut ports = config.ports.clone();
        ports.sort_unstable();
        Self {
            hosts: Bounded::new(Self::capacity(sources)),
            forgotten: 0,
            window: config.window,
            ports,
            limit: config.hosts.clamp(2, FRESH as u32 / UNKNOWN),
            warm_up: config.warm_up,
        }
    }

    /// Inside hosts that administer others: one in 128 of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 128)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        let own = KNOWN * size_of::<u64>() + FRESH * size_of::<(Ktime, Service)>();
        Bounded::<Addr, Host>::memory_bound(Self::capacity(sources)) + Self::capacity(sources) * own
    }

    fn finding(&self, o: &Observation, host: &Host, limit: u32) -> Finding {
        let window = span(self.window);
        let met = host.fresh.len();
        let mut ports: Vec<u16> = host.fresh.iter().map(|(_, s)| s.port).collect();
        ports.sort_unstable();
        ports.dedup();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: host.fresh.iter().rev().take(MAX_TARGETS).map(|(_, s)| *s).collect(),
            family: Family::LateralMovement,
            technique: "remote services".into(),
            ratio: met as f64 / f64::from(limit),
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("new_hosts", met as f64, limit.into(), format!("hosts/{window}")),
                row(
                    "known_hosts",
                    (host.known.len() - met.min(host.known.len())) as f64,
                    0.0,
                    "hosts",
                ),
            ],
            summary: format!(
                "{} opened administration services (port {}) on {met} inside hosts within {window} that it never talked to \
                 before; the limit is {limit}",
                o.source,
                ports.join(", ")
            ),
        }
    }
}

impl Detector for LateralMovement {
    fn name(&self) -> Name {
        Name::LateralMovement
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let admin = o.tcp() && o.completed_now && self.ports.binary_search(&o.target.port).is_ok();
        let inside = local(o.target.ip) && (o.from_inside || local(o.source));
        if !admin || !inside {
            return None;
        }
        let host = self.hosts.touch_or(Addr::from(o.source), || Host {
            since: o.at,
            known: Vec::new(),
            fresh: Vec::new(),
        });
        let met = digest(&Addr::from(o.target.ip));
        if host.known.contains(&met) {
            return None;
        }
        if host.known.len() >= KNOWN {
            host.known.remove(0);
            self.forgotten += 1;
        }
        host.known.push(met);
        host.fresh.retain(|(at, _)| o.at.since(*at) < self.window);
        if host.fresh.len() >= FRESH {
            host.fresh.remove(0);
        }
        host.fresh.push((o.at, o.target));
        let learned = o.at.since(host.since) >= self.warm_up;
        let limit = if learned { self.limit } else { UNKNOWN * self.limit };
        let ratio = host.fresh.len() as f64 / f64::from(limit);
        if ratio < 1.0 || !voice.may_wonder(o.source, Name::LateralMovement, Family::LateralMovement, ratio, o.at) {
            return None;
        }
        let host = self.hosts.peek(&Addr::from(o.source))?;
        Some(self.finding(o, host, limit))
    }

    fn load(&self) -> (usize, u64) {
        (self.hosts.len(), self.hosts.evicted() + self.forgotten)
    }
}
