//! The router by itself.

use super::super::router::{Books, Route, Router};
use super::*;
use crate::types::{Detector, Digest, Folded};

/// What each channel was told, after so many seconds each.
struct Desk {
    config: AlertingConfig,
    books: Books,
    full: BTreeSet<ChannelKind>,
}

impl Desk {
    fn new(config: AlertingConfig) -> Self {
        Self {
            config,
            books: Books::default(),
            full: BTreeSet::new(),
        }
    }

    fn take(&mut self, alert: &Alert, seconds: u64) -> Vec<(ChannelKind, Option<Folded>)> {
        let now = NOON.after(Duration::from_secs(seconds));
        let routes = Router::new(&self.config, Mint::Counted(0)).take(&mut self.books, alert, now, &self.full);
        routes
            .into_iter()
            .map(|route| match route {
                Route::Told(message) => (message.channel, None),
                Route::Folded(channel, why) => (channel, Some(why)),
            })
            .collect()
    }

    /// The digests that are due.
    fn due(&mut self, seconds: u64) -> Vec<(ChannelKind, Digest)> {
        let now = NOON.after(Duration::from_secs(seconds));
        let due = Router::new(&self.config, Mint::Counted(0)).due(&mut self.books, now, &self.full);
        due.into_iter()
            .map(|message| match message.content {
                Content::Digest(digest) => (message.channel, digest),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

use ChannelKind::{Email, File, Slack};

#[test]
fn severity_and_detector_say_where_an_alert_goes() {
    let mut config = settings();
    config.detectors.brute_force.0 = Some(vec![Email]);
    config.detectors.baseline.0 = Some(Vec::new());
    let mut desk = Desk::new(config);
    let mut one = alert(&mut Mint::Random, NOON);
    one.severity = Severity::Low;
    assert_eq!(desk.take(&one, 0), [(File, None)]);
    one.severity = Severity::High;
    assert_eq!(desk.take(&one, 0), [(Email, None), (File, None)], "Slack leads nowhere");
    one.severity = Severity::Low;
    one.detector = Detector::BruteForce;
    assert_eq!(desk.take(&one, 0), [(Email, None)]);
    one.detector = Detector::Baseline;
    assert_eq!(desk.take(&one, 0), []);
}

#[test]
fn repeats_are_one_digest_and_worse_is_news() {
    let mut desk = Desk::new(settings());
    let mut one = alert(&mut Mint::Random, NOON);
    one.detector = Detector::PortScan;
    desk.config.severity_routing.medium = vec![Email];
    assert_eq!(desk.take(&one, 0), [(Email, None)]);
    assert_eq!(desk.take(&one, 10), [(Email, Some(Folded::Duplicate))]);
    let mut worse = one.clone();
    worse.severity = Severity::High;
    assert!(desk.take(&worse, 20).contains(&(Email, None)), "worse than was told");
    assert_eq!(desk.take(&one, 25), [(Email, Some(Folded::Duplicate))]);
    assert_eq!(desk.due(200), [], "five minutes after the first that was folded");
    let due = desk.due(310);
    assert_eq!(due.len(), 1);
    let (channel, digest) = &due[0];
    assert_eq!((*channel, digest.alerts, digest.lines.len()), (Email, 2, 1));
    assert_eq!(digest.lines[0].alerts, 2);
    assert_eq!(desk.due(1_000), [], "told once");
    assert_eq!(desk.take(&one, 400), [(Email, None)], "the window is over");
    let mut other = one.clone();
    other.source = Some("203.0.113.99".parse().unwrap());
    assert_eq!(desk.take(&other, 400), [(Email, None)], "somebody else");
}

#[test]
fn a_minute_brings_no_more_than_it_may() {
    let mut desk = Desk::new(settings());
    let mut told = 0;
    for one in storm(50, 1) {
        told += usize::from(desk.take(&one, 0).contains(&(Email, None)));
    }
    assert_eq!(told, 10);
    let fresh = &storm(60, 1)[59];
    assert!(desk.take(fresh, 59).contains(&(Email, Some(Folded::Throttled))));
    assert!(desk.take(fresh, 60).contains(&(Email, None)), "the next minute");
    let (_, digest) = desk.due(300).remove(0);
    assert_eq!((digest.alerts, digest.folded[&Folded::Throttled]), (41, 41));
    desk.config.throttling.max_alerts_per_minute = 0;
    let told = storm(80, 1)
        .iter()
        .filter(|one| desk.take(one, 2_000).contains(&(Email, None)))
        .count();
    assert_eq!(told, 80, "no limit");
}

/// At night the eleventh grave alert of a minute is not held back until morning; and a clock set back holds back nothing.
#[test]
fn what_is_grave_is_told_at_night_and_a_digest_of_tomorrow_at_once() {
    let mut desk = Desk::new(settings());
    desk.config.quiet_hours = QuietConfig {
        hours: Some(hours("11:00-13:00")),
        timezone: zone("UTC"),
        except: vec![Severity::High],
    };
    for one in storm(12, 1) {
        desk.take(&one, 0);
    }
    assert_eq!(desk.due(300)[0].1.alerts, 2);
    for one in storm(12, 1) {
        desk.take(&one, 86_400);
    }
    let due = desk.due(10);
    assert_eq!(
        due.iter().map(|(_, digest)| digest.alerts).sum::<u64>(),
        2,
        "begun tomorrow"
    );
}

/// 100,000 alerts, 50 incidents.
#[test]
fn a_storm_is_as_many_first_messages_as_incidents_and_digests_that_add_up() {
    let mut config = settings();
    config.throttling.max_alerts_per_minute = 0;
    let mut desk = Desk::new(config);
    let (mut first, mut folded, mut all) = (0_u64, 0_u64, 0_u64);
    let mut digests = Vec::new();
    for (n, one) in storm(50, 2_000).iter().enumerate() {
        let second = n as u64 / 500;
        all += 1;
        for (channel, why) in desk.take(one, second) {
            match (channel, why) {
                (Email, None) => first += 1,
                (Email, Some(_)) => folded += 1,
                (File, None) => {}
                other => panic!("{other:?}"),
            }
        }
        digests.extend(desk.due(second));
    }
    digests.extend(desk.due(10_000));
    assert_eq!((all, first, first + folded), (100_000, 50, all));
    let told: u64 = digests.iter().map(|(_, digest)| digest.alerts).sum();
    assert_eq!(told, folded);
    for (_, digest) in &digests {
        let lines: u64 = digest.lines.iter().map(|line| line.alerts).sum();
        let reasons: u64 = digest.folded.values().sum();
        assert_eq!((lines + digest.beyond, reasons), (digest.alerts, digest.alerts));
    }
}

#[test]
fn quiet_hours_hold_back_all_but_the_gravest() {
    let mut config = settings();
    config.severity_routing.medium = vec![Email, File];
    config.quiet_hours = QuietConfig {
        hours: Some(hours("11:00-13:00")),
        timezone: zone("UTC"),
        except: vec![Severity::High],
    };
    let mut desk = Desk::new(config);
    let mut one = alert(&mut Mint::Random, NOON);
    assert_eq!(desk.take(&one, 0), [(Email, Some(Folded::Quiet)), (File, None)]);
    one.severity = Severity::High;
    assert!(desk.take(&one, 0).contains(&(Email, None)));
    assert_eq!(desk.due(3_599), [], "still quiet");
    let due = desk.due(3_600);
    assert_eq!((due.len(), due[0].1.alerts), (1, 1));
}

#[test]
fn a_channel_with_too_much_waiting_gets_it_in_one_digest() {
    let mut desk = Desk::new(settings());
    desk.full = BTreeSet::from([Email, File]);
    for one in storm(5, 1) {
        assert_eq!(
            desk.take(&one, 0),
            [(Email, Some(Folded::Full)), (File, Some(Folded::Full))]
        );
    }
    assert_eq!(desk.due(100_000), [], "not while it is full");
    desk.full.clear();
    let due = desk.due(100_001);
    let told: Vec<_> = due.iter().map(|(channel, digest)| (*channel, digest.alerts)).collect();
    assert_eq!(told, [(Email, 5), (File, 5)]);
}

#[test]
fn whatever_comes_the_books_stay_small_and_a_clock_set_back_forgets() {
    let mut desk = Desk::new(settings());
    desk.config.throttling.max_alerts_per_minute = 0;
    for one in storm(3_000, 1) {
        desk.take(&one, 0);
    }
    let size = serde_json::to_string(&desk.books).unwrap().len();
    assert!(size < 200_000, "{size}");
    let first = &storm(1, 1)[0];
    assert!(desk.take(first, 1).contains(&(Email, None)), "forgotten, so told anew");
    // Set back by a day: what was told tomorrow silences nobody today.
    let before = NOON.before(Duration::from_hours(24));
    let routes = Router::new(&desk.config, Mint::Counted(0)).take(&mut desk.books, first, before, &desk.full);
    assert!(
        matches!(&routes[0], Route::Told(message) if message.channel == Email),
        "{routes:?}"
    );
    // Many different ones that are all folded.
    desk.config.throttling.max_alerts_per_minute = 1;
    for one in storm(3_000, 1) {
        desk.take(&one, 2);
    }
    let size = serde_json::to_string(&desk.books).unwrap().len();
    assert!(size < 300_000, "{size}");
    let (_, digest) = desk.due(10_000).remove(0);
    assert!(digest.beyond > 0);
    assert_eq!(
        digest.lines.iter().map(|line| line.alerts).sum::<u64>() + digest.beyond,
        digest.alerts
    );
}

#[test]
fn the_books_outlive_the_process() {
    let mut desk = Desk::new(settings());
    for one in storm(30, 2) {
        desk.take(&one, 0);
    }
    let kept = serde_json::to_string(&desk.books).unwrap();
    let read: Books = serde_json::from_str(&kept).unwrap();
    assert_eq!(read, desk.books);
    assert_eq!(read.folded(Email), 50);
    assert_eq!(read.folded(Slack), 0);
}

/// As the settings read them.
fn hours(text: &str) -> Hours {
    read(&format!("alerting: {{ quiet_hours: {{ hours: \"{text}\" }} }}"))
        .quiet_hours
        .hours
        .unwrap()
}

fn zone(name: &str) -> crate::config::Zone {
    read(&format!("alerting: {{ quiet_hours: {{ timezone: \"{name}\" }} }}"))
        .quiet_hours
        .timezone
}

fn read(text: &str) -> AlertingConfig {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.yml");
    std::fs::write(&file, text).unwrap();
    crate::config::load(&[file], []).unwrap().alerting
}
