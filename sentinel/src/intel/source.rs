//! The seam: everything that can be asked about an address.

use super::IntelError;
use crate::types::{Indicator, IntelVerdict, Severity};
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a provider told of its quota along with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaHint {
    /// Requests allowed in the provider's own period.
    pub limit: Option<u64>,
    /// Requests left in it.
    pub remaining: Option<u64>,
    /// Time until it begins anew.
    pub reset: Option<Duration>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What the source says.
    pub indicator: Indicator,
    /// Whether it was known already, and nobody had to be asked.
    pub cached: bool,
    /// What it told of its quota.
    pub hint: QuotaHint,
}

/// How long an answer holds, by its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Malicious or suspicious.
    pub bad: Duration,
    /// Benign.
    pub benign: Duration,
    /// Never heard of.
    pub unknown: Duration,
}

impl Ttl {
    /// For one verdict.
    pub const fn of(&self, verdict: IntelVerdict) -> Duration {
        match verdict {
            IntelVerdict::Malicious | IntelVerdict::Suspicious => self.bad,
            IntelVerdict::Benign => self.benign,
            IntelVerdict::Unknown => self.unknown,
        }
    }
}

/// What is fixed about a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Its name in configuration, metrics and answers.
    pub name: &'static str,
    /// Sources of one group draw from the same wells: their words count for less together than apart.
    pub group: &'static str,
    /// How long its answers hold.
    pub ttl: Ttl,
    /// Where the provider documents what is asked and answered.
    pub docs: &'static str,
    /// Whether it knows addresses that are to be spared whatever else is said ([`Indicator::spare`]).
    pub spares: bool,
}

/// Somebody who can be asked about an address. Dropping the future gives up the question.
pub trait IntelSource: Send + Sync {
    /// What is fixed about it.
    fn profile(&self) -> &Profile;

    /// What it knows of `ip`. `severity` is that of the alert behind the question: who spends scarce requests may keep
    /// some for the grave ones. An address the source never heard of is an answer ([`IntelVerdict::Unknown`]).
    ///
    /// # Errors
    /// [`IntelError`]: there is no answer, and why.
    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>>;
}

/// Wells that sources draw from.
pub mod group {
    /// What administrators report to a database of abuse.
    pub const ABUSE_REPORTS: &str = "abuse_reports";
    /// Sensors that watch who scans the Internet.
    pub const SCANNER_OBSERVATION: &str = "scanner_observation";
    /// Collections of what engines, blocklists and researchers say, much of it the same.
    pub const AGGREGATORS: &str = "aggregators";
    /// Scores of how likely a visitor is to defraud a shop.
    pub const FRAUD_SCORING: &str = "fraud_scoring";
}

impl IntelSource for Arc<dyn IntelSource> {
    fn profile(&self) -> &Profile {
        self.as_ref().profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        self.as_ref().ask(ip, severity)
    }
}
