//! From files and environment to what the rooms need.
//!
//! In: YAML files, `*.local.yml` beside them, `SENTINEL_*` variables. Out: [`Config`], or every [`Problem`] at once.
//! Invariant: nothing but the named files is opened, and nothing is bound; one table ([`keys`]) knows every key, its
//! bounds and its place in [`Config`]. Deliberately elsewhere: what the values do.

mod alerting;
mod api;
mod baseline;
mod behaviour;
mod bettercap;
mod body;
mod channels;
mod check;
mod clock;
mod containers;
mod decoy;
mod dump;
mod export;
mod fleet;
mod foreign;
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod intel;
mod keys;
mod lapi;
mod load;
mod matrix;
mod policy;
mod probe;
mod problem;
mod reload;
mod reports;
mod resolved;
mod retention;
mod sandbox;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;
mod told;
mod traffic;
mod tree;
mod trust;
mod url;
mod value;
mod words;

pub use alerting::{AlertingConfig, DetectorRoutes, QuietConfig, RoutingConfig, ThrottlingConfig};
pub use api::ApiConfig;
pub use baseline::{BaselineConfig, BaselineMode, StreamConfig};
pub use behaviour::{
    AmplificationConfig, BeaconConfig, DistributedConfig, DnsTunnelConfig, IcmpTunnelConfig, LateralConfig,
    SlowDosConfig, SlowScanConfig, UploadConfig,
};
pub use bettercap::BettercapConfig;
pub use body::BodyTemplate;
pub use channels::{
    EmailConfig, Facility, FileConfig, HeaderLine, Host, MailSecurity, Mailbox, SlackConfig, SyslogAddress,
    SyslogConfig, SyslogFormat, WebUrl, WebhookConfig,
};
pub use clock::{Hours, TimeOfDay, Weekday, Zone};
pub use dump::{changes, effective};
pub use export::{EVENT_TYPES, ElasticConfig, EveConfig, ExportConfig, Format, ServerConfig, SinkConfig, SplunkConfig};
pub use fleet::{AcceptConfig, BusBackend, FleetConfig, RedisKind, RedisPlace, ShareConfig};
pub use foreign::foreign_yaml;
pub use intel::{
    CUSTOM_FEEDS_MAX, CacheBackend, CustomFeed, FEED_NAMES, FeedsConfig, GeoipConfig, IntelConfig, SourceConfig,
    SourcesConfig,
};
pub use lapi::{LAPI_FEED, LapiConfig};
pub use load::{ENV_PREFIX, Origins, default_files, load, load_for_client, load_with_origins};
pub use matrix::Matrix;
pub use policy::{
    CeilingConfig, ConfirmConfig, DetectorPolicy, DetectorsPolicy, PolicyConfig, RepeatConfig, UnprovenConfig,
    WidenConfig,
};
pub use probe::{PROBES_MAX, Probe, ProbeKind};
pub use problem::{Place, Problem};
pub use reload::{InForce, differences, reloaded};
pub use reports::{ReportSchedule, ReportsConfig};
pub use resolved::{
    BUILT_IN, BruteForceConfig, Config, ContainersConfig, Decoy, DetectConfig, FlowConfig, HoneypotConfig, Hook,
    KernelConfig, Mode, ModelConfig, PacketFloodConfig, ReflexConfig, ResponseConfig, ScanConfig, SeverityThresholds,
    StoreConfig, Switch, SynCookieConfig, SynFloodConfig,
};
pub use retention::RetentionConfig;
pub use sandbox::{Place as NamedPlace, SandboxConfig, places};
pub use schema::schema;
pub use told::{Section, Setting, Told, ToldOrigin, told};
pub use traffic::TrafficLogConfig;
pub use trust::distrust;
pub use value::{parse_duration, parse_size};
pub use words::Auto;
