//! Documents of Elasticsearch or OpenSearch, by their bulk interface.

use super::http::{Reply, Server, authorization, trouble};
use super::outlet::{Answer, Doc, Target, Trouble, Verdict};
use crate::config::ElasticConfig;
use crate::types::Secret;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

/// What of the answer is wanted: of each item how it went.
const BULK: &str = "/_bulk?filter_path=errors,items.*.status,items.*.error.type";

/// `export.elasticsearch`.
pub(super) struct ToElastic {
    server: Server,
    index: String,
    key: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Bulk {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Wrong>,
}

#[derive(Deserialize)]
struct Wrong {
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl ToElastic {
    pub(super) fn new(config: &ElasticConfig) -> Self {
        let basic = || {
            let password = config.password.as_ref()?;
            let pair = format!("{}:{}", config.user, password.expose());
            authorization("Basic", &Secret::new(super::community::base64(pair.as_bytes())))
        };
        let api = config.api_key.as_ref().and_then(|key| authorization("ApiKey", key));
        Self {
            server: Server::new(&config.server),
            index: config.index.clone(),
            key: api.or_else(basic),
        }
    }
}

impl Target for ToElastic {
    const NAME: &'static str = "elasticsearch";

    async fn deliver(&mut self, docs: &[Doc]) -> Answer {
        let body = body(&self.index, docs);
        let reply = self
            .server
            .post(BULK, "application/x-ndjson", self.key.as_ref(), body)
            .await;
        match reply {
            Ok(reply) => read(&reply, docs.len()),
            Err(trouble) => Answer::none(docs.len(), trouble),
        }
    }
}

/// Each event behind a line that says where it goes. `create` is what data streams ask for; with an identifier it makes an
/// alert that was sent before no second document.
fn body(index: &str, docs: &[Doc]) -> Vec<u8> {
    let mut body = Vec::new();
    for doc in docs {
        let action = match &doc.id {
            Some(id) => json!({ "create": { "_index": index, "_id": id } }),
            None => json!({ "create": { "_index": index } }),
        };
        body.extend_from_slice(action.to_string().as_bytes());
        body.push(b'\n');
        // A data stream takes nothing without it; only ECS has it by itself.
        match doc.body.strip_prefix('{') {
            Some(rest) if !doc.body.contains("\"@timestamp\"") => {
                body.extend_from_slice(format!("{{\"@timestamp\":\"{}\",{rest}", doc.at).as_bytes());
            }
            _ => body.extend_from_slice(doc.body.as_bytes()),
        }
        body.push(b'\n');
    }
    body
}

fn read(reply: &Reply, events: usize) -> Answer {
    let whole = |trouble| Answer::none(events, trouble);
    let busy = || Trouble {
        after: reply.after,
        ..trouble(
            format!("it is busy (status {})", reply.status),
            "give it more room, or export fewer types",
        )
    };
    match reply.status {
        200 => {}
        401 | 403 => {
            return whole(trouble(
                format!("it does not let us in (status {})", reply.status),
                "check ELASTICSEARCH_API_KEY or `api_key_file`, and that the key may `create_doc` in the index",
            ));
        }
        // A batch it does not understand as a whole: one event of it may be to blame.
        400 | 413 => {
            return whole(Trouble {
                split: true,
                ..trouble(format!("it refuses the request (status {})", reply.status), "")
            });
        }
        429 | 500..=599 => return whole(busy()),
        300..=399 => {
            return whole(trouble(
                "it sends us elsewhere, which is not followed",
                "write the URL it leads to",
            ));
        }
        status => {
            return whole(trouble(
                format!("it answers with status {status}"),
                "see whether `url` is that of Elasticsearch or OpenSearch",
            ));
        }
    }
    let Ok(bulk) = serde_json::from_slice::<Bulk>(&reply.body) else {
        return whole(trouble(
            "its answer is none of a bulk request",
            "see whether `url` is that of Elasticsearch or OpenSearch, and that no proxy answers in its place",
        ));
    };
    if !bulk.errors {
        return Answer::taken(events);
    }
    let mut trouble = None;
    let verdicts: Vec<_> = bulk
        .items
        .iter()
        .map(|item| verdict(&item.create, &busy, &mut trouble))
        .collect();
    if verdicts.len() < events && trouble.is_none() {
        trouble = Some(busy());
    }
    Answer { verdicts, trouble }
}

/// What became of one document.
fn verdict(outcome: &Outcome, busy: &impl Fn() -> Trouble, told: &mut Option<Trouble>) -> Verdict {
    match outcome.status {
        // 409: it has a document of that name, from an earlier try.
        200..=299 | 409 => Verdict::Taken,
        429 | 500..=599 => {
            told.get_or_insert_with(busy);
            Verdict::Again
        }
        // There is no such index and none may be made, or we may not write there: that is mended, and no event is lost.
        401 | 403 | 404 => {
            told.get_or_insert_with(|| {
                trouble(
                    format!("it takes nothing for this index (status {})", outcome.status),
                    "make the index or data stream, and let the key `create_doc` there",
                )
            });
            Verdict::Again
        }
        status => {
            let kind = outcome.error.as_ref().and_then(|error| error.kind.as_deref());
            Verdict::Refused(format!("status {status}, {}", known(kind)))
        }
    }
}

/// The error's type, where it is one we know: what a server sends is not repeated.
fn known(kind: Option<&str>) -> &'static str {
    match kind {
        Some("document_parsing_exception" | "mapper_parsing_exception") => "a field does not fit the mapping",
        Some("strict_dynamic_mapping_exception") => "the mapping allows no new fields",
        Some("illegal_argument_exception") => "an argument it does not allow, such as too many fields",
        Some("version_conflict_engine_exception") => "a document of that name is there",
        _ => "another error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_its_verdict() {
        let reply = |status, body: &str| Reply {
            status,
            after: None,
            body: body.as_bytes().to_vec(),
        };
        let items = r#"{"errors":true,"items":[
            {"create":{"status":201}},
            {"create":{"status":400,"error":{"type":"document_parsing_exception"}}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception"}}},
            {"create":{"status":404,"error":{"type":"index_not_found_exception"}}}]}"#;
        let answer = read(&reply(200, items), 6);
        assert!(matches!(&answer.verdicts[1], Verdict::Refused(why) if why.contains("mapping")));
        let again: Vec<bool> = answer.verdicts.iter().map(|v| *v == Verdict::Again).collect();
        assert_eq!(again, [false, false, false, true, true]);
        assert!(answer.trouble.unwrap().cause.contains("busy"));
        for body in [
            "",
            "{",
            "[]",
            "<html>",
            r#"{"errors":"no"}"#,
            r#"{"errors":true,"items":[{}]}"#,
        ] {
            let answer = read(&reply(200, body), 2);
            assert_eq!(answer.verdicts, [Verdict::Again, Verdict::Again], "{body}");
        }
        assert_eq!(read(&reply(200, r#"{"errors":false}"#), 2), Answer::taken(2));
        for (status, split) in [
            (400, true),
            (413, true),
            (401, false),
            (302, false),
            (404, false),
            (503, false),
        ] {
            let trouble = read(&reply(status, "secret"), 1).trouble.unwrap();
            assert_eq!(trouble.split, split, "{status}");
            assert!(!trouble.cause.contains("secret"));
        }
    }
}
