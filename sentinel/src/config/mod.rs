//! From files and environment to what the rooms need.
//!
//! In: YAML files, `*.local.yml` beside them, `SENTINEL_*` variables. Out: [`Config`], or every [`Problem`] at once.
//! Invariant: nothing is opened or bound here. Deliberately elsewhere: what the values do.

mod resolved;

pub use resolved::{
    ApiConfig, BaselineConfig, BruteForceConfig, Config, DetectConfig, FlowConfig, KernelConfig, Mode,
    PacketFloodConfig, ResponseConfig, ScanConfig, SeverityThresholds, StoreConfig, SynFloodConfig,
};
