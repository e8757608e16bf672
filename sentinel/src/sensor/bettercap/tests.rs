//! What real events, and what hostile ones, come to.

mod socket;

use super::event::{Event, Malformed, Packet, read};
use super::flows::Flows;
use super::judge::BettercapFlows;
use super::offline::BettercapReplay;
use super::services::Services;
use crate::config::Config;
use crate::detect::Detectors;
use crate::flow::FlowTable;
use crate::types::{Alert, Clock, Ktime, Mint, Sighting, SightingKind, Timestamp};
use sentinel_common::event::FlowRecord;
use std::path::Path;
use std::time::Duration;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/bettercap")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Flow records of events as they came.
fn records(text: &str) -> Vec<FlowRecord> {
    let inside = vec!["10.77.0.1/32".parse().unwrap()];
    let mut replay = BettercapReplay::new(1024, Duration::from_millis(100), Duration::from_mins(2), inside);
    let mut records = Vec::new();
    for line in text.lines() {
        replay.event(line, &mut records);
    }
    replay.end(&mut records);
    assert_eq!(replay.losses(), (0, 0));
    records
}

fn alerts(records: &[FlowRecord]) -> Vec<Alert> {
    let config = Config::default();
    let mut table = FlowTable::new(&config.flow);
    let mut detectors = Detectors::new(&config, Clock::default(), Mint::Counted(0), "bettercap");
    let mut alerts = Vec::new();
    for record in records {
        if let Some(seen) = table.apply(record) {
            alerts.extend(detectors.record(record, &seen));
        }
        for seen in table.tick(Ktime(record.now_ns)) {
            alerts.extend(detectors.observe(&seen));
        }
    }
    alerts
}

#[test]
fn every_event_of_the_real_program_is_read() {
    let services = Services::new();
    for name in ["benign.jsonl", "scan.jsonl"] {
        for line in fixture(name).lines() {
            read(line, &services).unwrap_or_else(|why| panic!("{why}: {line}"));
        }
    }
}

#[test]
fn a_real_scan_is_found_and_real_clients_are_not() {
    let (benign, scan) = (records(&fixture("benign.jsonl")), records(&fixture("scan.jsonl")));
    assert_eq!(alerts(&benign), []);
    let found = alerts(&scan);
    let first = found.first().expect("an alert");
    assert_eq!(first.detector.as_str(), "port_scan");
    assert_eq!(first.sensor, "bettercap");
    assert_eq!(first.source, Some("10.77.0.2".parse().unwrap()));
    assert!(first.summary.contains("10.77.0.1"), "{}", first.summary);
    assert!(found.iter().all(|alert| alert.source == first.source), "{found:?}");
    assert!(
        !first.standing.unwrap().proven,
        "nothing was said to it: it may be forged"
    );
}

#[test]
fn payload_from_our_side_is_the_proof_that_an_address_is_its_owners() {
    let both = fixture("benign.jsonl") + &fixture("scan.jsonl");
    let found = alerts(&records(&both));
    assert!(found.first().expect("an alert").standing.unwrap().proven);
}

#[test]
fn both_shapes_mean_the_same_packet() {
    let services = Services::new();
    let summary = r#"{"tag":"net.sniff.tcp","time":"2026-11-29T07:10:53.9Z","data":{"time":"2026-11-29T07:10:53.5Z",
        "protocol":"tcp","from":"192.0.2.9:40000","to":"192.0.2.1:http-alt","message":"x","data":{"Size":40}}}"#;
    let raw = r#"{"tag":"net.sniff.tcp","time":"2026-11-29T07:10:53.9Z","data":{"packet":{"time":"2026-11-29T07:10:53.5Z",
        "protocol":"TCP","src":"192.0.2.9","dst":"192.0.2.1","sport":40000,"dport":8080,"length":60,"flags":"S"}}}"#;
    let packet = |flags| {
        Event::Packet(Packet {
            at_ns: 1_795_936_253_500_000_000,
            src: "192.0.2.9".parse().unwrap(),
            dst: "192.0.2.1".parse().unwrap(),
            src_port: 40_000,
            dst_port: 8080,
            proto: 6,
            l4_len: 40,
            flags,
        })
    };
    assert_eq!(read(summary, &services).unwrap().event, packet(None));
    assert_eq!(read(raw, &services).unwrap().event, packet(Some(2)));
    // With colours, as where Bettercap has a terminal.
    let coloured = summary.replace("http-alt", "\\u001b[33mhttp-alt\\u001b[0m");
    assert_eq!(read(&coloured, &services).unwrap().event, packet(None));
    let v6 = summary.replace("192.0.2.9:40000", "2001:db8::9:443");
    let Event::Packet(read6) = read(&v6, &services).unwrap().event else {
        panic!("no packet")
    };
    assert_eq!((read6.src, read6.src_port), ("2001:db8::9".parse().unwrap(), 443));
}

/// As Bettercap's source has them (`network/ble_device.go`, `network/wifi.go`, `modules/wifi`): no radio is at hand.
#[test]
fn who_is_seen_on_the_wire_and_on_the_air_is_a_sighting() {
    let services = Services::new();
    let sighting = |tag: &str, data: &str| {
        let text = format!(r#"{{"tag":"{tag}","time":"2026-11-29T07:10:53Z","data":{data}}}"#);
        match read(&text, &services).unwrap().event {
            Event::Sighting(sighting) => Some(*sighting),
            _ => None,
        }
    };
    let endpoint = r#"{"ipv4":"192.0.2.7","ipv6":"","mac":"AA:bb:cc:00:11:22","hostname":"tv","alias":"","vendor":"Acme\u202e\u001b[1m"}"#;
    assert_eq!(
        sighting("endpoint.new", endpoint),
        Some(Sighting {
            kind: SightingKind::Endpoint,
            mac: "aa:bb:cc:00:11:22".into(),
            ip: Some("192.0.2.7".parse().unwrap()),
            name: "tv".into(),
            vendor: "Acme[1m".into(),
            sensor: "bettercap".into(),
            first_at: Timestamp(1_795_936_253_000_000_000),
            last_at: Timestamp(1_795_936_253_000_000_000),
            gone: false,
        })
    );
    assert!(sighting("endpoint.lost", endpoint).unwrap().gone);
    let client =
        r#"{"AP":{"mac":"00:00:00:00:00:01"},"Client":{"mac":"00:00:00:00:00:02","hostname":"phone","vendor":"V"}}"#;
    let seen = sighting("wifi.client.new", client).unwrap();
    assert_eq!(
        (seen.kind, seen.mac.as_str(), seen.name.as_str()),
        (SightingKind::Wifi, "00:00:00:00:00:02", "phone")
    );
    let ble = r#"{"last_seen":"2026-11-29T07:10:53Z","name":"watch","mac":"00:00:00:00:00:03","alias":"","vendor":"V","rssi":-40}"#;
    let seen = sighting("ble.device.new", ble).unwrap();
    assert_eq!(
        (seen.kind, seen.name.as_str(), seen.ip),
        (SightingKind::Ble, "watch", None)
    );
    // A handshake of somebody without a hardware address, and modules that start, are nobody's sighting.
    assert_eq!(
        sighting("wifi.client.handshake", r#"{"file":"x","mac":"nobody"}"#),
        None
    );
    assert_eq!(sighting("mod.started", r#""net.sniff""#), None);
}

#[test]
fn what_cannot_be_used_says_why() {
    let services = Services::new();
    let summary = |from: &str, to: &str, rest: &str| {
        format!(
            r#"{{"tag":"net.sniff.tcp","time":"2026-11-29T07:10:53Z","data":{{"protocol":"tcp","from":{from},"to":{to}{rest}}}}}"#
        )
    };
    let good = r#""192.0.2.9:1""#;
    let deep = "[".repeat(100_000);
    for (text, why) in [
        ("", Malformed::Json),
        ("[]", Malformed::Json),
        ("{}", Malformed::Json),
        (r#"{"tag":5}"#, Malformed::Json),
        (r#"{"tag":"net.sniff.tcp"}"#, Malformed::Time),
        (
            r#"{"tag":"net.sniff.tcp","time":"yesterday","data":{}}"#,
            Malformed::Time,
        ),
        (&summary(good, good, ""), Malformed::Length),
        (&summary(good, good, r#","data":{"Size":-1}"#), Malformed::Length),
        (&summary(good, good, r#","data":{"Size":70000}"#), Malformed::Length),
        (&summary(good, good, r#","data":[1,2]"#), Malformed::Length),
        (&summary("5", good, r#","data":{"Size":40}"#), Malformed::Address),
        (
            &summary(r#""evil.example:80""#, good, r#","data":{"Size":40}"#),
            Malformed::Address,
        ),
        (
            &summary(r#""192.0.2.9:no-such""#, good, r#","data":{"Size":40}"#),
            Malformed::Port,
        ),
        (
            &summary(r#""192.0.2.9:65536""#, good, r#","data":{"Size":40}"#),
            Malformed::Port,
        ),
        (
            &format!(r#"{{"tag":"a","time":"2026-11-29T07:10:53Z","data":{deep}"#),
            Malformed::Json,
        ),
    ] {
        assert_eq!(
            read(text, &services).map(|heard| heard.event),
            Err(why),
            "{}",
            &text[..text.len().min(200)]
        );
    }
}

#[test]
fn an_address_a_client_writes_into_its_request_is_no_destination() {
    // The Host header is in `to`: whoever sends it could have anybody accused.
    let text = r#"{"tag":"net.sniff.http.request","time":"2026-11-29T07:10:53Z","data":{"time":"2026-11-29T07:10:53Z",
        "protocol":"http.request","from":"192.0.2.9","to":"198.51.100.1:80","message":"","data":{}}}"#;
    let heard = read(text, &Services::new()).unwrap().event;
    let mut flows = Flows::new(64, Duration::from_millis(100), Vec::new());
    let mut records = Vec::new();
    flows.take(&heard, Ktime(1), &mut records);
    assert_eq!(
        (records.len(), flows.losses().homeless),
        (0, 1),
        "it makes no flow by itself"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = read(&text, &Services::new());
    }

    #[test]
    fn no_mutation_of_a_real_event_makes_it_panic(line in 0_usize..100, at in 0_usize..400, byte in 0_u8..128) {
        let text = fixture("benign.jsonl");
        let mut line = text.lines().nth(line).unwrap_or_default().as_bytes().to_vec();
        if let Some(place) = line.get_mut(at) {
            *place = byte;
        }
        if let Ok(text) = std::str::from_utf8(&line) {
            let _ = read(text, &Services::new());
        }
    }
}

/// A packet of one UDP flow or another, by its source port, as of now.
fn datagram(src_port: u16) -> (i64, Event) {
    let at_ns = crate::time::wall_now().0;
    let packet = Packet {
        at_ns,
        src: "192.0.2.9".parse().unwrap(),
        dst: "192.0.2.1".parse().unwrap(),
        src_port,
        dst_port: 9999,
        proto: 17,
        l4_len: 28,
        flags: None,
    };
    (at_ns, Event::Packet(packet))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_quiet_is_told_of_though_others_never_pause() {
    let (events, input) = tokio::sync::mpsc::channel(64);
    let (_facts, facts) = tokio::sync::watch::channel(std::sync::Arc::default());
    let room = BettercapFlows {
        flows: Flows::new(1024, Duration::from_millis(100), Vec::new()),
        events: input,
        connected: std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)),
        facts,
        here: false,
        idle: Duration::from_mins(2),
        metrics: std::sync::Arc::new(crate::metrics::Metrics::new()),
    };
    let (output, mut records) = tokio::sync::mpsc::channel(4096);
    tokio::spawn(room.run(output));
    for port in [5000, 5000] {
        events.send(datagram(port)).await.unwrap();
    }
    let noise = tokio::spawn(async move {
        loop {
            if events.send(datagram(6000)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut told = 0;
    let heard = tokio::time::timeout(Duration::from_secs(20), async {
        while told < 2 {
            let batch: Vec<FlowRecord> = records.recv().await.expect("records");
            let of_it = batch.iter().filter(|record| record.key.remote_port == 5000);
            told += of_it.map(|record| record.counts.packets).sum::<u64>();
        }
    });
    assert!(heard.await.is_ok(), "{told} of 2 packets were told of");
    noise.abort();
}
