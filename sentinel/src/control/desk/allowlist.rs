//! Whom operators put on the allowlist while the agent runs, beside those of the settings.

use super::{Desk, Enforcer};
use crate::respond::Line;
use crate::types::{AllowDone, Allowed, CommandError, Protected, Timestamp, canonical};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// Entries by command; the kernel's allow maps hold more, for what the host needs.
const ENTRIES: usize = 10_000;

/// The entries, and when the next of them runs out.
#[derive(Debug, Default)]
pub(super) struct Allowlist {
    entries: BTreeMap<IpNet, Allowed>,
    next: Option<Timestamp>,
}

impl Allowlist {
    fn put(&mut self, entry: Allowed) -> Option<Allowed> {
        let old = self.entries.insert(entry.target, entry);
        self.settle();
        old
    }

    fn take(&mut self, target: &IpNet) -> Option<Allowed> {
        let old = self.entries.remove(target);
        self.settle();
        old
    }

    fn settle(&mut self) {
        self.next = self.entries.values().filter_map(|entry| entry.expires_at).min();
    }

    /// Takes off what has run out by `now`.
    fn expire(&mut self, now: Timestamp) -> Vec<Allowed> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let over = |entry: &Allowed| entry.expires_at.is_some_and(|end| end <= now);
        let ended: Vec<Allowed> = self.entries.values().filter(|entry| over(entry)).cloned().collect();
        self.entries.retain(|_, entry| !over(entry));
        self.settle();
        ended
    }

    /// As guards take them.
    pub(super) fn protected(&self) -> impl Iterator<Item = Protected> {
        self.entries.values().map(|entry| Protected {
            target: entry.target,
            guard: "allowlist".to_owned(),
            reason: entry.reason(),
        })
    }
}

impl<E: Enforcer> Desk<E> {
    /// Takes up the entries of earlier runs. Call before [`Desk::protect`].
    pub fn allowed_before(&mut self, entries: Vec<Allowed>) {
        for entry in entries {
            self.allowlist.put(Allowed {
                target: canonical(entry.target),
                ..entry
            });
        }
    }

    /// Puts an entry on the list, whose end is by the desk's own clock, as `now` is.
    pub(super) async fn allow(&mut self, entry: Allowed, now: Timestamp) -> Result<AllowDone, CommandError> {
        let target = canonical(entry.target);
        let entry = Allowed {
            target,
            at: now,
            ..entry
        };
        if target.prefix_len() == 0 {
            let text = format!(
                "{target} is everybody, so nothing could be done about anyone; `sentinel stop-acting` is for that"
            );
            return Err(CommandError::Invalid(text));
        }
        if entry.expires_at.is_some_and(|end| end <= now) {
            return Err(CommandError::Invalid(
                "it would be over at once; give a longer duration".to_owned(),
            ));
        }
        if self.allowlist.entries.len() >= ENTRIES && !self.allowlist.entries.contains_key(&target) {
            return Err(CommandError::Failed(format!(
                "the allowlist has {ENTRIES} entries, which is all it can hold; allow a prefix, or remove some"
            )));
        }
        let line = line(&entry.actor, "allowlist_added", &entry, now);
        self.responder.note_allowed(&entry, line).await;
        let before = self.allowlist.put(entry.clone());
        let covered = |d: &IpNet| target.contains(d) || d.contains(&target);
        let named: Vec<_> = self.judge.active().filter(|d| covered(&d.target)).cloned().collect();
        self.protect().await;
        match self.responder.allows(target) {
            Ok(true) => {}
            found => {
                let cause = match found {
                    Err(error) => error.to_string(),
                    Ok(_) => "it is not in the kernel's allow map, read back".to_owned(),
                };
                self.allowlist.take(&target);
                if let Some(before) = before {
                    let line = line_of(&before.actor, "allowlist_failed", &before.target, cause.clone(), now);
                    self.responder.note_allowed(&before, line).await;
                    self.allowlist.put(before);
                } else {
                    let line = line_of(&entry.actor, "allowlist_failed", &target, cause.clone(), now);
                    self.responder.note_disallowed(vec![(target, line)]).await;
                }
                self.protect().await;
                return Err(CommandError::Failed(cause));
            }
        }
        let in_force: std::collections::BTreeSet<_> = self.judge.active().map(|d| d.id).collect();
        let ended = named.into_iter().filter(|d| !in_force.contains(&d.id)).collect();
        Ok(AllowDone {
            entry,
            changed: before.is_some(),
            ended,
        })
    }

    pub(super) async fn disallow(&mut self, target: IpNet, actor: &str) -> Result<Allowed, CommandError> {
        let target = canonical(target);
        let Some(entry) = self.allowlist.take(&target) else {
            return Err(self.not_ours(&target));
        };
        let now = self.now();
        let line = line(actor, "allowlist_removed", &entry, now);
        self.responder.note_disallowed(vec![(target, line)]).await;
        self.protect().await;
        // Something else may protect the very same target; only what nobody lists must be gone.
        let listed = self.guards.protected().iter().any(|p| p.target == target);
        match self.responder.allows(target) {
            Ok(there) if there == listed => Ok(entry),
            Ok(_) => Err(CommandError::Failed(format!(
                "{target} is off the list, and still in the kernel's allow map; it is tried again within a minute"
            ))),
            Err(error) => Err(CommandError::Failed(error.to_string())),
        }
    }

    /// Why what is not on our list cannot be removed from it.
    fn not_ours(&self, target: &IpNet) -> CommandError {
        let configured = self.deps.allowlist.iter().any(|net| canonical(*net) == *target);
        if configured {
            return CommandError::Invalid(format!(
                "{target} is listed under the key `allowlist` of the settings, which no command changes; remove it \
                 there and `sentinel reload`"
            ));
        }
        match self.guards.protected().iter().find(|p| p.target == *target) {
            Some(other) => CommandError::Invalid(format!(
                "{target} is protected by guard `{}` ({}), which no command changes",
                other.guard, other.reason
            )),
            None => CommandError::NotFound,
        }
    }

    /// Ends the entries whose time ran out.
    pub(super) async fn expire_allowed(&mut self, now: Timestamp) {
        let ended = self.allowlist.expire(now);
        if ended.is_empty() {
            return;
        }
        let lines = ended.iter().map(|entry| {
            tracing::info!(target_net = %entry.target, "no longer on the allowlist: its time ran out");
            (entry.target, line("sentinel", "allowlist_expired", entry, now))
        });
        self.responder.note_disallowed(lines.collect()).await;
        self.protect().await;
    }
}

fn line(actor: &str, verb: &'static str, entry: &Allowed, at: Timestamp) -> Line {
    let until = entry
        .expires_at
        .map_or("for good".to_owned(), |end| format!("until {end}"));
    line_of(actor, verb, &entry.target, format!("{until}: {}", entry.comment), at)
}

fn line_of(actor: &str, verb: &'static str, target: &IpNet, detail: String, at: Timestamp) -> Line {
    Line {
        at,
        actor: actor.to_owned(),
        verb,
        subject: target.to_string(),
        detail,
    }
}
