//! What is told outside, before it has a format.

use super::{ecs, eve, ocsf};
use crate::config::Format;
use crate::types::{
    ActionKind, Alert, Clock, Decision, DecisionId, Detector, EvidenceClass, FlowEnd, MapUse, Stats, Timestamp,
};
use ipnet::IpNet;
use sentinel_common::stat::Counter;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observer {
    /// Name of this host.
    pub host: String,
    /// Version of the agent.
    pub version: &'static str,
}

/// What the kernel dropped under one decision since it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The latest of the packets.
    pub at: Timestamp,
    /// The decision.
    pub decision: DecisionId,
    /// Whom it is about.
    pub target: IpNet,
    /// What it does.
    pub action: ActionKind,
    /// Packets dropped since the line before about it.
    pub packets: u64,
    /// Their frame bytes.
    pub bytes: u64,
    /// Packets dropped under it in all.
    pub total: u64,
    /// The first of all of them.
    pub first: Option<Timestamp>,
}

/// Totals since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// When they were taken.
    pub at: Timestamp,
    /// How long the agent runs.
    pub uptime: Duration,
    /// The kernel's counters over all interfaces, by name; those that have moved.
    pub counters: BTreeMap<&'static str, u64>,
    /// How full each list is.
    pub maps: BTreeMap<String, MapUse>,
    /// Flows in the agent's table.
    pub flows_active: u64,
    /// Sources in the agent's windows.
    pub sources_active: u64,
    /// Items dropped on the way, as `stage.reason`.
    pub lost: BTreeMap<String, u64>,
}

impl Totals {
    /// From a snapshot.
    pub(super) fn of(stats: &Stats, started: Timestamp) -> Self {
        let counters = Counter::ALL
            .iter()
            .map(|counter| (counter.label(), stats.total(*counter)));
        let lost = stats.lost.iter().filter(|(_, lost)| **lost > 0);
        Self {
            at: stats.at,
            uptime: Duration::from_nanos(stats.at.0.saturating_sub(started.0).max(0) as u64),
            counters: counters.filter(|(_, value)| *value > 0).collect(),
            maps: stats.maps.clone(),
            flows_active: stats.flows_active,
            sources_active: stats.sources_active,
            lost: lost
                .map(|((stage, reason), lost)| (format!("{stage}.{reason}"), *lost))
                .collect(),
        }
    }

    /// Packets that came in.
    pub(super) fn packets(&self) -> u64 {
        let of = |name| self.counters.get(name).copied().unwrap_or(0);
        ["pass_v4", "pass_v6", "pass_other", "drop_v4", "drop_v6"]
            .map(of)
            .iter()
            .sum()
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A detector spoke, and what that led to at once.
    Alert(Arc<Alert>, Option<Arc<Decision>>),
    /// A flow is over.
    Flow(FlowEnd, Clock),
    /// The kernel dropped packets.
    Drop(Dropped),
    /// Totals.
    Stats(Arc<Totals>),
}

impl Happening {
    /// The name it has in `types`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Alert(..) => "alert",
            Self::Flow(..) => "flow",
            Self::Drop(_) => "drop",
            Self::Stats(_) => "stats",
        }
    }

    /// When.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Alert(alert, _) => alert.at,
            Self::Flow(flow, clock) => clock.wall(flow.last),
            Self::Drop(dropped) => dropped.at,
            Self::Stats(totals) => totals.at,
        }
    }

    /// A name that is the same each time it is told.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Alert(alert, _) => Some(alert.id.to_string()),
            _ => None,
        }
    }

    /// Written in a format.
    pub fn render(&self, format: Format, by: &Observer) -> Value {
        match format {
            Format::Eve => eve::live(self, by),
            Format::Ecs => ecs::document(self, by),
            Format::Ocsf => ocsf::event(self, by),
        }
    }
}

/// A technique of MITRE ATT&CK.
pub(super) struct Technique {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) tactic: &'static str,
    pub(super) tactic_name: &'static str,
}

/// What an alert is an instance of. Nothing of a statistical one: an oddity is no technique.
pub(super) fn technique(alert: &Alert) -> Option<Technique> {
    if alert.class != EvidenceClass::Behaviour {
        return None;
    }
    let (id, name, tactic, tactic_name) = match alert.detector {
        Detector::PortScan | Detector::SlowScan => ("T1595", "Active Scanning", "TA0043", "Reconnaissance"),
        Detector::SynFlood | Detector::SynFloodKernel | Detector::SlowDos => {
            ("T1499", "Endpoint Denial of Service", "TA0040", "Impact")
        }
        Detector::PacketFlood | Detector::Amplification => ("T1498", "Network Denial of Service", "TA0040", "Impact"),
        Detector::BruteForce | Detector::DistributedBruteForce => {
            ("T1110", "Brute Force", "TA0006", "Credential Access")
        }
        Detector::IcmpTunnel => (
            "T1095",
            "Non-Application Layer Protocol",
            "TA0011",
            "Command and Control",
        ),
        _ => return None,
    };
    Some(Technique {
        id,
        name,
        tactic,
        tactic_name,
    })
}

/// Whether a protocol has ports; of ICMP the parser gives type and code in their place.
pub(super) const fn has_ports(number: u8) -> bool {
    !matches!(number, 1 | 58)
}

/// A protocol's name in small letters, where it has one that is common.
pub(super) const fn protocol(number: u8) -> Option<&'static str> {
    match number {
        1 => Some("icmp"),
        6 => Some("tcp"),
        17 => Some("udp"),
        47 => Some("gre"),
        58 => Some("ipv6-icmp"),
        132 => Some("sctp"),
        _ => None,
    }
}
