//! A feed, from its server on the loopback to the packet that is dropped.

use super::frames::{UDP, frame, udp};
use super::*;
use sentinel::config::IntelConfig;
use sentinel::intel::feeds::{FeedDeps, FeedRoom, Feeds};
use sentinel::metrics::Metrics;
use sentinel::respond::Enforcer;
use sentinel::types::{FeedStatus, Protected};
use sentinel_common::entry::{AllowEntry, NEVER_NS};
use sentinel_common::names::PROG_XDP;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const DROP: u32 = 1;
const PASS: u32 = 2;

/// Serves `body` to whoever asks, as long as the process lives.
fn serve(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

fn settings(directory: &std::path::Path, block: bool) -> IntelConfig {
    let mut config = Config::default().intel;
    config.feeds.enabled = vec!["cins".into()];
    config.feeds.block = if block { vec!["cins".into()] } else { Vec::new() };
    directory.clone_into(&mut config.feeds.directory);
    config
}

/// Runs a room until `done`, and ends it.
async fn run(
    config: &IntelConfig,
    kernel: &Kernel,
    simulate: bool,
    url: &str,
    done: impl Fn(&FeedStatus) -> bool,
) -> Feeds {
    let protected = Protected {
        target: "45.7.0.0/16".parse().unwrap(),
        guard: "allowlist".into(),
        reason: "for the test".into(),
    };
    let deps = FeedDeps {
        protected: watch::channel(Arc::new(vec![protected])).1,
        kernel: Some(Arc::new(kernel.lists())),
        store: None,
        simulate,
        health: watch::channel(Arc::default()).0,
        metrics: Arc::new(Metrics::new()),
    };
    let (room, feeds) = FeedRoom::mirrored(config, deps, url).unwrap();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(room.spread_over(Duration::ZERO).run(cancel.clone()));
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        while !feeds.status().first().is_some_and(&done) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap();
    cancel.cancel();
    running.await.unwrap();
    feeds
}

#[tokio::test]
async fn a_feed_drops_packets_until_it_is_removed() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let url = serve("45.1.2.3\n46.0.0.0/16\n45.7.7.7\n2a00:5::/32\n");
    let dir = tempfile::tempdir().unwrap();
    let verdict = |kernel: &mut Kernel, from: &str| {
        let frame = frame(from, "10.0.0.1", &udp(1, 2, b""), UDP);
        kernel.test_run(PROG_XDP, &frame, 1).unwrap().code
    };
    assert_eq!(verdict(&mut kernel, "45.1.2.3"), PASS);
    let loaded = |status: &FeedStatus| status.kernel.as_ref().is_some_and(|kernel| kernel.loaded);
    let feeds = run(&settings(dir.path(), true), &kernel, false, &url, loaded).await;
    let stands = feeds.status()[0].kernel.clone().unwrap();
    assert_eq!((stands.entries, stands.simulated, stands.error), (3, false, None));
    let before = kernel.test_counters().unwrap();
    for (from, code) in [
        ("45.1.2.3", DROP),
        ("46.0.200.1", DROP),
        ("45.1.2.4", PASS),
        ("45.7.7.7", PASS),
    ] {
        assert_eq!(verdict(&mut kernel, from), code, "{from}");
        assert_eq!(feeds.contains(from.parse().unwrap()), code == DROP, "{from}");
    }
    let counters = moved(&before, &kernel.test_counters().unwrap());
    assert_eq!(counters.get("drop_list"), Some(&2));
    // The allowlist is asked first.
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    let target = "46.0.200.1/32".parse().unwrap();
    kernel.blocks().put_allow(target, &allow).unwrap();
    assert_eq!(verdict(&mut kernel, "46.0.200.1"), PASS);
    assert_eq!(verdict(&mut kernel, "46.0.200.2"), DROP);

    // A restart renews it, and tells what it dropped; in simulation it lets pass and counts.
    let counted = |status: &FeedStatus| status.kernel.as_ref().is_some_and(|kernel| kernel.dropped == 3);
    run(&settings(dir.path(), true), &kernel, false, &url, counted).await;
    run(&settings(dir.path(), true), &kernel, true, &url, loaded).await;
    assert_eq!(verdict(&mut kernel, "45.1.2.3"), PASS);
    assert_eq!(kernel.lists().in_use().unwrap()[0].hits.would_hits, 1);

    // Taken off `feeds.block`, it is matched and drops nothing.
    run(&settings(dir.path(), true), &kernel, false, &url, loaded).await;
    assert_eq!(verdict(&mut kernel, "45.1.2.3"), DROP);
    let held = |status: &FeedStatus| status.entries == 3;
    let feeds = run(&settings(dir.path(), false), &kernel, false, &url, held).await;
    assert_eq!(verdict(&mut kernel, "45.1.2.3"), PASS);
    assert!(kernel.lists().in_use().unwrap().is_empty());
    assert!(feeds.contains("45.1.2.3".parse().unwrap()));
}
