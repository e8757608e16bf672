//! From nouns to rows: full JSON plus the columns that filters need.

use super::{
    Counters, Record, access, audit::Head, bouncers, cursors, ends, fleet, intel, messages, operate, proof, sightings,
};
use crate::types::{Action, ActionId, Alert, Decision, DecisionStatus, Investigation, InvestigationState};
use ipnet::IpNet;
use rusqlite::{Connection, params};
use std::net::IpAddr;

/// Writes one record; the audit chain moves with it.
pub(super) fn insert(
    connection: &Connection,
    head: &mut Head,
    counters: &Counters,
    record: &Record,
) -> rusqlite::Result<()> {
    match record {
        Record::Alert(alert) => insert_alert(connection, alert),
        Record::Investigation(investigation) => upsert_investigation(connection, investigation),
        Record::Decision(decision) => {
            ends::work_in(connection, decision.id)?;
            upsert_decision(connection, decision)
        }
        Record::Action(action) => {
            ends::work_in(connection, action.decision)?;
            upsert_action(connection, action)
        }
        Record::Ended(ended) => ends::keep(connection, ended),
        Record::Undo { action, json } => upsert_undo(connection, *action, json),
        Record::IntelAnswer(kept) => intel::keep_answer(connection, kept),
        Record::IntelQuota(row) => intel::keep_quota(connection, row),
        Record::IntelTrim { now, rows } => intel::trim(connection, counters, *now, *rows),
        Record::Proof(row) => proof::keep(connection, row),
        Record::Acting(stop) => operate::keep_stop(connection, stop.as_ref()),
        Record::Settings(text) => operate::keep(connection, operate::SETTINGS, text),
        Record::Allow(entry) => operate::allow(connection, entry),
        Record::Disallow(target) => operate::disallow(connection, *target),
        Record::Tally(tally) => operate::keep_tally(connection, tally),
        Record::Token(token) => access::keep_token(connection, token),
        Record::Session(session) => access::keep_session(connection, session),
        Record::Bouncer(row) => bouncers::keep(connection, row),
        Record::EndSession(digest) => access::end_session(connection, digest),
        Record::Routed(routed) => messages::keep_routed(connection, routed),
        Record::Message(message) => messages::put_down(connection, message),
        Record::Settled { id, at, state, cause } => messages::settle(connection, *id, *at, *state, cause.as_deref()),
        Record::Readers(names) => cursors::keep_only(connection, names),
        Record::Cursor { name, seq } => cursors::keep(connection, name, *seq),
        Record::Bystander(source) => operate::keep_bystander(connection, source),
        Record::Sighting(seen) => sightings::keep(connection, seen),
        Record::Fleet(on) => fleet::switch(connection, *on),
        Record::FleetBooks(books) => fleet::keep(connection, books),
        Record::Reported(run) => operate::keep_report(connection, *run),
        Record::Audit {
            at,
            actor,
            verb,
            subject,
            detail,
        } => head.append(connection, *at, [actor, verb, subject, detail]),
    }
}

fn insert_alert(connection: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    // JSON has no NaN: such a row could be written but not read back.
    let finite = |e: &crate::types::Evidence| e.value.is_finite() && e.threshold.is_finite();
    if !alert.score.is_finite() || !alert.evidence.iter().all(finite) {
        return Err(rusqlite::Error::ToSqlConversionFailure(
            "an alert with a score or evidence that is no finite number".into(),
        ));
    }
    connection
        .prepare_cached(
            "INSERT INTO alerts (id, at, source, detector, severity, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            alert.id.0.as_bytes(),
            alert.at.0,
            alert.source.map(ordered),
            alert.detector.as_str(),
            alert.severity.as_str(),
            json(alert)?,
        ])?;
    Ok(())
}

fn upsert_investigation(connection: &Connection, found: &Investigation) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO investigations (id, at, ip, alert, state, level, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, level = excluded.level, json = excluded.json",
        )?
        .execute(params![
            found.id.0.as_bytes(),
            found.at.0,
            ordered(found.ip),
            found.alert.0.as_bytes(),
            found.state.as_str(),
            found.risk.level.as_str(),
            json(found)?,
        ])?;
    Ok(())
}

/// Investigations that a killed agent left open: nobody goes on with them. Returns how many.
pub(super) fn end_open(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE investigations SET state = ?1, json = json_set(json, '$.state', ?1) WHERE state = ?2",
        [InvestigationState::NoAnswer, InvestigationState::Open].map(InvestigationState::as_str),
    )
}

pub(super) fn upsert_decision(connection: &Connection, decision: &Decision) -> rusqlite::Result<()> {
    let (low, high) = range(decision.target);
    connection
        .prepare_cached(
            "INSERT INTO decisions (id, at, low, high, action, status, origin, expires_at, alert, watch_until, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, low = excluded.low, high = excluded.high,
                 action = excluded.action, status = excluded.status, origin = excluded.origin,
                 expires_at = excluded.expires_at, alert = excluded.alert, watch_until = excluded.watch_until,
                 json = excluded.json",
        )?
        .execute(params![
            decision.id.0.as_bytes(),
            decision.at.0,
            low,
            high,
            decision.action.as_str(),
            word(&decision.status)?,
            decision.origin.as_str(),
            decision.expires_at.map(|at| at.0),
            decision.alert.map(|id| *id.0.as_bytes()),
            watch_until(decision),
            json(decision)?,
        ])?;
    Ok(())
}

/// Until when a decision that is over is on probation.
fn watch_until(decision: &Decision) -> Option<i64> {
    let over = matches!(decision.status, DecisionStatus::Expired | DecisionStatus::Deleted);
    decision.terms.watch_until.filter(|_| over).map(|at| at.0)
}

pub(super) fn upsert_action(connection: &Connection, action: &Action) -> rusqlite::Result<()> {
    let (low, high) = range(action.target);
    connection
        .prepare_cached(
            "INSERT INTO actions (id, at, decision, low, high, kind, status, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, decision = excluded.decision, low = excluded.low,
                 high = excluded.high, kind = excluded.kind, status = excluded.status, json = excluded.json",
        )?
        .execute(params![
            action.id.0.as_bytes(),
            action.intent_at.0,
            action.decision.0.as_bytes(),
            low,
            high,
            action.kind.as_str(),
            word(&action.status)?,
            json(action)?,
        ])?;
    Ok(())
}

fn upsert_undo(connection: &Connection, action: ActionId, json: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO undos (action, json) VALUES (?1, ?2) ON CONFLICT (action) DO UPDATE SET json = excluded.json",
        )?
        .execute(params![action.0.as_bytes(), json])?;
    Ok(())
}

/// An address as 16 bytes in network order, IPv4 mapped (RFC 4291, 2.5.5.2), so that ranges compare as blobs.
pub(super) fn ordered(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// First and last address of a prefix.
pub(super) fn range(net: IpNet) -> ([u8; 16], [u8; 16]) {
    (ordered(net.network()), ordered(net.broadcast()))
}

/// The one word serde has for a unit variant.
pub(super) fn word<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    Ok(json(value)?.trim_matches('"').to_owned())
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}
