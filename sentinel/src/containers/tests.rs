//! Engines that answer nonsense, and what is made of what they say.

use super::undo::Fixed;
use super::*;
use crate::types::ContainerSet;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// No answer that comes reaches it, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);
/// For engines that do not answer.
const HASTE: Duration = Duration::from_millis(500);

/// What is done with one request.
enum Act {
    Json(u16, Value),
    Bytes(Vec<u8>),
    Hang,
    Close,
}

type Script = Box<dyn Fn() -> Act + Send + Sync>;

/// An engine that follows a script; what it was asked, in order.
struct Scripted {
    engine: Engine,
    asked: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

fn scripted(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Scripted {
    within(PATIENCE, script)
}

fn within(limit: Duration, script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Scripted {
    let dir = tempfile::tempdir().unwrap();
    let socket: PathBuf = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (script, log) = (Arc::new(script), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, log) = (Arc::clone(&script), Arc::clone(&log));
            tokio::spawn(async move { serve(stream, &*script, &log).await });
        }
    });
    Scripted {
        engine: Engine::new(&socket, limit),
        asked,
        _dir: dir,
    }
}

async fn serve(mut stream: UnixStream, script: &(impl Fn(&str, usize) -> Act + Send + Sync), log: &Mutex<Vec<String>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = stream.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let Some(line) = text.lines().next().filter(|line| line.contains(" HTTP/")) else {
            // The body of a request that came apart from its head, or the end.
            if read == 0 {
                return;
            }
            continue;
        };
        let words: Vec<&str> = line.split(' ').collect();
        // Without the version of the interface: `GET /containers/json?…`.
        let path = words[1].split_once("/v1.").map_or(words[1], |(_, rest)| {
            rest.split_once('/').map_or(rest, |(_, rest)| rest)
        });
        let what = format!("{} {}", words[0], path.trim_start_matches('/'));
        if what == "GET version" {
            let told = json!({ "ApiVersion": "1.41", "Version": "20.10" }).to_string();
            let _ = stream.write_all(&answer(200, &told)).await;
            continue;
        }
        let before = {
            let mut log = log.lock().unwrap();
            log.push(what.clone());
            log.len() - 1
        };
        match script(&what, before) {
            Act::Json(status, body) => {
                let _ = stream.write_all(&answer(status, &body.to_string())).await;
            }
            Act::Bytes(bytes) => {
                let _ = stream.write_all(&bytes).await;
            }
            Act::Hang => tokio::time::sleep(Duration::from_mins(1)).await,
            Act::Close => return,
        }
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn protection(listed: &[&str]) -> Protection {
    let listed: Vec<String> = listed.iter().map(|&text| text.to_owned()).collect();
    Protection::new(&listed, OwnIds::default())
}

#[tokio::test]
async fn nonsense_is_an_error_in_time_that_names_the_mend() {
    let half =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n[{\"Id\": \"01".to_vec();
    let drip = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{\"I".to_vec();
    let cases: Vec<(&str, Script, &str)> = vec![
        (
            "500",
            Box::new(|| Act::Json(500, json!({ "message": "\u{1b}[31mbroken\u{7}" }))),
            "refuses `list containers` with status 500: \\u{1b}[31mbroken",
        ),
        (
            "403",
            Box::new(|| Act::Json(403, json!({ "message": "no" }))),
            "status 403: no",
        ),
        (
            "an object",
            Box::new(|| Act::Json(200, json!({ "a": 1 }))),
            "cannot be understood",
        ),
        (
            "numbers",
            Box::new(|| Act::Json(200, json!([{ "Id": 5 }]))),
            "cannot be understood",
        ),
        (
            "no JSON",
            Box::new(|| Act::Bytes(answer(200, "<html>"))),
            "cannot be understood",
        ),
        (
            "no HTTP",
            Box::new(|| Act::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
            "cannot be understood",
        ),
        (
            "silence",
            Box::new(|| Act::Hang),
            "did not answer `list containers` within 0.5 s",
        ),
        ("the end", Box::new(|| Act::Close), "cannot be understood"),
        ("half", Box::new(move || Act::Bytes(half.clone())), "did not answer"),
        ("a drip", Box::new(move || Act::Bytes(drip.clone())), "did not answer"),
    ];
    for (name, act, words) in cases {
        let limit = if words.contains("did not answer") {
            HASTE
        } else {
            PATIENCE
        };
        let engine = within(limit, move |_, _| act());
        let started = Instant::now();
        let error = find(&engine.engine, &protection(&[]))
            .await
            .expect_err(name)
            .to_string();
        assert!(error.contains(words), "{name}: {error}");
        assert!(!error.contains('\u{1b}') && error.len() < 800, "{name}: {error}");
        assert!(started.elapsed() < PATIENCE, "{name}");
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_told_from_one_nobody_serves_and_both_recover() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let engine = Engine::new(&socket, PATIENCE);
    let error = engine.version().await.expect_err("nothing there");
    assert!(matches!(&error, ContainerError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("No such file") && error.to_string().contains("containers.engine"));
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = engine.version().await.expect_err("nobody listens").to_string();
    assert!(error.contains("refused"), "{error}");
    std::fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let log = Mutex::new(Vec::new());
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, &|_: &str, _| Act::Close, &log).await;
        }
    });
    assert_eq!(engine.version().await.expect("it is there now"), "20.10, API 1.41");
}

fn networks(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                json!({ "NetworkID": format!("id-{name}"), "IPAddress": "10.0.0.5" }),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn inspection(names: &[&str]) -> Value {
    json!({ "Id": ID, "Name": "/web", "State": { "Running": true }, "HostConfig": { "NetworkMode": "b" },
        "NetworkSettings": { "Networks": networks(names) } })
}

fn undo_of(names: &[&str], quarantine: Option<&str>) -> Undo {
    let found: ContainerInspectResponse = serde_json::from_value(inspection(names)).unwrap();
    Undo::of(&found, quarantine).unwrap()
}

#[tokio::test]
async fn a_container_that_goes_between_two_steps_is_gone_and_no_worse() {
    let gone = || Act::Json(404, json!({ "message": format!("No such container: {ID}") }));
    // Gone at the first look, at the disconnection, at the look after it.
    for at in 0..3 {
        let engine = scripted(move |what, n| match what {
            _ if n >= at => gone(),
            what if what.starts_with("GET containers/") => Act::Json(200, inspection(&["a"])),
            _ => Act::Json(200, json!({})),
        });
        let error = cut(&engine.engine, &undo_of(&["a"], None)).await.expect_err("gone");
        assert_eq!(error, ContainerError::ContainerGone, "{at}");
    }
    let engine = scripted(move |_, _| gone());
    assert_eq!(
        restore(&engine.engine, &undo_of(&["a"], None)).await,
        Ok(Restored::Gone)
    );
}

#[tokio::test]
async fn told_as_done_and_not_done_is_noticed() {
    // It says yes to everything and does nothing.
    let engine = scripted(|what, _| match what {
        what if what.starts_with("GET containers/") => Act::Json(200, inspection(&["a", "other"])),
        _ => Act::Json(200, json!({})),
    });
    let error = cut(&engine.engine, &undo_of(&["a"], None))
        .await
        .expect_err("still there");
    assert_eq!(error, ContainerError::StillConnected("a, other".to_owned()));
    let asked = engine.asked.lock().unwrap().clone();
    assert!(asked.contains(&"POST networks/a/disconnect".to_owned()), "{asked:?}");
    assert!(
        !asked.iter().any(|what| what.contains("networks/other")),
        "what is in no record is left alone: {asked:?}"
    );

    let engine = scripted(|what, _| match what {
        what if what.starts_with("GET containers/") => Act::Json(200, inspection(&[])),
        _ => Act::Json(200, json!({})),
    });
    let error = restore(&engine.engine, &undo_of(&["a"], None))
        .await
        .expect_err("not connected");
    assert!(error.to_string().contains("not connected to a"), "{error}");
}

#[tokio::test]
async fn one_network_that_refuses_keeps_no_other_from_coming_back() {
    let connected = Arc::new(Mutex::new(Vec::<String>::new()));
    let state = Arc::clone(&connected);
    let engine = scripted(move |what, _| {
        let mut state = state.lock().unwrap();
        match what {
            what if what.starts_with("GET containers/") => {
                let names: Vec<&str> = state.iter().map(String::as_str).collect();
                Act::Json(200, inspection(&names))
            }
            "POST networks/id-a/connect" => Act::Json(500, json!({ "message": "Address already in use" })),
            "POST networks/id-b/connect" => Act::Json(404, json!({ "message": "network id-b not found" })),
            what => {
                state.push(what.split('/').nth(1).unwrap().trim_start_matches("id-").to_owned());
                Act::Json(200, json!({}))
            }
        }
    });
    let undo = undo_of(&["a", "b", "c"], None);
    let first: Vec<&str> = undo
        .endpoints
        .iter()
        .map(|endpoint| endpoint.network.as_str())
        .collect();
    assert_eq!(first, ["b", "a", "c"], "the one it was created with comes first");
    let error = restore(&engine.engine, &undo).await.expect_err("a refuses").to_string();
    assert!(error.contains("Address already in use"), "{error}");
    assert_eq!(
        *connected.lock().unwrap(),
        ["b", "c"],
        "b by its name, where its identifier is gone"
    );
}

fn summary(id: &str, name: &str, addresses: &[&str], labels: &Value) -> ContainerSummary {
    let networks: serde_json::Map<String, Value> = addresses
        .iter()
        .enumerate()
        .map(|(n, address)| {
            let key = if address.contains(':') {
                "GlobalIPv6Address"
            } else {
                "IPAddress"
            };
            (format!("n{n}"), json!({ key: address }))
        })
        .collect();
    serde_json::from_value(
        json!({ "Id": id, "Names": [format!("/other/{name}"), format!("/{name}")], "Labels": labels,
        "NetworkSettings": { "Networks": networks } }),
    )
    .unwrap()
}

#[test]
fn owners_are_found_over_all_networks_and_families() {
    let containers = [
        summary("aa", "web", &["10.0.0.2", "fd00::2"], &json!({})),
        summary("bb", "db", &["10.0.0.3", "", "nonsense"], &json!({})),
        summary("cc", "queue", &["10.0.0.4"], &json!({ "tier": "core" })),
        summary("dd", "host", &[], &json!({})),
        summary("ee", "twin", &["10.0.0.2"], &json!({})),
    ];
    let owners = find::owners(&containers, &protection(&["db", "label:tier=core", "label:none"]));
    let known = ContainerSet { fault: None, owners };
    let at = |text: &str| -> Vec<(String, bool)> {
        let having = known.owners.get(&text.parse().unwrap()).cloned().unwrap_or_default();
        having
            .iter()
            .map(|owner| (owner.name.to_string(), owner.protected.is_some()))
            .collect()
    };
    assert_eq!(at("fd00::2"), [("web".to_owned(), false)]);
    assert_eq!(at("10.0.0.3"), [("db".to_owned(), true)]);
    assert_eq!(at("10.0.0.4"), [("queue".to_owned(), true)]);
    assert_eq!(at("10.0.0.2"), [("web".to_owned(), false), ("twin".to_owned(), false)]);
    assert_eq!(known.owners.len(), 4);
}

#[test]
fn a_record_survives_the_store_and_strangers_are_refused() {
    let mut undo = undo_of(&["a", "b"], Some("apart"));
    undo.endpoints[0].aliases = Some(vec!["web".into()]);
    undo.endpoints[0].fixed = Some(Fixed {
        v4: Some("10.0.0.5".into()),
        ..Fixed::default()
    });
    let text = undo.encode().unwrap();
    assert_eq!(Undo::decode(&text).as_ref(), Ok(&undo));
    for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
        let error = Undo::decode(&text[..cut]).expect_err("damaged");
        assert!(error.contains("docker network connect"), "{error}");
    }
    let newer = text.replace("\"version\":1", "\"version\":2");
    assert!(Undo::decode(&newer).expect_err("newer").contains("of version 2"));
}

#[test]
fn what_was_connected_since_is_put_back_too_but_never_the_quarantine() {
    let first = undo_of(&["a", "b"], Some("apart"));
    let later = undo_of(&["apart", "b", "c"], Some("apart"));
    let both = first.clone().with(&later);
    assert_eq!(both.networks(), "b, a, c");
    assert_eq!(both.clone().with(&later), both);
    assert_eq!(
        first.clone().with(&undo_of(&[], Some("apart"))),
        first,
        "a cut that was half done takes nothing away"
    );
}

#[test]
fn every_difference_is_told() {
    let was = Endpoint {
        network: "a".into(),
        network_id: "1".into(),
        aliases: Some(vec!["x".into()]),
        links: None,
        driver_opts: None,
        fixed: None,
        v4: Some("10.0.0.5".parse().unwrap()),
        v6: Some("fd00::5".parse().unwrap()),
        mac: Some("02:00:00:00:00:01".into()),
        gw_priority: None,
    };
    assert!(was.differences(&was, true).is_empty());
    let is = Endpoint {
        network: "a".into(),
        network_id: "2".into(),
        links: Some(vec!["y:z".into()]),
        driver_opts: Some([("k".to_owned(), "v".to_owned())].into()),
        fixed: Some(Fixed {
            v4: Some("10.0.0.6".into()),
            ..Fixed::default()
        }),
        gw_priority: Some(7),
        ..Endpoint::default()
    };
    assert_eq!(was.differences(&is, true).len(), 9, "{:?}", was.differences(&is, true));
    let stopped = Endpoint {
        v4: None,
        v6: None,
        mac: None,
        ..was.clone()
    };
    assert!(
        was.differences(&stopped, false).is_empty(),
        "a stopped container has no addresses"
    );
    assert!(!was.moved(&stopped));
    assert!(was.moved(&Endpoint {
        v6: None,
        ..was.clone()
    }));
}
