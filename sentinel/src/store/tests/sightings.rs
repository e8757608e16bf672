//! Who was seen beside us.

use super::{Running, place};
use crate::store::Record;
use crate::store::sightings::KEPT;
use crate::types::{Sighting, SightingKind, Timestamp};
use ipnet::IpNet;
use std::net::IpAddr;

fn seen(number: usize, at: i64) -> Sighting {
    Sighting {
        kind: SightingKind::Endpoint,
        mac: format!(
            "02:00:00:{:02x}:{:02x}:{:02x}",
            number >> 16 & 255,
            number >> 8 & 255,
            number & 255
        ),
        ip: Some(IpAddr::from([192, 0, 2, (number & 255) as u8])),
        name: "tv".into(),
        vendor: String::new(),
        sensor: "bettercap".into(),
        first_at: Timestamp(at),
        last_at: Timestamp(at),
        gone: false,
    }
}

#[tokio::test]
async fn whoever_comes_back_is_the_same_and_what_is_not_told_is_still_known() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = running.store.clone();
    let gone = Sighting {
        name: String::new(),
        gone: true,
        ..seen(7, 20)
    };
    for one in [seen(7, 10), gone.clone(), seen(7, 5)] {
        store.commit(vec![Record::Sighting(Box::new(one))]).await.unwrap();
    }
    let (found, total) = store.sightings(gone.ip.map(IpNet::from), None, 10).await.unwrap();
    let want = Sighting {
        name: "tv".into(),
        first_at: Timestamp(10),
        ..gone
    };
    assert_eq!((found, total), (vec![want], 1));
    assert_eq!(store.sightings(None, Some(SightingKind::Ble), 10).await.unwrap().1, 0);
}

#[tokio::test]
async fn the_air_may_be_full_and_the_table_is_not() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = running.store.clone();
    let flood = |numbers: std::ops::Range<usize>| {
        numbers
            .map(|number| Record::Sighting(Box::new(seen(number, number as i64))))
            .collect::<Vec<_>>()
    };
    for from in (0..KEPT as usize + 500).step_by(500) {
        store.commit(flood(from..from + 500)).await.unwrap();
    }
    let (found, total) = store.sightings(None, None, 1).await.unwrap();
    // It is looked at seldom.
    assert!((u64::from(KEPT)..u64::from(KEPT) + 200).contains(&total), "{total}");
    assert_eq!(found[0].last_at, Timestamp(i64::from(KEPT) + 499));
}
