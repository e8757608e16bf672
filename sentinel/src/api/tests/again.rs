//! Asking again: tags, `304`, and content codings.

use super::*;
use std::io::Read;

const POLLED: [&str; 14] = [
    "/alerts",
    "/decisions",
    "/actions",
    "/investigations",
    "/audit",
    "/stats/history",
    "/protected",
    "/allowlist",
    "/intel",
    "/learn",
    "/acting",
    "/model",
    "/settings",
    "/openapi.json",
];

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    pages::busy(&house, crate::config::Mode::Production).await;
    for path in POLLED
        .iter()
        .copied()
        .chain(["/assets/app.js", "/", "/login/style.css"])
    {
        let (status, headers, body) = answer(&router, get(path)).await;
        assert_eq!(status, 200, "{path}");
        let tag = headers["etag"].to_str().unwrap().to_owned();
        assert!(tag.starts_with("W/\"") && tag.len() > 30, "{path}: {tag}");
        let fresh = headers["cache-control"].to_str().unwrap().to_owned();
        assert!(fresh.contains("no-cache"), "{path}: {fresh}");

        for known in [
            tag.clone(),
            tag.replace("W/", ""),
            format!("\"other\", {tag}"),
            "*".to_owned(),
        ] {
            let (status, headers, rest) = answer(&router, with(get(path), "if-none-match", &known)).await;
            assert_eq!((status.as_u16(), rest.len()), (304, 0), "{path} {known}");
            assert_eq!(headers["etag"], tag.as_str());
            assert_eq!(headers["cache-control"], fresh.as_str());
            assert_eq!(headers["vary"], "accept-encoding");
            assert!(headers.contains_key("content-security-policy") && headers.contains_key("x-request-id"));
            for name in ["content-type", "content-length", "content-encoding"] {
                assert!(!headers.contains_key(name), "{path}: {name}");
            }
        }
        let (status, headers, again) = answer(&router, with(get(path), "if-none-match", "\"other\"")).await;
        assert_eq!((status.as_u16(), again == body), (200, true), "{path}");
        assert_eq!(headers["etag"], tag.as_str());
    }
}

#[tokio::test]
async fn what_changed_has_another_tag() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let tag = async |path: &str| {
        let (_, headers, _) = answer(&router, get(path)).await;
        headers["etag"].to_str().unwrap().to_owned()
    };
    let before = tag("/alerts").await;
    let alert = Record::Alert(Arc::new(alert(&mut Mint::Counted(0), T0)));
    house.keep(vec![alert]).await;
    let after = tag("/alerts").await;
    assert_ne!(before, after);
    let (status, _) = ask(&router, with(get("/alerts"), "if-none-match", &before)).await;
    assert_eq!(status, 200);
    assert_ne!(after, tag("/alerts?severity=high").await);
}

#[tokio::test]
async fn only_answers_to_get_are_tagged_and_only_those_that_are_no_secret() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let wish = json!({ "target": "203.0.113.9" });
    for request in [
        with(send("POST", "/decisions", &wish), "if-none-match", "*"),
        with(get("/alerts/7"), "if-none-match", "*"),
        with(get("/health/ready"), "if-none-match", "*"),
        with(get("/stream"), "if-none-match", "*"),
        with(nobody(get("/alerts")), "if-none-match", "*"),
        with(nobody(get("/")), "if-none-match", "*"),
    ] {
        let told = format!("{} {}", request.method(), request.uri());
        let (status, headers, _) = answer(&router, request).await;
        assert!(status != 304 && !headers.contains_key("etag"), "{told}: {status}");
    }
    let head = Request::head("/alerts")
        .header("host", "127.0.0.1:8000")
        .body(Body::empty());
    let (status, headers, body) = answer(&router, head.unwrap()).await;
    assert_eq!((status.as_u16(), body.len()), (200, 0));
    assert!(!headers.contains_key("etag"), "of a body that is not there");
}

fn nobody(request: Request<Body>) -> Request<Body> {
    with(request, NOBODY, "")
}

fn plain(coding: Option<&HeaderValue>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding.map(|value| value.to_str().unwrap()) {
        None => out.extend_from_slice(body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut out).unwrap()),
        Some("br") => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut out).unwrap()),
        Some(other) => panic!("{other} was not asked for"),
    }
    out
}

#[tokio::test]
async fn answers_are_compressed_as_asked_and_are_one_answer_in_any_coding() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    pages::busy(&house, crate::config::Mode::Production).await;
    for path in ["/alerts", "/openapi.json", "/assets/app.js", "/"] {
        let (_, plain_headers, whole) = answer(&router, get(path)).await;
        for (asked, coding) in [
            ("gzip", Some("gzip")),
            ("br", Some("br")),
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip;q=0.9, br;q=0.1", Some("gzip")),
            ("identity", None),
            ("deflate, zstd", None),
            // Whoever takes nothing at all is answered all the same.
            ("identity;q=0, *;q=0", None),
        ] {
            let (status, headers, body) = answer(&router, with(get(path), "accept-encoding", asked)).await;
            assert_eq!(status, 200, "{path} {asked}");
            let said = headers.get("content-encoding");
            assert_eq!(said.map(|value| value.to_str().unwrap()), coding, "{path} {asked}");
            assert_eq!(plain(said, &body), whole, "{path} {asked}");
            assert!(
                coding.is_none() || body.len() * 2 < whole.len(),
                "{path} {asked}: {}",
                body.len()
            );
            let vary: Vec<_> = headers.get_all("vary").iter().collect();
            assert_eq!(vary, ["accept-encoding"], "{path} {asked}");
            assert_eq!(headers["etag"], plain_headers["etag"], "{path} {asked}");
            let known = headers["etag"].to_str().unwrap().to_owned();
            let again = with(with(get(path), "accept-encoding", asked), "if-none-match", &known);
            let (status, headers, rest) = answer(&router, again).await;
            assert_eq!((status.as_u16(), rest.len()), (304, 0), "{path} {asked}");
            assert!(!headers.contains_key("content-encoding"));
        }
    }
}

#[tokio::test]
async fn what_acts_is_answered_whatever_coding_is_asked_for() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let wish = send("POST", "/decisions", &json!({ "target": "203.0.113.9" }));
    let (status, headers, body) = answer(&router, with(wish, "accept-encoding", "identity;q=0")).await;
    assert_eq!(status, 201, "it is done, and is not told to be refused");
    assert!(!headers.contains_key("content-encoding"));
    let made: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(made["target"], "203.0.113.9/32");
}
