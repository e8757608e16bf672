//! The traffic log over the API.

use super::*;
use crate::detect::{Row, Said};
use crate::features::{Cut, FeatureRecord, Vector, WIDTH, schema::index_of};
use crate::model::Level;
use crate::traffic::{Batch, Recorder};
use crate::types::{Clock, Ktime, Service};
use std::net::IpAddr;

/// A flow of `ip` to port 443, a minute before `at` and so many seconds later.
fn flow(ip: &str, at: Timestamp, seconds: u64, said: Option<(f64, Option<Level>)>) -> Row {
    let mut vector = Vector([0.0; WIDTH]);
    for (name, value) in [
        ("is_tcp", 1.0),
        ("f_n", 12.0),
        ("f_b", 1840.0),
        ("r_n", 9.0),
        ("r_lmean", 1200.5),
    ] {
        vector.0[index_of(name).unwrap()] = value;
    }
    let start = Ktime(at.0 as u64 - 60_000_000_000 + seconds * 1_000_000_000);
    Row {
        record: FeatureRecord {
            at: start.after(Duration::from_secs(1)),
            source: ip.parse().unwrap(),
            source_port: 40_000,
            target: Service {
                ip: IpAddr::from([198, 51, 100, 10]),
                port: 443,
                proto: 6,
            },
            from_inside: false,
            start,
            end: start.after(Duration::from_millis(250)),
            cut: Cut::Closed,
            continued: false,
            packets: 12,
            allowed: false,
            vector,
        },
        said: said.map(|(score, level)| Said { score, level }),
    }
}

/// Six rows of two sensors, the latest last.
pub(super) fn some(at: Timestamp) -> Vec<(&'static str, Row)> {
    vec![
        ("xdp", flow("192.0.2.7", at, 0, None)),
        ("xdp", flow("192.0.2.7", at, 1, Some((0.5, None)))),
        ("xdp", flow("2001:db8::7", at, 2, Some((0.0123, Some(Level::Benign))))),
        (
            "bettercap",
            flow("192.0.2.9", at, 3, Some((0.41, Some(Level::Suspicious)))),
        ),
        (
            "xdp",
            flow("203.0.113.7", at, 4, Some((0.987_654_4, Some(Level::Flag)))),
        ),
        ("xdp", flow("203.0.113.8", at, 5, Some((0.02, Some(Level::Benign))))),
    ]
}

/// Puts rows into the house's log.
pub(super) fn log(house: &House, rows: &[(&'static str, Row)]) {
    let batches: Vec<_> = rows
        .iter()
        .map(|(sensor, row)| Batch {
            sensor: (*sensor).into(),
            clock: Clock::default(),
            rows: vec![*row],
        })
        .collect();
    let mut recorder = Recorder::new(&house.state.config.traffic_log, "=web-1");
    recorder.write(&batches).unwrap();
}

#[tokio::test]
async fn the_last_rows_are_told_the_latest_first_and_filtered() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let (status, body) = ask(&router, get("/traffic")).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({ "items": [], "enabled": true, "looked_at": 0, "reaches": null, "complete": true }),
        "there is no file yet"
    );
    log(&house, &some(T0));
    let (_, body) = ask(&router, get("/traffic")).await;
    assert_eq!(
        body["items"][1],
        json!({
            "at": "2025-12-31T23:59:05.000000Z", "sensor": "xdp", "source": "203.0.113.7", "source_port": 40_000,
            "destination": "198.51.100.10", "destination_port": 443, "proto": 6,
            "first_seen": "2025-12-31T23:59:04.000000Z", "last_seen": "2025-12-31T23:59:04.250000Z", "continued": false,
            "packets_sent": 12, "bytes_sent": 1840, "packets_received": 9, "bytes_received": 10_805,
            "score": 0.987_654, "level": "flag"
        })
    );
    assert_eq!(
        json!([body["looked_at"], body["reaches"], body["complete"]]),
        json!([6, "2025-12-31T23:59:01.000000Z", true])
    );
    let sources = |body: &Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["source"].as_str().unwrap().to_owned())
            .collect()
    };
    for (query, found) in [
        ("limit=2", vec!["203.0.113.8", "203.0.113.7"]),
        ("ip=203.0.113.0/24", vec!["203.0.113.8", "203.0.113.7"]),
        ("ip=198.51.100.10&limit=1", vec!["203.0.113.8"]),
        ("level=flag,suspicious", vec!["203.0.113.7", "192.0.2.9"]),
        ("sensor=bettercap", vec!["192.0.2.9"]),
        ("since=2025-12-31T23:59:05Z", vec!["203.0.113.8", "203.0.113.7"]),
        ("ip=2001:db8::/32&level=flag", vec![]),
    ] {
        let (status, body) = ask(&router, get(&format!("/traffic?{query}"))).await;
        assert_eq!(
            (status, sources(&body)),
            (200, found.iter().map(|ip| (*ip).to_owned()).collect()),
            "{query}"
        );
    }
    for (query, words) in [
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("level=bad", "`benign`, `suspicious` or `flag`"),
        ("sensor=../etc", "the name of a sensor"),
        ("sensor=", "the name of a sensor"),
        ("cursor=1", "no parameter"),
    ] {
        let (status, body) = ask(&router, get(&format!("/traffic?{query}"))).await;
        assert_eq!(status, 422, "{query}: {body}");
        assert!(body["detail"].as_str().unwrap().contains(words), "{query}: {body}");
    }
}
