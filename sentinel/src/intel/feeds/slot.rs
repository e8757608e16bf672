//! One feed as the room keeps it.

use super::disk::Meta;
use super::lapi::Lapi;
use super::schedule::{self, Ended};
use super::set::Loaded;
use super::table::Feed;
use crate::types::{FeedInKernel, FeedStatus, INDICATOR_TEXT, Timestamp};
use reqwest::Url;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Failures in a row from which on a feed that has a list is worth a complaint.
const WORTH_TELLING: u32 = 3;

/// The longest that a local API is left alone after failures.
const LAPI_WAIT: Duration = Duration::from_mins(2);

/// Where a feed is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Web(Url),
    File(PathBuf),
    Lapi(Lapi),
}

impl Place {
    /// As it may be shown: a URL of the operator's own may hold a key.
    fn shown(&self, feed: &Feed) -> String {
        match self {
            Self::Web(url) if feed.group != "own" && url.as_str() == feed.url => url.to_string(),
            Self::Web(url) => url.origin().ascii_serialization(),
            Self::File(path) => path.display().to_string(),
            Self::Lapi(lapi) => lapi.url().origin().ascii_serialization(),
        }
    }
}

/// What happened to a feed since the agent started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) unchanged: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
}

pub(super) struct Slot {
    pub(super) feed: Arc<Feed>,
    /// Its number, in the set and in the kernel.
    pub(super) number: u8,
    pub(super) place: Place,
    pub(super) meta: Meta,
    /// Its latest list came and was not believed, or what was believed could not be kept.
    pub(super) complaint: Option<String>,
    pub(super) tally: Tally,
    /// It is being asked right now.
    pub(super) asking: bool,
    /// What was kept of it could not be read at the start, and may be good still.
    pub(super) unread: bool,
    /// How it stands in the kernel, where that is asked for.
    pub(super) kernel: Option<FeedInKernel>,
}

impl Slot {
    pub(super) fn new(feed: Feed, number: u8, place: Place, digest: String) -> Self {
        Self {
            feed: Arc::new(feed),
            number,
            place,
            meta: Meta {
                place: digest,
                ..Meta::default()
            },
            complaint: None,
            tally: Tally::default(),
            asking: false,
            unread: false,
            kernel: None,
        }
    }

    /// Whether it is to be asked at `now`. A clock that was set back must not silence it; who is being asked is not asked
    /// again.
    pub(super) fn due(&mut self, now: Timestamp) -> bool {
        if self.asking {
            return false;
        }
        if self.meta.asked_at.is_some_and(|asked| asked > now) {
            self.meta.asked_at = Some(now);
            self.meta.next_at = Some(now.after(self.feed.interval));
        }
        self.meta.next_at.is_none_or(|next| next <= now)
    }

    /// How long after an attempt that ended so it is asked again. A local API is one's own: it is asked again soon.
    pub(super) fn wait(&self, ended: Ended, luck: f64) -> Duration {
        let (interval, failures) = (self.feed.interval, self.meta.failures);
        let own = matches!(self.place, Place::Lapi(_));
        match ended {
            Ended::Unreached | Ended::Asked { retry_after: None } if own => {
                let doubled = interval.saturating_mul(1 << failures.saturating_sub(1).min(16));
                doubled.min(LAPI_WAIT.max(interval))
            }
            _ => schedule::wait(interval, ended, failures, luck),
        }
    }

    fn left_out(&self) -> u64 {
        match &self.place {
            Place::Lapi(lapi) => lapi.left_out(),
            Place::Web(_) | Place::File(_) => 0,
        }
    }

    /// When the list in force no longer counts.
    pub(super) fn holds_until(&self, list: &Loaded) -> Timestamp {
        list.checked_at.after(self.feed.hold)
    }

    /// Whether the kernel needs its list again, which has not changed. A file is looked at every minute; its list is only
    /// written anew when half of its time there is over.
    pub(super) fn wants_renewal(&self, now: Timestamp) -> bool {
        let stands = self
            .kernel
            .as_ref()
            .filter(|kernel| kernel.loaded && kernel.error.is_none());
        let until = stands.and_then(|kernel| kernel.until);
        matches!(self.place, Place::Web(_)) || until.is_none_or(|until| until < now.after(self.feed.hold / 2))
    }

    /// What is wrong with it, if that is worth an operator's time.
    pub(super) fn trouble(&self, list: Option<&Loaded>) -> Option<String> {
        let failing = self.meta.failures >= WORTH_TELLING || (self.meta.failures > 0 && list.is_none());
        self.complaint
            .clone()
            .or_else(|| self.meta.last_error.clone().filter(|_| failing))
            .or_else(|| self.kernel.as_ref().and_then(|kernel| kernel.error.clone()))
            .map(|text| format!("{}: {text}", self.feed.name))
    }

    pub(super) fn status(&self, list: Option<&Loaded>) -> FeedStatus {
        FeedStatus {
            name: self.feed.name.to_string(),
            place: self.place.shown(&self.feed),
            terms: self.feed.terms.to_owned(),
            group: self.feed.group.to_owned(),
            entries: list.map_or(0, |list| list.entries),
            left_out: list.map_or(0, |list| list.left_out) + self.left_out(),
            wrong_lines: list.map_or(0, |list| list.wrong),
            fetched_at: list.map(|list| list.fetched_at),
            checked_at: list.map(|list| list.checked_at),
            holds_until: list.map(|list| self.holds_until(list)),
            next_at: self.meta.next_at,
            interval_s: self.feed.interval.as_secs(),
            etag: self
                .meta
                .version(list.map(|list| list.fetched_at))
                .etag
                .as_deref()
                .map(shown),
            last_error: self.complaint.clone().or_else(|| self.meta.last_error.clone()),
            failures: self.meta.failures,
            accepted: self.tally.accepted,
            unchanged: self.tally.unchanged,
            refused: self.tally.refused,
            failed: self.tally.failed,
            kernel: self.kernel.clone(),
        }
    }

    /// Sets when it is asked next.
    pub(super) fn put_off(&mut self, now: Timestamp, wait: Duration) {
        self.meta.next_at = Some(now.after(wait));
    }
}

/// Hostile text for people: bounded, without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(INDICATOR_TEXT).collect()
}
