//! What operators command, through the router: the stop, the allowlist, imports, the simulation report.

use super::*;
use crate::types::{Allowed, Bystander, Tally};

fn list(query: &str, media: &str, text: &str) -> Request<Body> {
    Request::post(format!("/decisions/import?{query}"))
        .header("host", "127.0.0.1:8000")
        .header("content-type", media)
        .body(Body::from(text.to_owned()))
        .unwrap()
}

fn production(house: &mut House) {
    house.state.config = Arc::new(Config {
        mode: crate::config::Mode::Production,
        allowlist: vec!["10.20.0.0/16".parse().unwrap()],
        ..Config::default()
    });
}

#[tokio::test]
async fn a_stop_is_told_everywhere_and_taken_back() {
    let mut house = House::new();
    production(&mut house);
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let decision = decision(&mut mint, &alert, T0);
    let beside = Action {
        kind: ActionKind::IsolateContainer,
        outcome: "container web was disconnected from bridge, read back".to_owned(),
        ..action(&mut mint, &decision)
    };
    let action = action(&mut mint, &decision);
    house
        .keep(vec![
            Record::Decision(Arc::new(decision)),
            Record::Action(Arc::new(beside.clone())),
            Record::Action(Arc::new(action)),
        ])
        .await;
    let router = house.router(Door::Unix);
    let (status, told) = ask(&router, get("/acting")).await;
    let acts = json!({ "acting": true, "mode": "production", "stopped": null, "says": "decisions are carried out" });
    assert_eq!((status, told), (200, acts.clone()));

    let wish = with(
        send("POST", "/acting", &json!({ "acting": false, "reason": "too much" })),
        "x-sentinel-actor",
        "ann",
    );
    let (status, told) = ask(&router, wish).await;
    assert_eq!((status, &told["acting"]), (200, &json!(false)), "{told}");
    let stop = told["stopped"].clone();
    assert_eq!((&stop["actor"], &stop["reason"]), (&json!("ann"), &json!("too much")));
    for (path, place) in [("/health", "acting"), ("/stats", "acting"), ("/acting", "")] {
        let (_, body) = ask(&router, get(path)).await;
        let stopped = if place.is_empty() {
            &body["stopped"]
        } else {
            &body[place]["stopped"]
        };
        assert_eq!(stopped, &stop, "{path}");
    }
    let (_, body) = ask(&router, get("/decisions")).await;
    assert_eq!(body["items"][0]["held_back"], stop);
    let (_, body) = ask(&router, get("/actions")).await;
    assert_eq!(body["items"][0]["status"], "simulated");
    let outcome = body["items"][0]["outcome"].as_str().unwrap();
    assert!(
        outcome.starts_with("held back since ") && outcome.contains("stopped by ann"),
        "{outcome}"
    );
    // A container is cut off until it is put back, whatever the kernel's entries do.
    let whole = ask(&router, get(&format!("/actions/{}", beside.id))).await.1;
    for told in [&body["items"][1], &whole] {
        assert_eq!(
            (&told["status"], &told["outcome"]),
            (&json!("enforced"), &json!(beside.outcome))
        );
    }

    let (_, told) = ask(&router, send("POST", "/acting", &json!({ "acting": true }))).await;
    assert_eq!(told, acts);
    let (_, body) = ask(&router, get("/decisions")).await;
    assert!(body["items"][0].get("held_back").is_none());
    let (_, audit) = ask(&router, get("/audit")).await;
    let verbs: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (&e["verb"], &e["actor"]))
        .collect();
    assert_eq!(
        verbs,
        [
            (&json!("api.acting.resume"), &json!("api")),
            (&json!("api.acting.stop"), &json!("ann"))
        ]
    );
    for wrong in [json!({}), json!({ "acting": 1 }), json!({ "acting": true, "x": 1 })] {
        assert_eq!(ask(&router, send("POST", "/acting", &wrong)).await.0, 422, "{wrong}");
    }
    let long = json!({ "acting": false, "reason": "x".repeat(501) });
    let (status, body) = ask(&router, send("POST", "/acting", &long)).await;
    assert_eq!(status, 422, "{body}");
    assert!(house.state.acting.borrow().stopped.is_none());
}

#[tokio::test]
async fn in_simulation_it_says_that_nothing_acts_anyway() {
    let house = House::new();
    let router = house.router(Door::Unix);
    let (_, told) = ask(&router, send("POST", "/acting", &json!({ "acting": false }))).await;
    let says = told["says"].as_str().unwrap();
    assert!(
        says.starts_with("nothing acts anyway in `mode: simulation`; and acting was stopped by api"),
        "{says}"
    );
}

#[tokio::test]
async fn a_stop_the_disk_does_not_keep_is_no_plain_yes() {
    let house = House::new();
    let router = house.router(Door::Unix);
    house.state.store.close();
    let (status, told) = ask(&router, send("POST", "/acting", &json!({ "acting": false }))).await;
    let said = told["detail"].as_str().unwrap_or_default();
    assert!(
        status == 503 && said.starts_with("acting is stopped, read back"),
        "{status} {told}"
    );
}

#[tokio::test]
async fn what_the_disk_does_not_keep_is_done_and_no_plain_yes() {
    let mut house = House::new();
    production(&mut house);
    let router = house.router(Door::Unix);
    let allow = |ip: &str| json!({ "target": ip, "comment": "x" });
    let add = |ip: &str| json!({ "target": ip, "duration": "1h" });
    assert_eq!(
        ask(&router, send("POST", "/allowlist", &allow("203.0.113.9"))).await.0,
        201
    );
    assert_eq!(
        ask(&router, send("POST", "/decisions", &add("203.0.113.7"))).await.0,
        201
    );
    house.state.store.close();
    for (request, done) in [
        (send("POST", "/decisions", &add("203.0.113.6")), "the decision stands"),
        (
            list("format=values", "text/csv", "203.0.113.8"),
            "the list is carried out",
        ),
        (
            send("DELETE", "/decisions?target=203.0.113.7", &Value::Null),
            "1 decisions are taken back",
        ),
        (
            send("POST", "/allowlist", &allow("203.0.113.10")),
            "the entry is on the allowlist",
        ),
        (
            send("DELETE", "/allowlist?target=203.0.113.9", &Value::Null),
            "the entry is off the allowlist",
        ),
    ] {
        let (status, told) = ask(&router, request).await;
        let said = told["detail"].as_str().unwrap_or_default();
        let fits = said.starts_with(done) && said.contains("the disk has not kept it yet");
        assert!(status == 503 && fits, "{done}: {status} {told}");
    }
}

#[tokio::test]
async fn wherever_the_wall_clock_is_the_allowlist_is_told_by_the_desks() {
    for ahead in [3_600_000_000_000_i64, -3_600_000_000_000] {
        let mut house = House::new();
        house.state.clock.offset_ns -= ahead;
        let now = house.state.desk_now();
        let entry = |target: &str, end: Timestamp| {
            Record::Allow(Arc::new(Allowed {
                target: target.parse().unwrap(),
                comment: "a friend".into(),
                actor: "ann".into(),
                at: now,
                expires_at: Some(end),
            }))
        };
        let stands = entry("203.0.113.7/32", now.after(Duration::from_mins(10)));
        let over = entry("203.0.113.8/32", now.before(Duration::from_secs(1)));
        house.keep(vec![stands, over]).await;
        let router = house.router(Door::Unix);
        let (_, listed) = ask(&router, get("/allowlist")).await;
        assert_eq!(
            (&listed["total"], &listed["items"][0]["target"]),
            (&json!(1), &json!("203.0.113.7/32")),
            "{listed}"
        );
        // What ends are to be compared with.
        let (_, stats) = ask(&router, get("/stats")).await;
        let told: Timestamp = stats["desk_now"].as_str().unwrap().parse().unwrap();
        assert!(told.0.abs_diff(now.0) < 60_000_000_000, "{stats}");
    }
}

#[tokio::test]
async fn what_is_not_undone_yet_beside_the_kernel_is_told_of_what_was_taken_back() {
    let house = House::new();
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let mut records = Vec::new();
    let mut put = |kind: ActionKind, status: ActionStatus, outcome: &str, begun: bool| {
        let decision = decision(&mut mint, &alert, T0);
        let action = Action {
            kind,
            status,
            outcome: outcome.to_owned(),
            ..action(&mut mint, &decision)
        };
        let told = (decision.id, action.id);
        if begun {
            records.push(Record::Undo {
                action: action.id,
                json: "{}".into(),
            });
        }
        records.extend([Record::Decision(Arc::new(decision)), Record::Action(Arc::new(action))]);
        told
    };
    let (container, ban) = (ActionKind::IsolateContainer, ActionKind::ArpBan);
    let cut = put(
        container,
        ActionStatus::Enforced,
        "container web was disconnected",
        true,
    );
    let banned = put(ban, ActionStatus::Intent, "not banned yet", true);
    put(container, ActionStatus::Intent, "not isolated yet", false);
    put(container, ActionStatus::Simulated, "simulated", false);
    put(container, ActionStatus::Reverted, "container db is back", true);
    let removed = "container tmp was cut off until it was removed; what runs under its name now is not isolated";
    put(container, ActionStatus::Enforced, removed, true);
    put(ActionKind::BlockIp, ActionStatus::Enforced, "read back", false);
    house.keep(records).await;
    let router = house.router(Door::Unix);
    for (path, deleted, still) in [
        (format!("/decisions/{}", cut.0), 1, (container, cut.1)),
        ("/decisions?all=true&first=0".to_owned(), 0, (ban, banned.1)),
    ] {
        let (status, told) = ask(&router, send("DELETE", &path, &Value::Null)).await;
        assert_eq!(
            (status, told["deleted"].as_array().unwrap().len()),
            (200, deleted),
            "{told}"
        );
        let beside = told["beside"].as_array().unwrap();
        assert_eq!(beside.len(), 1, "{told}");
        assert_eq!(
            (&beside[0]["kind"], &beside[0]["id"]),
            (&json!(still.0), &json!(still.1)),
            "{told}"
        );
    }
}

#[tokio::test]
async fn the_allowlist_is_shown_changed_and_asked() {
    let mut house = House::new();
    production(&mut house);
    let router = house.router(Door::Unix);
    let wish = json!({ "target": "203.0.113.7", "duration": "4h", "comment": "a friend" });
    let (status, made) = ask(&router, send("POST", "/allowlist", &wish)).await;
    assert_eq!(
        (status, &made["target"], &made["ended"]),
        (201, &json!("203.0.113.7/32"), &json!([])),
        "{made}"
    );
    assert_eq!(ask(&router, send("POST", "/allowlist", &wish)).await.0, 200);
    let (_, listed) = ask(&router, get("/allowlist")).await;
    assert_eq!(listed["total"], 2);
    assert_eq!(
        listed["items"][0],
        json!({
            "target": "10.20.0.0/16", "origin": "settings", "comment": "listed in `allowlist` of the configuration",
            "actor": null, "at": null, "expires_at": null
        })
    );
    assert_eq!(
        (&listed["items"][1]["origin"], &listed["items"][1]["comment"]),
        (&json!("operator"), &json!("a friend"))
    );
    let (_, checked) = ask(&router, get("/allowlist/check?ip=203.0.113.7")).await;
    assert_eq!(
        (
            &checked["protected"],
            &checked["guards"][0]["guard"],
            &checked["decisions"]
        ),
        (&json!(true), &json!("allowlist"), &json!([]))
    );
    // A prefix around an address is what covers it.
    let block = json!({ "target": "198.51.100.0/24" });
    assert_eq!(ask(&router, send("POST", "/decisions", &block)).await.0, 201);
    let (_, checked) = ask(&router, get("/allowlist/check?ip=198.51.100.9")).await;
    assert_eq!(
        (&checked["protected"], &checked["decisions"][0]["target"]),
        (&json!(false), &json!("198.51.100.0/24"))
    );
    let gone = send("DELETE", "/allowlist?target=203.0.113.7", &Value::Null);
    assert_eq!(ask(&router, gone).await.0, 200);
    let again = send("DELETE", "/allowlist?target=203.0.113.7", &Value::Null);
    let (status, told) = ask(&router, again).await;
    assert_eq!(status, 404);
    assert!(
        told["detail"].as_str().unwrap().contains("not on the allowlist"),
        "{told}"
    );
    for wrong in [
        json!({ "target": "nobody" }),
        json!({ "target": "203.0.113.7/24" }),
        json!({ "target": "203.0.113.7", "duration": "soon" }),
    ] {
        assert_eq!(ask(&router, send("POST", "/allowlist", &wrong)).await.0, 422, "{wrong}");
    }
    for wrong in [
        "/allowlist/check",
        "/allowlist/check?ip=x",
        "/allowlist/check?ip=::1&x=1",
    ] {
        assert_eq!(ask(&router, get(wrong)).await.0, 422, "{wrong}");
    }
    let (_, audit) = ask(&router, get("/audit")).await;
    let verbs: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["verb"].as_str().unwrap())
        .collect();
    assert!(
        verbs.contains(&"api.allowlist.add") && verbs.contains(&"api.allowlist.remove"),
        "{verbs:?}"
    );
}

#[tokio::test]
async fn a_list_is_imported_whole_or_refused_by_line() {
    let house = House::new();
    let router = house.router(Door::Unix);
    let text = "value,reason\n203.0.113.1,a\n192.0.2.7,b\nnonsense,c\n";
    let (status, told) = ask(&router, list("format=csv", "text/csv", text)).await;
    assert_eq!(
        (status, &told["type"]),
        (422, &json!("urn:sentinel:problem:bad-lines")),
        "{told}"
    );
    let lines: Vec<_> = told["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (&l["line"], &l["guard"]))
        .collect();
    assert_eq!(
        lines,
        [(&json!(3), &json!("gateway")), (&json!(4), &Value::Null)],
        "{told}"
    );
    assert_eq!(told["lines_total"], 2);
    assert_eq!(house.state.store.active_decisions().await.unwrap(), []);

    let (status, done) = ask(
        &router,
        list("format=csv&skip_bad=true&duration=1h&reason=theirs", "text/csv", text),
    )
    .await;
    assert_eq!(
        (status, &done["imported"], &done["skipped"]),
        (200, &json!(1), &json!(2)),
        "{done}"
    );
    let (status, done) = ask(
        &router,
        list("format=json", "application/json", "[{\"value\":\"2001:db8::/48\"}]"),
    )
    .await;
    assert_eq!((status, &done["imported"]), (200, &json!(1)), "{done}");
    assert_eq!(house.state.store.active_decisions().await.unwrap().len(), 2);

    for (query, media, words) in [
        ("", "text/csv", "say how it is written"),
        ("format=xml", "text/csv", "`csv`, `json` or `values`"),
        (
            "format=csv&type=captcha",
            "text/csv",
            "`block`, `rate_limit` or `redirect`",
        ),
        ("format=csv&colour=red", "text/csv", "no parameter"),
    ] {
        let (status, told) = ask(&router, list(query, media, "value\n203.0.113.1\n")).await;
        assert_eq!(status, 422, "{told}");
        assert!(told["detail"].as_str().unwrap().contains(words), "{told}");
    }
    // What a page of another origin could send unasked is refused, here and elsewhere.
    for (path, media, status) in [
        ("/decisions/import?format=values", "text/plain", 415),
        ("/decisions/import?format=values", "multipart/form-data", 415),
        ("/decisions", "text/csv", 415),
    ] {
        let request = Request::post(path)
            .header("host", "127.0.0.1:8000")
            .header("content-type", media)
            .body(Body::from("203.0.113.1\n"))
            .unwrap();
        assert_eq!(ask(&router, request).await.0, status, "{path} {media}");
    }
    let large = "# none of this is an address\n".repeat((import::BODY / 29) + 1);
    assert_eq!(ask(&router, list("format=values", "text/csv", &large)).await.0, 413);
    let large = json!({ "target": "203.0.113.1", "reason": "x".repeat(70_000) });
    assert_eq!(
        ask(&router, send("POST", "/decisions", &large)).await.0,
        413,
        "other bodies stay small"
    );
}

#[tokio::test]
async fn the_report_tells_what_would_have_been_met_and_whom_it_would_have_touched() {
    let house = House::new();
    let router = house.router(Door::Unix);
    let mut mint = Mint::Random;
    let seen = alert(&mut mint, now());
    let mut simulated = decision(&mut mint, &seen, now());
    (simulated.simulated, simulated.target) = (true, "203.0.113.0/24".parse().unwrap());
    let hits = |packets| Hits {
        would_packets: packets,
        would_bytes: packets * 100,
        first_hit: Some(T0),
        last_hit: Some(T0),
        ..Hits::default()
    };
    let tally = Tally {
        decision: simulated.id,
        at: now(),
        hits: hits(40),
        seen: hits(15),
    };
    let old = Tally {
        decision: DecisionId(uuid::Uuid::from_u128(7)),
        at: T0,
        ..tally.clone()
    };
    let sessions = |ip: &str, sessions| Bystander {
        decision: simulated.id,
        ip: ip.parse().unwrap(),
        sessions,
        first: T0,
        last: T0,
    };
    house
        .keep(vec![
            Record::Alert(Arc::new(seen)),
            Record::Decision(Arc::new(simulated.clone())),
            Record::Tally(Arc::new(tally)),
            Record::Tally(Arc::new(old)),
            Record::Bystander(Arc::new(sessions("203.0.113.9", 2))),
            Record::Bystander(Arc::new(sessions("203.0.113.9", 1))),
            // The alert's own source.
            Record::Bystander(Arc::new(sessions("203.0.113.7", 5))),
        ])
        .await;
    // Five more since it was kept, by the same entry.
    house
        .hits
        .send_replace(Arc::new(HashMap::from([(simulated.id, hits(20))])));
    let (status, told) = ask(&router, get("/simulation")).await;
    assert_eq!(status, 200);
    let item = &told["items"][0];
    assert_eq!(
        (
            &told["would_packets"],
            &told["would_bytes"],
            told["items"].as_array().unwrap().len()
        ),
        (&json!(45), &json!(4500), 1),
        "{told}"
    );
    assert_eq!(
        item["benign"],
        json!([{
            "ip": "203.0.113.9", "sessions": 3,
            "first": "2026-01-01T00:00:00.000000Z", "last": "2026-01-01T00:00:00.000000Z"
        }])
    );
    assert_eq!(
        (
            &item["benign_sessions"],
            &item["alerted_sources"],
            &told["benign_sources"]
        ),
        (&json!(3), &json!(1), &json!(1))
    );
    let (_, none) = ask(&router, get("/simulation?since=2200-01-01T00:00:00Z")).await;
    assert_eq!(none["items"], json!([]));
    assert_eq!(ask(&router, get("/simulation?since=tomorrow")).await.0, 422);
}

#[tokio::test]
async fn a_provisional_decision_shows_both_ends_and_a_person_confirms_it() {
    let mut house = House::new();
    production(&mut house);
    let mut mint = Mint::Counted(0);
    let alert = alert(&mut mint, T0);
    let decision = Decision {
        target: "198.51.100.0/24".parse().unwrap(),
        expires_at: Some(T0.after(Duration::from_secs(30))),
        until_if_confirmed: Some(T0.after(Duration::from_hours(4))),
        ..decision(&mut mint, &alert, T0)
    };
    let path = format!("/decisions/{}", decision.id);
    house.keep(vec![Record::Decision(Arc::new(decision.clone()))]).await;
    let router = house.router(Door::Unix);
    let (_, shown) = ask(&router, get(&path)).await;
    let ends = |shown: &Value| ["expires_at", "until_if_confirmed"].map(|end| shown[end].clone());
    let end = |at: Option<Timestamp>| json!(at.unwrap().to_string());
    assert_eq!(
        ends(&shown),
        [end(decision.expires_at), end(decision.until_if_confirmed)]
    );
    let confirm = |path: &str| with(send("POST", path, &Value::Null), "x-sentinel-actor", "ann");
    let (status, shown) = ask(&router, confirm(&format!("{path}/confirm"))).await;
    assert_eq!(
        (status, ends(&shown)),
        (200, [end(decision.until_if_confirmed), Value::Null])
    );
    let nobody = format!("/decisions/{}/confirm", uuid::Uuid::nil());
    for wrong in [nobody.as_str(), "/decisions/seven/confirm"] {
        assert_eq!(ask(&router, confirm(wrong)).await.0, 404, "{wrong}");
    }
    let (_, audit) = ask(&router, get("/audit")).await;
    let lines = audit["items"].as_array().unwrap();
    let said = |detail: &str| {
        let found = lines.iter().any(|line| {
            line["verb"] == "api.decision.confirm"
                && line["actor"] == "ann"
                && line["detail"].as_str().unwrap().contains(detail)
        });
        assert!(found, "{detail}: {audit}");
    };
    said("confirmed: 198.51.100.0/24");
    said("refused with 404");
}
