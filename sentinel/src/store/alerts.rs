//! How lists of alerts are read: there may be millions.

use super::filter::{AlertFilter, Clauses};
use super::insert::range;
use super::plan::{BY_ARRIVAL, Part, Plan, count};
use crate::types::{Detector, Severity, Timestamp};
use rusqlite::Connection;
use rusqlite::types::Value;

/// One hour, ns: what `alert_hours` counts by.
pub(super) const HOUR: i64 = 3_600_000_000_000;

/// Up to so many rows of an index are sorted; of more, an order that is there is made use of.
const SORTED: u64 = 1000;

/// If more than one in so many is wanted, they are found soonest by going through all.
const DENSE: u64 = 8;

/// A kind of alert that there is.
struct Kind {
    severity: String,
    detector: String,
    /// Alerts in all, or of the hours after the one that `since` is in.
    alerts: u64,
    /// The first one by arrival that may not be older than `since`.
    first: i64,
}

/// The kinds that a filter lets through.
fn kinds(connection: &Connection, filter: &AlertFilter) -> rusqlite::Result<Vec<Kind>> {
    // Division as in the database: towards zero, which keeps the order of times.
    let hour = filter.window.since.map_or(i64::MIN, |since| since.0 / HOUR);
    let after = filter.window.since.map_or(i64::MIN, |_| hour + 1);
    let mut statement = connection.prepare_cached(
        "SELECT severity, detector, sum(CASE WHEN hour >= ?2 THEN alerts ELSE 0 END), min(first) FROM alert_hours
         WHERE hour >= ?1 GROUP BY severity, detector",
    )?;
    let all = statement.query_map([hour, after], |row| {
        Ok(Kind {
            severity: row.get(0)?,
            detector: row.get(1)?,
            alerts: row.get::<_, i64>(2)?.max(0) as u64,
            first: row.get(3)?,
        })
    })?;
    let wanted = |kind: &Kind| {
        (filter.severity.is_empty() || filter.severity.iter().any(|s| s.as_str() == kind.severity))
            && (filter.detector.is_empty() || filter.detector.iter().any(|d| d.as_str() == kind.detector))
    };
    let mut kinds = all.collect::<rusqlite::Result<Vec<_>>>()?;
    kinds.retain(wanted);
    Ok(kinds)
}

/// The last alert by arrival among those that may be older than `since`.
fn last_doubtful(connection: &Connection, since: Timestamp) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT coalesce(max(last), 0) FROM alert_hours WHERE hour <= ?1")?
        .query_row([since.0 / HOUR], |row| row.get(0))
}

fn kinds_of(filter: &AlertFilter, clauses: &mut Clauses) -> rusqlite::Result<()> {
    clauses.any_of::<Severity>("severity", &filter.severity)?;
    clauses.any_of::<Detector>("detector", &filter.detector)
}

pub(super) fn plan(connection: &Connection, filter: &AlertFilter) -> rusqlite::Result<Plan> {
    match filter.ip {
        Some(net) => {
            let (low, high) = range(net);
            by_source(connection, filter, low, high)
        }
        None => by_kind(connection, filter),
    }
}

fn by_kind(connection: &Connection, filter: &AlertFilter) -> rusqlite::Result<Plan> {
    let kinds = kinds(connection, filter)?;
    let since = filter.window.since;
    let first = kinds.iter().map(|kind| kind.first).min().unwrap_or(i64::MAX);
    let mut plan = Plan {
        known: kinds.iter().map(|kind| kind.alerts).sum(),
        ..Plan::default()
    };
    if let Some(since) = since.filter(|_| !kinds.is_empty()) {
        let hour = since.0 / HOUR;
        let mut clauses = Clauses::default();
        let end = hour.saturating_add(1).saturating_mul(HOUR);
        clauses.and("at >= ? AND at < ?", [Value::Integer(since.0), Value::Integer(end)]);
        clauses.and(&format!("at / {HOUR} = ?"), [Value::Integer(hour)]);
        kinds_of(filter, &mut clauses)?;
        let by = "INDEXED BY alerts_at";
        plan.counted.push(Part { by, clauses });
    }
    if filter.severity.is_empty() && filter.detector.is_empty() {
        let mut clauses = Clauses::default();
        later(&mut clauses, since, first);
        plan.rows.push(Part {
            by: BY_ARRIVAL,
            clauses,
        });
    } else {
        plan.rows = kinds
            .iter()
            .map(|kind| of_kind(Clauses::default(), kind, since))
            .collect();
    }
    Ok(plan)
}

/// Of one kind, in the order of arrival that its index has.
fn of_kind(mut clauses: Clauses, kind: &Kind, since: Option<Timestamp>) -> Part {
    let by = if clauses.is_empty() {
        "INDEXED BY alerts_kind"
    } else {
        "INDEXED BY alerts_source"
    };
    let words = [kind.severity.clone(), kind.detector.clone()].map(Value::Text);
    clauses.and("severity = ? AND detector = ?", words);
    later(&mut clauses, since, kind.first);
    Part { by, clauses }
}

/// Not older than `since`, which nothing before `first` can be.
fn later(clauses: &mut Clauses, since: Option<Timestamp>, first: i64) {
    if let Some(since) = since {
        clauses.and("seq >= ? AND at >= ?", [Value::Integer(first), Value::Integer(since.0)]);
    }
}

fn by_source(connection: &Connection, filter: &AlertFilter, low: [u8; 16], high: [u8; 16]) -> rusqlite::Result<Plan> {
    let since = filter.window.since;
    let one = low == high;
    let mut sources = Clauses::default();
    if one {
        sources.and("source = ?", [Value::Blob(low.to_vec())]);
    } else {
        let ends = [low, high].map(|end| Value::Blob(end.to_vec()));
        sources.and("source BETWEEN ? AND ?", ends);
    }
    let mut wanted = sources.clone();
    kinds_of(filter, &mut wanted)?;
    let by = "INDEXED BY alerts_source";
    let part = |clauses| Part { by, clauses };
    let mut plan = Plan::default();
    let mut first = 0;
    if let Some(since) = since {
        // Times stand in the rows; only among those that may be older they are looked at, which is about an hour of them.
        let kinds = kinds(connection, filter)?;
        first = kinds.iter().map(|kind| kind.first).min().unwrap_or(i64::MAX);
        let last = last_doubtful(connection, since)?;
        let (mut sure, mut doubtful) = (wanted.clone(), wanted.clone());
        sure.and("seq > ?", [Value::Integer(last)]);
        later(&mut doubtful, Some(since), first);
        doubtful.and("seq <= ?", [Value::Integer(last)]);
        let doubtful = Part {
            by: BY_ARRIVAL,
            clauses: doubtful,
        };
        plan.counted = vec![part(sure), doubtful];
    } else {
        plan.counted = vec![part(wanted.clone())];
    }
    for counted in std::mem::take(&mut plan.counted) {
        plan.known += count(connection, "alerts", &counted)?;
    }
    if plan.known <= SORTED {
        later(&mut wanted, since, first);
        plan.rows = vec![part(wanted)];
        return Ok(plan);
    }
    let kinds = kinds(connection, filter)?;
    if one {
        plan.rows = kinds.iter().map(|kind| of_kind(sources.clone(), kind, since)).collect();
        return Ok(plan);
    }
    later(&mut wanted, since, first);
    let all: u64 = kinds.iter().map(|kind| kind.alerts).sum();
    let by = if plan.known > all / DENSE { BY_ARRIVAL } else { by };
    plan.rows = vec![Part { by, clauses: wanted }];
    Ok(plan)
}
