//! Who was seen beside us, over HTTP.

use super::*;
use crate::types::{Sighting, SightingKind};

/// Somebody on the wire, whose name is a trap.
pub(super) fn neighbour(ip: &str, at: i64) -> Sighting {
    Sighting {
        kind: SightingKind::Endpoint,
        mac: format!("02:00:00:00:00:0{at}"),
        ip: ip.parse().ok(),
        name: "<script>".into(),
        vendor: "Acme".into(),
        sensor: "bettercap".into(),
        first_at: Timestamp(at),
        last_at: Timestamp(at),
        gone: false,
    }
}

#[tokio::test]
async fn who_was_seen_is_listed_by_address_and_by_how() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let one = |kind, ip: Option<&str>, at| {
        Record::Sighting(Box::new(Sighting {
            kind,
            ..neighbour(ip.unwrap_or_default(), at)
        }))
    };
    house
        .keep(vec![
            one(SightingKind::Endpoint, Some("192.0.2.7"), 1),
            one(SightingKind::Endpoint, Some("198.51.100.7"), 2),
            one(SightingKind::Ble, None, 3),
        ])
        .await;
    for (query, macs) in [
        ("", vec![3, 2, 1]),
        ("?limit=1", vec![3]),
        ("?ip=192.0.2.0/24", vec![1]),
        ("?kind=ble", vec![3]),
        ("?kind=ble&ip=192.0.2.7", vec![]),
    ] {
        let (status, _, body) = answer(&router, get(&format!("/sightings{query}"))).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{body}");
        let items = body["items"].as_array().unwrap().iter();
        let found: Vec<u8> = items
            .map(|item| item["mac"].as_str().unwrap()[16..].parse().unwrap())
            .collect();
        assert_eq!(found, macs, "{query}");
    }
    for bad in ["?limit=0", "?limit=1001", "?kind=ghost", "?ip=x", "?mac=1"] {
        assert_eq!(answer(&router, get(&format!("/sightings{bad}"))).await.0, 422, "{bad}");
    }
}
