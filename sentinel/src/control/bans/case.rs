//! One decision's ban: its action, and what must be put back.

use crate::bettercap::sayable;
use crate::types::{Action, ActionId, ActionKind, ActionStatus, Ban, DecisionId, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// What is put back with the last ban, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    version: u32,
    /// The targets of `arp.spoof` before the first of our bans that stand.
    pub(super) before: String,
}

impl Undo {
    pub(super) fn new(before: &str) -> Self {
        let before = if sayable(before) { before } else { "" };
        Self {
            version: 1,
            before: before.to_owned(),
        }
    }

    pub(super) fn encode(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// One ban.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) action: Action,
    pub(super) address: Ipv4Addr,
    /// There from the moment on from which it may be banned.
    pub(super) undo: Option<Undo>,
    /// Bettercap knew its MAC while it was a target, and has run since.
    pub(super) seen: bool,
    /// The ban is over and read back as such, in these words. Only to be told.
    pub(super) lifted: Option<String>,
    /// Whether the store has its latest state, and with which end.
    pub(super) told: bool,
    pub(super) told_until: Option<Timestamp>,
}

impl Case {
    pub(super) fn new(id: ActionId, decision: DecisionId, wish: &Ban, now: Timestamp) -> Self {
        let action = Action {
            id,
            decision,
            kind: ActionKind::ArpBan,
            target: IpNet::from(IpAddr::V4(wish.address)),
            status: ActionStatus::Intent,
            intent_at: now,
            entered_at: None,
            outcome_at: None,
            expires_at: wish.expires_at,
            outcome: String::new(),
            hits: 0,
            would_hits: 0,
        };
        Self {
            told_until: action.expires_at,
            action,
            address: wish.address,
            undo: None,
            seen: false,
            lifted: None,
            told: false,
        }
    }

    /// As an earlier run left it; `None` where it is about no address. A record that cannot be read says that it may be
    /// banned all the same.
    pub(super) fn recalled(action: Action, undo: Option<&str>) -> Option<Self> {
        let IpAddr::V4(address) = action.target.addr() else {
            return None;
        };
        let undo = undo.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Undo::new("")));
        Some(Self {
            seen: action.status == ActionStatus::Enforced,
            lifted: None,
            told_until: action.expires_at,
            action,
            address,
            undo,
            told: true,
        })
    }

    /// Whether it is banned, or may be.
    pub(super) fn begun(&self) -> bool {
        self.undo.is_some() && self.lifted.is_none()
    }

    /// Whether it goes on under a wish: what was done is not left standing in simulation, nor told as done after it.
    pub(super) fn stays(&self, wish: &Ban) -> bool {
        let told_only = self.action.status == ActionStatus::Simulated;
        if self.lifted.is_some() {
            false
        } else if wish.simulated {
            self.undo.is_none()
        } else {
            !told_only
        }
    }
}
