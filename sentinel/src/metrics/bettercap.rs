//! Of what a Bettercap is heard saying.

use super::Bans;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::OnceLock;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    /// `packet`, `words`, `sighting`, `other`, `duplicate`, `before_start`.
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// `sentinel_bettercap_*`.
#[derive(Debug, Default)]
pub struct Bettercap {
    events: Family<KindLabels, Counter>,
    /// That of packets, which come by the hundred thousand.
    packets: OnceLock<Counter>,
    refused: Family<ReasonLabels, Counter>,
    lost: Family<ReasonLabels, Counter>,
    connected: Gauge,
    /// Of bans by ARP.
    pub bans: Bans,
}

impl Bettercap {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.bans.register(registry);
        registry.register(
            "bettercap_events",
            "Events heard, by what they are",
            self.events.clone(),
        );
        registry.register(
            "bettercap_refused",
            "Events that cannot be used, by why",
            self.refused.clone(),
        );
        registry.register(
            "bettercap_disconnects",
            "Connections that failed or ended, by why",
            self.lost.clone(),
        );
        registry.register(
            "bettercap_connected",
            "1 while Bettercap is heard",
            self.connected.clone(),
        );
    }

    /// An event came.
    pub fn event(&self, kind: &'static str) {
        let of = |kind| self.events.get_or_create(&KindLabels { kind }).clone();
        if kind == "packet" {
            self.packets.get_or_init(|| of(kind)).inc();
        } else {
            of(kind).inc();
        }
    }

    /// Something came that cannot be used.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// There is no connection any more, or was none.
    pub fn lost(&self, reason: &'static str) {
        self.lost.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Whether Bettercap is heard.
    pub fn connected(&self, heard: bool) {
        self.connected.set(heard.into());
    }
}
