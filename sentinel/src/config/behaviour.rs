//! Settings of the detectors of slow and quiet behaviour, each with its keys.

use super::keys::{DAY, HOUR, Key, MIB, key, secs};
use super::value::Slot;
use std::time::Duration;

/// `detect.slow_scan:`.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowScanConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Distinct doors (host and port) one source tries in vain within an hour.
    pub doors_1h: u32,
    /// The same within six hours.
    pub doors_6h: u32,
}

impl Default for SlowScanConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            doors_1h: 60,
            doors_6h: 150,
        }
    }
}

/// `detect.distributed_brute_force:`.
#[derive(Clone, Debug, PartialEq)]
pub struct DistributedConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Log-in services by TCP port.
    pub ports: Vec<u16>,
    /// Short connections of all sources together to one service.
    pub attempts: u32,
    /// Distinct sources that make them.
    pub sources: u32,
    /// Payload of either side above which a connection is no mere log-in attempt, bytes.
    pub max_payload: u64,
}

impl Default for DistributedConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: secs(600),
            ports: vec![21, 22, 23, 3389, 5900],
            attempts: 100,
            sources: 20,
            max_payload: 8 << 10,
        }
    }
}

/// `detect.beacon:`.
#[derive(Clone, Debug, PartialEq)]
pub struct BeaconConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Connections of one source to one service before it may speak, 5 to 16.
    pub connections: u32,
    /// Largest robust coefficient of variation of the time between them.
    pub max_variation: f64,
    /// Longest usual time between two.
    pub max_period: Duration,
}

impl Default for BeaconConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            connections: 9,
            max_variation: 0.35,
            max_period: secs(HOUR),
        }
    }
}

/// `detect.dns_tunnel:`.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsTunnelConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Query bytes beyond those of ordinary queries, of one client to one server.
    pub excess: u64,
    /// Longer than ordinary queries they come in.
    pub queries: u32,
}

impl Default for DnsTunnelConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: secs(60),
            excess: 1 << 10,
            queries: 20,
        }
    }
}

/// `detect.icmp_tunnel:`.
#[derive(Clone, Debug, PartialEq)]
pub struct IcmpTunnelConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Bytes in echo replies beyond those of the requests they answer.
    pub excess: u64,
    /// Different lengths of echo requests.
    pub lengths: u32,
}

impl Default for IcmpTunnelConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: secs(300),
            excess: 16 << 10,
            lengths: 10,
        }
    }
}

/// `detect.upload:`.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Length of one observation.
    pub window: Duration,
    /// Bytes an inside host sends one outside peer beyond which it is looked at.
    pub bytes: u64,
    /// Bytes sent for each received.
    pub ratio: f64,
    /// How long a host's habit is learned; four times as many bytes are needed until then.
    pub warm_up: Duration,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: secs(HOUR),
            bytes: 512 * MIB,
            ratio: 10.0,
            warm_up: secs(DAY),
        }
    }
}

/// `detect.lateral_movement:`.
#[derive(Clone, Debug, PartialEq)]
pub struct LateralConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Administration services by TCP port.
    pub ports: Vec<u16>,
    /// Inside hosts on which one inside host opens such a service for the first time.
    pub hosts: u32,
    /// How long a host's habit is learned; four times as many hosts are needed until then.
    pub warm_up: Duration,
}

impl Default for LateralConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: secs(600),
            ports: vec![22, 135, 139, 445, 3389, 5985, 5986],
            hosts: 8,
            warm_up: secs(DAY),
        }
    }
}

/// `detect.amplification:`.
#[derive(Clone, Debug, PartialEq)]
pub struct AmplificationConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Bytes of answers: nobody asked for (as victim), or one source got for small requests (as reflector).
    pub bytes: u64,
    /// Distinct reflectors that send us such answers.
    pub sources: u32,
    /// Bytes our service sends for each byte of a request.
    pub ratio: f64,
}

impl Default for AmplificationConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: secs(10),
            bytes: 256 << 10,
            sources: 8,
            ratio: 10.0,
        }
    }
}

/// `detect.slow_dos:`.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowDosConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Services by TCP port.
    pub ports: Vec<u16>,
    /// Connections of one source to one service that are held open and get nowhere.
    pub connections: u32,
    /// Time without progress after which a connection counts.
    pub stall: Duration,
}

impl Default for SlowDosConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ports: vec![80, 443, 8000, 8008, 8080, 8443],
            connections: 40,
            stall: secs(10),
        }
    }
}

/// Their keys, in the order of `config/settings.yml`.
pub(super) const KEYS: &[Key] = &[
    key("detect.slow_scan.enabled", "Whether the slow scan detector runs", |d| {
        Slot::Bool(&mut d.config.detect.slow_scan.enabled)
    }),
    key(
        "detect.slow_scan.doors_1h",
        "Distinct doors one source tries in vain within an hour",
        |d| Slot::U32(&mut d.config.detect.slow_scan.doors_1h, 10..=500),
    ),
    key(
        "detect.slow_scan.doors_6h",
        "Distinct doors one source tries in vain within six hours",
        |d| Slot::U32(&mut d.config.detect.slow_scan.doors_6h, 10..=500),
    ),
    key(
        "detect.distributed_brute_force.enabled",
        "Whether the detector of brute force from many sources runs",
        |d| Slot::Bool(&mut d.config.detect.distributed_brute_force.enabled),
    ),
    key(
        "detect.distributed_brute_force.window",
        "Sliding window of the detector of brute force from many sources",
        |d| {
            Slot::Time(
                &mut d.config.detect.distributed_brute_force.window,
                secs(10)..=secs(DAY),
            )
        },
    ),
    key(
        "detect.distributed_brute_force.ports",
        "Log-in services by TCP port, for many sources",
        |d| Slot::Ports(&mut d.config.detect.distributed_brute_force.ports),
    ),
    key(
        "detect.distributed_brute_force.attempts",
        "Short connections of all sources together to one service",
        |d| Slot::U32(&mut d.config.detect.distributed_brute_force.attempts, 2..=1_000_000),
    ),
    key(
        "detect.distributed_brute_force.sources",
        "Distinct sources that make them",
        |d| Slot::U32(&mut d.config.detect.distributed_brute_force.sources, 2..=1_000),
    ),
    key(
        "detect.distributed_brute_force.max_payload",
        "Payload of either side above which a connection is no mere attempt",
        |d| {
            Slot::Size64(
                &mut d.config.detect.distributed_brute_force.max_payload,
                64..=1_024 * MIB,
            )
        },
    ),
    key("detect.beacon.enabled", "Whether the beacon detector runs", |d| {
        Slot::Bool(&mut d.config.detect.beacon.enabled)
    }),
    key(
        "detect.beacon.connections",
        "Connections of one source to one service before it may speak",
        |d| Slot::U32(&mut d.config.detect.beacon.connections, 5..=16),
    ),
    key(
        "detect.beacon.max_variation",
        "Largest robust coefficient of variation of the time between them",
        |d| Slot::Real(&mut d.config.detect.beacon.max_variation, 0.05..=0.7),
    ),
    key("detect.beacon.max_period", "Longest usual time between two", |d| {
        Slot::Time(&mut d.config.detect.beacon.max_period, secs(1)..=secs(DAY))
    }),
    key(
        "detect.dns_tunnel.enabled",
        "Whether the DNS tunnel detector runs",
        |d| Slot::Bool(&mut d.config.detect.dns_tunnel.enabled),
    ),
    key(
        "detect.dns_tunnel.window",
        "Sliding window of the DNS tunnel detector",
        |d| Slot::Time(&mut d.config.detect.dns_tunnel.window, secs(10)..=secs(HOUR)),
    ),
    key(
        "detect.dns_tunnel.excess",
        "Query bytes of one client to one server beyond those of ordinary queries",
        |d| Slot::Size64(&mut d.config.detect.dns_tunnel.excess, 64..=1_024 * MIB),
    ),
    key(
        "detect.dns_tunnel.queries",
        "Longer than ordinary queries they come in",
        |d| Slot::U32(&mut d.config.detect.dns_tunnel.queries, 2..=1_000_000),
    ),
    key(
        "detect.icmp_tunnel.enabled",
        "Whether the ICMP tunnel detector runs",
        |d| Slot::Bool(&mut d.config.detect.icmp_tunnel.enabled),
    ),
    key(
        "detect.icmp_tunnel.window",
        "Sliding window of the ICMP tunnel detector",
        |d| Slot::Time(&mut d.config.detect.icmp_tunnel.window, secs(10)..=secs(HOUR)),
    ),
    key(
        "detect.icmp_tunnel.excess",
        "Bytes in echo replies beyond those of the requests they answer",
        |d| Slot::Size64(&mut d.config.detect.icmp_tunnel.excess, 1_024..=1_024 * MIB),
    ),
    key(
        "detect.icmp_tunnel.lengths",
        "Different lengths of echo requests between two hosts",
        |d| Slot::U32(&mut d.config.detect.icmp_tunnel.lengths, 4..=48),
    ),
    key("detect.upload.enabled", "Whether the upload detector runs", |d| {
        Slot::Bool(&mut d.config.detect.upload.enabled)
    }),
    key(
        "detect.upload.window",
        "Length of one observation of the upload detector",
        |d| Slot::Time(&mut d.config.detect.upload.window, secs(60)..=secs(DAY)),
    ),
    key(
        "detect.upload.bytes",
        "Bytes an inside host sends one outside peer beyond which it is looked at",
        |d| Slot::Size64(&mut d.config.detect.upload.bytes, MIB..=1_048_576 * MIB),
    ),
    key("detect.upload.ratio", "Bytes sent for each received", |d| {
        Slot::Real(&mut d.config.detect.upload.ratio, 1.0..=1_000.0)
    }),
    key(
        "detect.upload.warm_up",
        "How long a host's habit is learned; four times as many bytes are needed until then",
        |d| Slot::Time(&mut d.config.detect.upload.warm_up, secs(60)..=secs(30 * DAY)),
    ),
    key(
        "detect.lateral_movement.enabled",
        "Whether the lateral movement detector runs",
        |d| Slot::Bool(&mut d.config.detect.lateral_movement.enabled),
    ),
    key(
        "detect.lateral_movement.window",
        "Sliding window of the lateral movement detector",
        |d| Slot::Time(&mut d.config.detect.lateral_movement.window, secs(10)..=secs(DAY)),
    ),
    key(
        "detect.lateral_movement.ports",
        "Administration services by TCP port",
        |d| Slot::Ports(&mut d.config.detect.lateral_movement.ports),
    ),
    key(
        "detect.lateral_movement.hosts",
        "Inside hosts on which one inside host opens such a service for the first time",
        |d| Slot::U32(&mut d.config.detect.lateral_movement.hosts, 2..=64),
    ),
    key(
        "detect.lateral_movement.warm_up",
        "How long a host's habit is learned; four times as many hosts are needed until then",
        |d| Slot::Time(&mut d.config.detect.lateral_movement.warm_up, secs(60)..=secs(30 * DAY)),
    ),
    key(
        "detect.amplification.enabled",
        "Whether the amplification detector runs",
        |d| Slot::Bool(&mut d.config.detect.amplification.enabled),
    ),
    key(
        "detect.amplification.window",
        "Sliding window of the amplification detector",
        |d| Slot::Time(&mut d.config.detect.amplification.window, secs(1)..=secs(HOUR)),
    ),
    key(
        "detect.amplification.bytes",
        "Bytes of answers nobody asked for, or that one source got for small requests",
        |d| Slot::Size64(&mut d.config.detect.amplification.bytes, 1_024..=1_024 * MIB),
    ),
    key(
        "detect.amplification.sources",
        "Distinct reflectors that send us such answers",
        |d| Slot::U32(&mut d.config.detect.amplification.sources, 2..=1_000),
    ),
    key(
        "detect.amplification.ratio",
        "Bytes our service sends for each byte of a request",
        |d| Slot::Real(&mut d.config.detect.amplification.ratio, 2.0..=10_000.0),
    ),
    key("detect.slow_dos.enabled", "Whether the slow DoS detector runs", |d| {
        Slot::Bool(&mut d.config.detect.slow_dos.enabled)
    }),
    key("detect.slow_dos.ports", "Services by TCP port", |d| {
        Slot::Ports(&mut d.config.detect.slow_dos.ports)
    }),
    key(
        "detect.slow_dos.connections",
        "Connections of one source to one service that are held open and get nowhere",
        |d| Slot::U32(&mut d.config.detect.slow_dos.connections, 4..=1_000),
    ),
    key(
        "detect.slow_dos.stall",
        "Time without progress after which a connection counts",
        |d| Slot::Time(&mut d.config.detect.slow_dos.stall, secs(2)..=secs(HOUR)),
    ),
    key(
        "detect.feed.enabled",
        "Whether every flow is held against the lists",
        |d| Slot::Bool(&mut d.config.detect.feed),
    ),
];
