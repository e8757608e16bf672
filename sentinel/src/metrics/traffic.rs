//! Of the traffic log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// `sentinel_traffic_log_*_total`. What is lost on the way there is in `sentinel_events_dropped_total`.
#[derive(Debug, Default)]
pub struct Traffic {
    rows: Counter,
    bytes: Counter,
    repaired: Counter,
    rotations: Counter,
}

impl Traffic {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("traffic_log_rows", "Rows written to the traffic log", self.rows.clone());
        r.register(
            "traffic_log_bytes",
            "Bytes written to the traffic log",
            self.bytes.clone(),
        );
        r.register(
            "traffic_log_repairs",
            "Lines of the traffic log that were not complete, and were cut off",
            self.repaired.clone(),
        );
        r.register(
            "traffic_log_rotations",
            "Files of the traffic log that were moved aside because they were full or their day was over",
            self.rotations.clone(),
        );
    }

    /// So much was written, repaired and moved aside since the last time.
    pub fn note(&self, rows: u64, bytes: u64, repaired: u64, rotations: u64) {
        self.rows.inc_by(rows);
        self.bytes.inc_by(bytes);
        self.repaired.inc_by(repaired);
        self.rotations.inc_by(rotations);
    }
}
