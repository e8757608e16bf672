//! Events of Splunk, by its HTTP Event Collector.

use super::http::{Reply, Server, authorization, trouble};
use super::outlet::{Answer, Doc, Target, Trouble};
use crate::config::SplunkConfig;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

use super::Observer;

/// Where events go (docs.splunk.com, "HTTP Event Collector REST API endpoints").
const PATH: &str = "/services/collector/event";

/// `export.splunk`.
pub(super) struct ToSplunk {
    server: Server,
    index: String,
    sourcetype: String,
    key: Option<HeaderValue>,
    by: Arc<Observer>,
}

#[derive(Deserialize)]
struct Told {
    code: i64,
}

impl ToSplunk {
    pub(super) fn new(config: &SplunkConfig, by: Arc<Observer>) -> Self {
        Self {
            server: Server::new(&config.server),
            index: config.index.clone(),
            sourcetype: config.sourcetype.clone(),
            key: config.token.as_ref().and_then(|token| authorization("Splunk", token)),
            by,
        }
    }

    /// Events behind each other, each with its time, host and source type.
    fn body(&self, docs: &[Doc]) -> Vec<u8> {
        let mut body = Vec::new();
        for doc in docs {
            let seconds = doc.at.0.div_euclid(1_000_000_000);
            let micros = doc.at.0.rem_euclid(1_000_000_000) / 1_000;
            let mut about = json!({
                "time": format!("{seconds}.{micros:06}"),
                "host": self.by.host,
                "source": "sentinel",
            });
            for (name, value) in [("sourcetype", &self.sourcetype), ("index", &self.index)] {
                if !value.is_empty() {
                    about[name] = json!(value);
                }
            }
            // The event is JSON already: it goes in as it is.
            let about = about.to_string();
            body.extend_from_slice(about.trim_end_matches('}').as_bytes());
            body.extend_from_slice(b",\"event\":");
            body.extend_from_slice(doc.body.as_bytes());
            body.extend_from_slice(b"}\n");
        }
        body
    }
}

impl Target for ToSplunk {
    const NAME: &'static str = "splunk";

    async fn deliver(&mut self, docs: &[Doc]) -> Answer {
        let body = self.body(docs);
        match self
            .server
            .post(PATH, "application/json", self.key.as_ref(), body)
            .await
        {
            Ok(reply) => read(&reply, docs.len()),
            Err(trouble) => Answer::none(docs.len(), trouble),
        }
    }
}

/// The collector takes all of a request or says why not; its codes are those of its documentation.
fn read(reply: &Reply, events: usize) -> Answer {
    let code = serde_json::from_slice::<Told>(&reply.body).ok().map(|told| told.code);
    let found = match (reply.status, code) {
        (200, Some(0)) => return Answer::taken(events),
        (200, _) => trouble(
            "its answer is none of the collector",
            "see whether `url` is that of the HTTP Event Collector, and that no proxy answers in its place",
        ),
        (400, Some(7)) => trouble(
            "the token may not write to this index",
            "allow it there, or name another `index`",
        ),
        (400, Some(10 | 11)) => trouble(
            "the token asks for acknowledgement, which needs a channel",
            "turn indexer acknowledgement off for this token",
        ),
        (401 | 403, _) => trouble(
            format!("it does not let us in (status {})", reply.status),
            "check SPLUNK_HEC_TOKEN or `token_file`, and that the token is enabled",
        ),
        (400 | 413, _) => Trouble {
            split: true,
            ..trouble(format!("it refuses the request (status {})", reply.status), "")
        },
        (429 | 500..=599, _) => Trouble {
            after: reply.after,
            ..trouble(
                format!("it is busy (status {})", reply.status),
                "give it more room, or export fewer types",
            )
        },
        (300..=399, _) => trouble(
            "it sends us elsewhere, which is not followed",
            "write the URL it leads to",
        ),
        (status, _) => trouble(
            format!("it answers with status {status}"),
            "see whether `url` is that of the HTTP Event Collector",
        ),
    };
    Answer::none(events, found)
}
