//! What a person's stop of all acting means for decisions.

use super::Judge;
use crate::config::Mode;
use crate::types::Decision;

impl Judge {
    /// Whether what is decided now only counts.
    pub(super) fn simulates(&self) -> bool {
        self.mode == Mode::Simulation || self.stopped
    }

    /// Whether a decision in force is only held back by the stop: what extends it goes on with it when that is over.
    pub(super) fn held_back(&self, standing: &Decision) -> bool {
        self.stopped && self.mode == Mode::Production && !standing.simulated
    }

    /// A person stopped all acting, or it goes on.
    pub const fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// As configured.
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}
