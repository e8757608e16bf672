//! Settings of threat intelligence: who is asked, how often, and what feeds are kept.

use super::keys::{Key, MIB, key, millis, secs};
use super::lapi::LapiConfig;
use super::resolved::Switch;
use super::value::Slot;
use crate::types::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// `intel:`.
#[derive(Clone, Debug, PartialEq)]
pub struct IntelConfig {
    /// Whether anybody outside is asked, and whether feeds are fetched.
    pub enabled: bool,
    /// How long a first answer about an alert waits for slow sources; what comes later revises it.
    pub deadline: Duration,
    /// Where answers and spent quota are shared; they are always in memory and in the database too.
    pub cache: CacheBackend,
    /// Answers kept in memory; the least used makes room.
    pub cache_entries: usize,
    /// Share of every quota kept for alerts of high severity.
    pub reserve: f64,
    /// Alerts looked into at the same time; beyond that the mildest waits or is given up, and counted.
    pub concurrency: usize,
    /// Who can be asked.
    pub sources: SourcesConfig,
    /// Lists that are fetched.
    pub feeds: FeedsConfig,
    /// Databases of countries and networks.
    pub geoip: GeoipConfig,
}

/// Where several sentinels share what they learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheBackend {
    /// Nowhere.
    Memory,
    /// In a Redis, by its URL, which may hold a password.
    Redis(Secret),
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// `auto`: where it has a key.
    pub enabled: Switch,
    /// Scheme, host and port of its API, without a path.
    pub url: String,
    /// From the environment, or read from `key_file`.
    pub key: Option<Secret>,
    /// File with the key.
    pub key_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How much its word counts, 0 to 1.
    pub weight: f64,
    /// Requests a minute; 0 for no such limit.
    pub per_minute: u32,
    /// Requests a day (UTC); 0 for no such limit.
    pub per_day: u32,
    /// Requests a calendar month (UTC); 0 for no such limit.
    pub per_month: u32,
}

/// `intel.feeds:`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedsConfig {
    /// Names of the feeds that are fetched and matched.
    pub enabled: Vec<String>,
    /// Lists of one's own: plain addresses and prefixes, one a line.
    pub custom: Vec<CustomFeed>,
    /// A local API of CrowdSec whose bans are a feed.
    pub crowdsec: LapiConfig,
    /// Those of all whose entries the kernel drops (or, in simulation, counts) by itself.
    pub block: Vec<String>,
    /// Where fetched lists are kept, so that a restart need not fetch them again.
    pub directory: PathBuf,
    /// The longest list that is believed, bytes.
    pub max_bytes: u64,
}

/// A list of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomFeed {
    /// Unlike every other feed's.
    pub name: String,
    /// An absolute path, or a URL, which may hold a key.
    pub place: Secret,
}

/// `intel.geoip:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoipConfig {
    /// MaxMind-format database with countries.
    pub country: Option<PathBuf>,
    /// MaxMind-format database with autonomous systems.
    pub asn: Option<PathBuf>,
}

/// Feeds that are built in, by name. What they are is known to `intel::feeds`.
pub const FEED_NAMES: [&str; 9] = [
    "spamhaus_drop",
    "spamhaus_dropv6",
    "firehol_level1",
    "feodo",
    "blocklist_de",
    "cins",
    "emerging_threats",
    "tor_exits",
    "ipsum",
];

/// Lists of one's own there can be: the kernel has 32, of which feeds have the first 24, and the last of these is
/// CrowdSec's.
pub const CUSTOM_FEEDS_MAX: usize = 23 - FEED_NAMES.len();

macro_rules! source_keys {
    ($name:ident) => {
        [
            key(
                concat!("intel.sources.", stringify!($name), ".enabled"),
                "Whether this source is asked; `auto`: where it has a key",
                |d| Slot::Switch(&mut d.config.intel.sources.$name.enabled),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".url"),
                "Scheme, host and port of its API",
                |d| Slot::Url(&mut d.config.intel.sources.$name.url),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".key_file"),
                "File that holds its key and nothing else; empty for none",
                |d| Slot::File(&mut d.config.intel.sources.$name.key_file),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".timeout"),
                "How long one request may take",
                |d| Slot::Time(&mut d.config.intel.sources.$name.timeout, millis(50)..=secs(60)),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".weight"),
                "How much its word counts",
                |d| Slot::Real(&mut d.config.intel.sources.$name.weight, 0.0..=1.0),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".per_minute"),
                "Requests a minute; 0 for no such limit",
                |d| Slot::U32(&mut d.config.intel.sources.$name.per_minute, 0..=1_000_000),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".per_day"),
                "Requests a day (UTC); 0 for no such limit",
                |d| Slot::U32(&mut d.config.intel.sources.$name.per_day, 0..=100_000_000),
            ),
            key(
                concat!("intel.sources.", stringify!($name), ".per_month"),
                "Requests a month (UTC); 0 for no such limit",
                |d| Slot::U32(&mut d.config.intel.sources.$name.per_month, 0..=1_000_000_000),
            ),
        ]
    };
}

macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident($variable:expr): $defaults:expr;)*) => {
        /// `intel.sources:`.
        #[derive(Clone, Debug, PartialEq)]
        pub struct SourcesConfig {
            $($(#[$doc])* pub $name: SourceConfig,)*
        }

        impl SourcesConfig {
            /// Each with its name, in the order in which they are told.
            pub fn each(&self) -> [(&'static str, &SourceConfig); SOURCES] {
                [$((stringify!($name), &self.$name)),*]
            }

            /// The one of that name.
            pub fn named(&mut self, name: &str) -> Option<&mut SourceConfig> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }

        impl Default for SourcesConfig {
            fn default() -> Self {
                Self { $($name: $defaults,)* }
            }
        }

        /// How many there are.
        const SOURCES: usize = [$(stringify!($name)),*].len();

        /// Environment variables that hold the keys of sources, by the name of the source.
        pub(super) const KEY_VARIABLES: [(Option<&str>, &str); SOURCES] = [$(($variable, stringify!($name))),*];

        /// The keys of the sources.
        pub(super) const SOURCE_KEYS: [[Key; 8]; SOURCES] = [$(source_keys!($name)),*];
    };
}

sources! {
    /// VirusTotal v3.
    virustotal(Some("VT_API_KEY")): SourceConfig::new("https://www.virustotal.com", 0.8, 4, 500, 0);
    /// AbuseIPDB v2.
    abuseipdb(Some("ABUSEIPDB_API_KEY")): SourceConfig::new("https://api.abuseipdb.com", 0.8, 0, 1_000, 0);
    /// AlienVault OTX.
    otx(Some("OTX_API_KEY")): SourceConfig::new("https://otx.alienvault.com", 0.4, 60, 0, 0);
    /// IPQualityScore.
    ipqualityscore(Some("IPQS_API_KEY")): SourceConfig::new("https://www.ipqualityscore.com", 0.5, 0, 0, 1_000);
    /// GreyNoise community.
    greynoise(Some("GREYNOISE_API_KEY")): SourceConfig::new("https://api.greynoise.io", 0.8, 0, 50, 0);
    /// ThreatCrowd v2, whose name no longer resolves.
    threatcrowd(None): SourceConfig {
        enabled: Switch::Off,
        ..SourceConfig::new("https://www.threatcrowd.org", 0.0, 6, 0, 0)
    };
}

impl SourceConfig {
    fn new(url: &str, weight: f64, per_minute: u32, per_day: u32, per_month: u32) -> Self {
        Self {
            enabled: Switch::Auto,
            url: url.to_owned(),
            key: None,
            key_file: None,
            timeout: millis(1_500),
            weight,
            per_minute,
            per_day,
            per_month,
        }
    }

    /// Whether it is asked.
    pub fn on(&self) -> bool {
        match self.enabled {
            Switch::On => true,
            Switch::Off => false,
            Switch::Auto => self.key.is_some(),
        }
    }
}

impl Default for IntelConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            deadline: secs(2),
            cache: CacheBackend::Memory,
            cache_entries: 65_536,
            reserve: 0.25,
            concurrency: 64,
            sources: SourcesConfig::default(),
            feeds: FeedsConfig {
                enabled: Vec::new(),
                custom: Vec::new(),
                crowdsec: LapiConfig::default(),
                block: Vec::new(),
                directory: "data/feeds".into(),
                max_bytes: 64 * MIB,
            },
            geoip: GeoipConfig::default(),
        }
    }
}

/// The keys of `intel`, but for those of the sources.
pub(super) const KEYS: &[Key] = &[
    key(
        "intel.enabled",
        "Whether sources outside are asked and feeds fetched",
        |d| Slot::Bool(&mut d.config.intel.enabled),
    ),
    key(
        "intel.deadline",
        "How long a first answer about an alert waits for slow sources",
        |d| Slot::Time(&mut d.config.intel.deadline, millis(50)..=secs(30)),
    ),
    key(
        "intel.cache",
        "`memory`, or the URL of a Redis that several sentinels share",
        |d| Slot::Cache(&mut d.config.intel.cache),
    ),
    key("intel.cache_entries", "Answers kept in memory", |d| {
        Slot::Usize(&mut d.config.intel.cache_entries, 64..=4_194_304)
    }),
    key(
        "intel.reserve",
        "Share of every quota kept for alerts of high severity",
        |d| Slot::Real(&mut d.config.intel.reserve, 0.0..=0.9),
    ),
    key("intel.concurrency", "Alerts looked into at the same time", |d| {
        Slot::Usize(&mut d.config.intel.concurrency, 1..=4_096)
    }),
    key(
        "intel.feeds.enabled",
        "Feeds that are fetched and matched, by name",
        |d| Slot::Names(&mut d.config.intel.feeds.enabled, &FEED_NAMES),
    ),
    key(
        "intel.feeds.custom",
        "Lists of one's own, each a file or URL of plain addresses and prefixes",
        |d| Slot::Feeds(&mut d.config.intel.feeds.custom),
    ),
    key(
        "intel.feeds.block",
        "Those of all whose entries the kernel drops by itself",
        |d| Slot::FeedNames(&mut d.config.intel.feeds.block),
    ),
    key("intel.feeds.directory", "Where fetched lists are kept", |d| {
        Slot::Path(&mut d.config.intel.feeds.directory)
    }),
    key("intel.feeds.max_bytes", "The longest list that is believed", |d| {
        Slot::Size64(&mut d.config.intel.feeds.max_bytes, 1_024..=1_024 * MIB)
    }),
    key(
        "intel.geoip.country",
        "MaxMind-format database with countries; empty for none",
        |d| Slot::File(&mut d.config.intel.geoip.country),
    ),
    key(
        "intel.geoip.asn",
        "MaxMind-format database with autonomous systems; empty for none",
        |d| Slot::File(&mut d.config.intel.geoip.asn),
    ),
];
