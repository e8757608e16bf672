//! What a fleet shares: what changed here and is to be told, and the latest word on each subject.

use super::operate::{keep as keep_text, kept};
use super::{DecisionFilter, Store, StoreError, ends, ends::BESIDE, filter::Query, insert::range};
use crate::types::{
    Allowed, Decision, DecisionStatus, FleetBooks, FleetChange, FleetLocal, FleetStanding, FleetWord, Timestamp,
};
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Key in `meta`: while it is there, changes are noted.
const ON: &str = "fleet";
/// Key in `meta` of how far the others have been heard.
const POSITION: &str = "fleet.position";

/// Latest rows of a target that are looked at.
const ROWS: usize = 32;

const WORD: &str = "subject, version, body, mac, at, ends_at, sent";

impl Store {
    /// What changed and was not looked at yet, in the order of the changes, the first `limit` of it.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn fleet_changes(&self, limit: usize) -> Result<Vec<FleetChange>, StoreError> {
        self.readers
            .with(move |c| changes(c, limit).map_err(StoreError::Read))
            .await
    }

    /// The latest words on these subjects, where there are any.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn fleet_words(&self, subjects: Vec<String>) -> Result<Vec<FleetWord>, StoreError> {
        let read = move |c: &Connection| -> rusqlite::Result<_> {
            subjects
                .iter()
                .filter_map(|subject| word(c, subject).transpose())
                .collect()
        };
        self.readers.with(move |c| read(c).map_err(StoreError::Read)).await
    }

    /// Words that the others do not have yet, the oldest first, at most `limit`; and how many there are.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn fleet_unsent(&self, limit: usize) -> Result<(Vec<FleetWord>, u64), StoreError> {
        self.readers
            .with(move |c| unsent(c, limit).map_err(StoreError::Read))
            .await
    }

    /// Words on subjects after this one, in their order, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn fleet_words_after(&self, subject: String, limit: usize) -> Result<Vec<FleetWord>, StoreError> {
        let sql = format!("SELECT {WORD} FROM fleet_words WHERE subject > ?1 ORDER BY subject LIMIT ?2");
        let read = move |c: &Connection| -> rusqlite::Result<Vec<_>> {
            let mut statement = c.prepare_cached(&sql)?;
            let rows = statement.query_map(params![subject, limit as i64], item)?;
            rows.collect()
        };
        self.readers.with(move |c| read(c).map_err(StoreError::Read)).await
    }

    /// How far the others have been heard.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn fleet_position(&self) -> Result<Option<String>, StoreError> {
        self.readers.with(|c| kept(c, POSITION).map_err(StoreError::Read)).await
    }
}

/// From now on changes are noted, beginning with all that is in force; or they are not, and all of it is forgotten.
pub(super) fn switch(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    if !on {
        return connection.execute_batch(
            "DELETE FROM meta WHERE key IN ('fleet', 'fleet.position');
             DELETE FROM fleet_changes;
             DELETE FROM fleet_words;",
        );
    }
    if kept(connection, ON)?.is_some() {
        return Ok(());
    }
    keep_text(connection, ON, "on")?;
    let active = ends::active(true);
    connection.execute_batch(&format!(
        "INSERT OR REPLACE INTO fleet_changes (subject)
             SELECT 'd' || json_extract(json, '$.target') FROM decisions WHERE {active} ORDER BY seq;
         INSERT OR REPLACE INTO fleet_changes (subject) SELECT 'a' || target FROM allowlist;"
    ))
}

pub(super) fn keep(connection: &Connection, books: &FleetBooks) -> rusqlite::Result<()> {
    // One that changed once more meanwhile has another number, and is looked at once more.
    let mut seen = connection.prepare_cached("DELETE FROM fleet_changes WHERE subject = ?1 AND seq = ?2")?;
    for (subject, seq) in &books.seen {
        seen.execute(params![subject, seq])?;
    }
    let mut undone = connection.prepare_cached("DELETE FROM fleet_changes WHERE subject = ?1")?;
    for subject in &books.undone {
        undone.execute([subject])?;
    }
    let mut put = connection.prepare_cached(
        "INSERT INTO fleet_words (subject, version, body, mac, at, ends_at, sent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (subject) DO UPDATE SET version = excluded.version, body = excluded.body, mac = excluded.mac, at = excluded.at,
             ends_at = excluded.ends_at, sent = excluded.sent
         WHERE excluded.version > version",
    )?;
    for word in &books.words {
        put.execute(params![
            word.subject,
            word.version,
            word.body,
            word.mac,
            word.at.0,
            word.ends_at.0,
            word.sent
        ])?;
    }
    let mut sent = connection.prepare_cached("UPDATE fleet_words SET sent = 1 WHERE subject = ?1 AND version = ?2")?;
    for (subject, version) in &books.sent {
        sent.execute(params![subject, version])?;
    }
    if let Some(position) = &books.position {
        keep_text(connection, POSITION, position)?;
    }
    if let Some(now) = books.forget {
        connection
            .prepare_cached("DELETE FROM fleet_words WHERE ends_at < ?1")?
            .execute([now.0])?;
    }
    Ok(())
}

fn changes(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<FleetChange>> {
    let mut statement = connection.prepare_cached("SELECT seq, subject FROM fleet_changes ORDER BY seq LIMIT ?1")?;
    let rows = statement.query_map([limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let noted = rows.collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
    let change = |(seq, subject): (i64, String)| {
        let known = word(connection, &subject)?;
        let local = local(connection, &subject)?;
        Ok(FleetChange {
            subject,
            seq,
            local,
            known,
        })
    };
    noted.into_iter().map(change).collect()
}

fn local(connection: &Connection, subject: &str) -> rusqlite::Result<FleetLocal> {
    let target = subject.get(1..).unwrap_or_default();
    if subject.starts_with('a') {
        let entry = connection
            .prepare_cached("SELECT json FROM allowlist WHERE target = ?1")?
            .query_row([target], |row| {
                // One that cannot be read is no entry that was taken off the list.
                serde_json::from_str::<Allowed>(row.get_ref(0)?.as_str()?)
                    .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, e.into()))
            })
            .optional()?;
        return Ok(FleetLocal::Allowed(entry));
    }
    let Ok(target) = target.parse::<IpNet>() else {
        return Ok(FleetLocal::Decision(None));
    };
    let (low, high) = range(target);
    // What came to nothing says nothing of what is in force, and what is in force may have the name of an older row.
    // `+` keeps the order from choosing the index.
    let sql = format!(
        "SELECT seq, {} FROM decisions WHERE low = ?1 AND high = ?2 AND status NOT IN ('vetoed', 'logged')
         ORDER BY +seq DESC LIMIT {ROWS}",
        ends::OF_DECISION
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![low, high], DecisionFilter::item)?;
    let decisions = rows.collect::<rusqlite::Result<Vec<Decision>>>()?;
    // The one in force, else the one that ended last; of failures only the latest row's own says anything.
    let latest = decisions
        .into_iter()
        .enumerate()
        .filter(|(at, d)| *at == 0 || d.status != DecisionStatus::Failed)
        .map(|(_, d)| d)
        .max_by_key(|d| (d.status == DecisionStatus::Active, d.ended_at));
    let Some(decision) = latest else {
        return Ok(FleetLocal::Decision(None));
    };
    let sure = match decision.investigation {
        Some(id) => connection
            .prepare_cached("SELECT json_extract(json, '$.risk.confidence') FROM investigations WHERE id = ?1")?
            .query_row([id.0.as_bytes()], |row| row.get::<_, Option<f64>>(0))
            .optional()?
            .flatten(),
        None => None,
    };
    let enforced = connection
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM actions WHERE decision = ?1 AND +status = 'enforced' AND NOT {BESIDE})"
        ))?
        .query_row([decision.id.0.as_bytes()], |row| row.get(0))?;
    Ok(FleetLocal::Decision(Some(FleetStanding {
        decision: Box::new(decision),
        sure,
        enforced,
    })))
}

fn word(connection: &Connection, subject: &str) -> rusqlite::Result<Option<FleetWord>> {
    connection
        .prepare_cached(&format!("SELECT {WORD} FROM fleet_words WHERE subject = ?1"))?
        .query_row([subject], item)
        .optional()
}

fn unsent(connection: &Connection, limit: usize) -> rusqlite::Result<(Vec<FleetWord>, u64)> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {WORD} FROM fleet_words WHERE sent = 0 ORDER BY version LIMIT ?1"
    ))?;
    let words = statement
        .query_map([limit as i64], item)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let total: i64 = connection
        .prepare_cached("SELECT count(*) FROM fleet_words WHERE sent = 0")?
        .query_row([], |row| row.get(0))?;
    Ok((words, total.cast_unsigned()))
}

fn item(row: &Row<'_>) -> rusqlite::Result<FleetWord> {
    Ok(FleetWord {
        subject: row.get(0)?,
        version: row.get(1)?,
        body: row.get(2)?,
        mac: row.get(3)?,
        at: Timestamp(row.get(4)?),
        ends_at: Timestamp(row.get(5)?),
        sent: row.get(6)?,
    })
}
