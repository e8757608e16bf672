//! The nouns. No I/O, no clock, no locks.
//!
//! In: nothing. Out: what the rooms hand each other. Deliberately elsewhere: how any of it is found, judged or stored.

mod access;
mod acting;
mod action;
mod alert;
mod allowlist;
mod beat;
mod bouncer;
mod busiest;
mod card;
mod confirm;
mod container;
mod decision;
mod ending;
mod enquiry;
mod event;
mod explanation;
mod feed;
mod fleet;
mod flow_end;
mod health;
mod ids;
mod import;
mod indicator;
mod intel;
mod investigation;
mod learning;
mod net;
mod notice;
mod peers;
mod proof;
mod protected;
mod renewal;
mod secret;
mod shadow;
mod shape;
mod sighting;
mod stats;
mod template;
mod terms;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod time;
mod traffic;

pub use access::{Role, Session, Token, TokenId};
pub use acting::{Acting, Stop};
pub use action::{Action, ActionKind, ActionStatus, Needs, OTHERWISE, UNTIL_REMOVED};
pub use alert::{Alert, Detector, Evidence, EvidenceClass, Family, Service, Severity, Standing};
pub use allowlist::{AllowDone, Allowed, NewAllowed};
pub use beat::Beat;
pub use bouncer::{Bouncer, Change, Changes, Numbered, Told};
pub use busiest::{Busiest, Busy, BusyBy, BusyFlow, BusyPer, BusyRequest, BusySource, Moved};
pub use card::{CardFeature, CardLevel, CardOrigin, CardSchema, CardTraining, ModelCard};
pub use confirm::{Provisional, Verdict};
pub use container::{Ban, ContainerSet, Isolate, Owner, ToBan, ToIsolate};
pub use decision::{
    Basis, Check, CheckVerdict, Command, CommandError, Decision, DecisionStatus, Deleted, NewDecision, Origin,
    Selector, Veto,
};
pub use ending::{Ended, EndedOne, Ending, ended_as};
pub use enquiry::{Checked, Enquiry, IntelReport};
pub use event::{Event, Live};
pub use explanation::{Explanation, Share};
pub use feed::{FeedInKernel, FeedStatus, GeoStatus};
pub use fleet::{
    FleetBooks, FleetChange, FleetDecision, FleetLocal, FleetNode, FleetOrder, FleetOutcome, FleetStanding,
    FleetStatus, FleetWord,
};
pub use flow_end::{FlowEnd, FlowState};
pub use health::{Component, Condition, Health};
pub use ids::{ActionId, AlertId, DecisionId, InvestigationId, MessageId, Mint};
pub use import::{BadLine, Import, ImportError, Imported, Listed};
pub use indicator::{INDICATOR_PARTS, INDICATOR_TEXT, Indicator, IntelVerdict};
pub use intel::{
    BreakerState, BreakerStatus, CacheStatus, IntelStatus, KeptAnswer, LastError, QuotaRow, QuotaStatus, RedisStatus,
    SourceStatus,
};
pub use investigation::{Answer, Investigation, InvestigationState, Risk, RiskPart};
pub use learning::{DriftTold, LearnError, LearnRequest, LearnWish, Learning, LearningLevel, RealisedLevel};
pub use net::{canonical, off_limits};
pub use notice::{
    ChannelKind, ChannelStatus, ChannelTrouble, Channels, Content, Digest, DigestLine, Folded, Message, MessageRow,
    MessageState, Routed, TestOutcome, TestWish,
};
pub use peers::{Heard, Peers};
pub use proof::ProofRow;
pub use protected::{Hits, Protected};
pub use renewal::{
    KeyChange, RELOADING, Released, ReloadError, ReloadWish, Reloaded, Renewal, Renewals, Renewer, renewals,
};
pub use secret::Secret;
pub use shadow::{Bystander, Tally};
pub use shape::{Address, Prefix, Target};
pub use sighting::{Sighting, SightingKind};
pub use stats::{InterfaceStats, MapUse, Stats, Trouble};
pub use template::{PLACES, Template, TemplateError};
pub use terms::{BURST_MAX_MS, BURST_MIN_MS, BYTES_MAX, PACKETS_MAX, Rate, Terms};
pub use text::is_unseen;
pub use time::{Clock, Ktime, Timestamp};
pub use traffic::{TrafficLevel, TrafficRow};

/// Lower-case hexadecimal, as digests are written.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
