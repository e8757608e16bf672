//! What a detector says, and the numbers that made it say so.

use super::{Address, AlertId, DecisionId, Explanation, Ktime, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// How bad, by the thresholds of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a line in the log.
    Low,
    /// Worth a look.
    Medium,
    /// Worth acting on at once.
    High,
}

impl Severity {
    /// The name used in configuration, metrics and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Which detector spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Many ports or hosts probed.
    PortScan,
    /// Many half-open handshakes to one service.
    SynFlood,
    /// Too many UDP or ICMP packets.
    PacketFlood,
    /// Repeated short log-in connections.
    BruteForce,
    /// Far from the source's own habit.
    Baseline,
    /// The trained model.
    Model,
    /// A threshold per source that the kernel itself watches.
    Reflex,
    /// Somebody whose block ended came back.
    Probation,
    /// Half-open handshakes to one port, counted in the kernel whoever sent them.
    SynFloodKernel,
    /// A few doors tried in vain a minute, for hours.
    SlowScan,
    /// Many sources guess at one log-in service.
    DistributedBruteForce,
    /// Connections at regular intervals, alike.
    Beacon,
    /// Queries too long and too many to be names.
    DnsTunnel,
    /// Echo replies that are no echo, or pings of ever different length.
    IcmpTunnel,
    /// An inside host sends far more than it used to.
    Upload,
    /// An inside host opens administration services on many others.
    LateralMovement,
    /// Answers nobody asked for, or large ones to small requests.
    Amplification,
    /// Connections held open that get nowhere.
    SlowDos,
    /// A flow with an address on a list.
    Feed,
}

impl Detector {
    /// The name used in configuration, metrics and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PortScan => "port_scan",
            Self::SynFlood => "syn_flood",
            Self::PacketFlood => "packet_flood",
            Self::BruteForce => "brute_force",
            Self::Baseline => "baseline",
            Self::Model => "model",
            Self::Reflex => "reflex",
            Self::Probation => "probation",
            Self::SynFloodKernel => "syn_flood_kernel",
            Self::SlowScan => "slow_scan",
            Self::DistributedBruteForce => "distributed_brute_force",
            Self::Beacon => "beacon",
            Self::DnsTunnel => "dns_tunnel",
            Self::IcmpTunnel => "icmp_tunnel",
            Self::Upload => "upload",
            Self::LateralMovement => "lateral_movement",
            Self::Amplification => "amplification",
            Self::SlowDos => "slow_dos",
            Self::Feed => "feed",
        }
    }

    /// Whether its evidence can be made in the name of somebody else: it does not consist of connections, or of answers,
    /// that only whoever receives at the address can have.
    pub const fn forgeable(self) -> bool {
        !matches!(
            self,
            Self::BruteForce
                | Self::DistributedBruteForce
                | Self::SlowDos
                | Self::IcmpTunnel
                | Self::Beacon
                | Self::Upload
                | Self::LateralMovement
                | Self::Feed
        )
    }
}

/// What kind of attack it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Looking for open doors.
    Scan,
    /// Drowning a service.
    Flood,
    /// Guessing credentials.
    BruteForce,
    /// Remote control: an implant that reports to its operator.
    C2,
    /// Data inside a protocol made for something else.
    Tunnel,
    /// Exhausting a service with few packets.
    SlowDos,
    /// Data leaving.
    Exfiltration,
    /// From one inside host to the next.
    LateralMovement,
    /// Not known.
    Unknown,
}

impl Family {
    /// The name used in models, alerts and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Flood => "flood",
            Self::BruteForce => "brute_force",
            Self::C2 => "c2",
            Self::Tunnel => "tunnel",
            Self::SlowDos => "slow_dos",
            Self::Exfiltration => "exfiltration",
            Self::LateralMovement => "lateral_movement",
            Self::Unknown => "unknown",
        }
    }

    /// Every one that is known.
    pub const KNOWN: [Self; 8] = [
        Self::Scan,
        Self::Flood,
        Self::BruteForce,
        Self::C2,
        Self::Tunnel,
        Self::SlowDos,
        Self::Exfiltration,
        Self::LateralMovement,
    ];

    /// By that name; of any other, [`Family::Unknown`].
    pub fn from_name(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|family| family.as_str() == name)
            .unwrap_or(Self::Unknown)
    }
}

/// What the evidence is good for: a statistical oddity alone never blocks anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceClass {
    /// A deviation from habit. Suffices for a log line.
    Statistical,
    /// Observed behaviour that crosses a stated limit. Suffices for a block.
    Behaviour,
}

/// One number behind an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Snake-case name of the quantity, such as `distinct_ports`.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// The limit it crossed.
    pub threshold: f64,
    /// Unit of both, such as `ports/60s`.
    pub unit: String,
}

/// A service of the protected side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Address.
    #[schema(value_type = Address)]
    pub ip: IpAddr,
    /// Port; 0 where the protocol has none.
    pub port: u16,
    /// IP protocol number.
    pub proto: u8,
}

/// How the source of an alert had behaved here until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// It completed a TCP handshake within the last hour: it receives what is sent to its address.
    pub proven: bool,
    /// TCP sessions with payload both ways, none of which was part of an attack that cannot be forged.
    pub good_sessions: u32,
    /// How long before the alert the first of them was, ms.
    pub good_for_ms: u64,
    /// It has, or had within five minutes, a TCP connection with payload both ways that lasted more than five seconds.
    #[serde(default)]
    pub connected: bool,
}

/// A judged observation about one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// Its name.
    pub id: AlertId,
    /// When the evidence was complete.
    pub at: Timestamp,
    /// The same on the boot clock: arrival of the packet that completed the evidence.
    pub evidence_at: Ktime,
    /// Who did it. `None` where sources are forged (a distributed flood): then nobody is blocked.
    #[schema(value_type = Option<Address>)]
    pub source: Option<IpAddr>,
    /// Up to eight services it was done to, most recent first.
    pub targets: Vec<Service>,
    /// Who says so.
    pub detector: Detector,
    /// What kind of attack.
    pub family: Family,
    /// Technique in a word or two, such as `syn vertical`.
    pub technique: String,
    /// 0 to 1.
    pub score: f64,
    /// From the score, by the configured thresholds.
    pub severity: Severity,
    /// What the evidence suffices for.
    pub class: EvidenceClass,
    /// The numbers.
    pub evidence: Vec<Evidence>,
    /// One sentence for people, with the numbers that made it fire.
    pub summary: String,
    /// Which sensor saw it: `xdp`, `bettercap` or `pcap`.
    pub sensor: String,
    /// How the source had behaved until then; `None` where nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// The decision that is over and whose probation this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<DecisionId>,
    /// The model's score taken apart, where it was the model that spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}
