//! Consumers of alerts that go on where they were.

use super::*;

#[tokio::test]
async fn a_consumer_goes_on_where_it_was_after_a_restart() {
    let (_directory, path) = place();
    let mut mint = Mint::Counted(0);
    {
        let running = Running::at(&path);
        let store = &running.store;
        assert_eq!(store.newest_alert().await.unwrap(), 0);
        assert_eq!(store.cursor("eve").await.unwrap(), None);
        for second in 1..=5 {
            let alert = alert(&mut mint, 100 - second, "203.0.113.7");
            store.commit(vec![Record::Alert(alert)]).await.unwrap();
        }
        let first = store.alerts_after(0, 2).await.unwrap();
        assert_eq!(first.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
        let cursor = |name, seq| Record::Cursor { name, seq };
        store
            .commit(vec![cursor("eve", 1), cursor("other", 4), cursor("eve", 2)])
            .await
            .unwrap();
    }
    let damaged = Connection::open(&path).unwrap();
    damaged
        .execute("UPDATE alerts SET json = '{}' WHERE seq = 4", [])
        .unwrap();
    let running = Running::at(&path);
    let store = &running.store;
    assert_eq!(store.cursor("eve").await.unwrap(), Some(2));
    assert_eq!(store.cursor("other").await.unwrap(), Some(4));
    let rest = store.alerts_after(2, 10).await.unwrap();
    let seconds: Vec<i64> = rest.iter().map(|(_, alert)| alert.at.0 / 1_000_000_000).collect();
    assert_eq!(
        seconds,
        [97, 95],
        "in order of arrival; the damaged one holds up nothing"
    );
    assert_eq!(rest.last().unwrap().0, store.newest_alert().await.unwrap());
    assert_eq!(store.alerts_after(5, 10).await.unwrap(), []);
    // Who reads no more holds nothing back.
    store.commit(vec![Record::Readers(vec!["eve"])]).await.unwrap();
    assert_eq!(store.cursor("other").await.unwrap(), None);
    assert_eq!(store.cursor("eve").await.unwrap(), Some(2));
}
