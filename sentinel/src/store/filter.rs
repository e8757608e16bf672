//! What a list is narrowed to, and the SQL it becomes.

use super::ends;
use super::insert::{range, word};
use super::{AuditEntry, StoreError};
use crate::types::{
    Action, ActionStatus, Alert, AlertId, Decision, DecisionId, Detector, Investigation, Severity, Timestamp,
};
use ipnet::IpNet;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};

/// Most items one page holds.
pub const PAGE_MAX: usize = 1000;

/// Which part of a list: newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Items wanted; cut to 1..=[`PAGE_MAX`].
    pub limit: usize,
    /// `next_cursor` of the page before, if any.
    pub cursor: Option<String>,
    /// Nothing older than this.
    pub since: Option<Timestamp>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            limit: 100,
            cursor: None,
            since: None,
        }
    }
}

/// Narrows the list of alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertFilter {
    /// Which part.
    pub window: Window,
    /// Source within this prefix.
    pub ip: Option<IpNet>,
    /// Any of these; empty for all.
    pub severity: Vec<Severity>,
    /// Any of these; empty for all.
    pub detector: Vec<Detector>,
}

/// Narrows the list of investigations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvestigationFilter {
    /// Which part.
    pub window: Window,
    /// Address within this prefix.
    pub ip: Option<IpNet>,
    /// Of this alert.
    pub alert: Option<AlertId>,
    /// Any of these risks; empty for all.
    pub level: Vec<Severity>,
}

/// Narrows the list of decisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionFilter {
    /// Which part.
    pub window: Window,
    /// Target overlaps this prefix.
    pub ip: Option<IpNet>,
    /// `true`: only those in force; `false`: only the others.
    pub active: Option<bool>,
    /// Only those that are over and whose targets are on probation.
    pub watched: bool,
    /// Only those that were or are simulated and asked for more than a line in the log.
    pub simulated: bool,
    /// Only those that followed from one of these alerts; empty for all.
    pub alert: Vec<AlertId>,
}

/// Narrows the list of actions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionFilter {
    /// Which part.
    pub window: Window,
    /// Target overlaps this prefix.
    pub ip: Option<IpNet>,
    /// Of this decision.
    pub decision: Option<DecisionId>,
    /// As far as this.
    pub status: Option<ActionStatus>,
}

/// Narrows the audit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditFilter {
    /// Which part.
    pub window: Window,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Pass it to get the page after this one; `None` at the end.
    pub next_cursor: Option<String>,
    /// Items that match the filter, over all pages, now.
    pub total: u64,
}

/// A filter, ready for a table.
pub(super) trait Query {
    /// What the rows hold.
    type Item: Send + 'static;
    /// Table name; also the sign in cursors.
    const TABLE: &'static str;
    /// Columns that [`Self::item`] reads after `seq`.
    const COLUMNS: &'static str = "json";

    fn window(&self) -> &Window;
    fn narrow(&self, clauses: &mut Clauses) -> rusqlite::Result<()>;
    /// Makes an item of a row whose column 0 is `seq`.
    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self::Item>;
}

/// Conditions joined by AND, with their values.
#[derive(Default)]
pub(super) struct Clauses {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Clauses {
    /// Adds a condition; `?` stands for each value in turn.
    pub(super) fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    fn any_of<T: serde::Serialize>(&mut self, column: &str, words: &[T]) -> rusqlite::Result<()> {
        if !words.is_empty() {
            let marks = vec!["?"; words.len()].join(", ");
            let values: Vec<Value> = words
                .iter()
                .map(|w| word(w).map(Value::Text))
                .collect::<Result<_, _>>()?;
            self.and(&format!("{column} IN ({marks})"), values);
        }
        Ok(())
    }

    /// The address of a column lies in a prefix.
    fn within(&mut self, column: &str, ip: Option<IpNet>) {
        if let Some(net) = ip {
            let (low, high) = range(net);
            self.and(
                &format!("{column} BETWEEN ? AND ?"),
                [Value::Blob(low.to_vec()), Value::Blob(high.to_vec())],
            );
        }
    }

    fn overlaps(&mut self, ip: Option<IpNet>) {
        if let Some(net) = ip {
            let (low, high) = range(net);
            self.and(
                "low <= ? AND high >= ?",
                [Value::Blob(high.to_vec()), Value::Blob(low.to_vec())],
            );
        }
    }

    pub(super) fn sql(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }

    pub(super) fn values(&self) -> rusqlite::ParamsFromIter<&Vec<Value>> {
        rusqlite::params_from_iter(&self.values)
    }
}

/// A cursor names its list and what that is narrowed to, so that the mark of one is refused by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks(String);

impl Marks {
    /// Those of a list narrowed so. Where it begins (`since`) is no part of it: a duration back from now moves.
    pub(super) fn of(table: &str, narrowed: &Clauses) -> Self {
        let mut hash = Sha256::new();
        hash.update(narrowed.conditions.join("\n"));
        hash.update(format!("{:?}", narrowed.values));
        Self(format!("{}{}", &table[..2], crate::types::hex(&hash.finalize()[..4])))
    }

    pub(super) fn cursor(&self, seq: i64) -> String {
        format!("{}{seq:x}", self.0)
    }

    pub(super) fn parse(&self, text: &str) -> Result<i64, StoreError> {
        text.strip_prefix(&self.0)
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|hex| i64::from_str_radix(hex, 16).ok())
            .filter(|seq| *seq > 0)
            .ok_or_else(|| StoreError::Cursor(text.chars().filter(|c| !c.is_control()).take(64).collect()))
    }
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.into()))
}

impl Query for AlertFilter {
    type Item = Alert;
    const TABLE: &'static str = "alerts";

    fn window(&self) -> &Window {
        &self.window
    }

    fn narrow(&self, clauses: &mut Clauses) -> rusqlite::Result<()> {
        clauses.within("source", self.ip);
        clauses.any_of("severity", &self.severity)?;
        clauses.any_of("detector", &self.detector)
    }

    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Alert> {
        from_json(row, 1)
    }
}

impl Query for InvestigationFilter {
    type Item = Investigation;
    const TABLE: &'static str = "investigations";

    fn window(&self) -> &Window {
        &self.window
    }

    fn narrow(&self, clauses: &mut Clauses) -> rusqlite::Result<()> {
        clauses.within("ip", self.ip);
        if let Some(id) = self.alert {
            clauses.and("alert = ?", [Value::Blob(id.0.as_bytes().to_vec())]);
        }
        clauses.any_of("level", &self.level)
    }

    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Investigation> {
        from_json(row, 1)
    }
}

impl Query for DecisionFilter {
    type Item = Decision;
    const TABLE: &'static str = "decisions";
    const COLUMNS: &'static str = ends::OF_DECISION;

    fn window(&self) -> &Window {
        &self.window
    }

    fn narrow(&self, clauses: &mut Clauses) -> rusqlite::Result<()> {
        clauses.overlaps(self.ip);
        match self.active {
            Some(true) => clauses.and(ends::ACTIVE, []),
            Some(false) => clauses.and(ends::OVER, []),
            None => {}
        }
        if self.watched {
            clauses.and(ends::WATCHED, []);
        }
        if self.simulated {
            clauses.and("json ->> '$.simulated' = 1 AND status NOT IN ('vetoed', 'logged')", []);
        }
        if !self.alert.is_empty() {
            let marks = vec!["?"; self.alert.len()].join(", ");
            let ids = self.alert.iter().map(|id| Value::Blob(id.0.as_bytes().to_vec()));
            clauses.and(&format!("alert IN ({marks})"), ids);
        }
        Ok(())
    }

    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Decision> {
        let mut decision = from_json(row, 1)?;
        if let Some(ending) = ends::beside(row)? {
            ending.end(&mut decision);
        }
        Ok(decision)
    }
}

impl Query for ActionFilter {
    type Item = Action;
    const TABLE: &'static str = "actions";
    const COLUMNS: &'static str = ends::OF_ACTION;

    fn window(&self) -> &Window {
        &self.window
    }

    fn narrow(&self, clauses: &mut Clauses) -> rusqlite::Result<()> {
        clauses.overlaps(self.ip);
        if let Some(id) = self.decision {
            clauses.and("decision = ?", [Value::Blob(id.0.as_bytes().to_vec())]);
        }
        if let Some(status) = self.status {
            clauses.and(&ends::action_is(status), [Value::Text(word(&status)?)]);
        }
        Ok(())
    }

    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Action> {
        let mut action = from_json(row, 1)?;
        if let Some(ending) = ends::beside(row)? {
            ending.end_action(&mut action);
        }
        Ok(action)
    }
}

impl Query for AuditFilter {
    type Item = AuditEntry;
    const TABLE: &'static str = "audit";
    const COLUMNS: &'static str = "at, actor, verb, subject, detail, hash";

    fn window(&self) -> &Window {
        &self.window
    }

    fn narrow(&self, _: &mut Clauses) -> rusqlite::Result<()> {
        Ok(())
    }

    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuditEntry> {
        Ok(AuditEntry {
            seq: row.get(0)?,
            at: Timestamp(row.get(1)?),
            actor: row.get(2)?,
            verb: row.get(3)?,
            subject: row.get(4)?,
            detail: row.get(5)?,
            hash: crate::types::hex(row.get_ref(6)?.as_blob()?),
        })
    }
}
