//! What a message says, as it is known when it is sent: one text for every channel, and the data for programs.

use crate::files::host_name;
use crate::store::{DecisionFilter, InvestigationFilter, Store, StoreError, Window};
use crate::types::{
    Action, ActionStatus, Alert, AlertId, Content, Decision, DecisionStatus, Digest, Investigation, Message, MessageId,
    OTHERWISE, Severity, Timestamp, is_unseen,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The shape of [`Letter::data`]; moves when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Characters of one text that are told.
const LONGEST: usize = 400;
/// Summands of a risk, and numbers of the evidence, that are told.
const REASONS: usize = 5;
/// Bytes of files that go with a letter; others are named in it.
const FILES: u64 = 20 << 20;
/// Lines of a digest that are told; the data has all.
const LINES: usize = 20;

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The name of this host.
    pub host: String,
    /// Where a browser finds the dashboard, without a slash at the end.
    pub dashboard: String,
}

impl Sender {
    /// This host.
    pub fn here(dashboard: String) -> Self {
        Self {
            host: host_name(),
            dashboard,
        }
    }
}

/// A message ready to be handed over. Texts have no control characters, and no mark-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// The same however often it is handed over.
    pub id: MessageId,
    /// When what it tells happened.
    pub at: Timestamp,
    /// `alert`, `digest`, `report` or `test`.
    pub kind: &'static str,
    /// The worst it tells of.
    pub severity: Option<Severity>,
    /// The name of this host.
    pub host: String,
    /// One line.
    pub title: String,
    /// One sentence.
    pub lead: String,
    /// Titled lists.
    pub sections: Vec<(&'static str, Vec<String>)>,
    /// Where a browser shows more.
    pub link: String,
    /// For templates.
    pub values: BTreeMap<&'static str, String>,
    /// All that is known, for programs.
    pub data: Value,
    /// What goes with it.
    pub files: Vec<PathBuf>,
}

impl Letter {
    /// Out of a message and what is known by now.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub(super) async fn write(store: &Store, message: &Message, from: &Sender) -> Result<Self, StoreError> {
        Ok(match &message.content {
            Content::Alert { alert, severity } => match store.alert(*alert).await? {
                Some(alert) => of_alert(&Known::of(store, alert).await?, message, from),
                None => gone(*alert, *severity, message, from),
            },
            Content::Digest(digest) => of_digest(digest, message, from),
            Content::Report { title, files } => of_report(title, files, message, from),
            Content::Test { by } => Self::test(by, message.id, message.at, from),
        })
    }

    /// What a channel is tried with.
    pub(super) fn test(by: &str, id: MessageId, at: Timestamp, from: &Sender) -> Self {
        let mut letter = Self::blank("test", id, at, from);
        letter.title = format!("Test from {}", letter.host);
        letter.lead = format!(
            "{} asked whether this comes through. It does; nothing has happened.",
            clean(by)
        );
        letter.data["test"] = json!({ "by": by });
        letter.finish()
    }

    fn blank(kind: &'static str, id: MessageId, at: Timestamp, from: &Sender) -> Self {
        let host = clean(&from.host);
        Self {
            id,
            at,
            kind,
            severity: None,
            title: String::new(),
            lead: String::new(),
            sections: Vec::new(),
            link: format!("{}/", from.dashboard),
            values: BTreeMap::from([
                ("host", host.clone()),
                ("kind", kind.to_owned()),
                ("id", id.to_string()),
            ]),
            data: json!({ "version": VERSION, "id": id, "kind": kind, "at": at, "host": host }),
            host,
            files: Vec::new(),
        }
    }

    /// Copies what was found into the places and the data.
    fn finish(mut self) -> Self {
        self.values.insert("title", self.title.clone());
        self.values.insert("summary", self.lead.clone());
        if let Some(severity) = self.severity {
            self.values.insert("severity", severity.as_str().to_owned());
            self.data["severity"] = json!(severity);
        }
        self.data["title"] = json!(self.title);
        self.data["summary"] = json!(self.lead);
        self.data["link"] = json!(self.link);
        self
    }

    /// The whole as plain text.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.lead);
        for (title, items) in &self.sections {
            let _ = writeln!(out, "\n{title}");
            for item in items {
                let _ = writeln!(out, "  - {item}");
            }
        }
        let _ = writeln!(out, "\n{}", self.link);
        out
    }
}

/// What is known of an alert by now.
struct Known {
    alert: Alert,
    /// What it led to, the latest first; or what was in force on its source already.
    decisions: Vec<Decision>,
    /// Whether those are older than the alert.
    before: bool,
    actions: Vec<Action>,
    investigation: Option<Investigation>,
}

impl Known {
    async fn of(store: &Store, alert: Alert) -> Result<Self, StoreError> {
        let window = Window {
            limit: 10,
            ..Window::default()
        };
        let own = DecisionFilter {
            window: window.clone(),
            alert: vec![alert.id],
            ..DecisionFilter::default()
        };
        let mut decisions = store.decisions(own).await?.items;
        let before = decisions.is_empty();
        if let Some(source) = alert.source.filter(|_| before) {
            let standing = DecisionFilter {
                window: window.clone(),
                ip: Some(source.into()),
                active: Some(true),
                ..DecisionFilter::default()
            };
            decisions = store.decisions(standing).await?.items;
        }
        let actions = store
            .actions_of(decisions.iter().map(|decision| decision.id).collect())
            .await?;
        let about = InvestigationFilter {
            window: Window {
                limit: 1,
                ..Window::default()
            },
            alert: Some(alert.id),
            ..InvestigationFilter::default()
        };
        let investigation = store.investigations(about).await?.items.into_iter().next();
        Ok(Self {
            alert,
            decisions,
            before,
            actions,
            investigation,
        })
    }

    /// What was done, in a few words and in sentences.
    fn deeds(&self) -> (String, Vec<String>) {
        let mut short = None;
        let mut told = Vec::new();
        for decision in &self.decisions {
            let (deed, sentences) = self.deed(decision);
            short.get_or_insert(deed);
            told.extend(sentences);
        }
        if told.is_empty() {
            told.push("Nothing so far: no decision has followed from it.".to_owned());
        }
        (short.unwrap_or_else(|| "nothing done so far".to_owned()), told)
    }

    /// What was done for one decision, and a sentence for each action of it.
    fn deed(&self, decision: &Decision) -> (String, Vec<String>) {
        let target = if decision.is_wide() {
            decision.target.to_string()
        } else {
            decision.target.addr().to_string()
        };
        let since = if self.before {
            format!(", since {}", minute(decision.at))
        } else {
            String::new()
        };
        match decision.status {
            DecisionStatus::Vetoed => {
                let veto = decision.veto.as_ref();
                let (guard, why) = veto.map_or(("a guard", ""), |veto| (veto.guard.as_str(), veto.reason.as_str()));
                return (
                    "not acted on".to_owned(),
                    vec![clean(&format!(
                        "Nothing was done to {target}: {guard} forbids it ({why})."
                    ))],
                );
            }
            DecisionStatus::Logged => {
                return (
                    "logged".to_owned(),
                    vec![clean(&format!("{target} is only logged: {}", decision.reason))],
                );
            }
            _ => {}
        }
        let mut actions: Vec<_> = self.actions.iter().filter(|a| a.decision == decision.id).collect();
        // What the kernel does first, and what is done beside it.
        actions.sort_by_key(|action| action.kind.beside());
        let until = decision
            .expires_at
            .map_or(String::new(), |at| format!(" until {}", minute(at)));
        let told = actions.into_iter().map(|action| {
            let profile = action.kind.profile();
            let [does, would] = profile.told;
            // What it does then is told by the outcome, which stands behind the sentence.
            let does = if action.outcome.contains(OTHERWISE) {
                profile.told_otherwise
            } else {
                does
            };
            let (deed, sentence) = match action.status {
                ActionStatus::Enforced if action.removed() => (
                    "had its container isolated until that was removed",
                    format!("{target} had its container isolated until that was removed."),
                ),
                ActionStatus::Enforced => (does, format!("{target} {does}{until}{since}.")),
                ActionStatus::Simulated => (would, format!("{target} {would}{until}{since}; nothing is done.")),
                ActionStatus::Intent if action.kind.beside() => {
                    let kind = words(action.kind.as_str());
                    (
                        "",
                        format!("Beside that ({kind}) it is being acted on, and not done yet."),
                    )
                }
                _ if action.kind.beside() => ("", format!("Beside that ({}):", words(action.kind.as_str()))),
                ActionStatus::Failed => ("could not be acted on", format!("{target} could not be acted on.")),
                ActionStatus::Reverted | ActionStatus::Expired => {
                    ("is over", format!("What was done about {target} is over."))
                }
                ActionStatus::Intent => (
                    "is being acted on",
                    format!("{target} is being acted on; it is not done yet."),
                ),
            };
            (deed, clean(&format!("{sentence} {}", action.outcome)))
        });
        let (deeds, mut sentences): (Vec<&str>, Vec<String>) = told.unzip();
        let mut deeds: Vec<_> = deeds.into_iter().filter(|deed| !deed.is_empty()).collect();
        if deeds.is_empty() {
            deeds.push("is being acted on");
            sentences.insert(0, format!("{target} is being acted on; it is not done yet."));
        }
        (deeds.join(" and "), sentences)
    }
}

fn of_alert(known: &Known, message: &Message, from: &Sender) -> Letter {
    let alert = &known.alert;
    let mut letter = Letter::blank("alert", message.id, alert.at, from);
    let (deed, told) = known.deeds();
    let who = alert.source.map_or("somebody".to_owned(), |ip| ip.to_string());
    letter.severity = Some(alert.severity);
    letter.title = format!(
        "{}: {} by {who}, {deed}",
        alert.severity.as_str(),
        words(alert.detector.as_str())
    );
    letter.lead = clean(&alert.summary);
    let numbers = alert.evidence.iter().take(REASONS);
    letter.sections.push((
        "Why",
        numbers
            .map(|e| {
                clean(&format!(
                    "{} {} {}, the limit is {}",
                    words(&e.name),
                    number(e.value),
                    e.unit,
                    number(e.threshold)
                ))
            })
            .collect(),
    ));
    letter.sections.push(("What was done", told));
    if let Some(found) = &known.investigation {
        let mut about = vec![clean(&found.risk.summary)];
        about.extend(found.risk.parts.iter().take(REASONS).map(|part| clean(&part.sentence)));
        about.extend(
            [&found.country, &found.network]
                .into_iter()
                .flatten()
                .map(|text| clean(text)),
        );
        letter.sections.push(("What is known of the source", about));
    }
    letter.link = format!("{}/#/alerts/{}", from.dashboard, alert.id);
    letter.values.extend([
        ("detector", alert.detector.as_str().to_owned()),
        ("family", alert.family.as_str().to_owned()),
        ("source", alert.source.map_or(String::new(), |ip| ip.to_string())),
        ("action", deed),
        ("alerts", "1".to_owned()),
    ]);
    letter.data["alert"] = json!(alert);
    letter.data["decisions"] = json!(known.decisions);
    letter.data["actions"] = json!(known.actions);
    letter.data["investigation"] = json!(known.investigation);
    letter.finish()
}

/// The alert has gone from the database before it was told.
fn gone(alert: AlertId, severity: Severity, message: &Message, from: &Sender) -> Letter {
    let mut letter = Letter::blank("alert", message.id, message.at, from);
    letter.severity = Some(severity);
    letter.title = format!("{}: an alert that is no longer kept", severity.as_str());
    letter.lead = format!("Alert {alert} was raised; the database kept it no longer than `store.retention` says.");
    letter.data["alert"] = json!({ "id": alert, "severity": severity });
    letter.finish()
}

fn of_digest(digest: &Digest, message: &Message, from: &Sender) -> Letter {
    let mut letter = Letter::blank("digest", message.id, message.at, from);
    let alerts = many(digest.alerts, "alert", "alerts");
    letter.severity = Some(digest.severity);
    letter.title = format!("{}: {alerts} told together", digest.severity.as_str());
    let reasons: Vec<_> = digest
        .folded
        .iter()
        .map(|(why, n)| {
            let why = match why {
                crate::types::Folded::Duplicate => "repeat what was told",
                crate::types::Folded::Throttled => "were more than a minute may bring",
                crate::types::Folded::Quiet => "came in quiet hours",
                crate::types::Folded::Full => "came while too many messages waited",
            };
            format!("{n} {why}")
        })
        .collect();
    letter.lead = format!("{alerts} since {}: {}.", minute(digest.since), reasons.join(", "));
    let mut lines: Vec<_> = digest
        .lines
        .iter()
        .take(LINES)
        .map(|line| {
            let who = line.source.map_or("somebody".to_owned(), |ip| ip.to_string());
            clean(&format!(
                "{}× {} by {who} ({}): {}",
                line.alerts,
                words(line.detector.as_str()),
                line.severity.as_str(),
                line.summary
            ))
        })
        .collect();
    let shown: u64 = digest.lines.iter().take(LINES).map(|line| line.alerts).sum();
    if shown < digest.alerts {
        lines.push(format!("{} more", many(digest.alerts - shown, "alert", "alerts")));
    }
    letter.sections.push(("Alerts", lines));
    letter.link = format!("{}/#/alerts", from.dashboard);
    letter.values.insert("alerts", digest.alerts.to_string());
    letter.data["digest"] = json!(digest);
    letter.finish()
}

fn of_report(title: &str, files: &[PathBuf], message: &Message, from: &Sender) -> Letter {
    let mut letter = Letter::blank("report", message.id, message.at, from);
    letter.title = clean(title);
    let mut room = FILES;
    let mut attached = Vec::new();
    let mut names = Vec::new();
    for file in files {
        let Some(name) = file.file_name().and_then(|name| name.to_str()).map(clean) else {
            continue;
        };
        match file.metadata() {
            Ok(meta) if meta.len() <= room => {
                room -= meta.len();
                attached.push(file.clone());
                names.push(name);
            }
            Ok(_) => names.push(format!("{name} (too large to be sent; it is among the reports kept)")),
            Err(_) => names.push(format!("{name} (no longer there)")),
        }
    }
    letter.lead = format!("{} of {}.", letter.title, letter.host);
    letter.data["report"] = json!({ "files": names });
    letter.sections.push(("Files", names));
    letter.link = format!("{}/#/reports", from.dashboard);
    letter.files = attached;
    letter.finish()
}

/// A stranger's text in one line, without what steers terminals or the direction of writing, and not too long.
pub(super) fn clean(text: &str) -> String {
    let steers = |c: char| c.is_control() || is_unseen(c);
    let mut out: String = text
        .chars()
        .map(|c| if steers(c) { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn many(n: u64, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// At most two places behind the point.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// To the minute.
fn minute(at: Timestamp) -> String {
    let text: String = at.to_string().chars().take(16).collect();
    format!("{} UTC", text.replace('T', " "))
}
