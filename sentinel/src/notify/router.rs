//! From alerts to messages: which channels hear of one, at once or in a digest. Pure.

use crate::config::AlertingConfig;
use crate::types::{
    Alert, ChannelKind, Content, Detector, Digest, DigestLine, Folded, Message, Mint, Severity, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// What was told lately that each channel remembers; beyond that the oldest is forgotten, and told anew.
const REMEMBERED: usize = 1024;

/// Lines of a digest; beyond that alerts are counted.
const LINES: usize = 100;

/// The time within which `max_alerts_per_minute` counts.
const MINUTE: Duration = Duration::from_mins(1);

/// A message about an alert waits so long, until it is known what was done about it.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// What makes two alerts the same for people.
type Likeness = (Detector, Option<IpAddr>);

/// The router's books: all that must outlive the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Books {
    lanes: BTreeMap<ChannelKind, Lane>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lane {
    /// When the messages of the last minute were put down.
    minute: VecDeque<Timestamp>,
    /// What was told within the duplicate window, the oldest first.
    told: VecDeque<Told>,
    /// What is being folded.
    open: Option<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    what: Likeness,
    at: Timestamp,
    severity: Severity,
}

/// What became of one alert at one channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    /// A message of its own.
    Told(Message),
    /// In the digest.
    Folded(ChannelKind, Folded),
}

/// Decides by the settings and the books.
#[derive(Debug)]
pub(super) struct Router<'a> {
    config: &'a AlertingConfig,
    mint: Mint,
}

impl<'a> Router<'a> {
    pub(super) const fn new(config: &'a AlertingConfig, mint: Mint) -> Self {
        Self { config, mint }
    }

    /// What each channel that hears of it is told, and what that leaves in the books. `full` are channels for which too much
    /// waits already.
    pub(super) fn take(
        &mut self,
        books: &mut Books,
        alert: &Alert,
        now: Timestamp,
        full: &BTreeSet<ChannelKind>,
    ) -> Vec<Route> {
        let channels: BTreeSet<ChannelKind> = self
            .config
            .route(alert.detector, alert.severity)
            .iter()
            .copied()
            .filter(|channel| self.config.configured(*channel))
            .collect();
        let mut routes = Vec::with_capacity(channels.len());
        for channel in channels {
            let lane = books.lanes.entry(channel).or_default();
            let folds = self.config.fold.contains(&channel);
            let route = if let Some(why) = self.folded(lane, folds, alert, now, full.contains(&channel)) {
                lane.fold(alert, now, why);
                Route::Folded(channel, why)
            } else {
                if folds {
                    lane.note(alert, now);
                }
                let content = Content::Alert {
                    alert: alert.id,
                    severity: alert.severity,
                };
                Route::Told(self.message(channel, content, now, SETTLE))
            };
            routes.push(route);
        }
        routes
    }

    /// The digests whose time has come.
    pub(super) fn due(&mut self, books: &mut Books, now: Timestamp, full: &BTreeSet<ChannelKind>) -> Vec<Message> {
        let mut messages = Vec::new();
        for (channel, lane) in &mut books.lanes {
            lane.forget(now, self.config.throttling.duplicate_window);
            let ripe = |digest: &mut Digest| {
                let quiet = self.config.fold.contains(channel) && self.is_quiet(now);
                // Begun in the future: the clock was set back.
                (now >= digest.since.after(self.config.digest) || now < digest.since)
                    && !full.contains(channel)
                    && (!quiet || self.config.quiet_hours.except.contains(&digest.severity))
            };
            if let Some(digest) = lane.open.take_if(ripe) {
                let content = Content::Digest(digest.sorted());
                messages.push((*channel, content));
            }
        }
        let message = |(channel, content)| self.message(channel, content, now, Duration::ZERO);
        messages.into_iter().map(message).collect()
    }

    fn folded(&self, lane: &mut Lane, folds: bool, alert: &Alert, now: Timestamp, full: bool) -> Option<Folded> {
        let throttling = &self.config.throttling;
        if folds && self.is_quiet(now) && !self.config.quiet_hours.except.contains(&alert.severity) {
            return Some(Folded::Quiet);
        }
        if folds {
            lane.forget(now, throttling.duplicate_window);
            if lane.knows(alert) {
                return Some(Folded::Duplicate);
            }
            let most = throttling.max_alerts_per_minute as usize;
            if most > 0 && lane.minute.len() >= most {
                return Some(Folded::Throttled);
            }
        }
        full.then_some(Folded::Full)
    }

    fn is_quiet(&self, now: Timestamp) -> bool {
        let quiet = &self.config.quiet_hours;
        quiet.hours.is_some_and(|hours| hours.hold(now, &quiet.timezone))
    }

    fn message(&mut self, channel: ChannelKind, content: Content, now: Timestamp, wait: Duration) -> Message {
        Message {
            id: self.mint.message(now),
            channel,
            at: now,
            due: now.after(wait),
            content,
        }
    }
}

impl Books {
    /// Alerts in the digest of a channel that is being put together.
    pub(super) fn folded(&self, channel: ChannelKind) -> u64 {
        let open = self.lanes.get(&channel).and_then(|lane| lane.open.as_ref());
        open.map_or(0, |digest| digest.alerts)
    }
}

const fn likeness(alert: &Alert) -> Likeness {
    (alert.detector, alert.source)
}

impl Lane {
    /// Leaves out what is too old to count, and what a clock that was set back would keep for ever.
    fn forget(&mut self, now: Timestamp, window: Duration) {
        let counts = |at: Timestamp, within: Duration| at <= now && now < at.after(within);
        self.minute.retain(|at| counts(*at, MINUTE));
        self.told.retain(|told| counts(told.at, window));
    }

    /// Whether the same was told within the window, and no more mildly.
    fn knows(&self, alert: &Alert) -> bool {
        self.told
            .iter()
            .any(|told| told.what == likeness(alert) && told.severity >= alert.severity)
    }

    fn note(&mut self, alert: &Alert, now: Timestamp) {
        self.minute.push_back(now);
        let what = likeness(alert);
        self.told.retain(|told| told.what != what);
        if self.told.len() == REMEMBERED {
            self.told.pop_front();
        }
        self.told.push_back(Told {
            what,
            at: now,
            severity: alert.severity,
        });
    }

    fn fold(&mut self, alert: &Alert, now: Timestamp, why: Folded) {
        let digest = self.open.get_or_insert_with(|| Digest {
            since: now,
            alerts: 0,
            severity: alert.severity,
            folded: BTreeMap::new(),
            lines: Vec::new(),
            beyond: 0,
        });
        digest.alerts += 1;
        digest.severity = digest.severity.max(alert.severity);
        *digest.folded.entry(why).or_default() += 1;
        let same = |line: &&mut DigestLine| (line.detector, line.source) == likeness(alert);
        if let Some(line) = digest.lines.iter_mut().find(same) {
            line.alerts += 1;
            line.severity = line.severity.max(alert.severity);
            line.last_at = alert.at;
            line.summary.clone_from(&alert.summary);
        } else if digest.lines.len() < LINES {
            digest.lines.push(DigestLine {
                detector: alert.detector,
                source: alert.source,
                severity: alert.severity,
                alerts: 1,
                first: alert.id,
                first_at: alert.at,
                last_at: alert.at,
                summary: alert.summary.clone(),
            });
        } else {
            digest.beyond += 1;
        }
    }
}

impl Digest {
    fn sorted(mut self) -> Self {
        self.lines
            .sort_by(|a, b| (b.severity, b.alerts, a.first_at).cmp(&(a.severity, a.alerts, b.first_at)));
        self
    }
}
