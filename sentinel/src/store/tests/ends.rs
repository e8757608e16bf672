//! Ends kept together: every reader sees them at once, and the same after they are worked in.

use super::*;
use crate::store::{ends, insert, plan, read};
use crate::types::{Ended, EndedOne, Ending};
use proptest::prelude::*;

/// A connection with nothing behind it but the schema.
fn database() -> (TempDir, Connection) {
    let dir = TempDir::new().unwrap();
    let connection = schema::open_writer(&dir.path().join("s.db")).unwrap();
    (dir, connection)
}

fn write(connection: &Connection, record: &Record) {
    let mut head = audit::Head::load(connection).unwrap();
    insert::insert(connection, &mut head, &Counters::default(), record).unwrap();
}

type Seen = (
    Vec<Decision>,
    Vec<Vec<Decision>>,
    Vec<Vec<Action>>,
    Vec<(IpNet, u32, Timestamp)>,
);

/// All that readers tell.
fn seen(connection: &Connection) -> Seen {
    let decisions = |active, watched| {
        let query = DecisionFilter {
            active,
            watched,
            ..Default::default()
        };
        let page = plan::page(connection, &query).unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        page.items
    };
    let actions = |status| {
        let query = ActionFilter {
            status,
            ..Default::default()
        };
        let page = plan::page(connection, &query).unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        assert!(status.is_none_or(|status| page.items.iter().all(|action| action.status == status)));
        page.items
    };
    let all = decisions(None, false);
    for decision in &all {
        assert_eq!(
            read::by_id::<DecisionFilter>(connection, decision.id.0)
                .unwrap()
                .as_ref(),
            Some(decision)
        );
    }
    let in_force = decisions(Some(true), false);
    assert!(in_force.iter().all(|d| d.status == DecisionStatus::Active));
    let mut oldest_first = read::active(connection).unwrap();
    oldest_first.reverse();
    assert_eq!(oldest_first, in_force);
    let mut watched = read::watched(connection).unwrap();
    watched.reverse();
    assert_eq!(watched, decisions(None, true));
    let statuses = [
        None,
        Some(ActionStatus::Intent),
        Some(ActionStatus::Enforced),
        Some(ActionStatus::Simulated),
        Some(ActionStatus::Failed),
        Some(ActionStatus::Reverted),
        Some(ActionStatus::Expired),
    ];
    let ids: Vec<DecisionId> = all.iter().map(|d| d.id).collect();
    let mut actions: Vec<Vec<Action>> = statuses.into_iter().map(actions).collect();
    actions.push(read::actions_of(connection, &ids).unwrap());
    (
        all,
        vec![in_force, decisions(Some(false), false), watched],
        actions,
        read::offenders(connection, Timestamp(0), 100).unwrap(),
    )
}

#[derive(Clone, Debug)]
enum Step {
    /// Decide on one of few targets.
    Decide(u8),
    /// End some of those in force.
    End { which: u8, expired: bool, watch: bool },
    /// Write one anew, as it is known.
    Again(u8),
    /// A probation is over.
    Unwatch(u8),
    /// Work some in.
    Fold(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Decide),
        3 => (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(which, expired, watch)| Step::End { which, expired, watch }),
        2 => any::<u8>().prop_map(Step::Again),
        2 => any::<u8>().prop_map(Step::Unwatch),
        1 => any::<u8>().prop_map(Step::Fold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn readers_see_the_same_before_and_after_and_as_if_each_had_been_written_by_itself(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let (_a, together) = database();
        let (_b, singly) = database();
        let mut mint = Mint::Counted(0);
        let mut known: Vec<(Decision, Vec<Action>)> = Vec::new();
        let mut second = 0;
        for step in steps {
            second += 1;
            match step {
                Step::Decide(n) => {
                    let mut of = decision(&mut mint, second, &format!("192.0.2.{}/32", n % 4), DecisionStatus::Active).as_ref().clone();
                    let mut actions = vec![action(&mut mint, &of).as_ref().clone()];
                    if n % 3 == 0 {
                        of.action = ActionKind::IsolateContainer;
                        let mut cut = actions[0].clone();
                        cut.id = mint.action(of.at);
                        cut.kind = ActionKind::IsolateContainer;
                        actions.push(cut);
                    }
                    for base in [&together, &singly] {
                        write(base, &Record::Decision(Arc::new(of.clone())));
                        for action in &actions {
                            write(base, &Record::Action(Arc::new(action.clone())));
                        }
                    }
                    known.push((of, actions));
                }
                Step::End { which, expired, watch } => {
                    let at = Timestamp(second * 1_000_000_000);
                    let status = if expired { DecisionStatus::Expired } else { DecisionStatus::Deleted };
                    let by = "operator by api".to_owned();
                    let mut each = Vec::new();
                    let going = known.iter_mut().enumerate().filter(|(n, (d, _))| d.status == DecisionStatus::Active && !(*n as u8 ^ which).is_multiple_of(3));
                    for (n, (of, actions)) in going {
                        let watch_until = watch.then(|| at.after(Duration::from_mins(n as u64)));
                        let ending = Ending { at, status, by: by.clone(), watch_until, hits: n as u64, would_hits: 1 };
                        each.push(EndedOne { decision: of.id, watch_until, hits: ending.hits, would_hits: 1 });
                        ending.end(of);
                        write(&singly, &Record::Decision(Arc::new(of.clone())));
                        for action in actions {
                            ending.end_action(action);
                            write(&singly, &Record::Action(Arc::new(action.clone())));
                        }
                    }
                    write(&together, &Record::Ended(Arc::new(Ended { at, status, by, each })));
                }
                Step::Again(n) => {
                    if let Some((of, actions)) = known.get(usize::from(n)) {
                        for base in [&together, &singly] {
                            write(base, &Record::Action(Arc::new(actions[0].clone())));
                            write(base, &Record::Decision(Arc::new(of.clone())));
                        }
                    }
                }
                Step::Unwatch(n) => {
                    if let Some((of, _)) = known.get_mut(usize::from(n) % 16) {
                        of.terms.watch_until = None;
                        for base in [&together, &singly] {
                            write(base, &Record::Decision(Arc::new(of.clone())));
                        }
                    }
                }
                Step::Fold(n) => {
                    ends::fold(&together, usize::from(n % 4) + 1).unwrap();
                }
            }
        }
        let expected = seen(&singly);
        prop_assert_eq!(&seen(&together), &expected);
        while ends::fold(&together, 3).unwrap() {}
        prop_assert_eq!(&seen(&together), &expected);
        let left: i64 = together.query_row("SELECT (SELECT count(*) FROM ends) + (SELECT count(*) FROM endings)", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn the_writer_works_them_in_by_itself_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s.db");
    let mut mint = Mint::Counted(0);
    let ended = {
        let (store, writer) = Store::open(&path).unwrap();
        let thread = std::thread::spawn(move || writer.run());
        let of: Vec<_> = (0..2000)
            .map(|n| decision(&mut mint, n, "192.0.2.1/32", DecisionStatus::Active))
            .collect();
        let records = of.iter().map(|d| Record::Decision(Arc::clone(d))).collect();
        store.commit(records).await.unwrap();
        let ended = Ended {
            at: Timestamp(5),
            status: DecisionStatus::Deleted,
            by: "operator by api".into(),
            each: of
                .iter()
                .map(|d| EndedOne {
                    decision: d.id,
                    watch_until: None,
                    hits: 0,
                    would_hits: 0,
                })
                .collect(),
        };
        store
            .commit(vec![Record::Ended(Arc::new(ended.clone()))])
            .await
            .unwrap();
        // At once, whatever is worked in by now.
        assert_eq!(store.active_decisions().await.unwrap(), Vec::new());
        store.close();
        thread.join().unwrap();
        ended
    };
    let (store, writer) = Store::open(&path).unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let looking = schema::open_reader(&path).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let left = || -> i64 {
        looking
            .query_row("SELECT count(*) FROM ends", [], |row| row.get(0))
            .unwrap()
    };
    while left() > 0 {
        assert!(Instant::now() < deadline, "{} are left", left());
        std::thread::sleep(Duration::from_millis(10));
    }
    let word: String = looking
        .query_row(
            "SELECT status FROM decisions WHERE id = ?1",
            [ended.each[1999].decision.0.as_bytes()],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(word, "deleted");
    store.close();
    thread.join().unwrap();
}
