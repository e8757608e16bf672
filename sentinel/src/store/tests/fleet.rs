//! What a fleet shares: noted with whatever changes it, once for each subject, and never in its way.

use super::*;
use crate::types::{Allowed, Ended, EndedOne, FleetBooks, FleetLocal, FleetWord};

fn allowed(target: &str) -> Record {
    Record::Allow(Arc::new(Allowed {
        target: target.parse().unwrap(),
        comment: "ours".to_owned(),
        actor: "joe".to_owned(),
        at: Timestamp(1),
        expires_at: None,
    }))
}

fn word(subject: &str, version: &str, sent: bool) -> FleetWord {
    FleetWord {
        subject: subject.to_owned(),
        version: version.to_owned(),
        body: "{}".to_owned(),
        mac: "00".to_owned(),
        at: Timestamp(5),
        ends_at: Timestamp(100),
        sent,
    }
}

async fn subjects(store: &Store) -> Vec<String> {
    let changes = store.fleet_changes(100).await.unwrap();
    changes.into_iter().map(|change| change.subject).collect()
}

#[tokio::test]
async fn what_changes_is_noted_with_it_and_once() {
    let (_dir, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let first = decision(&mut mint, 1, "192.0.2.1/32", DecisionStatus::Active);
    let second = decision(&mut mint, 2, "2001:db8::/64", DecisionStatus::Active);
    let vetoed = decision(&mut mint, 2, "192.0.2.9/32", DecisionStatus::Vetoed);
    let keep = |records: Vec<Record>| async { store.commit(records).await.unwrap() };
    keep(vec![Record::Decision(first.clone()), allowed("192.0.2.7/32")]).await;
    assert!(subjects(store).await.is_empty(), "a node alone notes nothing");

    keep(vec![Record::Fleet(true)]).await;
    assert_eq!(
        subjects(store).await,
        ["d192.0.2.1/32", "a192.0.2.7/32"],
        "what was before"
    );
    // Twice before anybody looked: neither is refused, and it is one change.
    for _ in 0..2 {
        keep(vec![
            Record::Decision(second.clone()),
            Record::Decision(first.clone()),
            Record::Decision(vetoed.clone()),
            allowed("192.0.2.7/32"),
        ])
        .await;
    }
    assert_eq!(store.tally().rejected, 0);
    let told = ["d2001:db8::/64", "d192.0.2.1/32", "a192.0.2.7/32"];
    let mut noted = subjects(store).await;
    assert!(noted.len() >= 3, "{noted:?}");
    noted.retain(|subject| subject != "d192.0.2.9/32");
    assert_eq!(noted, told);

    let changes = store.fleet_changes(100).await.unwrap();
    let FleetLocal::Decision(Some(found)) = &changes[0].local else {
        panic!("{:?}", changes[0]);
    };
    assert_eq!((&*found.decision, found.sure, found.enforced), (&*second, None, false));
    let seen = changes
        .iter()
        .map(|change| (change.subject.clone(), change.seq))
        .collect();
    // One of them changes while they are looked at.
    keep(vec![Record::Decision(first.clone())]).await;
    keep(vec![Record::FleetBooks(Box::new(FleetBooks {
        seen,
        ..FleetBooks::default()
    }))])
    .await;
    assert_eq!(subjects(store).await, ["d192.0.2.1/32"], "it is looked at once more");

    // Ends that are told apart from their rows, and what is taken off the list.
    let ended = Ended {
        at: Timestamp(9_000_000_000),
        status: DecisionStatus::Deleted,
        by: "operator by joe".to_owned(),
        each: vec![EndedOne {
            decision: second.id,
            watch_until: None,
            hits: 0,
            would_hits: 0,
        }],
    };
    keep(vec![
        Record::Ended(Arc::new(ended)),
        Record::Disallow("192.0.2.7/32".parse().unwrap()),
    ])
    .await;
    let changes = store.fleet_changes(100).await.unwrap();
    let of = |subject: &str| changes.iter().find(|change| change.subject == subject).expect(subject);
    let FleetLocal::Decision(Some(found)) = &of("d2001:db8::/64").local else {
        panic!("{changes:?}");
    };
    assert_eq!(found.decision.status, DecisionStatus::Deleted);
    assert_eq!(of("a192.0.2.7/32").local, FleetLocal::Allowed(None));

    keep(vec![Record::Fleet(false), Record::Decision(first)]).await;
    assert!(subjects(store).await.is_empty(), "alone again");
    assert_eq!(store.tally().rejected, 0);
}

#[tokio::test]
async fn an_entry_of_the_allowlist_that_cannot_be_read_is_not_told_as_taken_off() {
    let (_dir, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let records = vec![Record::Fleet(true), allowed("192.0.2.7/32")];
    store.commit(records).await.unwrap();
    let broken = Connection::open(&path).unwrap();
    broken.execute("UPDATE allowlist SET json = '{'", []).unwrap();
    let changes = store.fleet_changes(100).await;
    assert!(matches!(changes, Err(StoreError::Read(_))), "{changes:?}");
}

#[tokio::test]
async fn the_latest_word_is_kept_and_what_waits_is_told_in_order() {
    let (_dir, path) = place();
    let books = |books: FleetBooks| vec![Record::FleetBooks(Box::new(books))];
    {
        let running = Running::at(&path);
        let store = &running.store;
        let words = vec![word("da", "2", false), word("db", "1", false), word("dc", "3", true)];
        let first = FleetBooks {
            words,
            position: Some("7-0".to_owned()),
            ..FleetBooks::default()
        };
        store.commit(books(first)).await.unwrap();
        let older = FleetBooks {
            words: vec![word("da", "1", true)],
            ..FleetBooks::default()
        };
        store.commit(books(older)).await.unwrap();
    }
    let running = Running::at(&path);
    let store = &running.store;
    let (waiting, total) = store.fleet_unsent(1).await.unwrap();
    assert_eq!((waiting[0].subject.as_str(), waiting.len(), total), ("db", 1, 2));
    assert_eq!(store.fleet_position().await.unwrap(), Some("7-0".to_owned()));
    assert_eq!(store.fleet_words_after(String::new(), 9).await.unwrap().len(), 3);
    let known = store.fleet_words(vec!["da".into(), "dz".into()]).await.unwrap();
    assert_eq!((known.len(), known[0].version.as_str(), known[0].sent), (1, "2", false));
    let sent = FleetBooks {
        sent: vec![("da".into(), "2".into()), ("db".into(), "9".into())],
        ..FleetBooks::default()
    };
    store.commit(books(sent)).await.unwrap();
    let (waiting, total) = store.fleet_unsent(9).await.unwrap();
    assert_eq!(
        (waiting[0].subject.as_str(), total),
        ("db", 1),
        "another version of it was told"
    );
    let after = store.fleet_words_after("da".to_owned(), 9).await.unwrap();
    assert_eq!(after.len(), 2);
    let forget = FleetBooks {
        forget: Some(Timestamp(101)),
        ..FleetBooks::default()
    };
    store.commit(books(forget)).await.unwrap();
    assert_eq!(store.fleet_words_after(String::new(), 9).await.unwrap().len(), 0);
}
