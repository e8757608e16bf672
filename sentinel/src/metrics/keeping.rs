//! What the database holds, and what was removed of it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of `sentinel_store_pruned_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PrunedLabels {
    /// Table of the database.
    pub table: &'static str,
    /// `age` or `size`; `unread` for alerts that went for the size before every reader had come to them.
    pub reason: &'static str,
}

/// Labels of `sentinel_reports_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReportLabels {
    /// `made` or `failed`.
    pub result: &'static str,
}

/// Families of what is kept.
#[derive(Debug, Default)]
pub struct Keeping {
    /// `sentinel_store_bytes`: size of the database's file.
    pub bytes: Gauge,
    /// `sentinel_store_free_bytes`: of these, free to be written to.
    pub free: Gauge,
    /// `sentinel_store_pruned_total`.
    pub pruned: Family<PrunedLabels, Counter>,
    /// `sentinel_reports_total`: scheduled reports.
    pub reports: Family<ReportLabels, Counter>,
}

impl Keeping {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("store_bytes", "Size of the database's file", self.bytes.clone());
        r.register(
            "store_free_bytes",
            "Of the database's file, free to be written to",
            self.free.clone(),
        );
        r.register(
            "store_pruned",
            "Rows removed from the database, by table and reason",
            self.pruned.clone(),
        );
        for result in ["made", "failed"] {
            drop(self.reports.get_or_create(&ReportLabels { result }));
        }
        r.register("reports", "Scheduled reports", self.reports.clone());
    }
}
