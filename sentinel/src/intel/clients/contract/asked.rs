//! What is asked, to the byte.

use super::super::testing::{Script, Server, json};
use super::{BAD, CANARY, PROVIDERS, ask, client, provider, sources};
use crate::intel::{IntelError, covers};
use crate::types::Severity;

/// Asks `name` about `ip` and holds the request against the documentation's; order of headers is free.
async fn check(name: &str, key: Option<&str>, ip: &str, target: &str, header: Option<&str>) {
    let server = Server::start(Script::Say(json(provider(name).hit))).await;
    let config = sources(name, &server.url, key);
    client(&config).ask(ip.parse().unwrap(), Severity::Low).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{name}");
    let mut lines = requests[0].lines();
    assert_eq!(lines.next(), Some(format!("GET {target} HTTP/1.1").as_str()), "{name}");
    let mut told: Vec<&str> = lines.collect();
    told.sort_unstable();
    let host = format!("host: {}", server.url.trim_start_matches("http://"));
    let mut expected = vec![
        "accept-encoding: gzip",
        "accept: application/json",
        concat!("user-agent: sentinel/", env!("CARGO_PKG_VERSION")),
        host.as_str(),
    ];
    expected.extend(header);
    expected.sort_unstable();
    assert_eq!(told, expected, "{name}");
}

#[tokio::test]
async fn each_provider_is_asked_as_it_documents() {
    let key = Some(CANARY);
    let with = |name: &str| Some(format!("{name}: {CANARY}"));
    // https://docs.virustotal.com/reference/ip-info
    let header = with("x-apikey");
    check(
        "virustotal",
        key,
        BAD,
        "/api/v3/ip_addresses/203.0.113.45",
        header.as_deref(),
    )
    .await;
    check(
        "virustotal",
        key,
        "2001:db8::45",
        "/api/v3/ip_addresses/2001:db8::45",
        header.as_deref(),
    )
    .await;
    // https://docs.abuseipdb.com/#check-endpoint
    let header = with("key");
    let target = "/api/v2/check?ipAddress=203.0.113.45&maxAgeInDays=90&verbose";
    check("abuseipdb", key, BAD, target, header.as_deref()).await;
    let target = "/api/v2/check?ipAddress=2001%3Adb8%3A%3A45&maxAgeInDays=90&verbose";
    check("abuseipdb", key, "2001:db8::45", target, header.as_deref()).await;
    // https://otx.alienvault.com/assets/static/external_api.html
    let header = with("x-otx-api-key");
    check(
        "otx",
        key,
        BAD,
        "/api/v1/indicators/IPv4/203.0.113.45/general",
        header.as_deref(),
    )
    .await;
    check(
        "otx",
        None,
        "2001:db8::45",
        "/api/v1/indicators/IPv6/2001:db8::45/general",
        None,
    )
    .await;
    // https://www.ipqualityscore.com/documentation/proxy-detection-api/overview
    let query = "?strictness=0&allow_public_access_points=true";
    let target = format!("/api/json/ip/{CANARY}/203.0.113.45{query}");
    check("ipqualityscore", key, BAD, &target, None).await;
    let target = format!("/api/json/ip/{CANARY}/2001:db8::45{query}");
    check("ipqualityscore", key, "2001:db8::45", &target, None).await;
    // https://docs.greynoise.io/reference/getcommunityip
    check(
        "greynoise",
        key,
        BAD,
        "/v3/community/203.0.113.45",
        with("key").as_deref(),
    )
    .await;
    check("greynoise", None, BAD, "/v3/community/203.0.113.45", None).await;
    // https://github.com/AlienVault-OTX/ApiV2
    check(
        "threatcrowd",
        key,
        BAD,
        "/searchApi/v2/ip/report/?ip=203.0.113.45",
        None,
    )
    .await;
    let target = "/searchApi/v2/ip/report/?ip=2001%3Adb8%3A%3A45";
    check("threatcrowd", None, "2001:db8::45", target, None).await;
}

#[tokio::test]
async fn a_mapped_address_is_asked_for_as_what_it_is() {
    check(
        "greynoise",
        None,
        "::ffff:203.0.113.45",
        "/v3/community/203.0.113.45",
        None,
    )
    .await;
}

#[tokio::test]
async fn a_server_behind_a_path_is_asked_there() {
    let server = Server::start(Script::Say(json(provider("greynoise").hit))).await;
    ask(&format!("{}/mirror/", server.url), "greynoise", BAD).await.unwrap();
    assert!(server.requests()[0].starts_with("GET /mirror/v3/community/203.0.113.45 HTTP/1.1"));
}

#[tokio::test]
async fn a_key_with_signs_of_a_url_stays_one_segment() {
    let server = Server::start(Script::Say(json(provider("ipqualityscore").hit))).await;
    let config = sources("ipqualityscore", &server.url, Some("../a/b?c#d%2F"));
    client(&config).ask(BAD.parse().unwrap(), Severity::Low).await.unwrap();
    let request = &server.requests()[0];
    assert!(
        request.starts_with("GET /api/json/ip/..%2Fa%2Fb%3Fc%23d%252F/203.0.113.45?strictness"),
        "{request}"
    );
}

#[tokio::test]
async fn greynoise_is_not_asked_of_ipv6() {
    for p in &PROVIDERS {
        assert_eq!(covers(p.name, "2001:db8::1".parse().unwrap()), p.ipv6, "{}", p.name);
        assert!(covers(p.name, BAD.parse().unwrap()) && covers(p.name, "::ffff:192.0.2.1".parse().unwrap()));
    }
    let server = Server::start(Script::Say(json(provider("greynoise").hit))).await;
    let answer = ask(&server.url, "greynoise", "2001:db8::1").await;
    assert_eq!(answer, Err(IntelError::Unsupported("it knows IPv4 addresses only")));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_source_that_cannot_work_says_why() {
    for (name, needs) in [
        ("virustotal", true),
        ("abuseipdb", true),
        ("otx", false),
        ("ipqualityscore", true),
        ("greynoise", false),
        ("threatcrowd", false),
    ] {
        let config = sources(name, "http://127.0.0.1:9", None);
        let source = client(&config);
        assert_eq!(source.profile().name, name);
        let told = source.ask(BAD.parse().unwrap(), Severity::Low).await.unwrap_err();
        let says = told.to_string().contains("has no key; put it into");
        assert_eq!((says, told.asked()), (needs, !needs && name != "threatcrowd"), "{told}");
        // No header can carry a line break, and no URL is one without a host.
        let broken = [("http://127.0.0.1:9", "a\nb", "no key has"), ("http://", "k", "`url`")];
        for (url, key, why) in broken {
            let config = sources(name, url, Some(key));
            let told = client(&config)
                .ask(BAD.parse().unwrap(), Severity::Low)
                .await
                .unwrap_err();
            let headless = ["ipqualityscore", "threatcrowd"].contains(&name) && why == "no key has";
            assert!(headless || told.to_string().contains(why), "{name}: {told}");
        }
    }
    let mut config = sources("otx", "http://127.0.0.1:9", None);
    config.otx.enabled = crate::config::Switch::Auto;
    assert!(crate::intel::clients(&config).is_empty());
}
