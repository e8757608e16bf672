//! How far the judge goes: per detector, for the unproven, for those who come back, for whole prefixes, and in all.

use super::keys::{DAY, HOUR, Key, MAX_BLOCK_DAYS, key, millis, secs};
use super::value::Slot;
use crate::types::{ActionKind, BURST_MAX_MS, BURST_MIN_MS, Detector, PACKETS_MAX, Rate};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of `response:`, what bounds the judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyConfig {
    /// `response.confidence`: how sure the risk must be for more than a rate limit, 0 to 1.
    pub confidence: f64,
    /// `response.unproven`.
    pub unproven: UnprovenConfig,
    /// `response.repeat`.
    pub repeat: RepeatConfig,
    /// `response.widen`.
    pub widen: WidenConfig,
    /// `response.confirm`.
    pub confirm: ConfirmConfig,
    /// `response.ceiling`.
    pub ceiling: CeilingConfig,
    /// `response.detectors`.
    pub detectors: DetectorsPolicy,
}

/// `response.unproven:`, what is done about an address that may be forged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnprovenConfig {
    /// What is let through of what opens connections.
    pub rate: Rate,
    /// For how long.
    pub duration: Duration,
    /// Sessions with payload both ways that make a history of good behaviour.
    pub good_sessions: u32,
    /// For how long such a history must be.
    pub good_after: Duration,
}

/// `response.repeat:`, longer for those who come back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepeatConfig {
    /// Each time lasts so many times as long as the one before.
    pub factor: f64,
    /// After this long without one the count begins anew.
    pub memory: Duration,
}

/// `response.widen:`, from addresses to the prefix they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WidenConfig {
    /// Addresses of an IPv4 /24 under decisions that make the /24 one; 0 for never.
    pub v4_sources: u32,
    /// Addresses of an IPv6 /64 that make the /64 one; 0 for never.
    pub v6_sources: u32,
    /// Such /64 of a /56 that make the /56 one; 0 for never.
    pub v6_nets: u32,
    /// Confirmed /24 (IPv4) or /56 (IPv6) of a network of an autonomous system that make it one; 0 for never.
    pub as_nets: u32,
    /// Shortest IPv4 prefix length of such a network; of a wider one that much around the address.
    pub as_widest_v4: u8,
    /// The same for IPv6.
    pub as_widest_v6: u8,
    /// Peers that behaved well lately and may lose service by a wide decision.
    pub budget: u32,
}

/// `response.confirm:`, how long a decision about a prefix lasts until it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmConfig {
    /// The kernel lets go of it after that unless it is confirmed; zero: it needs no confirmation.
    pub window: Duration,
}

/// `response.ceiling:`, what detectors may do in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeilingConfig {
    /// Decisions that begin within a minute.
    pub per_minute: u32,
    /// Decisions in force at a time.
    pub active: u32,
}

/// What one detector's word suffices for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectorPolicy {
    /// The gravest that is done.
    pub most: ActionKind,
    /// For how long; zero for as long as the action lasts by itself.
    pub duration: Duration,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            confidence: 0.5,
            unproven: UnprovenConfig {
                rate: Rate {
                    packets: 10,
                    bytes: 0,
                    burst_ms: 1_000,
                    each: false,
                    openings: true,
                },
                duration: secs(300),
                good_sessions: 5,
                good_after: secs(600),
            },
            repeat: RepeatConfig {
                factor: 2.0,
                memory: secs(30 * DAY),
            },
            widen: WidenConfig {
                v4_sources: 16,
                v6_sources: 4,
                v6_nets: 8,
                as_nets: 0,
                as_widest_v4: 16,
                as_widest_v6: 32,
                budget: 0,
            },
            confirm: ConfirmConfig { window: secs(30) },
            ceiling: CeilingConfig {
                per_minute: 600,
                active: 65_536,
            },
            detectors: DetectorsPolicy::default(),
        }
    }
}

macro_rules! detectors {
    ($($variant:ident $name:ident: $most:ident;)*) => {
        /// `response.detectors:`, a policy per detector.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct DetectorsPolicy {
            $(
                #[doc = concat!("`response.detectors.", stringify!($name), "`.")]
                pub $name: DetectorPolicy,
            )*
        }

        impl DetectorsPolicy {
            /// That of a detector.
            pub const fn of(&self, detector: Detector) -> &DetectorPolicy {
                match detector {
                    $(Detector::$variant => &self.$name,)*
                }
            }
        }

        impl Default for DetectorsPolicy {
            fn default() -> Self {
                Self {
                    $($name: DetectorPolicy { most: ActionKind::$most, duration: Duration::ZERO },)*
                }
            }
        }

        /// Their keys.
        pub(super) const DETECTOR_KEYS: &[[Key; 2]] = &[$([
            key(
                concat!("response.detectors.", stringify!($name), ".most"),
                concat!("The gravest that is done on the word of ", stringify!($name)),
                |d| Slot::Action(&mut d.config.response.policy.detectors.$name.most),
            ),
            key(
                concat!("response.detectors.", stringify!($name), ".duration"),
                concat!("For how long, on the word of ", stringify!($name), "; 0s for as long as the action lasts by itself"),
                |d| Slot::Time(
                    &mut d.config.response.policy.detectors.$name.duration,
                    Duration::ZERO..=secs(MAX_BLOCK_DAYS * DAY),
                ),
            ),
        ]),*];
    };
}

detectors! {
    PortScan port_scan: IsolateContainer;
    SlowScan slow_scan: IsolateContainer;
    SynFlood syn_flood: IsolateContainer;
    SynFloodKernel syn_flood_kernel: IsolateContainer;
    PacketFlood packet_flood: IsolateContainer;
    Amplification amplification: IsolateContainer;
    SlowDos slow_dos: IsolateContainer;
    BruteForce brute_force: IsolateContainer;
    DistributedBruteForce distributed_brute_force: IsolateContainer;
    Beacon beacon: IsolateContainer;
    DnsTunnel dns_tunnel: IsolateContainer;
    IcmpTunnel icmp_tunnel: IsolateContainer;
    Upload upload: IsolateContainer;
    LateralMovement lateral_movement: IsolateContainer;
    Baseline baseline: IsolateContainer;
    Model model: IsolateContainer;
    Reflex reflex: IsolateContainer;
    Probation probation: IsolateContainer;
    Feed feed: LogOnly;
}

/// The keys of what bounds the judge, in the order of `config/settings.yml`.
pub(super) const KEYS: &[Key] = &[
    key(
        "response.rate_limit.duration",
        "How long a rate limit lasts that a detector asked for",
        |d| {
            Slot::Time(
                &mut d.config.response.rate_limit_duration,
                millis(100)..=secs(MAX_BLOCK_DAYS * DAY),
            )
        },
    ),
    key(
        "response.confidence",
        "How sure the risk must be for more than a rate limit",
        |d| Slot::Real(&mut d.config.response.policy.confidence, 0.0..=1.0),
    ),
    key(
        "response.unproven.packets",
        "Packets a second that may open connections from an address that may be forged",
        |d| {
            Slot::U32(
                &mut d.config.response.policy.unproven.rate.packets,
                1..=u64::from(PACKETS_MAX),
            )
        },
    ),
    key(
        "response.unproven.burst",
        "How many of those may come at once, as time at that rate",
        |d| {
            Slot::Millis(
                &mut d.config.response.policy.unproven.rate.burst_ms,
                millis(BURST_MIN_MS.into())..=millis(BURST_MAX_MS.into()),
            )
        },
    ),
    key("response.unproven.duration", "For how long it is limited", |d| {
        Slot::Time(&mut d.config.response.policy.unproven.duration, secs(1)..=secs(DAY))
    }),
    key(
        "response.unproven.good_sessions",
        "Sessions that make a history of good behaviour",
        |d| Slot::U32(&mut d.config.response.policy.unproven.good_sessions, 1..=1_000_000),
    ),
    key("response.unproven.good_after", "How long such a history must be", |d| {
        Slot::Time(
            &mut d.config.response.policy.unproven.good_after,
            secs(0)..=secs(30 * DAY),
        )
    }),
    key(
        "response.repeat.factor",
        "How many times longer each return is answered",
        |d| Slot::Real(&mut d.config.response.policy.repeat.factor, 1.0..=100.0),
    ),
    key("response.repeat.memory", "How long a return is remembered", |d| {
        Slot::Time(
            &mut d.config.response.policy.repeat.memory,
            secs(0)..=secs(MAX_BLOCK_DAYS * DAY),
        )
    }),
    key(
        "response.widen.v4_sources",
        "Addresses of an IPv4 /24 under decisions that make the /24 one; 0 for never",
        |d| Slot::U32(&mut d.config.response.policy.widen.v4_sources, 0..=256),
    ),
    key(
        "response.widen.v6_sources",
        "Addresses of an IPv6 /64 that make the /64 one; 0 for never",
        |d| Slot::U32(&mut d.config.response.policy.widen.v6_sources, 0..=1_000_000),
    ),
    key(
        "response.widen.v6_nets",
        "Such /64 of an IPv6 /56 that make the /56 one; 0 for never",
        |d| Slot::U32(&mut d.config.response.policy.widen.v6_nets, 0..=256),
    ),
    key(
        "response.widen.as_nets",
        "Confirmed /24 (IPv4) or /56 (IPv6) of an autonomous system's network that make it one; 0 for never",
        |d| Slot::U32(&mut d.config.response.policy.widen.as_nets, 0..=65_536),
    ),
    key(
        "response.widen.as_widest_v4",
        "Shortest IPv4 prefix length that such a network is blocked with",
        |d| Slot::U8(&mut d.config.response.policy.widen.as_widest_v4, 16..=23),
    ),
    key(
        "response.widen.as_widest_v6",
        "Shortest IPv6 prefix length that such a network is blocked with",
        |d| Slot::U8(&mut d.config.response.policy.widen.as_widest_v6, 32..=55),
    ),
    key(
        "response.widen.budget",
        "Peers that behaved well lately and may lose service by a decision about a prefix",
        |d| Slot::U32(&mut d.config.response.policy.widen.budget, 0..=1_000_000),
    ),
    key(
        "response.confirm.window",
        "After so long a decision about a prefix is over unless it was confirmed; 0s: it needs no confirmation",
        |d| Slot::Time(&mut d.config.response.policy.confirm.window, secs(0)..=secs(HOUR)),
    ),
    key(
        "response.confirm.probes",
        "Who must still answer, of those who answered before, for it to be confirmed",
        |d| Slot::Probes(&mut d.config.probes),
    ),
    key(
        "response.ceiling.per_minute",
        "Decisions of detectors that may begin within a minute",
        |d| Slot::U32(&mut d.config.response.policy.ceiling.per_minute, 1..=1_000_000),
    ),
    key(
        "response.ceiling.active",
        "Decisions of detectors that may be in force at a time",
        |d| Slot::U32(&mut d.config.response.policy.ceiling.active, 1..=16_777_216),
    ),
];
