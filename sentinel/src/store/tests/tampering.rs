//! I7: somebody who may write to the database changes one thing of the audit.

use super::*;
use proptest::prelude::*;

/// One change by somebody who may write to the file, and knows its form.
#[derive(Clone, Debug)]
enum Tampering {
    /// A bit of a column of a row.
    Bit {
        row: i64,
        column: usize,
        byte: usize,
        bit: u8,
    },
    /// A row that is gone.
    Gone(i64),
    /// Two rows that changed places, hashes and all.
    Swapped(i64, i64),
    /// A row told twice, at the end.
    Again(i64),
    /// A bit of what the chain is held by.
    Head { byte: usize, bit: u8 },
}

/// Rows of the chain that is tampered with.
const CHAIN: i64 = 12;

fn tampering() -> impl Strategy<Value = Tampering> {
    let row = || 1..=CHAIN;
    prop_oneof![
        6 => (row(), 0..6usize, any::<usize>(), 0..8u8)
            .prop_map(|(row, column, byte, bit)| Tampering::Bit { row, column, byte, bit }),
        1 => row().prop_map(Tampering::Gone),
        1 => (row(), 1..CHAIN).prop_map(|(one, by)| Tampering::Swapped(one, (one - 1 + by) % CHAIN + 1)),
        1 => row().prop_map(Tampering::Again),
        1 => (any::<usize>(), 0..4u8).prop_map(|(byte, bit)| Tampering::Head { byte, bit }),
    ]
}

impl Tampering {
    fn carry_out(&self, connection: &Connection) -> rusqlite::Result<()> {
        let flip = |mut bytes: Vec<u8>, byte: usize, bit: u8| {
            let place = byte % bytes.len().max(1);
            match bytes.get_mut(place) {
                Some(byte) => *byte ^= 1 << bit,
                None => bytes.push(1 << bit),
            }
            bytes
        };
        match self {
            Self::Bit {
                row, column: 0, bit, ..
            } => {
                let sql = "UPDATE audit SET at = (at | ?2) - (at & ?2) WHERE seq = ?1";
                connection.execute(sql, rusqlite::params![row, 1i64 << bit])?;
            }
            Self::Bit { row, column, byte, bit } => {
                let (name, kind) = [
                    ("actor", "TEXT"),
                    ("verb", "TEXT"),
                    ("subject", "TEXT"),
                    ("detail", "TEXT"),
                    ("hash", "BLOB"),
                ][column - 1];
                let sql = format!("SELECT CAST({name} AS BLOB) FROM audit WHERE seq = ?1");
                let old: Vec<u8> = connection.query_row(&sql, [row], |found| found.get(0))?;
                let sql = format!("UPDATE audit SET {name} = CAST(?2 AS {kind}) WHERE seq = ?1");
                connection.execute(&sql, rusqlite::params![row, flip(old, *byte, *bit)])?;
            }
            Self::Gone(row) => drop(connection.execute("DELETE FROM audit WHERE seq = ?1", [row])?),
            Self::Swapped(one, other) => {
                for (from, to) in [(*one, -1), (*other, *one), (-1, *other)] {
                    connection.execute("UPDATE audit SET seq = ?2 WHERE seq = ?1", [from, to])?;
                }
            }
            Self::Again(row) => {
                let sql = "INSERT INTO audit SELECT (SELECT max(seq) FROM audit) + 1, at, actor, verb, subject, detail, hash \
                           FROM audit WHERE seq = ?1";
                connection.execute(sql, [row])?;
            }
            Self::Head { byte, bit } => {
                let sql = "SELECT CAST(value AS BLOB) FROM meta WHERE key = 'audit_head'";
                let old: Vec<u8> = connection.query_row(sql, [], |found| found.get(0))?;
                let sql = "UPDATE meta SET value = CAST(?1 AS TEXT) WHERE key = 'audit_head'";
                connection.execute(sql, [flip(old, *byte, *bit)])?;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// I7, for whoever changes one thing and does not recompute all that follows.
    #[test]
    fn whatever_one_changes_in_the_audit_is_found(what in tampering()) {
        let (_directory, path) = place();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let verdict = runtime.block_on(async {
            {
                let running = Running::at(&path);
                running.store.commit((1..=CHAIN as usize).map(audit).collect()).await.unwrap();
            }
            what.carry_out(&Connection::open(&path).unwrap()).unwrap();
            Store::read_only(&path).unwrap().verify_audit().await
        });
        // What is no text any more cannot even be read, and that is said.
        prop_assert!(verdict.map_or(true, |told| told.broken.is_some()), "{what:?} is not found");
    }
}
