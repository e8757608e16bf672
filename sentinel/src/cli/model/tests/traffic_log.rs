//! The traffic log as its own writer leaves it, and what is learnt from it.

use super::*;
use crate::config::{Config, TrafficLogConfig};
use crate::dataset::{self, Labels, Session};
use crate::detect::Row;
use crate::files::Meter;
use crate::traffic::{Batch, Recorder};
use crate::types::Clock;

/// Rows of a capture, each with its label.
fn rows(capture: &Path, truth: Option<&Path>) -> Vec<(Row, String)> {
    let labels = truth.map_or(Labels::Benign, |truth| Labels::Session(Session::read(truth).unwrap()));
    let mut rows = Vec::new();
    let mut each =
        |_: &dataset::Source, attack: Option<bool>, family: &str, record: &crate::features::FeatureRecord| {
            let label = if attack == Some(true) { family } else { "benign" };
            rows.push((
                Row {
                    record: *record,
                    said: None,
                },
                label.to_owned(),
            ));
        };
    dataset::rows(&Config::default(), capture, &labels, &mut each, &Meter::default()).unwrap();
    rows
}

fn write(log: &TrafficLogConfig, sensor: &str, rows: &[(Row, String)]) {
    let batch = Batch {
        sensor: sensor.into(),
        clock: Clock::default(),
        rows: rows.iter().map(|(row, _)| *row).collect(),
    };
    Recorder::new(log, "web-1").write(&[batch]).unwrap();
}

/// The files of a log, the oldest first.
fn files(log: &TrafficLogConfig) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(log.path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "csv"))
        .collect();
    // `-` sorts before `.`
    files.sort();
    files
}

/// Fills in the labels as a person would in a spreadsheet: `0` for benign flows, the kind of the others.
fn label(files: &[PathBuf], labels: &[String]) {
    let mut labels = labels.iter();
    for path in files {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let heading: Vec<_> = lines.next().unwrap().split(',').collect();
        let place = |name: &str| heading.iter().position(|known| *known == name).unwrap();
        let mut out = vec![heading.join(",")];
        for line in lines {
            let mut cells: Vec<_> = line.split(',').collect();
            match labels.next().unwrap().as_str() {
                "benign" => cells[place("y")] = "0",
                family => cells[place("family")] = family,
            }
            out.push(cells.join(","));
        }
        fs::write(path, out.join("\n") + "\n").unwrap();
    }
    assert_eq!(labels.count(), 0, "each row had its label");
}

#[test]
fn what_a_person_labelled_in_the_log_is_learnt_from_and_the_rest_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let folder = |name: &str| TrafficLogConfig {
        path: dir.path().join(name).join("traffic_log.csv"),
        max_bytes: 65_536,
        ..TrafficLogConfig::default()
    };
    let log = folder("log");
    let mut told = Vec::new();
    for name in ATTACKED {
        let (capture, truth) = known(name);
        told.extend(rows(&capture, Some(&truth)));
    }
    for _ in 0..3 {
        told.extend(rows(&fixture("benign.pcap"), None));
    }
    write(&log, "xdp", &told);
    let parts = files(&log);
    assert!(parts.len() > 2, "a log of several files: {parts:?}");
    let all: Vec<_> = parts.iter().map(|part| text(part)).collect();
    let out = path("out.model");
    let train = [&["train", "--out", text(&out), "--features"], &all[..]].concat();
    let train: Vec<&str> = train.into_iter().chain(QUICK).collect();
    fails(
        &train,
        &[
            "none of its rows is of use",
            "have no label",
            "write 0 into `y`",
            "traffic-log.md",
        ],
    );

    let labels: Vec<_> = told.iter().map(|(_, label)| label.clone()).collect();
    label(&parts, &labels);
    // What the agent writes meanwhile has no label, and what another sensor tells no flags.
    write(&log, "xdp", &told[..2]);
    write(&log, "bettercap", &told[..3]);
    model(&train).unwrap();
    let record = read_model(&out).unwrap().0.record().clone();
    let [origin] = &record.description.origins[..] else {
        panic!("{:?}", record.description.origins);
    };
    let learnt: u64 = origin.rows.iter().map(|(_, rows)| rows).sum();
    assert_eq!((origin.name.as_str(), learnt), ("web-1", told.len() as u64));

    let json_at = path("figures.json");
    let evaluate = [
        "evaluate",
        "--model",
        text(&out),
        "--json",
        text(&json_at),
        "--features",
    ];
    model(&[&evaluate, &all[..]].concat()).unwrap();
    let figures = json(&json_at);
    assert_eq!(figures["figures"]["rows"], told.len());
    assert_eq!(
        figures["rows_left_out"],
        serde_json::json!({ "unlabelled": 2, "sensor": 3, "unfinished": 0 })
    );

    // A log of benign traffic needs no label for thresholds, and gives those of its capture: no digit is lost on the way.
    let quiet = folder("quiet");
    let benign = rows(&fixture("benign.pcap"), None);
    write(&quiet, "xdp", &benign);
    write(&quiet, "bettercap", &told[..3]);
    let (by_log, by_capture) = (path("log.model"), path("capture.model"));
    let calibrate = |words: &[&str]| {
        let alphas = ["calibrate", "--model", text(&out), "--alpha", "0.5,0.4"];
        model(&[&alphas, words].concat()).unwrap();
    };
    let quiet_files = files(&quiet);
    let quiet_files: Vec<_> = quiet_files.iter().map(|part| text(part)).collect();
    calibrate(&[&["--out", text(&by_log), "--benign"], &quiet_files[..]].concat());
    calibrate(&["--out", text(&by_capture), "--pcap", text(&fixture("benign.pcap"))]);
    let levels = |path: &Path| *read_model(path).unwrap().0.scorer(Variant::Both).levels();
    assert_eq!(levels(&by_log), levels(&by_capture));
    assert_eq!(levels(&by_log)[0].benign, benign.len() as u64);
}
