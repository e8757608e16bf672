//! What is counted, for Prometheus: every family of the house in one place, in OpenMetrics text.
//!
//! In: increments from every room, snapshots of [`Stats`] and [`Health`]. Out: one text per scrape.
//! Invariant: an address is never a label; every label set is bounded by configuration or by an enum.
//! Deliberately elsewhere: serving it (`api`), counting packets (the kernel programs).

mod bans;
mod bettercap;
mod bouncers;
mod collect;
mod fleet;
mod keeping;
mod labels;
mod notices;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told;
mod traffic;

use crate::types::{Alert, CheckVerdict, Decision, Detector, Health, InvestigationState, Severity, Stats, Veto};
pub use bans::Bans;
pub use bettercap::Bettercap;
pub use bouncers::Bouncers;
pub use fleet::Fleet;
pub use notices::Notices;

use collect::{Dropped, HealthCollector, StatsCollector};
pub use keeping::{Keeping, PrunedLabels, ReportLabels};
pub use labels::{
    ActiveLabels, AlertLabels, CauseLabels, DecisionLabels, FeedFetchLabels, FeedFlowLabels, FeedLabels, GuardLabels,
    IntelLabels, JournalLabels, LevelLabels, LoginLabels, OriginLabels, SourceLabels, StateLabels,
};
use labels::{BuildLabels, ExportLabels, ModelLabels, RestoreLabels, StepLabels};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
pub use traffic::Traffic;

/// What [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every family of the agent. Kernel numbers come from [`Metrics::watch_stats`].
#[derive(Debug)]
pub struct Metrics {
    registry: RwLock<Registry>,
    dropped: Dropped,
    /// `sentinel_flow_records_total`: records taken in, by where they came from.
    pub flow_records: Family<OriginLabels, Counter>,
    /// `sentinel_flow_score_seconds`: from a flow record in the agent to the detectors' answer.
    pub flow_score_seconds: Histogram,
    /// `sentinel_detect_to_drop_seconds`: from the packet that completed the evidence to the first dropped one.
    pub detect_to_drop_seconds: Histogram,
    /// `sentinel_alerts_total`.
    pub alerts: Family<AlertLabels, Counter>,
    /// `sentinel_decisions_active`; see [`Metrics::set_active`].
    pub decisions_active: Family<ActiveLabels, Gauge>,
    /// `sentinel_decisions_watched`: decisions that are over and whose targets are on probation.
    pub decisions_watched: Gauge,
    /// `sentinel_decisions_total`.
    pub decisions: Family<DecisionLabels, Counter>,
    /// `sentinel_investigations_total`: alerts about somebody, by how far looking into them got.
    pub investigations: Family<StateLabels, Counter>,
    /// `sentinel_guard_vetoes_total`.
    pub guard_vetoes: Family<GuardLabels, Counter>,
    /// `sentinel_guard_softened_total`: decisions that a guard or a bound made milder.
    pub guard_softened: Family<GuardLabels, Counter>,
    /// `sentinel_logins_total`.
    pub logins: Family<LoginLabels, Counter>,
    /// `sentinel_actions_reverted_total`.
    pub actions_reverted: Family<CauseLabels, Counter>,
    /// `sentinel_confirmations_total`.
    confirmations: Family<RestoreLabels, Counter>,
    /// `sentinel_enforcement_drift_entries`: block entries that differ from the active decisions.
    pub enforcement_drift: Gauge,
    /// `sentinel_acting_stopped`: 1 while a person's stop holds everything back.
    pub acting_stopped: Gauge,
    /// `sentinel_store_write_seconds`: one transaction, fsync included.
    pub store_write_seconds: Histogram,
    /// `sentinel_stream_clients`: open WebSockets.
    pub stream_clients: Gauge,
    /// `sentinel_model_flows_total`: flow records of sources not under suspicion that the model judged, by what they reached.
    pub model_flows: Family<LevelLabels, Counter>,
    /// `sentinel_feed_flows_total`: flows with an address on a feed.
    pub feed_flows: Family<FeedFlowLabels, Counter>,
    /// `sentinel_model_calibrated`: 1 where the thresholds were set by this network's flows.
    pub model_calibrated: Gauge,
    /// `sentinel_intel_requests_total`: each try, and each that was held back.
    pub intel_requests: Family<IntelLabels, Counter>,
    /// `sentinel_intel_quota_remaining`: requests left until the day or month ends, whichever has fewer; of the minute
    /// where there is no other limit.
    pub intel_quota_remaining: Family<SourceLabels, Gauge>,
    /// `sentinel_intel_cache_hits_total`: questions that nobody had to be asked for.
    pub intel_cache_hits: Family<SourceLabels, Counter>,
    model_info: Family<ModelLabels, Gauge>,
    /// `sentinel_feed_entries`: addresses and prefixes in force of each feed.
    pub feed_entries: Family<FeedLabels, Gauge>,
    /// `sentinel_feed_fetches_total`: what came of asking for lists.
    pub feed_fetches: Family<FeedFetchLabels, Counter>,
    /// `sentinel_isolations_active`: containers cut off, or being put back.
    pub isolations_active: Gauge,
    isolation_failures: Family<StepLabels, Counter>,
    isolation_restores: Family<RestoreLabels, Counter>,
    /// `sentinel_learning_journal_total`: what became of learn mode's collection on disk.
    pub journal: Family<JournalLabels, Counter>,
    /// Of what is told to people.
    pub notices: Notices,
    /// Of what several sentinels tell each other.
    pub fleet: Fleet,
    /// Of bouncers that ask.
    pub bouncers: Bouncers,
    /// What a Bettercap is heard saying.
    pub bettercap: Bettercap,
    exported: Family<ExportLabels, Counter>,
    /// What the database holds, and reports.
    pub keeping: Keeping,
    /// Of the traffic log.
    pub traffic: Traffic,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every family, at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: RwLock::new(Registry::with_prefix("sentinel")),
            dropped: Dropped::default(),
            flow_records: Family::default(),
            flow_score_seconds: Histogram::new([1e-6, 5e-6, 2e-5, 1e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1, 1.0]),
            detect_to_drop_seconds: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            alerts: Family::default(),
            decisions_active: Family::default(),
            decisions_watched: Gauge::default(),
            decisions: Family::default(),
            investigations: Family::default(),
            guard_vetoes: Family::default(),
            guard_softened: Family::default(),
            logins: Family::default(),
            actions_reverted: Family::default(),
            confirmations: Family::default(),
            enforcement_drift: Gauge::default(),
            acting_stopped: Gauge::default(),
            store_write_seconds: Histogram::new([1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.1, 0.5, 2.5]),
            stream_clients: Gauge::default(),
            model_flows: Family::default(),
            feed_flows: Family::default(),
            model_calibrated: Gauge::default(),
            intel_requests: Family::default(),
            intel_quota_remaining: Family::default(),
            intel_cache_hits: Family::default(),
            model_info: Family::default(),
            feed_entries: Family::default(),
            feed_fetches: Family::default(),
            isolations_active: Gauge::default(),
            isolation_failures: Family::default(),
            isolation_restores: Family::default(),
            journal: Family::default(),
            notices: Notices::default(),
            fleet: Fleet::default(),
            bouncers: Bouncers::default(),
            bettercap: Bettercap::default(),
            exported: Family::default(),
            keeping: Keeping::default(),
            traffic: Traffic::default(),
        };
        metrics.register();
        metrics
    }

    // The registry adds `_total` to counters and `_info` to infos by itself.
    fn register(&self) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let r = &mut *registry;
        self.notices.register(r);
        self.fleet.register(r);
        self.bouncers.register(r);
        self.bettercap.register(r);
        self.keeping.register(r);
        self.traffic.register(r);
        r.register("flow_records", "Flow records taken in", self.flow_records.clone());
        r.register(
            "flow_score_seconds",
            "Time from a flow record to the detectors' answer",
            self.flow_score_seconds.clone(),
        );
        r.register(
            "detect_to_drop_seconds",
            "Time from the packet that completed the evidence to the first dropped packet",
            self.detect_to_drop_seconds.clone(),
        );
        r.register("alerts", "Alerts raised", self.alerts.clone());
        r.register("decisions_active", "Decisions in force", self.decisions_active.clone());
        r.register(
            "decisions_watched",
            "Decisions that are over and whose targets are on probation",
            self.decisions_watched.clone(),
        );
        r.register("decisions", "Decisions taken", self.decisions.clone());
        r.register(
            "investigations",
            "Alerts about somebody, by how far looking into them got",
            self.investigations.clone(),
        );
        r.register(
            "guard_vetoes",
            "Decisions refused by a guard",
            self.guard_vetoes.clone(),
        );
        r.register(
            "guard_softened",
            "Decisions that a guard or a bound made milder",
            self.guard_softened.clone(),
        );
        r.register(
            "confirmations",
            "What became of provisional decisions",
            self.confirmations.clone(),
        );
        for (with, result) in [
            ("token", "refused"),
            ("link", "refused"),
            ("token", "accepted"),
            ("link", "accepted"),
        ] {
            drop(self.logins.get_or_create(&LoginLabels { with, result }));
        }
        r.register("logins", "Browsers that logged in, or wanted to", self.logins.clone());
        r.register("actions_reverted", "Actions undone", self.actions_reverted.clone());
        r.register(
            "feed_entries",
            "Addresses and prefixes in force of each feed",
            self.feed_entries.clone(),
        );
        r.register(
            "feed_fetches",
            "What came of asking for lists",
            self.feed_fetches.clone(),
        );
        r.register(
            "enforcement_drift_entries",
            "Block entries of the kernel that differ from the active decisions",
            self.enforcement_drift.clone(),
        );
        r.register(
            "acting_stopped",
            "Whether a person stopped all acting",
            self.acting_stopped.clone(),
        );
        r.register(
            "store_write_seconds",
            "Time of one database transaction, fsync included",
            self.store_write_seconds.clone(),
        );
        r.register("stream_clients", "Open WebSockets", self.stream_clients.clone());
        r.register(
            "model_flows",
            "Flow records that the model judged, by the level they reached",
            self.model_flows.clone(),
        );
        r.register(
            "feed_flows",
            "Flows with an address on a feed, by who opened them",
            self.feed_flows.clone(),
        );
        r.register(
            "model_calibrated",
            "Whether the model's thresholds were set by this network's flows",
            self.model_calibrated.clone(),
        );
        r.register(
            "intel_requests",
            "Requests to sources of intelligence, by result",
            self.intel_requests.clone(),
        );
        r.register(
            "intel_quota_remaining",
            "Requests left of a source's quota",
            self.intel_quota_remaining.clone(),
        );
        r.register(
            "intel_cache_hits",
            "Questions about an address that the cache answered",
            self.intel_cache_hits.clone(),
        );
        r.register("model_info", "The model that judges", self.model_info.clone());
        r.register(
            "learning_journal",
            "What became of learn mode's collection on disk",
            self.journal.clone(),
        );
        r.register(
            "isolations_active",
            "Containers cut off from their networks, or being put back",
            self.isolations_active.clone(),
        );
        r.register(
            "isolation_failures",
            "Tries to isolate or to restore a container that failed",
            self.isolation_failures.clone(),
        );
        r.register(
            "isolation_restores",
            "Containers put back, by what was read back",
            self.isolation_restores.clone(),
        );
        r.register(
            "export_events",
            "What became of events on their way to other tools",
            self.exported.clone(),
        );
        let build = BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
            architecture: std::env::consts::ARCH,
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        };
        r.register("build", "What is running", Info::new(build));
    }

    /// Reads kernel counters, maps, flows and losses from these snapshots at every scrape. Call once.
    pub fn watch_stats(&self, stats: watch::Receiver<Arc<Stats>>) {
        let collector = StatsCollector::new(stats, self.dropped.clone());
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .register_collector(Box::new(collector));
    }

    /// Reads `sentinel_degraded` from this at every scrape. Call once.
    pub fn watch_health(&self, health: watch::Receiver<Arc<Health>>) {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .register_collector(Box::new(HealthCollector::new(health)));
    }

    /// Counts items dropped in the agent; shown beside those of [`Stats::lost`] in `sentinel_events_dropped_total`.
    pub fn dropped(&self, stage: &'static str, reason: &'static str, items: u64) {
        self.dropped.add(stage, reason, items);
    }

    /// Counts events on their way to a sink: `delivered`, `refused` by it, `dropped` for want of room, or tried again
    /// (`retried`).
    pub fn exported(&self, sink: &'static str, result: &'static str, events: u64) {
        self.exported
            .get_or_create(&ExportLabels { sink, result })
            .inc_by(events);
    }

    /// Counts flow records taken in from `origin`.
    pub fn records(&self, origin: &'static str, items: usize) {
        self.flow_records
            .get_or_create(&OriginLabels { origin })
            .inc_by(items as u64);
    }

    /// Has the alerts of these detectors stand at zero, so that the first of them is a rise and no beginning.
    pub fn expect_alerts(&self, detectors: &[Detector]) {
        for detector in detectors.iter().map(|detector| detector.as_str()) {
            for severity in [Severity::Low, Severity::Medium, Severity::High].map(Severity::as_str) {
                drop(self.alerts.get_or_create(&AlertLabels { detector, severity }));
            }
        }
    }

    /// Counts an alert.
    pub fn alert(&self, alert: &Alert) {
        let labels = AlertLabels {
            detector: alert.detector.as_str(),
            severity: alert.severity.as_str(),
        };
        self.alerts.get_or_create(&labels).inc();
    }

    /// Counts a decision just taken, and its veto if a guard refused it.
    pub fn decision(&self, decision: &Decision) {
        let labels = DecisionLabels {
            action: decision.action.as_str(),
            severity: decision.severity.map_or("none", |s| s.as_str()),
            risk: decision.risk.map_or("unknown", |risk| risk.as_str()),
            simulated: if decision.simulated { "true" } else { "false" },
        };
        self.decisions.get_or_create(&labels).inc();
        if let Some(veto) = &decision.veto {
            self.veto(veto);
        }
        let softened = decision.checks.iter().filter(|c| c.verdict == CheckVerdict::Softened);
        for check in softened.filter(|_| decision.veto.is_none()) {
            let guard = check.guard.clone();
            self.guard_softened.get_or_create(&GuardLabels { guard }).inc();
        }
    }

    /// Counts an investigation that is over.
    pub fn investigated(&self, state: InvestigationState) {
        let state = state.as_str();
        self.investigations.get_or_create(&StateLabels { state }).inc();
    }

    /// Counts a guard's refusal.
    pub fn veto(&self, veto: &Veto) {
        let guard = veto.guard.clone();
        self.guard_vetoes.get_or_create(&GuardLabels { guard }).inc();
    }

    /// Counts a try to `isolate` or to `restore` a container that failed.
    pub fn isolation_failed(&self, step: &'static str) {
        self.isolation_failures.get_or_create(&StepLabels { step }).inc();
    }

    /// Counts a container put back: `exact`, `different`, or `gone` and so nothing to put back.
    pub fn isolation_restored(&self, result: &'static str) {
        self.isolation_restores.get_or_create(&RestoreLabels { result }).inc();
    }

    /// Counts what became of a provisional decision: `confirmed`, `by_hand`, or `rolled_back`.
    pub fn confirmation(&self, result: &'static str) {
        self.confirmations.get_or_create(&RestoreLabels { result }).inc();
    }

    /// Counts a browser that logged in, or wanted to.
    pub fn login(&self, with: &'static str, result: &'static str) {
        self.logins.get_or_create(&LoginLabels { with, result }).inc();
    }

    /// Counts an action undone.
    pub fn reverted(&self, cause: &'static str) {
        self.actions_reverted.get_or_create(&CauseLabels { cause }).inc();
    }

    /// Says which model judges from now on, made for that version of the features.
    pub fn set_model(&self, version: u32, sha256: String, calibrated: bool) {
        self.model_info.clear();
        let labels = ModelLabels {
            name: if calibrated { "site" } else { "as trained" },
            version: version.to_string(),
            sha256,
        };
        self.model_info.get_or_create(&labels).set(1);
        self.model_calibrated.set(calibrated.into());
    }

    /// Sets `sentinel_decisions_active` to what is in force; kinds that no longer are go to zero.
    pub fn set_active<'a>(&self, active: impl IntoIterator<Item = &'a Decision>) {
        let mut counts: BTreeMap<ActiveLabels, i64> = BTreeMap::new();
        for action in crate::types::ActionKind::DECIDED {
            for origin in crate::types::Origin::ALL {
                let (action, origin) = (action.as_str(), origin.as_str());
                counts.insert(ActiveLabels { action, origin }, 0);
            }
        }
        for decision in active {
            let (action, origin) = (decision.action.as_str(), decision.origin.as_str());
            *counts.entry(ActiveLabels { action, origin }).or_default() += 1;
        }
        for (labels, count) in counts {
            self.decisions_active.get_or_create(&labels).set(count);
        }
    }

    /// The text of one scrape, as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// [`std::fmt::Error`] when a family cannot be encoded.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::with_capacity(16 * 1024);
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}
