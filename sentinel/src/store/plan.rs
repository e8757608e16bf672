//! How a list is read: which statements count it, and which give its rows in order of arrival without sorting it whole.

use super::StoreError;
use super::filter::{Clauses, Marks, PAGE_MAX, Page, Query};
use crate::types::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

/// Some of a list: rows that meet the clauses, by the index that is named where the choice is not SQLite's.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) by: &'static str,
    pub(super) clauses: Clauses,
}

/// The order of arrival, and no index.
pub(super) const BY_ARRIVAL: &str = "NOT INDEXED";

/// How a list is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// What is known of the total without counting.
    pub(super) known: u64,
    /// What is counted and added to it.
    pub(super) counted: Vec<Part>,
    /// Where the rows are: no row is in two of them.
    pub(super) rows: Vec<Part>,
}

impl Plan {
    /// Parts that are each read and counted by an index that has what they are narrowed to, or all of a table in the order
    /// of arrival; `since` narrows them further. `at` is the index of times, where it is the one to count by then.
    pub(super) fn of(
        table: &'static str,
        by: &'static str,
        at: Option<&'static str>,
        parts: Vec<Clauses>,
        since: Option<Timestamp>,
    ) -> Self {
        let mut plan = Self::default();
        for mut clauses in parts {
            let by_rows = if by.is_empty() { BY_ARRIVAL } else { by };
            let Some(since) = since.map(|since| Value::Integer(since.0)) else {
                let counted = clauses.clone();
                plan.counted.push(Part { by, clauses: counted });
                plan.rows.push(Part { by: by_rows, clauses });
                continue;
            };
            clauses.and("at >= ?", [since.clone()]);
            let counted = clauses.clone();
            plan.counted.push(Part {
                by: at.unwrap_or(by),
                clauses: counted,
            });
            // Times are nearly in the order of arrival: what came before the first that is late enough is not looked at.
            if let Some(at) = at {
                let first = format!("seq >= (SELECT min(seq) FROM {table} {at} WHERE at >= ?)");
                clauses.and(&first, [since]);
            }
            plan.rows.push(Part { by: by_rows, clauses });
        }
        plan
    }
}

/// One page: newest first by order of arrival, so that later arrivals move nothing between pages.
pub(super) fn page<Q: Query>(connection: &Connection, query: &Q) -> Result<Page<Q::Item>, StoreError> {
    let window = query.window();
    let limit = window.limit.clamp(1, PAGE_MAX);
    let marks = Marks::of(query);
    let before = window.cursor.as_deref().map(|text| marks.parse(text)).transpose()?;
    // Page and total are of the same instant.
    let snapshot = connection.unchecked_transaction().map_err(StoreError::Read)?;
    let read = || {
        let plan = query.plan(&snapshot)?;
        let total = total::<Q>(&snapshot, &plan)?;
        let (items, last) = rows::<Q>(&snapshot, &plan, before.unwrap_or(i64::MAX), limit)?;
        Ok((items, last, total))
    };
    let (items, last, total) = read().map_err(StoreError::Read)?;
    Ok(Page {
        items,
        next_cursor: last.map(|seq| marks.cursor(seq)),
        total,
    })
}

fn total<Q: Query>(connection: &Connection, plan: &Plan) -> rusqlite::Result<u64> {
    let mut total = plan.known;
    for part in &plan.counted {
        total += count(connection, Q::TABLE, part)?;
    }
    Ok(total)
}

/// How many rows are in a part.
pub(super) fn count(connection: &Connection, table: &str, part: &Part) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(&count_sql(table, part))?
        .query_row(part.clauses.values(), |row| row.get::<_, i64>(0))
        .map(|n| n.max(0) as u64)
}

pub(super) fn count_sql(table: &str, part: &Part) -> String {
    format!("SELECT count(*) FROM {table} {} {}", part.by, part.clauses.sql())
}

/// A part from its newest row before a mark on.
pub(super) fn rows_sql(table: &str, part: &Part, limit: usize) -> String {
    format!(
        "SELECT seq FROM {table} {} {} ORDER BY seq DESC LIMIT {limit}",
        part.by,
        part.clauses.sql()
    )
}

/// Items, and the mark of the last one if there are more behind it.
fn rows<Q: Query>(
    connection: &Connection,
    plan: &Plan,
    before: i64,
    limit: usize,
) -> rusqlite::Result<(Vec<Q::Item>, Option<i64>)> {
    let mut found: Vec<i64> = Vec::new();
    for part in &plan.rows {
        let mut part = part.clone();
        part.clauses.and("seq < ?", [Value::Integer(before)]);
        let mut statement = connection.prepare_cached(&rows_sql(Q::TABLE, &part, limit + 1))?;
        let seqs = statement.query_map(part.clauses.values(), |row| row.get(0))?;
        for seq in seqs {
            found.push(seq?);
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let more = found.len() > limit;
    found.truncate(limit);
    let mut statement =
        connection.prepare_cached(&format!("SELECT seq, {} FROM {} WHERE seq = ?1", Q::COLUMNS, Q::TABLE))?;
    let mut items = Vec::with_capacity(found.len());
    for seq in &found {
        match statement.query_row([seq], Q::item).optional() {
            Ok(item) => items.extend(item),
            // One unreadable row must not take the list away.
            Err(error) if is_of_the_row(&error) => {
                tracing::warn!(table = Q::TABLE, seq, %error, "unreadable row left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((items, found.last().copied().filter(|_| more)))
}

/// Whether it is what stands in a row that cannot be read, and not the database.
fn is_of_the_row(error: &rusqlite::Error) -> bool {
    !matches!(error, rusqlite::Error::SqliteFailure(..))
}
