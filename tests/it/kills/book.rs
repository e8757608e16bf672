//! What was acknowledged, and what must be so in turn.

use super::Wish;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use testbed::agent::Agent;
use testbed::net::Host;

/// Decisions above which everything is taken back.
const MANY: usize = 700;
/// Lines of an import.
const LINES: u32 = 200;

/// What an acknowledged decision says; the rest is nobody's promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// Unknown of those that came by import.
    id: Option<String>,
    ends: Option<String>,
    reason: String,
    action: String,
    /// Made while acting was stopped, so that it only counts, also afterwards.
    simulated: bool,
}

impl Promise {
    fn of(decision: &Value) -> Self {
        let text = |key: &str| decision[key].as_str().unwrap_or_default().to_owned();
        Self {
            id: Some(text("id")),
            ends: Some(text("expires_at")),
            reason: text("reason"),
            action: text("action"),
            simulated: decision["simulated"] == true,
        }
    }

    /// Whether nothing comes through, where acting is not stopped.
    pub(super) fn bars(&self) -> bool {
        self.action == "block_ip" && !self.simulated
    }

    /// Whether everything does.
    pub(super) fn only_counts(&self) -> bool {
        self.simulated
    }

    fn kept_by(&self, found: &Self) -> bool {
        (self.id.is_none() || self.id == found.id)
            && (self.ends.is_none() || self.ends == found.ends)
            && (&self.reason, &self.action, self.simulated) == (&found.reason, &found.action, found.simulated)
    }
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// In force, by target.
    pub(super) blocks: BTreeMap<String, Promise>,
    /// Targets of decisions that are over, and left nothing behind.
    pub(super) freed: BTreeSet<String>,
    pub(super) allowed: BTreeSet<String>,
    pub(super) stopped: bool,
    /// Asked for and not answered.
    pub(super) pending: Option<Wish>,
    /// Those who attacked: the agent may decide anew about them at any time.
    attackers: BTreeSet<String>,
    serial: u32,
    pub(super) acknowledged: u32,
    pub(super) cut_off: u32,
}

fn v4(net: u8, serial: u32) -> String {
    format!("45.{net}.{}.{}", serial / 250 % 250, 1 + serial % 250)
}

impl Book {
    /// The wish whose turn it is, where it makes sense now.
    pub(super) fn think_of(&mut self, turn: usize, other: &Host) -> Option<Wish> {
        self.serial += 1;
        let serial = self.serial;
        let reason = format!("wish {serial}");
        let add = |target: String, kind, duration| {
            let reason = reason.clone();
            Some(Wish::Add {
                target,
                kind,
                duration,
                reason,
            })
        };
        let some = |nth: u32| {
            let one = self.blocks.keys().filter(|target| !self.attackers.contains(*target));
            let count = one.clone().count().max(1);
            one.clone().nth(nth as usize % count).cloned()
        };
        if self.blocks.len() > MANY {
            return Some(Wish::DeleteAll);
        }
        match turn * 5 % 16 {
            0 | 9 => add(v4(40, serial), "block", "1h"),
            1 => add(format!("2001:db8:5:{serial:x}::7"), "block", "1h"),
            2 => add(format!("45.41.{}.0/24", serial % 250), "block", "1h"),
            3 => add(format!("2001:db8:6:{serial:x}::/64"), "block", "1h"),
            4 => add(some(serial)?, "block", "3h"),
            5 => Some(Wish::Delete {
                target: some(serial * 7)?,
                forget: true,
            }),
            6 => {
                let first = serial * LINES;
                let targets = (first..first + LINES)
                    .map(|n| v4(50 + (n / 62_500 % 50) as u8, n))
                    .collect();
                Some(Wish::Import { targets, reason })
            }
            7 | 15 => Some(if self.stopped { Wish::Resume } else { Wish::Stop }),
            8 => add(v4(42, serial), "rate_limit", "1h"),
            10 => Some(Wish::Allow {
                target: some(serial * 3)?,
            }),
            11 => Some(Wish::Disallow {
                target: self.allowed.first()?.clone(),
            }),
            12 => Some(Wish::Allow { target: v4(43, serial) }),
            13 => Some(Wish::Delete {
                target: some(serial * 5)?,
                forget: false,
            }),
            // Every other time, since a scan takes as long as the rest together.
            _ if turn.is_multiple_of(2) => {
                let address = other.add(20 + (serial % 200) as u8).ok()?;
                Some(Wish::Attack(address.into()))
            }
            _ => None,
        }
    }

    /// Writes down what was answered with success.
    pub(super) fn acknowledge(&mut self, wish: &Wish, answer: &Value) -> Result<()> {
        self.acknowledged += 1;
        match wish {
            Wish::Add { target, .. } => {
                ensure!(answer["status"] == "active", "{answer}");
                self.put(target, Promise::of(answer));
            }
            Wish::Delete { target, forget } => {
                ensure!(answer["total"] == 1, "{answer}");
                self.end(target, *forget);
            }
            Wish::DeleteAll => {
                let all: Vec<String> = self.blocks.keys().cloned().collect();
                ensure!(answer["total"].as_u64() >= Some(all.len() as u64), "{answer}");
                for target in &all {
                    self.end(target, true);
                }
            }
            Wish::Import { targets, reason } => {
                ensure!(answer["imported"] == targets.len(), "{answer}");
                for target in targets {
                    self.put(target, imported(reason, self.stopped));
                }
            }
            Wish::Stop => self.stopped = true,
            Wish::Resume => self.stopped = false,
            Wish::Allow { target } => {
                self.allowed.insert(exact(target));
                self.end(target, true);
            }
            Wish::Disallow { target } => {
                self.allowed.remove(&exact(target));
            }
            Wish::Attack(from) => {
                let decision = &answer["items"][0];
                ensure!(decision["status"] == "active", "{answer}");
                self.attackers.insert(exact(&from.to_string()));
                self.put(&from.to_string(), Promise::of(decision));
            }
        }
        Ok(())
    }

    fn put(&mut self, target: &str, promise: Promise) {
        self.freed.remove(&exact(target));
        self.blocks.insert(exact(target), promise);
    }

    fn end(&mut self, target: &str, forgotten: bool) {
        if self.blocks.remove(&exact(target)).is_some() && forgotten {
            self.freed.insert(exact(target));
        }
    }

    /// Compares with what is there now, and takes over what may be either way.
    pub(super) fn settle(&mut self, found: &Found) -> Result<()> {
        let pending = self.pending.take();
        if let Some(Wish::Attack(from)) = &pending {
            self.attackers.insert(exact(&from.to_string()));
        }
        self.settle_stop(pending.as_ref(), found)?;
        self.settle_allowlist(pending.as_ref(), found)?;
        let touched = self.settle_pending(pending.as_ref(), found)?;
        for (target, promise) in &self.blocks {
            if touched.contains(target) {
                continue;
            }
            let there = found
                .blocks
                .get(target)
                .with_context(|| format!("{target} is lost: {promise:?}"))?;
            let kept = promise.kept_by(there) || self.attackers.contains(target);
            ensure!(kept, "{target} was {promise:?} and is {there:?}");
        }
        for (target, there) in &found.blocks {
            let known = self.blocks.contains_key(target) || touched.contains(target) || self.attackers.contains(target);
            ensure!(known, "{target} came from nowhere, or is back: {there:?}");
        }
        // What is now is what the next one must find.
        let before = std::mem::replace(&mut self.blocks, found.blocks.clone());
        for target in self.blocks.keys() {
            self.freed.remove(target);
        }
        // Ended by what was not answered: whether a probation is left is not known.
        let gone: Vec<_> = before
            .into_keys()
            .filter(|target| !self.blocks.contains_key(target))
            .collect();
        for target in gone {
            ensure!(touched.contains(&target), "{target} is lost");
        }
        self.allowed.clone_from(&found.allowed);
        self.stopped = found.stopped;
        found.told_as_it_is()
    }

    fn settle_stop(&self, pending: Option<&Wish>, found: &Found) -> Result<()> {
        let open = matches!(pending, Some(Wish::Stop | Wish::Resume));
        ensure!(
            open || self.stopped == found.stopped,
            "stopped {}, now {}",
            self.stopped,
            found.stopped
        );
        Ok(())
    }

    fn settle_allowlist(&self, pending: Option<&Wish>, found: &Found) -> Result<()> {
        let open = match pending {
            Some(Wish::Allow { target } | Wish::Disallow { target }) => Some(exact(target)),
            _ => None,
        };
        let wrong: Vec<_> = self.allowed.symmetric_difference(&found.allowed).collect();
        ensure!(
            wrong.iter().all(|target| Some(*target) == open.as_ref()),
            "allowlist differs in {wrong:?}"
        );
        Ok(())
    }

    /// What was asked for and not answered is there wholly, or not at all; the targets it is about.
    fn settle_pending(&self, pending: Option<&Wish>, found: &Found) -> Result<BTreeSet<String>> {
        let one = |target: &str| BTreeSet::from([exact(target)]);
        let as_before = |target: &String| match (self.blocks.get(target), found.blocks.get(target)) {
            (None, None) => true,
            (Some(promise), Some(there)) => promise.kept_by(there) || self.attackers.contains(target),
            _ => false,
        };
        let gone = |target: &String| !found.blocks.contains_key(target);
        Ok(match pending {
            Some(Wish::Add { target, reason, .. }) => {
                let there = found.blocks.get(&exact(target));
                let done = there.is_some_and(|there| there.reason == *reason);
                ensure!(done || as_before(&exact(target)), "{target}: {there:?}");
                one(target)
            }
            Some(Wish::Delete { target, .. }) => {
                let target = exact(target);
                ensure!(
                    gone(&target) || as_before(&target),
                    "{target}: {:?}",
                    found.blocks.get(&target)
                );
                one(&target)
            }
            Some(Wish::DeleteAll) => {
                let all: BTreeSet<String> = self.blocks.keys().cloned().collect();
                ensure!(
                    all.iter().all(gone) || all.iter().all(as_before),
                    "{} of {} are left",
                    found.blocks.len(),
                    all.len()
                );
                all
            }
            Some(Wish::Import { targets, reason }) => {
                let targets: BTreeSet<String> = targets.iter().map(|target| exact(target)).collect();
                let promise = imported(reason, self.stopped);
                let there = |target: &String| found.blocks.get(target).is_some_and(|there| promise.kept_by(there));
                let count = targets.iter().filter(|target| there(target)).count();
                let whole = count == targets.len() || count == 0 && targets.iter().all(as_before);
                ensure!(whole, "{count} of {} lines", targets.len());
                targets
            }
            Some(Wish::Allow { target }) => {
                let target = exact(target);
                let fits = if found.allowed.contains(&target) {
                    gone(&target)
                } else {
                    as_before(&target)
                };
                ensure!(fits, "{target}, allowed: {}", found.allowed.contains(&target));
                one(&target)
            }
            _ => BTreeSet::new(),
        })
    }
}

fn imported(reason: &str, simulated: bool) -> Promise {
    Promise {
        id: None,
        ends: None,
        reason: reason.to_owned(),
        action: "block_ip".to_owned(),
        simulated,
    }
}

/// As the agent spells it.
fn exact(target: &str) -> String {
    match target {
        _ if target.contains('/') => target.to_owned(),
        _ if target.contains(':') => format!("{target}/128"),
        _ => format!("{target}/32"),
    }
}

/// What the agent tells.
#[derive(Debug)]
pub(super) struct Found {
    blocks: BTreeMap<String, Promise>,
    allowed: BTreeSet<String>,
    stopped: bool,
    /// Actions that are told to be under way or in force, by decision.
    actions: BTreeMap<String, String>,
}

impl Found {
    pub(super) fn read(agent: &Agent) -> Result<Self> {
        let mut blocks = BTreeMap::new();
        for decision in all(agent, "/decisions?active=true")? {
            if decision["action"] == "log_only" {
                continue;
            }
            let target = decision["target"].as_str().context("no target")?.to_owned();
            let twice = blocks.insert(target, Promise::of(&decision));
            ensure!(twice.is_none(), "two on one target: {decision}");
        }
        let list = agent.get("/allowlist")?;
        let entries = list["items"].as_array().context("no list")?;
        let ours = entries.iter().filter(|entry| entry["origin"] == "operator");
        let mut actions = BTreeMap::new();
        for status in ["intent", "enforced", "simulated"] {
            for action in all(agent, &format!("/actions?status={status}"))? {
                let decision = action["decision"].as_str().context("no decision")?.to_owned();
                if actions.insert(decision, status.to_owned()).is_some() {
                    bail!("two actions of one decision: {action}");
                }
            }
        }
        Ok(Self {
            blocks,
            allowed: ours
                .filter_map(|entry| Some(entry["target"].as_str()?.to_owned()))
                .collect(),
            stopped: agent.get("/acting")?["acting"] == false,
            actions,
        })
    }

    /// Each decision in force has its action, told as it is; nothing else has one.
    fn told_as_it_is(&self) -> Result<()> {
        let told = |there: &Promise| {
            let counts = self.stopped || there.simulated;
            if counts { "simulated" } else { "enforced" }.to_owned()
        };
        let named = self
            .blocks
            .values()
            .filter_map(|there| Some((there.id.clone()?, told(there))));
        let wanted: BTreeMap<String, String> = named.collect();
        for (decision, status) in &wanted {
            let told = self.actions.get(decision);
            ensure!(
                told == Some(status),
                "the action of {decision} is told as {told:?}, not {status}"
            );
        }
        let loose = self.actions.keys().find(|decision| !wanted.contains_key(*decision));
        ensure!(
            loose.is_none(),
            "an action of a decision that is over is told to be in force: {loose:?}"
        );
        Ok(())
    }
}

/// Every item of a list.
fn all(agent: &Agent, path: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = agent.get(&format!("{path}&limit=1000{cursor}"))?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}
