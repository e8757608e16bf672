//! Settings of what is told to people: which alerts, by which way, how often.

use super::channels::{EmailConfig, FileConfig, SlackConfig, SyslogConfig, WebhookConfig};
use super::clock::{Hours, Zone};
use super::keys::{DAY, Key, key, secs};
use super::value::Slot;
use super::words::Auto;
use crate::types::{ChannelKind, Detector, Severity};
use std::time::Duration;

/// `alerting:`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertingConfig {
    /// Which channels hear of alerts of which severity.
    pub severity_routing: RoutingConfig,
    /// Detectors whose alerts go elsewhere, whatever their severity.
    pub detectors: DetectorRoutes,
    /// Channels that are read by people: for those alerts are folded.
    pub fold: Vec<ChannelKind>,
    /// How much such a channel is told one by one.
    pub throttling: ThrottlingConfig,
    /// How soon what was folded is told together.
    pub digest: Duration,
    /// When such a channel is told nothing but the gravest.
    pub quiet_hours: QuietConfig,
    /// Whether webhooks may lead to link-local addresses and to where clouds keep secrets.
    pub allow_link_local: bool,
    /// `alerting.email:`.
    pub email: EmailConfig,
    /// `alerting.slack:`.
    pub slack: SlackConfig,
    /// `alerting.webhook:`.
    pub webhook: WebhookConfig,
    /// `alerting.file:`.
    pub file: FileConfig,
    /// `alerting.syslog:`.
    pub syslog: SyslogConfig,
}

/// `alerting.severity_routing:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingConfig {
    /// Of alerts of high severity.
    pub high: Vec<ChannelKind>,
    /// Of medium.
    pub medium: Vec<ChannelKind>,
    /// Of low.
    pub low: Vec<ChannelKind>,
}

/// `alerting.throttling:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottlingConfig {
    /// Messages about single alerts within any minute, for each channel that folds; 0 for no such limit.
    pub max_alerts_per_minute: u32,
    /// For so long after an alert was told, others of the same detector about the same source are not; zero: each is.
    pub duplicate_window: Duration,
}

/// `alerting.quiet_hours:`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietConfig {
    /// From when to when, each day; `None`: never.
    pub hours: Option<Hours>,
    /// By the clock of where.
    pub timezone: Zone,
    /// Severities that are told all the same.
    pub except: Vec<Severity>,
}

impl AlertingConfig {
    /// Whether the configuration says where a channel leads.
    pub const fn configured(&self, channel: ChannelKind) -> bool {
        match channel {
            ChannelKind::Email => self.email.host.is_some(),
            ChannelKind::Slack => self.slack.url.is_some(),
            ChannelKind::Webhook => self.webhook.url.is_some(),
            ChannelKind::File => self.file.path.is_some(),
            ChannelKind::Syslog => self.syslog.address.is_some(),
        }
    }

    /// Which channels hear of an alert, configured or not.
    pub fn route(&self, detector: Detector, severity: Severity) -> &[ChannelKind] {
        if let Some(own) = &self.detectors.of(detector).0 {
            return own;
        }
        match severity {
            Severity::High => &self.severity_routing.high,
            Severity::Medium => &self.severity_routing.medium,
            Severity::Low => &self.severity_routing.low,
        }
    }
}

impl Default for AlertingConfig {
    fn default() -> Self {
        use ChannelKind::{Email, File, Slack, Webhook};
        Self {
            severity_routing: RoutingConfig {
                high: vec![File, Email, Slack, Webhook],
                medium: vec![File, Slack],
                low: vec![File],
            },
            detectors: DetectorRoutes::default(),
            fold: vec![Email, Slack, Webhook],
            throttling: ThrottlingConfig {
                max_alerts_per_minute: 10,
                duplicate_window: secs(300),
            },
            digest: secs(300),
            quiet_hours: QuietConfig {
                hours: None,
                timezone: Zone::default(),
                except: vec![Severity::High],
            },
            allow_link_local: false,
            email: EmailConfig::default(),
            slack: SlackConfig::default(),
            webhook: WebhookConfig::default(),
            file: FileConfig::default(),
            syslog: SyslogConfig::default(),
        }
    }
}

macro_rules! routes {
    ($($variant:ident $name:ident;)*) => {
        /// `alerting.detectors:`, `auto` (by severity) or a list of channels for each.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct DetectorRoutes {
            $(
                #[doc = concat!("`alerting.detectors.", stringify!($name), "`.")]
                pub $name: Auto<ChannelKind>,
            )*
        }

        impl DetectorRoutes {
            /// Every detector there is: [`DetectorRoutes::of`] does not compile with one less.
            pub const DETECTORS: &[Detector] = &[$(Detector::$variant),*];

            /// Of one detector.
            pub const fn of(&self, detector: Detector) -> &Auto<ChannelKind> {
                match detector {
                    $(Detector::$variant => &self.$name,)*
                }
            }

            /// Of those that go elsewhere than by severity.
            pub(super) fn all(&self) -> impl Iterator<Item = &Vec<ChannelKind>> {
                [$(&self.$name),*].into_iter().filter_map(|route| route.0.as_ref())
            }
        }

        /// The keys of `alerting.detectors`.
        pub(super) const ROUTE_KEYS: &[Key] = &[$(key(
            concat!("alerting.detectors.", stringify!($name)),
            "Channels that hear of this detector's alerts; `auto`: by severity",
            |d| Slot::Words(&mut d.config.alerting.detectors.$name),
        )),*];
    };
}

routes! {
    PortScan port_scan;
    SlowScan slow_scan;
    SynFlood syn_flood;
    SynFloodKernel syn_flood_kernel;
    PacketFlood packet_flood;
    Amplification amplification;
    SlowDos slow_dos;
    BruteForce brute_force;
    DistributedBruteForce distributed_brute_force;
    Beacon beacon;
    DnsTunnel dns_tunnel;
    IcmpTunnel icmp_tunnel;
    Upload upload;
    LateralMovement lateral_movement;
    Baseline baseline;
    Model model;
    Reflex reflex;
    Probation probation;
    Feed feed;
}

/// The keys of `alerting`, but for those of channels and detectors.
pub(super) const KEYS: &[Key] = &[
    key(
        "alerting.severity_routing.high",
        "Channels that hear of alerts of high severity; those not configured are passed over",
        |d| Slot::Words(&mut d.config.alerting.severity_routing.high),
    ),
    key("alerting.severity_routing.medium", "Likewise of medium severity", |d| {
        Slot::Words(&mut d.config.alerting.severity_routing.medium)
    }),
    key("alerting.severity_routing.low", "Likewise of low severity", |d| {
        Slot::Words(&mut d.config.alerting.severity_routing.low)
    }),
    key(
        "alerting.fold",
        "Channels for which repeats and what is too much are folded into digests, and to which quiet hours apply",
        |d| Slot::Words(&mut d.config.alerting.fold),
    ),
    key(
        "alerting.throttling.max_alerts_per_minute",
        "Messages about single alerts within any minute for each channel that folds; 0 for no such limit",
        |d| Slot::U32(&mut d.config.alerting.throttling.max_alerts_per_minute, 0..=1_000),
    ),
    key(
        "alerting.throttling.duplicate_window",
        "For so long after an alert was told, others of the same detector about the same source are folded; 0s: none",
        |d| {
            Slot::Time(
                &mut d.config.alerting.throttling.duplicate_window,
                secs(0)..=secs(7 * DAY),
            )
        },
    ),
    key("alerting.digest", "How soon what was folded is told together", |d| {
        Slot::Time(&mut d.config.alerting.digest, secs(1)..=secs(7 * DAY))
    }),
    key(
        "alerting.quiet_hours.hours",
        "From when to when channels that fold are told nothing but `except`, such as `22:00-07:00`; empty: never",
        |d| Slot::Words(&mut d.config.alerting.quiet_hours.hours),
    ),
    key(
        "alerting.quiet_hours.timezone",
        "By the clock of where, such as `Europe/Berlin`; empty: this machine's",
        |d| Slot::Words(&mut d.config.alerting.quiet_hours.timezone),
    ),
    key(
        "alerting.quiet_hours.except",
        "Severities that are told in quiet hours all the same",
        |d| Slot::Words(&mut d.config.alerting.quiet_hours.except),
    ),
    key(
        "alerting.allow_link_local",
        "Whether webhooks may lead to link-local addresses and to where clouds keep secrets",
        |d| Slot::Bool(&mut d.config.alerting.allow_link_local),
    ),
];
