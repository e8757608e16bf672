//! What comes back in documented shapes becomes the indicator that shape maps to.

use super::super::testing::{Script, http, json};
use super::{BAD, PROVIDERS, provider, told};
use crate::intel::{IntelError, QuotaHint};
use crate::types::IntelVerdict;
use std::time::Duration;

#[tokio::test]
async fn hit_clean_and_unknown() {
    for p in &PROVIDERS {
        let (status, unknown) = p.unknown;
        for (what, script) in [
            ("hit", json(p.hit)),
            ("clean", json(p.clean)),
            ("unknown", http(status, &[], unknown.as_bytes())),
        ] {
            let (reply, server) = told(p.name, Script::Say(script)).await;
            let reply = reply.unwrap_or_else(|e| panic!("{} {what}: {e}", p.name));
            let told = reply.indicator;
            assert_eq!((told.source.as_str(), told.ip), (p.name, BAD.parse().unwrap()));
            assert!(!reply.cached && reply.hint == QuotaHint::default());
            let fits = match what {
                "hit" => told.verdict >= IntelVerdict::Suspicious && told.score > 0.5 && !told.categories.is_empty(),
                "clean" => told.verdict == IntelVerdict::Benign && told.score < 0.5,
                // It scores every address.
                _ if p.name == "ipqualityscore" => true,
                _ => told.verdict == IntelVerdict::Unknown && (told.score, told.confidence) == (0.5, 0.0),
            };
            assert!(fits, "{} {what}: {told:?}", p.name);
            if status == "200 OK" || what != "unknown" {
                let text = match what {
                    "hit" => p.hit,
                    "clean" => p.clean,
                    _ => unknown,
                };
                assert_eq!((p.read)(text.as_bytes(), told.ip, told.asked_at).unwrap(), told);
            }
            assert_eq!(server.connections(), 1);
        }
    }
}

#[tokio::test]
async fn a_404_is_an_answer_only_where_the_provider_says_so() {
    for p in &PROVIDERS {
        for body in ["<html>404</html>", "{}", "", r#"{"error":{"code":"WrongUrl"}}"#] {
            let (reply, _server) = told(p.name, Script::Say(http("404 Not Found", &[], body.as_bytes()))).await;
            let error = reply.unwrap_err();
            match error {
                IntelError::Malformed(_) => assert!(p.knows_404, "{}", p.name),
                IntelError::Status(404) => assert!(!p.knows_404, "{}", p.name),
                other => panic!("{}: {other}", p.name),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_tells_of_the_quota() {
    let headers = [
        ("X-RateLimit-Limit", "1000"),
        ("x-ratelimit-remaining", "941"),
        ("X-RateLimit-Reset", "3600"),
    ];
    for p in &PROVIDERS {
        let (reply, _server) = told(p.name, Script::Say(http("200 OK", &headers, p.hit.as_bytes()))).await;
        let expected = QuotaHint {
            limit: Some(1000),
            remaining: Some(941),
            reset: Some(Duration::from_hours(1)),
        };
        assert_eq!(reply.unwrap().hint, expected, "{}", p.name);
    }
}

#[tokio::test]
async fn ipqualityscore_refuses_with_status_200() {
    let exhausted = QuotaHint {
        remaining: Some(0),
        ..QuotaHint::default()
    };
    let quota = IntelError::RateLimited {
        retry_after: None,
        hint: exhausted,
    };
    let key = IntelError::Unauthorised { status: 200 };
    let other = IntelError::Malformed("`success` is false for no reason that is documented".to_owned());
    for (message, expected) in [
        (
            "Invalid or unauthorized key. Please check the API key and try again.",
            &key,
        ),
        (
            "You have exceeded your request quota of 35 per day. Please upgrade to increase your request quota.",
            &quota,
        ),
        ("You have insufficient credits to make this query.", &quota),
        ("Something <b>else</b>", &other),
        ("", &other),
    ] {
        let body = serde_json::json!({"success": false, "message": message, "request_id": "4E1kmv"});
        let (reply, _server) = told("ipqualityscore", Script::Say(json(&body.to_string()))).await;
        assert_eq!(reply.as_ref(), Err(expected), "{message}");
    }
}

#[tokio::test]
async fn of_a_busy_attackers_reports_the_beginning_is_enough() {
    let mut whole: serde_json::Value = serde_json::from_str(provider("abuseipdb").hit).unwrap();
    let reports = whole["data"]["reports"].as_array().unwrap().clone();
    let many: Vec<_> = reports.iter().cycle().take(4_000).cloned().collect();
    whole["data"]["reports"] = many.into();
    // The map sorts its names, and the provider has `reports` last.
    let reports = whole["data"].as_object_mut().unwrap().remove("reports").unwrap();
    let head = whole["data"].to_string();
    let body = format!("{{\"data\":{},\"reports\":{reports}}}}}", head.trim_end_matches('}'));
    assert!(body.len() > 1_000_000 && serde_json::from_str::<serde_json::Value>(&body).is_ok());
    let (reply, _server) = told("abuseipdb", Script::Say(json(&body))).await;
    let told = reply.unwrap().indicator;
    assert_eq!(told.verdict, IntelVerdict::Malicious);
    assert_eq!(told.categories[..2], ["brute force".to_owned(), "ssh".to_owned()]);
    let read: usize = told.raw["reports read"].parse().unwrap();
    assert!((500..2_000).contains(&read), "{read}");

    // Where reports come first, what is needed stands behind what is read.
    let body = format!("{{\"data\":{{\"reports\":{reports},{}}}", head.trim_start_matches('{'));
    assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
    let (reply, _server) = super::told("abuseipdb", Script::Say(json(&body))).await;
    assert_eq!(reply.unwrap_err(), IntelError::TooLarge(256 * 1024));
}
