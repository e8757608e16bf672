//! Of bans by ARP, which Bettercap carries out.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    /// `ban`, `lift` or `look`.
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    /// `guard`, `forwarding`, `elsewhere`, `settings` or `limit`.
    reason: &'static str,
}

/// `sentinel_arp_bans_active`, `sentinel_arp_ban_failures_total`, `sentinel_arp_bans_refused_total`.
#[derive(Debug, Default)]
pub struct Bans {
    active: Gauge,
    failures: Family<StepLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
}

impl Bans {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "arp_bans_active",
            "Neighbours kept from the gateway, or being let to it again",
            self.active.clone(),
        );
        registry.register(
            "arp_ban_failures",
            "Tries to ban, to lift or to look that failed",
            self.failures.clone(),
        );
        registry.register(
            "arp_bans_refused",
            "Blocks of neighbours that are not bans as well, by why",
            self.refused.clone(),
        );
    }

    /// So many stand.
    pub fn stand(&self, count: usize) {
        self.active.set(count as i64);
    }

    /// A try to `ban`, to `lift` or to `look` failed.
    pub fn failed(&self, step: &'static str) {
        self.failures.get_or_create(&StepLabels { step }).inc();
    }

    /// A ban was refused.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }
}
