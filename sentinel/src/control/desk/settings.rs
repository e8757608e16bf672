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

/// What came of settings that the desk took up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Decisions that ended because their targets are on the allowlist now.
    pub released: Vec<Released>,
    /// Whom of the allowlist the kernel does not spare, and why; empty where all is well.
    pub missing: Vec<String>,
}

impl<E: Enforcer> Desk<E> {
    /// Keeps the settings in force and what changed in them; `before` is what the start before kept.
    pub async fn note_settings(&mut self, config: &Config, before: Option<String>) {
        let settings = config::effective(config);
        let text = serde_json::to_string(&settings).unwrap_or_default();
        let before: Option<BTreeMap<String, String>> = before.and_then(|text| serde_json::from_str(&text).ok());
        let changes = before.map(|before| config::changes(&before, &settings));
        let differ = match &changes {
            None => "the first start on this database".to_owned(),
            Some(changes) if changes.is_empty() => "as at the start before".to_owned(),
            Some(changes) => format!("{} keys differ from the start before", changes.len()),
        };
        let changes = changes.unwrap_or_default();
        let named = changes
            .iter()
            .map(|(key, old, new)| (key.as_str(), old.as_str(), new.as_str()));
        self.keep_settings(text, "sentinel", ("started", differ), named).await;
    }

    /// Keeps settings, with a line of the audit about them and one for each key that changed. Returns their digest.
    async fn keep_settings<'a>(
        &mut self,
        text: String,
        actor: &str,
        (verb, differ): (&'static str, String),
        changes: impl ExactSizeIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> String {
        let at = self.now();
        let line = |(verb, detail)| Line {
            at,
            actor: actor.to_owned(),
            verb,
            subject: "settings".to_owned(),
            detail,
        };
        let digest = hex(&Sha256::digest(text.as_bytes()));
        let mut lines = vec![line((verb, format!("digest {digest}, {differ}")))];
        lines.extend(told(changes).into_iter().map(line));
        self.responder.note_settings(text, lines).await;
        digest
    }

    /// Goes by other settings, and says whom they let go. Nothing that is in force ends but what is on the allowlist now;
    /// what is on it no more is only no longer protected.
    pub(in crate::control) async fn renew(&mut self, renewal: Renewal<NewSettings, Renewed>) {
        let Renewal { settings, taken } = renewal;
        let NewSettings { config, changes, actor } = settings;
        self.judge.renew(&config.response);
        self.deps.severity_thresholds = config.severity_thresholds;
        self.deps.allowlist.clone_from(&config.allowlist);
        let in_force: Vec<Released> = self.judge.active().map(Released::from).collect();
        let text = serde_json::to_string(&config::effective(&config)).unwrap_or_default();
        let differ = format!("{} keys differ", changes.len());
        let named = changes
            .iter()
            .map(|one| (one.key.as_str(), one.old.as_str(), one.new.as_str()));
        let digest = self.keep_settings(text, &actor, ("reloaded", differ), named).await;
        self.protect().await;
        let still: BTreeSet<_> = self.judge.active().map(|d| d.id).collect();
        let released = in_force.into_iter().filter(|one| !still.contains(&one.decision));
        tracing::info!(keys = changes.len(), actor, digest, "other settings hold");
        let renewed = Renewed {
            released: released.collect(),
            missing: self.not_allowed(&config.allowlist),
        };
        // Whoever asked may have left.
        let _ = taken.send(Ok(renewed));
    }

    /// Which of those that are to be spared the kernel does not spare, and why; also of those that it was told of before.
    fn not_allowed(&self, wanted: &[ipnet::IpNet]) -> Vec<String> {
        let allowed = match self.responder.allowed() {
            Ok(allowed) => allowed,
            Err(_) if wanted.is_empty() => return Vec::new(),
            Err(error) => {
                return vec![format!(
                    "whether the kernel spares the allowlist cannot be read: {error}"
                )];
            }
        };
        let missing = wanted
            .iter()
            .map(|net| canonical(*net))
            .filter(|net| !allowed.contains(net));
        missing
            .map(|net| {
                format!(
                    "{net} is on the allowlist and not in the kernel's allow map, read back; it is tried again within a minute"
                )
            })
            .collect()
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
