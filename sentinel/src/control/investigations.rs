//! Alerts in, alerts with what is known of their sources out: at once what needs nobody's answer, later what was asked.
//!
//! No alert waits here. The first [`Case`] of an alert carries what was seen here, feeds and answers that are known
//! already; a later one, revised, what sources outside said: once when all have answered or the deadline has passed, and
//! then with every answer that comes late.

use crate::config::{IntelConfig, SeverityThresholds};
use crate::investigate::{Local, Recent, Weighed, Weigher};
use crate::metrics::Metrics;
use crate::types::{Alert, Answer, Investigation, InvestigationId, InvestigationState, Mint, Severity, Timestamp};
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The longest an answer is waited for. Sources have shorter timeouts of their own.
const LONGEST: Duration = Duration::from_mins(1);

/// Whoever can be asked about an address.
pub trait Sources: Send + Sync + 'static {
    /// How much each source's word counts.
    fn weigher(&self) -> Weigher;
    /// Why nobody outside is asked about this address, where that is so: it is private, our own or reserved.
    fn special(&self, ip: IpAddr) -> Option<&'static str>;
    /// Whether any source is there to be asked.
    fn any(&self) -> bool;
    /// What is known already: feeds and answers in memory. Takes microseconds.
    fn known(&self, ip: IpAddr) -> Vec<Answer>;
    /// Asks; ends when all have answered or were given up. `believed` is the risk so far. Dropping it gives up.
    fn ask(&self, ip: IpAddr, severity: Severity, believed: f64) -> BoxStream<'static, Answer>;
    /// Country and network of an address, and its prefix in that network, where a database says so.
    fn place(&self, ip: IpAddr) -> (Option<String>, Option<String>, Option<ipnet::IpNet>);
}

/// An alert with what is known of its source.
#[derive(Clone, Debug)]
pub struct Case {
    /// The alert.
    pub alert: Arc<Alert>,
    /// What is known; `None` where the alert names nobody.
    pub investigation: Option<Arc<Investigation>>,
    /// What its risk came from.
    pub weighed: Option<Arc<Weighed>>,
    /// Whether a case about the same alert went before.
    pub revised: bool,
}

/// What comes of asking.
enum Heard {
    Answer(Box<Answer>),
    Deadline,
    Done,
}

/// One that is going on.
struct Open {
    alert: Arc<Alert>,
    local: Vec<Local>,
    investigation: Investigation,
    /// Answers that no case has carried yet.
    news: bool,
    late: bool,
    give_up: AbortHandle,
}

/// The room.
pub struct Investigations<S> {
    sources: S,
    thresholds: watch::Receiver<SeverityThresholds>,
    deadline: Duration,
    concurrency: usize,
    recent: Recent,
    mint: Mint,
    now: fn() -> Timestamp,
    metrics: Arc<Metrics>,
    open: BTreeMap<InvestigationId, Open>,
    heard: SelectAll<BoxStream<'static, (InvestigationId, Heard)>>,
}

impl<S: Sources> Investigations<S> {
    /// Puts the parts together; `now` is the wall clock.
    pub fn new(
        sources: S,
        config: &IntelConfig,
        thresholds: watch::Receiver<SeverityThresholds>,
        metrics: Arc<Metrics>,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            sources,
            thresholds,
            deadline: config.deadline,
            concurrency: config.concurrency,
            recent: Recent::default(),
            mint: Mint::Random,
            now,
            metrics,
            open: BTreeMap::new(),
            heard: SelectAll::new(),
        }
    }

    /// Runs until the input closes; what is still asked then is given up, and told as it stands.
    pub async fn run(mut self, mut input: mpsc::Receiver<Arc<Alert>>, output: mpsc::Sender<Case>) {
        loop {
            let cases = tokio::select! {
                biased;
                Some((id, heard)) = self.heard.next() => self.hear(id, heard).into_iter().collect(),
                alert = input.recv() => match alert {
                    Some(alert) => self.begin(alert),
                    None => break,
                },
            };
            for case in cases {
                if output.send(case).await.is_err() {
                    return;
                }
            }
        }
        let ids: Vec<_> = self.open.keys().copied().collect();
        for id in ids {
            if let Some(case) = self.finish(id)
                && output.send(case).await.is_err()
            {
                return;
            }
        }
    }

    /// The first case of an alert, and those of milder ones that gave way to it.
    fn begin(&mut self, alert: Arc<Alert>) -> Vec<Case> {
        let local = self.recent.take(&alert);
        let Some(ip) = alert.source else {
            return vec![Case {
                alert,
                investigation: None,
                weighed: None,
                revised: false,
            }];
        };
        let now = (self.now)();
        let known = self.sources.known(ip);
        let (country, network, network_prefix) = self.sources.place(ip);
        let weighed = Arc::new(self.weigh(&local, &known, now));
        let mut investigation = Investigation {
            id: self.mint.investigation(now),
            alert: alert.id,
            ip,
            at: now,
            updated_at: now,
            state: InvestigationState::Complete,
            severity: alert.severity,
            risk: weighed.risk.clone(),
            answers: known,
            revisions: 0,
            country,
            network,
            network_prefix,
        };
        let mut cases = Vec::new();
        investigation.state = if !self.sources.any() && investigation.answers.is_empty() {
            InvestigationState::NoSources
        } else if !self.sources.any() {
            InvestigationState::Complete
        } else if self.sources.special(ip).is_some() {
            InvestigationState::LocalOnly
        } else if self.make_room(alert.severity, &mut cases) {
            InvestigationState::Open
        } else {
            self.metrics.dropped("investigate", "busy", 1);
            settled(&investigation)
        };
        if investigation.state == InvestigationState::Open {
            self.ask(&alert, local, &investigation);
        } else {
            self.metrics.investigated(investigation.state);
        }
        cases.push(Case {
            alert,
            investigation: Some(Arc::new(investigation)),
            weighed: Some(weighed),
            revised: false,
        });
        cases
    }

    /// Whether one more may be asked about; where all places are taken, one milder than this gives way.
    fn make_room(&mut self, severity: Severity, cases: &mut Vec<Case>) -> bool {
        if self.open.len() < self.concurrency {
            return true;
        }
        let mildest = self
            .open
            .iter()
            .min_by_key(|(id, open)| (open.alert.severity, **id))
            .filter(|(_, open)| open.alert.severity < severity)
            .map(|(id, _)| *id);
        let Some(id) = mildest else {
            return false;
        };
        self.metrics.dropped("investigate", "gave_way", 1);
        cases.extend(self.finish(id));
        true
    }

    fn ask(&mut self, alert: &Arc<Alert>, local: Vec<Local>, investigation: &Investigation) {
        let id = investigation.id;
        let answers = self
            .sources
            .ask(investigation.ip, alert.severity, investigation.risk.score)
            .map(|answer| Heard::Answer(Box::new(answer)));
        let answers = answers
            .take_until(Box::pin(tokio::time::sleep(LONGEST)))
            .chain(stream::once(async { Heard::Done }));
        let deadline = stream::once(tokio::time::sleep(self.deadline)).map(|()| Heard::Deadline);
        let (give_up, gone) = AbortHandle::new_pair();
        let all = stream::select(answers, deadline).map(move |heard| (id, heard));
        self.heard.push(Abortable::new(all, gone).boxed());
        self.open.insert(
            id,
            Open {
                alert: Arc::clone(alert),
                local,
                investigation: investigation.clone(),
                news: false,
                late: false,
                give_up,
            },
        );
    }

    fn hear(&mut self, id: InvestigationId, heard: Heard) -> Option<Case> {
        let open = self.open.get_mut(&id)?;
        match heard {
            Heard::Answer(answer) => {
                if !take(&mut open.investigation.answers, *answer) {
                    return None;
                }
                open.news = true;
                if open.late { self.revise(id) } else { None }
            }
            Heard::Deadline => {
                open.late = true;
                if open.news { self.revise(id) } else { None }
            }
            Heard::Done => self.finish(id),
        }
    }

    /// A case with what came in since the last one.
    fn revise(&mut self, id: InvestigationId) -> Option<Case> {
        let open = self.open.get(&id)?;
        let now = (self.now)();
        let weighed = Arc::new(self.weigh(&open.local, &open.investigation.answers, now));
        let open = self.open.get_mut(&id)?;
        open.news = false;
        open.investigation.risk = weighed.risk.clone();
        open.investigation.revisions += 1;
        open.investigation.updated_at = now;
        Some(Case {
            alert: Arc::clone(&open.alert),
            investigation: Some(Arc::new(open.investigation.clone())),
            weighed: Some(weighed),
            revised: true,
        })
    }

    /// The last case of one.
    fn finish(&mut self, id: InvestigationId) -> Option<Case> {
        let open = self.open.get_mut(&id)?;
        open.give_up.abort();
        open.investigation.state = settled(&open.investigation);
        self.metrics.investigated(open.investigation.state);
        let case = self.revise(id);
        self.open.remove(&id);
        case
    }

    fn weigh(&self, local: &[Local], answers: &[Answer], now: Timestamp) -> Weighed {
        Weighed::new(local, answers, &self.sources.weigher(), &self.thresholds.borrow(), now)
    }
}

/// Takes an answer in; what memory said stands until the same source says something newer. Whether anything changed.
pub(super) fn take(answers: &mut Vec<Answer>, answer: Answer) -> bool {
    match answers.iter_mut().find(|old| old.source == answer.source) {
        Some(old) if answer.indicator.is_some() || old.indicator.is_none() => *old = answer,
        Some(_) => return false,
        None => answers.push(answer),
    }
    true
}

/// The state of one in which nobody is asked any more.
fn settled(investigation: &Investigation) -> InvestigationState {
    if investigation.answers.iter().any(|answer| answer.indicator.is_some()) {
        InvestigationState::Complete
    } else {
        InvestigationState::NoAnswer
    }
}

#[cfg(test)]
mod tests;
