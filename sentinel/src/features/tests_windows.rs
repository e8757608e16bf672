//! The windows against a list of all that ever happened.

use super::limits::Limits;
use super::piece::Steps;
use super::windows::{Around, Judged, Received, Sent, ServiceKey, Windows};
use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::flow::Half;

/// Enough for whatever a test brings.
const ROOM: Limits = Limits {
    flows: 64,
    sources: 64,
    destinations: 64,
    pairs: 256,
    services: 64,
    sketches: 64,
};

#[derive(Clone, Copy, Debug)]
enum What {
    Began,
    Sent { ahead: bool, packets: u32, payload: u32 },
    Judged { failed: bool },
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: Steps,
    id: u32,
    source: Addr,
    service: ServiceKey,
    what: What,
}

fn address(n: u8) -> Addr {
    Addr::v4([10, 0, 0, n])
}

fn half(packets: u32, payload: u32) -> Half {
    Half {
        packets: packets.into(),
        bytes: u64::from(packets) * 100,
        payload_bytes: payload.into(),
        syn: packets / 2,
        ack: packets / 3,
        ..Half::default()
    }
}

fn play(windows: &mut Windows, event: &Event) {
    let Event {
        at,
        id,
        source,
        service,
        what,
    } = *event;
    match what {
        What::Began => windows.began(id, source, service, at),
        What::Sent {
            ahead,
            packets,
            payload,
        } => {
            windows.sent(id, source, service, at, (ahead, &half(packets, payload)));
        }
        What::Judged { failed } => windows.judged(source, at, failed),
    }
}

/// Events of one owner since it was last begun anew, with the time of its first.
fn own(events: &[Event], mine: impl Fn(&Event) -> bool) -> (Steps, Vec<Event>) {
    let (mut anchor, mut seen, mut list) = (0, 0, Vec::new());
    for event in events.iter().filter(|event| mine(event)) {
        if list.is_empty() || event.at > seen + 32_000 {
            (anchor, seen) = (event.at, event.at);
            list.clear();
        }
        seen = seen.max(event.at);
        list.push(*event);
    }
    (anchor, list)
}

/// Those in the `count` slots of `length` steps up to the one `at` lies in.
fn within(list: &(Steps, Vec<Event>), at: Steps, length: Steps, count: Steps) -> Vec<Event> {
    let slot = |t: Steps| t.saturating_sub(list.0) / length;
    let inside = |e: &&Event| slot(e.at) <= slot(at) && slot(e.at) + count > slot(at);
    list.1.iter().filter(inside).copied().collect()
}

fn began(events: &[Event]) -> Vec<Event> {
    events
        .iter()
        .filter(|e| matches!(e.what, What::Began))
        .copied()
        .collect()
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> u32 {
    values.collect::<std::collections::BTreeSet<_>>().len() as u32
}

fn oracle(events: &[Event], source: Addr, service: ServiceKey, at: Steps) -> Around {
    let mut around = Around::default();
    let judged = |list: &[Event]| {
        let fates = list.iter().filter_map(|e| match e.what {
            What::Judged { failed } => Some(failed),
            _ => None,
        });
        Judged {
            judged: fates.clone().count() as u32,
            failed: fates.filter(|failed| *failed).count() as u32,
        }
    };
    let packets = |list: &[Event]| -> Vec<u32> {
        let ahead = list.iter().filter_map(|e| match e.what {
            What::Sent {
                ahead: true, packets, ..
            } => Some(packets),
            _ => None,
        });
        ahead.collect()
    };
    let of_source = |e: &Event| e.source == source && !matches!(e.what, What::Sent { ahead: false, .. });
    let mine = own(events, of_source);
    let short = within(&mine, at, 200, 5);
    let sent = packets(&short);
    around.source = Sent {
        packets: sent.iter().sum(),
        bytes: sent.iter().map(|n| n * 100).sum(),
        syn: sent.iter().map(|n| n / 2).sum(),
        ack: sent.iter().map(|n| n / 3).sum(),
        flows: began(&short).len() as u32,
        judged: judged(&short).judged,
        failed: judged(&short).failed,
    };
    around.minute = judged(&within(&mine, at, 600, 10));
    let ports = |span| distinct(began(&within(&mine, at, 100, span)).iter().map(|e| e.service.1));
    (around.source_ports, around.minute_ports, around.long_ports) = (ports(10), ports(60), ports(300));
    around.source_hosts = distinct(began(&within(&mine, at, 100, 10)).iter().map(|e| e.service.0));

    let to = |e: &Event| match e.what {
        What::Began => e.service.0 == service.0,
        What::Sent { ahead, .. } => ahead && e.service.0 == service.0,
        What::Judged { .. } => false,
    };
    let theirs = own(events, to);
    let short = within(&theirs, at, 200, 5);
    around.destination = Received {
        packets: packets(&short).iter().sum(),
        flows: began(&short).len() as u32,
    };
    around.destination_sources = distinct(began(&within(&theirs, at, 100, 10)).iter().map(|e| e.source));

    let clients = own(events, |e| e.service == service && matches!(e.what, What::Began));
    around.clients = distinct(within(&clients, at, 100, 60).iter().map(|e| e.source));

    let both = |e: &Event| e.source == source && e.service == service && !matches!(e.what, What::Judged { .. });
    let pair = own(events, both);
    around.pair.flows_60 = began(&within(&pair, at, 600, 10)).len() as u32;
    around.pair.flows_300 = began(&within(&pair, at, 3000, 10)).len() as u32;
    let recent: Vec<Event> = began(&pair.1).into_iter().rev().take(13).rev().collect();
    let since = |span: Steps| recent.iter().filter(move |e| e.at + span > at && e.at <= at);
    // Bytes, packets, payload of those of the last minute.
    let flows: Vec<[f64; 3]> = since(6000)
        .map(|flow| {
            // Of events before the beginning nothing is known.
            let from = pair
                .1
                .iter()
                .position(|e| e.id == flow.id && matches!(e.what, What::Began));
            let events = pair.1.iter().skip(from.unwrap_or(0)).filter(|e| e.id == flow.id);
            events.fold([0.0; 3], |[b, n, p], e| match e.what {
                What::Sent {
                    ahead,
                    packets,
                    payload,
                } => {
                    let ahead = if ahead { f64::from(payload) } else { 0.0 };
                    [b + f64::from(packets) * 100.0, n + f64::from(packets), p + ahead]
                }
                _ => [b, n, p],
            })
        })
        .collect();
    let count = (flows.len() as f64).max(1.0);
    around.pair.packets = flows.iter().map(|f| f[1]).sum::<f64>() / count;
    around.pair.payload = flows.iter().map(|f| f[2]).sum::<f64>() / count;
    around.pair.spread_bytes = spread(&flows.iter().map(|f| f[0]).collect::<Vec<_>>());
    let starts: Vec<f64> = since(30_000).map(|e| e.at as f64).collect();
    if starts.len() >= 4 {
        let gaps: Vec<f64> = starts.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
        around.pair.spread_gaps = spread(&gaps);
    }
    around
}

/// σ/µ by the book.
fn spread(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    if mean > 0.0 { variance.sqrt() / mean } else { 0.0 }
}

/// Events of 3 sources, 3 destinations and 4 ports, mostly a moment apart, sometimes minutes, sometimes a little late.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let gap = prop_oneof![8 => 0u64..80, 4 => 0u64..800, 1 => 5_000u64..40_000];
    let event = (gap, 0u64..100, 0u8..3, 0u8..3, 0u16..4, 0u32..8, any::<bool>(), 1u32..9);
    prop::collection::vec(event, 1..120).prop_map(|raw| {
        let (mut now, mut begun) = (1_000_000, Vec::<Event>::new());
        let mut all = Vec::new();
        for (gap, late, source, target, port, kind, flag, amount) in raw {
            now += gap;
            let fresh = Event {
                at: now,
                id: begun.len() as u32,
                source: address(source),
                service: (address(100 + target), port, 6),
                what: What::Began,
            };
            let event = match (kind, begun.len()) {
                (0..=2, _) | (_, 0) => {
                    begun.push(fresh);
                    fresh
                }
                (3..=5, n) => Event {
                    at: now - late,
                    what: What::Sent {
                        ahead: flag,
                        packets: amount,
                        payload: amount * 7,
                    },
                    ..begun[n - 1 - amount as usize % n]
                },
                (_, n) => Event {
                    at: now,
                    what: What::Judged { failed: flag },
                    ..begun[n - 1 - amount as usize % n]
                },
            };
            all.push(event);
        }
        all
    })
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn windows_say_what_a_list_says(events in events(), later in 0u64..500) {
        let mut windows = Windows::new(&ROOM);
        for event in &events {
            play(&mut windows, event);
        }
        let at = events.iter().map(|e| e.at).max().unwrap() + later;
        for asked in &events {
            let told = windows.around(asked.source, asked.service, at);
            let mut expected = oracle(&events, asked.source, asked.service, at);
            prop_assert!(close(told.pair.spread_bytes, expected.pair.spread_bytes), "{told:?} {expected:?}");
            prop_assert!(close(told.pair.spread_gaps, expected.pair.spread_gaps), "{told:?} {expected:?}");
            prop_assert!(close(told.pair.packets, expected.pair.packets), "{told:?} {expected:?}");
            prop_assert!(close(told.pair.payload, expected.pair.payload), "{told:?} {expected:?}");
            expected.pair = super::pair::PairAround {
                flows_60: expected.pair.flows_60,
                flows_300: expected.pair.flows_300,
                ..told.pair
            };
            prop_assert_eq!(told, expected, "{:?} at {}", asked, at);
        }
    }

    /// A capture's clock and the kernel's differ by a constant.
    #[test]
    fn what_is_told_does_not_depend_on_the_epoch(events in events(), shift in 0u64..1_000_000) {
        let (mut here, mut there) = (Windows::new(&ROOM), Windows::new(&ROOM));
        let mut at = 0;
        for event in &events {
            play(&mut here, event);
            play(&mut there, &Event { at: event.at + shift, ..*event });
            at = event.at.max(at);
            let (source, service) = (event.source, event.service);
            prop_assert_eq!(here.around(source, service, at), there.around(source, service, at + shift));
        }
    }
}
