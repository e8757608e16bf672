//! What did not go, and what the disk did not keep: whoever asks again is told how it stands, and it is tried again.

use super::*;

/// What is answered where something is still in the kernel.
fn refused(told: Result<Vec<Decision>, CommandError>) -> String {
    match told {
        Err(CommandError::Failed(said)) => said,
        other => panic!("{other:?}"),
    }
}

fn names(decisions: &[Decision]) -> Vec<(DecisionId, DecisionStatus)> {
    decisions.iter().map(|d| (d.id, d.status)).collect()
}

#[tokio::test]
async fn what_could_not_be_removed_is_told_as_still_there_until_it_is_gone() {
    let mut house = House::open(Mode::Production).await;
    let target = net("192.0.2.1/32");
    let decision = house.add("192.0.2.1/32", 600).await.unwrap();
    house.rig.breaks(&["delete"]);
    let first = refused(house.take_back(Selector::Target(target), true).await);
    assert!(first.contains("it is tried again"), "{first}");
    for which in [
        Selector::Target(target),
        Selector::Id(decision.id),
        Selector::All,
        Selector::Target(target),
    ] {
        let said = refused(house.delete(which).await);
        assert!(said.starts_with("192.0.2.1/32 is still in the kernel: "), "{said}");
        assert!(said.ends_with("; tried again every second"), "{said}");
    }
    let other = house.delete(Selector::Target(net("192.0.2.2/32"))).await;
    assert!(matches!(other, Err(CommandError::NotFound)), "{other:?}");
    assert_eq!(house.rig.blocks(), [target]);

    house.rig.breaks(&[]);
    let gone = house.delete(Selector::Target(target)).await.unwrap();
    assert_eq!(names(&gone), [(decision.id, DecisionStatus::Deleted)]);
    assert_eq!(house.rig.blocks(), []);
    let actions = house.store.actions(ActionFilter::default()).await.unwrap().items;
    assert_eq!(actions[0].status, ActionStatus::Reverted);
    let again = house.delete(Selector::Target(target)).await;
    assert!(matches!(again, Err(CommandError::NotFound)), "{again:?}");
    house.all_agree().await;
}

#[tokio::test]
async fn taking_everything_back_names_what_went_at_last_and_hides_nothing_that_did_not() {
    let mut house = House::open(Mode::Production).await;
    let stuck = house.add("192.0.2.1/32", 600).await.unwrap();
    house.rig.breaks(&["delete"]);
    refused(house.take_back(Selector::All, true).await);
    house.rig.breaks(&[]);
    house.add("192.0.2.2/32", 600).await.unwrap();
    // The next call is the removal that was owed; the other entry goes.
    house.rig.inside().fail_at = Some(0);
    let said = refused(house.take_back(Selector::All, true).await);
    assert!(said.starts_with("192.0.2.1/32 is still in the kernel: "), "{said}");
    assert!(said.ends_with("; taken back beside that: 1"), "{said}");
    assert_eq!(house.rig.blocks(), [net("192.0.2.1/32")]);

    let third = house.add("192.0.2.3/32", 600).await.unwrap();
    let gone = house.take_back(Selector::All, true).await.unwrap();
    let over = |decision: &Decision| (decision.id, DecisionStatus::Deleted);
    assert_eq!(names(&gone), [over(&third), over(&stuck)]);
    assert_eq!(house.rig.blocks(), []);
    assert_eq!(house.delete(Selector::All).await.unwrap(), []);
    house.all_agree().await;
}

#[tokio::test]
async fn what_an_earlier_run_could_not_remove_is_told_as_still_there_and_named_when_it_is_gone() {
    let mut house = House::open(Mode::Production).await;
    let target = net("192.0.2.1/32");
    let decision = house.add("192.0.2.1/32", 600).await.unwrap();
    house.rig.breaks(&["delete"]);
    refused(house.take_back(Selector::Target(target), true).await);
    let pinned = house.rig.clone();
    let mut house = house.restart(Mode::Production, Clock::default(), pinned).await;
    let said = refused(house.delete(Selector::Target(target)).await);
    assert!(said.starts_with("192.0.2.1/32 is still in the kernel: "), "{said}");
    house.rig.breaks(&[]);
    let gone = house.delete(Selector::Target(target)).await.unwrap();
    assert_eq!(names(&gone), [(decision.id, DecisionStatus::Deleted)]);
    assert_eq!(house.rig.blocks(), []);
    house.all_agree().await;
}

#[tokio::test]
async fn a_stop_or_its_end_that_the_disk_did_not_keep_is_kept_when_it_is_asked_for_again() {
    let mut house = House::open(Mode::Production).await;
    let path = house.directory.as_ref().unwrap().path().join("s.db");
    let sql = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text).unwrap();
    sql(
        "CREATE TRIGGER no_stop BEFORE INSERT ON meta WHEN NEW.key = 'acting' BEGIN SELECT RAISE(ABORT, 'no'); END;
         CREATE TRIGGER no_end BEFORE DELETE ON meta WHEN OLD.key = 'acting' BEGIN SELECT RAISE(ABORT, 'no'); END;",
    );
    let stop = house.act(false).await.unwrap().stopped.expect("stopped");
    assert_eq!(house.store.stop().await.unwrap(), None, "it was lost");
    sql("DROP TRIGGER no_stop");
    assert_eq!(house.act(false).await.unwrap().stopped.as_ref(), Some(&stop));
    let kept = house.store.stop().await.unwrap().expect("kept");
    assert_eq!(
        (kept.actor, kept.reason, kept.at.0 / 1000),
        (stop.actor, stop.reason, stop.at.0 / 1000),
        "the first one's word"
    );

    assert_eq!(house.act(true).await.unwrap().stopped, None);
    assert!(house.store.stop().await.unwrap().is_some(), "its end was lost");
    sql("DROP TRIGGER no_end");
    assert_eq!(house.act(true).await.unwrap().stopped, None);
    assert_eq!(house.store.stop().await.unwrap(), None);
    house.all_agree().await;
}
