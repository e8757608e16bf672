use super::*;
use crate::config::keys::{self, Draft};
use crate::config::value::Slot;
use crate::config::{CustomFeed, Mode, load};
use crate::types::Secret;
use proptest::prelude::*;

/// Paths that a reload applies: sections, or keys.
const TAKEN: [&str; 7] = [
    "allowlist",
    "severity_thresholds.",
    "risk_thresholds.",
    "decision_matrix.",
    "alerting.",
    "intel.feeds.",
    "detect.",
];

fn waits(key: &str) -> bool {
    let kept = ["detect.model.", "detect.baseline.", "detect.feed."];
    let response = ["response.honeypot.", "response.confirm."];
    if key.starts_with("response.") {
        return response.iter().any(|part| key.starts_with(part));
    }
    kept.iter().any(|part| key.starts_with(part)) || !TAKEN.iter().any(|part| key.starts_with(part))
}

/// Turns one key to something else, where that is simple.
fn turn(config: &mut Config, path: &str) -> bool {
    let key = keys::find(path).expect("a key");
    let mut draft = Draft {
        config: config.clone(),
        enable_production_actions: true,
    };
    match (key.slot)(&mut draft) {
        Slot::Bool(value) => *value = !*value,
        Slot::U8(value, _) => *value ^= 1,
        Slot::U32(value, _) | Slot::Size32(value, _) => *value ^= 1,
        Slot::Usize(value, _) => *value ^= 1,
        Slot::Size64(value, _) => *value ^= 1,
        Slot::Real(value, _) => *value = 1.0 - *value / 2.0,
        Slot::Time(value, _) => *value += std::time::Duration::from_secs(1),
        Slot::Path(value) => value.push("x"),
        Slot::Text(value, _) => value.push('x'),
        Slot::Prefixes(value) => value.push("198.51.100.0/24".parse().expect("a prefix")),
        Slot::Mode(value) => *value = Mode::Production,
        _ => return false,
    }
    *config = draft.config;
    true
}

#[test]
fn every_key_is_either_applied_or_waits_and_never_both() {
    let now = Config::default();
    let mut turned = 0;
    for key in keys::all() {
        let mut read = now.clone();
        if key.path == "enable_production_actions" || !turn(&mut read, key.path) || read == now {
            continue;
        }
        turned += 1;
        let next = reloaded(&now, &read, &|_| true);
        let (applied, pending) = (differences(&now, &next), differences(&next, &read));
        let named = |all: &[KeyChange]| all.iter().any(|change| change.key == key.path);
        assert_eq!(
            (named(&applied), named(&pending)),
            (!waits(key.path), waits(key.path)),
            "{}: {applied:?} {pending:?}",
            key.path
        );
    }
    assert!(turned > 150, "{turned}");
}

#[test]
fn production_is_never_begun_or_ended_in_passing() {
    let simulation = Config::default();
    let mut production = simulation.clone();
    production.mode = Mode::Production;
    assert_eq!(reloaded(&simulation, &production, &|_| true).mode, Mode::Simulation);
    assert_eq!(reloaded(&production, &simulation, &|_| true).mode, Mode::Production);
    let keys: Vec<_> = differences(&simulation, &production)
        .into_iter()
        .map(|change| change.key)
        .collect();
    assert_eq!(keys, ["enable_production_actions", "mode"]);
}

#[test]
fn a_changed_secret_is_a_change_and_is_not_told() {
    let now = Config::default();
    let mut read = now.clone();
    read.intel.feeds.custom = vec![CustomFeed {
        name: "own".to_owned(),
        place: Secret::new("https://hunter2@feeds.example.org/list"),
    }];
    let mut later = read.clone();
    later.intel.feeds.custom[0].place = Secret::new("https://hunter3@feeds.example.org/list");
    let told = differences(&read, &later);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].key, "intel");
    assert!(!format!("{told:?}").contains("hunter"), "{told:?}");
    assert_eq!(reloaded(&read, &later, &|_| true).intel.feeds, later.intel.feeds);
}

#[test]
fn what_needs_something_that_waits_waits_with_it() {
    let mut now = Config::default();
    now.kernel.egress = false;
    let mut read = now.clone();
    read.kernel.egress = true;
    read.response.block_egress = true;
    read.allowlist.push("192.0.2.0/24".parse().expect("a prefix"));
    let next = reloaded(&now, &read, &|_| true);
    assert_eq!((&next.allowlist, &next.response), (&read.allowlist, &now.response));
    let waiting: Vec<_> = differences(&next, &read).into_iter().map(|one| one.key).collect();
    assert_eq!(waiting, ["kernel.egress", "response.block_egress"]);
    // Once it holds the other does too.
    now.kernel.egress = true;
    assert_eq!(reloaded(&now, &read, &|_| true), read);
}

proptest! {
    /// What is read again unchanged changes nothing; what is read twice changes nothing the second time; a reload and a
    /// restart come to the same.
    #[test]
    fn reading_twice_is_reading_once(picks in prop::collection::vec(0..keys::all().count(), 0..12)) {
        let now = Config::default();
        let mut read = now.clone();
        let all: Vec<_> = keys::all().map(|key| key.path).collect();
        for pick in picks {
            turn(&mut read, all[pick]);
        }
        let next = reloaded(&now, &read, &|_| true);
        prop_assert_eq!(&reloaded(&next, &read, &|_| true), &next);
        prop_assert_eq!(&reloaded(&next, &next, &|_| true), &next);
        prop_assert!(differences(&next, &next).is_empty());
        let told = differences(&now, &next).len() + differences(&next, &read).len();
        prop_assert_eq!(told, differences(&now, &read).len());
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_the_rest_is_not_read_either() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("settings.yml");
    std::fs::write(&file, "allowlist: [192.0.2.0/24]\nrespons:\n  duration: 1h\n").expect("written");
    let problems = load(&[file], []).expect_err("a key that is none");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("settings.yml:2:1"), "{}", problems[0]);
}
