//! Models from captures, as the command line takes them.

mod flow_log;
mod traffic_log;

use crate::cli::{Cli, dispatch};
use crate::model::{Model, Variant};
use crate::train::file::read_model;
use clap::Parser;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// The capture of that name, and its attacks.
fn known(name: &str) -> (PathBuf, PathBuf) {
    (
        fixture(&format!("{name}.pcap")),
        fixture(&format!("{name}.attacks.jsonl")),
    )
}

/// `sentinel model …` with these words; what it says where it fails.
fn model(words: &[&str]) -> Result<(), String> {
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/settings.yml");
    let words = ["sentinel", "-c", settings, "-o", "json", "model"]
        .into_iter()
        .chain(words.iter().copied());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    dispatch(&cli).map_err(|failure| failure.message())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The model that ships, speaking by the thresholds it was trained with, as it does on a network that it knows.
fn shipped(dir: &Path) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/models/default.model");
    let mut record = read_model(&path).unwrap().0.record().clone();
    record.description.site = Some([1; 32]);
    let out = dir.join("speaking.model");
    fs::write(&out, Model::new(record).unwrap().encode().unwrap()).unwrap();
    out
}

/// Captures of the fixtures with attacks in them.
const ATTACKED: [&str; 4] = ["scan_syn", "bruteforce_ssh", "c2_beacon", "icmp_flood"];

/// What the model that ships reaches on the small captures of a network that it knows; less is a worse model. Levels are
/// those of the training. Of each label: rows, how many at least are suspicious, how many flagged.
const REACHED: [(&str, u64, u64, u64); 4] = [
    ("scan", 400, 398, 398),
    ("bf_ssh", 27, 19, 3),
    // A beacon is not what single flows tell: the detector of that name finds it.
    ("c2", 20, 0, 0),
    ("flood_icmp", 1, 1, 1),
];

/// Of each capture: whether the model tells of its attack, and within how many seconds somebody does.
const FOUND: [(&str, u64, f64); 4] = [
    ("scan_syn", 1, 0.5),
    ("bruteforce_ssh", 1, 3.0),
    ("c2_beacon", 0, 65.0),
    ("icmp_flood", 0, 2.0),
];

#[test]
fn the_model_that_ships_reaches_what_is_stated_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (speaking, out) = (shipped(dir.path()), dir.path().join("figures.json"));
    let mut tables = Vec::new();
    for name in ATTACKED {
        let (pcap, truth) = known(name);
        tables.push(dir.path().join(format!("{name}.csv")));
        let table = text(tables.last().unwrap());
        model(&[
            "features",
            "--pcap",
            text(&pcap),
            "--truth",
            text(&truth),
            "--out",
            table,
        ])
        .unwrap();
    }
    tables.push(dir.path().join("benign.csv"));
    let benign = fixture("benign.pcap");
    model(&[
        "features",
        "--pcap",
        text(&benign),
        "--benign",
        "--out",
        text(&tables[4]),
    ])
    .unwrap();
    let mut words = vec![
        "evaluate",
        "--model",
        text(&speaking),
        "--json",
        text(&out),
        "--features",
    ];
    words.extend(tables.iter().map(|table| text(table)));
    model(&words).unwrap();
    let figures = &json(&out)["figures"];
    let names: Vec<_> = figures["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names[..2], ["suspicious", "flag"], "{figures}");
    let slice = |name: &str| {
        let slices = figures["labels"].as_array().unwrap();
        slices
            .iter()
            .find(|slice| slice["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {figures}"))
    };
    let above = |name: &str, level: usize| {
        let slice = slice(name);
        (slice["above"][level].as_f64().unwrap() * slice["rows"].as_f64().unwrap()).round() as u64
    };
    for (label, rows, suspicious, flag) in REACHED {
        assert_eq!(slice(label)["rows"], rows, "{label}");
        let reached = [above(label, 0), above(label, 1)];
        assert!(reached[0] >= suspicious && reached[1] >= flag, "{label}: {reached:?}");
    }
    assert!(slice("benign")["rows"].as_u64() >= Some(25), "{}", slice("benign"));
    assert_eq!(
        [above("benign", 0), above("benign", 1)],
        [0, 0],
        "no benign flow is suspicious"
    );
    let called = figures["families"].as_array().unwrap();
    for family in ["scan", "brute_force"] {
        let called = called.iter().find(|f| f["family"] == family).unwrap();
        let least = if family == "scan" { 0.99 } else { 0.7 };
        assert!(
            called["recall"].as_f64() >= Some(least) && called["precision"].as_f64() >= Some(0.9),
            "{called}"
        );
    }
}

#[test]
fn the_attacks_of_the_small_captures_are_found_and_nobody_is_accused_falsely() {
    let dir = tempfile::tempdir().unwrap();
    let (speaking, out) = (shipped(dir.path()), dir.path().join("figures.json"));
    let (none, benign) = (dir.path().join("none.jsonl"), fixture("benign.pcap"));
    fs::write(&none, "").unwrap();
    let evaluate = |pcap: &Path, truth: &Path| {
        let words = [
            "evaluate",
            "--model",
            text(&speaking),
            "--pcap",
            text(pcap),
            "--truth",
            text(truth),
            "--json",
        ];
        model(&[&words[..], &[text(&out)]].concat()).unwrap();
        let figures = json(&out)["figures"].clone();
        assert_eq!(figures["false_alerts"], serde_json::json!({}), "{figures}");
        figures["all"].clone()
    };
    for (name, by_model, within) in FOUND {
        let (pcap, truth) = known(name);
        let all = evaluate(&pcap, &truth);
        assert_eq!((&all["events"], &all["found"]), (&1.into(), &1.into()), "{name}: {all}");
        assert!(all["found_by_model"].as_u64() >= Some(by_model), "{name}: {all}");
        assert!(all["median_s"].as_f64().is_some_and(|s| s <= within), "{name}: {all}");
    }
    assert_eq!(evaluate(&benign, &none)["events"], 0);
}

/// A training that takes a second.
const QUICK: [&str; 4] = ["--set", "trees=4", "--seed", "3"];

#[test]
fn a_model_from_captures_is_the_one_from_their_tables_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let none = path("none.jsonl");
    fs::write(&none, "").unwrap();
    let mut captures: Vec<_> = ATTACKED.map(known).into();
    // A training wants fifty benign flows: the same session, told three times.
    for name in ["benign", "benign2", "benign3"] {
        let copy = path(&format!("{name}.pcap"));
        fs::copy(fixture("benign.pcap"), &copy).unwrap();
        captures.push((copy, none.clone()));
    }
    let (by_captures, by_tables) = (path("captures.model"), path("tables.model"));
    let tables: Vec<_> = (0..captures.len()).map(|n| path(&format!("{n}.csv"))).collect();
    for ((pcap, truth), table) in captures.iter().zip(&tables) {
        model(&[
            "features",
            "--pcap",
            text(pcap),
            "--truth",
            text(truth),
            "--out",
            text(table),
        ])
        .unwrap();
    }
    let mut words = vec!["train", "--out", text(&by_tables), "--features"];
    words.extend(tables.iter().map(|table| text(table)));
    model(&[&words[..], &QUICK].concat()).unwrap();
    // One as a table, the others as they are.
    let mut words = vec!["train", "--out", text(&by_captures), "--features", text(&tables[0])];
    for (pcap, truth) in &captures[1..] {
        words.extend(["--pcap", text(pcap), "--truth", text(truth)]);
    }
    model(&[&words[..], &QUICK].concat()).unwrap();
    assert_eq!(fs::read(&by_captures).unwrap(), fs::read(&by_tables).unwrap());
    let record = read_model(&by_captures).unwrap().0.record().clone();
    let origins: Vec<_> = record
        .description
        .origins
        .iter()
        .map(|origin| origin.name.as_str())
        .collect();
    assert_eq!(
        origins,
        [
            "benign",
            "benign2",
            "benign3",
            "bruteforce_ssh",
            "c2_beacon",
            "icmp_flood",
            "scan_syn"
        ]
    );

    // Thresholds by a capture of the site's traffic, and by its table.
    let (pcap, truth) = &captures[0];
    let benign = text(&captures[4].0);
    let (one, two) = (path("one.model"), path("two.model"));
    let calibrate = |words: &[&str]| {
        let alphas = ["calibrate", "--model", text(&by_tables), "--alpha", "0.5,0.4"];
        model(&[&alphas, words].concat())
    };
    calibrate(&["--pcap", benign, "--out", text(&one)]).unwrap();
    calibrate(&["--benign", text(&tables[4]), "--out", text(&two)]).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let site = |path: &Path| read_model(path).unwrap().0.record().description.site;
    assert!(site(&one).is_some());
    // Its attacks are left out, and without a name it goes beside the model.
    calibrate(&[
        "--pcap",
        benign,
        text(pcap),
        "--truth",
        text(&captures[4].1),
        text(truth),
    ])
    .unwrap();
    assert_ne!(
        site(&path("tables.site.model")),
        site(&one),
        "the five benign flows beside the scan count too"
    );
    assert_eq!(
        read_model(&path("tables.site.model"))
            .unwrap()
            .0
            .scorer(Variant::Both)
            .levels()[0]
            .benign,
        read_model(&one).unwrap().0.scorer(Variant::Both).levels()[0].benign + 5
    );
}

#[track_caller]
fn fails(words: &[&str], parts: &[&str]) {
    let error = model(words).expect_err("it is refused");
    for part in parts {
        assert!(error.contains(part), "{part:?} missing: {error}");
    }
}

#[test]
fn captures_that_nothing_can_be_learnt_from_are_refused_with_their_mend() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (scan, truth) = known("scan_syn");
    let whole = fs::read(&scan).unwrap();
    let none = put("none.jsonl", b"");
    let out = dir.path().join("out.model");
    let train = |pcap: &Path, truth: &Path, parts: &[&str]| {
        fails(
            &[
                "train",
                "--pcap",
                text(pcap),
                "--truth",
                text(truth),
                "--out",
                text(&out),
            ],
            parts,
        );
    };
    train(&put("empty.pcap", b""), &truth, &["empty.pcap is empty"]);
    train(
        &put("silent.pcap", &whole[..24]),
        &none,
        &["silent.pcap holds no flow", "0 packets"],
    );
    train(
        &put("short.pcap", &whole[..whole.len() - 9]),
        &truth,
        &["short.pcap breaks off", "cannot be read", "Nothing"],
    );
    train(&put("text.pcap", b"hello, world"), &truth, &["text.pcap is no capture"]);
    train(Path::new("/nowhere/x.pcap"), &truth, &["/nowhere/x.pcap"]);
    train(&scan, Path::new("/nowhere/a.jsonl"), &["/nowhere/a.jsonl"]);
    let attack = |family: &str, t0: u32| {
        format!(r#"{{"family": "{family}", "ip": "10.60.21.174", "t0": {t0}, "t1": 1795165220}}"#).into_bytes()
    };
    let strange = put("strange.jsonl", &attack("scna", 1_795_165_219));
    train(
        &scan,
        &strange,
        &["strange.jsonl: attack 1", "`scna` is unknown (did you mean `scan`?)"],
    );
    let elsewhere = br#"{"family": "scan", "ip": "192.0.2.1", "t0": 1795165219, "t1": 1795165220}"#;
    let elsewhere = put("elsewhere.jsonl", elsewhere);
    train(
        &scan,
        &elsewhere,
        &["none of the 1 attacks of", "elsewhere.jsonl", "clock"],
    );
    train(&scan, &none, &["rows are benign", "--pcap"]);
    let (flood, flooded) = known("icmp_flood");
    train(&flood, &flooded, &["1 rows of attacks are too few", "--pcap"]);
    let (guess, guesses) = known("bruteforce_ssh");
    let guess_twice = ["--pcap", text(&guess), "--truth", text(&guesses)].repeat(2);
    fails(
        &[&["train", "--out", text(&out)], &guess_twice[..]].concat(),
        &["all 54 rows are attacks", "both"],
    );
    fails(
        &[
            "train",
            "--pcap",
            text(&scan),
            text(&flood),
            "--truth",
            text(&truth),
            "--out",
            text(&out),
        ],
        &["unexpected argument"],
    );
    let two = [
        "train",
        "--pcap",
        text(&scan),
        "--pcap",
        text(&flood),
        "--truth",
        text(&truth),
        "--out",
        text(&out),
    ];
    fails(&two, &["2 captures and 1 truths"]);
    fails(&["train", "--pcap", text(&scan), "--out", text(&out)], &["--truth"]);
    fails(&["train", "--out", text(&out)], &["--features"]);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/models/default.model");
    let calibrate = ["calibrate", "--model", shipped, "--out", text(&out)];
    fails(&calibrate, &["--benign"]);
    let site = |words: &[&str], parts: &[&str]| fails(&[&calibrate, words].concat(), parts);
    site(
        &["--pcap", text(&flood), "--truth", text(&flooded)],
        &["0 rows of benign flows", "--pcap"],
    );
    site(&["--pcap", text(&scan)], &["set no level", "needs"]);
    site(&["--pcap", text(&dir.path().join("short.pcap"))], &["breaks off"]);
    assert!(!out.exists(), "nothing is half made");
}
