//! What goes when it is too old or the database too large: a little at a time, while nothing else is to be written.
//!
//! The newest row of each table stays whatever its age: numbers in order of arrival never begin anew, so cursors hold.

mod audit;
mod rows;
mod space;

pub use space::Space;

use super::StoreError;
use super::audit::Head;
use crate::types::Timestamp;
use rows::{Kind, Place, Removed};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long one step may go on; a commit that comes meanwhile waits for it, and for its fsync.
const STEP: Duration = Duration::from_millis(2);
/// Rows one step looks at.
const LOOKED_AT: usize = 512;
/// Pages given back by one step.
const PAGES: u32 = 64;
/// Free pages that are left to be written to next.
const SPARE: i64 = 256;
/// While commits leave no pause, a step is made this often all the same.
pub(super) const AT_LEAST: Duration = Duration::from_secs(1);
/// Key in `meta` of what was removed so far.
const TOTALS: &str = "pruned";
/// Under a bound on the size, so much of it is left free of 100 when it was exceeded.
const BELOW: u64 = 95;

/// What may go. Nothing goes that is in force, watched, or not put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// Now.
    pub now: Timestamp,
    /// Alerts from before, unless a reader's cursor has not come to them.
    pub alerts: Option<Timestamp>,
    /// Investigations from before.
    pub investigations: Option<Timestamp>,
    /// Decisions that ended before and whose alert is gone, with all that belongs to them.
    pub decisions: Option<Timestamp>,
    /// Lines of the audit from before, up to a day later.
    pub audit: Option<Timestamp>,
    /// Beyond so many bytes in use the oldest alerts and investigations go, then decisions that are over.
    pub max_bytes: Option<u64>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows by table and reason (`age`, `size`).
    pub rows: BTreeMap<(&'static str, &'static str), u64>,
    /// Alerts that went for the size before a reader had come to them, by reader.
    pub unread: BTreeMap<String, u64>,
    /// There is nothing left that may go, and the database is larger than it may be.
    pub too_large: bool,
}

impl Pruned {
    /// Rows that went for this reason.
    #[must_use]
    pub fn of(&self, reason: &str) -> u64 {
        let rows = self.rows.iter().filter(|((_, why), _)| *why == reason);
        rows.map(|(_, rows)| rows).sum()
    }
}

/// One removal, from beginning to end.
pub(super) struct Pass {
    rule: Retain,
    stage: Stage,
    pruned: Pruned,
    done: oneshot::Sender<Result<Pruned, StoreError>>,
    /// Whether rows have to go until less than [`BELOW`] is in use.
    tight: bool,
    /// When the next step may be made while nothing else is to be done.
    pub(super) at: Instant,
    /// When the last step was made.
    pub(super) last: Instant,
}

enum Stage {
    Aged(Kind, Place),
    Audit(audit::Seek),
    AuditOut(audit::Target),
    /// Alerts and investigations.
    Large(Place, Place),
    LargeDecisions(Place),
    GiveBack,
    Over,
}

impl Pass {
    pub(super) fn new(rule: Retain, done: oneshot::Sender<Result<Pruned, StoreError>>) -> Self {
        let now = Instant::now();
        Self {
            rule,
            stage: Stage::Aged(Kind::Alerts, Place::default()),
            pruned: Pruned::default(),
            done,
            tight: false,
            at: now,
            last: now,
        }
    }

    /// Makes one step. `None` when the pass is over: then whoever asked for it was answered.
    pub(super) fn step(mut self, connection: &mut Connection, head: &mut Head) -> Option<Self> {
        let began = Instant::now();
        match self.advance(connection, head) {
            Ok(()) if matches!(self.stage, Stage::Over) => {
                // Whoever asked may have left.
                let _ = self.done.send(Ok(self.pruned));
                None
            }
            Ok(()) => {
                self.last = Instant::now();
                // As long as it worked it rests: the disk is others' too.
                self.at = self.last + began.elapsed();
                Some(self)
            }
            Err(error) => {
                let _ = self.done.send(Err(StoreError::Read(error)));
                None
            }
        }
    }

    fn advance(&mut self, connection: &mut Connection, head: &mut Head) -> rusqlite::Result<()> {
        let until = Instant::now() + STEP;
        let in_use = space::in_use(connection)?;
        if matches!(self.stage, Stage::GiveBack) {
            if !space::give_back(connection, PAGES, SPARE)? {
                space::fold_log(connection)?;
                self.stage = Stage::Over;
            }
            return Ok(());
        }
        if matches!(self.stage, Stage::Large(..) | Stage::LargeDecisions(_)) && !self.too_large(in_use) {
            self.stage = Stage::GiveBack;
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut moved = *head;
        let mut removed = Removed::default();
        let (next, reason) = match &mut self.stage {
            Stage::Aged(kind, place) => {
                let before = match kind {
                    Kind::Alerts => self.rule.alerts,
                    Kind::Investigations => self.rule.investigations,
                    Kind::Decisions => self.rule.decisions,
                };
                let more = match before {
                    Some(before) => rows::aged(&transaction, *kind, place, before, until, &mut removed)?,
                    None => false,
                };
                let next = match kind {
                    _ if more => None,
                    Kind::Alerts => Some(Stage::Aged(Kind::Investigations, Place::default())),
                    Kind::Investigations => Some(Stage::Aged(Kind::Decisions, Place::default())),
                    Kind::Decisions => Some(Stage::Audit(audit::Seek::default())),
                };
                (next, "age")
            }
            Stage::Audit(seek) => {
                let next = match self.rule.audit {
                    None => Some(Stage::Large(Place::default(), Place::default())),
                    Some(before) => match audit::seek(&transaction, seek, before)? {
                        audit::Sought::Further => None,
                        audit::Sought::Nothing => Some(Stage::Large(Place::default(), Place::default())),
                        audit::Sought::Up(target) => {
                            audit::announce(&transaction, &mut moved, target, before, self.rule.now)?;
                            Some(Stage::AuditOut(target))
                        }
                    },
                };
                (next, "age")
            }
            Stage::AuditOut(target) => {
                let (gone, more) = audit::remove(&transaction, *target, LOOKED_AT)?;
                removed.count("audit", gone);
                ((!more).then(|| Stage::Large(Place::default(), Place::default())), "age")
            }
            Stage::Large(alerts, investigations) => {
                let more = rows::oldest(&transaction, alerts, investigations, until, &mut removed)?;
                ((!more).then(|| Stage::LargeDecisions(Place::default())), "size")
            }
            Stage::LargeDecisions(place) => {
                let more = rows::over(&transaction, place, until, &mut removed)?;
                self.pruned.too_large = !more && self.rule.max_bytes.is_some_and(|most| in_use > most);
                ((!more).then_some(Stage::GiveBack), "size")
            }
            Stage::GiveBack | Stage::Over => (None, ""),
        };
        if !removed.is_empty() {
            note(&transaction, &removed, reason)?;
        }
        transaction.commit()?;
        *head = moved;
        for (table, rows) in removed.rows {
            *self.pruned.rows.entry((table, reason)).or_default() += rows;
        }
        for (reader, rows) in removed.unread {
            *self.pruned.unread.entry(reader).or_default() += rows;
        }
        if let Some(next) = next {
            self.stage = next;
        }
        Ok(())
    }

    /// Whether more than may be is in use; once it was, until some less is.
    fn too_large(&mut self, in_use: u64) -> bool {
        self.tight = self.rule.max_bytes.is_some_and(|most| {
            let bound = if self.tight { most / 100 * BELOW } else { most };
            in_use > bound
        });
        self.tight
    }
}

/// Adds to what was removed so far.
fn note(connection: &Connection, removed: &Removed, reason: &str) -> rusqlite::Result<()> {
    let mut totals = totals(connection)?;
    for (table, rows) in &removed.rows {
        *totals.entry(format!("{table}.{reason}")).or_default() += rows;
    }
    for (reader, rows) in &removed.unread {
        *totals.entry(format!("unread.{reader}")).or_default() += rows;
    }
    super::operate::keep(connection, TOTALS, &super::insert::json(&totals)?)
}

/// What was removed so far, by table and reason; `unread.` and a reader's name for what it never saw.
fn totals(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([TOTALS], |row| row.get(0))
        .optional()?;
    // Damaged totals begin anew; nothing depends on them.
    Ok(text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}

/// How large the database is, and what is in it.
pub(super) fn space(connection: &Connection) -> Result<Space, StoreError> {
    let snapshot = connection.unchecked_transaction().map_err(StoreError::Read)?;
    space::of(&snapshot).map_err(StoreError::Read)
}

pub(super) use space::convert;
