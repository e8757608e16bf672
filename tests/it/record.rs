//! Sessions of the lab become tables to learn from.

use crate::scene::agent_or_skip;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testbed::child;
use testbed::lab::{Recording, record};

const PATIENCE: Duration = Duration::from_mins(10);

fn recording(dir: &Path) -> Recording {
    let families = ["scan_svc", "sweep", "flood_spoofed", "bf_http", "c2"];
    Recording {
        dir: dir.to_owned(),
        // With time to spare in each lane: what it runs out for is left out.
        length: Duration::from_mins(2),
        seed: 4,
        families: families.map(str::to_owned).to_vec(),
    }
}

/// Rows of each family, and whether they are attacks.
fn rows(table: &str) -> BTreeMap<(String, String), usize> {
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let place = |name: &str| head.iter().position(|column| *column == name).expect("column");
    let (family, y) = (place("family"), place("y"));
    let mut rows = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        *rows.entry((cells[family].to_owned(), cells[y].to_owned())).or_default() += 1;
    }
    rows
}

#[test]
fn a_recorded_session_becomes_a_table_with_rows_of_each_family() {
    let Some(agent) = agent_or_skip() else { return };
    let place = tempfile::tempdir().expect("folder");
    let dir = place.path().join("labT");
    let wanted = recording(&dir);
    let session = record(&wanted, |line| eprintln!("{line}")).unwrap_or_else(|error| panic!("{error:#}"));
    for family in &wanted.families {
        let seen = session.attacks.iter().find(|attack| attack.family == family);
        assert!(
            seen.is_some_and(|attack| attack.packets > 0),
            "no {family}: {session:?}"
        );
    }
    let benign: u64 = session.benign.iter().map(|(_, times)| times).sum();
    assert!(benign > 0, "nobody meant well: {session:?}");

    let out = place.path().join("table.csv");
    let mut dataset = Command::new(agent);
    dataset.args(["model", "dataset"]).arg(&dir).arg("--out").arg(&out);
    let said = child::must(dataset, PATIENCE).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.contains("0 broken off, 0 unreadable"), "{said}");
    let rows = rows(&std::fs::read_to_string(&out).expect("table"));
    for family in &wanted.families {
        let row = (family.clone(), "1".to_owned());
        assert!(
            rows.get(&row).is_some_and(|rows| *rows > 0),
            "no row of {family}: {rows:?}"
        );
    }
    assert!(rows.contains_key(&("benign".into(), "0".into())), "{rows:?}");
    let others = rows.keys().filter(|(family, _)| family != "benign");
    assert_eq!(others.count(), wanted.families.len(), "{rows:?}");

    // What is there is never written over.
    let before = std::fs::read(dir.join("attacks.jsonl")).expect("attacks");
    let refused = record(&wanted, |_| ()).expect_err("refused").to_string();
    assert!(refused.contains("holds a session already"), "{refused}");
    assert_eq!(std::fs::read(dir.join("attacks.jsonl")).expect("attacks"), before);
    let left = std::fs::read_dir(place.path()).expect("folder").count();
    assert_eq!(left, 2, "the session and the table, and no draft");
}
