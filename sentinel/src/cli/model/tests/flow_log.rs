//! Tables from logs of flows.

use super::{QUICK, fails, fixture, json, known, model, text};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A table's rows: each by its column.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let table = fs::read_to_string(path).unwrap();
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            names
                .iter()
                .map(|n| (*n).to_owned())
                .zip(line.split(',').map(str::to_owned))
                .collect()
        })
        .collect()
}

fn number(row: &HashMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap()
}

/// What Argus told of the capture of that name.
fn logged(name: &str) -> PathBuf {
    fixture(&format!("flowlogs/{name}.binetflow"))
}

/// What a log tells exactly, or as exactly as packets that are spread evenly allow.
const EXACT: [&str; 7] = ["is_tcp", "f_n", "f_syn_r", "f_fin", "f_rst", "r_n", "noreply"];
/// What is counted over flows: one more or less by when a flow's packets lay.
const COUNTED: [&str; 5] = ["t60_p_flows", "t300_p_flows", "ws_ports", "t60_s_ports", "ws_flows"];
/// What is estimated, and by which factor it may be off.
const ESTIMATED: [(&str, f64); 6] = [
    ("f_b", 1.1),
    ("f_lmean", 1.1),
    ("f_ppp", 1.1),
    ("f_lmax", 1.6),
    ("f_lstd", 1.7),
    ("f_zero_r", 1.9),
];

#[test]
fn the_flows_of_a_log_are_those_of_the_capture_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let (by_log, by_packets) = (dir.path().join("log.csv"), dir.path().join("packets.csv"));
    for name in ["scan_syn", "bruteforce_ssh", "c2_beacon"] {
        let (pcap, truth) = known(name);
        for (flag, file, out) in [("--log", logged(name), &by_log), ("--pcap", pcap, &by_packets)] {
            model(&[
                "features",
                flag,
                text(&file),
                "--truth",
                text(&truth),
                "--out",
                text(out),
            ])
            .unwrap();
        }
        let id = |row: &HashMap<String, String>| ["src", "sport", "dst", "dport", "cont"].map(|n| row[n].clone());
        let packets: HashMap<_, _> = rows(&by_packets).into_iter().map(|row| (id(&row), row)).collect();
        let log = rows(&by_log);
        let (mut same, mut attacks) = (0, 0);
        for row in &log {
            let Some(other) = packets.get(&id(row)) else { continue };
            same += 1;
            attacks += usize::from(row["y"] == "1");
            assert_eq!((&row["y"], &row["family"]), (&other["y"], &other["family"]), "{name}");
            // Connections that had begun before the capture did say less to Argus, too.
            if number(other, "f_syn_r") == 0.0 {
                continue;
            }
            for column in EXACT {
                let (told, seen) = (number(row, column), number(other, column));
                assert!(
                    (told - seen).abs() < 0.01,
                    "{name}: {column} {told} for {seen}: {row:?}"
                );
            }
            for column in COUNTED {
                let (told, seen) = (number(row, column), number(other, column));
                assert!(
                    (told - seen).abs() <= 1.0 + seen / 20.0,
                    "{name}: {column} {told} for {seen}"
                );
            }
            if name == "scan_syn" {
                continue;
            }
            for (column, factor) in ESTIMATED {
                let (told, seen) = (number(row, column), number(other, column));
                // Of the last segments of a connection Argus may make a flow of its own.
                let small = number(other, "f_n") < 4.0;
                assert!(
                    small || told <= seen * factor + 1.0 && seen <= told * factor + 1.0,
                    "{name}: {column} {told} for {seen}: {row:?}"
                );
            }
        }
        assert!(
            same * 100 >= packets.len() * 98 && attacks > 15,
            "{name}: {same} of {}",
            packets.len()
        );
    }
}

/// A log of Zeek with attempts of an outsider and answers to a client.
fn zeek(attack: &str, benign: &str) -> String {
    let mut text = "#separator \\x09\n#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\torig_bytes\tresp_bytes\t\
        history\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\tlabel\tdetailedlabel\n"
        .to_owned();
    for n in 0..300 {
        let (at, port) = (1_655_071_198 + 3 * n, 40_000 + n);
        let _ = write!(
            text,
            "{at}.5\t198.51.100.7\t{port}\t192.0.2.1\t{n}\ttcp\t-\t0\t0\tS\t1\t60\t0\t0\t{attack}\n{at}.7\t192.0.2.1\t{port}\t\
             203.0.113.5\t443\ttcp\t1.5\t600\t{}\tShADadFf\t12\t1100\t14\t{}\t{benign}\n",
            4000 + n,
            4800 + n,
        );
    }
    text
}

#[test]
fn a_log_with_labels_of_its_own_is_learnt_from_and_judged() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let log = path("conn.log");
    fs::write(&log, zeek("Malicious\tPartOfAHorizontalPortScan", "Benign\tweb")).unwrap();
    let (table, out, figures) = (path("table.csv"), path("out.model"), path("figures.json"));
    model(&["features", "--log", text(&log), "--out", text(&table)]).unwrap();
    let families = |family: &str, y: &str| {
        rows(&table)
            .iter()
            .filter(|r| r["family"] == family && r["y"] == y)
            .count()
    };
    assert_eq!((families("scan", "1"), families("benign", "0")), (300, 300));
    model(&[&["train", "--features", text(&table), "--out", text(&out)], &QUICK[..]].concat()).unwrap();
    model(&[
        "evaluate",
        "--model",
        text(&out),
        "--features",
        text(&table),
        "--json",
        text(&figures),
    ])
    .unwrap();
    assert!(json(&figures)["figures"]["roc_auc"].as_f64() > Some(0.99));

    // Words that tell of no kind need somebody who does.
    fs::write(&log, zeek("Malicious\tExternal-Attack-to-Device", "Background\t-")).unwrap();
    let features = ["features", "--log", text(&log), "--out", text(&table)];
    fails(
        &features,
        &[
            "conn.log has attacks of no kind",
            "External-Attack-to-Device",
            "--attack-family",
        ],
    );
    fails(
        &[&features[..], &["--attack-family", "scna"]].concat(),
        &["did you mean `scan`?"],
    );
    model(&[&features[..], &["--attack-family", "sweep"]].concat()).unwrap();
    assert_eq!(
        (families("sweep", "1"), rows(&table).len()),
        (300, 300),
        "nothing is known of the background"
    );

    // What somebody says counts for more than what the log does; without either nothing is known.
    model(&[&features[..], &["--benign"]].concat()).unwrap();
    assert_eq!(families("benign", "0"), 600);
    fs::write(&log, zeek("-\t-", "-\t-")).unwrap();
    model(&features).unwrap();
    assert_eq!(families("unknown", ""), 600);
}

#[test]
fn a_log_that_is_none_and_words_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("table.csv");
    let (scan, _) = known("scan_syn");
    let features = |words: &[&str], parts: &[&str]| {
        fails(&[&["features", "--out", text(&out)], words].concat(), parts);
        assert!(!out.exists());
    };
    features(&["--log", text(&scan)], &["scan_syn.pcap", "no UTF-8"]);
    features(&["--log", "/nowhere/conn.log"], &["cannot read /nowhere/conn.log"]);
    features(&["--log", "x", "--pcap", "y"], &["--pcap"]);
    features(&[], &["--pcap"]);
    features(&["--log", "x", "--labels", "y"], &["--labels"]);
    features(&["--pcap", text(&scan), "--attack-family", "scan"], &["--log"]);
}
