//! What programs are told that carry our decisions out elsewhere.

use super::*;
use crate::types::{Bouncer, Ended, EndedOne, TokenId, Told};

fn asks(token: &str, change: i64) -> Record {
    let told = Told { change, acting: true };
    Record::Bouncer(Box::new(Bouncer {
        token: TokenId(token.to_owned()),
        before: told,
        last: told,
    }))
}

async fn told(store: &Store, since: i64) -> (i64, Vec<(i64, DecisionStatus, bool)>) {
    let changes = store.changes_since(since, 100).await.unwrap();
    assert!(!changes.cut);
    let each = changes.each.iter();
    let each = each.map(|change| (change.now.number, change.now.decision.status, change.came));
    (changes.latest, each.collect())
}

fn ended(decision: &Decision) -> Record {
    Record::Ended(Arc::new(Ended {
        at: decision.at.after(Duration::from_secs(1)),
        status: DecisionStatus::Deleted,
        by: "operator".into(),
        each: vec![EndedOne {
            decision: decision.id,
            watch_until: None,
            hits: 0,
            would_hits: 0,
        }],
    }))
}

#[tokio::test]
async fn nothing_is_noted_while_nobody_is_told() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let first = decision(&mut mint, 1, "203.0.113.1/32", DecisionStatus::Active);
    store.commit(vec![Record::Decision(first.clone())]).await.unwrap();
    assert_eq!(told(store, 0).await, (0, vec![]));
    assert_eq!(store.bouncer(TokenId("a".into())).await.unwrap(), None);
    let (latest, all) = store.in_force(None).await.unwrap();
    assert_eq!((latest, all.len(), all[0].number), (0, 1, 1));

    store.commit(vec![asks("a", 0)]).await.unwrap();
    store.commit(vec![ended(&first)]).await.unwrap();
    let (_, each) = told(store, 0).await;
    assert_eq!(each, [(1, DecisionStatus::Deleted, false)], "it was there before");
    assert_eq!(store.in_force(None).await.unwrap().1, []);
}

#[tokio::test]
async fn every_change_is_told_once_more_to_whoever_has_not_heard_of_it() {
    let (_directory, path) = place();
    let mut mint = Mint::Counted(0);
    let one = decision(&mut mint, 1, "203.0.113.1/32", DecisionStatus::Active);
    let two = decision(&mut mint, 2, "203.0.113.0/24", DecisionStatus::Active);
    let latest = {
        let running = Running::at(&path);
        let store = &running.store;
        store.commit(vec![asks("a", 0)]).await.unwrap();
        store
            .commit(vec![Record::Decision(one.clone()), Record::Decision(two.clone())])
            .await
            .unwrap();
        let (latest, each) = told(store, 0).await;
        let active = DecisionStatus::Active;
        assert_eq!(each, [(1, active, true), (2, active, true)]);
        // The same again is no change.
        store.commit(vec![Record::Decision(one.clone())]).await.unwrap();
        assert_eq!(told(store, latest).await, (latest, vec![]));
        latest
    };
    // Over a restart.
    let running = Running::at(&path);
    let store = &running.store;
    let mut longer = Decision::clone(&one);
    longer.expires_at = Some(one.at.after(Duration::from_hours(1)));
    store.commit(vec![Record::Decision(Arc::new(longer))]).await.unwrap();
    let (_, each) = told(store, latest).await;
    assert_eq!(each, [(1, DecisionStatus::Active, false)]);
    // Whoever heard of nothing hears of both, the changed one last.
    let numbers: Vec<i64> = told(store, 0).await.1.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [2, 1]);
    let cut = store.changes_since(0, 1).await.unwrap();
    assert!(
        cut.cut && cut.each.len() == 1 && cut.each[0].now.number == 1,
        "the latest"
    );

    // What covers an address, and what else stands on a target.
    let on = |net: &str| store.in_force(Some(net.parse().unwrap()));
    let numbers = |all: Vec<crate::types::Numbered>| all.iter().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!(numbers(on("203.0.113.1/32").await.unwrap().1), [1, 2]);
    assert_eq!(numbers(on("203.0.113.9/32").await.unwrap().1), [2]);
    assert_eq!(numbers(on("198.51.100.0/24").await.unwrap().1), Vec::<i64>::new());
    let again = decision(&mut mint, 3, "203.0.113.1/32", DecisionStatus::Active);
    store.commit(vec![Record::Decision(again), ended(&one)]).await.unwrap();
    let changes = store.changes_since(latest, 100).await.unwrap();
    let of_one = changes.each.iter().find(|change| change.now.number == 1).unwrap();
    assert_eq!(of_one.now.decision.status, DecisionStatus::Deleted);
    assert_eq!(numbers(of_one.beside.clone()), [3]);
}

#[tokio::test]
async fn a_revoked_token_is_told_nothing_and_its_place_is_forgotten() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let id = TokenId("a".into());
    store.commit(vec![asks("a", 7)]).await.unwrap();
    assert_eq!(store.bouncer(id.clone()).await.unwrap().unwrap().last.change, 7);
    let token = Token {
        id: id.clone(),
        name: "edge".into(),
        role: crate::types::Role::Bouncer,
        hash: String::new(),
        created_at: Timestamp(1),
        created_by: "test".into(),
        expires_at: None,
        revoked_at: Some(Timestamp(2)),
        used_at: None,
    };
    store.commit(vec![Record::Token(Arc::new(token))]).await.unwrap();
    assert_eq!(store.bouncer(id).await.unwrap(), None);
}
