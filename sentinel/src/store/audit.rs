//! The audit chain: each row's hash covers the row and the hash before it.
//!
//! A changed, inserted or removed row breaks every later hash; a cut tail is found by the head kept in `meta`.
//! Whoever can write the file can also write a whole new chain: to exclude that, keep the head elsewhere.

use super::StoreError;
use crate::types::{Timestamp, hex};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// SHA-256.
type Hash = [u8; 32];

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// Counts up from 1 without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Did what.
    pub verb: String,
    /// To whom or what.
    pub subject: String,
    /// With which result.
    pub detail: String,
    /// Lower-case hex of the chain's hash up to here.
    pub hash: String,
}

/// What a check of the chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AuditVerdict {
    /// Rows that are as they were written.
    pub intact: i64,
    /// The last row that retention removed; the chain is whole from the one after it. 0 where it removed none.
    pub pruned: i64,
    /// Hash of the last of them, hex; write it down elsewhere to notice a chain that was replaced whole.
    pub head: String,
    /// What is wrong with the first row that is not, if one is not.
    pub broken: Option<String>,
}

/// The last row that retention removed: the chain is whole from the one after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) seq: i64,
    pub(super) hash: Hash,
}

impl Anchor {
    /// Key in `meta`.
    const KEY: &str = "audit_anchor";
    /// Who removes rows, and what that is called in the audit.
    pub(super) const ACTOR: &str = "sentinel";
    pub(super) const VERB: &str = "audit.prune";

    /// Where nothing was removed, the beginning. What cannot be read is that too, and the rows do not follow it.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let noted: Option<String> = connection
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
            .query_row([Self::KEY], |row| row.get(0))
            .optional()?;
        Ok(noted.and_then(|text| Self::read(&text)).unwrap_or_default())
    }

    fn read(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(' ')?;
        let byte = |at: usize| u8::from_str_radix(hash.get(2 * at..2 * at + 2)?, 16).ok();
        let mut bytes = Hash::default();
        for (at, place) in bytes.iter_mut().enumerate() {
            *place = byte(at)?;
        }
        let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
        (hash.len() == 2 * bytes.len()).then_some(Self { seq, hash: bytes })
    }

    pub(super) fn save(self, connection: &Connection) -> rusqlite::Result<()> {
        super::operate::keep(connection, Self::KEY, &format!("{} {}", self.seq, hex(&self.hash)))
    }

    /// The row up to which a line of the audit says that rows go, and its hash.
    fn announced(actor: &str, verb: &str, subject: &str, detail: &str) -> Option<(i64, String)> {
        if (actor, verb) != (Self::ACTOR, Self::VERB) {
            return None;
        }
        let seq = subject.rsplit(' ').next()?.parse().ok()?;
        Some((seq, detail.rsplit(' ').next()?.to_owned()))
    }
}

/// End of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    seq: i64,
    hash: Hash,
}

impl Head {
    /// Reads the end of the chain as the last row has it.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .query_row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok(Self {
                    seq: row.get(0)?,
                    hash: row.get(1)?,
                })
            })
            .optional()?
            .map_or_else(
                || Anchor::load(connection).map(|Anchor { seq, hash }| Self { seq, hash }),
                Ok,
            )
    }

    /// Writes a row behind this head and moves it.
    pub(super) fn append(
        &mut self,
        connection: &Connection,
        at: Timestamp,
        [actor, verb, subject, detail]: [&str; 4],
    ) -> rusqlite::Result<()> {
        let seq = self.seq + 1;
        let hash = link(&self.hash, seq, at.0, [actor, verb, subject, detail]);
        connection
            .prepare_cached(
                "INSERT INTO audit (seq, at, actor, verb, subject, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![seq, at.0, actor, verb, subject, detail, hash])?;
        *self = Self { seq, hash };
        Ok(())
    }

    /// Notes the head in `meta`, so that a cut tail is found.
    pub(super) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('audit_head', ?1)")?
            .execute([self.text()])?;
        Ok(())
    }

    fn text(&self) -> String {
        format!("{} {}", self.seq, hex(&self.hash))
    }
}

fn link(previous: &Hash, seq: i64, at: i64, fields: [&str; 4]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(seq.to_be_bytes());
    digest.update(at.to_be_bytes());
    for field in fields {
        // Lengths keep "ab" + "c" apart from "a" + "bc".
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field);
    }
    digest.finalize().into()
}

/// Walks the whole chain. Cost: one hash per row.
pub(super) fn verify(connection: &Connection) -> Result<AuditVerdict, StoreError> {
    // One transaction, so that rows and head are of the same instant.
    let snapshot = connection.unchecked_transaction().map_err(StoreError::Read)?;
    let verdict = walk(&snapshot).map_err(StoreError::Read)?;
    Ok(verdict)
}

/// The same within a transaction of the caller's.
pub(super) fn walk(connection: &Connection) -> rusqlite::Result<AuditVerdict> {
    let anchor = Anchor::load(connection)?;
    let mut head = Head {
        seq: anchor.seq,
        hash: anchor.hash,
    };
    // Whether a line tells of what is gone.
    let mut told = anchor.seq == 0;
    let mut broken = None;
    let mut statement =
        connection.prepare("SELECT seq, at, actor, verb, subject, detail, hash FROM audit ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        if seq != head.seq + 1 {
            broken = Some(format!("row {} is missing", head.seq + 1));
            break;
        }
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let hash = link(&head.hash, seq, row.get(1)?, [text(2)?, text(3)?, text(4)?, text(5)?]);
        if hash != row.get::<_, Hash>(6)? {
            broken = Some(format!("row {seq} is not as it was written"));
            break;
        }
        if let Some((up_to, its)) = Anchor::announced(text(2)?, text(3)?, text(4)?, text(5)?) {
            told |= up_to > anchor.seq || up_to == anchor.seq && its == hex(&anchor.hash);
        }
        head = Head { seq, hash };
    }
    if broken.is_none() && !told {
        broken = Some(format!(
            "it begins behind row {}, and no line of it tells that what was before was removed",
            anchor.seq
        ));
    }
    if broken.is_none() {
        let noted: Option<String> = connection
            .query_row("SELECT value FROM meta WHERE key = 'audit_head'", [], |row| row.get(0))
            .optional()?;
        let whole = noted.as_deref().map_or(head.seq == 0, |noted| noted == head.text());
        if !whole {
            broken = Some(format!(
                "the chain ends at row {}, but {} was noted as its end",
                head.seq,
                noted.as_deref().unwrap_or("nothing")
            ));
        }
    }
    Ok(AuditVerdict {
        intact: head.seq - anchor.seq,
        pruned: anchor.seq,
        head: hex(&head.hash),
        broken,
    })
}
