//! What other programs keep that did this work before: their bans, and whom they spare.
//!
//! In: databases, lists and settings of fail2ban and CrowdSec, where they lie. Out: [`Found`], all of it as nouns of ours.
//! Invariant: nothing of theirs is written to or waited for, not even while they run; a source that is not what it is said
//! to be is refused with the mend, and what cannot be carried over is told, never dropped.
//! Deliberately elsewhere: what of it the agent takes, and telling it (`cli`). Their databases are SQLite as well, and none
//! of the house's store, so what is asked of them stands here.
//!
//! [`copy`] their database without touching it · [`fail2ban`], with [`ini`] · [`crowdsec`], with its YAML

mod copy;
pub mod crowdsec;
mod error;
pub mod fail2ban;
#[doc(hidden)]
pub mod fuzzing;
mod ini;
#[cfg(test)]
mod tests;

pub use error::MigrateError;

use crate::types::{ActionKind, Timestamp, canonical};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Somebody another program keeps away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Address or prefix.
    pub target: IpNet,
    /// What comes closest to what was done.
    pub action: ActionKind,
    /// Until when; `None`: for good.
    pub until: Option<Timestamp>,
    /// Why, in their words: bounded, on one line.
    pub reason: String,
}

/// Something that is not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By target; of several the one that lasts longest.
    pub bans: BTreeMap<IpNet, Ban>,
    /// By target, where that is said.
    pub spared: BTreeMap<IpNet, String>,
    /// What is not carried over, and why: the first [`LEFT_OUT_MAX`].
    pub left_out: Vec<LeftOut>,
    /// How many more there are.
    pub left_out_more: u64,
    /// Bans that are over.
    pub over: u64,
    /// Bans that came from lists of others, where these were not asked for.
    pub of_lists: u64,
}

impl Found {
    /// Takes in a ban; of several on one target the one that lasts longest stays.
    fn ban(&mut self, ban: Ban) {
        let lasts = |ban: &Ban| ban.until.map_or(i64::MAX, |end| end.0);
        let known = self.bans.entry(ban.target).or_insert_with(|| ban.clone());
        if (lasts(&ban), ban.action) > (lasts(known), known.action) {
            *known = ban;
        }
    }

    fn spare(&mut self, target: IpNet, place: String) {
        self.spared.entry(target).or_insert(place);
    }

    fn leave(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (shown(&what.into()), why.into());
        // Of the same thing in several places the first tells enough.
        if self.left_out.iter().any(|known| known.what == what) {
            return;
        }
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.push(LeftOut { what, why });
        } else {
            self.left_out_more += 1;
        }
    }

    /// Puts what two sources say together.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        other.bans.into_values().for_each(|ban| self.ban(ban));
        other
            .spared
            .into_iter()
            .for_each(|(target, place)| self.spare(target, place));
        self.left_out.extend(other.left_out);
        self.left_out_more += other.left_out_more;
        self.over += other.over;
        self.of_lists += other.of_lists;
        self
    }
}

/// What is left out is told one by one up to here; the rest is counted.
pub const LEFT_OUT_MAX: usize = 1_000;

/// Longest text of theirs that is repeated, characters.
const TEXT: usize = 120;

/// A stranger's text on one line, bounded.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

/// An address or prefix; bits behind its length are cut off.
fn net(text: &str) -> Option<IpNet> {
    let text = text.trim().trim_matches(['[', ']']);
    let found = text.parse::<IpAddr>().map(IpNet::from);
    let found = found.or_else(|_| text.parse::<IpNet>()).ok()?;
    Some(canonical(found.trunc()))
}
