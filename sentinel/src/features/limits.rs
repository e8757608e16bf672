//! How much may be held.

use crate::config::FlowConfig;

/// The most of each that a builder holds; of each the least recently touched makes room, and that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows with something to tell. Whoever makes room is told early.
    pub flows: usize,
    /// Sources with windows.
    pub sources: usize,
    /// Destinations with windows. They are apart from the sources, so that sources forged anew with each packet leave
    /// them alone.
    pub destinations: usize,
    /// Pairs of a source and a service.
    pub pairs: usize,
    /// Services: address, port and protocol.
    pub services: usize,
    /// Sketches of whoever has more distinct ports, hosts or sources than are known one by one.
    pub sketches: usize,
}

impl From<&FlowConfig> for Limits {
    /// In proportion to `flow.max_flows` and `flow.max_sources`.
    fn from(config: &FlowConfig) -> Self {
        let share = |whole: usize, by: usize| (whole / by).max(16);
        Self {
            flows: share(config.max_flows, 2),
            sources: share(config.max_sources, 2),
            destinations: share(config.max_sources, 8),
            pairs: share(config.max_sources, 2),
            services: share(config.max_sources, 8),
            sketches: share(config.max_sources, 32),
        }
    }
}
