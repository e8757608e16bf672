//! What this start is configured as, and what differs from the start before, for the audit.

use super::{Desk, Enforcer};
use crate::config::{self, Config};
use crate::respond::Line;
use crate::types::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Changed keys named in the audit; the others are counted.
const TOLD: usize = 40;

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
        for (key, old, new) in changes.iter().take(TOLD) {
            let verb = if key == "mode" {
                "mode_changed"
            } else {
                "setting_changed"
            };
            lines.push(line(verb, format!("{key}: {old} → {new}")));
        }
        if changes.len() > TOLD {
            lines.push(line(
                "setting_changed",
                format!("and {} more keys", changes.len() - TOLD),
            ));
        }
        self.responder.note_settings(text, lines).await;
    }
}
