//! A local API of CrowdSec that is a feed.

use super::super::testing::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LATER: Duration = Duration::from_secs(40);

fn ban(value: &str) -> String {
    let scope = if value.contains('/') { "Range" } else { "Ip" };
    format!(r#"{{"scope":"{scope}","type":"ban","value":"{value}","duration":"3h59m58.1s","id":1,"origin":"cscli"}}"#)
}

fn told(new: &[String], deleted: &[String]) -> Vec<u8> {
    format!(r#"{{"new":[{}],"deleted":[{}]}}"#, new.join(","), deleted.join(",")).into_bytes()
}

fn setup(url: String) -> Setup<'static> {
    Setup {
        block: &["crowdsec"],
        lapi: Some(url),
        ..Setup::default()
    }
}

#[tokio::test]
async fn bans_are_a_feed_that_follows_what_changes_and_outlives_a_restart() {
    let step = Arc::new(AtomicUsize::new(0));
    let steps = Arc::clone(&step);
    let server = Server::start(move |head| {
        assert!(head.contains("x-api-key: s3cret-key"), "{head}");
        let whole = head.contains("startup=true");
        let country = r#"{"scope":"Country","type":"ban","value":"FR","duration":"4h"}"#.to_owned();
        let body = match steps.fetch_add(1, Ordering::Relaxed) {
            0 | 4 => {
                assert!(whole, "{head}");
                told(
                    &[ban("203.0.113.7"), ban("198.51.100.0/24"), country, ban("192.0.2.1")],
                    &[],
                )
            }
            1 => b"{\"new\":null,\"deleted\":null}".to_vec(),
            2 => told(&[ban("203.0.113.8")], &[ban("203.0.113.7")]),
            _ => b"{}".to_vec(),
        };
        assert!(whole || !head.contains("startup=true"));
        answer(200, "Content-Type: application/json\r\n", &body)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let kernel = Arc::new(Memory::default());
    let setup = || Setup {
        protected: vec![protected("192.0.2.1/32", "gateway")],
        kernel: Some(Arc::clone(&kernel) as _),
        ..setup(server.url())
    };
    let listed = |bench: &Bench, ip: &str| !bench.feeds.matches(ip.parse().unwrap()).is_empty();
    let mut bench = Bench::new(directory.path(), "", setup(), START).await;
    bench.room.tend().await;
    let status = bench.status();
    // The gateway is left out and tells nothing against the others; so is what is no address.
    assert_eq!(
        (status.name.as_str(), status.entries, status.left_out),
        ("crowdsec", 2, 2)
    );
    assert!(listed(&bench, "203.0.113.7") && listed(&bench, "198.51.100.77") && !listed(&bench, "192.0.2.1"));
    let said = &bench.feeds.matches("203.0.113.7".parse().unwrap())[0];
    assert_eq!(said.source, "feed:crowdsec");
    assert!(!format!("{:?}", bench.feeds.status()).contains("s3cret"));
    let puts = kernel.puts.load(Ordering::Relaxed);
    bench.advance(LATER);
    bench.room.tend().await;
    assert_eq!(
        (bench.status().unchanged, kernel.puts.load(Ordering::Relaxed)),
        (1, puts)
    );
    bench.advance(LATER);
    bench.room.tend().await;
    assert!(listed(&bench, "203.0.113.8") && !listed(&bench, "203.0.113.7"));
    let in_kernel = kernel.lists.lock().unwrap().values().next().unwrap().1.len();
    assert_eq!(in_kernel, 2);
    drop(bench);

    // Before anybody is asked the next run has what was believed, and then asks for everything.
    step.store(4, Ordering::Relaxed);
    let mut bench = Bench::new(directory.path(), "", setup(), START.after(3 * LATER)).await;
    assert!(listed(&bench, "203.0.113.8"));
    bench.room.tend().await;
    assert!(listed(&bench, "203.0.113.7") && !listed(&bench, "203.0.113.8"));
}

#[tokio::test]
async fn whatever_goes_wrong_the_old_bans_stay_and_everything_is_asked_for_next() {
    let huge = format!(r#"{{"new":[{}]}}"#, ban("203.0.113.9"));
    for (bad, words) in [
        (
            answer(403, "", br#"{"message":"access forbidden"}"#),
            "its key is refused",
        ),
        (answer(404, "", b"404 page not found"), "no local API is there"),
        (answer(503, "", b""), "HTTP 503"),
        (answer(302, "Location: http://127.0.0.1:1/\r\n", b""), "HTTP 302"),
        (answer(200, "", b"<html>log in</html>"), "not what a local API"),
        (answer(200, "", br#"{"new":[{"scope":"Ip"}]}"#), "not what a local API"),
        (answer(200, "", &huge.as_bytes()[..40]), "not what a local API"),
        (answer(200, "", &vec![b' '; 5_000]), "longer than 4096 bytes"),
        (
            (b"HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{".to_vec(), After::Close),
            "broke off",
        ),
        ((Vec::new(), After::Hang), "no answer in time"),
        (
            (b"HTTP/1.1 200 x\r\n\r\n".to_vec(), After::Flood),
            "longer than 4096 bytes",
        ),
    ] {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, count) = (Arc::clone(&heads), AtomicUsize::new(0));
        let server = Server::start(move |head| {
            seen.lock().unwrap().push(head.contains("startup=true"));
            match count.fetch_add(1, Ordering::Relaxed) {
                1 => bad.clone(),
                _ => answer(200, "", &told(&[ban("203.0.113.7")], &[])),
            }
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup {
            max_bytes: Some(4_096),
            hasty: words == "no answer in time",
            ..setup(server.url())
        };
        let mut bench = Bench::new(directory.path(), "", setup, START).await;
        bench.room.tend().await;
        bench.advance(LATER);
        bench.room.tend().await;
        let status = bench.status();
        let error = status.last_error.unwrap_or_default();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!error.contains("s3cret") && !error.contains("log in"), "{error}");
        assert_eq!((status.entries, status.failed), (1, 1), "{words}");
        // It is one's own, and asked again soon.
        bench.advance(Duration::from_mins(3));
        bench.room.tend().await;
        assert_eq!(bench.status().last_error, None, "{words}");
        assert_eq!(*heads.lock().unwrap(), [true, false, true], "{words}");
    }
}
