//! What the desk has to keep beside deeds: the operator's words, in order with everything else.

use super::held::hits_of;
use super::responder::Responder;
use super::{EnforceError, Enforcer};
use crate::store::Record;
use crate::types::{Allowed, Bystander, CommandError, Decision, Hits, Stop, Tally, Timestamp};
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Did what.
    pub verb: &'static str,
    /// To whom or what.
    pub subject: String,
    /// With which result.
    pub detail: String,
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        Self::Audit {
            at: line.at,
            actor: line.actor,
            verb: line.verb.to_owned(),
            subject: line.subject,
            detail: line.detail,
        }
    }
}

impl<E: Enforcer> Responder<E> {
    /// Keeps a line of the audit.
    pub async fn note(&mut self, line: Line) {
        self.memory.remember(vec![line.into()]).await;
    }

    /// Keeps that acting is stopped, or that it is not.
    pub async fn note_stop(&mut self, stop: Option<Stop>, line: Line) {
        self.memory.remember(vec![Record::Acting(stop), line.into()]).await;
    }

    /// Keeps the settings of this start, and lines about them.
    pub async fn note_settings(&mut self, text: String, lines: Vec<Line>) {
        let mut records = vec![Record::Settings(text)];
        records.extend(lines.into_iter().map(Record::from));
        self.memory.remember(records).await;
    }

    /// Keeps an entry of the allowlist.
    pub async fn note_allowed(&mut self, entry: &Allowed, line: Line) {
        let entry = Arc::new(entry.clone());
        self.memory.remember(vec![Record::Allow(entry), line.into()]).await;
    }

    /// Keeps that entries are off the allowlist.
    pub async fn note_disallowed(&mut self, lines: Vec<(IpNet, Line)>) {
        let both = |(target, line): (IpNet, Line)| [Record::Disallow(target), line.into()];
        self.memory.remember(lines.into_iter().flat_map(both).collect()).await;
    }

    /// Keeps decisions and a line about them, all in one transaction; resolves when they are durable. Nobody need wait.
    ///
    /// # Errors
    /// [`CommandError::Failed`] where the database does not have them; then it has none.
    pub fn keep_all(&self, decisions: &[Decision], line: Line) -> BoxFuture<'static, Result<(), CommandError>> {
        let mut records: Vec<Record> = Vec::with_capacity(decisions.len() + 1);
        records.extend(decisions.iter().map(|d| Record::Decision(Arc::new(d.clone()))));
        records.push(line.into());
        let store = self.memory.store();
        Box::pin(async move {
            // In memory while the disk refuses, as every other decision then.
            let kept = store.keep(records).await;
            kept.map_err(|error| CommandError::Failed(format!("the database does not take it: {error}")))
        })
    }

    /// Keeps what simulated entries have met.
    pub async fn note_tallies(&mut self, tallies: Vec<Tally>) {
        let records = tallies.into_iter().map(|tally| Record::Tally(Arc::new(tally)));
        self.memory.remember(records.collect()).await;
    }

    /// Keeps who had sessions under them.
    pub async fn note_bystanders(&mut self, sources: Vec<Bystander>) {
        let records = sources.into_iter().map(|source| Record::Bystander(Arc::new(source)));
        self.memory.remember(records.collect()).await;
    }

    /// The counters of a decision's entry as they stand now; `None` where it has none.
    pub fn counted(&self, decision: &Decision) -> Option<Hits> {
        let entry = self.enforcer.get_block(decision.target).ok()??;
        (entry.decision == *decision.id.0.as_bytes()).then(|| hits_of(&entry, self.clock))
    }

    /// Whether the allow map has exactly this target.
    ///
    /// # Errors
    /// [`EnforceError`] when it cannot be read.
    pub fn allows(&self, target: IpNet) -> Result<bool, EnforceError> {
        Ok(self.allowed()?.contains(&target))
    }

    /// Everything in the allow map.
    ///
    /// # Errors
    /// [`EnforceError`] when it cannot be read.
    pub fn allowed(&self) -> Result<BTreeSet<IpNet>, EnforceError> {
        Ok(self.enforcer.list_allows()?.into_iter().map(|(net, _)| net).collect())
    }
}
