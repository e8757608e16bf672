//! Of programs that carry our decisions out elsewhere.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PullLabels {
    /// `startup`, `changes` or `list`.
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToldLabels {
    /// `new`, `deleted` or `list`.
    as_what: &'static str,
}

/// `sentinel_bouncer_pulls_total` and `sentinel_bouncer_decisions_total`.
#[derive(Debug, Default)]
pub struct Bouncers {
    pulls: Family<PullLabels, Counter>,
    told: Family<ToldLabels, Counter>,
}

impl Bouncers {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "bouncer_pulls",
            "Times CrowdSec's bouncers asked for decisions",
            self.pulls.clone(),
        );
        registry.register(
            "bouncer_decisions",
            "Decisions CrowdSec's bouncers were told of; what changed, twice",
            self.told.clone(),
        );
    }

    fn note(&self, kind: &'static str, told: &[(&'static str, usize)]) {
        self.pulls.get_or_create(&PullLabels { kind }).inc();
        for (as_what, count) in told {
            self.told.get_or_create(&ToldLabels { as_what }).inc_by(*count as u64);
        }
    }

    /// One asked for a list.
    pub fn list(&self, told: usize) {
        self.note("list", &[("list", told)]);
    }

    /// One asked for everything, or for what changed.
    pub fn stream(&self, startup: bool, new: usize, deleted: usize) {
        let kind = if startup { "startup" } else { "changes" };
        self.note(kind, &[("new", new), ("deleted", deleted)]);
    }
}
