//! Ends by the desk's clock, wherever the wall's was stepped since the start.

use super::*;

const HOUR: i64 = 3_600_000_000_000;

#[tokio::test]
async fn an_entry_of_the_allowlist_lasts_its_length_by_the_desks_clock() {
    let friend = net("198.51.100.7/32");
    for ahead in [HOUR, -HOUR] {
        let clock = Clock {
            offset_ns: time::clock().offset_ns - ahead,
        };
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let facts = HostFacts::default();
        let mut house = House::at(directory, Mode::Production, facts, clock, Rig::default()).await;
        let before = house.desk.now();
        let entry = house.allow("198.51.100.7/32", Some(60)).await.unwrap().entry;
        assert!((before..=house.desk.now()).contains(&entry.at), "{entry:?}");
        let end = entry.at.after(Duration::from_mins(1));
        assert_eq!(entry.expires_at, Some(end));
        // The database keeps microseconds.
        let stored = house.store.allowlist().await.unwrap();
        let ends: Vec<_> = stored.iter().map(|e| e.expires_at.map(|end| end.0 / 1000)).collect();
        assert_eq!(ends, [Some(end.0 / 1000)]);

        house.desk.expire_allowed(Timestamp(end.0 - 1)).await;
        assert!(house.rig.allows().contains(&friend));
        house.desk.expire_allowed(end).await;
        assert!(!house.rig.allows().contains(&friend));
        assert_eq!(house.store.allowlist().await.unwrap(), []);
    }
}
