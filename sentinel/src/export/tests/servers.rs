//! Elasticsearch and Splunk as they are on bad days.

use super::server::{Request, Say, Server};
use super::{Books, Running, eventually};
use crate::config::ExportConfig;
use crate::types::{Mint, Secret};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Got = Arc<Mutex<HashMap<String, u32>>>;

fn config(url: &str, splunk: bool) -> ExportConfig {
    let mut config = ExportConfig::default();
    config.eve.sink.enabled = false;
    let server = if splunk {
        config.splunk.sink.enabled = true;
        config.splunk.token = Some(Secret::new("t0ken"));
        config.splunk.index = "net".to_owned();
        &mut config.splunk.server
    } else {
        config.elasticsearch.sink.enabled = true;
        config.elasticsearch.api_key = Some(Secret::new("k3y"));
        &mut config.elasticsearch.server
    };
    url.clone_into(&mut server.url);
    server.batch = 8;
    server.flush = Duration::from_millis(20);
    server.timeout = Duration::from_millis(400);
    config
}

/// The names of the alerts in a bulk request; each is followed by its document.
fn bulk(request: &Request) -> Vec<String> {
    let lines: Vec<Value> = request
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(request.body.ends_with('\n') && lines.len().is_multiple_of(2));
    lines
        .chunks(2)
        .map(|pair| {
            assert_eq!(pair[0]["create"]["_index"], "logs-sentinel-default");
            let id = pair[0]["create"]["_id"].as_str().unwrap();
            assert_eq!(pair[1]["event"]["id"], id);
            assert_eq!(pair[1]["ecs"]["version"], "8.11.0");
            id.to_owned()
        })
        .collect()
}

fn statuses(of: &[u16]) -> Say {
    let items: Vec<Value> = of
        .iter()
        .map(|status| {
            let mut item = serde_json::json!({ "create": { "status": status } });
            if *status >= 400 {
                item["create"]["error"] = serde_json::json!({ "type": "document_parsing_exception" });
            }
            item
        })
        .collect();
    let errors = of.iter().any(|status| *status >= 300);
    Say::Answer(
        200,
        "",
        serde_json::json!({ "errors": errors, "items": items }).to_string(),
    )
}

#[tokio::test]
async fn elasticsearch_gets_each_alert_whatever_it_answers_first() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let got = Got::default();
    let (kept, mut turn, mut poison) = (Arc::clone(&got), 0, None);
    let server = Server::start(move |request| {
        assert_eq!(
            request.path,
            "/_bulk?filter_path=errors,items.*.status,items.*.error.type"
        );
        assert_eq!(request.headers["authorization"], "ApiKey k3y");
        assert_eq!(request.headers["content-type"], "application/x-ndjson");
        assert_eq!(request.headers["content-encoding"], "gzip");
        let ids = bulk(request);
        assert!(ids.len() <= 8);
        turn += 1;
        match turn {
            1 => return Say::Answer(200, "", "{\"errors\":tru".into()),
            2 => return Say::Hang,
            3 => return Say::Answer(302, "location: http://192.0.2.1/\r\n", String::new()),
            4 => return Say::Answer(429, "retry-after: 0\r\n", String::new()),
            5 => return Say::Answer(503, "retry-after: 0\r\n", "<html>".into()),
            _ => {}
        }
        // Too much at once; and of one document that it does not like.
        if ids.len() > 3 {
            return Say::Answer(413, "", String::new());
        }
        let bad = poison.get_or_insert_with(|| ids[0].clone()).clone();
        let mut answer = Vec::new();
        for id in &ids {
            if *id == bad {
                answer.push(400);
            } else {
                let times = kept
                    .lock()
                    .unwrap()
                    .entry(id.clone())
                    .and_modify(|n| *n += 1)
                    .or_insert(1)
                    .to_owned();
                answer.push(if times > 1 { 409 } else { 201 });
            }
        }
        statuses(&answer)
    })
    .await;
    let config = config(&server.url(), false);
    let running = Running::start(&config, &books.store);
    books.begun(&config).await;
    let names = books.alerts(&mut Mint::Counted(0), 0..40).await;
    eventually("39 alerts", || got.lock().unwrap().len() == 39).await;
    eventually("one refused", || running.counted("elasticsearch", "refused") == 1).await;
    eventually("health after it", || running.wrong().is_none()).await;
    eventually("39 counted", || running.counted("elasticsearch", "delivered") == 39).await;
    assert!(running.counted("elasticsearch", "retried") > 0);
    let there = got.lock().unwrap().clone();
    let missing = names.iter().filter(|name| !there.contains_key(*name)).count();
    assert_eq!(missing, 1, "the one it refused does not hold up the rest");
    running.stop().await;
    assert_eq!(books.store.cursor("elasticsearch").await.unwrap(), Some(40));
}

#[tokio::test]
async fn splunk_gets_each_alert_whatever_it_answers_first() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let got = Got::default();
    let (kept, mut turn, mut poison) = (Arc::clone(&got), 0, None);
    let server = Server::start(move |request| {
        assert_eq!(request.path, "/services/collector/event");
        assert_eq!(request.headers["authorization"], "Splunk t0ken");
        let events: Vec<Value> = request
            .body
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        turn += 1;
        match turn {
            1 => {
                return Say::Answer(
                    503,
                    "retry-after: 0\r\n",
                    r#"{"text":"Server is busy","code":9}"#.into(),
                );
            }
            2 => return Say::Answer(200, "", "{}".into()),
            3 => return Say::Answer(429, "retry-after: 0\r\n", String::new()),
            _ => {}
        }
        let ids: Vec<String> = events
            .iter()
            .map(|event| {
                assert_eq!(event["index"], "net");
                assert_eq!(event["sourcetype"], "suricata");
                let seconds: f64 = event["time"].as_str().unwrap().parse().unwrap();
                assert!(seconds.fract().abs() < 1e-9 && event["host"].is_string());
                event["event"]["sentinel"]["alert"]["id"].as_str().unwrap().to_owned()
            })
            .collect();
        if poison.get_or_insert_with(|| ids[2].clone()) == &ids[0] && ids.len() == 1
            || ids.contains(poison.as_ref().unwrap())
        {
            return Say::Answer(400, "", r#"{"text":"Invalid data format","code":6}"#.into());
        }
        for id in ids {
            *kept.lock().unwrap().entry(id).or_insert(0) += 1;
        }
        Say::Answer(200, "", r#"{"text":"Success","code":0}"#.into())
    })
    .await;
    let config = config(&server.url(), true);
    let running = Running::start(&config, &books.store);
    books.begun(&config).await;
    books.alerts(&mut Mint::Counted(0), 0..30).await;
    eventually("29 alerts", || got.lock().unwrap().len() == 29).await;
    eventually("one refused", || running.counted("splunk", "refused") == 1).await;
    assert!(got.lock().unwrap().values().all(|times| *times == 1), "none twice");
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_loses_nothing_and_says_what_to_do_without_the_key() {
    for splunk in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let books = Books::open(&dir.path().join("s.db"));
        let open = Arc::new(Mutex::new(false));
        let door = Arc::clone(&open);
        let server = Server::start(move |request| {
            if !*door.lock().unwrap() {
                return Say::Answer(401, "", "your key k3y or t0ken is wrong".into());
            }
            if splunk {
                Say::Answer(200, "", r#"{"text":"Success","code":0}"#.into())
            } else {
                statuses(&vec![201; bulk(request).len()])
            }
        })
        .await;
        let sink = if splunk { "splunk" } else { "elasticsearch" };
        let config = config(&server.url(), splunk);
        let running = Running::start(&config, &books.store);
        books.begun(&config).await;
        books.alerts(&mut Mint::Counted(0), 0..5).await;
        eventually("it to be told", || running.wrong().is_some()).await;
        let told = running.wrong().unwrap();
        assert!(told.contains("let us in") && told.contains("_file"), "{told}");
        assert!(
            !told.contains("k3y") && !told.contains("t0ken") && !told.contains("127.0.0.1"),
            "{told}"
        );
        assert_eq!(running.counted(sink, "delivered"), 0);
        *open.lock().unwrap() = true;
        eventually("all of them", || running.counted(sink, "delivered") == 5).await;
        assert_eq!(running.wrong(), None);
        running.stop().await;
    }
}

#[tokio::test]
async fn nobody_there_and_a_wrong_ca_file_are_troubles_of_that_sink_alone() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut config = config(&format!("http://{gone}"), false);
    config.eve.sink.enabled = true;
    config.eve.file = dir.path().join("eve.json");
    config.splunk.sink.enabled = true;
    config.splunk.server.url = "https://127.0.0.1:1".to_owned();
    config.splunk.server.ca_file = Some(dir.path().join("none.pem"));
    config.splunk.server.flush = Duration::from_millis(20);
    let running = Running::start(&config, &books.store);
    books.begun(&config).await;
    let names = books.alerts(&mut Mint::Counted(0), 0..5).await;
    eventually("the file", || super::alerts_in(&dir.path().join("eve.json")) == names).await;
    eventually("both told", || {
        running.wrong().is_some_and(|wrong| {
            wrong.contains("elasticsearch: connection refused")
                && wrong.contains("splunk: `ca_file`")
                && !wrong.contains("eve:")
        })
    })
    .await;
    running.stop().await;
}
