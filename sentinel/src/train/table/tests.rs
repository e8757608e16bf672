//! Tables, and each mistake that is told of.

use super::*;

fn text(change: impl Fn(&mut Vec<String>, &mut Vec<String>)) -> String {
    let mut head: Vec<String> = ["origin", "group", "family", "y", "t0", "src", "dport"]
        .map(str::to_owned)
        .to_vec();
    let mut row: Vec<String> = ["lab", "lab/1", "benign", "0", "12.5", "192.0.2.1", "443"]
        .map(str::to_owned)
        .to_vec();
    for feature in &FEATURES {
        head.push(feature.name.into());
        row.push("1.5".into());
    }
    change(&mut head, &mut row);
    format!("{}\n{}\n", head.join(","), row.join(","))
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    let error = Table::parse("t.csv", text).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let straight = Table::parse("t.csv", &text(|_, _| ())).unwrap();
    let turned = text(|head, row| {
        head.reverse();
        row.reverse();
    });
    let turned = Table::parse("t.csv", &turned).unwrap();
    assert_eq!(straight.digest(), turned.digest());
    assert_eq!(
        (straight.rows.len(), straight.label(0), straight.origin(0)),
        (1, "benign", "lab")
    );
    assert!(
        straight.vectors[0]
            .0
            .iter()
            .all(|value| (value - 1.5).abs() < f64::EPSILON)
    );
}

#[test]
fn each_mistake_is_named_with_its_line_and_mend() {
    let set = |column: &'static str, value: &'static str| {
        text(move |head, row| {
            let at = head.iter().position(|name| name == column).unwrap();
            row[at] = value.into();
        })
    };
    fails(&set("f_b", "NaN"), "t.csv:2: `NaN` in column `f_b` is not finite");
    fails(&set("f_b", "inf"), "t.csv:2: `inf` in column `f_b` is not finite");
    fails(&set("f_b", "1e300"), "t.csv:2: 1e300 in column `f_b`");
    fails(&set("f_b", "many"), "t.csv:2: `many` in column `f_b` is no number");
    fails(&set("y", "2"), "t.csv:2: y is `2`; 0 for benign flows");
    fails(&set("family", "scan"), "t.csv:2: family is `scan` and y is 0");
    fails(&set("y", "1"), "t.csv:2: family is `benign` and y is 1");
    fails(
        &set("family", "scna"),
        "the label `scna` is unknown (did you mean `scan`?)",
    );
    fails(
        &text(|head, _| head[0] = "place".into()),
        "t.csv:1: columns are missing: origin;",
    );
    fails(
        &text(|head, _| head[6] = "f_b".into()),
        "t.csv:1: column `f_b` stands there twice",
    );
    fails(
        &text(|_, row| row.truncate(9)),
        "t.csv:2: has 9 fields, the heading has",
    );
    fails(
        &text(|_, row| row[1] = "\"open".into()),
        "t.csv:2: has a quote that does not end",
    );
    fails(
        &text(|head, _| head.push("x".repeat(70_000))),
        "t.csv:1: is longer than 65536 bytes",
    );
    let whole = text(|_, _| ());
    fails(&whole[..whole.find('\n').unwrap()], "t.csv: has no rows");
    fails("", "t.csv: has no rows");
}

/// A table with these in `y` and `family`, and further columns.
fn labelled(y: &str, family: &str, more: &[(&str, &str)]) -> String {
    text(|head, row| {
        for (name, value) in [("y", y), ("family", family)] {
            let at = head.iter().position(|known| known == name).unwrap();
            row[at] = value.into();
        }
        for (name, value) in more {
            head.push((*name).into());
            row.push((*value).into());
        }
    })
}

#[test]
fn a_label_may_stand_in_either_column_and_a_row_without_one_is_left_out() {
    for (y, family, attack, label) in [
        ("0", "", false, "benign"),
        ("0", "unknown", false, "benign"),
        ("", "benign", false, "benign"),
        ("", "scan", true, "scan"),
        (" 1", "bf_ssh ", true, "bf_ssh"),
    ] {
        let table = Table::parse("t.csv", &labelled(y, family, &[])).unwrap();
        assert_eq!((table.rows[0].attack, table.label(0)), (attack, label), "{y},{family}");
    }
    fails(&labelled("1", "", &[]), "say in `family` which attack it is");
    fails(&labelled("1", "benign", &[]), "correct one of them");
    for family in ["", "unknown"] {
        fails(
            &labelled("", family, &[]),
            "t.csv: none of its rows is of use: 1 has no label",
        );
    }
    let both = labelled("", "", &[]) + labelled("0", "", &[]).lines().nth(1).unwrap() + "\n";
    let table = Table::parse("t.csv", &both).unwrap();
    assert_eq!((table.rows.len(), table.left_out.unlabelled), (1, 1));
    let mut rows = Rows::default().all_benign();
    rows.read(Path::new("t.csv"), both.as_bytes()).unwrap();
    let table = rows.finish();
    assert_eq!(
        (table.rows.len(), table.label(0), table.left_out),
        (2, "benign", LeftOut::default())
    );
}

#[test]
fn rows_of_a_sensor_without_flags_and_of_another_schema_train_nothing() {
    fails(
        &labelled("0", "", &[("sensor", "bettercap")]),
        "1 is of a sensor that sees no TCP flags",
    );
    for sensor in ["xdp", "pcap", ""] {
        let text = labelled("0", "", &[("sensor", sensor)]);
        assert_eq!(Table::parse("t.csv", &text).unwrap().rows.len(), 1, "{sensor}");
    }
    let ours = VERSION.to_string();
    let text = labelled("0", "", &[(&format!("schema_{ours}"), &ours)]);
    assert_eq!(Table::parse("t.csv", &text).unwrap().rows.len(), 1);
    fails(
        &labelled("0", "", &[("schema_99", "99")]),
        "its features are of schema 99, those of this version of schema 1",
    );
    let mixed = labelled("0", "", &[(&format!("schema_{ours}"), "99")]);
    fails(&mixed, "t.csv:2: is of schema `99` under a heading of schema 1");
}

#[test]
fn a_line_of_the_log_that_is_being_written_is_left_out() {
    let ours = VERSION.to_string();
    let whole = labelled("0", "", &[(&format!("schema_{ours}"), &ours)]);
    let row = whole.lines().nth(1).unwrap();
    for cut in [1, row.len() / 2, row.len()] {
        let table = Table::parse("t.csv", &(whole.clone() + &row[..cut])).unwrap();
        assert_eq!((table.rows.len(), table.left_out.unfinished), (1, 1), "{cut}");
    }
    // A table that nobody writes to may end without an end of line.
    let table = labelled("0", "", &[]);
    assert_eq!(Table::parse("t.csv", table.trim_end()).unwrap().rows.len(), 1);
}

#[test]
fn quoted_fields_and_zipped_files_are_read() {
    let quoted = text(|_, row| row[1] = "\"a,\"\"b\"\"\"".into());
    assert_eq!(Table::parse("t.csv", &quoted).unwrap().groups, ["a,\"b\""]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv.gz");
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zip, quoted.as_bytes()).unwrap();
    let bytes = zip.finish().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Table::read(&[path.clone(), path.clone()]).unwrap().rows.len(), 2);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Table::read(&[path]).is_err());
    assert!(matches!(
        Table::read(&["gone.csv".into()]),
        Err(TableError::Read { .. })
    ));
}

#[test]
fn no_column_that_says_who_it_was_is_a_feature() {
    for feature in &FEATURES {
        assert!(!IDENTITY.contains(&feature.name), "{}", feature.name);
    }
}
