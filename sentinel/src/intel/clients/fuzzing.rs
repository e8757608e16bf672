//! For `fuzz`: answers of providers.

use super::{abuseipdb, body, greynoise, ipqualityscore, otx, threatcrowd, virustotal};
use crate::intel::IntelError;
use crate::types::{INDICATOR_PARTS, INDICATOR_TEXT, Indicator, Timestamp};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Longest part of an answer that is read here, bytes.
const LIMIT: usize = 16 << 10;

/// Reads an answer of the provider of that place in the settings, whole or its beginning.
pub fn answer(provider: u8, bytes: &[u8]) {
    let now = Timestamp(1_784_678_400_000_000_000);
    let ip = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 45));
    let mut held = body::Body::new(LIMIT);
    held.push(bytes);
    let text = match held.whole() {
        Ok(whole) => whole.to_vec(),
        Err(_) => held.closed().unwrap_or_default(),
    };
    macro_rules! read {
        ($client:ident) => {
            body::parse::<$client::Answer>(&text).map(|answer| $client::indicator(&answer, ip, now))
        };
    }
    let read = match provider % 6 {
        0 => read!(virustotal),
        1 => read!(abuseipdb),
        2 => read!(otx),
        3 => read!(ipqualityscore),
        4 => read!(greynoise),
        _ => read!(threatcrowd),
    };
    match read {
        Ok(indicator) => bounded(&indicator, now),
        Err(IntelError::Malformed(why)) => assert!(why.len() < 100 && why.is_ascii(), "{why}"),
        Err(other) => panic!("{other}"),
    }
}

/// Whatever was answered, what is kept of it is within its bounds.
pub(super) fn bounded(told: &Indicator, now: Timestamp) {
    assert!(
        (0.0..=1.0).contains(&told.score) && (0.0..=1.0).contains(&told.confidence),
        "{told:?}"
    );
    assert!(told.categories.len() <= INDICATOR_PARTS && told.raw.len() <= INDICATOR_PARTS);
    for text in told.categories.iter().chain(told.raw.iter().flat_map(|(k, v)| [k, v])) {
        assert!(text.chars().count() <= INDICATOR_TEXT && !text.contains(char::is_control));
    }
    for seen in [told.first_seen, told.last_seen].into_iter().flatten() {
        assert!(seen.0 > 0 && seen <= now.after(Duration::from_hours(24)));
    }
    let kept = serde_json::to_string(told).and_then(|text| serde_json::from_str::<Indicator>(&text));
    let same =
        |kept: &Indicator| (kept.verdict, &kept.categories, &kept.raw) == (told.verdict, &told.categories, &told.raw);
    assert!(kept.as_ref().is_ok_and(same), "{told:?} is kept as {kept:?}");
}
