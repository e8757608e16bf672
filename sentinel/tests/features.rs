//! Tables of features from captures: the fixtures always, the labelled set where it is at hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use flate2::Compression;
use flate2::write::GzEncoder;
use sentinel::config::Config;
use sentinel::dataset::{DatasetError, Labels, Session, Summary, Table, Truth, capture, directory};
use sentinel::features::FEATURES;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// The table of a capture, as text.
fn table(file: &Path, labels: &Labels) -> (Result<Summary, DatasetError>, String) {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("t.csv");
    let summary = capture(&Config::default(), file, labels, Table::new(&path, None).unwrap());
    (summary, fs::read_to_string(path).unwrap_or_default())
}

/// A folder with a `labels.csv` of these lines and these captures.
fn listed(lines: &[&str], captures: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let list = format!("file,label,family,attackers,group,origin\n{}\n", lines.join("\n"));
    fs::write(dir.path().join("labels.csv"), list).unwrap();
    for (name, bytes) in captures {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// Values of a column of a table without quotes.
fn column(table: &str, name: &str) -> Vec<String> {
    let mut lines = table.lines();
    let at = lines.next().unwrap().split(',').position(|n| n == name).unwrap();
    lines.map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Remake it with `sentinel model features --pcap tests/fixtures/c2_beacon.pcap --benign --out
/// tests/fixtures/c2_beacon.features.csv`, and raise `features::VERSION` where a number changed.
#[test]
fn the_table_of_a_beacon_is_the_golden_one() {
    let (summary, table) = table(&fixture("c2_beacon.pcap"), &Labels::Benign);
    assert_eq!(summary.unwrap().packets, 334);
    let golden = fs::read_to_string(fixture("c2_beacon.features.csv")).unwrap();
    for (line, expected) in table.lines().zip(golden.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(table.lines().count(), golden.lines().count());
}

#[test]
fn a_table_has_the_columns_of_the_schema_and_numbers_that_read_back() {
    let (_, table) = table(&fixture("scan_syn.pcap"), &Labels::Unknown);
    let mut lines = table.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    assert_eq!(
        names[..12].join(","),
        "origin,group,family,y,t0,t1,src,dst,sport,dport,proto,cont"
    );
    assert!(names[12..].iter().eq(FEATURES.iter().map(|f| &f.name)));
    for line in lines {
        let values: Vec<_> = line.split(',').collect();
        assert_eq!(values.len(), names.len());
        assert_eq!((values[2], values[3]), ("unknown", ""));
        for value in &values[12..] {
            let number: f64 = value.parse().unwrap();
            assert!(number.is_finite() && number.to_string() == *value);
        }
    }
}

#[test]
fn a_scan_stands_out_in_its_source_s_windows() {
    let (_, table) = table(&fixture("scan_syn.pcap"), &Labels::Benign);
    let most = |who: &str, name: &str| {
        let sources = column(&table, "src").into_iter().zip(column(&table, name));
        let own = sources.filter(|(source, _)| source == who);
        own.map(|(_, v)| v.parse::<f64>().unwrap()).fold(0.0, f64::max)
    };
    assert!(most("10.60.21.174", "ws_ports") > 300.0);
    assert!(most("10.60.21.174", "ws_failr") > 0.9);
    assert!(most("10.60.32.163", "ws_ports") <= 2.0);
}

#[test]
fn a_compressed_capture_gives_the_same_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scan_syn.pcap.gz");
    fs::write(&path, gzip(&fs::read(fixture("scan_syn.pcap")).unwrap())).unwrap();
    let plain = table(&fixture("scan_syn.pcap"), &Labels::Benign).1;
    assert_eq!(table(&path, &Labels::Benign).1, plain);
    assert_eq!(table(&path, &Labels::Benign).1, plain, "and again");
}

#[test]
fn truth_labels_flows_of_the_attacker_within_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("attacks.jsonl");
    let scan = r#"{"family": "scan", "ip": "10.60.21.174", "t0": 1795165219.3, "t1": 1795165219.7, "i": 0}"#;
    let other = r#"{"family": "c2", "ip": "10.60.32.163", "t0": 1795165000, "t1": 1795165001}"#;
    fs::write(&path, format!("{scan}\n\n{other}\n")).unwrap();
    let (summary, table) = table(
        &fixture("scan_syn.pcap"),
        &Labels::Session(Session::read(&path).unwrap()),
    );
    assert!(
        summary.unwrap().unlabelled > 0,
        "what an attacker did minutes later is nothing known"
    );
    let rows = column(&table, "src")
        .into_iter()
        .zip(column(&table, "y"))
        .zip(column(&table, "family"));
    let mut attacks = 0;
    for ((source, y), family) in rows {
        assert_ne!(source, "10.60.32.163");
        let attacker = source == "10.60.21.174";
        attacks += u32::from(attacker);
        let expected = if attacker { ("1", "scan") } else { ("0", "benign") };
        assert_eq!((y.as_str(), family.as_str()), expected, "{source}");
    }
    assert!(attacks >= 400, "{attacks}");
}

#[test]
fn a_truth_that_makes_no_sense_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("attacks.jsonl");
    for (line, expected) in [
        ("{\"family\": \"scan\"}", ":2: no attack: missing field `ip`"),
        (r#"{"family": "x", "ip": "1.2.3", "t0": 1, "t1": 2}"#, ":2: no attack"),
        (
            r#"{"family": "x", "ip": "1.2.3.4", "t0": 3, "t1": 2}"#,
            ":2: an attack's t1 is no earlier",
        ),
        (
            r#"{"family": "x", "ip": "1.2.3.4", "t0": 1e999, "t1": 2}"#,
            ":2: no attack",
        ),
    ] {
        let good = r#"{"family": "x", "ip": "1.2.3.4", "t0": 1, "t1": 2}"#;
        fs::write(&path, format!("{good}\n{line}\n")).unwrap();
        let error = Truth::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn rules_of_a_list_label_or_leave_out() {
    let capture = fs::read(fixture("scan_syn.pcap")).unwrap();
    let counts = |attackers: &str, label: &str| {
        let line = format!("a.pcap,{label},scan,{attackers},g,o");
        let dir = listed(&[&line], &[("a.pcap", &capture)]);
        let path = dir.path().join("t.csv");
        let summary = directory(&Config::default(), dir.path(), Table::new(&path, None).unwrap()).unwrap();
        let y = column(&fs::read_to_string(path).unwrap(), "y");
        let of = |label: &str| y.iter().filter(|v| *v == label).count() as u64;
        (of("1"), of("0"), summary.unlabelled)
    };
    let (all, none, _) = counts("all", "attack");
    assert_eq!(none, 0);
    assert_eq!(counts("", "benign"), (0, all, 0));
    let (attacks, rest, left) = counts("10.60.21.174", "attack");
    assert!(attacks >= 400 && rest > 0 && attacks + rest == all && left == 0);
    assert_eq!(counts("10.60.21.174|benign=*", "attack"), (attacks, rest, 0));
    assert_eq!(counts("10.60.21.174|benign=", "attack"), (attacks, 0, rest));
    let (some, benign, left) = counts("10.60.21.174|benign=10.60.32.163", "attack");
    assert!(some == attacks && benign > 0 && left > 0 && benign + left == rest);
    let (udp, benign, left) = counts("udp", "attack");
    assert!(benign == 0 && udp + left == all);
    assert!(counts("udp53", "attack").0 <= udp);
}

#[test]
fn a_list_that_makes_no_sense_is_refused_with_its_line() {
    for (line, expected) in [
        ("a.pcap,attack,x,1.2.3,g,o", "labels.csv:2: `1.2.3` is no address"),
        ("a.pcap,attack,x,,g,o", "an attack needs attackers"),
        ("a.pcap,benign,x,all,g,o", "leave that column empty"),
        ("a.pcap,malign,x,all,g,o", "label `malign` is none of"),
        ("a.pcap,attack,x,udpx,g,o", "`x` is no UDP port"),
        ("a.pcap,attack,x,1.2.3.4|good=*,g,o", "must be `benign=`"),
        ("../a.pcap,benign,x,,g,o", "must lie under the list's directory"),
        ("/etc/a.pcap,benign,x,,g,o", "must lie under the list's directory"),
        ("a.pcap,benign", "no value for `family`"),
        ("\"a.pcap,benign,x,,g,o", "a quote is not closed"),
    ] {
        let dir = listed(&[line], &[]);
        let table = Table::new(&dir.path().join("t.csv"), None).unwrap();
        let error = directory(&Config::default(), dir.path(), table)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{line}: {error}");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "the list alone: nothing is half written");
    }
    let empty = tempfile::tempdir().unwrap();
    let table = Table::new(&empty.path().join("t.csv"), None).unwrap();
    let error = directory(&Config::default(), empty.path(), table).unwrap_err();
    assert!(matches!(error, DatasetError::NoLabels { .. }), "{error}");
}

#[test]
fn captures_that_are_cut_short_or_empty_are_named_and_the_rest_is_kept() {
    let whole = fs::read(fixture("scan_syn.pcap")).unwrap();
    let packed = gzip(&whole);
    let lines = ["whole", "short", "packed", "empty", "missing", "text"].map(|n| format!("{n}.pcap,benign,x,,{n},o"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let captures: [(&str, &[u8]); 5] = [
        ("whole.pcap", &whole),
        ("short.pcap", &whole[..whole.len() / 2]),
        ("packed.pcap", &packed[..packed.len() / 2]),
        ("empty.pcap", &[]),
        ("text.pcap", b"hello, world"),
    ];
    let dir = listed(&lines, &captures);
    let path = dir.path().join("t.csv.gz");
    let summary = directory(&Config::default(), dir.path(), Table::new(&path, Some(50)).unwrap()).unwrap();
    let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(summary.captures, 1);
    assert_eq!(names(&summary.broken), ["short", "packed"]);
    assert_eq!(names(&summary.unreadable), ["empty.pcap", "missing.pcap", "text.pcap"]);
    assert_eq!(summary.families["benign"].1, 150, "at most 50 of each group");
    let bytes = fs::read(&path).unwrap();
    directory(&Config::default(), dir.path(), Table::new(&path, Some(50)).unwrap()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "the same bytes every time");
}

#[test]
fn a_session_s_flows_get_the_family_of_their_attack() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::copy(fixture("scan_syn.pcap"), dir.path().join("s.pcap")).unwrap();
    put(
        "attacks.jsonl",
        r#"{"family": "scan", "ip": "10.60.21.174", "t0": 1795165219.3, "t1": 1795165219.7}"#,
    );
    put("atk.ips", "10.60.21.174\n");
    put("cli.ips", "10.60.39.25\n10.60.32.163");
    let path = dir.path().join("t.csv");
    let summary = directory(&Config::default(), dir.path(), Table::new(&path, None).unwrap()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let rows = column(&text, "src")
        .into_iter()
        .zip(column(&text, "dst"))
        .zip(column(&text, "family"));
    for ((source, target), family) in rows {
        let attack = [&source, &target].contains(&&"10.60.21.174".to_owned());
        assert_eq!(family, if attack { "scan" } else { "benign" }, "{source} {target}");
    }
    assert!(
        summary.unlabelled > 0,
        "whoever is on no list while no flood is on is left out"
    );
    put("cli.ips", "not an address");
    let error = directory(&Config::default(), dir.path(), Table::new(&path, None).unwrap()).unwrap_err();
    assert!(error.to_string().contains("cli.ips:1: no address"), "{error}");
}

#[test]
fn a_table_that_cannot_be_written_says_so() {
    let nowhere = Path::new("/proc/nowhere/t.csv");
    let error = Table::new(nowhere, None).err().unwrap().to_string();
    assert!(error.contains("/proc/nowhere/t.csv.part"), "{error}");
}

/// The labelled set of `SENTINEL_DATA`: all of it is read, and all captures have their attacks.
#[test]
fn the_labelled_set_gives_rows_of_every_family() {
    let Some(data) = std::env::var_os("SENTINEL_DATA").map(PathBuf::from) else {
        println!("skipped: SENTINEL_DATA names no directory of labelled captures");
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let table = Table::new(&out.path().join("t.csv"), Some(100)).unwrap();
    let summary = directory(&Config::default(), &data, table).unwrap();
    assert!(
        summary.unreadable.is_empty() && summary.broken.is_empty(),
        "{summary:?}"
    );
    for family in [
        "benign",
        "bruteforce",
        "c2",
        "dns_tunnel",
        "flood_syn",
        "ics_attack",
        "scan",
    ] {
        assert!(summary.families.contains_key(family), "{family}");
    }
}
