//! The one table of keys: path, meaning, and the place and bounds of the value.

use super::alerting;
use super::api;
use super::baseline;
use super::behaviour;
use super::bettercap;
use super::channels;
use super::export;
use super::fleet;
use super::intel;
use super::lapi;
use super::policy;
use super::reports;
use super::resolved::{Config, Mode};
use super::retention;
use super::sandbox;
use super::traffic;
use super::value::Slot;
use crate::types::{BURST_MAX_MS, BURST_MIN_MS, BYTES_MAX, PACKETS_MAX};
use sentinel_common::names::WATCHED_INTERFACES;
use sentinel_common::reflex::MAX_PORTS;
use std::time::Duration;

/// A configuration while it is being put together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    /// What will be handed out; its `mode` is what the file asks for until the checks are through.
    pub(super) config: Config,
    /// The second key that production needs.
    pub(super) enable_production_actions: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            config: Config::default(),
            enable_production_actions: Config::default().mode == Mode::Production,
        }
    }
}

/// One key.
pub(super) struct Key {
    /// Dotted path.
    pub(super) path: &'static str,
    /// One sentence for the schema.
    pub(super) doc: &'static str,
    /// Its place in a draft.
    pub(super) slot: for<'a> fn(&'a mut Draft) -> Slot<'a>,
}

pub(super) const fn key(path: &'static str, doc: &'static str, slot: for<'a> fn(&'a mut Draft) -> Slot<'a>) -> Key {
    Key { path, doc, slot }
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const HOUR: u64 = 3_600;
pub(super) const DAY: u64 = 24 * HOUR;
/// Longest any block may be asked to last, in days.
pub(super) const MAX_BLOCK_DAYS: u64 = 366;
pub(super) const MIB: u64 = 1 << 20;
/// Largest threshold or rate of packets.
const COUNT: u64 = 1_000_000_000;

/// The keys of the foundation, in the order of `config/settings.yml`; [`all`] has those of the detectors of behaviour too.
const KEYS: &[Key] = &[
    key(
        "mode",
        "Whether decisions are carried out (`production`) or only counted (`simulation`)",
        |d| Slot::Mode(&mut d.config.mode),
    ),
    key(
        "enable_production_actions",
        "The second key that `mode: production` needs",
        |d| Slot::Bool(&mut d.enable_production_actions),
    ),
    key("allowlist", "Addresses and prefixes that are never touched", |d| {
        Slot::Prefixes(&mut d.config.allowlist)
    }),
    key(
        "kernel.interfaces",
        "Interfaces to watch; `auto` for that of the default route",
        |d| Slot::Interfaces(&mut d.config.kernel.interfaces),
    ),
    key(
        "kernel.egress",
        "Watch what goes out too, so that flows have two directions",
        |d| Slot::Bool(&mut d.config.kernel.egress),
    ),
    key(
        "kernel.hook",
        "Where packets are judged on their way in: `xdp`; `tc`; `auto` for tc where XDP is taken or cannot be had; `nftables` where BPF cannot be loaded: decisions are carried out, packets are not seen",
        |d| Slot::Hook(&mut d.config.kernel.hook),
    ),
    key(
        "kernel.force_generic",
        "Forgo native XDP even where the driver has it",
        |d| Slot::Bool(&mut d.config.kernel.force_generic),
    ),
    key("kernel.pin", "Keep the programs attached when the agent ends", |d| {
        Slot::Bool(&mut d.config.kernel.pin)
    }),
    key("kernel.pin_path", "Directory of the pins, in a bpffs", |d| {
        Slot::Path(&mut d.config.kernel.pin_path)
    }),
    key("kernel.report_interval", "How often a busy flow is reported", |d| {
        Slot::Time(&mut d.config.kernel.report_interval, millis(4)..=secs(10))
    }),
    key(
        "kernel.event_budget",
        "Flow records one CPU may emit per 4 ms; unused ones are kept for a quarter of a second",
        |d| Slot::U32(&mut d.config.kernel.event_budget, 1..=100_000),
    ),
    key("kernel.block_capacity", "Elements of each exact block map", |d| {
        Slot::U32(&mut d.config.kernel.block_capacity, 1..=16_777_216)
    }),
    key("kernel.block_net_capacity", "Elements of each prefix block map", |d| {
        Slot::U32(&mut d.config.kernel.block_net_capacity, 1..=4_194_304)
    }),
    key(
        "kernel.list_capacity",
        "IPv4 addresses of all feeds' lists together; 32 bytes of kernel memory each",
        |d| Slot::U32(&mut d.config.kernel.list_capacity, 1..=33_554_432),
    ),
    key(
        "kernel.list6_capacity",
        "IPv6 addresses, likewise; 64 bytes each",
        |d| Slot::U32(&mut d.config.kernel.list6_capacity, 1..=16_777_216),
    ),
    key(
        "kernel.list_net_capacity",
        "Prefixes of all feeds' lists, for IPv4 and IPv6 each",
        |d| Slot::U32(&mut d.config.kernel.list_net_capacity, 1..=4_194_304),
    ),
    key(
        "kernel.flow_capacity",
        "Flow slots over all CPUs, one per direction of a flow; rounded up to a power of two per CPU; about 170 bytes each",
        |d| Slot::U32(&mut d.config.kernel.flow_capacity, 1_024..=16_777_216),
    ),
    key(
        "kernel.redirect_capacity",
        "Elements of the map of conversations with the honeypot",
        |d| Slot::U32(&mut d.config.kernel.redirect_capacity, 1_024..=4_194_304),
    ),
    key("kernel.ring_size", "Size of the ring buffer, a power of two", |d| {
        Slot::Size32(&mut d.config.kernel.ring_bytes, 65_536..=1_024 * MIB)
    }),
    key("kernel.poll_interval", "How often the ring is read", |d| {
        Slot::Time(&mut d.config.kernel.poll_interval, Duration::from_micros(100)..=secs(1))
    }),
    key("kernel.reflex.enabled", "Whether the kernel counts per source", |d| {
        Slot::Bool(&mut d.config.kernel.reflex.enabled)
    }),
    key("kernel.reflex.window", "Window of the counters per source", |d| {
        Slot::Time(&mut d.config.kernel.reflex.window, millis(100)..=secs(60))
    }),
    key(
        "kernel.reflex.packets",
        "Packets of one source; 0 for no threshold",
        |d| Slot::U32(&mut d.config.kernel.reflex.packets, 0..=COUNT),
    ),
    key("kernel.reflex.bytes", "Bytes of one source; 0 for no threshold", |d| {
        Slot::Size64(&mut d.config.kernel.reflex.bytes, 0..=COUNT * MIB)
    }),
    key("kernel.reflex.syns", "SYNs of one source; 0 for no threshold", |d| {
        Slot::U32(&mut d.config.kernel.reflex.syns, 0..=COUNT)
    }),
    key(
        "kernel.reflex.ports",
        "Distinct ports one source tries; 0 for no threshold",
        |d| Slot::U32(&mut d.config.kernel.reflex.ports, 0..=u64::from(MAX_PORTS)),
    ),
    key(
        "kernel.reflex.half_open",
        "Handshakes one source begins and does not complete; 0 for no threshold",
        |d| Slot::U32(&mut d.config.kernel.reflex.half_open, 0..=COUNT),
    ),
    key(
        "kernel.reflex.limit",
        "Whether a source that crosses a threshold is limited at once",
        |d| Slot::Bool(&mut d.config.kernel.reflex.limit),
    ),
    key(
        "kernel.reflex.limit_packets",
        "Packets a second it is limited to; 0 for no limit on packets",
        |d| Slot::U32(&mut d.config.kernel.reflex.limit_packets, 0..=COUNT),
    ),
    key(
        "kernel.reflex.limit_bytes",
        "Bytes a second it is limited to; 0 for no limit on bytes",
        |d| Slot::Size64(&mut d.config.kernel.reflex.limit_bytes, 0..=COUNT * MIB),
    ),
    key("kernel.reflex.hold", "For how long it is limited", |d| {
        Slot::Time(&mut d.config.kernel.reflex.hold, millis(100)..=secs(300))
    }),
    key(
        "kernel.syn_cookies.enabled",
        "Whether SYNs to a port under flood are answered with cookies",
        |d| Slot::Switch(&mut d.config.kernel.syn_cookies.enabled),
    ),
    key("kernel.syn_cookies.ports", "Ports that cookies answer for", |d| {
        Slot::AllOrPorts(&mut d.config.kernel.syn_cookies.ports)
    }),
    key(
        "kernel.syn_cookies.half_open",
        "Handshakes on one port begun and not completed within a second that make a flood",
        |d| Slot::U32(&mut d.config.kernel.syn_cookies.half_open, 1..=COUNT),
    ),
    key(
        "flow.max_flows",
        "Flows in the agent's table; the least recently seen makes room",
        |d| Slot::Usize(&mut d.config.flow.max_flows, 1_024..=16_777_216),
    ),
    key(
        "flow.max_sources",
        "Sources with windows; the least recently seen makes room",
        |d| Slot::Usize(&mut d.config.flow.max_sources, 256..=16_777_216),
    ),
    key("flow.idle_timeout", "Quiet time after which a flow is forgotten", |d| {
        Slot::Time(&mut d.config.flow.idle_timeout, secs(1)..=secs(DAY))
    }),
    key(
        "flow.answer_timeout",
        "Time a probe may stay unanswered before it counts as failed",
        |d| Slot::Time(&mut d.config.flow.answer_timeout, millis(10)..=secs(60)),
    ),
    key("severity_thresholds.high", "Lowest score of severity high", |d| {
        Slot::Real(&mut d.config.severity_thresholds.high, 0.0..=1.0)
    }),
    key("severity_thresholds.medium", "Lowest score of severity medium", |d| {
        Slot::Real(&mut d.config.severity_thresholds.medium, 0.0..=1.0)
    }),
    key(
        "severity_thresholds.low",
        "Lowest score of severity low; below it nothing is said",
        |d| Slot::Real(&mut d.config.severity_thresholds.low, 0.0..=1.0),
    ),
    key("detect.port_scan.enabled", "Whether the port scan detector runs", |d| {
        Slot::Bool(&mut d.config.detect.port_scan.enabled)
    }),
    key(
        "detect.port_scan.window",
        "Sliding window of the port scan detector",
        |d| Slot::Time(&mut d.config.detect.port_scan.window, secs(1)..=secs(DAY)),
    ),
    key(
        "detect.port_scan.ports",
        "Distinct unanswered or refused ports of one host",
        |d| Slot::U32(&mut d.config.detect.port_scan.ports, 2..=65_535),
    ),
    key("detect.port_scan.hosts", "Distinct hosts probed on one port", |d| {
        Slot::U32(&mut d.config.detect.port_scan.hosts, 2..=65_535)
    }),
    key("detect.syn_flood.enabled", "Whether the SYN flood detector runs", |d| {
        Slot::Bool(&mut d.config.detect.syn_flood.enabled)
    }),
    key(
        "detect.syn_flood.window",
        "Sliding window of the SYN flood detector",
        |d| Slot::Time(&mut d.config.detect.syn_flood.window, millis(100)..=secs(HOUR)),
    ),
    key(
        "detect.syn_flood.half_open",
        "Half-open handshakes of one source to one service",
        |d| Slot::U32(&mut d.config.detect.syn_flood.half_open, 2..=10_000_000),
    ),
    key(
        "detect.syn_flood.half_open_all",
        "Half-open handshakes of all sources to one service",
        |d| Slot::U32(&mut d.config.detect.syn_flood.half_open_all, 2..=100_000_000),
    ),
    key(
        "detect.packet_flood.enabled",
        "Whether the UDP and ICMP flood detector runs",
        |d| Slot::Bool(&mut d.config.detect.packet_flood.enabled),
    ),
    key(
        "detect.packet_flood.window",
        "Sliding window of the packet flood detector",
        |d| Slot::Time(&mut d.config.detect.packet_flood.window, millis(100)..=secs(HOUR)),
    ),
    key(
        "detect.packet_flood.udp_pps",
        "UDP packets of one source per second, hardly answered",
        |d| Slot::U32(&mut d.config.detect.packet_flood.udp_pps, 2..=100_000_000),
    ),
    key(
        "detect.packet_flood.icmp_pps",
        "ICMP packets of one source per second",
        |d| Slot::U32(&mut d.config.detect.packet_flood.icmp_pps, 2..=100_000_000),
    ),
    key(
        "detect.brute_force.enabled",
        "Whether the brute force detector runs",
        |d| Slot::Bool(&mut d.config.detect.brute_force.enabled),
    ),
    key(
        "detect.brute_force.window",
        "Sliding window of the brute force detector",
        |d| Slot::Time(&mut d.config.detect.brute_force.window, secs(1)..=secs(DAY)),
    ),
    key("detect.brute_force.ports", "Log-in services by TCP port", |d| {
        Slot::Ports(&mut d.config.detect.brute_force.ports)
    }),
    key(
        "detect.brute_force.attempts",
        "Short connections of one source to one service",
        |d| Slot::U32(&mut d.config.detect.brute_force.attempts, 2..=1_000_000),
    ),
    key(
        "detect.brute_force.max_payload",
        "Payload above which a connection is no mere log-in attempt",
        |d| Slot::Size64(&mut d.config.detect.brute_force.max_payload, 64..=1_024 * MIB),
    ),
    key("detect.model.enabled", "Whether the trained model judges flows", |d| {
        Slot::Bool(&mut d.config.detect.model.enabled)
    }),
    key(
        "detect.model.file",
        "A file that `sentinel model train` wrote, or `built-in`",
        |d| Slot::Path(&mut d.config.detect.model.file),
    ),
    key(
        "detect.model.site",
        "Where `sentinel learn accept` keeps the model with this network's thresholds; it comes before `file`",
        |d| Slot::Path(&mut d.config.detect.model.site),
    ),
    key(
        "detect.model.window",
        "How long flagged flows are counted together",
        |d| Slot::Time(&mut d.config.detect.model.window, secs(12)..=secs(HOUR)),
    ),
    key(
        "detect.model.flags",
        "Flagged flows of one source to one service within the window; twice as many to all services",
        |d| Slot::U32(&mut d.config.detect.model.flags, 1..=100_000),
    ),
    key(
        "detect.model.certain",
        "A single flow suffices from this score on",
        |d| Slot::Real(&mut d.config.detect.model.certain, 0.5..=1.0),
    ),
    key(
        "detect.realert_after",
        "Time within which the same source and detector is not reported again",
        |d| Slot::Time(&mut d.config.detect.realert_after, millis(100)..=secs(DAY)),
    ),
    key("risk_thresholds.high", "Lowest score of a high risk", |d| {
        Slot::Real(&mut d.config.risk_thresholds.high, 0.0..=1.0)
    }),
    key("risk_thresholds.medium", "Lowest score of a medium risk", |d| {
        Slot::Real(&mut d.config.risk_thresholds.medium, 0.0..=1.0)
    }),
    key("risk_thresholds.low", "Lowest score of a low risk", |d| {
        Slot::Real(&mut d.config.risk_thresholds.low, 0.0..=1.0)
    }),
    key(
        "decision_matrix.high.risk.high",
        "What an alert of severity high about a source of high risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[2][2]),
    ),
    key(
        "decision_matrix.high.risk.medium",
        "What an alert of severity high about a source of medium risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[2][1]),
    ),
    key(
        "decision_matrix.high.risk.low",
        "What an alert of severity high about a source of low risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[2][0]),
    ),
    key(
        "decision_matrix.medium.risk.high",
        "What an alert of severity medium about a source of high risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[1][2]),
    ),
    key(
        "decision_matrix.medium.risk.medium",
        "What an alert of severity medium about a source of medium risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[1][1]),
    ),
    key(
        "decision_matrix.medium.risk.low",
        "What an alert of severity medium about a source of low risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[1][0]),
    ),
    key(
        "decision_matrix.low.risk.high",
        "What an alert of severity low about a source of high risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[0][2]),
    ),
    key(
        "decision_matrix.low.risk.medium",
        "What an alert of severity low about a source of medium risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[0][1]),
    ),
    key(
        "decision_matrix.low.risk.low",
        "What an alert of severity low about a source of low risk leads to",
        |d| Slot::Action(&mut d.config.response.matrix.0[0][0]),
    ),
    key("response.duration", "How long a block lasts", |d| {
        Slot::Time(
            &mut d.config.response.duration,
            millis(100)..=secs(MAX_BLOCK_DAYS * DAY),
        )
    }),
    key(
        "response.corroborated_duration",
        "How long a block lasts where two independent sources outside agree and the risk is high",
        |d| {
            Slot::Time(
                &mut d.config.response.corroborated_duration,
                millis(100)..=secs(MAX_BLOCK_DAYS * DAY),
            )
        },
    ),
    key("response.max_duration", "The longest any block may last", |d| {
        Slot::Time(
            &mut d.config.response.max_duration,
            millis(100)..=secs(MAX_BLOCK_DAYS * DAY),
        )
    }),
    key(
        "response.widest_v4",
        "Shortest IPv4 prefix length an operator may block",
        |d| Slot::U8(&mut d.config.response.widest_v4, 1..=32),
    ),
    key(
        "response.widest_v6",
        "Shortest IPv6 prefix length an operator may block",
        |d| Slot::U8(&mut d.config.response.widest_v6, 1..=128),
    ),
    key(
        "response.rate_limit.packets",
        "Packets a second that a rate limit lets through; 0 for no such limit",
        |d| Slot::U32(&mut d.config.response.rate_limit.packets, 0..=u64::from(PACKETS_MAX)),
    ),
    key(
        "response.rate_limit.bytes",
        "Frame bytes a second that a rate limit lets through; 0 for no such limit",
        |d| Slot::Size64(&mut d.config.response.rate_limit.bytes, 0..=BYTES_MAX),
    ),
    key(
        "response.rate_limit.burst",
        "How much traffic at that rate may come at once",
        |d| {
            Slot::Millis(
                &mut d.config.response.rate_limit.burst_ms,
                millis(BURST_MIN_MS.into())..=millis(BURST_MAX_MS.into()),
            )
        },
    ),
    key(
        "response.honeypot.v4",
        "Decoy for redirected IPv4 sources; `:PORT` keeps the address, empty for none",
        |d| Slot::Decoy4(&mut d.config.response.honeypot.v4),
    ),
    key(
        "response.honeypot.v6",
        "Decoy for redirected IPv6 sources; `:PORT` keeps the address, empty for none",
        |d| Slot::Decoy6(&mut d.config.response.honeypot.v6),
    ),
    key(
        "response.block_egress",
        "Whether a block drops what goes out to its target, too",
        |d| Slot::Bool(&mut d.config.response.block_egress),
    ),
    key(
        "response.probation.duration",
        "How long the kernel watches for the return of whom it let go; 0s for not at all",
        |d| Slot::Time(&mut d.config.response.probation, secs(0)..=secs(30 * DAY)),
    ),
    key(
        "response.probation.reapply",
        "For how long a return puts the action in force again at once; 0s for an alert only",
        |d| Slot::Time(&mut d.config.response.reapply, secs(0)..=secs(DAY)),
    ),
    key(
        "containers.engine",
        "Socket of the Docker Engine, such as `unix:///var/run/docker.sock`; empty: containers are not known",
        |d| Slot::Socket(&mut d.config.containers.engine),
    ),
    key(
        "containers.quarantine_network",
        "Network an isolated container is moved to; empty: it is disconnected from all",
        |d| Slot::Network(&mut d.config.containers.quarantine_network),
    ),
    key(
        "containers.protect",
        "Containers that are never isolated: `NAME`, `label:KEY` or `label:KEY=VALUE`",
        |d| Slot::Containers(&mut d.config.containers.protect),
    ),
    key(
        "containers.timeout",
        "How long each request to the engine may take",
        |d| Slot::Time(&mut d.config.containers.timeout, millis(100)..=secs(60)),
    ),
    key("store.path", "Database file", |d| Slot::Path(&mut d.config.store.path)),
    key(
        "store.commit_deadline",
        "How long a decision may wait for the disk before enforcement goes on",
        |d| Slot::Time(&mut d.config.store.commit_deadline, millis(1)..=secs(10)),
    ),
];

/// Interfaces one agent can watch.
pub(super) const INTERFACES: usize = WATCHED_INTERFACES as usize;

/// Every key.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
        .chain(retention::KEYS)
        .chain(reports::KEYS)
        .chain(api::KEYS)
        .chain(baseline::KEYS)
        .chain(behaviour::KEYS)
        .chain(bettercap::KEYS)
        .chain(policy::KEYS)
        .chain(policy::DETECTOR_KEYS.as_flattened())
        .chain(intel::KEYS)
        .chain(lapi::KEYS)
        .chain(intel::SOURCE_KEYS.as_flattened())
        .chain(alerting::KEYS)
        .chain(alerting::ROUTE_KEYS)
        .chain(channels::KEYS)
        .chain(export::all())
        .chain(traffic::KEYS)
        .chain(sandbox::KEYS)
        .chain(fleet::KEYS)
}

/// The key of a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

/// Whether a path is that of a section.
pub(super) fn is_section(path: &str) -> bool {
    all().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Names of the keys and sections directly in a section; `""` is the top.
pub(super) fn children(section: &str) -> Vec<&'static str> {
    let named = all()
        .filter_map(|key| {
            if section.is_empty() {
                Some(key.path)
            } else {
                key.path.strip_prefix(section)?.strip_prefix('.')
            }
        })
        .filter_map(|rest| rest.split('.').next());
    let mut names = Vec::new();
    for name in named {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
