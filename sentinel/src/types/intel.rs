//! How the sources of intelligence stand, and what of them is kept over a restart.

use super::{Indicator, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// All of it, as `/intel` and `sentinel intel status` tell it. No key and no URL is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IntelStatus {
    /// Whether anybody is asked at all.
    pub enabled: bool,
    /// Each source, in the order of the configuration.
    pub sources: Vec<SourceStatus>,
    /// Answers kept.
    pub cache: CacheStatus,
    /// The Redis that several sentinels share, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Whether it is asked.
    pub enabled: bool,
    /// Whether it has a key.
    pub key: bool,
    /// How much its word counts, 0 to 1.
    pub weight: f64,
    /// Where the provider documents it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// Whether it is left alone after failures.
    pub breaker: BreakerStatus,
    /// Its quota: minute, day, month, as far as there are limits.
    pub quota: Vec<QuotaStatus>,
    /// Until when nothing is asked because the provider said so (HTTP 429).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    /// Questions that the cache answered in time.
    pub cache_hits: u64,
    /// Questions that the cache could not answer.
    pub cache_misses: u64,
    /// Questions answered with what was past its time, because there was nothing better.
    pub cache_stale: u64,
    /// Answers of it in memory.
    pub cache_entries: u64,
    /// Requests by what became of them: `ok`, `timeout`, `quota`, …
    pub requests: BTreeMap<String, u64>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer_at: Option<Timestamp>,
    /// Why it last did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// When and why a source did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// In a word: `timeout`, `unauthorised`, …
    pub result: String,
    /// For people.
    pub reason: String,
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything is let through.
    #[default]
    Closed,
    /// Nothing is.
    Open,
    /// One try is let through, and decides.
    HalfOpen,
}

/// The state of a circuit breaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakerStatus {
    /// In a word.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// Until the next try, ms; 0 where nothing is held back.
    pub retry_in_ms: u64,
    /// What opened it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
}

/// What is left of one period's quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaStatus {
    /// `minute` (any 60 s), `day` or `month` (UTC).
    pub period: String,
    /// Requests spent.
    pub spent: u64,
    /// Requests allowed: as configured, or fewer where the provider said so.
    pub allowed: u64,
    /// How many of them are kept for alerts of high severity.
    pub reserve: u64,
    /// When it begins anew.
    pub resets_at: Timestamp,
}

/// Answers kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheStatus {
    /// In memory now.
    pub entries: u64,
    /// How many there may be.
    pub capacity: u64,
    /// Pushed out of memory because it was full.
    pub evicted: u64,
    /// Removed from the database because they were too old.
    pub expired_in_store: u64,
    /// Removed from the database because it held too many.
    pub evicted_in_store: u64,
    /// Not written down, because the writer could not keep up or the disk refused; they are in memory still.
    pub unwritten: u64,
}

/// The shared Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedisStatus {
    /// Whether it answers.
    pub up: bool,
    /// Why it does not, or which commands it refuses, and the mend.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// Answers found in it.
    pub hits: u64,
    /// Commands that failed, were refused or were late.
    pub failures: u64,
    /// Answers that wait for its return.
    pub owed: u64,
    /// Answers it will never see, because too many waited.
    pub dropped: u64,
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// What was said, when and by whom.
    pub indicator: Indicator,
    /// Until when it holds; its time to live is this minus `asked_at`.
    pub expires_at: Timestamp,
}

/// What was spent of one period's quota, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRow {
    /// The source.
    pub source: String,
    /// `minute`, `day` or `month`.
    pub period: String,
    /// When the period began; for `minute`: when the latest request was made.
    pub began_at: Timestamp,
    /// Requests spent; for `minute`: within the two minutes before `began_at`.
    pub spent: u64,
    /// Requests allowed, where the provider said so.
    pub learned: Option<u64>,
}
