//! A connection to whatever listens where a Bettercap should.

use super::super::event::Event;
use super::super::listen::{Air, BettercapListener, Hearing};
use crate::config::BettercapConfig;
use crate::metrics::Metrics;
use crate::types::{Component, Condition, Health, Secret, Sighting, Timestamp};
use futures_util::{SinkExt, StreamExt};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

const CANARY: &str = "canary7d1e09";
/// For whatever happens at once.
const SOON: Duration = Duration::from_secs(20);

/// An event of a packet; each number makes another.
fn event(number: u32) -> String {
    let (minute, second) = (number / 60 % 60, number % 60);
    let at = format!("2026-11-29T07:{minute:02}:{second:02}.{number:09}Z");
    format!(
        r#"{{"tag":"net.sniff.tcp","time":"{at}","data":{{"time":"{at}","protocol":"tcp","from":"192.0.2.9:{}","to":"192.0.2.1:80","message":"","data":{{"Size":40}}}}}}"#,
        1000 + number
    )
}

/// The listener, and what comes of it.
struct Ear {
    events: mpsc::Receiver<(i64, Event)>,
    seen: mpsc::Receiver<Sighting>,
    health: watch::Receiver<Arc<Health>>,
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
}

impl Ear {
    fn at(url: &str, change: impl FnOnce(&mut BettercapConfig)) -> Self {
        let mut config = BettercapConfig {
            url: url.to_owned(),
            username: "joe".to_owned(),
            password: Some(Secret::new(CANARY)),
            timeout: Duration::from_secs(2),
            queue: 4096,
            ..BettercapConfig::default()
        };
        change(&mut config);
        let (events_tx, events) = mpsc::channel(config.queue);
        let (sightings, seen) = mpsc::channel(64);
        let (health_tx, health) = watch::channel(Arc::new(Health::default()));
        let (metrics, cancel) = (Arc::new(Metrics::new()), CancellationToken::new());
        // What was dropped is shown beside the kernel's counters.
        metrics.watch_stats(watch::channel(Arc::default()).1);
        let listener = BettercapListener {
            config,
            events: events_tx,
            connected: Arc::new(AtomicBool::new(false)),
            metrics: Arc::clone(&metrics),
            health: health_tx,
            hearing: Hearing::new(Timestamp(0)),
            sightings,
            air: Air::default(),
            pauses: (Duration::from_millis(1), Duration::from_millis(20)),
        };
        tokio::spawn(listener.run(cancel.clone()));
        Self {
            events,
            seen,
            health,
            metrics,
            cancel,
        }
    }

    /// The ports from which the next packets came, as many as asked for.
    async fn next(&mut self, most: usize) -> Vec<u16> {
        let mut ports = Vec::new();
        for _ in 0..most {
            match tokio::time::timeout(SOON, self.events.recv()).await.expect("in time") {
                Some((_, Event::Packet(packet))) => ports.push(packet.src_port),
                other => panic!("{other:?}"),
            }
        }
        ports
    }

    /// Waits until the metrics have this line.
    async fn until(&self, line: &str) {
        let start = tokio::time::Instant::now();
        loop {
            let metrics = self.metrics.encode().unwrap();
            if metrics.lines().any(|have| have == line) {
                return;
            }
            assert!(start.elapsed() < SOON, "no `{line}` in\n{metrics}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What is wrong, once something is.
    async fn trouble(&mut self) -> (String, String) {
        let degraded = |health: &Arc<Health>| match health.components.get(&Component::Bettercap) {
            Some(Condition::Degraded { cause, mend }) => Some((cause.clone(), mend.clone())),
            _ => None,
        };
        let board = tokio::time::timeout(SOON, self.health.wait_for(|health| degraded(health).is_some())).await;
        degraded(&board.expect("in time").expect("a board")).expect("trouble")
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Listens on loopback and gives each connection to `serve` with its number.
async fn server<F: Future<Output = ()> + Send>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            serve(number, stream).await;
        }
    });
    url
}

/// Sends messages as a Bettercap would, then hangs up without a word.
async fn say(stream: TcpStream, messages: impl IntoIterator<Item = Message>) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    for message in messages {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

fn texts(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    numbers.map(|number| Message::Text(event(number).into()))
}

#[tokio::test]
async fn what_is_told_again_after_a_reconnection_is_heard_once_and_what_came_meanwhile_is_not_missed() {
    let url = server(|number, stream| async move {
        // Its history goes back to the connection before.
        match number {
            0 => say(stream, texts(0..50)).await,
            1 => say(stream, texts(0..80)).await,
            _ => {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                for message in texts(50..100) {
                    socket.send(message).await.unwrap();
                }
                // Pings are answered, or a Bettercap hangs up.
                socket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
                while !matches!(socket.next().await, Some(Ok(Message::Pong(_)))) {}
                socket.send(Message::Text(event(100).into())).await.unwrap();
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let mut ear = Ear::at(&url, |_| {});
    let heard = ear.next(101).await;
    let all: Vec<u16> = (1000..1101).collect();
    assert_eq!(heard, all);
    ear.until(r#"sentinel_bettercap_events_total{kind="duplicate"} 80"#)
        .await;
    ear.until("sentinel_bettercap_connected 1").await;
}

#[tokio::test]
async fn rubbish_is_counted_and_heard_on() {
    let url = server(|number, stream| async move {
        match number {
            // No HTTP at all, then HTTP without a WebSocket, then a frame that breaks the protocol.
            0 => drop({ let mut stream = stream; stream.write_all(&[0xff; 300]).await }),
            1 => drop({ let mut stream = stream; stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await }),
            2 => {
                let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                let mut stream = socket.into_inner();
                let _ = stream.write_all(&[0x8f, 0x7f, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]).await;
            }
            3 => say(stream, [Message::Text("x".repeat(10 * 1024 * 1024).into())]).await,
            _ => {
                let wrong = [
                    "", "null", "5", "{}", r#"{"tag":[]}"#, r#"{"tag":"net.sniff.tcp","time":"x","data":{}}"#,
                    r#"{"tag":"net.sniff.tcp","time":"2026-11-29T07:10:53Z","data":{"protocol":"tcp","from":1,"to":{}}}"#,
                ];
                let deep = "[".repeat(500_000);
                let wrong = wrong.into_iter().map(str::to_owned).chain([deep]).map(|text| Message::Text(text.into()));
                let binary = [Message::Binary(Bytes::from_static(&[0, 159, 146, 150]))];
                say(stream, wrong.chain(binary).chain(texts(0..1))).await;
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let mut ear = Ear::at(&url, |_| {});
    assert_eq!(ear.next(1).await, [1000]);
    for (line, reason) in [
        ("refused", "json"),
        ("refused", "time"),
        ("refused", "address"),
        ("refused", "binary"),
    ] {
        let count = if reason == "json" { 6 } else { 1 };
        ear.until(&format!(
            r#"sentinel_bettercap_{line}_total{{reason="{reason}"}} {count}"#
        ))
        .await;
    }
    ear.until(r#"sentinel_bettercap_disconnects_total{reason="status"} 1"#)
        .await;
    ear.until(r#"sentinel_bettercap_disconnects_total{reason="too_long"} 1"#)
        .await;
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn frames_of_ten_megabytes_without_end_leave_memory_flat() {
    let url = server(|_, stream| async move {
        // A header that promises ten megabytes, and as much of them as is taken.
        let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
            return;
        };
        let mut stream = socket.into_inner();
        let mut head = vec![0x81, 127];
        head.extend_from_slice(&10_485_760_u64.to_be_bytes());
        let _ = stream.write_all(&head).await;
        let chunk = vec![b'x'; 65_536];
        for _ in 0..160 {
            if stream.write_all(&chunk).await.is_err() {
                break;
            }
        }
    })
    .await;
    let ear = Ear::at(&url, |_| {});
    ear.until(r#"sentinel_bettercap_disconnects_total{reason="too_long"} 2"#)
        .await;
    let before = resident();
    ear.until(r#"sentinel_bettercap_disconnects_total{reason="too_long"} 102"#)
        .await;
    let after = resident();
    // A gigabyte was promised; other tests of this process breathe, too.
    assert!(after < before + 300, "{before} to {after} MiB");
}

#[tokio::test]
async fn who_does_not_keep_up_loses_the_newest_and_it_is_counted() {
    let url = server(|_, stream| async move {
        say(stream, texts(0..3000)).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut ear = Ear::at(&url, |config| config.queue = 1024);
    ear.until(r#"sentinel_events_dropped_total{stage="bettercap",reason="queue_full"} 1976"#)
        .await;
    assert_eq!(ear.next(1024).await.last(), Some(&2023));
}

#[tokio::test]
async fn a_wrong_password_is_told_with_the_mend_and_without_the_password() {
    let url = server(|_, stream| async move {
        #[expect(clippy::result_large_err, reason = "the library's own shape")]
        let check = |request: &Request, _: Response| {
            let given = request
                .headers()
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned());
            // joe:canary7d1e09
            assert_eq!(given.as_deref(), Some("Basic am9lOmNhbmFyeTdkMWUwOQ=="));
            Err(http_401())
        };
        assert!(tokio_tungstenite::accept_hdr_async(stream, check).await.is_err());
    })
    .await;
    let mut ear = Ear::at(&url, |_| {});
    let (cause, mend) = ear.trouble().await;
    assert!(cause.contains("refused the name or the password"), "{cause}");
    assert!(mend.contains("BETTERCAP_PASSWORD"), "{mend}");
    ear.until("sentinel_bettercap_connected 0").await;
    let mut everything = format!("{cause}{mend}");
    let _ = write!(everything, "{}{:?}", ear.metrics.encode().unwrap(), ear.health.borrow());
    assert!(
        !everything.contains(CANARY) && !everything.contains("am9lOmN"),
        "{everything}"
    );
}

fn http_401() -> tokio_tungstenite::tungstenite::handshake::server::ErrorResponse {
    let mut response = Response::new(()).map(|()| None);
    *response.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::UNAUTHORIZED;
    response
}

#[tokio::test]
async fn nobody_there_and_somebody_who_says_nothing_are_told() {
    let mut ear = Ear::at("ws://127.0.0.1:1", |_| {});
    assert!(ear.trouble().await.0.contains("nobody listens there"));
    let url = server(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut ear = Ear::at(&url, |config| config.timeout = Duration::from_millis(200));
    assert!(ear.trouble().await.0.contains("did not answer in time"));
}

/// Certificates as of `intel/clients/contract/tls`: self-signed, for 127.0.0.1 and for 192.0.2.1.
fn testdata(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/intel/clients/testdata")
        .join(name);
    std::fs::read(path).unwrap()
}

async fn tls_server(certificate: &str) -> String {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    crate::tls::install();
    let chain = vec![CertificateDer::from(testdata(certificate))];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(testdata("tls_key.der")));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Message::Text(event(0).into())).await.unwrap();
            std::future::pending::<()>().await;
        }
    });
    url
}

#[tokio::test]
async fn a_certificate_that_is_named_is_believed_whatever_name_it_has_and_no_other_is() {
    use base64::Engine as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    let pem = |name: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(testdata(name));
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    std::fs::write(file.path(), pem("tls_other.der")).unwrap();
    let named = |config: &mut BettercapConfig| config.ca_file = Some(file.path().to_owned());
    // Made for another name, as tools make it for themselves, and the very one that was named.
    let mut ear = Ear::at(&tls_server("tls_other.der").await, named);
    assert_eq!(ear.next(1).await, [1000]);
    let named = |config: &mut BettercapConfig| config.ca_file = Some(file.path().to_owned());
    let mut ear = Ear::at(&tls_server("tls_good.der").await, named);
    let (cause, mend) = ear.trouble().await;
    assert!(cause.contains("TLS: its certificate"), "{cause}");
    assert!(mend.contains("bettercap.ca_file"), "{mend}");
    std::fs::write(file.path(), "no certificate").unwrap();
    let named = |config: &mut BettercapConfig| config.ca_file = Some(file.path().to_owned());
    let mut ear = Ear::at(&tls_server("tls_good.der").await, named);
    assert!(ear.trouble().await.0.contains("holds none in PEM"));
}

#[tokio::test]
async fn whoever_fills_the_air_is_counted_and_the_rest_is_heard() {
    let url = server(|_, stream| async move {
        let endpoint = |number: u32| {
            let text = format!(
                r#"{{"tag":"wifi.client.probe","time":"2026-11-29T07:00:00.{number:09}Z","data":{{"mac":"02:00:00:00:{:02x}:{:02x}"}}}}"#,
                number / 256,
                number % 256
            );
            Message::Text(text.into())
        };
        say(stream, (0..5000).map(endpoint).chain(texts(0..1))).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut ear = Ear::at(&url, |_| {});
    assert_eq!(ear.next(1).await, [1000]);
    let mut seen = 0;
    while ear.seen.try_recv().is_ok() {
        seen += 1;
    }
    // No more wait than there is room for.
    assert_eq!(seen, 64);
    ear.until(r#"sentinel_events_dropped_total{stage="bettercap",reason="sightings"} 4936"#)
        .await;
}
