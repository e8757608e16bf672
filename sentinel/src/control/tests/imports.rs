//! Imports under way, and what happens meanwhile.

use super::operate::list;
use super::*;
use crate::types::{ImportError, Imported, Selector};

/// An import of two parts, of which the first is carried out.
async fn half_an_import(
    house: &mut House,
    first: &[&str],
    last: &str,
) -> oneshot::Receiver<Result<Imported, ImportError>> {
    let fill: Vec<String> = (0..2048 - first.len())
        .map(|n| format!("10.77.{}.{}/32", n / 256, n % 256))
        .collect();
    let mut targets: Vec<&str> = first.to_vec();
    targets.extend(fill.iter().map(String::as_str));
    targets.push(last);
    let answer = house.begin(list(&targets)).await;
    house.desk.imports.ready().await;
    house.desk.import_part().await;
    assert!(house.rig.blocks().len() >= 2048);
    answer
}

#[tokio::test]
async fn what_became_of_a_target_since_outlives_the_undoing_of_an_import() {
    let mut house = House::open(Mode::Production).await;
    let [lifted, renewed, untouched] = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"];
    for target in [lifted, renewed, untouched] {
        house.add(target, 600).await.unwrap();
    }
    let stood = house.desk.judge.active_on(&net(untouched)).cloned().unwrap();
    let answer = half_an_import(&mut house, &[lifted, renewed, untouched], "192.0.2.99/32").await;
    house.delete(Selector::Target(net(lifted))).await.unwrap();
    let word = house.add(renewed, 900).await.unwrap();
    // The rest cannot be carried out any more.
    house.facts(&["192.0.2.99"]).await;
    house.desk.import_part().await;
    assert!(answer.await.unwrap().is_err());
    assert_eq!(house.desk.judge.active_on(&net(lifted)), None);
    assert_eq!(house.desk.judge.active_on(&net(renewed)), Some(&word));
    assert_eq!(house.desk.judge.active_on(&net(untouched)), Some(&stood));
    assert_eq!(house.rig.blocks(), [net(lifted), net(renewed), net(untouched)]);
    assert_eq!(house.desk.responder.watched_targets(), [net(lifted)], "it only watches");
    house.all_agree().await;
}

#[tokio::test]
async fn an_import_that_all_is_taken_back_of_leaves_probations_as_told() {
    let mut house = House::open(Mode::Production).await;
    let answer = half_an_import(&mut house, &["203.0.113.1/32"], "203.0.113.9/32").await;
    let taken = house.take_back(Selector::All, false).await.unwrap();
    assert_eq!(taken.len(), 2048);
    house.desk.import_part().await;
    assert!(answer.await.unwrap().is_err());
    house.desk.self_check();
    assert_eq!(house.desk.deps.metrics.enforcement_drift.get(), 0);
    let told = house.store.decision(taken[0].id).await.unwrap().unwrap();
    assert!(
        told.status == DecisionStatus::Deleted && told.terms.watch_until.is_some(),
        "{told:?}"
    );
    let (books, stored) = house.watched().await;
    assert_eq!((books.len(), &books), (2048, &stored));
    house.all_agree().await;
}

#[tokio::test]
async fn a_decision_that_was_to_be_replaced_and_is_taken_back_before_keeps_its_end() {
    let mut house = House::open(Mode::Production).await;
    let stood = house.add("203.0.113.9/32", 600).await.unwrap();
    let answer = half_an_import(&mut house, &["203.0.113.1/32"], "203.0.113.9/32").await;
    house.take_back(Selector::All, false).await.unwrap();
    house.desk.import_part().await;
    let told = answer.await.unwrap().unwrap_err().to_string();
    assert!(told.contains("but 2048, which ended"), "{told}");
    let stored = house.store.decision(stood.id).await.unwrap().unwrap();
    assert_eq!(stored.status, DecisionStatus::Deleted, "{stored:?}");
    assert!(stored.terms.watch_until.is_some(), "{stored:?}");
    house.all_agree().await;
}

#[tokio::test]
async fn what_stood_that_cannot_be_put_back_is_not_in_the_books_either() {
    let mut house = House::open(Mode::Production).await;
    house.add("203.0.113.1/32", 600).await.unwrap();
    let answer = half_an_import(&mut house, &["203.0.113.1/32"], "192.0.2.99/32").await;
    house.facts(&["192.0.2.99"]).await;
    house.rig.breaks(&["put"]);
    house.desk.import_part().await;
    assert!(answer.await.unwrap().is_err());
    house.rig.breaks(&[]);
    assert_eq!(house.desk.judge.active_on(&net("203.0.113.1/32")), None);
    assert_eq!(house.rig.blocks(), []);
    house.all_agree().await;
}

#[tokio::test]
async fn what_changed_while_an_import_was_stored_is_stored_anew() {
    let mut house = House::open(Mode::Production).await;
    house.add("203.0.113.1/32", 600).await.unwrap();
    let answer = house.begin(list(&["203.0.113.1/32"])).await;
    house.desk.imports.ready().await;
    house.add("203.0.113.1/32", 900).await.unwrap();
    house.desk.import_part().await;
    answer.await.unwrap().unwrap();
    let standing = house.desk.judge.active_on(&net("203.0.113.1/32")).cloned().unwrap();
    let stored = house.store.decision(standing.id).await.unwrap().unwrap();
    // The database keeps milliseconds.
    let end = |decision: &Decision| decision.expires_at.map(|end| end.0 / 1000);
    assert_eq!((end(&stored), &stored.reason), (end(&standing), &standing.reason));
    house.all_agree().await;
}

#[tokio::test]
async fn an_import_of_which_something_stays_in_the_kernel_says_how_much() {
    let mut house = House::open(Mode::Production).await;
    let answer = house
        .begin(list(&["203.0.113.1/32", "203.0.113.2/32", "192.0.2.99/32"]))
        .await;
    house.desk.imports.ready().await;
    house.facts(&["192.0.2.99"]).await;
    house.rig.breaks(&["delete"]);
    house.desk.import_part().await;
    let told = answer.await.unwrap().unwrap_err().to_string();
    // The third was never written.
    let but = "; all of it was taken back but 2, which are still in the kernel and tried again every second";
    assert!(told.ends_with(but), "{told}");
    assert_eq!(house.rig.blocks(), [net("203.0.113.1/32"), net("203.0.113.2/32")]);
    house.all_agree().await;
    assert_eq!(house.rig.blocks(), []);
}

#[tokio::test]
async fn what_of_an_import_does_not_go_and_what_does_not_come_back_is_told() {
    let mut house = House::open(Mode::Production).await;
    house.add("203.0.113.1/32", 600).await.unwrap();
    let answer = half_an_import(&mut house, &["203.0.113.1/32"], "192.0.2.99/32").await;
    house.facts(&["192.0.2.99"]).await;
    house.rig.breaks(&["put", "delete"]);
    house.desk.import_part().await;
    let told = answer.await.unwrap().unwrap_err().to_string();
    let but = "; all of it was taken back but 2048, which are still in the kernel and tried again every second; \
               earlier decisions that could not be put back: 1";
    assert!(told.ends_with(but), "{told}");
    assert_eq!(house.rig.blocks().len(), 2048);
    let page = house.store.audit(crate::store::AuditFilter::default()).await.unwrap();
    let undone = page.items.iter().find(|entry| entry.verb == "import_undone").unwrap();
    assert!(undone.detail.ends_with(but), "{}", undone.detail);
    house.rig.breaks(&[]);
    // So many a second.
    for _ in 0..9 {
        house.desk.look_around().await;
    }
    assert_eq!(house.rig.blocks(), []);
    house.all_agree().await;
}
