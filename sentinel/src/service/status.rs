//! How the agent is, in one sentence.

use crate::config::Mode;
use crate::types::{Acting, Condition, Health, Stats};
use std::fmt::Write as _;

/// Parts that are named.
const NAMED: usize = 4;

/// What the sentence is made of.
pub(super) struct View<'a> {
    pub(super) mode: Mode,
    pub(super) acting: &'a Acting,
    pub(super) stats: &'a Stats,
    pub(super) health: &'a Health,
    pub(super) decisions: usize,
    pub(super) blind: bool,
    /// Who has not come round for too long.
    pub(super) silent: &'a [String],
}

pub(super) fn sentence(view: &View<'_>) -> String {
    let does = match (&view.acting.stopped, view.mode) {
        (Some(_), _) => "Acting is stopped, counting only",
        (None, Mode::Production) => "Enforcing",
        (None, Mode::Simulation) => "Simulating, nothing is dropped",
    };
    let attached = view.stats.interfaces.iter().filter(|one| one.xdp_mode != "none");
    let names: Vec<_> = attached.map(|one| one.name.as_str()).collect();
    let place = match (view.blind, names.is_empty()) {
        (true, _) => " by nftables".to_owned(),
        (false, true) => ", attached nowhere".to_owned(),
        (false, false) => format!(" on {}", names.join(", ")),
    };
    let plural = if view.decisions == 1 { "" } else { "s" };
    let mut text = format!("{does}{place}; {} decision{plural} in force", view.decisions);
    let degraded = view.health.components.iter();
    let degraded: Vec<_> = degraded
        .filter(|(_, how)| matches!(how, Condition::Degraded { .. }))
        .map(|(part, _)| part.as_str())
        .collect();
    if !degraded.is_empty() {
        let _ = write!(text, "; degraded: {}", degraded[..degraded.len().min(NAMED)].join(", "));
        if degraded.len() > NAMED {
            let _ = write!(text, " and {} more", degraded.len() - NAMED);
        }
    }
    for one in view.silent {
        let _ = write!(text, "; {one}");
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Component, InterfaceStats, Stop, Timestamp};
    use sentinel_common::stat::COUNTERS;

    #[test]
    fn one_true_sentence() {
        let mut health = Health::default();
        let mut stats = Stats::default();
        stats.interfaces.push(InterfaceStats {
            name: "eth0".to_owned(),
            xdp_mode: "native",
            fallback: None,
            trouble: None,
            egress: true,
            counters: [0; COUNTERS],
        });
        let mut acting = Acting::default();
        let say = |acting: &Acting, health: &Health, mode, decisions, blind, silent: &[String]| {
            sentence(&View {
                mode,
                acting,
                stats: &stats,
                health,
                decisions,
                blind,
                silent,
            })
        };
        assert_eq!(
            say(&acting, &health, Mode::Production, 1, false, &[]),
            "Enforcing on eth0; 1 decision in force."
        );
        health.degrade(Component::Feeds, "no list came", "wait");
        let stuck = ["analysis has not come round for 31 s".to_owned()];
        assert_eq!(
            say(&acting, &health, Mode::Simulation, 3, false, &stuck),
            "Simulating, nothing is dropped on eth0; 3 decisions in force; degraded: feeds; analysis has not come round \
             for 31 s."
        );
        acting.stopped = Some(Stop {
            at: Timestamp(0),
            actor: "x".to_owned(),
            reason: String::new(),
        });
        let said = say(&acting, &Health::default(), Mode::Production, 0, true, &[]);
        assert_eq!(
            said,
            "Acting is stopped, counting only by nftables; 0 decisions in force."
        );
    }
}
