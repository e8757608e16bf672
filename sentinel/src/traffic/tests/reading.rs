//! The last rows, from whatever the files hold.

use super::*;
use crate::types::TrafficLevel;
use std::io::Write;

fn wanted(limit: usize) -> Wanted {
    Wanted {
        limit,
        ..Wanted::default()
    }
}

fn packets(tail: &Tail) -> Vec<u64> {
    tail.items.iter().map(|row| row.packets_sent).collect()
}

#[test]
fn the_last_rows_are_read_over_blocks_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrafficLogConfig {
        max_bytes: 600_000,
        ..config(dir.path())
    };
    append(&mut LogFile::new(config.clone()), (0..4_000).map(row));
    assert!(older(&config).len() > 1);
    for limit in [1, 7, 999, 3_999, 4_000, 5_000] {
        let tail = tail(&config.path, &wanted(limit)).unwrap();
        let expected: Vec<u64> = (0..4_000).rev().take(limit).collect();
        assert_eq!(packets(&tail), expected, "{limit}");
        assert_eq!((tail.unreadable, tail.complete), (0, true));
        assert_eq!(tail.looked_at, expected.len() as u64);
    }
    let none = Wanted {
        levels: vec![TrafficLevel::Flag],
        ..wanted(10)
    };
    let found = tail(&config.path, &none).unwrap();
    assert_eq!((found.items.len(), found.looked_at, found.complete), (0, 4_000, true));
}

#[test]
fn an_answer_reads_a_bounded_part_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    append(&mut LogFile::new(config.clone()), (0..40_000).map(row));
    let none = Wanted {
        sensor: Some("none".into()),
        ..wanted(10)
    };
    let found = tail(&config.path, &none).unwrap();
    assert!(!found.complete && found.items.is_empty());
    assert!((5_000..30_000).contains(&found.looked_at), "{}", found.looked_at);
}

#[test]
fn torn_foreign_and_hostile_lines_are_no_rows() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    assert_eq!(
        tail(&config.path, &wanted(5)).unwrap(),
        Tail {
            complete: true,
            ..Tail::default()
        }
    );
    append(&mut LogFile::new(config.clone()), (0..3).map(row));
    let good = line(&row(3)).text;
    let mut file = std::fs::File::options().append(true).open(&config.path).unwrap();
    let hostile: [Vec<u8>; 7] = [
        b"=cmd()".to_vec(),
        b"\xff\xfe".to_vec(),
        b"\"open".to_vec(),
        b",".repeat(100),
        good.replace("suspicious", "<script>").into(),
        good.replace("192.0.2.7", "localhost").into(),
        good.replace(",0.333333,", ",NaN,").into(),
    ];
    for line in hostile {
        file.write_all(&line).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.write_all(good.as_bytes()).unwrap();
    let found = tail(&config.path, &wanted(10)).unwrap();
    assert_eq!((packets(&found), found.unreadable), (vec![2, 1, 0], 7));
    file.write_all(b"\n").unwrap();
    assert_eq!(packets(&tail(&config.path, &wanted(10)).unwrap()), [3, 2, 1, 0]);
    // A line that never ends is no reason to read for ever.
    file.write_all(&vec![b'x'; 3 << 20]).unwrap();
    file.write_all(b"\n").unwrap();
    assert!(tail(&config.path, &wanted(10)).unwrap().items.is_empty());
    // Another schema has other columns.
    let other = names::older(&config.path, "2025-12-31", 1);
    std::fs::write(&other, format!("schema_0,at\n{good}\n")).unwrap();
    std::fs::remove_file(&config.path).unwrap();
    assert!(tail(&config.path, &wanted(10)).unwrap().items.is_empty());
}

#[test]
fn rows_that_came_late_hide_none_of_those_that_came_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    // A sensor that was cut off tells of earlier times after later ones.
    append(&mut LogFile::new(config.clone()), (100..110).chain(0..3).map(row));
    let all = tail(&config.path, &wanted(20)).unwrap();
    let since = all.items.iter().find(|row| row.packets_sent == 105).map(|row| row.at);
    let found = tail(&config.path, &Wanted { since, ..wanted(20) });
    assert_eq!(packets(&found.unwrap()), [109, 108, 107, 106, 105]);
}
