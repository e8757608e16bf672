//! Figures of a period against what was put in.

use super::*;
use crate::store::{BySeverity, Count, Times, figures, insert};
use crate::types::{Ended, EndedOne, Hits, Service, Tally as ShadowTally, Veto};

const HOUR: i64 = 3_600_000_000_000;

fn write(connection: &Connection, records: Vec<Record>) {
    let mut head = audit::Head::load(connection).unwrap();
    for record in records {
        insert::insert(connection, &mut head, &Counters::default(), &record).unwrap();
    }
    head.save(connection).unwrap();
}

#[test]
fn they_are_those_of_the_period_and_of_nothing_else() {
    let directory = TempDir::new().unwrap();
    let connection = schema::open_writer(&directory.path().join("s.db")).unwrap();
    let mut mint = Mint::Counted(0);
    let mut said = |hour: i64, source: Option<&str>, severity, family| {
        let mut one = Alert::clone(&alert(&mut mint, hour * 3600 + 60, "198.51.100.1"));
        one.source = source.map(|source| source.parse().unwrap());
        (one.severity, one.family) = (severity, family);
        one.targets = vec![Service {
            ip: [192, 0, 2, 1].into(),
            port: 22,
            proto: 6,
        }];
        Arc::new(one)
    };
    let early = said(99, Some("198.51.100.1"), Severity::High, Family::Scan);
    let first = said(100, Some("198.51.100.1"), Severity::High, Family::Scan);
    let alerts = [
        early.clone(),
        first.clone(),
        said(101, Some("198.51.100.1"), Severity::Low, Family::Flood),
        // Came late: older than the period, by arrival within it.
        said(50, Some("198.51.100.1"), Severity::High, Family::Scan),
        said(103, Some("2001:db8::1"), Severity::Medium, Family::Scan),
        said(103, None, Severity::Low, Family::Flood),
    ];
    write(&connection, alerts.iter().cloned().map(Record::Alert).collect());
    let mut found = investigation(&first, Severity::High, 2);
    (found.country, found.network) = (Some("NL".into()), Some("AS64500".into()));
    found.answers = vec![crate::types::Answer {
        source: "otx".into(),
        indicator: None,
        result: "quota".into(),
        reason: String::new(),
        took_ms: 0,
    }];
    write(&connection, vec![Record::Investigation(Arc::new(found))]);

    let mut mint = Mint::Counted(1000);
    let mut decide = |hour: i64, status, simulated, of: Option<&Alert>| {
        let mut one = Decision::clone(&decision(&mut mint, hour * 3600 + 61, "198.51.100.1/32", status));
        (one.simulated, one.alert) = (simulated, of.map(|alert| alert.id));
        one
    };
    let real = decide(100, DecisionStatus::Active, false, Some(&first));
    let simulated = decide(101, DecisionStatus::Active, true, None);
    let mut refused = decide(101, DecisionStatus::Vetoed, false, Some(&first));
    refused.veto = Some(Veto {
        guard: "allowlist".into(),
        reason: "x".into(),
    });
    let ended = decide(102, DecisionStatus::Active, false, None);
    let before = decide(99, DecisionStatus::Active, false, Some(&early));
    let mut mint = Mint::Counted(2000);
    let mut done = Action::clone(&action(&mut mint, &real));
    done.entered_at = Some(first.at.after(Duration::from_millis(1500)));
    // Told anew since, as after a restart.
    done.outcome_at = Some(first.at.after(Duration::from_mins(9)));
    let over = action(&mut mint, &ended);
    let mut records: Vec<Record> = [&real, &simulated, &refused, &ended, &before]
        .map(|d| Record::Decision(Arc::new(d.clone())))
        .to_vec();
    records.extend([Record::Action(Arc::new(done)), Record::Action(over)]);
    records.push(Record::Tally(Arc::new(ShadowTally {
        decision: real.id,
        at: first.at,
        hits: Hits {
            first_hit: Some(first.at.after(Duration::from_millis(2500))),
            ..Hits::default()
        },
        seen: Hits::default(),
    })));
    let each = vec![EndedOne {
        decision: ended.id,
        watch_until: None,
        hits: 9,
        would_hits: 0,
    }];
    let (at, by) = (Timestamp(103 * HOUR), "operator by alice".to_owned());
    records.push(Record::Ended(Arc::new(Ended {
        at,
        status: DecisionStatus::Deleted,
        by,
        each,
    })));
    records.push(audit(1));
    write(&connection, records);

    let (since, until) = (Timestamp(100 * HOUR + 7), Timestamp(104 * HOUR));
    let told = figures::of(&connection, since, until).unwrap();
    assert_eq!(
        (told.since, told.until),
        (Timestamp(100 * HOUR), until),
        "from the full hour on"
    );
    assert_eq!(told.records_since, Some(Timestamp(1)));
    assert_eq!(
        told.alerts.all,
        BySeverity {
            low: 2,
            medium: 1,
            high: 1
        }
    );
    let by_hour: Vec<u64> = told.alerts.over_time.iter().map(|step| step.alerts.total()).collect();
    assert_eq!((told.alerts.step_seconds, by_hour), (3600, vec![1, 1, 0, 2]));
    let sources: Vec<_> = told
        .alerts
        .sources
        .iter()
        .map(|one| (one.ip.to_string(), one.count))
        .collect();
    assert_eq!(sources, [("198.51.100.1".to_owned(), 2), ("2001:db8::1".to_owned(), 1)]);
    assert_eq!(told.alerts.sources[0].network.as_deref(), Some("AS64500"));
    let count = |name: &str, count| Count {
        name: name.to_owned(),
        count,
    };
    assert_eq!(
        (told.alerts.read, &told.alerts.families),
        (4, &vec![count("flood", 2), count("scan", 2)])
    );
    assert_eq!((told.alerts.targets.len(), told.alerts.targets[0].count), (1, 4));
    assert_eq!((told.investigations.total, told.investigations.by_risk.high), (1, 1));
    assert_eq!(told.investigations.sources[0].silent, [count("quota", 1)]);
    let decisions: Vec<_> = told
        .decisions
        .iter()
        .map(|one| (one.status.as_str(), one.simulated, one.count))
        .collect();
    assert_eq!(
        decisions,
        [
            ("active", false, 1),
            ("active", true, 1),
            ("deleted", false, 1),
            ("vetoed", false, 1)
        ]
    );
    let actions: Vec<_> = told
        .actions
        .iter()
        .map(|one| (one.status.as_str(), one.count, one.packets))
        .collect();
    assert_eq!(actions, [("enforced", 1, 3), ("reverted", 1, 9)]);
    let begun: Vec<_> = told
        .actions_over_time
        .iter()
        .map(|step| (step.real, step.simulated))
        .collect();
    assert_eq!(begun, [(1, 0), (0, 0), (1, 0), (0, 0)], "by the hour");
    assert_eq!(told.vetoes, [count("allowlist", 1)]);
    let back = &told.taken_back;
    assert_eq!(
        (back.len(), back[0].at, back[0].outcome.as_deref()),
        (1, Some(at), Some("operator by alice"))
    );
    let ms = |times: Option<Times>| times.map(|times| (times.of, times.p50_ms));
    assert_eq!(ms(told.response.to_outcome), Some((1, 1500.0)));
    assert_eq!(ms(told.response.to_first_packet), Some((1, 2500.0)));
    assert_eq!(
        (told.audit.intact, told.audit.of_period, told.audit.broken.as_deref()),
        (1, 0, None)
    );

    // The same after the end is worked in.
    while crate::store::ends::fold(&connection, 100).unwrap() {}
    let folded = figures::of(&connection, since, until).unwrap();
    assert_eq!((&folded.decisions, &folded.actions), (&told.decisions, &told.actions));
    let nothing = figures::of(&connection, Timestamp(500 * HOUR), Timestamp(600 * HOUR)).unwrap();
    assert_eq!(
        (nothing.alerts.all.total(), nothing.alerts.read, nothing.decisions.len()),
        (0, 0, 0)
    );
    assert_eq!(nothing.alerts.over_time.len(), 5, "by the day beyond three days");
}

#[tokio::test]
async fn one_period_is_counted_at_a_time() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let turn = running.store.counting.clone().try_acquire_owned().unwrap();
    let (since, until) = (Timestamp(0), Timestamp(HOUR));
    assert!(matches!(
        running.store.figures(since, until).await,
        Err(StoreError::Busy)
    ));
    drop(turn);
    assert_eq!(running.store.figures(since, until).await.unwrap().alerts.all.total(), 0);
}
