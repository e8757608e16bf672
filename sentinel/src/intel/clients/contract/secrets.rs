//! A key is told to its provider and to nobody else, whatever goes wrong.

use super::super::testing::{Script, Server, deserted, http, json};
use super::{BAD, CANARY, PROVIDERS, client, source, sources};
use crate::types::Severity;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Everything anybody logs.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn scripts(hit: &str) -> Vec<Script> {
    let echo = format!("<html>GET /api/json/ip/{CANARY}/{BAD} x-apikey: {CANARY}</html>");
    let echoed = format!(r#"{{"success": false, "message": "{CANARY}", "data": "{CANARY}", "{CANARY}": 1}}"#);
    let inside = format!(r#"{{"{CANARY}": {{"data": [1, "#);
    let whole = json(hit);
    let mut scripts: Vec<Script> = [
        whole.clone(),
        whole[..whole.len() - 1].to_vec(),
        whole[..20].to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
        json(&echo),
        json(&echoed),
        json(&inside),
        json(""),
        json("[1]"),
        http("200 OK", &[("Content-Encoding", "gzip")], b"no gzip"),
        http("200 OK", &[], &vec![b' '; 3_000_000]),
        http("302 Found", &[("Location", &format!("/{CANARY}"))], b""),
        http(
            "429 Too Many Requests",
            &[("Retry-After", CANARY), ("X-RateLimit-Limit", CANARY)],
            b"",
        ),
    ]
    .into_iter()
    .map(Script::Say)
    .collect();
    for status in ["400 No", "401 No", "403 No", "404 Not Found", "500 No", "418 No"] {
        scripts.push(Script::Say(http(status, &[], echo.as_bytes())));
    }
    scripts
}

#[tokio::test]
async fn no_key_is_ever_told() {
    let log = Log::default();
    let _guard = logging(&log);

    let mut said = String::new();
    let mut answered = 0;
    for p in &PROVIDERS {
        let mut servers = Vec::new();
        for script in scripts(p.hit) {
            servers.push(Server::start(script).await);
        }
        let hanging = Server::start(Script::Hang).await;
        let mut urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
        urls.push(hanging.url.clone());
        urls.push(deserted().await);
        servers.push(Server::start(Script::Greet(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await);
        urls.push(servers.last().unwrap().url.replace("http://", "https://"));
        urls.push(format!("http://{}.example", "a".repeat(64)));
        urls.push("http://".to_owned());
        for url in urls {
            let mut config = sources(p.name, &url, Some(CANARY));
            if url == hanging.url {
                source(&mut config, p.name).timeout = Duration::from_millis(200);
            }
            let client = client(&config);
            let told = client.ask(BAD.parse().unwrap(), Severity::High).await;
            tracing::trace!(?told, ?config, profile = ?client.profile(), "asked");
            writeln!(said, "{told:?} {config:?}").unwrap();
            match told {
                Ok(reply) => {
                    said += &serde_json::to_string(&reply.indicator).unwrap();
                    answered += 1;
                }
                Err(error) => writeln!(said, "{error} {error:?} {error:#?} {}", error.label()).unwrap(),
            }
        }
        if p.name != "threatcrowd" {
            let heard = |server: &Server| server.requests().iter().any(|request| request.contains(CANARY));
            assert!(heard(&servers[0]), "{} was not told its key", p.name);
        }
    }
    assert!(answered >= PROVIDERS.len());
    // A key nobody can send.
    for p in &PROVIDERS {
        let config = sources(p.name, "http://127.0.0.1:9", Some(&format!("{CANARY}\n")));
        let told = client(&config)
            .ask(BAD.parse().unwrap(), Severity::High)
            .await
            .unwrap_err();
        writeln!(said, "{told} {told:?}").unwrap();
    }

    assert!(!said.contains(CANARY), "{}", context(&said));
    assert_untold(&log, &["hyper_util::client", "reqwest::connect", "sentinel::intel"]);
}

/// Hears this thread at trace level.
pub(super) fn logging(log: &Log) -> tracing::subscriber::DefaultGuard {
    // Libraries that speak through `log` are heard as well; another test may have seen to it.
    let _ = tracing_log::LogTracer::init();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_default(subscriber)
}

/// The log holds something of each of these, and the canary nowhere.
pub(super) fn assert_untold(log: &Log, heard: &[&str]) {
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for library in heard {
        assert!(logged.contains(library), "nothing was heard of {library}");
    }
    assert!(!logged.contains(CANARY), "{}", context(&logged));
}

/// What stands around the canary.
fn context(text: &str) -> String {
    text.lines()
        .filter(|line| line.contains(CANARY))
        .take(5)
        .collect::<Vec<_>>()
        .join("\n")
}
