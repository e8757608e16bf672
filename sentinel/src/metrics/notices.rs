//! Of what is told to people.

use crate::types::{ChannelKind, Folded};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    channel: &'static str,
    /// `sent`, `refused` (for good) or `failed` (one try of several).
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FoldedLabels {
    channel: &'static str,
    /// [`Folded::as_str`].
    reason: &'static str,
}

/// `sentinel_notifications_total` and `sentinel_notifications_folded_total`.
#[derive(Debug, Default)]
pub struct Notices {
    results: Family<ResultLabels, Counter>,
    folded: Family<FoldedLabels, Counter>,
}

impl Notices {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "notifications",
            "Messages, by what became of them",
            self.results.clone(),
        );
        registry.register(
            "notifications_folded",
            "Alerts that are told in a digest, by why",
            self.folded.clone(),
        );
    }

    /// A message was `sent`, `refused`, or one try `failed`.
    pub fn note(&self, channel: ChannelKind, result: &'static str) {
        let channel = channel.as_str();
        self.results.get_or_create(&ResultLabels { channel, result }).inc();
    }

    /// An alert was folded.
    pub fn fold(&self, channel: ChannelKind, why: Folded) {
        let labels = FoldedLabels {
            channel: channel.as_str(),
            reason: why.as_str(),
        };
        self.folded.get_or_create(&labels).inc();
    }
}
