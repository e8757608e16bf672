//! The log on a real disk: what is in it after whatever happens to it.

mod killed;
mod reading;
mod room;

use super::file::{Done, Line, LogFile};
use super::row::{FRONT, Pen, heading};
use super::*;
use crate::config::TrafficLogConfig;
use crate::dataset::{HEAD, values};
use crate::detect::Said;
use crate::features::{Cut, FEATURES, FeatureRecord, VERSION, Vector, WIDTH};
use crate::model::Level;
use crate::types::{Ktime, Service};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// 2026-01-01T00:00:00Z in ns, and a day.
pub(super) const T0: u64 = 1_767_225_600_000_000_000;
pub(super) const DAY: u64 = 86_400_000_000_000;

/// The `number`th row of a day, told a millisecond after the one before; its number is the port of whoever opened it, in
/// steps of 60,000, and its first feature.
pub(super) fn row(number: u64) -> Row {
    row_at(T0 + number * 1_000_000, number)
}

fn row_at(at: u64, number: u64) -> Row {
    let mut vector = Vector([0.125; WIDTH]);
    vector.0[2] = number as f64;
    Row {
        record: FeatureRecord {
            at: Ktime(at),
            source: IpAddr::from([192, 0, 2, 7]),
            source_port: (number % 60_000) as u16,
            target: Service {
                ip: IpAddr::from([10, 0, 0, 1]),
                port: 443,
                proto: 6,
            },
            from_inside: false,
            start: Ktime(at.saturating_sub(2_000_000_000)),
            end: Ktime(at),
            cut: Cut::Closed,
            continued: false,
            packets: 5,
            allowed: false,
            vector,
        },
        said: Some(Said {
            score: 1.0 / 3.0,
            level: Some(Level::Suspicious),
        }),
    }
}

pub(super) fn config(directory: &Path) -> TrafficLogConfig {
    TrafficLogConfig {
        path: directory.join("log/traffic_log.csv"),
        ..TrafficLogConfig::default()
    }
}

fn line(row: &Row) -> Line {
    let (day, text) = Pen::new("web-1".to_owned()).line("xdp", Clock::default(), row);
    Line { day, text }
}

pub(super) fn append(file: &mut LogFile, rows: impl IntoIterator<Item = Row>) -> Done {
    let mut lines: VecDeque<Line> = rows.into_iter().map(|row| line(&row)).collect();
    file.append(&mut lines).unwrap();
    assert!(lines.is_empty());
    file.take_done()
}

/// Numbers of the rows of a file; it begins with the heading, has it once, and every line is whole.
pub(super) fn numbers(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{}: the last line is whole", path.display());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(heading().as_str()), "{}", path.display());
    lines
        .map(|line| number_of(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

/// The number of a whole row.
fn number_of(line: &str) -> Option<u64> {
    let cells = values(line)?;
    let whole = cells.len() == FRONT + HEAD.len() + WIDTH && cells[0] == VERSION.to_string();
    whole.then(|| cells[FRONT + HEAD.len() + 2].parse().ok())?
}

/// Files beside the log, the oldest first.
fn older(config: &TrafficLogConfig) -> Vec<PathBuf> {
    let all = names::all(&config.path).unwrap();
    all.into_iter().map(|older| older.path).collect()
}

#[test]
fn a_row_has_a_cell_for_each_column_and_says_what_it_is_of() {
    let names = heading();
    let names: Vec<_> = names.split(',').collect();
    let cells = values(&line(&row(5)).text).unwrap();
    assert_eq!(names.len(), cells.len());
    let of = |name: &str| cells[names.iter().position(|known| *known == name).unwrap()].as_str();
    let told = [
        "at", "sensor", "origin", "group", "family", "y", "t0", "t1", "src", "sport", "dport", "proto", "cont",
    ];
    assert_eq!(
        told.map(of),
        [
            "2026-01-01T00:00:00.005000Z",
            "xdp",
            "web-1",
            "web-1/2026-01-01",
            "",
            "",
            "1767225598.005000",
            "1767225600.005000",
            "192.0.2.7",
            "5",
            "443",
            "6",
            "0"
        ]
    );
    assert_eq!(
        [of("score"), of("level"), of("schema_1"), of("f_n")],
        ["0.333333", "suspicious", "1", "5"]
    );
    assert!(FEATURES.iter().all(|feature| names.contains(&feature.name)));
    let unjudged = Row { said: None, ..row(1) };
    let cells = values(&line(&unjudged).text).unwrap();
    assert_eq!((cells[3].as_str(), cells[4].as_str()), ("", ""));
}

#[test]
fn no_text_in_a_row_is_a_formula_and_numbers_stay_numbers() {
    for hostile in [
        "=cmd|'/C calc'!A0",
        "+1",
        "-2+3",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "=1,\"2\"\n=3",
        "＝1",
    ] {
        let mut below = row(1);
        below.record.vector.0[3] = -1.0;
        let (_, text) = Pen::new(hostile.to_owned()).line(hostile, Clock::default(), &below);
        assert_eq!(text.lines().count(), 1, "{text}");
        let cells = values(&text).unwrap();
        assert_eq!(cells.len(), FRONT + HEAD.len() + WIDTH, "{text}");
        for at in [2, FRONT, FRONT + 1] {
            assert!(cells[at].starts_with('\''), "{hostile:?}: {}", cells[at]);
        }
        assert_eq!(
            cells[FRONT + HEAD.len() + 3],
            "-1",
            "a number below nought is no formula"
        );
    }
}

#[test]
fn rows_follow_one_heading_also_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut file = LogFile::new(config.clone());
    assert_eq!(append(&mut file, []).rows, 0);
    assert_eq!(numbers(&config.path), [0_u64; 0], "the heading alone");
    let done = append(&mut file, (0..3).map(row));
    assert_eq!(done.rows, 3);
    drop(file);
    let mut file = LogFile::new(config.clone());
    append(&mut file, (3..5).map(row));
    assert_eq!(numbers(&config.path), [0, 1, 2, 3, 4]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.path) & !0o640, 0);
    assert_eq!(mode(config.path.parent().unwrap()) & !0o750, 0);
}

#[test]
fn what_is_torn_is_cut_off_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    append(&mut LogFile::new(config.clone()), (0..2).map(row));
    let whole = std::fs::read_to_string(&config.path).unwrap();
    let head = heading().len() + 1;
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    for cut in [1, head / 2, head - 1, head + 1, last + 1, whole.len() - 1] {
        std::fs::write(&config.path, &whole[..cut]).unwrap();
        let done = append(&mut LogFile::new(config.clone()), [row(7)]);
        assert_eq!(done.repaired, 1, "cut at {cut}");
        let kept = whole[..cut].matches('\n').count().saturating_sub(1);
        let expected: Vec<u64> = (0..kept as u64).chain([7]).collect();
        assert_eq!(numbers(&config.path), expected, "cut at {cut}");
    }
    for cut in [0, head, last, whole.len()] {
        std::fs::write(&config.path, &whole[..cut]).unwrap();
        assert_eq!(
            append(&mut LogFile::new(config.clone()), [row(7)]).repaired,
            0,
            "cut at {cut}"
        );
    }
    // Blocks that never reached the disk are nought after a power cut.
    std::fs::write(&config.path, whole.clone() + &"\0".repeat(5000)).unwrap();
    append(&mut LogFile::new(config.clone()), [row(7)]);
    assert_eq!(numbers(&config.path), [0, 1, 7]);
}

#[test]
fn what_is_not_ours_is_put_aside_and_never_mixed_with_rows() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    std::fs::create_dir_all(config.path.parent().unwrap()).unwrap();
    let other = heading().replace("schema_1", "schema_0");
    let mut aside = 0;
    for foreign in [
        "a letter\n",
        "no line",
        &format!("{other}\n"),
        &format!("{}\r\n", heading()),
        &"x".repeat(100_000),
    ] {
        std::fs::write(&config.path, foreign).unwrap();
        let done = append(&mut LogFile::new(config.clone()), [row(1)]);
        aside += 1;
        assert_eq!((done.aside, done.repaired), (1, 0));
        assert_eq!(numbers(&config.path), [1]);
        let kept = config.path.with_file_name(format!("traffic_log-aside-{aside}.csv"));
        assert_eq!(
            std::fs::read_to_string(kept).unwrap(),
            foreign,
            "not a byte of it is lost"
        );
    }
    // Our heading, and behind it something without an end.
    std::fs::write(&config.path, format!("{}\n{}", heading(), "x".repeat(100_000))).unwrap();
    assert_eq!(append(&mut LogFile::new(config.clone()), [row(1)]).aside, 1);
    assert_eq!(numbers(&config.path), [1]);
}

#[test]
fn a_full_file_moves_aside_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrafficLogConfig {
        max_bytes: 65_536,
        keep: 3,
        ..config(dir.path())
    };
    let mut file = LogFile::new(config.clone());
    let mut rotated = 0;
    for from in (0..2_000).step_by(250) {
        rotated += append(&mut file, (from..from + 250).map(row)).rotated;
    }
    assert!(rotated > 5, "{rotated}");
    let kept = older(&config);
    assert_eq!(kept.len(), 3);
    let last = kept.last().unwrap().file_name().unwrap().to_str().unwrap();
    assert_eq!(last, format!("traffic_log-2026-01-01-{rotated:03}.csv"));
    let mut all = Vec::new();
    for path in kept.iter().chain([&config.path]) {
        assert!(path.metadata().unwrap().len() <= config.max_bytes);
        all.extend(numbers(path));
    }
    let first = all[0];
    assert_eq!(
        all,
        (first..2_000).collect::<Vec<_>>(),
        "in order, none twice, none missing"
    );
    // One batch over many files.
    append(&mut file, (2_000..3_000).map(row));
    assert_eq!(numbers(&config.path).last(), Some(&2_999));
    // And none is kept where none is wanted.
    let none = TrafficLogConfig { keep: 0, ..config };
    drop(file);
    append(&mut LogFile::new(none.clone()), (3_000..3_500).map(row));
    assert_eq!(older(&none).len(), 0);
}

#[test]
fn each_day_has_a_file_of_its_own_unless_it_is_told_otherwise() {
    for daily in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrafficLogConfig {
            daily,
            fsync: true,
            ..config(dir.path())
        };
        let mut file = LogFile::new(config.clone());
        let at = [T0, T0 + DAY - 1, T0 + DAY, T0, T0 + 2 * DAY];
        append(&mut file, at.iter().zip(1..).map(|(at, number)| row_at(*at, number)));
        if !daily {
            assert_eq!((older(&config).len(), numbers(&config.path)), (0, vec![1, 2, 3, 4, 5]));
            continue;
        }
        let kept = older(&config);
        let names: Vec<_> = kept
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["traffic_log-2026-01-01-001.csv", "traffic_log-2026-01-02-001.csv"]
        );
        // A clock that was set back begins no file.
        assert_eq!(
            kept.iter().map(|path| numbers(path)).collect::<Vec<_>>(),
            [vec![1, 2], vec![3, 4]]
        );
        assert_eq!(numbers(&config.path), [5]);
        // One that lay there over night is of the day on which it was last written to.
        drop(file);
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(T0 + 2 * DAY);
        std::fs::File::options()
            .append(true)
            .open(&config.path)
            .unwrap()
            .set_modified(then)
            .unwrap();
        append(&mut LogFile::new(config.clone()), [row_at(T0 + 3 * DAY, 6)]);
        assert_eq!(older(&config).len(), 3);
        assert_eq!(numbers(&config.path), [6]);
    }
}

#[test]
fn two_writers_do_not_share_a_file_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut first = LogFile::new(config.clone());
    append(&mut first, [row(1)]);
    let mut second = LogFile::new(config.clone());
    let mut lines = VecDeque::from([line(&row(2))]);
    let error = second.append(&mut lines).unwrap_err().to_string();
    assert!(error.contains("another process writes there"), "{error}");
    assert_eq!(lines.len(), 1, "what could not be written still waits");
    drop(first);
    second.append(&mut lines).unwrap();
    assert_eq!(numbers(&config.path), [1, 2]);
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    drop(second);
    std::fs::remove_file(&config.path).unwrap();
    std::os::unix::fs::symlink(&victim, &config.path).unwrap();
    let error = LogFile::new(config).append(&mut lines).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
}

#[test]
fn rows_the_disk_takes_a_part_of_are_taken_back_and_written_later() {
    // The limit is the child's own: RLIMIT_FSIZE cuts a write short like a full disk.
    const NAME: &str = "SENTINEL_TEST_TRAFFIC_SHORT";
    if let Ok(directory) = std::env::var(NAME) {
        let config = config(Path::new(&directory));
        let mut file = LogFile::new(config.clone());
        append(&mut file, (0..2).map(row));
        let mut lines: VecDeque<_> = (2..100).map(|number| line(&row(number))).collect();
        let error = file.append(&mut lines).unwrap_err();
        assert!(error.mend.contains("free space"), "{error}");
        assert_eq!(lines.len(), 98);
        assert_eq!(numbers(&config.path), [0, 1]);
        lines.truncate(3);
        file.append(&mut lines).unwrap();
        assert_eq!(numbers(&config.path), [0, 1, 2, 3, 4]);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "traffic::tests::rows_the_disk_takes_a_part_of_are_taken_back_and_written_later";
    let out = std::process::Command::new("prlimit")
        .arg("--fsize=16000")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(NAME, dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
