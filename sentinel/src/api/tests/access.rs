//! Who may ask for what: every path by everybody, logging in and out, tokens.

use super::*;
use crate::api::access::Need;
use crate::auth::NewToken;

/// A router behind TCP, and a token of each role.
async fn doors(house: &House) -> (Router, [String; 4]) {
    let mut tokens = Vec::new();
    for role in Role::ALL {
        let wish = NewToken {
            name: role.to_string(),
            role,
            duration: None,
        };
        tokens.push(house.state.auth.create(wish, "test", now()).await.unwrap().1);
    }
    (house.router(Door::Tcp), tokens.try_into().unwrap())
}

fn bearing(request: Request<Body>, token: &str) -> Request<Body> {
    with(request, "authorization", &format!("Bearer {token}"))
}

fn nobody(request: Request<Body>) -> Request<Body> {
    with(request, NOBODY, "")
}

/// Paths with something in every hole.
pub(super) fn filled(path: &str) -> String {
    let known = [
        ("/assets/{*name}", "/assets/app.js"),
        ("/login/{name}", "/login/login.js"),
        ("/learn/{wish}", "/learn/start"),
        ("/reports/{name}", "/reports/sentinel-daily-2026-11-28.json"),
    ];
    let known = known.iter().find(|(hole, _)| *hole == path);
    known.map_or_else(
        || {
            path.replace("{id}", "01a223a9-891e-71ac-af4e-8e0dac18366e")
                .replace("{which}", "grafana")
        },
        |(_, path)| (*path).to_owned(),
    )
}

#[tokio::test]
async fn every_path_answers_only_whoever_may_ask() {
    let house = House::new();
    let (router, tokens) = doors(&house).await;
    let over = NewToken {
        name: "over".into(),
        role: Role::Admin,
        duration: Some(Duration::from_nanos(1)),
    };
    let over = house.state.auth.create(over, "test", now()).await.unwrap().1;
    let mut open = Vec::new();
    for (path, needs) in router::paths() {
        for method in ["GET", "POST", "DELETE"] {
            let need = if method == "GET" { needs.look } else { needs.act };
            let ask = || send(method, &filled(path), &json!({}));
            let (none, headers, _) = answer(&router, nobody(ask())).await;
            let none = none.as_u16();
            match need {
                Need::Nothing | Need::Metrics => {
                    assert!(none != 401 && none != 403, "{method} {path}: {none}");
                    if path == "/login" && method == "POST" {
                        // Not from a page of somebody else's, nor by a name that leads here.
                        for (header, value) in [("origin", "http://evil.example"), ("host", "evil.example")] {
                            let status = answer(&router, with(nobody(ask()), header, value)).await.0.as_u16();
                            assert_eq!(status, 403, "{method} {path} with {header}: {value}");
                        }
                    }
                    open.push(path);
                    continue;
                }
                Need::Page => {
                    assert_eq!((none, &headers["location"]), (303, &HeaderValue::from_static("/login")));
                }
                // Off until the settings say otherwise.
                Need::Bouncer => {
                    assert_eq!(none, 404, "{method} {path}");
                    continue;
                }
                Need::Role(_) => {
                    assert_eq!(none, 401, "{method} {path}");
                    assert_eq!(headers["www-authenticate"], "Bearer");
                }
            }
            let wrong = bearing(ask(), &format!("sntl_{}_{}", "0".repeat(16), "0".repeat(64)));
            let expired = bearing(ask(), &over);
            let ended = with(ask(), "cookie", "sentinel_session=over");
            let broken = with(ask(), "authorization", "Basic YTpi");
            for request in [ended, broken] {
                let status = answer(&router, request).await.0.as_u16();
                assert!(
                    status == 401 || need == Need::Page && status == 303,
                    "{method} {path}: {status}"
                );
            }
            for request in [wrong, expired] {
                let status = answer(&router, request).await.0.as_u16();
                assert!([401, 429, 303].contains(&status), "{method} {path}: {status}");
            }
            // By a name that is not ours, or from a page that is not, nobody is let in.
            let [.., admin] = &tokens;
            let rebound = [
                "evil.example",
                "127.0.0.1.evil.example:8000",
                "localhost:80@evil.example",
            ];
            let rebound = rebound
                .map(|name| with(bearing(ask(), admin), "host", name))
                .into_iter();
            let foreign = with(bearing(ask(), admin), "origin", "http://evil.example");
            for request in rebound.chain((method != "GET").then_some(foreign)) {
                let status = answer(&router, request).await.0.as_u16();
                assert_eq!(status, 403, "{method} {path}");
            }
            let least = match need {
                Need::Role(role) => role,
                _ => Role::Viewer,
            };
            for (role, token) in Role::ALL.into_iter().zip(&tokens) {
                let status = answer(&router, bearing(ask(), token)).await.0.as_u16();
                if role < least {
                    assert_eq!(status, 403, "{method} {path} by {role}");
                } else {
                    assert!(status != 401 && status != 403, "{method} {path} by {role}: {status}");
                }
                // Whoever was locked out for the wrong token above is let in with a good one that is known.
            }
        }
    }
    open.sort_unstable();
    open.dedup();
    assert_eq!(
        open,
        [
            "/health",
            "/health/live",
            "/health/ready",
            "/login",
            "/login/{name}",
            "/metrics"
        ]
    );
    let (status, _) = ask(&router, nobody(get("/no/such/path"))).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn metrics_are_closed_where_the_settings_say_so() {
    let mut house = House::new();
    let mut config = Config::default();
    config.api.metrics_open = crate::config::Switch::Off;
    house.state.config = Arc::new(config);
    let (router, [_, viewer, ..]) = doors(&house).await;
    assert_eq!(answer(&router, nobody(get("/metrics"))).await.0, 401);
    assert_eq!(answer(&router, bearing(get("/metrics"), &viewer)).await.0, 200);
}

#[tokio::test]
async fn logging_in_and_out_by_token_and_link() {
    let house = House::new();
    let (router, [_, _, operator, _]) = doors(&house).await;
    let login = |body: Value| nobody(send("POST", "/login", &body));
    let (status, headers, body) = answer(&router, login(json!({ "token": operator }))).await;
    assert_eq!(status, 200);
    assert_eq!(headers["cache-control"], "no-store");
    let cookie = headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let who: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(who, json!({ "actor": "operator", "role": "operator", "session": true }));
    let session = cookie.split(';').next().unwrap().to_owned();
    let by = |request| with(request, "cookie", &session);
    let mut told = who.clone();
    told["from"] = Value::Null;
    assert_eq!(ask(&router, by(get("/session"))).await, (200, told));
    let made = ask(
        &router,
        by(send("POST", "/decisions", &json!({ "target": "203.0.113.9" }))),
    )
    .await;
    assert_eq!((made.0, &made.1["actor"]), (201, &json!("operator")));
    // A page of another site has the cookie sent along by no browser of today; where one would, it is refused.
    let foreign = with(by(send("POST", "/logout", &json!({}))), "origin", "http://evil.example");
    assert_eq!(ask(&router, foreign).await.0, 403);
    let (status, headers, _) = answer(&router, by(send("POST", "/logout", &json!({})))).await;
    assert_eq!(status, 204);
    assert!(headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(ask(&router, by(get("/session"))).await.0, 401);

    let by_socket = house.router(Door::Unix);
    let (status, link) = ask(&by_socket, send("POST", "/login-links", &json!({}))).await;
    assert_eq!(status, 201);
    let code = link["url"]
        .as_str()
        .unwrap()
        .split_once("/login#")
        .unwrap()
        .1
        .to_owned();
    let (status, who) = ask(&router, login(json!({ "code": code }))).await;
    assert_eq!((status, &who["role"]), (200, &json!("admin")));
    assert_eq!(ask(&router, login(json!({ "code": code }))).await.0, 401);
    for bad in [
        json!({}),
        json!({ "token": "a", "code": "b" }),
        json!({ "password": "x" }),
    ] {
        assert_eq!(ask(&router, login(bad)).await.0, 422);
    }
    let bearer = bearing(send("POST", "/logout", &json!({})), &operator);
    assert_eq!(ask(&router, bearer).await.0, 422, "a token is no session");

    let (_, audit) = ask(&router, get("/audit")).await;
    let text = audit.to_string();
    for secret in [code.as_str(), &operator, session.split_once('=').unwrap().1] {
        assert!(!text.contains(secret));
    }
    let verbs: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["verb"])
        .collect();
    for verb in ["api.login", "api.logout", "api.login_link"] {
        assert!(verbs.contains(&&json!(verb)), "{verbs:?}");
    }
}

#[tokio::test]
async fn whoever_guesses_is_told_to_wait_and_cannot_fill_the_audit() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let guess = |n: u32| nobody(send("POST", "/login", &json!({ "token": format!("guess{n}") })));
    let mut locked = 0;
    for n in 0..60 {
        let (status, headers, body) = answer(&router, guess(n)).await;
        if status == 429 {
            locked += 1;
            let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=30).contains(&wait), "{wait}");
            assert!(String::from_utf8_lossy(&body).contains("try again in"));
        } else {
            assert_eq!(status, 401);
        }
    }
    assert_eq!(locked, 55);
    let (_, audit) = ask(&router, get("/audit?limit=100")).await;
    assert_eq!(audit["total"], 30, "refusals the audit has in a minute");
    assert!(!audit.to_string().contains("guess"));
    let metrics = house.state.metrics.encode().unwrap();
    assert!(
        metrics.contains(r#"sentinel_logins_total{with="token",result="refused"} 60"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn administrators_make_tokens_list_and_revoke_them() {
    let house = House::new();
    let (router, [.., admin]) = doors(&house).await;
    let wish = json!({ "name": "grafana", "role": "viewer", "duration": "90d" });
    let (status, made) = ask(&router, bearing(send("POST", "/tokens", &wish), &admin)).await;
    assert_eq!(
        (status, &made["created_by"], &made["holds"]),
        (201, &json!("admin"), &json!(true))
    );
    let text = made["text"].as_str().unwrap().to_owned();
    assert_eq!(answer(&router, bearing(get("/alerts"), &text)).await.0, 200);
    let (_, listed) = ask(&router, bearing(get("/tokens"), &admin)).await;
    assert_eq!(listed["total"], 5);
    assert!(!listed.to_string().contains(&text));
    assert!(!listed.to_string().contains("argon2"));
    let (status, gone) = ask(
        &router,
        bearing(send("DELETE", "/tokens/grafana", &Value::Null), &admin),
    )
    .await;
    assert_eq!((status, &gone["holds"]), (200, &json!(false)));
    assert_eq!(answer(&router, bearing(get("/alerts"), &text)).await.0, 401);
    for (body, words) in [
        (json!({ "name": "two words", "role": "viewer" }), "letters"),
        (json!({ "name": "admin", "role": "viewer" }), "already"),
        (json!({ "name": "x", "role": "root" }), "unknown variant"),
        (json!({ "name": "x", "role": "viewer", "duration": "soon" }), "`4h`"),
    ] {
        let (status, problem) = ask(&router, bearing(send("POST", "/tokens", &body), &admin)).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 422 && detail.contains(words), "{status} {detail}");
    }
    let again = bearing(send("DELETE", "/tokens/grafana", &Value::Null), &admin);
    assert_eq!(ask(&router, again).await.0, 404);
}
