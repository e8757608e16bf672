//! Who was seen beside us: one row for each, and no more than there is room for.

use super::insert::{ordered, range};
use super::{Store, StoreError};
use crate::types::{Sighting, SightingKind, Timestamp};
use ipnet::IpNet;
use rusqlite::{Connection, Row, params};
use std::net::{IpAddr, Ipv6Addr};

/// Rows kept; whoever was seen longest ago makes room. On the air anybody can call himself anything.
pub(super) const KEPT: u32 = 10_000;

/// So many changes of the database are between two looks at whether there are more.
const SELDOM: i64 = 97;

const COLUMNS: &str = "kind, mac, ip, name, vendor, sensor, first_at, last_at, gone";

impl Store {
    /// Who was seen (with an address within `of`), the latest first, at most `limit` of them; and how many there are of these
    /// in all.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn sightings(
        &self,
        of: Option<IpNet>,
        kind: Option<SightingKind>,
        limit: usize,
    ) -> Result<(Vec<Sighting>, u64), StoreError> {
        self.readers
            .with(move |c| read(c, of, kind, limit).map_err(StoreError::Read))
            .await
    }
}

/// Somebody came, went, or was seen again: the first time stays, and what is not told now is still known.
pub(super) fn keep(connection: &Connection, seen: &Sighting) -> rusqlite::Result<()> {
    let made = connection
        .prepare_cached(
            "INSERT INTO sightings (kind, mac, ip, name, vendor, sensor, first_at, last_at, gone)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (kind, mac) DO UPDATE SET
                 ip = coalesce(excluded.ip, ip),
                 name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END,
                 vendor = CASE excluded.vendor WHEN '' THEN vendor ELSE excluded.vendor END,
                 sensor = excluded.sensor, last_at = excluded.last_at, gone = excluded.gone
             WHERE excluded.last_at >= last_at",
        )?
        .execute(params![
            seen.kind.as_str(),
            seen.mac,
            seen.ip.map(ordered),
            seen.name,
            seen.vendor,
            seen.sensor,
            seen.first_at.0,
            seen.last_at.0,
            seen.gone,
        ])?;
    // The walk to the oldest is long: not for each, or whoever fills the air keeps the writer from what matters.
    let changes: i64 = connection
        .prepare_cached("SELECT total_changes()")?
        .query_row([], |row| row.get(0))?;
    if made > 0 && changes % SELDOM == 0 {
        connection
            .prepare_cached(
                "DELETE FROM sightings WHERE last_at <
                     (SELECT last_at FROM sightings ORDER BY last_at DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute([KEPT - 1])?;
    }
    Ok(())
}

fn read(
    connection: &Connection,
    of: Option<IpNet>,
    kind: Option<SightingKind>,
    limit: usize,
) -> rusqlite::Result<(Vec<Sighting>, u64)> {
    let which = "(?1 IS NULL OR ip BETWEEN ?1 AND ?2) AND (?3 IS NULL OR kind = ?3)";
    let (from, to) = of.map(range).unzip();
    let kind = kind.map(SightingKind::as_str);
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM sightings WHERE {which}"))?
        .query_row(params![from, to, kind], |row| row.get::<_, i64>(0))?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sightings WHERE {which} ORDER BY last_at DESC, kind, mac LIMIT ?4"
    ))?;
    let rows = statement.query_map(params![from, to, kind, limit as i64], item)?;
    Ok((rows.collect::<rusqlite::Result<_>>()?, total.cast_unsigned()))
}

fn item(row: &Row<'_>) -> rusqlite::Result<Sighting> {
    let kind: String = row.get(0)?;
    let ip: Option<[u8; 16]> = row.get(2)?;
    Ok(Sighting {
        kind: SightingKind::named(&kind).unwrap_or(SightingKind::Endpoint),
        mac: row.get(1)?,
        ip: ip.map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()),
        name: row.get(3)?,
        vendor: row.get(4)?,
        sensor: row.get(5)?,
        first_at: Timestamp(row.get(6)?),
        last_at: Timestamp(row.get(7)?),
        gone: row.get(8)?,
    })
}
