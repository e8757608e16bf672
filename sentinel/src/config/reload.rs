//! Which settings take effect while the agent runs, and which only at its next start.
//!
//! What is carried over ([`reloaded`]) is what rooms take up without letting go of anything: no block ends, no packet goes
//! unjudged. Not `mode`: whether packets are dropped changes by a restart, by `stop-acting`, and by nothing in passing.

use super::check;
use super::dump::{changes, effective};
use super::keys::Draft;
use super::load::{Origins, Places};
use super::resolved::Config;
use crate::types::KeyChange;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Stands where a value is secret.
const SECRET: &str = "(secret)";

/// The settings by which the agent goes.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// What holds.
    pub config: Arc<Config>,
    /// Where it came from.
    pub origins: Arc<Origins>,
    /// What the files say otherwise, and the next start will bring.
    pub pending: Vec<KeyChange>,
}

/// One of the settings that rooms take up.
type Part = fn(&mut Config, now: &Config, read: &Config);

/// What is taken up, each as a whole.
const PARTS: [Part; 7] = [
    |next, _, read| next.allowlist.clone_from(&read.allowlist),
    |next, _, read| next.severity_thresholds = read.severity_thresholds,
    |next, _, read| next.risk_thresholds = read.risk_thresholds,
    |next, _, read| next.alerting = read.alerting.clone(),
    |next, _, read| next.intel.feeds = read.intel.feeds.clone(),
    |next, now, read| {
        next.detect = read.detect.clone();
        // The model and the habits it and the baseline have learnt are not let go of in passing.
        next.detect.model = now.detect.model.clone();
        next.detect.baseline = now.detect.baseline.clone();
        next.detect.feed = now.detect.feed;
    },
    |next, now, read| {
        next.response = read.response.clone();
        // The kernel's programs were told where the decoy is, and whoever confirms how long a window is.
        next.response.honeypot = now.response.honeypot;
        next.response.policy.confirm = now.response.policy.confirm;
    },
];

/// What holds once `read` was read while `now` holds; the rest of `read` waits for a restart. What does not go together with
/// something that waits, waits with it.
///
/// `fits` is whether a running agent may still do what a configuration needs.
pub fn reloaded(now: &Config, read: &Config, fits: &dyn Fn(&Config) -> bool) -> Config {
    let known = faults(read);
    let sound = |config: &Config| faults(config).is_subset(&known) && fits(config);
    let mut next = now.clone();
    for part in PARTS {
        part(&mut next, now, read);
    }
    if sound(&next) {
        return next;
    }
    next = now.clone();
    loop {
        let before = next.clone();
        for part in PARTS {
            let mut with = next.clone();
            part(&mut with, now, read);
            if sound(&with) {
                next = with;
            }
        }
        if next == before {
            return next;
        }
    }
}

/// What is wrong between values.
fn faults(config: &Config) -> BTreeSet<(String, String)> {
    let draft = Draft {
        config: config.clone(),
        // It does not change in passing.
        enable_production_actions: true,
    };
    let mut problems = Vec::new();
    check::cross(&draft, &Places::new(), &mut problems);
    problems.into_iter().map(|one| (one.key, one.message)).collect()
}

/// Keys that differ, by name; a section stands for what is secret in it.
pub fn differences(old: &Config, new: &Config) -> Vec<KeyChange> {
    let mut all: Vec<KeyChange> = changes(&effective(old), &effective(new))
        .into_iter()
        .map(|(key, old, new)| KeyChange { key, old, new })
        .collect();
    let sections: [(&str, bool); 16] = [
        ("kernel", old.kernel != new.kernel),
        ("flow", old.flow != new.flow),
        ("detect", old.detect != new.detect),
        ("intel", old.intel != new.intel),
        ("alerting", old.alerting != new.alerting),
        ("response", old.response != new.response || old.probes != new.probes),
        ("containers", old.containers != new.containers),
        ("bettercap", old.bettercap != new.bettercap),
        ("store", old.store != new.store),
        ("reports", old.reports != new.reports),
        ("api", old.api != new.api),
        ("export", old.export != new.export),
        ("sandbox", old.sandbox != new.sandbox),
        ("traffic_log", old.traffic_log != new.traffic_log),
        ("bus", old.bus != new.bus),
        ("fleet", old.fleet != new.fleet),
    ];
    for (section, differs) in sections {
        // `decision_matrix` is a part of `response` that stands elsewhere in the file.
        let named = |change: &KeyChange| {
            change.key == section
                || change.key.starts_with(&format!("{section}."))
                || (section == "response" && change.key.starts_with("decision_matrix"))
        };
        if differs && !all.iter().any(named) {
            all.push(KeyChange {
                key: section.to_owned(),
                old: SECRET.to_owned(),
                new: format!("another {SECRET}"),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests;
