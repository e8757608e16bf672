//! Whatever a server sends, an answer is bounded or refused.

use super::super::body;
use super::super::fuzzing::bounded;
use super::{BAD, PROVIDERS, Provider, at, recorded};
use crate::intel::IntelError;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-07-22T00:00:00Z";

/// Recorded answers by the provider's place among them.
const RECORDED: [(usize, &str); 16] = [
    (0, recorded!("virustotal_hit")),
    (0, recorded!("virustotal_clean")),
    (1, recorded!("abuseipdb_hit")),
    (1, recorded!("abuseipdb_clean")),
    (1, recorded!("abuseipdb_unknown")),
    (2, recorded!("otx_hit")),
    (2, recorded!("otx_clean")),
    (2, recorded!("otx_unknown")),
    (3, recorded!("ipqualityscore_hit")),
    (3, recorded!("ipqualityscore_paid")),
    (4, recorded!("greynoise_hit")),
    (4, recorded!("greynoise_research")),
    (4, recorded!("greynoise_not_found")),
    (5, recorded!("threatcrowd_hit")),
    (5, recorded!("threatcrowd_clean")),
    (5, recorded!("threatcrowd_unknown")),
];

/// Reads it; a refusal names fields and places only.
fn read(p: &Provider, body: &[u8]) -> bool {
    match (p.read)(body, BAD.parse().unwrap(), at(NOW)) {
        Ok(told) => {
            bounded(&told, at(NOW));
            true
        }
        Err(IntelError::Malformed(why)) => {
            assert!(why.len() < 100 && why.is_ascii() && !why.contains("hostile"), "{why}");
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// What a hostile server may write in the place of a value.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(0), Just(-1), Just(75), Just(100), Just(101)].prop_map(|n: i64| json!(n)),
        "\\PC{0,8}".prop_map(|s| json!(format!("hostile {s}"))),
        Just(json!("hostile\u{1b}[31m\u{202e}".repeat(200))),
        Just(json!("9999-12-31T23:59:59Z")),
        Just(json!("-009999-01-01")),
        Just(json!(["hostile", "hostile"])),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("hostile[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The `n`th value of a document, counted from its root.
fn nth<'a>(value: &'a mut Value, n: &mut usize) -> Option<&'a mut Value> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|inner| nth(inner, n)),
        Value::Object(map) => map.values_mut().find_map(|inner| nth(inner, n)),
        _ => None,
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

#[test]
fn the_recorded_answers_are_read() {
    for (index, body) in RECORDED {
        assert!(read(&PROVIDERS[index], body.as_bytes()), "{body}");
    }
}

#[test]
fn answers_cut_off_anywhere() {
    for (index, body) in RECORDED {
        let body = body.trim_end().as_bytes();
        // Every byte of the short ones.
        for end in (0..body.len()).step_by(1 + body.len() / 1_100) {
            assert!(!read(&PROVIDERS[index], &body[..end]), "{end}");
            let mut cut = body::Body::new(end);
            assert!(!cut.push(body));
            if let Some(closed) = cut.closed() {
                serde_json::from_slice::<Value>(&closed).unwrap();
                read(&PROVIDERS[index], &closed);
            }
        }
    }
}

#[test]
fn brackets_without_end_are_not_followed() {
    for sign in ["[", "{\"a\":", "[{\"a\":", "[[]", "\"\\"] {
        let deep = sign.repeat(200_000 / sign.len());
        let mut cut = body::Body::new(deep.len() - 1);
        cut.push(deep.as_bytes());
        let closed = cut.closed();
        for p in &PROVIDERS {
            assert!(!read(p, deep.as_bytes()));
            assert!(closed.iter().all(|closed| !read(p, closed)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_in_a_value(
        which in 0..RECORDED.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), anything()), 1..4),
    ) {
        let (index, body) = RECORDED[which];
        let mut body: Value = serde_json::from_str(body).unwrap();
        for (place, value) in changes {
            let mut n = place.index(size(&body));
            *nth(&mut body, &mut n).unwrap() = value;
        }
        read(&PROVIDERS[index], body.to_string().as_bytes());
    }

    #[test]
    fn whatever_bytes_are_changed(
        which in 0..RECORDED.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..5),
    ) {
        let (index, body) = RECORDED[which];
        let mut body = body.as_bytes().to_vec();
        for (place, byte, how) in changes {
            let at = place.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => body.truncate(at.max(1)),
            }
        }
        read(&PROVIDERS[index], &body);
        let mut cut = body::Body::new(body.len() / 2);
        cut.push(&body);
        if let Some(closed) = cut.closed() {
            read(&PROVIDERS[index], &closed);
        }
    }
}
