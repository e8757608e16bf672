//! How the lists of feeds stand, as `/intel` and the dashboard show them.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// One feed. Text in it that came from the network is bounded and without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedStatus {
    /// Its name in configuration; `feed:NAME` is the source of its indicators.
    pub name: String,
    /// Where it comes from: the published URL, or no more than scheme and host of one's own, which may hold a key.
    pub place: String,
    /// Its provider's terms, in a sentence.
    pub terms: String,
    /// Feeds of one group draw from the same wells.
    pub group: String,
    /// Entries in force: addresses and prefixes, each once. 0 where there is no list.
    pub entries: u64,
    /// Entries of the list that were left out: reserved space in a list that is known to hold it, allowlisted sources.
    pub left_out: u64,
    /// Lines of it that could not be read.
    pub wrong_lines: u64,
    /// When the list in force was fetched.
    pub fetched_at: Option<Timestamp>,
    /// When its provider last said that it still holds.
    pub checked_at: Option<Timestamp>,
    /// When it no longer counts unless its provider confirms it.
    pub holds_until: Option<Timestamp>,
    /// When it is asked for next.
    pub next_at: Option<Timestamp>,
    /// Shortest time between two requests, s.
    pub interval_s: u64,
    /// The provider's name for the version in force.
    pub etag: Option<String>,
    /// Why the last attempt brought nothing, with the mend; `None` where it did.
    pub last_error: Option<String>,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// Lists accepted since the agent started.
    pub accepted: u64,
    /// "Not modified" since the agent started.
    pub unchanged: u64,
    /// Lists that came and were refused whole since the agent started.
    pub refused: u64,
    /// Attempts that brought no list since the agent started.
    pub failed: u64,
    /// How it stands in the kernel; `None` where nobody asked for that.
    pub kernel: Option<FeedInKernel>,
}

/// A feed's list in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedInKernel {
    /// Whether the kernel has it.
    pub loaded: bool,
    /// It only counts what it would drop.
    pub simulated: bool,
    /// Entries the kernel has.
    pub entries: u64,
    /// Entries that were kept from it: protected, or on too few lists.
    pub left_out: u64,
    /// When the kernel stops going by it, unless it is renewed.
    pub until: Option<Timestamp>,
    /// Packets dropped since it came into use. One that is on several lists counts for one of them.
    pub dropped: u64,
    /// Packets that would have been.
    pub would_drop: u64,
    /// Why it is not as it should be, with the mend.
    pub error: Option<String>,
    /// What the operator should know about blocking by this feed.
    pub note: Option<String>,
}

/// How one database of countries or networks stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GeoStatus {
    /// `country` or `asn`.
    pub database: String,
    /// The file.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// What it calls itself, such as `GeoLite2-Country`; `None` where none could be opened yet.
    pub kind: Option<String>,
    /// When it was made.
    pub built_at: Option<Timestamp>,
    /// Why the file as it is now is not used, with the mend.
    pub error: Option<String>,
}
