//! The doors and the stream, over real sockets.

use super::*;
use futures_util::StreamExt;
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle as Task;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(house: &House) -> (SocketAddr, std::path::PathBuf, Task<std::io::Result<()>>) {
    let socket = house.directory.path().join("run/sentinel.sock");
    let doors = Doors::take(&doors_at("127.0.0.1:0", &socket)).await.unwrap();
    let address = doors.local_addr().unwrap();
    let task = tokio::spawn(doors.open(house.state.clone(), house.cancel.clone()));
    (address, socket, task)
}

/// A request for a stream by whoever is logged in.
fn stream_of(address: SocketAddr, types: &str) -> Request<()> {
    let mut request = format!("ws://{address}/stream{types}").into_client_request().unwrap();
    request.headers_mut().insert("cookie", HeaderValue::from_static(COOKIE));
    request
}

/// The next JSON message; `None` once the server has said goodbye.
async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.expect("no message within 10 s") {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => return None,
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8000"] {
        let error = Doors::take(&doors_at(address, &socket)).await.unwrap_err().to_string();
        assert!(error.contains("loopback") && error.contains("127.0.0.1"), "{error}");
    }
    assert!(!socket.exists());
}

#[tokio::test]
async fn an_occupied_port_or_socket_is_named_with_its_mend() {
    let house = House::new();
    let (address, socket, task) = open(&house).await;
    let other = house.directory.path().join("other.sock");
    let error = Doors::take(&doors_at(&address.to_string(), &other))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("api.listen"),
        "{error}"
    );
    let error = Doors::take(&doors_at("127.0.0.1:0", &socket))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("another sentinel") && error.contains("api.socket"),
        "{error}"
    );
    let file = house.directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = Doors::take(&doors_at("127.0.0.1:0", &file))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let deep = house.directory.path().join("d".repeat(120)).join("s");
    let error = Doors::take(&doors_at("127.0.0.1:0", &deep))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("107 bytes"), "{error}");
    house.cancel.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_socket_is_private_replaces_a_stale_one_and_goes_with_the_server() {
    let house = House::new();
    let path = house.directory.path().join("run/sentinel.sock");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead server leaves its socket behind");
    let (_, path, task) = open(&house).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "nothing else is left there"
    );

    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains(r#""status":"ok""#),
        "{text}"
    );

    house.cancel.cancel();
    task.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn stream_greets_tells_events_and_ends_with_the_server() {
    let house = House::new();
    house.attach(&[(sentinel_common::stat::Counter::PassV4, 9)]);
    let (address, _, task) = open(&house).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, "")).await.unwrap();
    let hello = next(&mut socket).await.unwrap();
    assert_eq!(
        (&hello["type"], &hello["mode"]),
        (&json!("hello"), &json!("simulation"))
    );

    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let decision = decision(&mut mint, &alert, T0);
    let live = Hits {
        packets: 5,
        bytes: 300,
        would_packets: 0,
        would_bytes: 0,
        first_hit: None,
        last_hit: None,
    };
    house.hits.send_replace(Arc::new(HashMap::from([(decision.id, live)])));
    let id = decision.id.to_string();
    house.state.bus.publish(Event::Alert(Arc::new(alert)));
    house.state.bus.publish(Event::Decision(Arc::new(decision)));
    let mut seen: HashMap<String, Value> = HashMap::new();
    while !(seen.contains_key("decision") && seen.get("stats").is_some_and(|s| s["data"]["hits"][&id].is_object())) {
        let message = next(&mut socket).await.unwrap();
        seen.insert(message["type"].as_str().unwrap().to_owned(), message);
    }
    assert_eq!(seen["alert"]["data"]["source"], "203.0.113.7");
    assert_eq!(
        (&seen["alert"]["seq"], &seen["decision"]["seq"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(seen["decision"]["data"]["hits"], 5);
    assert_eq!(seen["stats"]["data"]["totals"]["pass_v4"], 9);
    assert_eq!(seen["stats"]["data"]["hits"][&id]["packets"], 5);
    assert_eq!(seen["health"]["data"]["status"], "ok");

    let mut health = Health::default();
    health.degrade(Component::Store, "disk full", "free space");
    house.health.send_replace(Arc::new(health));
    let told = loop {
        let message = next(&mut socket).await.unwrap();
        if message["type"] == "health" {
            break message;
        }
    };
    assert_eq!(told["data"]["status"], "degraded");

    house.cancel.cancel();
    while next(&mut socket).await.is_some() {}
    let begun = std::time::Instant::now();
    task.await.unwrap().unwrap();
    assert!(begun.elapsed() < GRACE, "an open stream does not hold the server up");
}

#[tokio::test]
async fn stream_sends_only_what_was_asked_for() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=decision"))
        .await
        .unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "hello");
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let decision = decision(&mut mint, &alert, T0);
    house.state.bus.publish(Event::Alert(Arc::new(alert)));
    house.state.bus.publish(Event::Decision(Arc::new(decision)));
    assert_eq!(next(&mut socket).await.unwrap()["type"], "decision");
}

#[tokio::test]
async fn a_lagging_reader_is_told_how_much_it_missed() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "hello");
    let alert = Arc::new(alert(&mut Mint::Counted(0), T0));
    // On this thread nothing else runs meanwhile: the lane overflows before the reader is served.
    for _ in 0..10_000 {
        house.state.bus.publish(Event::Alert(Arc::clone(&alert)));
    }
    let (mut missed, mut got) = (0, 0);
    while missed + got < 10_000 {
        let message = next(&mut socket).await.unwrap();
        match message["type"].as_str().unwrap() {
            "lagged" => missed += message["missed"].as_u64().unwrap(),
            _ => got += 1,
        }
    }
    assert!(missed > 0 && missed + got == 10_000, "{missed} + {got}");
    let line = format!(r#"sentinel_events_dropped_total{{stage="stream",reason="lagged"}} {missed}"#);
    assert!(house.state.metrics.encode().unwrap().contains(&line));
}

#[tokio::test]
async fn streams_are_bounded_and_other_origins_shut_out() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let wanted = || stream_of(address, "?types=alert");
    let mut foreign = wanted();
    foreign
        .headers_mut()
        .insert("origin", "http://evil.example".parse().unwrap());
    let refusal = |result: Result<(Socket, _), Error>| match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(refusal(tokio_tungstenite::connect_async(foreign).await), 403);
    let mut open = Vec::new();
    for _ in 0..stream::CLIENTS {
        open.push(tokio_tungstenite::connect_async(wanted()).await.unwrap());
    }
    assert_eq!(refusal(tokio_tungstenite::connect_async(wanted()).await), 503);
}

#[tokio::test]
async fn a_stream_is_for_whoever_is_logged_in_and_ends_with_that() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let mut stranger = stream_of(address, "");
    stranger.headers_mut().remove("cookie");
    match tokio_tungstenite::connect_async(stranger).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 401),
        other => panic!("{:?}", other.map(|_| ())),
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "hello");
    let who = house.state.auth.session(SECRET, now()).await.unwrap();
    house.state.auth.log_out(&who.session.unwrap()).await.unwrap();
    // Asked anew with the next ping, 20 s at most.
    let message = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let frame = message.await.unwrap();
    assert_eq!(u16::from(frame.code), 1008, "policy");
}

fn numbered(house: &House, count: u128) -> Vec<Arc<Alert>> {
    let alert = alert(&mut Mint::Counted(0), T0);
    let one = |n| {
        let id = AlertId(uuid::Uuid::from_u128(n));
        Arc::new(Alert { id, ..alert.clone() })
    };
    let all: Vec<_> = (0..count).map(one).collect();
    for alert in &all {
        house.state.bus.publish(Event::Alert(Arc::clone(alert)));
    }
    all
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_what_it_missed_or_is_told_so() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let after = |id: &str| stream_of(address, &format!("?types=alert&after={id}"));
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    let hello = next(&mut socket).await.unwrap();
    numbered(&house, 3);
    let first = next(&mut socket).await.unwrap();
    assert_eq!(first["seq"], 1);
    drop(socket);

    let (mut socket, _) = tokio_tungstenite::connect_async(after(first["id"].as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        next(&mut socket).await.unwrap()["last"],
        json!(format!("{}.3", house.state.started.0))
    );
    assert_eq!(next(&mut socket).await.unwrap()["seq"], 2);
    assert_eq!(next(&mut socket).await.unwrap()["seq"], 3);
    numbered(&house, 1);
    assert_eq!(next(&mut socket).await.unwrap()["seq"], 4);

    // One that saw nothing but the greeting comes back by its name.
    let (mut socket, _) = tokio_tungstenite::connect_async(after(hello["last"].as_str().unwrap()))
        .await
        .unwrap();
    next(&mut socket).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["seq"], 1);

    numbered(&house, 2_000);
    let (mut socket, _) = tokio_tungstenite::connect_async(after(first["id"].as_str().unwrap()))
        .await
        .unwrap();
    next(&mut socket).await.unwrap();
    let lagged = next(&mut socket).await.unwrap();
    assert_eq!(
        (&lagged["type"], &lagged["missed"]),
        (&json!("lagged"), &json!(2_004 - 1024 - 1))
    );
    assert_eq!(next(&mut socket).await.unwrap()["seq"], 2_004 - 1024 + 1);

    // Of an earlier run of the agent nothing is known.
    let (mut socket, _) = tokio_tungstenite::connect_async(after("12345.7")).await.unwrap();
    next(&mut socket).await.unwrap();
    let lagged = next(&mut socket).await.unwrap();
    assert_eq!((&lagged["type"], &lagged["missed"]), (&json!("lagged"), &Value::Null));
}

#[tokio::test]
async fn a_stream_is_filtered_and_comes_in_batches() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let query = "?types=alert,decision&ip=203.0.113.0/24&severity=high&batch=true";
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, query))
        .await
        .unwrap();
    assert_eq!(next(&mut socket).await.unwrap()[0]["type"], "hello");
    let mut mint = Mint::Counted(0);
    let medium = alert(&mut mint, T0);
    let high = Alert {
        id: mint.alert(T0),
        severity: Severity::High,
        ..medium.clone()
    };
    let elsewhere = Alert {
        source: Some("198.51.100.7".parse().unwrap()),
        ..high.clone()
    };
    let block = decision(&mut mint, &medium, T0);
    let mut lifted = block.clone();
    lifted.status = DecisionStatus::Lifted;
    let away = decision(&mut mint, &elsewhere, T0);
    for event in [
        Event::Alert(Arc::new(medium)),
        Event::Alert(Arc::new(elsewhere)),
        Event::Decision(Arc::new(block)),
        Event::Alert(Arc::new(high.clone())),
        Event::Decision(Arc::new(lifted)),
        Event::Decision(Arc::new(away)),
    ] {
        house.state.bus.publish(event);
    }
    let batch = next(&mut socket).await.unwrap();
    let got: Vec<_> = batch.as_array().unwrap().iter().map(|m| &m["data"]).collect();
    assert_eq!(got.len(), 2, "{batch}");
    assert_eq!((&got[0]["id"], &got[1]["status"]), (&json!(high.id), &json!("lifted")));

    // However much happens, at most four messages a second.
    let begun = std::time::Instant::now();
    let mut batches = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        house.state.bus.publish(Event::Alert(Arc::new(high.clone())));
        if let Ok(Some(Ok(_))) = tokio::time::timeout(Duration::from_millis(5), socket.next()).await {
            batches += 1;
        }
    }
    assert!((2..=9).contains(&batches), "{batches} messages in two seconds");
}

/// The code with which the server ends a stream after `bytes` were written to it as they are.
async fn code_after(address: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let (mut socket, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = socket.get_mut() else {
        unreachable!("no TLS here")
    };
    tcp.write_all(bytes).await.unwrap();
    loop {
        match tokio::time::timeout(Duration::from_secs(10), socket.next())
            .await
            .unwrap()
        {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
            Some(Ok(_)) => {}
            _ => return None,
        }
    }
}

/// A masked frame (RFC 6455, 5.2) with a mask of zeros and a length below 126, or a length of 16 bits.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(0x80 | length),
        _ => {
            bytes.push(0x80 | 0x7e);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn garbage_ends_its_own_stream_with_a_code_and_no_other() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let (mut bystander, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    assert_eq!(next(&mut bystander).await.unwrap()["type"], "hello");
    for (what, bytes, code) in [
        ("text", frame(0x81, b"{\"subscribe\":\"all\"}"), 1003),
        ("bytes", frame(0x82, &[0xde, 0xad]), 1003),
        ("no UTF-8", frame(0x81, &[0xff, 0xfe]), 1007),
        ("an unknown opcode", frame(0x83, b"x"), 1002),
        ("reserved bits", frame(0xf1, b"x"), 1002),
        ("not masked", vec![0x81, 1, b'x'], 1002),
        ("a long ping", frame(0x89, &[0; 200]), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("too much", frame(0x82, &[0; 5000]), 1009),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
    ] {
        assert_eq!(code_after(address, &bytes).await, Some(code), "{what}");
    }
    // What arbitrary bytes mean is theirs; that the others go on is ours.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..40 {
        let mut bytes: Vec<u8> = (0..64)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        // No half frame that waits for more: what is not complete is only slow.
        bytes.extend(vec![0xf3; 6_000]);
        assert!(code_after(address, &bytes).await.is_some(), "{:x?}", &bytes[..64]);
    }
    numbered(&house, 1);
    assert_eq!(next(&mut bystander).await.unwrap()["type"], "alert");
    let metrics = house.state.metrics.encode().unwrap();
    assert!(metrics.contains("sentinel_stream_clients 1"), "{metrics}");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_let_go() {
    let house = House::new();
    let (address, ..) = open(&house).await;
    let (mut deaf, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    let clients = || house.state.metrics.stream_clients.get();
    assert_eq!(
        (next(&mut deaf).await.unwrap()["type"].as_str(), clients()),
        (Some("hello"), 1)
    );
    let alert = Arc::new(alert(&mut Mint::Counted(0), T0));
    // Until buffers are full, and then for as long as patience lasts.
    let begun = std::time::Instant::now();
    while clients() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(40), "it is served still");
        for _ in 0..500 {
            house.state.bus.publish(Event::Alert(Arc::clone(&alert)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What it did not take is in no queue of ours: the lane holds the latest, whoever reads.
    let (mut other, _) = tokio_tungstenite::connect_async(stream_of(address, "?types=alert"))
        .await
        .unwrap();
    assert_eq!(next(&mut other).await.unwrap()["type"], "hello");
}
