//! Requests and answers, through the router.

use super::*;

/// A refusal is a problem document that says `words`.
async fn refused(router: &Router, request: Request<Body>, status: u16, words: &str) {
    let told = format!("{} {}", request.method(), request.uri());
    let (got, headers, body) = answer(router, request).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(got.as_u16(), status, "{told}: {body}");
    assert_eq!(headers["content-type"], "application/problem+json", "{told}");
    assert!(headers.contains_key("content-security-policy"), "{told}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], status, "{told}");
    assert!(
        problem["type"].as_str().unwrap().starts_with("urn:sentinel:problem:"),
        "{told}"
    );
    assert!(!problem["title"].as_str().unwrap().is_empty(), "{told}");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{told}: {problem}");
}

#[tokio::test]
async fn shapes_are_golden() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let decision = decision(&mut mint, &alert, T0);
    let action = action(&mut mint, &decision);
    house
        .keep(vec![
            Record::Alert(Arc::new(alert)),
            Record::Decision(Arc::new(decision)),
            Record::Action(Arc::new(action)),
        ])
        .await;
    let (aid, did, xid) = (
        "019b76da-a800-7000-8000-000000000000",
        "019b76da-a800-7000-8000-000000000001",
        "019b76da-a800-7000-8000-000000000002",
    );
    let alert = json!({
        "id": aid, "at": "2026-01-01T00:00:00.000000Z", "evidence_at": 1000, "source": "203.0.113.7",
        "targets": [{ "ip": "198.51.100.10", "port": 22, "proto": 6 }],
        "detector": "port_scan", "family": "scan", "technique": "syn vertical", "score": 0.75, "severity": "medium",
        "class": "behaviour",
        "evidence": [{ "name": "distinct_ports", "value": 41.0, "threshold": 15.0, "unit": "ports/60s" }],
        "summary": "203.0.113.7 probed 41 ports of 198.51.100.10 within 60 s, the limit is 15", "sensor": "xdp"
    });
    let decision = json!({
        "id": did, "at": "2026-01-01T00:00:00.000000Z", "target": "203.0.113.7/32", "action": "block_ip",
        "expires_at": "2026-01-01T04:00:00.000000Z", "simulated": false, "origin": "detector", "actor": "port_scan",
        "reason": alert["summary"], "alert": aid, "severity": "medium", "status": "active", "veto": null,
        "ended_at": null, "hits": 11, "hit_bytes": 0, "would_hits": 2, "would_hit_bytes": 0,
        "first_hit": null, "last_hit": null
    });
    let action = json!({
        "id": xid, "decision": did, "kind": "block_ip", "target": "203.0.113.7/32", "status": "enforced",
        "intent_at": "2026-01-01T00:00:00.000000Z", "entered_at": "2026-01-01T00:00:00.003000Z",
        "outcome_at": "2026-01-01T00:00:00.003000Z",
        "expires_at": "2026-01-01T04:00:00.000000Z", "outcome": "read back from xdp (native)", "hits": 11, "would_hits": 2
    });
    for (path, item) in [("alerts", &alert), ("decisions", &decision), ("actions", &action)] {
        let id = item["id"].as_str().unwrap();
        assert_eq!(ask(&router, get(&format!("/{path}/{id}"))).await, (200, item.clone()));
        let page = json!({ "items": [item], "next_cursor": null, "total": 1 });
        assert_eq!(ask(&router, get(&format!("/{path}"))).await, (200, page));
    }
    // Once the kernel counts, its numbers take the place of the stored ones.
    let live = Hits {
        packets: 7,
        bytes: 420,
        would_packets: 1,
        would_bytes: 60,
        first_hit: Some(T0),
        last_hit: Some(T0),
    };
    house
        .hits
        .send_replace(Arc::new(HashMap::from([(did.parse().unwrap(), live)])));
    let (_, counted) = ask(&router, get("/decisions?active=true")).await;
    let numbers =
        ["hits", "hit_bytes", "would_hits", "would_hit_bytes", "last_hit"].map(|k| counted["items"][0][k].clone());
    assert_eq!(json!(numbers), json!([7, 420, 1, 60, "2026-01-01T00:00:00.000000Z"]));
    let (_, acted) = ask(&router, get("/actions")).await;
    let item = &acted["items"][0];
    assert_eq!(
        (&item["status"], &item["hits"], &item["would_hits"]),
        (&json!("enforced"), &json!(7), &json!(1))
    );
}

#[tokio::test]
async fn what_was_found_out_is_listed_and_looked_up() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let found = crate::types::testing::investigation(&alert, Severity::High, 2);
    let shape = serde_json::to_value(&found).unwrap();
    house.keep(vec![Record::Investigation(Arc::new(found.clone()))]).await;
    let (status, body) = ask(&router, get(&format!("/investigations?alert={}", alert.id))).await;
    assert_eq!(
        (status, &body["items"], &body["total"]),
        (200, &json!([shape]), &json!(1))
    );
    assert_eq!(
        ask(&router, get(&format!("/investigations/{}", found.id))).await,
        (200, shape)
    );
    let (_, none) = ask(&router, get("/investigations?risk=low,medium")).await;
    assert_eq!(none["total"], 0);
    refused(
        &router,
        get("/investigations?risk=huge"),
        422,
        "`low`, `medium` or `high`",
    )
    .await;
    refused(&router, get("/investigations?alert=7"), 422, "an alert's identifier").await;
}

#[tokio::test]
async fn the_world_outside_is_told_of_and_asked_and_the_audit_knows_who_asked() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let (status, body) = ask(&router, get("/intel")).await;
    assert_eq!((status, &body["feeds"][0]["name"]), (200, &json!("ipsum")));
    assert_eq!(body["sources"], json!([]), "the sources stand beside the feeds");
    let (status, body) = ask(&router, send("POST", "/intel/check", &json!({ "ip": "203.0.113.7" }))).await;
    assert_eq!((status, &body["risk"]["level"]), (200, &json!("high")));
    let (_, audit) = ask(&router, get("/audit")).await;
    let entry = &audit["items"][0];
    assert_eq!(
        (&entry["verb"], &entry["subject"]),
        (&json!("api.intel.check"), &json!("203.0.113.7"))
    );
    for (wrong, words) in [
        (json!({ "ip": "bad.example" }), "is no address"),
        (json!({}), "ip"),
        (json!({ "ip": "::1", "x": 1 }), "x"),
    ] {
        refused(&router, send("POST", "/intel/check", &wrong), 422, words).await;
    }
    let (status, _) = ask(&router, get("/intel/check")).await;
    assert_eq!(status, 405, "looking spends quota");
}

#[tokio::test]
async fn health_says_what_is_wrong_and_stays_200() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    refused(&router, get("/health/ready"), 503, "not attached").await;
    assert_eq!(ask(&router, get("/health/live")).await.0, 200);
    let mut health = Health::default();
    health.degrade(
        Component::Kernel,
        "eth0 runs in generic mode",
        "use a driver with native XDP",
    );
    house.health.send_replace(Arc::new(health));
    house.attach(&[]);
    assert_eq!(
        ask(&router, get("/health/ready")).await,
        (200, json!({ "status": "ready" }))
    );
    let (status, body) = ask(&router, get("/health")).await;
    assert_eq!(
        (status, &body["status"], &body["mode"]),
        (200, &json!("degraded"), &json!("simulation"))
    );
    let kernel = json!({
        "state": "degraded", "cause": "eth0 runs in generic mode", "mend": "use a driver with native XDP"
    });
    assert_eq!(body["components"], json!({ "kernel": kernel }));
    assert!(body["uptime_seconds"].is_u64() && body["version"].is_string());
}

#[tokio::test]
async fn stats_and_metrics_show_the_kernel_counters() {
    use sentinel_common::stat::Counter::{DropV4, PassV4};
    let house = House::new();
    house.attach(&[(PassV4, 5), (DropV4, 3)]);
    let router = house.router(Door::Tcp);
    let (_, body) = ask(&router, get("/stats")).await;
    assert_eq!(
        (&body["totals"]["pass_v4"], &body["totals"]["drop_v4"]),
        (&json!(5), &json!(3))
    );
    assert_eq!(body["interfaces"][0]["xdp_mode"], "generic");
    assert_eq!(body["maps"]["BLOCK4"], json!({ "entries": 3, "capacity": 131_072 }));
    let (_, headers, text) = answer(&router, get("/metrics")).await;
    assert_eq!(headers["content-type"], crate::metrics::CONTENT_TYPE);
    let line = r#"sentinel_xdp_packets_total{action="drop",interface="eth0",ip_version="4"} 3"#;
    assert!(String::from_utf8(text).unwrap().contains(line));
}

#[tokio::test]
async fn operator_blocks_and_unblocks_and_the_audit_knows() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let wish = json!({ "target": "203.0.113.9", "type": "block", "duration": "1h30m", "reason": "noisy" });
    let page = with(send("POST", "/decisions", &wish), "sec-fetch-site", "same-origin");
    let (status, headers, body) = answer(&router, page).await;
    let made: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 201);
    assert_eq!(
        headers["location"],
        format!("/decisions/{}", made["id"].as_str().unwrap())
    );
    assert_eq!(
        (&made["target"], &made["actor"]),
        (&json!("203.0.113.9/32"), &json!("dashboard"))
    );
    let times = ["at", "expires_at"].map(|k| made[k].as_str().unwrap().parse::<Timestamp>().unwrap());
    assert_eq!(times[1].0 - times[0].0, 5_400_000_000_000);

    let one = format!("/decisions/{}", made["id"].as_str().unwrap());
    let (status, body) = ask(&router, send("DELETE", &one, &Value::Null)).await;
    assert_eq!((status, &body["deleted"][0]["status"]), (200, &json!("deleted")));
    refused(&router, send("DELETE", &one, &Value::Null), 404, "no active decision").await;

    // The socket's owner may say who asks; a stranger on TCP may not.
    let by_socket = house.router(Door::Unix);
    let wish = json!({ "target": "2001:db8::/64" });
    let named = with(send("POST", "/decisions", &wish), "x-sentinel-actor", "alice");
    assert_eq!(ask(&by_socket, named).await.1["actor"], "alice");
    let claimed = with(
        send("POST", "/decisions", &json!({ "target": "203.0.113.10" })),
        "x-sentinel-actor",
        "root",
    );
    assert_eq!(ask(&router, claimed).await.1["actor"], "dashboard");
    let (_, body) = ask(&router, send("DELETE", "/decisions?target=203.0.113.10", &Value::Null)).await;
    assert_eq!(body["deleted"].as_array().unwrap().len(), 1);
    let (_, body) = ask(&router, send("DELETE", "/decisions?all=true", &Value::Null)).await;
    assert_eq!(body["deleted"][0]["target"], "2001:db8::/64");

    let (_, audit) = ask(&router, get("/audit")).await;
    let lines: Vec<String> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|e| {
            format!(
                "{} {} {}",
                e["actor"].as_str().unwrap(),
                e["verb"].as_str().unwrap(),
                e["subject"].as_str().unwrap()
            )
        })
        .collect();
    let id = made["id"].as_str().unwrap();
    let expected = [
        "dashboard api.decision.add 203.0.113.9".to_owned(),
        format!("dashboard api.decision.delete {id}"),
        format!("dashboard api.decision.delete {id}"),
        "alice api.decision.add 2001:db8::/64".to_owned(),
        "dashboard api.decision.add 203.0.113.10".to_owned(),
        "dashboard api.decision.delete 203.0.113.10/32".to_owned(),
        "dashboard api.decision.delete all".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(ask(&router, get("/audit/verify")).await.1["broken"], Value::Null);
}

#[tokio::test]
async fn a_rate_is_said_with_units_and_what_is_not_said_is_as_configured() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let configured = json!({ "packets": 100, "bytes": 1 << 20, "burst_ms": 1000 });
    for (said, rate) in [
        (json!({}), Value::Null),
        (
            json!({ "burst": "2s" }),
            json!({ "packets": 100, "bytes": 1 << 20, "burst_ms": 2000 }),
        ),
        (
            json!({ "packets": 7 }),
            json!({ "packets": 7, "bytes": 0, "burst_ms": 1000 }),
        ),
        (
            json!({ "bytes": "64KiB", "burst": "500ms", "each": true }),
            json!({ "packets": 0, "bytes": 65_536, "burst_ms": 500, "each": true }),
        ),
        (json!({ "packets": 100, "bytes": 1 << 20 }), configured),
    ] {
        let mut wish = json!({ "target": "203.0.113.0/24", "type": "rate_limit" });
        wish.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let (status, made) = ask(&router, send("POST", "/decisions", &wish)).await;
        assert_eq!(
            (status, &made["action"], &made["rate"]),
            (201, &json!("rate_limit"), &rate),
            "{wish}"
        );
    }
    let wish = json!({ "target": "203.0.113.9", "type": "redirect" });
    let (_, made) = ask(&router, send("POST", "/decisions", &wish)).await;
    assert_eq!(made["action"], "redirect_to_honeypot");
    let wish = json!({ "target": "203.0.113.8", "egress": true });
    let (_, made) = ask(&router, send("POST", "/decisions", &wish)).await;
    assert_eq!((&made["action"], &made["egress"]), (&json!("block_ip"), &json!(true)));
}

#[tokio::test]
async fn a_guard_refuses_in_its_own_words() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let wish = json!({ "target": "192.0.2.1", "duration": "1h" });
    let (status, body) = ask(&router, send("POST", "/decisions", &wish)).await;
    assert_eq!(
        (status, &body["guard"], &body["type"]),
        (409, &json!("gateway"), &json!("urn:sentinel:problem:vetoed"))
    );
    assert!(body["detail"].as_str().unwrap().contains("cut this host off"));
    let (_, audit) = ask(&router, get("/audit")).await;
    assert!(
        audit["items"][0]["detail"]
            .as_str()
            .unwrap()
            .starts_with("refused with 409")
    );
}

#[tokio::test]
async fn reverting_an_action_takes_its_decision_back() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let decision = decision(&mut mint, &alert, T0);
    let running = action(&mut mint, &decision);
    let over = Action {
        id: mint.action(T0),
        status: ActionStatus::Expired,
        outcome: "its time ran out".into(),
        ..running.clone()
    };
    let paths = [&running, &over].map(|a| format!("/actions/{}/revert", a.id));
    house
        .keep(vec![
            Record::Decision(Arc::new(decision)),
            Record::Action(Arc::new(running)),
            Record::Action(Arc::new(over)),
        ])
        .await;
    let (status, body) = ask(&router, send("POST", &paths[0], &json!({}))).await;
    assert_eq!((status, &body["deleted"][0]["target"]), (200, &json!("203.0.113.7/32")));
    refused(&router, send("POST", &paths[1], &json!({})), 409, "its time ran out").await;
}

#[tokio::test]
async fn wrong_requests_get_problems_that_name_the_mend() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let unknown = "00000000-0000-7000-8000-000000000000";
    for (path, status, words) in [
        ("/nowhere", 404, "nothing at this path"),
        ("/assets/../mod.rs", 404, ""),
        ("/assets/secret.js", 404, "no such file"),
        ("/alerts/7", 404, "UUID"),
        (&format!("/alerts/{unknown}"), 404, "no alert"),
        (&format!("/decisions/{unknown}"), 404, "no decision"),
        ("/alerts?limit=0", 422, "1 to 1000"),
        ("/alerts?limit=1001", 422, "1 to 1000"),
        ("/alerts?limit=5&limit=6", 422, "twice"),
        ("/alerts?sevrity=high", 422, "`sevrity`"),
        ("/alerts?severity=high,loud", 422, "`low`, `medium` or `high`"),
        ("/alerts?since=yesterday", 422, "RFC 3339"),
        ("/alerts?ip=localhost", 422, "address or prefix"),
        ("/alerts?cursor=xyz", 422, "next_cursor"),
        ("/decisions?active=perhaps", 422, "`true` or `false`"),
        ("/stream?types=everything", 422, "`alert`"),
        ("/stream", 426, "WebSocket"),
    ] {
        refused(&router, get(path), status, words).await;
    }
    refused(&router, send("PUT", "/decisions", &json!({})), 405, "other methods").await;
    let (_, headers, _) = answer(&router, send("PUT", "/decisions", &json!({}))).await;
    assert!(headers["allow"].to_str().unwrap().contains("POST"));
    refused(&router, send("DELETE", "/decisions", &Value::Null), 422, "all=true").await;
    refused(
        &router,
        send("DELETE", "/decisions?all=true&target=1.2.3.4", &Value::Null),
        422,
        "either",
    )
    .await;
    for (body, words) in [
        (json!({}), "target"),
        (json!({ "target": "evil.example" }), "neither an address nor a prefix"),
        (json!({ "target": "10.1.2.3/8" }), "`10.0.0.0/8`"),
        (
            json!({ "target": "203.0.113.9", "type": "banish" }),
            "`block`, `isolate` are",
        ),
        (
            json!({ "target": "203.0.113.9", "packets": 5 }),
            "`packets` belongs to type `rate_limit`, not to `block`",
        ),
        (
            json!({ "target": "203.0.113.9", "type": "redirect", "burst": "1s" }),
            "`burst` belongs",
        ),
        (
            json!({ "target": "203.0.113.9", "type": "rate_limit", "packets": 0 }),
            "neither packets nor bytes",
        ),
        (
            json!({ "target": "203.0.113.9", "type": "rate_limit", "bytes": "many" }),
            "`many` is not a size",
        ),
        (
            json!({ "target": "203.0.113.9", "type": "rate_limit", "bytes": -1 }),
            "bytes",
        ),
        (
            json!({ "target": "203.0.113.9", "type": "rate_limit", "packets": 9, "burst": "1ms" }),
            "not within 10 ms",
        ),
        (json!({ "target": "203.0.113.9", "duration": "soon" }), "`4h`"),
        (json!({ "target": "203.0.113.9", "duration": "0s" }), "`4h`"),
        (json!({ "target": "203.0.113.9", "duration": "-1h" }), "`4h`"),
        (
            json!({ "target": "203.0.113.9", "duration": "100000d" }),
            "max_duration",
        ),
        (
            json!({ "target": "203.0.113.9", "reason": "x".repeat(501) }),
            "500 characters",
        ),
        (json!({ "target": "203.0.113.9", "until": "tomorrow" }), "until"),
        (json!([]), ""),
    ] {
        refused(&router, send("POST", "/decisions", &body), 422, words).await;
    }
    let form = with(send("POST", "/decisions", &json!({})), "content-type", "text/plain");
    refused(&router, form, 415, "application/json").await;
    // Where nothing is taken at all, that is what is told.
    let nothing = with(send("POST", "/stats", &json!({})), "content-type", "text/plain");
    refused(&router, nothing, 405, "other methods").await;
    let large = json!({ "target": "203.0.113.9", "reason": "x".repeat(70_000) });
    refused(&router, send("POST", "/decisions", &large), 413, "64 KiB").await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let wish = json!({ "target": "203.0.113.9" });
    for host in [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "",
    ] {
        refused(&router, with(get("/alerts"), "host", host), 403, "loopback").await;
    }
    for origin in [
        "http://evil.example",
        "http://127.0.0.1:9000",
        "https://127.0.0.1:8000",
        "null",
    ] {
        refused(
            &router,
            with(send("POST", "/decisions", &wish), "origin", origin),
            403,
            "own page",
        )
        .await;
        let delete = send("DELETE", "/decisions?all=true", &Value::Null);
        refused(&router, with(delete, "origin", origin), 403, "own page").await;
        let upgrade = with(with(get("/stream"), "upgrade", "websocket"), "connection", "upgrade");
        refused(&router, with(upgrade, "origin", origin), 403, "own page").await;
    }
    let forged = with(send("POST", "/decisions", &wish), "sec-fetch-site", "cross-site");
    refused(&router, forged, 403, "own page").await;
    let own = with(send("POST", "/decisions", &wish), "origin", "http://127.0.0.1:8000");
    assert_eq!(ask(&router, own).await.0, 201);
    assert_eq!(
        house.state.store.tally().written,
        2,
        "refused requests left no trace but the own one's two rows"
    );
}

#[tokio::test]
async fn lists_page_through_everything() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    let alerts = (0..7).map(|n| alert(&mut mint, Timestamp(T0.0 + n * 1_000_000_000)));
    house.keep(alerts.map(|a| Record::Alert(Arc::new(a))).collect()).await;
    let (mut path, mut times) = ("/alerts?limit=3".to_owned(), Vec::new());
    loop {
        let (_, page) = ask(&router, get(&path)).await;
        assert_eq!(page["total"], 7);
        times.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a["at"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/alerts?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let mut sorted = times.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!((times.len(), &times), (7, &sorted));
    let since = get("/alerts?since=2026-01-01T00:00:05Z&ip=203.0.113.0/24&severity=medium,high&detector=port_scan");
    assert_eq!(ask(&router, since).await.1["total"], 2);
    assert_eq!(ask(&router, get("/alerts?since=1s")).await.1["total"], 0);
}

#[tokio::test]
async fn hostile_text_comes_back_as_text() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let hostile = "</script><img src=x onerror=alert(1)>\u{202e}\u{1b}[2J\0\"'`${7*7}{{7*7}}';DROP TABLE alerts;--";
    let mut nasty = alert(&mut Mint::Counted(0), T0);
    nasty.summary = hostile.into();
    nasty.technique = hostile.into();
    let id = nasty.id;
    house.keep(vec![Record::Alert(Arc::new(nasty))]).await;
    let (status, headers, body) = answer(&router, get(&format!("/alerts/{id}"))).await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "application/json")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(
        !body.contains(&0x1b) && !body.contains(&0),
        "control characters leave escaped"
    );
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["summary"], hostile);
    let wish = json!({ "target": hostile, "reason": hostile });
    refused(&router, send("POST", "/decisions", &wish), 422, "neither an address").await;
    let strange = with(
        send("POST", "/decisions", &json!({ "target": "203.0.113.4" })),
        "x-sentinel-actor",
        &"a".repeat(5_000),
    );
    let made = ask(&house.router(Door::Unix), strange).await.1;
    assert_eq!(made["actor"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn what_is_protected_is_listed_with_its_reason() {
    let house = House::new();
    let entry = Protected {
        target: "192.0.2.1/32".parse().unwrap(),
        guard: "gateway".into(),
        reason: "default gateway of eth0".into(),
    };
    house.protected.send_replace(Arc::new(vec![entry]));
    let item = json!({ "target": "192.0.2.1/32", "guard": "gateway", "reason": "default gateway of eth0" });
    let (_, body) = ask(&house.router(Door::Tcp), get("/protected")).await;
    assert_eq!(body, json!({ "items": [item], "total": 1 }));
}

#[tokio::test]
async fn request_ids_are_our_own() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let (_, headers, _) = answer(&router, with(get("/health"), "x-request-id", "forged")).await;
    assert_ne!(headers["x-request-id"], "forged");
}

#[tokio::test]
async fn learn_mode_is_begun_told_of_refused_and_ended_each_in_the_audit() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let none = json!({});
    let (status, told) = ask(&router, get("/learn")).await;
    assert_eq!(
        (status, &told["since"], &told["calibrated"]),
        (200, &Value::Null, &json!(false))
    );
    refused(
        &router,
        send("POST", "/learn/accept", &none),
        409,
        "`sentinel learn start`",
    )
    .await;
    let (status, told) = ask(&router, send("POST", "/learn/start", &none)).await;
    assert_eq!((status, &told["kept"]), (200, &json!(120)));
    assert!(told["since"].is_string());
    refused(
        &router,
        send("POST", "/learn/accept", &none),
        409,
        "9880 more are needed",
    )
    .await;
    refused(
        &router,
        send("POST", "/learn/forget", &none),
        404,
        "`start`, `accept` and `discard`",
    )
    .await;
    let (status, told) = ask(&router, send("POST", "/learn/discard", &none)).await;
    assert_eq!((status, &told["since"]), (200, &Value::Null));
    let (_, audit) = ask(&router, get("/audit")).await;
    let verbs: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["verb"].as_str().unwrap())
        .collect();
    let verbs: Vec<_> = verbs
        .into_iter()
        .filter(|verb| verb.starts_with("api.learn."))
        .collect();
    assert_eq!(
        verbs,
        [
            "api.learn.discard",
            "api.learn.accept",
            "api.learn.start",
            "api.learn.accept"
        ],
        "the latest first, and the refused ones too"
    );
}

#[tokio::test]
async fn a_silent_room_is_told_as_such() {
    let mut house = House::new();
    let (commands, inbox) = mpsc::channel(1);
    drop(inbox);
    house.state.commands = commands;
    let wish = send("POST", "/decisions", &json!({ "target": "203.0.113.9" }));
    refused(&house.router(Door::Tcp), wish, 503, "shutting down").await;
}

/// Counts what is logged as an error.
struct Errors(Arc<std::sync::atomic::AtomicU64>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Errors {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::ERROR && event.metadata().target().contains("api::router") {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn not_ready_yet_is_no_error_in_the_log_and_a_real_failure_is() {
    use tracing_subscriber::layer::SubscriberExt;
    let house = House::new();
    let errors = Arc::default();
    let subscriber = tracing_subscriber::registry().with(Errors(Arc::clone(&errors)));
    let _guard = tracing::subscriber::set_default(subscriber);
    let count = || errors.load(std::sync::atomic::Ordering::Relaxed);
    let router = house.router(Door::Tcp);
    let (status, _) = ask(&router, get("/health/ready")).await;
    assert_eq!((status, count()), (503, 0));
    let (commands, closed) = mpsc::channel(1);
    drop(closed);
    let mut state = house.state.clone();
    state.commands = commands;
    let router = router::router(Api::new(state, house.cancel.clone()), Door::Unix);
    let wish = json!({ "target": "203.0.113.7", "type": "block", "duration": "4h", "reason": "x" });
    let (status, _) = ask(&router, send("POST", "/decisions", &wish)).await;
    assert_eq!((status, count()), (503, 1));
}
