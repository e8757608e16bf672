//! What a list is narrowed to, and the SQL it becomes.

use super::insert::{ordered, range, word};
use super::plan::Plan;
use super::{AuditEntry, StoreError, alerts, ends};
use crate::types::{
    Action, ActionStatus, Alert, AlertId, Decision, DecisionId, Detector, Investigation, Severity, Timestamp,
};
use ipnet::{IpNet, Ipv6Net};
use rusqlite::Connection;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};
use std::fmt::Debug;
use std::net::Ipv6Addr;

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
pub(super) trait Query: Debug {
    /// What the rows hold.
    type Item: Send + 'static;
    /// Table name; also the sign in cursors.
    const TABLE: &'static str;
    /// Columns that [`Self::item`] reads after `seq`.
    const COLUMNS: &'static str = "json";

    fn window(&self) -> &Window;
    /// How it is read, the cursor apart.
    fn plan(&self, connection: &Connection) -> rusqlite::Result<Plan>;
    /// Makes an item of a row whose column 0 is `seq`.
    fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self::Item>;
}

/// Conditions joined by AND, with their values.
#[derive(Clone, Debug, Default)]
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

    pub(super) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    pub(super) fn any_of<T: serde::Serialize>(&mut self, column: &str, words: &[T]) -> rusqlite::Result<()> {
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

/// The ranges that overlap a prefix: those that begin in it, and those that it lies in, apart. Prefixes lie in each other
/// or have nothing in common, so the latter begin at one of 128 addresses.
pub(super) fn overlapping(net: IpNet, rest: &Clauses) -> Vec<Clauses> {
    let (low, high) = range(net);
    let blob = |bytes: [u8; 16]| Value::Blob(bytes.to_vec());
    let (mut within, mut around) = (rest.clone(), rest.clone());
    within.and("low BETWEEN ? AND ?", [blob(low), blob(high)]);
    let address = Ipv6Addr::from(ordered(net.network()));
    let mut begins: Vec<[u8; 16]> = (0..128)
        .filter_map(|length| Ipv6Net::new(address, length).ok())
        .map(|wider| wider.network().octets())
        .filter(|begin| *begin < low)
        .collect();
    begins.dedup();
    let marks = vec!["?"; begins.len()].join(", ");
    around.and(&format!("low IN ({marks})"), begins.into_iter().map(blob));
    around.and("high >= ?", [blob(high)]);
    vec![within, around]
}

/// A cursor names its list and what that is narrowed to, so that the mark of one is refused by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks(String);

impl Marks {
    /// Those of a list narrowed so. Which part of it is shown is left out of them: a duration back from now moves.
    pub(super) fn of<Q: Query>(query: &Q) -> Self {
        let narrowed = format!("{query:?}").replacen(&format!("{:?}", query.window()), "", 1);
        let hash = Sha256::digest(narrowed);
        Self(format!("{}{}", &Q::TABLE[..2], crate::types::hex(&hash[..4])))
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

    fn plan(&self, connection: &Connection) -> rusqlite::Result<Plan> {
        alerts::plan(connection, self)
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

    fn plan(&self, _: &Connection) -> rusqlite::Result<Plan> {
        let mut clauses = Clauses::default();
        clauses.within("ip", self.ip);
        if let Some(id) = self.alert {
            clauses.and("alert = ?", [Value::Blob(id.0.as_bytes().to_vec())]);
        }
        // Of each risk the order of arrival is there.
        let mut levels = self.level.clone();
        levels.sort_unstable();
        levels.dedup();
        let of = |level| {
            let mut of = clauses.clone();
            of.any_of("level", &[level])?;
            Ok(of)
        };
        let parts: Vec<Clauses> = levels.into_iter().map(of).collect::<rusqlite::Result<_>>()?;
        let parts = if parts.is_empty() { vec![clauses] } else { parts };
        let at = Some("INDEXED BY investigations_at");
        let (by, at) = match (self.alert, self.ip, self.level.is_empty()) {
            (Some(_), _, _) => ("INDEXED BY investigations_alert", None),
            (None, Some(_), _) => ("INDEXED BY investigations_ip", None),
            (None, None, false) => ("INDEXED BY investigations_level", at),
            (None, None, true) => ("", at),
        };
        Ok(Plan::of(Self::TABLE, by, at, parts, self.window.since))
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

    fn plan(&self, connection: &Connection) -> rusqlite::Result<Plan> {
        let told_apart = ends::any(connection)?;
        let mut clauses = Clauses::default();
        match self.active {
            Some(true) => clauses.and(ends::active(told_apart), []),
            Some(false) => clauses.and(ends::over(told_apart), []),
            None => {}
        }
        if self.watched {
            clauses.and(ends::watched(told_apart), []);
        }
        if self.simulated {
            // The words are those of the index.
            clauses.and("CASE WHEN json_valid(json) THEN json ->> '$.simulated' END = 1", []);
            clauses.and("status NOT IN ('vetoed', 'logged')", []);
        }
        if !self.alert.is_empty() {
            let marks = vec!["?"; self.alert.len()].join(", ");
            let ids = self.alert.iter().map(|id| Value::Blob(id.0.as_bytes().to_vec()));
            clauses.and(&format!("alert IN ({marks})"), ids);
        }
        let since = self.window.since;
        if let Some(net) = self.ip {
            let parts = overlapping(net, &clauses);
            return Ok(Plan::of(Self::TABLE, "INDEXED BY decisions_low", None, parts, since));
        }
        let at = Some("INDEXED BY decisions_at");
        let (by, at) = match self.active {
            _ if !self.alert.is_empty() => ("INDEXED BY decisions_alert", None),
            _ if self.simulated => ("INDEXED BY decisions_simulated", None),
            _ if self.watched && told_apart => ("", None),
            _ if self.watched => ("INDEXED BY decisions_watched", None),
            Some(true) => ("INDEXED BY decisions_active", at),
            Some(false) if !told_apart => ("INDEXED BY decisions_over", at),
            _ => ("", at),
        };
        Ok(Plan::of(Self::TABLE, by, at, vec![clauses], since))
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

    fn plan(&self, connection: &Connection) -> rusqlite::Result<Plan> {
        let told_apart = ends::any(connection)?;
        let mut clauses = Clauses::default();
        if let Some(id) = self.decision {
            clauses.and("decision = ?", [Value::Blob(id.0.as_bytes().to_vec())]);
        }
        if let Some(status) = self.status {
            clauses.and(&ends::action_is(status, told_apart), [Value::Text(word(&status)?)]);
        }
        let since = self.window.since;
        if let Some(net) = self.ip {
            let parts = overlapping(net, &clauses);
            return Ok(Plan::of(Self::TABLE, "INDEXED BY actions_low", None, parts, since));
        }
        let at = Some("INDEXED BY actions_at");
        let (by, at) = match (self.decision, self.status) {
            (Some(_), _) => ("INDEXED BY actions_decision", None),
            (None, Some(_)) if !told_apart => ("INDEXED BY actions_status", at),
            (None, _) => ("", at),
        };
        Ok(Plan::of(Self::TABLE, by, at, vec![clauses], since))
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

    fn plan(&self, _: &Connection) -> rusqlite::Result<Plan> {
        let at = Some("INDEXED BY audit_at");
        Ok(Plan::of(
            Self::TABLE,
            "",
            at,
            vec![Clauses::default()],
            self.window.since,
        ))
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
