//! Of what several sentinels tell each other.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WordLabels {
    /// `told` or `heard`.
    direction: &'static str,
    /// What became of it.
    result: &'static str,
}

/// `sentinel_fleet_*`.
#[derive(Debug)]
pub struct Fleet {
    words: Family<WordLabels, Counter>,
    /// Whether the Redis answers.
    pub connected: Gauge,
    /// Words that wait to be told.
    pub waiting: Gauge,
    /// Nodes heard of within the last minutes, this one too.
    pub nodes: Gauge,
    /// Alerts told.
    pub alerts: Counter,
    /// From when a word was said to when it was followed here.
    pub delay: Histogram,
}

impl Default for Fleet {
    fn default() -> Self {
        let bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 600.0];
        Self {
            words: Family::default(),
            connected: Gauge::default(),
            waiting: Gauge::default(),
            nodes: Gauge::default(),
            alerts: Counter::default(),
            delay: Histogram::new(bounds),
        }
    }
}

impl Fleet {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "fleet_words",
            "Words between sentinels, by direction and what became of them",
            self.words.clone(),
        );
        registry.register(
            "fleet_connected",
            "1 while the Redis of the fleet answers",
            self.connected.clone(),
        );
        registry.register(
            "fleet_waiting",
            "Words that wait to be told to the fleet",
            self.waiting.clone(),
        );
        registry.register(
            "fleet_nodes",
            "Nodes heard of within three minutes, this one too",
            self.nodes.clone(),
        );
        registry.register("fleet_alerts", "Alerts told to the fleet", self.alerts.clone());
        registry.register(
            "fleet_delay_seconds",
            "From when another node said a word to when it was followed here, by both clocks",
            self.delay.clone(),
        );
    }

    /// Words were told.
    pub fn told(&self, result: &'static str, words: u64) {
        self.count("told", result, words);
    }

    /// Words of others were heard.
    pub fn heard(&self, result: &'static str, words: u64) {
        self.count("heard", result, words);
    }

    fn count(&self, direction: &'static str, result: &'static str, words: u64) {
        let labels = WordLabels { direction, result };
        self.words.get_or_create(&labels).inc_by(words);
    }
}
