//! What recorded answers come to, number by number, on the day after they were recorded.

use super::{BAD, at, provider, recorded};
use crate::types::{Indicator, IntelVerdict, Timestamp};
use serde_json::{Value, json};

const NOW: &str = "2026-07-22T00:00:00Z";

fn read(name: &str, body: &str) -> Indicator {
    (provider(name).read)(body.as_bytes(), BAD.parse().unwrap(), at(NOW)).unwrap()
}

/// A recorded answer with some fields changed.
fn changed(name: &str, body: &str, changes: &[(&str, Value)]) -> Indicator {
    let mut body: Value = serde_json::from_str(body).unwrap();
    for (pointer, value) in changes {
        *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
    }
    read(name, &body.to_string())
}

fn check(told: &Indicator, verdict: IntelVerdict, score: f64, confidence: f64) {
    let near = |a: f64, b: f64| (a - b).abs() < 0.005;
    assert!(
        told.verdict == verdict && near(told.score, score) && near(told.confidence, confidence),
        "{verdict:?} {score} {confidence}: {told:?}"
    );
}

#[test]
fn virustotal() {
    let p = provider("virustotal");
    // Ten say malicious, one of which is GreyNoise, and two suspicious; a day old.
    let told = read(p.name, p.hit);
    let (score, fresh) = (1.0 - 0.5 * (-10.0_f64 / 3.0).exp2(), (-1.0_f64 / 90.0).exp2());
    check(&told, IntelVerdict::Malicious, score, 10.0 / 13.0 * fresh);
    assert_eq!(told.categories, ["self-signed", "suspicious", "malicious", "malware"]);
    assert_eq!(told.last_seen, Some(at("2026-07-21T00:00:00Z")));
    assert_eq!(told.raw["malicious"], "10");
    assert_eq!(told.raw["reputation"], "-14");
    assert!(!told.spare);

    let stats = |malicious: u32, suspicious: u32| {
        let stats = json!({"harmless": 60, "malicious": malicious, "suspicious": suspicious, "undetected": 30});
        changed(
            p.name,
            p.hit,
            &[
                ("/data/attributes/last_analysis_stats", stats),
                ("/data/attributes/last_analysis_results", json!({})),
            ],
        )
    };
    check(&stats(1, 0), IntelVerdict::Suspicious, 0.603, 0.25);
    check(&stats(0, 1), IntelVerdict::Suspicious, 0.555, 0.143);
    check(&stats(3, 1), IntelVerdict::Suspicious, 0.777, 0.538);
    check(&stats(3, 2), IntelVerdict::Malicious, 0.802, 0.571);
    check(&stats(0, 0), IntelVerdict::Benign, 0.4, 0.3);
    check(&stats(90, 0), IntelVerdict::Malicious, 1.0, 0.96);

    // GreyNoise alone is not heard a second time.
    let only = [
        ("/data/attributes/last_analysis_stats/malicious", json!(1)),
        ("/data/attributes/last_analysis_stats/suspicious", json!(0)),
    ];
    assert_eq!(changed(p.name, p.hit, &only).verdict, IntelVerdict::Benign);

    // Half as much a quarter of a year later.
    let old = [(
        "/data/attributes/last_analysis_date",
        json!(1_784_592_000 - 90 * 86_400),
    )];
    check(
        &changed(p.name, p.hit, &old),
        IntelVerdict::Malicious,
        0.95,
        10.0 / 13.0 / 2.0,
    );

    let told = read(p.name, p.clean);
    check(&told, IntelVerdict::Benign, 0.3, 0.31);
    assert!(told.categories.is_empty() && !told.spare);

    let never = json!({"data": {"id": BAD, "type": "ip_address", "attributes": {"reputation": 0, "tags": []}}});
    check(&read(p.name, &never.to_string()), IntelVerdict::Unknown, 0.5, 0.0);
}

#[test]
fn abuseipdb() {
    let p = provider("abuseipdb");
    let told = read(p.name, p.hit);
    check(
        &told,
        IntelVerdict::Malicious,
        1.0,
        241.0 / 244.0 * (-(20.8_f64 / 24.0) / 30.0).exp2(),
    );
    assert_eq!(
        told.categories,
        [
            "brute force",
            "ssh",
            "port scan",
            "ftp brute force",
            "hacking",
            "web application attack"
        ]
    );
    assert_eq!(told.last_seen, Some(at("2026-07-21T03:10:42Z")));
    assert_eq!(told.first_seen, Some(at("2026-07-10T03:11:42Z")));
    assert_eq!(
        (told.raw["totalReports"].as_str(), told.raw["reports read"].as_str()),
        ("1417", "12")
    );
    assert!(!told.spare);

    let with = |score: u32, users: u64, reports: u64| {
        changed(
            p.name,
            p.hit,
            &[
                ("/data/abuseConfidenceScore", json!(score)),
                ("/data/numDistinctUsers", json!(users)),
                ("/data/totalReports", json!(reports)),
                ("/data/lastReportedAt", json!(NOW)),
                ("/data/reports", json!([])),
            ],
        )
    };
    check(&with(75, 10, 30), IntelVerdict::Malicious, 0.875, 10.0 / 13.0);
    check(&with(74, 10, 30), IntelVerdict::Suspicious, 0.87, 10.0 / 13.0);
    check(&with(1, 1, 1), IntelVerdict::Suspicious, 0.505, 0.25);
    check(&with(0, 1, 1), IntelVerdict::Unknown, 0.5, 0.25);
    check(&with(100, 0, 0), IntelVerdict::Unknown, 0.5, 0.0);
    check(&with(4_000_000_000, 3, 5), IntelVerdict::Malicious, 1.0, 0.5);

    let told = read(p.name, p.clean);
    check(&told, IntelVerdict::Benign, 0.2, 0.6);
    assert!(told.spare && told.categories.contains(&"ddos attack".to_owned()));

    // What is not verbose has no reports, and an unknown category no name.
    let mut brief: Value = serde_json::from_str(p.hit).unwrap();
    brief["data"].as_object_mut().unwrap().remove("reports");
    brief["data"]["isTor"] = json!(true);
    assert_eq!(read(p.name, &brief.to_string()).categories, ["tor exit"]);
    let odd = [("/data/reports/0/categories", json!([0, 99, 4_294_967_295_u32]))];
    assert_eq!(changed(p.name, p.hit, &odd).categories.len(), 6);
}

#[test]
fn otx() {
    let p = provider("otx");
    let told = read(p.name, p.hit);
    // Four pulses of three authors, the newest a day and three quarters old.
    check(
        &told,
        IntelVerdict::Suspicious,
        0.7,
        3.0 / 8.0 * (-1.73_f64 / 180.0).exp2(),
    );
    assert_eq!(
        told.categories[..7],
        [
            "Mirai",
            "RedLine Stealer",
            "ssh",
            "bruteforce",
            "honeypot",
            "scanner",
            "stealer"
        ]
    );
    assert_eq!(told.first_seen, Some(at("2026-04-22T16:20:00Z")));
    assert_eq!(told.last_seen, Some(at("2026-07-20T06:24:19.357Z")));
    assert_eq!(
        (told.raw["pulse_info.count"].as_str(), told.raw["authors"].as_str()),
        ("4", "3")
    );

    let pulse = |author: usize| json!({"name": "p", "author": {"username": format!("a{author}")}, "modified": NOW});
    let by = |authors: usize| {
        let pulses: Vec<Value> = (0..50).map(|n| pulse(n % authors)).collect();
        changed(p.name, p.hit, &[("/pulse_info/pulses", pulses.into())])
    };
    check(&by(1), IntelVerdict::Suspicious, 0.6, 1.0 / 6.0);
    check(&by(4), IntelVerdict::Suspicious, 0.729, 4.0 / 9.0);
    check(&by(5), IntelVerdict::Malicious, 0.75, 0.5);
    check(&by(50), IntelVerdict::Malicious, 0.877, 50.0 / 55.0);

    let told = read(p.name, p.clean);
    check(&told, IntelVerdict::Benign, 0.3, 0.6);
    assert!(told.spare && told.categories.contains(&"validated: whitelist".to_owned()));
    // Popular is not the same as exempt.
    let popular = [(
        "/validation",
        json!([{"source": "majestic", "message": "", "name": "Rank 12"}]),
    )];
    let told = changed(p.name, p.clean, &popular);
    check(&told, IntelVerdict::Benign, 0.3, 0.4);
    assert!(!told.spare);
}

#[test]
fn ipqualityscore() {
    let p = provider("ipqualityscore");
    let told = read(p.name, p.hit);
    check(&told, IntelVerdict::Malicious, 0.9, 0.6);
    assert_eq!(told.categories, ["vpn", "proxy", "bot", "recent abuse"]);
    assert!(!told.raw.contains_key("abuse_velocity"));
    let told = read(p.name, recorded!("ipqualityscore_paid"));
    check(&told, IntelVerdict::Malicious, 0.792, 0.6);
    assert_eq!(told.categories, ["tor", "proxy", "recent abuse"]);
    assert_eq!(
        (
            told.raw["abuse_velocity"].as_str(),
            told.raw["connection_type"].as_str()
        ),
        ("high", "Data Center")
    );

    let with = |fraud: Value, abuse: bool, crawler: bool| {
        let changes = [
            ("/fraud_score", fraud),
            ("/recent_abuse", json!(abuse)),
            ("/is_crawler", json!(crawler)),
            ("/vpn", json!(true)),
        ];
        changed(p.name, p.clean, &changes)
    };
    check(&with(json!(0), false, false), IntelVerdict::Benign, 0.35, 0.3);
    check(&with(json!(74.9), false, false), IntelVerdict::Benign, 0.5, 0.3);
    check(&with(json!(75), false, false), IntelVerdict::Suspicious, 0.6, 0.3);
    check(&with(json!(20), true, false), IntelVerdict::Suspicious, 0.6, 0.5);
    // A VPN with a bad name, and nobody who saw abuse.
    check(&with(json!(100), false, false), IntelVerdict::Suspicious, 0.9, 0.3);
    check(&with(json!(100), true, false), IntelVerdict::Malicious, 0.9, 0.5);
    check(&with(json!(100), true, true), IntelVerdict::Benign, 0.2, 0.5);
    check(&with(json!(1e300), true, false), IntelVerdict::Malicious, 0.9, 0.5);
    check(&with(json!(-7), false, false), IntelVerdict::Benign, 0.35, 0.3);
}

#[test]
fn greynoise() {
    let p = provider("greynoise");
    let told = read(p.name, p.hit);
    check(&told, IntelVerdict::Malicious, 0.95, 0.9 * (-2.0_f64 / 30.0).exp2());
    assert_eq!(told.categories, ["scans the internet"]);
    assert_eq!(told.last_seen, Some(at("2026-07-20T00:00:00Z")));
    for (class, verdict, score, confidence) in [
        ("suspicious", IntelVerdict::Suspicious, 0.7, 0.8),
        ("benign", IntelVerdict::Benign, 0.25, 0.8),
        ("unknown", IntelVerdict::Suspicious, 0.6, 0.5),
        ("a word of tomorrow", IntelVerdict::Suspicious, 0.6, 0.5),
    ] {
        let told = changed(
            p.name,
            p.hit,
            &[("/classification", json!(class)), ("/last_seen", json!("2026-07-22"))],
        );
        check(&told, verdict, score, confidence);
        assert!(!told.spare);
    }
    let told = read(p.name, recorded!("greynoise_research"));
    assert_eq!((told.verdict, told.spare), (IntelVerdict::Benign, false));
    assert_eq!(told.categories, ["Shodan.io", "scans the internet"]);

    let told = read(p.name, p.clean);
    check(&told, IntelVerdict::Benign, 0.05, 0.9);
    assert!(told.spare);
    assert_eq!(told.categories, ["Example Public DNS", "common business service"]);
    // A shared service from which somebody scans is still shared.
    let both = [("/riot", json!(true)), ("/classification", json!("malicious"))];
    assert!(changed(p.name, p.hit, &both).spare);

    check(&read(p.name, p.unknown.1), IntelVerdict::Unknown, 0.5, 0.0);
}

#[test]
fn threatcrowd() {
    let p = provider("threatcrowd");
    let told = read(p.name, p.hit);
    check(&told, IntelVerdict::Suspicious, 0.6, 0.2 + 0.2 * 3.0 / 8.0);
    assert_eq!(told.categories, ["contacted by malware", "voted malicious"]);
    assert_eq!(told.last_seen, Some(at("2019-11-03T00:00:00Z")));
    check(
        &changed(p.name, p.hit, &[("/votes", json!("0"))]),
        IntelVerdict::Suspicious,
        0.55,
        0.1125,
    );
    check(&read(p.name, p.clean), IntelVerdict::Benign, 0.4, 0.2);
    check(
        &changed(p.name, p.clean, &[("/votes", json!(0))]),
        IntelVerdict::Unknown,
        0.5,
        0.0,
    );
    check(&read(p.name, p.unknown.1), IntelVerdict::Unknown, 0.5, 0.0);
}

#[test]
fn more_reports_never_make_it_more_harmless() {
    let told = |name: &str, pointer: &str, n: u64| changed(name, provider(name).hit, &[(pointer, json!(n))]);
    for (name, pointer, most) in [
        ("virustotal", "/data/attributes/last_analysis_stats/malicious", 90),
        ("virustotal", "/data/attributes/last_analysis_stats/suspicious", 90),
        ("abuseipdb", "/data/abuseConfidenceScore", 100),
        ("abuseipdb", "/data/numDistinctUsers", 300),
        ("ipqualityscore", "/fraud_score", 100),
    ] {
        let mut last: Option<Indicator> = None;
        for n in 0..=most {
            let now = told(name, pointer, n);
            if let Some(last) = last {
                let rises = now.score >= last.score && now.confidence >= last.confidence && now.verdict >= last.verdict;
                assert!(rises, "{name} {pointer} {n}: {last:?} {now:?}");
            }
            last = Some(now);
        }
    }
    let late: Timestamp = at("2036-01-01T00:00:00Z");
    for name in ["virustotal", "abuseipdb", "otx", "greynoise"] {
        let p = provider(name);
        let old = (p.read)(p.hit.as_bytes(), BAD.parse().unwrap(), late).unwrap();
        let new = read(name, p.hit);
        assert!(old.confidence < new.confidence && old.confidence > 0.0, "{name}");
        assert_eq!((old.verdict, old.score), (new.verdict, new.score), "{name}");
    }
}
