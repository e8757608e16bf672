//! The document against the API: nothing missing, nothing beyond, and every answer as it says.

use super::*;
use crate::api::openapi;
use crate::types::{Bystander, FleetNode, FleetStatus, Tally};
use std::collections::BTreeSet;

/// The document with its shapes closed: what an answer has and the document does not tell of is an error.
pub(super) struct Strict {
    pub(super) document: Value,
}

impl Strict {
    pub(super) fn new() -> Self {
        let mut document = serde_json::to_value(openapi::document()).unwrap();
        close(&mut document["components"]["schemas"], false);
        Self { document }
    }

    /// What is wrong with `value` as the named schema, or as one that stands in the document.
    pub(super) fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut root = schema.clone();
        root["components"] = self.document["components"].clone();
        if schema["$ref"].is_string() {
            root["unevaluatedProperties"] = json!(false);
        }
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&root)
            .unwrap();
        validator
            .iter_errors(value)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect()
    }
}

/// The path with something in every hole.
fn filled(path: &str) -> String {
    let routed = router::paths().map(|(routed, _)| routed);
    let mut routed = routed.filter(|routed| openapi::spelled(routed) == path);
    access::filled(routed.next().unwrap())
}

/// Closes every object but those that others are made of.
fn close(schema: &mut Value, part: bool) {
    match schema {
        Value::Object(keys) => {
            let named = keys.get("$ref").is_some_and(Value::is_string);
            let open = keys.get("additionalProperties").is_some() || keys.get("unevaluatedProperties").is_some();
            for (key, inner) in keys.iter_mut() {
                match inner {
                    Value::Array(items) => items.iter_mut().for_each(|item| close(item, key == "allOf")),
                    inner => close(inner, key == "schemas"),
                }
            }
            if named && !part && !open {
                keys.insert("unevaluatedProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, false)),
        _ => {}
    }
}

#[tokio::test]
async fn every_method_of_every_path_is_told_and_nothing_else() {
    let mut house = House::new();
    house.let_bouncers_in();
    let router = house.router(Door::Unix);
    let document = serde_json::to_value(openapi::document()).unwrap();
    let told = document["paths"].as_object().unwrap();
    let routed: BTreeSet<String> = router::paths().map(|(path, _)| openapi::spelled(path)).collect();
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), routed);
    for (path, item) in told {
        // What a path takes it says itself, when asked for what it cannot take.
        let (status, headers, _) = answer(&router, send("PUT", &filled(path), &json!({}))).await;
        assert_eq!(status, 405, "{path}");
        let allowed: BTreeSet<String> = headers["allow"]
            .to_str()
            .unwrap()
            .split(',')
            .map(|method| method.trim().to_ascii_lowercase())
            .filter(|method| method != "head")
            .collect();
        let methods: BTreeSet<String> = item.as_object().unwrap().keys().cloned().collect();
        assert_eq!(methods, allowed, "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let holes: BTreeSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let told: BTreeSet<&str> = parameters(operation, "path").collect();
            assert_eq!(told, holes, "{method} {path}");
        }
    }
}

#[test]
fn the_page_to_begin_with_names_every_path() {
    let page = include_str!("../../../../docs/api.md");
    let document = serde_json::to_value(openapi::document()).unwrap();
    let told = document["paths"].as_object().unwrap().keys();
    // What makes up the dashboard is in its page.
    let missing: Vec<_> = told
        .filter(|path| !matches!(path.as_str(), "/" | "/assets/{name}" | "/login/{name}"))
        .filter(|path| !page.contains(&format!("`{path}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn parameters<'d>(operation: &'d Value, place: &'d str) -> impl Iterator<Item = &'d str> {
    let all = operation["parameters"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    all.iter()
        .filter(move |one| one["in"] == place)
        .map(|one| one["name"].as_str().unwrap())
}

/// Every parameter of the query that is told of is known to its handler, and no other is.
#[tokio::test]
async fn the_query_takes_what_is_told_and_nothing_else() {
    let house = House::new();
    let router = house.router(Door::Unix);
    let document = serde_json::to_value(openapi::document()).unwrap();
    let unknown = |body: &Value| {
        body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("no parameter"))
    };
    let mut strict = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["responses"]["422"].is_null() || method == "post" {
                continue;
            }
            // Values that are wrong are told apart from names that are.
            for name in parameters(operation, "query") {
                let asked = format!("{}?{name}=%21", filled(path));
                let (_, body) = ask(&router, send(&method.to_uppercase(), &asked, &json!({}))).await;
                assert!(!unknown(&body), "{method} {asked}: {body}");
                strict += 1;
            }
            let asked = format!("{}?no_such=1", filled(path));
            let (status, body) = ask(&router, send(&method.to_uppercase(), &asked, &json!({}))).await;
            assert!(status == 422 && unknown(&body), "{method} {asked}: {status} {body}");
        }
    }
    assert!(strict > 25, "{strict}");
}

#[test]
fn it_is_openapi_3_1_and_its_shapes_are_json_schema() {
    // Of the OpenAPI Initiative, https://spec.openapis.org/oas/3.1/schema/2022-10-07 (Apache-2.0).
    let schema: Value = serde_json::from_str(include_str!("../testdata/openapi-3.1.schema.json")).unwrap();
    let document = serde_json::to_value(openapi::document()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));

    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        let wrong = jsonschema::draft202012::meta::validate(schema)
            .err()
            .map(|error| error.to_string());
        assert_eq!(wrong, None, "{name}");
    }
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            let tag = operation["tags"][0].as_str().unwrap();
            assert!(openapi::TAGS.iter().any(|(known, _)| *known == tag), "{tag}");
        }
    }
    let text = document.to_string();
    let named: BTreeSet<&str> = text
        .split("#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    for name in named {
        assert!(schemas.contains_key(name), "{name} is named and not told of");
    }
}

/// Fills the house with one of everything.
async fn furnish(house: &House) -> Vec<(&'static str, String)> {
    house.attach(&[(sentinel_common::stat::Counter::PassV4, 5)]);
    let reports = house.directory.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    std::fs::write(reports.join("sentinel-daily-2026-11-28.json"), "{}\n").unwrap();
    let mut health = Health::default();
    health.degrade(Component::Kernel, "eth0 runs in generic mode", "use another driver");
    health.ok(Component::Store, "wal");
    house.health.send_replace(Arc::new(health));
    pages::busy(house, crate::config::Mode::Production).await;
    let mut mint = Mint::Random;
    let samples = golden::Samples::new(&mut mint, now());
    let (alert, decision) = (samples.alert.clone(), samples.decision.clone());
    let tally = Tally {
        decision: decision.id,
        at: now(),
        hits: Hits {
            would_packets: 7,
            would_bytes: 420,
            first_hit: Some(now()),
            last_hit: Some(now()),
            ..Hits::default()
        },
        seen: Hits::default(),
    };
    let bystander = Bystander {
        decision: decision.id,
        ip: "203.0.113.200".parse().unwrap(),
        sessions: 3,
        first: now(),
        last: now(),
    };
    house
        .keep(vec![
            Record::Alert(Arc::new(alert.clone())),
            Record::Investigation(Arc::new(samples.investigation.clone())),
            Record::Decision(Arc::new(decision.clone())),
            Record::Action(Arc::new(samples.action.clone())),
            Record::Allow(Arc::new(samples.allowed.clone())),
            Record::Tally(Arc::new(tally)),
            Record::Bystander(Arc::new(bystander)),
            Record::Audit {
                at: now(),
                actor: "test".to_owned(),
                verb: "test".to_owned(),
                subject: "all".to_owned(),
                detail: String::new(),
            },
            Record::Sighting(Box::new(sightings::neighbour("192.0.2.7", 1))),
        ])
        .await;
    let node = FleetNode {
        name: "one".to_owned(),
        at: now(),
        release: "0.1.0".to_owned(),
        mode: "production".to_owned(),
        in_force: 3,
    };
    let fleet = FleetStatus {
        enabled: true,
        nodes: vec![node],
        ..FleetStatus::default()
    };
    house.fleet.send_replace(Arc::new(fleet));
    let wish = crate::auth::NewToken {
        name: "grafana".to_owned(),
        role: Role::Viewer,
        duration: None,
    };
    house.state.auth.create(wish, "test", now()).await.unwrap();
    vec![
        ("/alerts/{id}", format!("/alerts/{}", alert.id)),
        ("/decisions/{id}", format!("/decisions/{}", decision.id)),
        ("/actions/{id}", format!("/actions/{}", samples.action.id)),
        (
            "/investigations/{id}",
            format!("/investigations/{}", samples.investigation.id),
        ),
        ("/allowlist/check", format!("/allowlist/check?ip={}", decision.target)),
    ]
}

#[tokio::test]
async fn real_answers_are_as_the_document_says() {
    let mut house = House::new();
    house.let_bouncers_in();
    let places = furnish(&house).await;
    let router = house.router(Door::Unix);
    // A sample of the past, as the server takes them by itself.
    let api = Api::new(house.state.clone(), house.cancel.clone());
    api.history.take(&house.stats.borrow().clone());
    let samples = HistoryOf(api);
    let strict = Strict::new();
    let mut checked = 0;
    for (path, item) in strict.document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get") else { continue };
        let asked = places
            .iter()
            .find(|(known, _)| known == path)
            .map_or_else(|| filled(path), |(_, place)| place.clone());
        let (status, headers, body) = if path == "/stats/history" {
            samples.answer().await
        } else {
            answer(&router, get(&asked)).await
        };
        let expected = match path.as_str() {
            "/stream" => 426,
            "/decisions/{id}/proof" => 404,
            _ => 200,
        };
        assert_eq!(status, expected, "{asked}: {}", String::from_utf8_lossy(&body));
        let told = &operation["responses"][status.as_str()]["content"];
        let media = headers["content-type"].to_str().unwrap().split(';').next().unwrap();
        let content = &told[media];
        assert!(!content.is_null(), "{asked}: {media} is not told of");
        if media.ends_with("json") {
            let value: Value = serde_json::from_slice(&body).unwrap();
            let faults = strict.faults(&content["schema"], &value);
            assert!(faults.is_empty(), "{asked}: {faults:#?}\n{value:#}");
            if let Some(items) = value["items"].as_array() {
                assert!(!items.is_empty(), "{asked} has nothing to check");
            }
        }
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}

/// A server that has seen a little.
struct HistoryOf(Shared);

impl HistoryOf {
    async fn answer(&self) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
        answer(&router::router(Arc::clone(&self.0), Door::Unix), get("/stats/history")).await
    }
}

#[test]
fn shapes_refuse_what_does_not_go_out() {
    let strict = Strict::new();
    let mut mint = Mint::Counted(0);
    let samples = golden::Samples::new(&mut mint, T0);
    let schema = json!({ "$ref": "#/components/schemas/Alert" });
    let good = serde_json::to_value(&samples.alert).unwrap();
    assert_eq!(strict.faults(&schema, &good), Vec::<String>::new());
    for (key, wrong) in [
        ("severity", json!("huge")),
        ("score", json!("0.5")),
        ("id", json!(7)),
        ("at", json!("yesterday")),
        ("unheard_of", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[key] = wrong;
        assert_eq!(strict.faults(&schema, &bad).len(), 1, "{key}");
    }
    let mut bad = good.clone();
    bad["targets"][0]["unheard_of"] = json!(1);
    assert_ne!(strict.faults(&schema, &bad), Vec::<String>::new());
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("summary");
    assert_ne!(strict.faults(&schema, &bad), Vec::<String>::new());
}
