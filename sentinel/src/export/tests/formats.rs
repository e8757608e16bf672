//! Each event in each format, against files checked by hand and against the schema.

use crate::config::Format;
use crate::export::{Dropped, Happening, Observer, Totals};
use crate::types::testing::alert;
use crate::types::{
    ActionKind, Clock, Decision, DecisionId, DecisionStatus, Detector, EvidenceClass, FlowEnd, FlowState, Ktime,
    MapUse, Mint, Origin, Service, Severity, Terms, Timestamp,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const AT: Timestamp = Timestamp(1_795_919_400_123_456_000);

fn decided(alert: &crate::types::Alert) -> Decision {
    Decision {
        id: DecisionId(uuid::Uuid::from_u128(7)),
        at: AT,
        target: "203.0.113.7/32".parse().unwrap(),
        action: ActionKind::BlockIp,
        terms: Terms::default(),
        expires_at: Some(AT.after(Duration::from_hours(1))),
        until_if_confirmed: None,
        simulated: true,
        origin: Origin::Detector,
        actor: "port_scan".into(),
        reason: "because".into(),
        alert: Some(alert.id),
        severity: Some(Severity::Medium),
        risk: None,
        basis: None,
        checks: Vec::new(),
        collateral: None,
        investigation: None,
        status: DecisionStatus::Active,
        veto: None,
        ended_at: None,
    }
}

/// One of each, and those that lack something.
pub(super) fn each() -> Vec<(&'static str, Happening)> {
    let mut mint = Mint::Counted(0);
    let full = alert(&mut mint, AT);
    let decision = decided(&full);
    let mut bare = alert(&mut mint, AT);
    (bare.source, bare.detector, bare.severity) = (None, Detector::Amplification, Severity::High);
    bare.targets.clear();
    bare.class = EvidenceClass::Statistical;
    let clock = Clock {
        offset_ns: AT.0 - 100_000_000_000,
    };
    let flow = FlowEnd {
        source: "203.0.113.7".parse().unwrap(),
        source_port: 40_000,
        target: Service {
            ip: "198.51.100.10".parse().unwrap(),
            port: 443,
            proto: 6,
        },
        from_inside: false,
        packets_ahead: 12,
        bytes_ahead: 1_500,
        packets_back: 10,
        bytes_back: 9_000,
        started: Ktime(97_500_000_000),
        last: Ktime(100_000_000_000),
        state: FlowState::Closed,
    };
    let six = FlowEnd {
        source: "2001:db8::7".parse().unwrap(),
        source_port: 128,
        target: Service {
            ip: "2001:db8:1::10".parse().unwrap(),
            port: 129,
            proto: 58,
        },
        from_inside: true,
        packets_back: 0,
        bytes_back: 0,
        state: FlowState::New,
        ..flow.clone()
    };
    let dropped = Dropped {
        at: AT,
        decision: decision.id,
        target: "203.0.113.7/32".parse().unwrap(),
        action: ActionKind::BlockIp,
        packets: 41,
        bytes: 2_460,
        total: 90,
        first: Some(AT.before(Duration::from_secs(20))),
    };
    let prefix = Dropped {
        target: "203.0.113.0/24".parse().unwrap(),
        action: ActionKind::RateLimit,
        first: None,
        ..dropped.clone()
    };
    let totals = Totals {
        at: AT,
        uptime: Duration::from_hours(1),
        counters: BTreeMap::from([("drop_v4", 41), ("pass_v4", 1_000), ("pass_v6", 20)]),
        maps: BTreeMap::from([(
            "block4".to_owned(),
            MapUse {
                entries: 1,
                capacity: 65_536,
            },
        )]),
        flows_active: 9,
        sources_active: 4,
        lost: BTreeMap::from([("ring.channel_full".to_owned(), 2)]),
    };
    vec![
        ("alert", Happening::Alert(Arc::new(full), Some(Arc::new(decision)))),
        ("alert-of-nobody", Happening::Alert(Arc::new(bare), None)),
        ("flow", Happening::Flow(flow, clock)),
        ("flow-icmp6", Happening::Flow(six, clock)),
        ("drop", Happening::Drop(dropped)),
        ("drop-prefix", Happening::Drop(prefix)),
        ("stats", Happening::Stats(Arc::new(totals))),
    ]
}

pub(super) fn by() -> Observer {
    Observer {
        host: "gate".to_owned(),
        version: "0.0.0",
    }
}

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/export/testdata")
}

#[test]
fn each_event_in_each_format_is_as_the_files_have_it() {
    for (format, of) in [("eve", Format::Eve), ("ecs", Format::Ecs), ("ocsf", Format::Ocsf)] {
        for (name, happening) in each() {
            let written = happening.render(of, &by());
            let path = testdata().join(format!("golden/{format}-{name}.json"));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, format!("{written:#}\n")).unwrap();
            }
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let golden: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(written, golden, "{}", path.display());
            assert!(!written.to_string().contains('\n'), "an event is a line");
        }
    }
}

/// The validator of lines of `eve.json`.
pub(super) fn validator() -> jsonschema::Validator {
    let schema = std::fs::read_to_string(testdata().join("eve.schema.json")).unwrap();
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .build(&serde_json::from_str(&schema).unwrap())
        .unwrap()
}

#[test]
fn each_line_of_eve_is_valid_and_the_schema_finds_what_is_not() {
    let validator = validator();
    for (name, happening) in each() {
        let line = happening.render(Format::Eve, &by());
        let wrong: Vec<String> = validator.iter_errors(&line).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{line:#}");
        for (at, value) in [
            ("/timestamp", Value::from("2026-11-29T02:30:00.123456Z")),
            ("/event_type", Value::from("anomaly")),
            ("/sentinel", Value::from(1)),
        ] {
            let mut broken = line.clone();
            *broken.pointer_mut(at).unwrap() = value;
            assert!(!validator.is_valid(&broken), "{name} with another {at}");
        }
        let mut more = line.clone();
        more["payload"] = Value::from("x");
        assert!(!validator.is_valid(&more), "{name} with more");
    }
}

#[test]
fn what_suricata_s_schema_has_closed_objects_for_holds_nothing_else() {
    let known: [(&str, &[&str]); 4] = [
        (
            "alert",
            &[
                "action",
                "category",
                "gid",
                "rev",
                "severity",
                "signature",
                "signature_id",
            ],
        ),
        ("drop", &["len", "reason"]),
        (
            "flow",
            &[
                "age",
                "alerted",
                "bytes_toclient",
                "bytes_toserver",
                "end",
                "pkts_toclient",
                "pkts_toserver",
                "reason",
                "start",
                "state",
            ],
        ),
        ("stats", &["capture", "uptime"]),
    ];
    for (_, happening) in each() {
        let line = happening.render(Format::Eve, &by());
        for (object, fields) in known {
            for field in line.get(object).and_then(Value::as_object).into_iter().flatten() {
                assert!(fields.contains(&field.0.as_str()), "{object}.{}", field.0);
            }
        }
    }
}

#[test]
fn numbers_that_ocsf_derives_from_others_agree() {
    for (name, happening) in each() {
        let event = happening.render(Format::Ocsf, &by());
        let number = |field: &str| event[field].as_u64().unwrap_or_else(|| panic!("{name}: {field}"));
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id"),
            "{name}"
        );
        assert_eq!(number("class_uid") / 1_000, number("category_uid"), "{name}");
        assert_eq!(number("time"), AT.unix_millis(), "{name}");
    }
}
