//! What several sentinels tell each other, and what is told of that.

use super::{ActionKind, Allowed, DecisionId, Rate, Severity, Timestamp, Veto};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What another node did, and this one is to do too.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetOrder {
    /// Put a decision in force.
    Follow(FleetDecision),
    /// End whatever is in force on exactly this target.
    Release {
        /// Which.
        target: IpNet,
        /// Who ended it, and where.
        actor: String,
        /// Whether that was a person: evidence from before then leads to nothing.
        by_person: bool,
        /// As in [`FleetDecision::as_of`].
        as_of: Timestamp,
    },
    /// Put on the allowlist.
    Allow(Allowed),
    /// Take off the allowlist.
    Disallow {
        /// Exactly this entry.
        target: IpNet,
        /// Who took it off, and where.
        actor: String,
    },
}

/// A decision of another node.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetDecision {
    /// Its name there, and here unless something is in force on the target already.
    pub id: DecisionId,
    /// Address (as /32 or /128) or prefix.
    pub target: IpNet,
    /// What to do.
    pub action: ActionKind,
    /// What a rate limit lets through.
    pub rate: Option<Rate>,
    /// Whether what goes out to the target is dropped too.
    pub egress: bool,
    /// Its end.
    pub until: Timestamp,
    /// What a person ended here after this instant is later than the word.
    pub as_of: Timestamp,
    /// Whether a person took it, whose word may shorten what is in force.
    pub by_person: bool,
    /// Who took it, and where.
    pub actor: String,
    /// Why, for people.
    pub reason: String,
    /// Of the alert behind it.
    pub severity: Option<Severity>,
    /// How risky its source was held to be.
    pub risk: Option<Severity>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetOutcome {
    /// Done, and read back from the kernel.
    Done,
    /// Something at least as good was in force, or nothing was.
    Content,
    /// A person here has just ended what was on the target.
    Held,
    /// A guard of this node refused it.
    Vetoed(Veto),
    /// It could not be done.
    Failed(String),
}

/// The latest word on a subject that this node knows, signed by whoever said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetWord {
    /// What it is about: `d` or `a` (decision, allowlist) and the target.
    pub subject: String,
    /// Later ones are greater as text: 20 digits of ns since 1970, a colon, the node.
    pub version: String,
    /// JSON.
    pub body: String,
    /// HMAC-SHA256 of the body, lower-case hex.
    pub mac: String,
    /// When this node made it, or looked at its own books before it followed it; by the desk's clock.
    pub at: Timestamp,
    /// When nobody needs it any more.
    pub ends_at: Timestamp,
    /// Whether the others have it.
    pub sent: bool,
}

/// What changed here since it was last looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetChange {
    /// As in [`FleetWord::subject`].
    pub subject: String,
    /// Grows with each change.
    pub seq: i64,
    /// How it is now.
    pub local: FleetLocal,
    /// The latest word on it.
    pub known: Option<FleetWord>,
}

/// How something stands in this node's books.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetLocal {
    /// The decision in force on a target, or the one that ended last; `None` where there never was one.
    Decision(Option<FleetStanding>),
    /// Its entry of the allowlist.
    Allowed(Option<Allowed>),
}

/// A decision, with what stands beside it in the books.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetStanding {
    /// The decision.
    pub decision: Box<super::Decision>,
    /// How sure its investigation was, 0 to 1.
    pub sure: Option<f64>,
    /// Whether it was read back from the kernel.
    pub enforced: bool,
}

/// Changes of the books of what is told and heard, all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetBooks {
    /// Changes that were looked at: subject and number.
    pub seen: Vec<(String, i64)>,
    /// Subjects that only seemed to change: what was done to them was undone at once.
    pub undone: Vec<String>,
    /// Words, each in place of an earlier one on its subject.
    pub words: Vec<FleetWord>,
    /// Subject and version of words that the others have now.
    pub sent: Vec<(String, String)>,
    /// How far the others have been heard.
    pub position: Option<String>,
    /// Words that ended before are forgotten.
    pub forget: Option<Timestamp>,
}

/// One node, by its own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// When it last said so.
    pub at: Timestamp,
    /// Its release.
    pub release: String,
    /// `simulation`, `production`, or `stopped` where a person stopped all acting in production.
    pub mode: String,
    /// Decisions in force there; none where entries only count.
    pub in_force: u64,
}

/// How the fleet is, as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct FleetStatus {
    /// Whether it belongs to one (`bus`).
    pub enabled: bool,
    /// Its own name there.
    pub name: String,
    /// Whether the Redis answers.
    pub connected: bool,
    /// Why not, or what else is wrong; empty where nothing is.
    pub cause: String,
    /// How far the others have been heard: an identifier of the stream.
    pub position: String,
    /// Words that wait to be told.
    pub waiting: u64,
    /// Words that were told since the start.
    pub told: u64,
    /// Words of others that were followed since the start.
    pub followed: u64,
    /// Words of others that were refused since the start, whatever for.
    pub refused: u64,
    /// Nodes that were heard of within a day, by name.
    pub nodes: Vec<FleetNode>,
}
