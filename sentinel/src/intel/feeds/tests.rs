//! The room against a server on the loopback.

mod lapi;

use super::testing::*;
use crate::store::{AuditFilter, Store};
use crate::types::{Component, Condition, IntelVerdict, Timestamp};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
/// The interval, and as much as luck may add.
const LATER: Duration = Duration::from_mins(66);
const DAY: Duration = Duration::from_hours(24);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cins(mirror: &str) -> (tempfile::TempDir, String) {
    (tempfile::tempdir().unwrap(), mirror.to_owned())
}

const CINS: Setup<'static> = Setup {
    enabled: &["cins"],
    block: &[],
    protected: Vec::new(),
    kernel: None,
    store: None,
    max_bytes: None,
    custom: Vec::new(),
    lapi: None,
    hasty: false,
};

#[tokio::test]
async fn a_list_is_fetched_once_confirmed_by_its_tag_and_exchanged_when_it_changed() {
    let version = Arc::new(AtomicUsize::new(1));
    let current = Arc::clone(&version);
    let server = Server::start(move |head| {
        let n = current.load(Ordering::Relaxed);
        if head.contains(&format!("if-none-match: \"v{n}\"")) && head.contains("if-modified-since: thu, 01 jan 2026") {
            return answer(304, "", b"");
        }
        let headers = format!("ETag: \"v{n}\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n");
        answer(200, &headers, list(300 + n as u32).as_bytes())
    })
    .await;
    let (dir, url) = cins(&server.url());
    let mut bench = Bench::new(dir.path(), &url, CINS, START).await;
    assert!(bench.feeds.matches(ip("20.0.0.7")).is_empty());
    let next = bench.room.tend().await;
    assert!(next >= START.after(HOUR) && next <= START.after(LATER));
    let status = bench.status();
    assert_eq!(
        (status.entries, status.accepted, status.etag.as_deref()),
        (301, 1, Some("\"v1\""))
    );
    let told = bench.feeds.matches(ip("20.0.0.7"));
    assert_eq!(
        (told.len(), told[0].source.as_str(), told[0].verdict),
        (1, "feed:cins", IntelVerdict::Malicious)
    );
    assert_eq!((told[0].first_seen, told[0].asked_at), (Some(START), START));
    assert_eq!(told[0].raw["prefix"], "20.0.0.7/32");
    assert_eq!(bench.feeds.matches(ip("::ffff:20.0.0.7")), told, "mapped is the same");
    // Before its time nobody is asked, however often the room looks.
    bench.advance(Duration::from_secs(3_599));
    bench.room.tend().await;
    assert_eq!(server.count(), 1);
    bench.advance(Duration::from_secs(361));
    bench.room.tend().await;
    let status = bench.status();
    assert_eq!((server.count(), status.unchanged, status.entries), (2, 1, 301));
    assert_eq!(
        (status.fetched_at, status.checked_at),
        (Some(START), Some(START.after(LATER)))
    );
    version.store(2, Ordering::Relaxed);
    bench.advance(LATER);
    bench.room.tend().await;
    let status = bench.status();
    assert_eq!((status.entries, status.accepted), (302, 2));
    // What was on it before keeps its date; what is new has its own.
    assert_eq!(bench.feeds.matches(ip("20.0.0.7"))[0].first_seen, Some(START));
    assert_eq!(
        bench.feeds.matches(ip("21.5.0.7"))[0].first_seen,
        Some(START.after(2 * LATER))
    );
    let text = bench.metrics.encode().unwrap();
    assert!(
        text.contains(r#"sentinel_feed_fetches_total{feed="cins",result="unchanged"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"sentinel_feed_entries{feed="cins"} 302"#), "{text}");
    let user_agent = format!("user-agent: sentinel/{}", env!("CARGO_PKG_VERSION"));
    assert!(
        server
            .asked
            .lock()
            .unwrap()
            .iter()
            .all(|head| head.contains(&user_agent))
    );
}

#[tokio::test]
async fn a_restart_has_its_lists_at_once_and_asks_nobody_before_the_time() {
    let server = Server::start(|head| {
        if head.contains("if-none-match: \"a\"") {
            return answer(304, "", b"");
        }
        answer(200, "ETag: \"a\"\r\n", list(50).as_bytes())
    })
    .await;
    let (dir, url) = cins(&server.url());
    Bench::new(dir.path(), &url, CINS, START).await.room.tend().await;
    let at = START.after(HOUR / 2);
    let mut again = Bench::new(dir.path(), &url, CINS, at).await;
    let status = again.status();
    assert_eq!(
        (status.entries, status.fetched_at),
        (50, Some(START)),
        "before anybody was asked"
    );
    let told = again.feeds.matches(ip("20.0.0.7"));
    assert_eq!(
        (told[0].first_seen, told[0].asked_at),
        (Some(START), START),
        "its age is told"
    );
    again.room.tend().await;
    assert_eq!(server.count(), 1);
    again.advance(LATER);
    again.room.tend().await;
    assert_eq!(
        (server.count(), again.status().unchanged),
        (2, 1),
        "asked by the tag that was kept"
    );
    // A clock that was set back by a year silences nobody for longer than the interval.
    let past = Timestamp(START.0 - 365 * DAY.as_nanos() as i64);
    let mut back = Bench::new(dir.path(), &url, CINS, past).await;
    back.room.tend().await;
    assert_eq!(server.count(), 2);
    back.advance(LATER);
    back.room.tend().await;
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn who_crashes_while_asking_does_not_ask_again_before_the_time() {
    let server = Server::start(|_| (Vec::new(), After::Hang)).await;
    let (dir, url) = cins(&server.url());
    let mut bench = Bench::new(dir.path(), &url, CINS, START).await;
    // Dropped in the midst of it, as by a shutdown.
    let asked = async {
        while server.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = bench.room.tend() => panic!("nobody was to answer"),
        () = asked => {}
    }
    assert_eq!(server.count(), 1);
    let mut again = Bench::new(dir.path(), &url, CINS, START.after(HOUR / 2)).await;
    again.room.tend().await;
    assert_eq!(server.count(), 1);
    assert_eq!(names(dir.path()), ["cins.json"], "nothing half is left");
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Answers well first, then with `then`; what comes of that, for a list that was there.
async fn afterwards(
    hasty: bool,
    then: impl Fn(&str) -> (Vec<u8>, After) + Send + Sync + 'static,
) -> (String, Duration, Bench) {
    let first = AtomicUsize::new(0);
    let server = Server::start(move |head| {
        if first.fetch_add(1, Ordering::Relaxed) == 0 {
            answer(200, "", list(400).as_bytes())
        } else {
            then(head)
        }
    })
    .await;
    let (dir, url) = cins(&server.url());
    let setup = Setup {
        max_bytes: Some(200_000),
        hasty,
        ..CINS
    };
    let mut bench = Bench::new(dir.path(), &url, setup, START).await;
    bench.room.tend().await;
    assert_eq!(bench.status().entries, 400);
    bench.advance(LATER);
    let next = bench.room.tend().await;
    let status = bench.status();
    assert_eq!(
        (status.entries, status.fetched_at),
        (400, Some(START)),
        "the old list stays"
    );
    assert_eq!(status.failures, 1);
    assert!(bench.feeds.contains(ip("20.0.0.7")));
    assert_eq!(names(dir.path()), ["cins.json", "cins.list"]);
    let wait = Duration::from_nanos((next.0 - START.after(LATER).0) as u64);
    (status.last_error.unwrap(), wait, bench)
}

/// What the reason must name, and what the server does.
type Case = (&'static str, Box<dyn Fn(&str) -> (Vec<u8>, After) + Send + Sync>);

#[tokio::test]
async fn whatever_a_server_answers_the_old_list_stays_and_the_reason_is_told() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = gzip(&vec![b'\n'; 50_000_000]);
    let half = gzip(list(400).as_bytes());
    let half = half[..half.len() / 2].to_vec();
    let html = b"<!DOCTYPE html><html><body>Please log in</body></html>".to_vec();
    let head = "HTTP/1.1 200 OK\r\n";
    let cases: Vec<Case> = vec![
        ("HTTP 403; the provider refuses", Box::new(|_| answer(403, "", b"no"))),
        ("HTTP 500", Box::new(|_| answer(500, "", b""))),
        ("HTTP 404", Box::new(|_| answer(404, "", b""))),
        ("HTTP 304", Box::new(|_| answer(304, "", b""))),
        (
            "HTTP 429; the provider asks for patience",
            Box::new(|_| answer(429, "Retry-After: 20000\r\n", b"")),
        ),
        ("HTTP 206", Box::new(|_| answer(206, "", list(399).as_bytes()))),
        ("no answer in time", Box::new(|_| (Vec::new(), After::Hang))),
        (
            "no answer in time",
            Box::new(move |_| (format!("{head}\r\n").into_bytes(), After::Drip)),
        ),
        (
            "broke off",
            Box::new(move |_| {
                (
                    format!("{head}Content-Length: 5000\r\n\r\n1.2.3.4\n").into_bytes(),
                    After::Close,
                )
            }),
        ),
        (
            "broke off",
            Box::new(move |_| {
                let text = format!("{head}Transfer-Encoding: chunked\r\n\r\n8\r\n1.2.3.4\n\r\n");
                (text.into_bytes(), After::Close)
            }),
        ),
        (
            "longer than 200000 bytes",
            Box::new(|_| {
                let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
                (huge.into(), After::Hang)
            }),
        ),
        (
            "longer than 200000 bytes",
            Box::new(move |_| (format!("{head}\r\n").into_bytes(), After::Flood)),
        ),
        (
            "longer than 200000 bytes",
            Box::new(move |_| answer(200, "Content-Encoding: gzip\r\n", &bomb)),
        ),
        (
            "broke off",
            Box::new(move |_| answer(200, "Content-Encoding: gzip\r\n", &half)),
        ),
        (
            "a captive portal",
            Box::new(|_| answer(200, "Content-Type: text/html; charset=utf-8\r\n", list(400).as_bytes())),
        ),
        (
            "is HTML",
            Box::new(move |_| answer(200, "Content-Type: text/plain\r\n", &html)),
        ),
        (
            "refused: it is empty",
            Box::new(|_| answer(200, "", b"# nothing today\n")),
        ),
        (
            "shrank from 400 entries to 20",
            Box::new(|_| answer(200, "", list(20).as_bytes())),
        ),
        (
            "grew from 400 entries to 8001",
            Box::new(|_| answer(200, "", list(8_001).as_bytes())),
        ),
        (
            "0.0.0.0/0 is wider",
            Box::new(|_| answer(200, "", (list(400) + "0.0.0.0/0\n").as_bytes())),
        ),
        (
            "10.0.0.0/8 is private",
            Box::new(|_| answer(200, "", (list(400) + "10.0.0.0/8\n").as_bytes())),
        ),
        ("is no plain text", Box::new(|_| answer(200, "", b"1.2.3.4\n\0\0\0\n"))),
        (
            "longer than 1024 bytes",
            Box::new(|_| answer(200, "", &[b'1'; 100_000])),
        ),
        (
            "is not HTTPS",
            Box::new(|_| answer(302, "Location: http://192.0.2.1/x\r\n", b"")),
        ),
        (
            "not on the internet",
            Box::new(|_| answer(301, "Location: https://127.0.0.1:1/x\r\n", b"")),
        ),
        (
            "not on the internet",
            Box::new(|_| answer(301, "Location: https://[::1]:1/x\r\n", b"")),
        ),
        (
            "not on the internet",
            Box::new(|_| answer(301, "Location: https://169.254.169.254/x\r\n", b"")),
        ),
        (
            "not on the internet",
            Box::new(|_| answer(301, "Location: https://[::ffff:10.0.0.1]/x\r\n", b"")),
        ),
        (
            "no address on the internet",
            Box::new(|_| answer(307, "Location: https://localhost:1/x\r\n", b"")),
        ),
        ("does not say where to", Box::new(|_| answer(302, "", b""))),
        (
            "more than three times",
            Box::new(|_| answer(302, "Location: /again\r\n", b"")),
        ),
    ];
    for (want, case) in cases {
        let (error, wait, bench) = afterwards(want == "no answer in time", case).await;
        assert!(error.contains(want), "{want}: {error}");
        assert!(!error.contains("http://"), "{error}");
        let least = if want.contains("429") {
            Duration::from_secs(20_000)
        } else if want.contains("no address") {
            Duration::from_mins(1)
        } else {
            HOUR
        };
        assert!(wait >= least && wait <= least.mul_f64(1.1), "{want}: {wait:?}");
        let refused = bench.status().refused == 1;
        let degraded = matches!(
            bench.health.borrow().components[&Component::Feeds],
            Condition::Degraded { .. }
        );
        assert_eq!(
            refused, degraded,
            "{want}: a refused list is told at once, one that did not come after three times"
        );
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_makes_no_connection() {
    let inner = Server::start(|_| answer(200, "", list(400).as_bytes())).await;
    let to = inner.url();
    let (error, ..) = afterwards(false, move |_| answer(302, &format!("Location: {to}/x\r\n"), b"")).await;
    assert!(error.contains("is not HTTPS"), "{error}");
    assert_eq!(inner.count(), 0);
}

#[tokio::test]
async fn a_redirect_to_the_same_place_is_followed_and_gzip_is_read() {
    let server = Server::start(|head| {
        if head.starts_with("get /cins ") {
            return answer(302, "Location: /moved\r\n", b"");
        }
        assert!(head.contains("accept-encoding: gzip"), "{head}");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(list(70).as_bytes()).unwrap();
        answer(200, "Content-Encoding: gzip\r\n", &encoder.finish().unwrap())
    })
    .await;
    let (dir, url) = cins(&server.url());
    let mut bench = Bench::new(dir.path(), &url, CINS, START).await;
    bench.room.tend().await;
    assert_eq!((bench.status().entries, server.count()), (70, 2));
}

#[tokio::test]
async fn who_is_not_reached_is_tried_again_soon_and_was_not_asked() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (dir, url) = cins(&format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let mut bench = Bench::new(dir.path(), &url, CINS, START).await;
    let next = bench.room.tend().await;
    assert!(next >= START.after(Duration::from_mins(1)) && next < START.after(Duration::from_secs(67)));
    let Condition::Degraded { cause, .. } = bench.health.borrow().components[&Component::Feeds].clone() else {
        panic!("without any list it is told at the first failure");
    };
    assert!(cause.contains("cins: not reached"), "{cause}");
}

#[tokio::test]
async fn a_list_that_names_us_is_refused_and_what_the_operator_allows_is_left_out() {
    let server = Server::start(|_| answer(200, "", (list(300) + "45.0.0.0/16\n").as_bytes())).await;
    for (guard, target, entries) in [
        ("own_address", "45.0.3.9/32", 0),
        ("gateway", "45.0.0.0/12", 0),
        ("resolver", "20.0.0.7/32", 0),
        ("allowlist", "20.0.0.0/8", 296),
        ("allowlist", "45.0.3.9/32", 301),
    ] {
        let (dir, url) = cins(&server.url());
        let setup = Setup {
            protected: vec![protected(target, guard)],
            ..CINS
        };
        let mut bench = Bench::new(dir.path(), &url, setup, START).await;
        bench.room.tend().await;
        let status = bench.status();
        assert_eq!(status.entries, entries, "{guard} {target}: {:?}", status.last_error);
        if entries == 0 {
            assert!(status.last_error.unwrap().contains(guard), "{guard}");
        } else {
            assert_eq!(status.entries + status.left_out, 301);
        }
    }
}

#[tokio::test]
async fn a_list_that_nobody_confirms_ends_after_its_time() {
    let first = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        if first.fetch_add(1, Ordering::Relaxed) == 0 {
            answer(200, "", list(100).as_bytes())
        } else {
            answer(503, "", b"")
        }
    })
    .await;
    let (dir, url) = cins(&server.url());
    let memory = Arc::new(Memory::default());
    let (store, writer) = Store::open(&dir.path().join("s.db")).unwrap();
    let writer = std::thread::spawn(move || writer.run());
    let setup = || Setup {
        block: &["cins"],
        kernel: Some(memory.clone()),
        store: Some(store.clone()),
        ..CINS
    };
    let mut bench = Bench::new(dir.path(), &url, setup(), START).await;
    bench.room.tend().await;
    assert_eq!(memory.lists.lock().unwrap()[&5].1.len(), 100);
    bench.advance(Duration::from_hours(7 * 24 - 1));
    bench.room.tend().await;
    assert!(bench.feeds.contains(ip("20.0.0.7")));
    assert!(!bench.status().kernel.unwrap().simulated);
    bench.advance(HOUR);
    bench.room.tend().await;
    assert!(!bench.feeds.contains(ip("20.0.0.7")));
    assert!(memory.lists.lock().unwrap().is_empty(), "in the kernel neither");
    let again = Bench::new(dir.path(), &url, setup(), START.after(8 * DAY)).await;
    assert!(again.feeds.set().is_empty(), "nor after a restart");
    let audit = store.audit(AuditFilter::default()).await.unwrap().items;
    let told: Vec<_> = audit
        .iter()
        .rev()
        .map(|e| (e.verb.as_str(), e.subject.as_str()))
        .collect();
    assert_eq!(told, [("feed.in_force", "cins"), ("feed.withdrawn", "cins")]);
    let first = &audit[1].detail;
    assert!(
        first.starts_with("the kernel drops by 100 entries until 2026-01-08"),
        "{first}"
    );
    store.close();
    drop(again);
    writer.join().unwrap();
}

#[tokio::test]
async fn lists_reach_the_kernel_as_far_as_they_are_worth_dropping_and_leave_it_when_unwanted() {
    let server = Server::start(|head| {
        if head.starts_with("get /ipsum") {
            return answer(
                200,
                "",
                b"# ipsum\n45.1.1.1\t9\n45.2.1.1\t3\n46.3.1.1\t2\n47.1.1.1\t1\n",
            );
        }
        answer(200, "", list(80).as_bytes())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    let both = ["cins", "ipsum"];
    let setup = |block: &'static [&'static str]| Setup {
        enabled: &both,
        block,
        kernel: Some(memory.clone()),
        protected: vec![protected("45.1.0.0/16", "allowlist")],
        ..CINS
    };
    let mut bench = Bench::new(dir.path(), &server.url(), setup(&["cins", "ipsum"]), START).await;
    bench.room.tend().await;
    {
        let lists = memory.lists.lock().unwrap();
        assert_eq!(lists.keys().copied().collect::<Vec<_>>(), [5, 8]);
        assert_eq!(lists[&8].1, ["45.2.1.1/32".parse().unwrap()]);
        assert!(!lists[&8].0.shadow);
    }
    let status = bench.feeds.status();
    let kernel = status[1].kernel.clone().unwrap();
    assert_eq!((kernel.entries, kernel.left_out, kernel.dropped), (1, 2, 1));
    assert_eq!(kernel.until, Some(START.after(7 * DAY)));
    assert!(kernel.note.unwrap().contains("3 lists"));
    // Restarted with less to block: what is not wanted goes, what is stays.
    let again = Bench::new(dir.path(), &server.url(), setup(&["ipsum"]), START.after(HOUR / 2)).await;
    assert_eq!(memory.lists.lock().unwrap().keys().copied().collect::<Vec<_>>(), [8]);
    assert_eq!(again.feeds.status()[0].kernel, None);
    assert!(again.feeds.contains(ip("20.0.0.7")), "it still tells");
}

#[tokio::test]
async fn what_does_not_fit_into_the_kernel_is_told_with_the_mend() {
    let server = Server::start(|_| answer(200, "", list(80).as_bytes())).await;
    let (dir, url) = cins(&server.url());
    for (kernel, want) in [
        (
            Some(Arc::new(Memory {
                room: Some(79),
                ..Memory::default()
            })),
            "kernel.list_capacity",
        ),
        (None, "no kernel programs"),
    ] {
        let setup = Setup {
            block: &["cins"],
            kernel: kernel.map(|kernel| kernel as _),
            ..CINS
        };
        let mut bench = Bench::new(dir.path(), &url, setup, START).await;
        bench.room.tend().await;
        let stands = bench.status().kernel.unwrap();
        assert!(!stands.loaded && stands.error.unwrap().contains(want));
        let health = bench.health.borrow().components[&Component::Feeds].clone();
        assert!(matches!(health, Condition::Degraded { cause, .. } if cause.contains(want)));
    }
}

#[tokio::test]
async fn kept_lists_that_are_damaged_or_of_another_place_are_not_used() {
    let server = Server::start(|_| answer(200, "ETag: \"a\"\r\n", list(50).as_bytes())).await;
    let (dir, url) = cins(&server.url());
    Bench::new(dir.path(), &url, CINS, START).await.room.tend().await;
    let path = dir.path().join("cins.list");
    let whole = std::fs::read_to_string(&path).unwrap();
    let reopened = async || {
        let bench = Bench::new(dir.path(), &url, CINS, START.after(HOUR / 2)).await;
        (bench.status().entries, bench.status().last_error)
    };
    assert_eq!(reopened().await, (50, None));
    let cut = whole.len() - 30;
    let swapped = whole.replacen("20.0.0.7/32", "99.0.0.7/32", 1);
    let wide = whole.replacen("20.0.0.7/32", "16.0.0.0/7", 1);
    let more = whole.clone() + "99.0.0.7/32 1 0\n";
    for damaged in [
        &whole[..cut],
        &swapped,
        &more,
        "",
        "{}\n",
        "\u{0}",
        &whole.replace(' ', "  "),
    ] {
        std::fs::write(&path, damaged).unwrap();
        let (entries, error) = reopened().await;
        assert_eq!(entries, 0, "{damaged:.40}");
        assert!(error.unwrap().contains("is damaged"));
    }
    std::fs::write(&path, wide).unwrap();
    assert!(reopened().await.1.unwrap().contains("16.0.0.0/7 is wider"));
    std::fs::write(&path, &whole).unwrap();
    let other = Bench::new(dir.path(), "http://127.0.0.1:1", CINS, START).await;
    assert_eq!(other.status().entries, 0);
    // Damaged meta data only mean that it is asked anew, without a tag.
    std::fs::write(dir.path().join("cins.json"), "{").unwrap();
    let mut bench = Bench::new(dir.path(), &url, CINS, START.after(HOUR / 2)).await;
    bench.room.tend().await;
    assert!(!server.asked.lock().unwrap()[1].contains("if-none-match"));
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told_and_nobody_is_asked_in_vain() {
    let server = Server::start(|_| answer(200, "", list(50).as_bytes())).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut bench = Bench::new(&file.join("feeds"), &server.url(), CINS, START).await;
    bench.room.tend().await;
    let health = bench.health.borrow().components[&Component::Feeds].clone();
    assert!(matches!(health, Condition::Degraded { cause, .. } if cause.contains("file/feeds")));
    assert_eq!((bench.status().entries, server.count()), (0, 0));
}

#[tokio::test]
async fn every_built_in_feed_is_read_as_its_provider_writes_it() {
    let server = Server::start(|head| {
        let name = head.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        let body = match name.as_str() {
            "spamhaus_drop" => concat!(
                r#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}"#, "\n",
                r#"{"cidr":"5.134.128.0/19","sblid":"SBL270738","rir":"ripencc"}"#, "\n",
                r#"{"type":"metadata","timestamp":1767225600,"size":123,"records":2,"copyright":"(c)","terms":"t"}"#, "\n",
            ),
            "spamhaus_dropv6" => concat!(
                r#"{"cidr":"2a06:e480::/29","sblid":"SBL301771","rir":"ripencc"}"#, "\n",
                r#"{"type":"metadata","timestamp":1767225600,"size":123,"records":1}"#, "\n",
            ),
            "firehol_level1" => "#\n# firehol_level1\n#\n# ipv4 hash:net ipset\n#\n0.0.0.0/8\n1.10.16.0/20\n10.0.0.0/8\n2.56.192.0/22\n224.0.0.0/3\n",
            "feodo" => "########\r\n# abuse.ch Feodo Tracker #\r\n########\r\n#\r\n# DstIP\r\n50.16.16.211\r\n# END 1 entries\r\n",
            "blocklist_de" => "45.1.2.3\n2a01:4f8::1\n",
            "cins" | "emerging_threats" | "tor_exits" => "45.1.2.3\n46.1.2.3\n",
            "ipsum" => "# IPsum Threat Intelligence Feed\n#\n45.1.2.3\t8\n46.1.2.3\t1\n",
            other => panic!("{other}"),
        };
        answer(200, "Content-Type: text/plain\r\n", body.as_bytes())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        enabled: &crate::config::FEED_NAMES,
        ..CINS
    };
    let mut bench = Bench::new(dir.path(), &server.url(), setup, START).await;
    bench.room.tend().await;
    let got: Vec<_> = bench
        .feeds
        .status()
        .iter()
        .map(|one| (one.entries, one.left_out))
        .collect();
    let status = bench.feeds.status();
    let errors: Vec<_> = status.iter().filter_map(|one| one.last_error.as_ref()).collect();
    assert_eq!(
        got,
        [(2, 0), (1, 0), (2, 3), (1, 0), (2, 0), (2, 0), (2, 0), (2, 0), (2, 0)],
        "{errors:?}"
    );
    let sources = |address: &str| -> Vec<String> {
        bench
            .feeds
            .matches(ip(address))
            .into_iter()
            .map(|told| told.source)
            .collect()
    };
    assert_eq!(
        sources("45.1.2.3"),
        [
            "feed:blocklist_de",
            "feed:cins",
            "feed:emerging_threats",
            "feed:tor_exits",
            "feed:ipsum"
        ]
    );
    assert_eq!(sources("1.10.31.255"), ["feed:spamhaus_drop", "feed:firehol_level1"]);
    assert_eq!(sources("2a06:e487::1"), ["feed:spamhaus_dropv6"]);
    assert_eq!(sources("10.1.1.1"), [""; 0]);
    let told = bench.feeds.matches(ip("46.1.2.3"));
    let ipsum = told.iter().find(|told| told.source == "feed:ipsum").unwrap();
    assert_eq!(
        (ipsum.verdict, ipsum.raw["lists"].as_str()),
        (IntelVerdict::Suspicious, "1")
    );
}

#[tokio::test]
async fn a_file_of_ones_own_is_followed_and_a_url_of_ones_own_is_shown_without_its_key() {
    let server = Server::start(|head| {
        assert!(head.starts_with("get /list?key=canary "), "{head}");
        answer(200, "", list(90).as_bytes())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.txt");
    std::fs::write(&path, "10.0.0.0/8\n2001:db8::7\n").unwrap();
    let memory = Arc::new(Memory::default());
    let setup = Setup {
        block: &["mine"],
        custom: vec![
            ("mine", path.display().to_string()),
            ("theirs", format!("{}/list?key=canary", server.url())),
        ],
        kernel: Some(memory.clone()),
        ..Setup::default()
    };
    let mut bench = Bench::new(&dir.path().join("feeds"), "http://127.0.0.1:1", setup, START).await;
    bench.room.tend().await;
    let told = bench.feeds.matches(ip("10.9.9.9"));
    assert_eq!((told[0].source.as_str(), told.len()), ("feed:mine", 1));
    assert!(bench.feeds.contains(ip("20.0.0.7")));
    assert_eq!(memory.lists.lock().unwrap()[&9].1.len(), 2);
    let status = bench.feeds.status();
    assert_eq!(status[1].place, server.url());
    let shown = format!("{status:?} {}", serde_json::to_string(&*status).unwrap());
    assert!(!shown.contains("canary"), "{shown}");
    for name in names(&dir.path().join("feeds")) {
        let kept = std::fs::read_to_string(dir.path().join("feeds").join(name)).unwrap();
        assert!(!kept.contains("canary"));
    }
    std::fs::write(&path, "# none any more, and that is meant\n").unwrap();
    bench.advance(Duration::from_secs(67));
    bench.room.tend().await;
    assert!(!bench.feeds.contains(ip("10.9.9.9")) && bench.feeds.contains(ip("20.0.0.7")));
    assert!(memory.lists.lock().unwrap()[&9].1.is_empty());
    std::fs::remove_file(&path).unwrap();
    bench.advance(Duration::from_secs(67));
    bench.room.tend().await;
    assert!(
        bench.feeds.status()[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("is not there")
    );
    assert!(path.parent().unwrap().exists() && server.count() == 1);
}

#[tokio::test]
async fn in_simulation_lists_only_count_and_the_room_ends_when_it_is_told_to() {
    let server = Server::start(|_| answer(200, "", list(80).as_bytes())).await;
    let dir = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    let setup = Setup {
        block: &["cins"],
        kernel: Some(memory.clone()),
        ..CINS
    };
    let mut bench = Bench::new(dir.path(), &server.url(), setup, START).await;
    bench.room.deps.simulate = true;
    let cancel = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(bench.room.run(cancel.clone()));
    bench
        .health
        .wait_for(|board| board.components.contains_key(&Component::Feeds))
        .await
        .unwrap();
    while bench.feeds.set().is_empty() || memory.lists.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(memory.lists.lock().unwrap()[&5].0.shadow);
    cancel.cancel();
    running.await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn many_agents_that_start_together_do_not_ask_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut starts = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut bench = Bench::new(dir.path(), "http://127.0.0.1:1", CINS, START).await;
        bench.room.spread = Duration::from_secs(30);
        bench.room.open().await;
        let next = bench.status().next_at.unwrap();
        assert!(next >= START && next <= START.after(Duration::from_secs(30)));
        starts.insert(next);
    }
    assert!(starts.len() > 15, "{starts:?}");
}

#[test]
fn what_nobody_can_fetch_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let error = |setup: &Setup<'_>, mirror: Option<&str>| {
        let built = build(&settings(dir.path(), setup), setup, mirror);
        built.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let unknown = Setup {
        enabled: &["nosuch"],
        ..CINS
    };
    assert!(error(&unknown, None).contains("`nosuch` is no feed"));
    assert!(error(&CINS, Some("nonsense")).contains("`cins` is no URL"));
    let own = Setup {
        custom: vec![("mine", "https://[canary/".into())],
        ..Setup::default()
    };
    let told = error(&own, None);
    assert!(told.contains("`mine` is no URL") && !told.contains("canary"), "{told}");
    assert_eq!(error(&CINS, None), "");
}

#[tokio::test]
async fn a_file_that_stays_as_it_is_is_neither_told_nor_handed_over_each_minute() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.txt");
    std::fs::write(&path, list(3)).unwrap();
    let memory = Arc::new(Memory::default());
    let (store, writer) = Store::open(&dir.path().join("s.db")).unwrap();
    let writer = std::thread::spawn(move || writer.run());
    let setup = Setup {
        block: &["mine"],
        custom: vec![("mine", path.display().to_string())],
        kernel: Some(memory.clone()),
        store: Some(store.clone()),
        ..Setup::default()
    };
    let mut bench = Bench::new(&dir.path().join("feeds"), "http://127.0.0.1:1", setup, START).await;
    let puts = || memory.puts.load(Ordering::Relaxed);
    for _ in 0..5 {
        bench.room.tend().await;
        bench.advance(Duration::from_secs(67));
    }
    assert_eq!((puts(), bench.status().unchanged), (1, 4));
    // Half of its time is over.
    bench.advance(Duration::from_hours(4 * 24));
    bench.room.tend().await;
    assert_eq!(puts(), 2);
    // A file that is removed drops nobody from the next look on, and is no news each minute either.
    std::fs::remove_file(&path).unwrap();
    for _ in 0..3 {
        bench.advance(Duration::from_secs(67));
        bench.room.tend().await;
        assert!(memory.lists.lock().unwrap()[&9].1.is_empty() && bench.feeds.set().is_empty());
        assert!(bench.status().last_error.unwrap().contains("is not there"));
    }
    assert_eq!(puts(), 3);
    std::fs::write(&path, list(4)).unwrap();
    bench.advance(Duration::from_secs(67));
    bench.room.tend().await;
    assert_eq!(
        (memory.lists.lock().unwrap()[&9].1.len(), bench.status().last_error),
        (4, None)
    );
    let audit = store.audit(AuditFilter::default()).await.unwrap().items;
    let told: Vec<_> = audit.iter().rev().map(|e| &e.detail[..28]).collect();
    assert_eq!(
        told,
        [
            "the kernel drops by 3 entrie",
            "the kernel drops by 0 entrie",
            "the kernel drops by 4 entrie"
        ]
    );
    store.close();
    drop(bench);
    writer.join().unwrap();
}

#[tokio::test]
async fn who_is_slow_to_answer_holds_up_nobody_else_and_is_not_asked_twice() {
    let server = Server::start(|_| (Vec::new(), After::Hang)).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.txt");
    std::fs::write(&path, list(3)).unwrap();
    let setup = Setup {
        custom: vec![("mine", path.display().to_string())],
        ..CINS
    };
    let mut bench = Bench::new(&dir.path().join("feeds"), &server.url(), setup, START).await;
    let mut asked = super::room::Asked::new();
    bench.room.look(&mut asked).await;
    assert_eq!(asked.len(), 2);
    let (at, outcome) = futures_util::StreamExt::next(&mut asked).await.unwrap();
    bench.room.settle(at, outcome).await;
    assert_eq!((bench.feeds.set().len(), asked.len()), (3, 1));
    std::fs::write(&path, list(7)).unwrap();
    // Long after both are due again.
    bench.advance(2 * HOUR);
    bench.room.look(&mut asked).await;
    assert_eq!(asked.len(), 2, "the file again, the slow one still once");
    let (at, outcome) = futures_util::StreamExt::next(&mut asked).await.unwrap();
    bench.room.settle(at, outcome).await;
    assert_eq!(bench.feeds.set().len(), 7);
    assert!(server.count() <= 1);
}

#[tokio::test]
async fn who_cannot_be_marked_as_asked_is_not_asked() {
    let server = Server::start(|_| answer(200, "", list(50).as_bytes())).await;
    let (dir, url) = cins(&server.url());
    // Nothing can be put in its place.
    std::fs::create_dir(dir.path().join("cins.json")).unwrap();
    let mut bench = Bench::new(dir.path(), &url, CINS, START).await;
    let next = bench.room.tend().await;
    let error = bench.status().last_error.unwrap();
    assert!(error.contains("not asked") && error.contains("cins.json"), "{error}");
    assert!(next >= START.after(Duration::from_mins(1)) && next < START.after(Duration::from_secs(67)));
    assert_eq!(server.count(), 0);
    std::fs::remove_dir(dir.path().join("cins.json")).unwrap();
    bench.advance(Duration::from_secs(67));
    bench.room.tend().await;
    assert_eq!((server.count(), bench.status().entries), (1, 50));
}

#[tokio::test]
async fn what_is_allowed_later_is_out_at_once_and_comes_back_when_it_is_not_any_more() {
    let server = Server::start(|head| {
        if head.contains("if-none-match") {
            return answer(304, "", b"");
        }
        answer(200, "ETag: \"a\"\r\n", (list(60) + "44.1.1.0/24\n").as_bytes())
    })
    .await;
    let (dir, url) = cins(&server.url());
    let memory = Arc::new(Memory::default());
    let setup = |protected| Setup {
        block: &["cins"],
        kernel: Some(memory.clone()),
        protected,
        ..CINS
    };
    let allowed = || {
        vec![
            protected("20.0.0.0/24", "allowlist"),
            protected("44.1.1.9/32", "operator_session"),
        ]
    };
    let mut bench = Bench::new(dir.path(), &url, setup(allowed()), START).await;
    bench.room.tend().await;
    let stands = |bench: &Bench| {
        let status = bench.status();
        let seen = bench.feeds.contains(ip("20.0.0.7"));
        (
            status.entries,
            status.left_out,
            memory.lists.lock().unwrap()[&5].1.len(),
            seen,
        )
    };
    assert_eq!(stands(&bench), (60, 1, 60, false));
    // Nobody is asked again, and it is back; its date is what it was.
    bench.advance(Duration::from_secs(10));
    bench.guards.send_replace(Arc::default());
    bench.room.tend().await;
    assert_eq!(stands(&bench), (61, 0, 61, true));
    assert_eq!(bench.feeds.matches(ip("20.0.0.7"))[0].first_seen, Some(START));
    // Now protected: out of the kernel, whatever its list is fetched.
    bench.guards.send_replace(Arc::new(allowed()));
    bench.room.tend().await;
    assert_eq!(stands(&bench), (60, 1, 60, false));
    bench
        .guards
        .send_replace(Arc::new(vec![protected("44.1.1.9/32", "own_address")]));
    bench.room.tend().await;
    assert_eq!(
        stands(&bench),
        (61, 0, 60, true),
        "a prefix that holds our own address is not dropped by"
    );
    // Over a restart as well.
    bench.guards.send_replace(Arc::new(allowed()));
    bench.room.tend().await;
    let mut again = Bench::new(dir.path(), &url, setup(allowed()), START.after(HOUR / 2)).await;
    assert_eq!(stands(&again), (60, 1, 60, false));
    again.guards.send_replace(Arc::default());
    again.room.tend().await;
    assert_eq!(stands(&again), (61, 0, 61, true));
    assert_eq!(server.count(), 1);
}
