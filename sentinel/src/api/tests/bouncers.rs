//! What CrowdSec's bouncers are answered, over a real store.

use super::*;
use crate::auth::NewToken;

/// A house that answers bouncers, and the key of one.
async fn open() -> (House, Router, String) {
    let mut house = House::new();
    house.let_bouncers_in();
    let router = house.router(Door::Tcp);
    let key = key(&house, "edge").await;
    (house, router, key)
}

async fn key(house: &House, name: &str) -> String {
    let wish = NewToken {
        name: name.to_owned(),
        role: Role::Bouncer,
        duration: None,
    };
    house.state.auth.create(wish, "test", now()).await.unwrap().1
}

fn by(request: Request<Body>, key: &str) -> Request<Body> {
    with(with(request, NOBODY, ""), "x-api-key", key)
}

/// Adds a decision and has it carried out.
async fn add(house: &House, router: &Router, target: &str) -> DecisionId {
    let (status, made) = ask(router, send("POST", "/decisions", &json!({ "target": target }))).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().parse().unwrap();
    let mut decision = house.state.store.decision(id).await.unwrap().unwrap();
    decision.simulated = false;
    house.keep(vec![Record::Decision(Arc::new(decision))]).await;
    id
}

/// Values that are new and that are deleted.
async fn pull(router: &Router, key: &str, query: &str) -> (Vec<String>, Vec<String>) {
    let (status, body) = ask(router, by(get(&format!("/v1/decisions/stream{query}")), key)).await;
    assert_eq!(status, 200, "{body}");
    let values = |name: &str| {
        let all = body[name].as_array().unwrap().iter();
        all.map(|one| one["value"].as_str().unwrap().to_owned()).collect()
    };
    (values("new"), values("deleted"))
}

#[tokio::test]
async fn a_key_is_needed_that_opens_nothing_else() {
    let (house, router, key) = open().await;
    let viewer = NewToken {
        name: "viewer".to_owned(),
        role: Role::Viewer,
        duration: None,
    };
    let viewer = house.state.auth.create(viewer, "test", now()).await.unwrap().1;
    for path in ["/v1/decisions", "/v1/decisions/stream?startup=true"] {
        for (request, words) in [
            (with(get(path), NOBODY, ""), "send one key"),
            (by(get(path), "nonsense"), "opens nothing"),
            (by(get(path), &viewer), "role `bouncer`"),
            (
                with(with(get(path), NOBODY, ""), "authorization", &format!("Bearer {key}")),
                "send one key",
            ),
        ] {
            let (status, body) = ask(&router, request).await;
            assert_eq!(status, 403, "{path}: {body}");
            // Where bouncers look for it.
            assert!(body["message"].as_str().unwrap().contains(words), "{body}");
        }
        assert_eq!(answer(&router, by(get(path), &key)).await.0, 200);
    }
    for path in ["/stats", "/decisions", "/tokens", "/metrics/none"] {
        let bearing = with(with(get(path), NOBODY, ""), "authorization", &format!("Bearer {key}"));
        let status = answer(&router, bearing).await.0;
        assert!([403, 404].contains(&status.as_u16()), "{path}: {status}");
    }
    let login = with(send("POST", "/login", &json!({ "token": key })), NOBODY, "");
    assert_eq!(ask(&router, login).await.0, 422, "no session comes of it");
    house.state.auth.revoke("edge", now()).await.unwrap();
    assert_eq!(answer(&router, by(get("/v1/decisions"), &key)).await.0, 403);
}

#[tokio::test]
async fn off_they_are_not_answered() {
    let house = House::new();
    let key = key(&house, "edge").await;
    let router = house.router(Door::Tcp);
    let (status, body) = ask(&router, by(get("/v1/decisions"), &key)).await;
    assert_eq!(status, 404);
    assert!(body["message"].as_str().unwrap().contains("`api.crowdsec: true`"));
}

#[tokio::test]
async fn decisions_are_told_in_crowdsecs_shapes() {
    let (house, router, key) = open().await;
    let none = answer(&router, by(get("/v1/decisions?ip=203.0.113.9"), &key)).await;
    assert_eq!((none.0.as_u16(), none.2.as_slice()), (200, b"null".as_slice()));
    add(&house, &router, "203.0.113.9").await;
    add(&house, &router, "203.0.113.0/25").await;
    let (_, all) = ask(&router, by(get("/v1/decisions?ip=203.0.113.9"), &key)).await;
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 2);
    let told: Vec<_> = ["id", "origin", "scope", "type", "value"]
        .map(|name| all[0][name].clone())
        .into();
    assert_eq!(json!(told), json!([1, "cscli", "Ip", "ban", "203.0.113.9"]));
    assert_eq!(
        (&all[1]["scope"], &all[1]["value"]),
        (&json!("Range"), &json!("203.0.113.0/25"))
    );
    let left = all[0]["duration"].as_str().unwrap();
    assert!(left.starts_with("3h59m") && left.ends_with('s'), "{left}");
    let (_, one) = ask(&router, by(get("/v1/decisions?ip=203.0.113.9&scope=Range"), &key)).await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    let head = Request::head("/v1/decisions")
        .header("host", "127.0.0.1")
        .body(Body::empty())
        .unwrap();
    let (status, _, body) = answer(&router, by(head, &key)).await;
    assert_eq!((status.as_u16(), body.len()), (200, 0));
    let (status, body) = ask(&router, by(get("/v1/decisions?ip=x"), &key)).await;
    assert_eq!(status, 400, "{body}");
    let usage = by(
        send("POST", "/v1/usage-metrics", &json!({ "remediation_components": [] })),
        &key,
    );
    assert_eq!(answer(&router, usage).await.0, 201);
}

#[tokio::test]
async fn changes_are_told_twice_and_then_no_more() {
    let (house, router, key) = open().await;
    add(&house, &router, "203.0.113.1").await;
    let nothing: (Vec<String>, Vec<String>) = (vec![], vec![]);
    let of = |new: &[&str], deleted: &[&str]| {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        (owned(new), owned(deleted))
    };
    // The first time everything, whether or not it is asked for so.
    assert_eq!(pull(&router, &key, "").await, of(&["203.0.113.1"], &[]));
    assert_eq!(pull(&router, &key, "").await, nothing);
    let two = add(&house, &router, "203.0.113.2").await;
    // HEAD moves nothing on.
    let head = Request::head("/v1/decisions/stream")
        .header("host", "127.0.0.1")
        .body(Body::empty())
        .unwrap();
    assert_eq!(answer(&router, by(head, &key)).await.0, 200);
    assert_eq!(pull(&router, &key, "").await, of(&["203.0.113.2"], &[]));
    assert_eq!(
        pull(&router, &key, "").await,
        of(&["203.0.113.2"], &[]),
        "an answer may be lost"
    );
    assert_eq!(pull(&router, &key, "").await, nothing);
    let gone = send("DELETE", &format!("/decisions/{two}"), &Value::Null);
    assert_eq!(answer(&router, gone).await.0, 200);
    for _ in 0..2 {
        assert_eq!(pull(&router, &key, "?startup=false").await, of(&[], &["203.0.113.2"]));
    }
    assert_eq!(pull(&router, &key, "").await, nothing);
    // Another bouncer has a place of its own.
    let other = self::key(&house, "other").await;
    assert_eq!(pull(&router, &other, "?startup=true").await, of(&["203.0.113.1"], &[]));
    assert_eq!(pull(&router, &other, "").await, nothing);
}

#[tokio::test]
async fn a_step_of_the_wall_clock_ends_nothing() {
    const STEP: i64 = 5 * 3_600_000_000_000;
    let (mut house, router, key) = open().await;
    let id = add(&house, &router, "203.0.113.1").await;
    let mut decision = house.state.store.decision(id).await.unwrap().unwrap();
    let one = vec!["203.0.113.1".to_owned()];
    // For bouncers it ends when it does in the kernel, which is over by the wall clock.
    house.state.clock.offset_ns -= STEP;
    let router = house.router(Door::Tcp);
    let lasts = |decision: &mut Decision, minutes: u64| {
        decision.expires_at = Some(house.state.desk_now().after(Duration::from_mins(minutes)));
        vec![Record::Decision(Arc::new(decision.clone()))]
    };
    house.keep(lasts(&mut decision, 10)).await;
    assert_eq!(pull(&router, &key, "?startup=true").await, (one.clone(), vec![]));
    let (_, all) = ask(&router, by(get("/v1/decisions"), &key)).await;
    let left = all[0]["duration"].as_str().unwrap();
    assert!(left.starts_with("9m"), "{left}");
    house.keep(lasts(&mut decision, 20)).await;
    assert_eq!(pull(&router, &key, "").await, (one, vec![]), "it was prolonged");

    // And it is over once the desk's clock says so, which the wall's does not yet.
    house.state.clock.offset_ns += 2 * STEP;
    decision.expires_at = Some(house.state.desk_now().before(Duration::from_secs(1)));
    house.keep(vec![Record::Decision(Arc::new(decision))]).await;
    let router = house.router(Door::Tcp);
    assert_eq!(pull(&router, &key, "?startup=true").await, (vec![], vec![]));
}

#[tokio::test]
async fn while_acting_is_stopped_nothing_is_in_force_and_then_it_is_again() {
    let (house, router, key) = open().await;
    add(&house, &router, "203.0.113.1").await;
    let one = vec!["203.0.113.1".to_owned()];
    assert_eq!(pull(&router, &key, "?startup=true").await.0, one);
    let act = async |on: bool| {
        let wish = json!({ "acting": on, "reason": "drill" });
        let (status, body) = ask(&router, send("POST", "/acting", &wish)).await;
        assert_eq!(status, 200, "{body}");
    };
    act(false).await;
    assert_eq!(pull(&router, &key, "").await, (vec![], one.clone()));
    assert_eq!(pull(&router, &key, "?startup=true").await, (vec![], vec![]));
    let (_, body) = ask(&router, by(get("/v1/decisions"), &key)).await;
    assert_eq!(body, Value::Null);
    act(true).await;
    for _ in 0..2 {
        assert_eq!(pull(&router, &key, "").await, (one.clone(), vec![]));
    }
    assert_eq!(pull(&router, &key, "").await, (vec![], vec![]));
    let metrics = house.state.metrics.encode().unwrap();
    for line in [
        "sentinel_bouncer_pulls_total{kind=\"startup\"} 2",
        "sentinel_bouncer_pulls_total{kind=\"changes\"} 4",
        "sentinel_bouncer_decisions_total{as_what=\"deleted\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
