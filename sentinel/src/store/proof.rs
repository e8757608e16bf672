//! What decisions followed from, as rows.

use super::StoreError;
use crate::types::{DecisionId, ProofRow, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// Writes it in place of an earlier one of the same decision.
pub(super) fn keep(connection: &Connection, row: &ProofRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO grounds (sha256, at, json) VALUES (?1, ?2, ?3) ON CONFLICT (sha256) DO NOTHING")?
        .execute(params![row.sha256, row.at.0, &*row.ground])?;
    connection
        .prepare_cached(
            "INSERT INTO proofs (decision, at, ground, json) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (decision) DO UPDATE SET at = excluded.at, ground = excluded.ground, json = excluded.json",
        )?
        .execute(params![row.decision.0.as_bytes(), row.at.0, row.sha256, row.proof])?;
    Ok(())
}

/// What a decision followed from.
pub(super) fn find(connection: &Connection, decision: DecisionId) -> Result<Option<ProofRow>, StoreError> {
    let row = || {
        connection
            .prepare_cached(
                "SELECT p.at, p.ground, g.json, p.json FROM proofs AS p JOIN grounds AS g ON g.sha256 = p.ground
                 WHERE p.decision = ?1",
            )?
            .query_row([decision.0.as_bytes()], |row| {
                Ok(ProofRow {
                    decision,
                    at: Timestamp(row.get(0)?),
                    sha256: row.get(1)?,
                    ground: row.get::<_, String>(2)?.into(),
                    proof: row.get(3)?,
                })
            })
            .optional()
    };
    row().map_err(StoreError::Read)
}
