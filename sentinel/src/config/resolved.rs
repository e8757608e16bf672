//! The configuration as the rooms use it: parsed, checked, complete.

use super::alerting::AlertingConfig;
use super::api::ApiConfig;
use super::baseline::BaselineConfig;
use super::behaviour::{
    AmplificationConfig, BeaconConfig, DistributedConfig, DnsTunnelConfig, IcmpTunnelConfig, LateralConfig,
    SlowDosConfig, SlowScanConfig, UploadConfig,
};
use super::bettercap::BettercapConfig;
use super::export::ExportConfig;
use super::fleet::{BusBackend, FleetConfig};
use super::intel::IntelConfig;
use super::matrix::Matrix;
use super::policy::PolicyConfig;
use super::probe::Probe;
use super::reports::ReportsConfig;
use super::retention::RetentionConfig;
use super::sandbox::SandboxConfig;
use super::traffic::TrafficLogConfig;
use crate::types::Rate;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything is decided and counted, nothing is dropped.
    Simulation,
    /// Decisions are enforced. Needs `mode: production` and `enable_production_actions: true`.
    Production,
}

/// Where packets are judged on their way in: `kernel.hook`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, native or generic. An interface where another XDP program sits is refused.
    Xdp,
    /// XDP where it can be had, else tc ingress.
    Auto,
    /// tc ingress: later on the packet's way, beside whatever XDP programs there are.
    Tc,
    /// No BPF at all: sets of nftables carry decisions out, and nothing is seen of packets.
    Nftables,
}

impl Hook {
    /// All of them, in the order they are told.
    pub const ALL: [Self; 4] = [Self::Xdp, Self::Auto, Self::Tc, Self::Nftables];

    /// The name used in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Auto => "auto",
            Self::Tc => "tc",
            Self::Nftables => "nftables",
        }
    }
}

/// Everything. Key names in `settings.yml` are the field paths here unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `mode` and `enable_production_actions` together.
    pub mode: Mode,
    /// Addresses and prefixes that are never touched.
    pub allowlist: Vec<IpNet>,
    /// Kernel programs.
    pub kernel: KernelConfig,
    /// Flow table and windows.
    pub flow: FlowConfig,
    /// Score to severity.
    pub severity_thresholds: SeverityThresholds,
    /// Detectors.
    pub detect: DetectConfig,
    /// Threat intelligence.
    pub intel: IntelConfig,
    /// What is told to people.
    pub alerting: AlertingConfig,
    /// From severity and risk to thresholds.
    pub risk_thresholds: SeverityThresholds,
    /// From severity to action.
    pub response: ResponseConfig,
    /// `response.confirm.probes`: who must still answer for a decision about a prefix to be confirmed.
    pub probes: Vec<Probe>,
    /// The container engine.
    pub containers: ContainersConfig,
    /// A Bettercap beside us.
    pub bettercap: BettercapConfig,
    /// Database.
    pub store: StoreConfig,
    /// Reports made by themselves.
    pub reports: ReportsConfig,
    /// HTTP.
    pub api: ApiConfig,
    /// What is written for other tools and sent to them.
    pub export: ExportConfig,
    /// What is told of flows, a row each.
    pub traffic_log: TrafficLogConfig,
    /// What the running agent may still do.
    pub sandbox: SandboxConfig,
    /// Through what several sentinels hear of each other.
    pub bus: BusBackend,
    /// What they tell and follow.
    pub fleet: FleetConfig,
}

/// `kernel:`.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelConfig {
    /// Interfaces to watch; empty (`auto` in the file) for that of the default route.
    pub interfaces: Vec<String>,
    /// Watch what goes out too, so that flows have two directions and handshakes are recognised.
    pub egress: bool,
    /// Where packets are judged on their way in.
    pub hook: Hook,
    /// Forgo native XDP even where the driver has it.
    pub force_generic: bool,
    /// Keep the programs attached when the agent ends: blocks stay in force until they lapse.
    pub pin: bool,
    /// Directory of the pins, in a bpffs.
    pub pin_path: PathBuf,
    /// How often a busy flow is reported.
    pub report_interval: Duration,
    /// Flow records one CPU may emit per 4 ms window; unused ones are kept for 64 windows.
    pub event_budget: u32,
    /// Elements of each exact block map.
    pub block_capacity: u32,
    /// Elements of each prefix block map.
    pub block_net_capacity: u32,
    /// IPv4 addresses of all feeds' lists together.
    pub list_capacity: u32,
    /// IPv6 addresses of all feeds' lists together.
    pub list6_capacity: u32,
    /// Prefixes of all feeds' lists together, for each family.
    pub list_net_capacity: u32,
    /// Flow slots over all CPUs: one per direction of a flow and CPU that sees it. Rounded up to a power of two per
    /// CPU. A slot takes 144 bytes, its part of the conversations 16, and the agent's word on it 8.
    pub flow_capacity: u32,
    /// Elements of the map of redirected conversations.
    pub redirect_capacity: u32,
    /// Size of the ring, bytes, a power of two.
    pub ring_bytes: u32,
    /// How often the ring is read.
    pub poll_interval: Duration,
    /// Counters per source.
    pub reflex: ReflexConfig,
    /// SYN floods from forged sources.
    pub syn_cookies: SynCookieConfig,
}

/// `kernel.reflex:`. What one source (an IPv4 address, an IPv6 /64) may do in one window; 0 for no threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct ReflexConfig {
    /// Whether sources are counted at all.
    pub enabled: bool,
    /// Length of the window.
    pub window: Duration,
    /// Packets.
    pub packets: u32,
    /// L3 bytes.
    pub bytes: u64,
    /// SYNs.
    pub syns: u32,
    /// Distinct destination ports, an estimate.
    pub ports: u32,
    /// Handshakes begun and not completed.
    pub half_open: u32,
    /// Whether crossing a threshold limits the source at once.
    pub limit: bool,
    /// Packets a second it is limited to; 0 for no limit on packets.
    pub limit_packets: u32,
    /// Frame bytes a second; 0 for no limit on bytes.
    pub limit_bytes: u64,
    /// For how long.
    pub hold: Duration,
}

/// Something the agent can decide by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `auto`: where it can be had.
    Auto,
    /// `true`: it must be had.
    On,
    /// `false`.
    Off,
}

/// `kernel.syn_cookies:`.
#[derive(Clone, Debug, PartialEq)]
pub struct SynCookieConfig {
    /// Whether SYNs to a port under flood are answered with cookies.
    pub enabled: Switch,
    /// For which ports; empty (`all` in the file) for every one.
    pub ports: Vec<u16>,
    /// Handshakes begun and not completed on one port within a second that make a flood.
    pub half_open: u32,
}

/// `flow:`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowConfig {
    /// Flows in the agent's table; the least recently seen makes room.
    pub max_flows: usize,
    /// Sources with windows; the least recently seen makes room.
    pub max_sources: usize,
    /// Quiet time after which a flow is forgotten.
    pub idle_timeout: Duration,
    /// Time a probe may stay unanswered before it counts as failed.
    pub answer_timeout: Duration,
}

/// `severity_thresholds:`. Lowest score of each severity, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeverityThresholds {
    /// `high`.
    pub high: f64,
    /// `medium`.
    pub medium: f64,
    /// `low`; below it nothing is said.
    pub low: f64,
}

/// `detect:`.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectConfig {
    /// `detect.port_scan`.
    pub port_scan: ScanConfig,
    /// `detect.syn_flood`.
    pub syn_flood: SynFloodConfig,
    /// `detect.packet_flood`.
    pub packet_flood: PacketFloodConfig,
    /// `detect.brute_force`.
    pub brute_force: BruteForceConfig,
    /// `detect.baseline`.
    pub baseline: BaselineConfig,
    /// `detect.model`.
    pub model: ModelConfig,
    /// `detect.slow_scan`.
    pub slow_scan: SlowScanConfig,
    /// `detect.distributed_brute_force`.
    pub distributed_brute_force: DistributedConfig,
    /// `detect.beacon`.
    pub beacon: BeaconConfig,
    /// `detect.dns_tunnel`.
    pub dns_tunnel: DnsTunnelConfig,
    /// `detect.icmp_tunnel`.
    pub icmp_tunnel: IcmpTunnelConfig,
    /// `detect.upload`.
    pub upload: UploadConfig,
    /// `detect.lateral_movement`.
    pub lateral_movement: LateralConfig,
    /// `detect.amplification`.
    pub amplification: AmplificationConfig,
    /// `detect.slow_dos`.
    pub slow_dos: SlowDosConfig,
    /// `detect.feed.enabled`: whether every flow is held against the lists of `intel.feeds`.
    pub feed: bool,
    /// The same source, detector and family is not reported again within this time.
    pub realert_after: Duration,
}

/// `detect.port_scan:`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Distinct unanswered or refused ports of one host.
    pub ports: u32,
    /// Distinct hosts on one port.
    pub hosts: u32,
}

/// `detect.syn_flood:`.
#[derive(Clone, Debug, PartialEq)]
pub struct SynFloodConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Half-open handshakes of one source to one service within the window.
    pub half_open: u32,
    /// Half-open handshakes of all sources to one service within the window.
    pub half_open_all: u32,
}

/// `detect.packet_flood:`.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketFloodConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// UDP packets of one source per second, with fewer than one answer in ten.
    pub udp_pps: u32,
    /// ICMP packets of one source per second; a quarter of it for five windows does as well.
    pub icmp_pps: u32,
}

/// `detect.brute_force:`.
#[derive(Clone, Debug, PartialEq)]
pub struct BruteForceConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Sliding window.
    pub window: Duration,
    /// Log-in services by port.
    pub ports: Vec<u16>,
    /// Short connections of one source to one service.
    pub attempts: u32,
    /// Payload from the client above which a connection is no mere log-in attempt.
    pub max_payload: u64,
}

/// The name of the model that came with the program, where a file is expected.
pub const BUILT_IN: &str = "built-in";

/// `detect.model:`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// The model as trained, or [`BUILT_IN`].
    pub file: PathBuf,
    /// Where the model with this network's thresholds is kept; read before `file` when it is there.
    pub site: PathBuf,
    /// How long flags are counted together.
    pub window: Duration,
    /// Flagged flows of one source to one service within the window; twice as many to all services.
    pub flags: u32,
    /// A single flow suffices from this score on.
    pub certain: f64,
}

/// `response:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseConfig {
    /// `decision_matrix`: what an alert leads to.
    pub matrix: Matrix,
    /// How long a block lasts.
    pub duration: Duration,
    /// How long it lasts where independent sources outside agree.
    pub corroborated_duration: Duration,
    /// The longest anything may last.
    pub max_duration: Duration,
    /// The widest prefixes an operator may block: IPv4 length.
    pub widest_v4: u8,
    /// IPv6 length.
    pub widest_v6: u8,
    /// `response.rate_limit`: what a rate limit lets through where nothing else is said.
    pub rate_limit: Rate,
    /// `response.rate_limit.duration`: how long one lasts that a detector asked for.
    pub rate_limit_duration: Duration,
    /// `response.honeypot`.
    pub honeypot: HoneypotConfig,
    /// Whether a block drops what goes out to its target, too.
    pub block_egress: bool,
    /// `response.probation.duration`: how long the kernel watches for the return of whom it let go; zero for not.
    pub probation: Duration,
    /// `response.probation.reapply`: for how long a return puts the action in force again at once; zero for an alert only.
    pub reapply: Duration,
    /// How far the judge goes.
    pub policy: PolicyConfig,
}

/// `containers:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainersConfig {
    /// Socket of the engine (`unix:///var/run/docker.sock` in the file); none: containers are not known.
    pub engine: Option<PathBuf>,
    /// The network an isolated container is moved to; none: it is only disconnected.
    pub quarantine_network: Option<String>,
    /// Containers that are never isolated: `NAME`, `label:KEY`, `label:KEY=VALUE`.
    pub protect: Vec<String>,
    /// How long each request may take.
    pub timeout: Duration,
}

/// `response.honeypot:`, where redirected sources end up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoneypotConfig {
    /// For IPv4.
    pub v4: Option<Decoy<Ipv4Addr>>,
    /// For IPv6.
    pub v6: Option<Decoy<Ipv6Addr>>,
}

impl HoneypotConfig {
    /// Whether there is one for the family of a target.
    pub const fn serves(&self, target: &IpNet) -> bool {
        match target {
            IpNet::V4(_) => self.v4.is_some(),
            IpNet::V6(_) => self.v6.is_some(),
        }
    }
}

/// One decoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoy<A> {
    /// Its address; `None` keeps the one the packet was sent to.
    pub address: Option<A>,
    /// Its port.
    pub port: u16,
}

/// `store:`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// Database file.
    pub path: PathBuf,
    /// How long a decision may wait for the disk before enforcement goes on without it.
    pub commit_deadline: Duration,
    /// How long what is remembered is kept.
    pub retention: RetentionConfig,
}

impl Default for Config {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            mode: Mode::Simulation,
            allowlist: Vec::new(),
            kernel: KernelConfig {
                interfaces: Vec::new(),
                egress: true,
                hook: Hook::Xdp,
                force_generic: false,
                pin: false,
                pin_path: "/sys/fs/bpf/sentinel".into(),
                report_interval: Duration::from_millis(100),
                event_budget: 250,
                block_capacity: sentinel_common::names::BLOCK_CAPACITY,
                block_net_capacity: sentinel_common::names::BLOCK_NET_CAPACITY,
                list_capacity: sentinel_common::names::LIST_CAPACITY,
                list6_capacity: sentinel_common::names::LIST6_CAPACITY,
                list_net_capacity: sentinel_common::names::LIST_NET_CAPACITY,
                flow_capacity: sentinel_common::names::FLOW_CAPACITY,
                redirect_capacity: sentinel_common::names::REDIRECT_CAPACITY,
                ring_bytes: sentinel_common::names::RING_BYTES,
                poll_interval: Duration::from_millis(2),
                reflex: ReflexConfig {
                    enabled: true,
                    window: secs(1),
                    packets: 0,
                    bytes: 0,
                    syns: 5_000,
                    ports: 60,
                    half_open: 500,
                    limit: true,
                    limit_packets: 200,
                    limit_bytes: 0,
                    hold: secs(10),
                },
                syn_cookies: SynCookieConfig {
                    enabled: Switch::Auto,
                    ports: Vec::new(),
                    half_open: 1_000,
                },
            },
            flow: FlowConfig {
                max_flows: 131_072,
                max_sources: 65_536,
                idle_timeout: secs(60),
                answer_timeout: secs(1),
            },
            severity_thresholds: SeverityThresholds {
                high: 0.8,
                medium: 0.5,
                low: 0.0,
            },
            detect: DetectConfig {
                port_scan: ScanConfig {
                    enabled: true,
                    window: secs(60),
                    ports: 15,
                    hosts: 15,
                },
                syn_flood: SynFloodConfig {
                    enabled: true,
                    window: secs(2),
                    half_open: 100,
                    half_open_all: 1000,
                },
                packet_flood: PacketFloodConfig {
                    enabled: true,
                    window: secs(2),
                    udp_pps: 1000,
                    icmp_pps: 200,
                },
                brute_force: BruteForceConfig {
                    enabled: true,
                    window: secs(60),
                    ports: vec![21, 22, 23, 3389, 5900],
                    attempts: 8,
                    max_payload: 16 * 1024,
                },
                baseline: BaselineConfig::default(),
                model: ModelConfig {
                    enabled: true,
                    file: BUILT_IN.into(),
                    site: "data/site.model".into(),
                    window: secs(180),
                    flags: 3,
                    certain: 0.95,
                },
                slow_scan: SlowScanConfig::default(),
                distributed_brute_force: DistributedConfig::default(),
                beacon: BeaconConfig::default(),
                dns_tunnel: DnsTunnelConfig::default(),
                icmp_tunnel: IcmpTunnelConfig::default(),
                upload: UploadConfig::default(),
                lateral_movement: LateralConfig::default(),
                amplification: AmplificationConfig::default(),
                slow_dos: SlowDosConfig::default(),
                feed: true,
                realert_after: secs(60),
            },
            intel: IntelConfig::default(),
            alerting: AlertingConfig::default(),
            risk_thresholds: SeverityThresholds {
                high: 0.8,
                medium: 0.6,
                low: 0.0,
            },
            response: ResponseConfig {
                matrix: Matrix::default(),
                duration: secs(4 * 3600),
                corroborated_duration: secs(86_400),
                max_duration: secs(30 * 86_400),
                widest_v4: 8,
                widest_v6: 19,
                rate_limit: Rate {
                    packets: 100,
                    bytes: 1 << 20,
                    burst_ms: 1_000,
                    each: false,
                    openings: false,
                },
                rate_limit_duration: secs(3600),
                honeypot: HoneypotConfig::default(),
                block_egress: false,
                probation: secs(3600),
                reapply: Duration::ZERO,
                policy: PolicyConfig::default(),
            },
            probes: Vec::new(),
            containers: ContainersConfig {
                engine: None,
                quarantine_network: None,
                protect: Vec::new(),
                timeout: Duration::from_secs(5),
            },
            store: StoreConfig {
                path: "data/sentinel.db".into(),
                commit_deadline: Duration::from_millis(50),
                retention: RetentionConfig::default(),
            },
            bettercap: BettercapConfig::default(),
            reports: ReportsConfig::default(),
            api: ApiConfig::default(),
            export: ExportConfig::default(),
            traffic_log: TrafficLogConfig::default(),
            sandbox: SandboxConfig::default(),
            bus: BusBackend::default(),
            fleet: FleetConfig::default(),
        }
    }
}
