//! Lists of millions: right to the row whatever they are narrowed to, and read without going through all of it.

use super::*;
use crate::store::filter::Query;
use crate::store::{insert, plan};
use crate::types::{Ended, EndedOne};
use proptest::prelude::*;

fn database() -> (TempDir, Connection) {
    let directory = TempDir::new().unwrap();
    let connection = schema::open_writer(&directory.path().join("s.db")).unwrap();
    (directory, connection)
}

fn write(connection: &Connection, records: impl IntoIterator<Item = Record>) {
    let mut head = audit::Head::load(connection).unwrap();
    let whole = connection.unchecked_transaction().unwrap();
    for record in records {
        insert::insert(&whole, &mut head, &Counters::default(), &record).unwrap();
    }
    whole.commit().unwrap();
}

/// All of a list, a few at a time; every page tells the same total.
fn all<Q: Query + Clone>(connection: &Connection, query: &Q, at: impl Fn(&mut Q) -> &mut Window) -> Vec<Q::Item> {
    let (mut query, mut items, mut total) = (query.clone(), Vec::new(), None);
    at(&mut query).limit = 7;
    loop {
        let page = plan::page(connection, &query).unwrap();
        assert_eq!(*total.get_or_insert(page.total), page.total);
        items.extend(page.items);
        at(&mut query).cursor = page.next_cursor;
        if at(&mut query).cursor.is_none() {
            assert_eq!(total, Some(items.len() as u64));
            return items;
        }
    }
}

const SEVERITIES: [Severity; 3] = [Severity::Low, Severity::Medium, Severity::High];
const DETECTORS: [Detector; 3] = [Detector::PortScan, Detector::Feed, Detector::SynFlood];
const SOURCES: [&str; 5] = [
    "198.51.100.1",
    "198.51.100.7",
    "198.51.101.1",
    "2001:db8::1",
    "203.0.113.9",
];
const NETS: [&str; 5] = [
    "198.51.100.1/32",
    "198.51.100.0/24",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
];
const MINUTE: i64 = 60_000_000_000;

/// Any of a few, or none said.
fn maybe<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = Option<T>> {
    prop::option::of(prop::sample::select(of))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn alerts_are_those_that_the_filter_names(
        each in prop::collection::vec((-90_i64..400, 0..3_usize, 0..3_usize, 0..6_usize), 1..120),
        severity in prop::sample::subsequence(&SEVERITIES[..], 0..=2),
        detector in prop::sample::subsequence(&DETECTORS[..], 0..=2),
        net in maybe(&NETS),
        since in prop::option::of(-100_i64..420),
    ) {
        let (_directory, connection) = database();
        let mut mint = Mint::Counted(0);
        let alerts: Vec<Arc<Alert>> = each.iter().map(|(minute, severity, detector, source)| {
            let mut one = Alert::clone(&alert(&mut mint, 0, SOURCES[0]));
            one.at = Timestamp(minute * MINUTE);
            one.severity = SEVERITIES[*severity];
            one.detector = DETECTORS[*detector];
            one.source = SOURCES.get(*source).map(|source| source.parse().unwrap());
            Arc::new(one)
        }).collect();
        write(&connection, alerts.iter().cloned().map(Record::Alert));
        // One that is there already is left as it is, and counted once.
        write(&connection, alerts.iter().take(3).cloned().map(Record::Alert));
        let ip: Option<IpNet> = net.map(|net| net.parse().unwrap());
        let since = since.map(|minute| Timestamp(minute * MINUTE));
        let filter = AlertFilter { window: Window { since, ..Window::default() }, ip, severity, detector };
        let within = |one: &Alert| filter.ip.is_none_or(|net| one.source.is_some_and(|ip| {
            let (low, high) = insert::range(net);
            (low..=high).contains(&insert::ordered(ip))
        }));
        let wanted: Vec<Alert> = alerts.iter().rev().filter(|one| {
            within(one)
                && since.is_none_or(|since| one.at >= since)
                && (filter.severity.is_empty() || filter.severity.contains(&one.severity))
                && (filter.detector.is_empty() || filter.detector.contains(&one.detector))
        }).map(|one| Alert::clone(one)).collect();
        prop_assert_eq!(all(&connection, &filter, |f| &mut f.window), wanted);
    }

    #[test]
    fn decisions_are_those_that_the_filter_names(
        each in prop::collection::vec((0_i64..400, 0..8_usize, any::<bool>(), 0..4_usize, any::<bool>()), 1..80),
        net in maybe(&["198.51.100.7/32", "198.51.100.0/24", "198.51.0.0/16", "0.0.0.0/0", "::/0", "2001:db8::1/128"]),
        active in prop::option::of(any::<bool>()),
        simulated in any::<bool>(),
        since in prop::option::of(0_i64..420),
        told_apart in any::<bool>(),
        asked in prop::sample::subsequence(vec![0_u128, 1, 2], 0..=2),
    ) {
        const TARGETS: [&str; 8] = [
            "198.51.100.7/32", "198.51.100.0/24", "198.51.100.0/28", "198.51.0.0/16", "0.0.0.0/1", "2001:db8::1/128",
            "2001:db8::/32", "203.0.113.1/32",
        ];
        const STATES: [DecisionStatus; 4] =
            [DecisionStatus::Active, DecisionStatus::Active, DecisionStatus::Expired, DecisionStatus::Vetoed];
        let (_directory, connection) = database();
        let mut mint = Mint::Counted(0);
        let mut decisions: Vec<Decision> = each.iter().map(|(minute, target, simulated, state, _)| {
            let mut one = Decision::clone(&decision(&mut mint, 0, TARGETS[*target], STATES[*state]));
            (one.at, one.simulated) = (Timestamp(minute * MINUTE), *simulated);
            one.alert = (*target < 6).then(|| AlertId(uuid::Uuid::from_u128(*target as u128 % 3)));
            one
        }).collect();
        write(&connection, decisions.iter().cloned().map(|one| Record::Decision(Arc::new(one))));
        if told_apart {
            let mut ended = Vec::new();
            for (one, (.., ends)) in decisions.iter_mut().zip(&each) {
                if *ends && one.status == DecisionStatus::Active {
                    (one.status, one.ended_at) = (DecisionStatus::Deleted, Some(Timestamp(5)));
                    ended.push(EndedOne { decision: one.id, watch_until: None, hits: 0, would_hits: 0 });
                }
            }
            let (at, status, by) = (Timestamp(5), DecisionStatus::Deleted, "operator".to_owned());
            write(&connection, [Record::Ended(Arc::new(Ended { at, status, by, each: ended }))]);
        }
        let ip: Option<IpNet> = net.map(|net| net.parse().unwrap());
        let since = since.map(|minute| Timestamp(minute * MINUTE));
        let window = Window { since, ..Window::default() };
        let alert: Vec<AlertId> = asked.into_iter().map(|n| AlertId(uuid::Uuid::from_u128(n))).collect();
        let filter = DecisionFilter { window, ip, active, watched: false, simulated, alert };
        let wanted: Vec<Decision> = decisions.iter().rev().filter(|one| {
            let (low, high) = insert::range(one.target);
            ip.is_none_or(|net| { let (first, last) = insert::range(net); low <= last && high >= first })
                && since.is_none_or(|since| one.at >= since)
                && active.is_none_or(|active| (one.status == DecisionStatus::Active) == active)
                && (!simulated || one.simulated && one.status != DecisionStatus::Vetoed)
                && (filter.alert.is_empty() || one.alert.is_some_and(|id| filter.alert.contains(&id)))
        }).cloned().collect();
        prop_assert_eq!(all(&connection, &filter, |f| &mut f.window), wanted);
    }
}

/// What SQLite says it does for a statement.
fn explained(connection: &Connection, sql: &str, clauses: &filter::Clauses) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.query_map(clauses.values(), |row| row.get(3)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// Neither goes through a table row by row, nor sorts but where few are to be sorted.
fn quick<Q: Query>(connection: &Connection, query: &Q, may_sort: bool) {
    let plan = query.plan(connection).unwrap();
    for part in &plan.counted {
        let sql = plan::count_sql(Q::TABLE, part);
        for step in explained(connection, &sql, &part.clauses) {
            let whole = step.starts_with("SCAN") && !step.contains("COVERING INDEX") && !step.contains("USING INDEX");
            assert!(!whole, "{sql}: {step}");
        }
    }
    for part in &plan.rows {
        let mut part = part.clone();
        part.clauses.and("seq < ?", [rusqlite::types::Value::Integer(i64::MAX)]);
        let sql = plan::rows_sql(Q::TABLE, &part, 101);
        for step in explained(connection, &sql, &part.clauses) {
            assert!(
                !step.starts_with("SCAN") || step.contains("CONSTANT ROW"),
                "{sql}: {step}"
            );
            assert!(may_sort || !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}

#[test]
fn no_list_that_is_polled_goes_through_a_whole_table() {
    let (_directory, connection) = database();
    let mut mint = Mint::Counted(0);
    write(
        &connection,
        (0..1200).map(|n| Record::Alert(alert(&mut mint, n, SOURCES[(n % 2) as usize]))),
    );
    let window = |since: Option<i64>| Window {
        since: since.map(Timestamp),
        ..Window::default()
    };
    let (some, hours) = (Some("198.51.100.1/32".parse().unwrap()), [None, Some(600_000_000_000)]);
    for since in hours {
        let alerts = AlertFilter {
            window: window(since),
            ..AlertFilter::default()
        };
        quick(&connection, &alerts, false);
        for (severity, detector) in [
            (vec![Severity::High], vec![]),
            (vec![Severity::High, Severity::Low], vec![]),
            (vec![], vec![Detector::PortScan]),
            (vec![Severity::High], vec![Detector::PortScan]),
        ] {
            let of_kind = AlertFilter {
                severity,
                detector,
                ..alerts.clone()
            };
            quick(&connection, &of_kind, false);
            // Up to a thousand of one source are sorted.
            quick(&connection, &AlertFilter { ip: some, ..of_kind }, true);
        }
        quick(
            &connection,
            &AlertFilter {
                ip: Some("198.51.0.0/16".parse().unwrap()),
                ..alerts
            },
            false,
        );

        let found = InvestigationFilter {
            window: window(since),
            ..InvestigationFilter::default()
        };
        quick(&connection, &found, false);
        quick(
            &connection,
            &InvestigationFilter {
                level: vec![Severity::High, Severity::Low],
                ..found.clone()
            },
            false,
        );
        quick(
            &connection,
            &InvestigationFilter {
                ip: some,
                ..found.clone()
            },
            true,
        );
        quick(
            &connection,
            &InvestigationFilter {
                alert: Some(mint.alert(Timestamp(0))),
                ..found
            },
            false,
        );

        let decisions = DecisionFilter {
            window: window(since),
            ..DecisionFilter::default()
        };
        for active in [None, Some(true), Some(false)] {
            quick(
                &connection,
                &DecisionFilter {
                    active,
                    ..decisions.clone()
                },
                false,
            );
            quick(
                &connection,
                &DecisionFilter {
                    active,
                    ip: some,
                    ..decisions.clone()
                },
                true,
            );
        }
        quick(
            &connection,
            &DecisionFilter {
                alert: vec![mint.alert(Timestamp(0)), mint.alert(Timestamp(1))],
                ..decisions.clone()
            },
            // As many as followed from a hundred alerts.
            true,
        );
        quick(
            &connection,
            &DecisionFilter {
                watched: true,
                ..decisions.clone()
            },
            false,
        );
        quick(
            &connection,
            &DecisionFilter {
                simulated: true,
                ..decisions
            },
            false,
        );

        let actions = ActionFilter {
            window: window(since),
            ..ActionFilter::default()
        };
        quick(&connection, &actions, false);
        quick(
            &connection,
            &ActionFilter {
                status: Some(ActionStatus::Enforced),
                ..actions.clone()
            },
            false,
        );
        quick(
            &connection,
            &ActionFilter {
                ip: some,
                ..actions.clone()
            },
            true,
        );
        quick(
            &connection,
            &ActionFilter {
                decision: Some(mint.decision(Timestamp(0))),
                ..actions
            },
            false,
        );
        quick(&connection, &AuditFilter { window: window(since) }, false);
    }
}

#[test]
fn what_a_database_of_before_holds_is_counted() {
    let (_directory, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut mint = Mint::Counted(0);
    let old = alert(&mut mint, 7200, "198.51.100.1");
    {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "application_id", 0x5345_4e54).unwrap();
        connection
            .execute_batch(include_str!("../migrations/0001.sql"))
            .unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute(
                "INSERT INTO alerts (id, at, detector, severity, json) VALUES (?1, ?2, 'port_scan', 'high', ?3)",
                rusqlite::params![old.id.0.as_bytes(), old.at.0, serde_json::to_string(&*old).unwrap()],
            )
            .unwrap();
    }
    let connection = schema::open_writer(&path).unwrap();
    write(&connection, [Record::Alert(alert(&mut mint, 7201, "198.51.100.1"))]);
    for since in [None, Some(Timestamp(7200 * 1_000_000_000)), Some(Timestamp(0))] {
        let window = Window {
            since,
            ..Window::default()
        };
        let filter = AlertFilter {
            window,
            severity: vec![Severity::High],
            ..AlertFilter::default()
        };
        assert_eq!(plan::page(&connection, &filter).unwrap().total, 2);
    }
    connection
        .execute("DELETE FROM alerts WHERE id = ?1", [old.id.0.as_bytes()])
        .unwrap();
    assert_eq!(plan::page(&connection, &AlertFilter::default()).unwrap().total, 1);
}
