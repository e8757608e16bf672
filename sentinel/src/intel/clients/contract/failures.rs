//! Every failure of a server and of the way there, for every client.

use super::super::testing::{Script, Server, deserted, http, json};
use super::{BAD, CANARY, PROVIDERS, Provider, ask, client, source, sources, told};
use crate::intel::{IntelError, QuotaHint};
use crate::types::{IntelVerdict, Severity};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

const LIMIT: usize = 256 * 1024;

fn limit(p: &Provider) -> usize {
    if p.name == "otx" { 4 * LIMIT } else { LIMIT }
}

/// What the connection's end is called: ThreatCrowd's is how it is expected to be.
fn is_transport(p: &Provider, error: &IntelError, why: &str) -> bool {
    match error {
        IntelError::Transport(told) => p.name != "threatcrowd" && told == why,
        IntelError::Unavailable(told) => p.name == "threatcrowd" && told.contains("shut down") && told.contains(why),
        _ => false,
    }
}

#[tokio::test]
async fn statuses() {
    for p in &PROVIDERS {
        for (status, expected) in [
            ("401 Unauthorized", IntelError::Unauthorised { status: 401 }),
            ("403 Forbidden", IntelError::Unauthorised { status: 403 }),
            ("500 Internal Server Error", IntelError::Status(500)),
            ("503 Service Unavailable", IntelError::Status(503)),
            ("400 Bad Request", IntelError::Status(400)),
            ("204 No Content", IntelError::Status(204)),
        ] {
            let (reply, _server) = told(p.name, Script::Say(http(status, &[], p.hit.as_bytes()))).await;
            assert_eq!(reply, Err(expected), "{} {status}", p.name);
        }
    }
}

#[tokio::test]
async fn patience_is_asked_for_in_seconds_or_by_a_date() {
    let now = crate::time::wall_now().0;
    let in_an_hour = jiff::Timestamp::from_nanosecond(i128::from(now) + 3_600_000_000_000).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&in_an_hour)
        .unwrap();
    let reset = (now / 1_000_000_000 + 3600).to_string();
    let month = Duration::from_hours(31 * 24);
    for p in &PROVIDERS {
        for (after, least, most) in [
            ("86400", Duration::from_hours(24), Duration::from_hours(24)),
            (date.as_str(), Duration::from_secs(3500), Duration::from_hours(1)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Duration::ZERO, Duration::ZERO),
            ("18446744073709551615", month, month),
        ] {
            let headers = [
                ("Retry-After", after),
                ("X-RateLimit-Limit", "1000;w=86400"),
                ("X-RateLimit-Remaining", "0"),
                ("X-RateLimit-Reset", reset.as_str()),
            ];
            let (reply, _server) = told(p.name, Script::Say(http("429 Too Many Requests", &headers, b"{}"))).await;
            let Err(IntelError::RateLimited { retry_after, hint }) = reply else {
                panic!("{}: {reply:?}", p.name)
            };
            let wait = retry_after.unwrap();
            assert!(least <= wait && wait <= most, "{}: {after}: {wait:?}", p.name);
            assert_eq!((hint.limit, hint.remaining), (Some(1000), Some(0)));
            let reset = hint.reset.unwrap().as_secs();
            assert!((3500..=3600).contains(&reset), "{reset}");
        }
        for headers in [&[][..], &[("Retry-After", "soon"), ("X-RateLimit-Remaining", "-1")][..]] {
            let (reply, _server) = told(p.name, Script::Say(http("429 Too Many Requests", headers, b""))).await;
            let expected = IntelError::RateLimited {
                retry_after: None,
                hint: QuotaHint::default(),
            };
            assert_eq!(reply, Err(expected), "{}", p.name);
        }
    }
}

#[tokio::test]
async fn slow_and_hanging_servers_are_left_in_time() {
    let timeout = Duration::from_millis(200);
    for p in &PROVIDERS {
        let late = Duration::from_secs(20);
        let drip = http("200 OK", &[], &[b' '; 100])[..60].to_vec();
        for script in [
            Script::SayAfter(late, json(p.hit)),
            Script::Hang,
            Script::SayAfter(late, drip),
        ] {
            let server = Server::start(script).await;
            let mut config = sources(p.name, &server.url, Some(CANARY));
            source(&mut config, p.name).timeout = timeout;
            let began = tokio::time::Instant::now();
            let reply = client(&config).ask(BAD.parse().unwrap(), Severity::High).await;
            assert_eq!(reply, Err(IntelError::Timeout(timeout)), "{}", p.name);
            assert!(began.elapsed() < late / 2, "{}: {:?}", p.name, began.elapsed());
        }
    }
}

#[tokio::test]
async fn connections_that_break_off() {
    for p in &PROVIDERS {
        let whole = json(p.hit);
        let head = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{\"data\":".to_vec();
        for (what, bytes) in [
            ("nothing", Vec::new()),
            ("half a head", whole[..head / 2].to_vec()),
            ("a head", whole[..head].to_vec()),
            ("half a body", whole[..usize::midpoint(head, whole.len())].to_vec()),
            ("all but a byte", whole[..whole.len() - 1].to_vec()),
            ("half a chunk", chunked),
        ] {
            let (reply, _server) = told(p.name, Script::Say(bytes)).await;
            let error = reply.unwrap_err();
            assert!(
                is_transport(p, &error, "the connection broke off"),
                "{} {what}: {error:?}",
                p.name
            );
        }
    }
}

#[tokio::test]
async fn servers_that_are_not_there() {
    // A label longer than 63 bytes is refused by the resolver itself: no packet is sent.
    let nowhere = format!("http://{}.example", "a".repeat(64));
    let nobody = deserted().await;
    let plain = Server::start(Script::Greet(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    let no_tls = plain.url.replace("http://", "https://");
    for p in &PROVIDERS {
        for (url, why) in [
            (&nowhere, "DNS: its name does not resolve"),
            (&nobody, "connection refused"),
            (&no_tls, "TLS: no handshake"),
        ] {
            let mut config = sources(p.name, url, Some(CANARY));
            source(&mut config, p.name).timeout = Duration::from_secs(20);
            let error = client(&config)
                .ask(BAD.parse().unwrap(), Severity::High)
                .await
                .unwrap_err();
            assert!(is_transport(p, &error, why), "{}: {error:?}", p.name);
        }
    }
    assert_eq!(plain.connections(), PROVIDERS.len() as u64);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::start(Script::Say(json("{}"))).await;
    for p in &PROVIDERS {
        for status in [
            "301 Moved Permanently",
            "302 Found",
            "307 Temporary Redirect",
            "308 Permanent Redirect",
        ] {
            let to = [("Location", elsewhere.url.as_str())];
            let (reply, server) = told(p.name, Script::Say(http(status, &to, b""))).await;
            let code = status[..3].parse().unwrap();
            assert_eq!(reply, Err(IntelError::Status(code)), "{} {status}", p.name);
            assert_eq!(server.connections(), 1);
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn what_is_no_json_is_named_and_not_repeated() {
    let html = "HTML; check its `url`, and that no proxy or portal answers in its place";
    for p in &PROVIDERS {
        for (body, expected) in [
            ("\n<!DOCTYPE html><title>Secret plans</title>", html),
            ("", "nothing"),
            (" \r\n", "nothing"),
            ("Service busy", "no JSON at line 1, column 1"),
            ("{\"<b>plans</b>\":\n[1,2", "no JSON at line 2, column 4"),
            ("{\"plans\": \"\u{7}\"}", "no JSON at line 1, column 11"),
            ("[]", ""),
            ("\"plans\"", "other JSON"),
            ("null", "other JSON"),
        ] {
            let (reply, _server) = told(p.name, Script::Say(json(body))).await;
            let Err(IntelError::Malformed(why)) = reply else {
                panic!("{} {body}: {reply:?}", p.name)
            };
            // serde takes a list for a struct, and finds the first field missing.
            assert!(
                why == expected || expected.is_empty() && !why.is_empty(),
                "{} {body}: {why}",
                p.name
            );
            assert!(!why.contains("plans"), "{why}");
        }
        let twice = format!("{} {{}}", p.hit);
        let (reply, _server) = told(p.name, Script::Say(json(&twice))).await;
        assert!(matches!(reply, Err(IntelError::Malformed(_))), "{}", p.name);
    }
}

#[tokio::test]
async fn wrong_types_are_named_by_field_and_not_repeated() {
    for p in &PROVIDERS {
        for (pointer, path) in p.fields {
            let mut body: Value = serde_json::from_str(p.hit).unwrap();
            let field = body
                .pointer_mut(pointer)
                .unwrap_or_else(|| panic!("{} {pointer}", p.name));
            *field = if field.is_object() || field.is_array() {
                json!("secret plans")
            } else {
                json!({"secret plans": "secret plans"})
            };
            let (reply, _server) = told(p.name, Script::Say(json(&body.to_string()))).await;
            assert_eq!(
                reply,
                Err(IntelError::Malformed(format!("`{path}`"))),
                "{} {pointer}",
                p.name
            );
        }
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for (name, body, path) in [
        ("virustotal", json!({}), "data"),
        ("virustotal", json!({"data": {"type": "ip_address"}}), "data.attributes"),
        ("abuseipdb", json!({"data": {}}), "data.abuseConfidenceScore"),
        ("otx", json!({"pulse_info": {"count": 1}}), "pulse_info.pulses"),
        ("ipqualityscore", json!({"success": true}), "fraud_score"),
        ("greynoise", json!({"message": "Success", "noise": true}), "riot"),
        ("threatcrowd", json!({"votes": 1}), "response_code"),
    ] {
        let (reply, _server) = told(name, Script::Say(json(&body.to_string()))).await;
        assert_eq!(reply, Err(IntelError::Malformed(format!("`{path}`"))), "{name}");
    }
}

#[tokio::test]
async fn huge_bodies_are_cut_off() {
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x1_0000], b"\r\n".to_vec()].concat();
    for p in &PROVIDERS {
        let length = http("200 OK", &[], &vec![b' '; 8 * LIMIT]);
        let (reply, _server) = told(p.name, Script::Say(length)).await;
        assert_eq!(reply, Err(IntelError::TooLarge(limit(p))), "{}", p.name);

        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let (reply, server) = told(p.name, Script::Endless(head, chunk.clone())).await;
        assert_eq!(reply, Err(IntelError::TooLarge(limit(p))), "{}", p.name);
        let patience = async {
            while server.hung_up_on() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), patience).await.unwrap();

        // To the byte.
        for (more, fits) in [(0, true), (1, false)] {
            let padded = p.hit.to_owned() + &" ".repeat(limit(p) - p.hit.len() + more);
            let (reply, _server) = told(p.name, Script::Say(json(&padded))).await;
            // AbuseIPDB's reports may lack their end, and nothing does.
            assert_eq!(reply.is_ok(), fits || p.name == "abuseipdb", "{} {more}", p.name);
        }
    }
}

#[tokio::test]
async fn endless_heads_are_cut_off() {
    for p in &PROVIDERS {
        let head = b"HTTP/1.1 200 OK\r\n".to_vec();
        let (reply, _server) = told(p.name, Script::Endless(head, b"X-Plans: a long one\r\n".to_vec())).await;
        let error = reply.unwrap_err();
        assert!(
            is_transport(p, &error, "the connection broke off"),
            "{}: {error:?}",
            p.name
        );
    }
}

#[tokio::test]
async fn compressed_answers_are_read_and_bombs_are_not() {
    let pack = |bytes: &[u8], times: usize| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        for _ in 0..times {
            packer.write_all(bytes).unwrap();
        }
        packer.finish().unwrap()
    };
    let gzip = [("Content-Encoding", "gzip")];
    let bomb = pack(&vec![b' '; 1 << 20], 64);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    for p in &PROVIDERS {
        let packed = pack(p.hit.as_bytes(), 1);
        let (reply, _server) = told(p.name, Script::Say(http("200 OK", &gzip, &packed))).await;
        assert!(
            reply.unwrap().indicator.verdict >= IntelVerdict::Suspicious,
            "{}",
            p.name
        );

        let (reply, _server) = told(p.name, Script::Say(http("200 OK", &gzip, &bomb))).await;
        assert_eq!(reply, Err(IntelError::TooLarge(limit(p))), "{}", p.name);

        let (reply, _server) = told(p.name, Script::Say(http("200 OK", &gzip, b"no gzip at all, this"))).await;
        let damaged = IntelError::Malformed("a compressed body that is damaged".to_owned());
        assert_eq!(reply, Err(damaged), "{}", p.name);
    }
}

#[tokio::test]
async fn a_question_that_is_given_up_ends_the_connection() {
    for p in &PROVIDERS {
        let chunk = [b"10\r\n".to_vec(), vec![b' '; 16], b"\r\n".to_vec()].concat();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let server = Server::start(Script::Endless(head, chunk)).await;
        let question = ask(&server.url, p.name, BAD);
        let _ = tokio::time::timeout(Duration::from_millis(1), question).await;
        let patience = async {
            while server.connections() > server.hung_up_on() && !server.requests().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), patience).await.unwrap();
    }
}
