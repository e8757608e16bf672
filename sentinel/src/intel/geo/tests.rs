//! Databases written here, byte for byte (<https://maxmind.github.io/MaxMind-DB/>), since none may be shipped.

use super::*;
use crate::files;
use std::net::Ipv4Addr;

/// A value of the format: 2 is text, 5 a 16-bit number, 6 a 32-bit one, 7 a map, 9 (extended) a 64-bit number.
enum Value<'a> {
    Text(&'a str),
    Number(u32),
    Short(u16),
    Epoch(u64),
    Map(Vec<(&'a str, Value<'a>)>),
    /// Extended type 11: a list.
    Empty,
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            assert!(text.len() < 29 + 256);
            if text.len() < 29 {
                out.push(2 << 5 | text.len() as u8);
            } else {
                out.extend([2 << 5 | 0x1d, (text.len() - 29) as u8]);
            }
            out.extend(text.bytes());
        }
        Value::Number(number) => {
            out.push(6 << 5 | 4);
            out.extend(number.to_be_bytes());
        }
        Value::Short(number) => {
            out.push(5 << 5 | 2);
            out.extend(number.to_be_bytes());
        }
        Value::Epoch(number) => {
            out.extend([8, 2]);
            out.extend(number.to_be_bytes());
        }
        Value::Map(pairs) => {
            out.push(7 << 5 | pairs.len() as u8);
            for (key, value) in pairs {
                write(&Value::Text(key), out);
                write(value, out);
            }
        }
        Value::Empty => out.extend([0, 4]),
    }
}

/// An IPv4 database with one record for each prefix.
fn database(kind: &str, nets: &[(&str, Value<'_>)]) -> Vec<u8> {
    const NOTHING: u32 = u32::MAX;
    let mut data = Vec::new();
    let mut nodes = vec![[NOTHING; 2]];
    let mut leaves = Vec::new();
    for (net, value) in nets {
        let net: ipnet::Ipv4Net = net.parse().unwrap();
        let offset = data.len() as u32;
        write(value, &mut data);
        let mut at = 0;
        for depth in 0..net.prefix_len() {
            let bit = (net.network().to_bits() >> (31 - depth) & 1) as usize;
            if depth + 1 == net.prefix_len() {
                leaves.push((at, bit, offset));
            } else if nodes[at][bit] == NOTHING {
                nodes.push([NOTHING; 2]);
                nodes[at][bit] = nodes.len() as u32 - 1;
                at = nodes.len() - 1;
            } else {
                at = nodes[at][bit] as usize;
            }
        }
    }
    let count = nodes.len() as u32;
    for (at, bit, offset) in leaves {
        nodes[at][bit] = count + 16 + offset;
    }
    let mut file = Vec::new();
    for side in nodes.iter().flatten() {
        let side = if *side == NOTHING { count } else { *side };
        file.extend(&side.to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    write(
        &Value::Map(vec![
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Epoch(1_767_225_600)),
            ("database_type", Value::Text(kind)),
            ("description", Value::Map(Vec::new())),
            ("ip_version", Value::Short(4)),
            ("languages", Value::Empty),
            ("node_count", Value::Number(count)),
            ("record_size", Value::Short(24)),
        ]),
        &mut file,
    );
    file
}

fn countries(code: &str) -> Vec<u8> {
    let of = |code| Value::Map(vec![("country", Value::Map(vec![("iso_code", Value::Text(code))]))]);
    database(
        "GeoLite2-Country",
        &[
            ("198.51.100.0/24", of(code)),
            (
                "203.0.113.0/24",
                Value::Map(vec![(
                    "registered_country",
                    Value::Map(vec![("iso_code", Value::Text("CH"))]),
                )]),
            ),
            ("192.0.2.0/25", Value::Map(vec![("country_code", Value::Text("fr"))])),
            ("192.0.2.128/25", of("\u{1b}[31mEvil")),
        ],
    )
}

fn networks() -> Vec<u8> {
    let long = "x".repeat(280);
    database(
        "GeoLite2-ASN",
        &[
            (
                "198.51.100.0/24",
                Value::Map(vec![
                    ("autonomous_system_number", Value::Number(64_500)),
                    ("autonomous_system_organization", Value::Text("Example\n Net")),
                ]),
            ),
            (
                "203.0.113.0/24",
                Value::Map(vec![("autonomous_system_number", Value::Number(64_501))]),
            ),
            (
                "192.0.2.0/25",
                Value::Map(vec![("asn", Value::Text("AS64502")), ("as_name", Value::Text(&long))]),
            ),
            (
                "192.0.2.128/25",
                Value::Map(vec![("autonomous_system_number", Value::Text("none"))]),
            ),
        ],
    )
}

fn of(geo: &Geo, ip: [u8; 4]) -> (Option<String>, Option<String>) {
    let mapped = geo.look_up(Ipv4Addr::from(ip).to_ipv6_mapped().into());
    let found = geo.look_up(ip.into());
    assert_eq!(found, mapped, "mapped is the same");
    (found.country, found.network)
}

#[test]
fn countries_and_networks_are_told_and_whatever_a_file_says_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let config = GeoipConfig {
        country: Some(dir.path().join("country.mmdb")),
        asn: Some(dir.path().join("asn.mmdb")),
    };
    std::fs::write(dir.path().join("country.mmdb"), countries("DE")).unwrap();
    std::fs::write(dir.path().join("asn.mmdb"), networks()).unwrap();
    let geo = Geo::new(&config);
    assert_eq!(
        geo.look_up([198, 51, 100, 7].into()),
        Whereabouts::default(),
        "not opened yet"
    );
    geo.refresh();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&geo, [198, 51, 100, 7]), (some("DE"), some("AS64500 Example Net")));
    assert_eq!(of(&geo, [203, 0, 113, 7]), (some("CH"), some("AS64501")));
    let prefix = |ip: [u8; 4]| geo.look_up(ip.into()).network_prefix.map(|net| net.to_string());
    assert_eq!(prefix([198, 51, 100, 7]), some("198.51.100.0/24"));
    assert_eq!(prefix([192, 0, 2, 7]), some("192.0.2.0/25"));
    assert_eq!(prefix([192, 0, 2, 200]), None, "no number");
    assert_eq!(prefix([8, 8, 8, 8]), None);
    let (country, network) = of(&geo, [192, 0, 2, 7]);
    assert_eq!(country, some("FR"));
    assert_eq!(network.unwrap().len(), "AS64502 ".len() + INDICATOR_TEXT);
    assert_eq!(of(&geo, [192, 0, 2, 200]), (None, None), "neither code nor number");
    assert_eq!(of(&geo, [8, 8, 8, 8]), (None, None));
    assert_eq!(geo.look_up("2001:db8::1".parse().unwrap()), Whereabouts::default());
    let status = geo.status();
    assert_eq!(status[0].kind.as_deref(), Some("GeoLite2-Country"));
    assert_eq!(status[1].built_at, Some(Timestamp(1_767_225_600_000_000_000)));
    assert!(status.iter().all(|one| one.error.is_none()));
}

#[test]
fn a_file_that_is_replaced_is_opened_and_a_broken_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("country.mmdb");
    let config = GeoipConfig {
        country: Some(path.clone()),
        asn: None,
    };
    let geo = Geo::new(&config);
    geo.refresh();
    assert!(geo.status()[0].error.as_ref().unwrap().contains("country.mmdb"));
    let put = |bytes: &[u8]| {
        files::write(&path, bytes).unwrap();
        geo.refresh();
        let error = geo.status()[0].error.clone();
        (of(&geo, [198, 51, 100, 7]).0.unwrap_or_default(), error)
    };
    assert_eq!(put(&countries("DE")), ("DE".into(), None));
    assert_eq!(put(&countries("AT")), ("AT".into(), None));
    let whole = countries("SE");
    let mut bent = whole.clone();
    bent[..6].fill(0xff);
    for broken in [
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 5],
        b"",
        b"<html>",
        &bent,
    ] {
        let (country, error) = put(broken);
        assert_eq!(country, "AT", "the old one stays");
        assert!(error.is_some());
        assert!(matches!(geo.condition(), Condition::Degraded { .. }));
    }
    assert_eq!(put(&whole), ("SE".into(), None));
    std::fs::remove_file(&path).unwrap();
    geo.refresh();
    assert_eq!(of(&geo, [198, 51, 100, 7]).0.as_deref(), Some("SE"));
    assert!(geo.status()[0].error.is_some());
}

#[test]
fn no_bytes_make_it_panic() {
    let whole = countries("DE");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mmdb");
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(open(&path).is_err(), "{cut}");
    }
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0x55;
        if let Ok(reader) = Reader::from_source(bent) {
            for ip in [[198, 51, 100, 7], [192, 0, 2, 200], [8, 8, 8, 8]] {
                if let Ok(found) = reader.lookup(ip.into()) {
                    let _ = (country(&found), network(&found), prefix(&found, ip.into()));
                }
            }
        }
    }
}

#[tokio::test]
async fn the_room_opens_them_tells_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("country.mmdb");
    std::fs::write(&path, countries("DE")).unwrap();
    let geo = Geo::new(&GeoipConfig {
        country: Some(path),
        asn: None,
    });
    let (health, mut told) = watch::channel(Arc::<Health>::default());
    let cancel = CancellationToken::new();
    let room = tokio::spawn(geo.clone().run(health, cancel.clone()));
    told.wait_for(|board| board.components.contains_key(&Component::Geoip))
        .await
        .unwrap();
    assert_eq!(of(&geo, [198, 51, 100, 7]).0.as_deref(), Some("DE"));
    cancel.cancel();
    room.await.unwrap();
}

#[test]
fn a_pipe_is_not_waited_for_and_a_file_that_comes_in_its_place_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("country.mmdb");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let geo = Geo::new(&GeoipConfig {
        country: Some(path.clone()),
        asn: None,
    });
    let (done, ended) = std::sync::mpsc::channel();
    let other = geo.clone();
    std::thread::spawn(move || {
        other.refresh();
        let _ = done.send(());
    });
    ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(geo.status()[0].error.as_ref().unwrap().contains("no regular file"));
    files::write(&path, &countries("DE")).unwrap();
    geo.refresh();
    assert_eq!(of(&geo, [198, 51, 100, 7]).0.as_deref(), Some("DE"));
    assert_eq!(geo.status()[0].error, None);
}
