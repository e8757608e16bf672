//! What is to be done about an address, on whose word and until when.

use super::{
    Acting, ActionKind, AlertId, AllowDone, Allowed, DecisionId, FleetOrder, FleetOutcome, Import, ImportError,
    Imported, InvestigationId, NewAllowed, Prefix, Rate, Severity, Terms, Timestamp,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// Who wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An alert of a detector.
    Detector,
    /// A person, through CLI, API or dashboard.
    Operator,
    /// Another node of the fleet.
    Fleet,
}

impl Origin {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Detector, Self::Operator, Self::Fleet];

    /// The name used in metrics and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Operator => "operator",
            Self::Fleet => "fleet",
        }
    }
}

/// Where a decision stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionStatus {
    /// In force (or, simulated, counted as if).
    Active,
    /// A guard refused it; nothing was done.
    Vetoed,
    /// Nothing but a line in the log was asked for.
    Logged,
    /// Its time ran out.
    Expired,
    /// A person took it back.
    Deleted,
    /// What was found out about its target later spoke for it.
    Lifted,
    /// It was about a prefix, and not confirmed: a health probe failed, or nobody could tell in time.
    RolledBack,
    /// Could not be carried out; see the action's outcome.
    Failed,
}

/// What a detector's decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What was seen here, and at most one source outside.
    LocalEvidenceOnly,
    /// Two or more independent sources outside agree with it.
    IndependentSources,
}

/// Why a guard refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Veto {
    /// Name of the guard: `loopback`, `own_address`, `gateway`, `resolver`, `allowlist`, `too_wide`, …
    pub guard: String,
    /// One sentence for people.
    pub reason: String,
}

/// What a guard or a bound had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// Nothing against it.
    Passed,
    /// It is done more mildly than was asked for.
    Softened,
}

/// A guard or a bound that was asked before something was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Its name: `matrix`, `evidence_class`, `detector_policy`, `confidence`, `return_path`, `good_history`, `connected`, `protected`,
    /// `ceiling`, `repeat`, `collateral`, `health_probe`.
    pub guard: String,
    /// What it said.
    pub verdict: CheckVerdict,
    /// Why, for people.
    pub reason: String,
}

/// A decision. Stored before it is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// Its name.
    pub id: DecisionId,
    /// When it was taken.
    pub at: Timestamp,
    /// The address (as /32 or /128) or prefix it is about.
    #[schema(value_type = Prefix)]
    pub target: IpNet,
    /// What to do.
    pub action: ActionKind,
    /// What with.
    #[serde(flatten)]
    pub terms: Terms,
    /// When it ends, as the kernel has it; every action but `log_only` has an end.
    pub expires_at: Option<Timestamp>,
    /// Provisional: when it ends once it is confirmed. Unconfirmed it is rolled back at `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_if_confirmed: Option<Timestamp>,
    /// Counted but not enforced.
    pub simulated: bool,
    /// Who wanted it.
    pub origin: Origin,
    /// The person's name or the detector's.
    pub actor: String,
    /// One sentence for people.
    pub reason: String,
    /// The alert behind it.
    pub alert: Option<AlertId>,
    /// That alert's severity.
    pub severity: Option<Severity>,
    /// How risky its source was held to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Severity>,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Where it is told what was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub investigation: Option<InvestigationId>,
    /// Guards and bounds that were asked, in that order; the one that refused is the veto.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// About a prefix: peers that behaved well lately and lose service by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<u32>,
    /// Where it stands.
    pub status: DecisionStatus,
    /// The guard that refused, if one did.
    pub veto: Option<Veto>,
    /// When it ended, for `expired`, `deleted`, `rolled_back` and `failed`.
    pub ended_at: Option<Timestamp>,
}

impl Decision {
    /// The check that stands with what another node decided.
    pub const FOLLOWED: &str = "fleet";

    /// Whether a detector took it about an address that may be forged: it limits what opens connections, and says
    /// nothing about whoever is at the address.
    pub fn of_the_unproven(&self) -> bool {
        self.origin == Origin::Detector && self.terms.rate.is_some_and(|rate| rate.openings)
    }

    /// Whether it is in force here on the word of another node.
    pub fn is_followed(&self) -> bool {
        self.origin == Origin::Fleet || self.checks.iter().any(|check| check.guard == Self::FOLLOWED)
    }

    /// Whether it is about more than one host.
    pub fn is_wide(&self) -> bool {
        self.target.prefix_len() < self.target.max_prefix_len()
    }
}

/// An operator's wish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDecision {
    /// Address or prefix.
    pub target: IpNet,
    /// What to do.
    pub action: ActionKind,
    /// What a rate limit lets through; the configured rate where not said.
    pub rate: Option<Rate>,
    /// Whether what goes out to it is dropped too, for a block; as configured where not said.
    pub egress: Option<bool>,
    /// For how long.
    pub duration: Duration,
    /// About a prefix: how many peers that behaved well lately may lose service by it; as configured where not said.
    pub collateral: Option<u32>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}

/// Which active decisions a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One by name.
    Id(DecisionId),
    /// All on exactly this target.
    Target(IpNet),
    /// Every one.
    All,
}

/// The only way upstream: what API and CLI may ask of the `decide` room.
#[derive(Debug)]
pub enum Command {
    /// Take a decision; answered once it is stored and carried out (or refused).
    Add(NewDecision, oneshot::Sender<Result<Decision, CommandError>>),
    /// Take decisions back; answered with those that were, once the kernel was read back.
    Delete {
        /// Which ones.
        which: Selector,
        /// Leave nothing behind: no probation, and an end to that of decisions that are over.
        forget: bool,
        /// Who asks.
        actor: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Deleted, CommandError>>,
    },
    /// Confirm a provisional decision; answered once its full end was read back from the kernel.
    Confirm {
        /// Which one.
        id: DecisionId,
        /// Who asks.
        actor: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Decision, CommandError>>,
    },
    /// Take many decisions, all or none; answered once all of them are stored and read back.
    Import(Import, oneshot::Sender<Result<Imported, ImportError>>),
    /// Follow other nodes, in this order; answered with what became of each, once all of it is read back.
    Fleet {
        /// What they did.
        orders: Vec<FleetOrder>,
        /// So many decisions of theirs may be in force.
        most: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<FleetOutcome>>,
    },
    /// Stop carrying anything out, or go on; answered with how it is, once the kernel was read back.
    Act {
        /// Go on.
        on: bool,
        /// Who asks.
        actor: String,
        /// Why.
        reason: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Acting, CommandError>>,
    },
    /// Put somebody on the allowlist; answered once the kernel was read back and what it covers has ended.
    Allow(NewAllowed, oneshot::Sender<Result<AllowDone, CommandError>>),
    /// Take somebody off the allowlist.
    Disallow {
        /// Exactly this entry.
        target: IpNet,
        /// Who asks.
        actor: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Allowed, CommandError>>,
    },
}

/// What was taken back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deleted {
    /// The decisions, as they ended.
    pub decisions: Vec<Decision>,
    /// Others in force around what they were on, which is not free for all that, the narrowest first; not told where
    /// everything is taken back.
    pub covering: Vec<Decision>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    /// A guard refused.
    #[error("refused by guard `{}`: {}", .0.guard, .0.reason)]
    Vetoed(Veto),
    /// Nothing matched.
    #[error("no active decision matches")]
    NotFound,
    /// None is on the target, and others are around it.
    #[error(
        "no active decision is on {target} itself; in force around it: {around}; take that back, or put {target} on the \
         allowlist, which ends what covers it"
    )]
    Covered {
        /// What was asked about.
        target: IpNet,
        /// Their targets, the narrowest first, and what holds them back where something does.
        around: String,
    },
    /// The wish itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The kernel or the store refused.
    #[error("could not be carried out: {0}")]
    Failed(String),
}
