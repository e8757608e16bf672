//! Busiest flows, the model, the settings.

use super::*;
use crate::config::load_with_origins;
use crate::detect::Detectors;
use crate::model::Model;
use crate::types::Clock;

#[tokio::test]
async fn the_busiest_flows_and_sources_are_told_in_the_order_asked_for() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let (status, body) = ask(&router, get("/flows/top")).await;
    assert_eq!(status, 200);
    assert_eq!(
        body["items"][0],
        json!({
            "source": "203.0.113.7", "source_port": 2, "destination": "192.0.2.1", "destination_port": 443, "proto": 6,
            "from_inside": false, "packets_sent": 5, "bytes_sent": 500, "packets_received": 2, "bytes_received": 100,
            "packets_per_second": 1.5, "bytes_per_second": 250.0, "first_seen": "2026-01-01T00:00:00.000000Z",
            "last_seen": "2026-01-01T00:00:02.000000Z", "established": true, "closed": false, "allowlisted": false
        })
    );
    let rest = ["at", "per", "by", "total", "flows", "looked_at"].map(|key| body[key].clone());
    assert_eq!(
        json!(rest),
        json!(["2026-01-01T00:00:00.000000Z", "flow", "rate", 2, 2, 2])
    );
    for by in ["bytes", "packets"] {
        let (_, body) = ask(&router, get(&format!("/flows/top?by={by}&limit=1"))).await;
        let ports: Vec<_> = body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| &i["source_port"])
            .collect();
        assert_eq!((ports, &body["total"]), (vec![&json!(1)], &json!(2)));
    }
    let (_, body) = ask(&router, get("/flows/top?ip=198.51.100.9")).await;
    assert_eq!(body["items"], json!([]));
    let (_, body) = ask(&router, get("/flows/top?per=source")).await;
    let item = &body["items"][0];
    assert_eq!((&item["flows"], &item["bytes_sent"]), (&json!(2), &json!(9_500)));
    for (query, words) in [
        ("by=size", "`bytes`, `packets` or `rate`"),
        ("per=host", "`flow` or `source`"),
        ("limit=0", "1 to 256"),
        ("limit=257", "1 to 256"),
        ("order=up", "no parameter"),
        ("by=rate&by=bytes", "given twice"),
    ] {
        let (status, body) = ask(&router, get(&format!("/flows/top?{query}"))).await;
        assert_eq!(status, 422, "{query}: {body}");
        assert!(body["detail"].as_str().unwrap().contains(words), "{query}: {body}");
    }
}

#[tokio::test]
async fn the_model_says_what_it_is_or_why_there_is_none() {
    let mut house = House::new();
    let (_, early) = ask(&house.router(Door::Tcp), get("/model")).await;
    assert_eq!((&early["loaded"], early["why"].is_string()), (&json!(false), true));

    let config = Config::default();
    let shipped = include_bytes!("../../../../config/models/default.model");
    let model = Arc::new(Model::decode(shipped).unwrap());
    let detectors =
        Detectors::new(&config, Clock::default(), Mint::Random, "xdp").with_model(&config, Arc::clone(&model));
    house.model.send_replace(detectors.model_card().map(Arc::new));
    let (status, body) = ask(&house.router(Door::Tcp), get("/model")).await;
    assert_eq!((status, &body["loaded"]), (200, &json!(true)));
    assert_eq!(body["sha256"], crate::types::hex(model.sha256()));
    let told = ["name", "calibrated", "variant"].map(|key| body[key].clone());
    assert_eq!(json!(told), json!(["as trained", false, "both"]));
    assert_eq!(
        body["schema"]["features"].as_array().unwrap().len(),
        crate::features::WIDTH
    );
    assert_eq!(
        body["training"]["digest"],
        crate::types::hex(&model.record().description.training)
    );
    assert!(!body["metrics"].as_object().unwrap().is_empty());
    let levels = body["levels"].as_array().unwrap();
    assert_eq!((levels.len(), &levels[1]["name"]), (2, &json!("flag")));
    assert!(levels.iter().all(|level| level["calibrated"] == false));
    assert_eq!((&body["learning"]["kept"], &body["drift"]), (&json!(120), &Value::Null));

    let mut off = Config::default();
    off.detect.model.enabled = false;
    house.state.config = Arc::new(off);
    house.model.send_replace(None);
    let (_, none) = ask(&house.router(Door::Tcp), get("/model")).await;
    assert_eq!(
        none,
        json!({ "loaded": false, "why": "`detect.model.enabled` is false" })
    );
}

#[tokio::test]
async fn the_settings_are_told_and_no_secret_is_among_them() {
    const SECRET: &str = "hunter2sentinel";
    let mut house = House::new();
    let file = house.directory.path().join("settings.yml");
    let text = format!(
        "flow:\n  max_flows: 4096\nintel:\n  cache: \"redis://:{SECRET}@192.0.2.1/\"\n  feeds:\n    custom: \
         [\"mine=https://192.0.2.2/{SECRET}\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    let keys = [
        "VT_API_KEY",
        "ABUSEIPDB_API_KEY",
        "OTX_API_KEY",
        "IPQS_API_KEY",
        "GREYNOISE_API_KEY",
    ];
    let env = keys.map(|name| (name.to_owned(), SECRET.to_owned()));
    let (config, origins) = load_with_origins(std::slice::from_ref(&file), env).unwrap();
    (house.state.config, house.state.origins) = (Arc::new(config), Arc::new(origins));
    let (status, body) = ask(&house.router(Door::Tcp), get("/settings")).await;
    assert_eq!(status, 200);
    assert!(!body.to_string().contains("hunter2"));
    let section = |level: &Value, name: &str| -> Value {
        let all = level.as_array().unwrap();
        all.iter().find(|told| told["name"] == name).unwrap().clone()
    };
    let flows = section(&section(&body["settings"], "flow")["settings"], "max_flows");
    assert_eq!(
        flows,
        json!({
            "name": "max_flows", "key": "flow.max_flows", "value": "4096", "default": "131072", "changed": true,
            "masked": false, "origin": { "from": "file", "file": file, "line": 2 },
            "description": "Flows in the agent's table; the least recently seen makes room",
            "expects": "a whole number from 1024 to 16777216"
        })
    );
    let sources = section(&section(&body["settings"], "intel")["settings"], "sources");
    let key = section(&section(&sources["settings"], "virustotal")["settings"], "key");
    let told = ["value", "masked", "origin"].map(|k| key[k].clone());
    assert_eq!(
        json!(told),
        json!(["***", true, { "from": "environment", "variable": "VT_API_KEY" }])
    );
}
