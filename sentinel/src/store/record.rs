//! What can be kept.

use crate::types::{
    Action, ActionId, Alert, Allowed, Bouncer, Bystander, Decision, Ended, FleetBooks, Investigation, KeptAnswer,
    Message, MessageId, MessageState, ProofRow, QuotaRow, Routed, Session, Sighting, Stop, Tally, Timestamp, Token,
};
use ipnet::IpNet;
use std::sync::Arc;

/// Something to keep.
#[derive(Clone, Debug)]
pub enum Record {
    /// Inserted; one that is there already is left as it is.
    Alert(Arc<Alert>),
    /// Inserted, or updated by its identifier.
    Investigation(Arc<Investigation>),
    /// Inserted, or updated by its identifier.
    Decision(Arc<Decision>),
    /// Inserted, or updated by its identifier.
    Action(Arc<Action>),
    /// How decisions that are stored ended together, with their actions in the kernel.
    Ended(Arc<Ended>),
    /// What must be put back when an action is undone, in place of an earlier word on it; opaque to the store.
    Undo {
        /// The action.
        action: ActionId,
        /// As the room that undoes it wrote it.
        json: String,
    },
    /// An answer of a source, in place of an older one of the same source about the same address.
    IntelAnswer(Arc<KeptAnswer>),
    /// What was spent of a quota: within a period it only grows, and a period never goes back.
    IntelQuota(QuotaRow),
    /// Removes answers that are of no use any more at `now` (four times their time to live), and the oldest beyond
    /// `rows`.
    IntelTrim {
        /// Now.
        now: Timestamp,
        /// Answers that may stay.
        rows: u64,
    },
    /// What a decision followed from, in place of an earlier one of the same decision.
    Proof(Box<ProofRow>),
    /// Whether acting is stopped, in place of what was kept.
    Acting(Option<Stop>),
    /// The settings of this start, as text, in place of those of the start before.
    Settings(String),
    /// Put on the allowlist, in place of an entry of the same target.
    Allow(Arc<Allowed>),
    /// Taken off the allowlist.
    Disallow(IpNet),
    /// What a decision's entry has met, in place of what was kept.
    Tally(Arc<Tally>),
    /// Sessions under a simulated decision, added to what was kept of the same source.
    Bystander(Arc<Bystander>),
    /// A token, in place of what was kept of it.
    Token(Arc<Token>),
    /// A browser's session, in place of what was kept of it.
    Session(Arc<Session>),
    /// A session is over; named by its digest.
    EndSession(String),
    /// How far a bouncer has come, in place of what was kept of it. Changes of decisions are noted while there is one.
    Bouncer(Box<Bouncer>),
    /// What the router of alerts did, all of it or nothing.
    Routed(Box<Routed>),
    /// A message put down; one that is there already is left as it is.
    Message(Box<Message>),
    /// What became of a message.
    Settled {
        /// Which.
        id: MessageId,
        /// When.
        at: Timestamp,
        /// What.
        state: MessageState,
        /// Why it was refused.
        cause: Option<String>,
    },
    /// Consumers of alerts there are: how far others once had come is forgotten, so that nothing is kept for them.
    Readers(Vec<&'static str>),
    /// How far a consumer of alerts has come, in place of what was kept of it.
    Cursor {
        /// Whose.
        name: &'static str,
        /// The last alert it is done with, by order of arrival.
        seq: i64,
    },
    /// Who was seen beside us, in place of what was known of it.
    Sighting(Box<Sighting>),
    /// From now on what a fleet shares is noted, beginning with what is in force; or no longer, and all of it is forgotten.
    Fleet(bool),
    /// What was told to the fleet and heard of it.
    FleetBooks(Box<FleetBooks>),
    /// The run of a scheduled report that was made, in place of an earlier one.
    Reported(Timestamp),
    /// Appended to the hash chain by the writer.
    Audit {
        /// When.
        at: Timestamp,
        /// Who.
        actor: String,
        /// Did what.
        verb: String,
        /// To whom or what.
        subject: String,
        /// With which result.
        detail: String,
    },
}
