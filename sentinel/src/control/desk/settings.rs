//! What this start is configured as, and what differs from the start before, for the audit.

use super::{Desk, Enforcer};
use crate::config::{self, Config};
use crate::respond::Line;
use crate::types::{KeyChange, Released, Renewal, canonical, hex};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Changed keys named in the audit; the others are counted.
const TOLD: usize = 40;

/// Settings that hold from now on.
#[derive(Clone, Debug)]
pub struct NewSettings {
    /// All of them.
    pub config: Arc<Config>,
    /// What differs from those before.
    pub changes: Vec<KeyChange>,
    /// Who had them read.
    pub actor: String,
}

impl<E: Enforcer> Desk<E> {
    /// Keeps the settings in force and what changed in them; `before` is what the start before kept.
    pub async fn note_settings(&mut self, config: &Config, before: Option<String>) {
        let settings = config::effective(config);
        let text = serde_json::to_string(&settings).unwrap_or_default();
        let before: Option<BTreeMap<String, String>> = before.and_then(|text| serde_json::from_str(&text).ok());
        let changes = before.map(|before| config::changes(&before, &settings));
        let at = self.now();
        let line = |verb, detail| Line {
            at,
            actor: "sentinel".to_owned(),
            verb,
            subject: "settings".to_owned(),
            detail,
        };
        let digest = hex(&Sha256::digest(text.as_bytes()));
        let differ = match &changes {
            None => "the first start on this database".to_owned(),
            Some(changes) if changes.is_empty() => "as at the start before".to_owned(),
            Some(changes) => format!("{} keys differ from the start before", changes.len()),
        };
        let mut lines = vec![line("started", format!("digest {digest}, {differ}"))];
        let changes = changes.unwrap_or_default();
        let named = changes
            .iter()
            .map(|(key, old, new)| (key.as_str(), old.as_str(), new.as_str()));
        lines.extend(told(named).into_iter().map(|(verb, detail)| line(verb, detail)));
        self.responder.note_settings(text, lines).await;
    }

    /// Goes by other settings, and says whom they let go. Nothing that is in force ends but what is on the allowlist now;
    /// what is on it no more is only no longer protected.
    pub(super) async fn renew(&mut self, renewal: Renewal<NewSettings, Vec<Released>>) {
        let Renewal { settings, taken } = renewal;
        let NewSettings { config, changes, actor } = settings;
        self.judge.renew(&config.response);
        self.deps.severity_thresholds = config.severity_thresholds;
        let before = std::mem::replace(&mut self.deps.allowlist, config.allowlist.clone());
        let in_force: Vec<Released> = self.judge.active().map(Released::from).collect();
        let digest = self.note_renewal(&config, &changes, &actor).await;
        self.protect().await;
        let still: BTreeSet<_> = self.judge.active().map(|d| d.id).collect();
        let released = in_force.into_iter().filter(|one| !still.contains(&one.decision));
        tracing::info!(keys = changes.len(), actor, digest, "other settings hold");
        let new = config.allowlist.iter().filter(|net| !before.contains(net));
        let missing: Vec<_> = new.filter_map(|net| self.not_allowed(*net)).collect();
        let outcome = if missing.is_empty() {
            Ok(released.collect())
        } else {
            Err(missing.join("; "))
        };
        // Whoever asked may have left.
        let _ = taken.send(outcome);
    }

    /// Why the kernel does not spare an address that is to be spared, where that is so.
    fn not_allowed(&self, net: ipnet::IpNet) -> Option<String> {
        let net = canonical(net);
        match self.responder.allows(net) {
            Ok(true) => None,
            Ok(false) => Some(format!(
                "{net} is on the allowlist and not in the kernel's allow map, read back; it is tried again within a minute"
            )),
            Err(error) => Some(format!("whether the kernel spares {net} cannot be read: {error}")),
        }
    }

    async fn note_renewal(&mut self, config: &Config, changes: &[KeyChange], actor: &str) -> String {
        let text = serde_json::to_string(&config::effective(config)).unwrap_or_default();
        let digest = hex(&Sha256::digest(text.as_bytes()));
        let at = self.now();
        let line = |verb, detail| Line {
            at,
            actor: actor.to_owned(),
            verb,
            subject: "settings".to_owned(),
            detail,
        };
        let mut lines = vec![line(
            "reloaded",
            format!("digest {digest}, {} keys differ", changes.len()),
        )];
        let named = changes
            .iter()
            .map(|one| (one.key.as_str(), one.old.as_str(), one.new.as_str()));
        lines.extend(told(named).into_iter().map(|(verb, detail)| line(verb, detail)));
        self.responder.note_settings(text, lines).await;
        digest
    }
}

/// A line for each changed key, and how many more there are.
fn told<'a>(changes: impl ExactSizeIterator<Item = (&'a str, &'a str, &'a str)>) -> Vec<(&'static str, String)> {
    let all = changes.len();
    let mut lines: Vec<_> = changes
        .take(TOLD)
        .map(|(key, old, new)| {
            let verb = if key == "mode" {
                "mode_changed"
            } else {
                "setting_changed"
            };
            (verb, format!("{key}: {old} → {new}"))
        })
        .collect();
    if all > TOLD {
        lines.push(("setting_changed", format!("and {} more keys", all - TOLD)));
    }
    lines
}
